"""The options of a prediction, with the words of the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from .errors import UsageError

Border = Literal["natural", "mirror"]
Fit = Literal["tile", "resize", "exact"]
TiffLayout = Literal["labelled", "pages", "pyramid"]
ZarrVersion = Literal["0.5", "0.4"]
Precision = Literal["float32", "bfloat16", "float16"]
EngineName = Literal["auto", "torch", "openvino"]

FORMAT_TITLES: Mapping[str, str] = MappingProxyType({"tiff": "TIFF", "npy": ".npy", "zarr": "OME-Zarr"})
"""The formats of outputs: their keys, and their names in messages. The writers are in ``image/writers``."""
USUAL_FORMATS = ("tiff", "npy")
"""Keys of the formats that are written unless the user names others."""

_WORDS = {
    "fit": Fit,
    "border": Border,
    "precision": Precision,
    "engine": EngineName,
    "tiff_layout": TiffLayout,
    "zarr_version": ZarrVersion,
}


@dataclass(frozen=True)
class Options:
    """Options of a prediction. Raises :class:`UsageError` for a word that is not in its ``Literal``.

    Parameters
    ----------
    axes
        Axis letters of the image file; ``None`` takes the file's own metadata.
    channels
        Channels of the image in the model's order: numbers from 0 or names, or a text such as ``"DAPI,2"``.
    tile
        Pixels of a tile in the order of the model's image axes (z y x); ``None`` lets the program choose.
    threads
        Number of threads; ``None`` takes the processors of this job.
    engine
        Library that computes on a CPU.
    pixel_size
        Pixel size of the image in µm, which overrides the file's: a number for y and x, or a text such as
        ``"1,0.1,0.1"`` (z, y, x) or ``"300nm"``.
    model_pixel_size
        Pixel size that the network was trained with, in the same words; ``None`` takes the description's.
    rescale
        Resample the image to the network's pixel size, and the outputs back to the image's pixels.
    memory
        Budget of the process such as ``4GiB``; ``None`` takes the memory that machine, container and job leave.
    tiff_layout
        ``labelled``: axes, channel names and pixel size for viewers. ``pages``: every channel is a page. ``pyramid``:
        as labelled, in compressed tiles with smaller copies of the image.
    zarr_version
        Version of the OME-Zarr format.
    """

    axes: str | None = None
    channels: Sequence[int | str] | None = None
    fit: Fit = "tile"
    tile: Sequence[int] | None = None
    border: Border = "natural"
    device: str = "auto"
    threads: int | None = None
    precision: Precision = "float32"
    engine: EngineName = "auto"
    pixel_size: str | None = None
    model_pixel_size: str | None = None
    rescale: bool = False
    memory: str | None = None
    tiff_layout: TiffLayout = "labelled"
    zarr_version: ZarrVersion = "0.5"
    trust_model_code: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            object.__setattr__(self, "channels", parse_channels(self.channels))
        for name in ("pixel_size", "model_pixel_size"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                object.__setattr__(self, name, _comma_separated(value))
        if self.rescale and self.fit == "resize":
            raise UsageError(
                "--rescale and --fit resize both resample the image. Give --rescale alone: an image of another size is "
                "then tiled or padded."
            )
        for name, kind in _WORDS.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise UsageError(f"{name}={value!r} is not known. Give one of {', '.join(get_args(kind))}.")


def _comma_separated(value: float | Sequence[float]) -> str:
    """Return numbers as the command line takes them."""
    return ",".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def parse_channels(text: str) -> tuple[int | str, ...]:
    """Return the channels in a list such as ``2,1,0`` or ``DAPI,GFP``. Digits are numbers, other texts are names."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"The channels {text!r} are not understood. Give numbers from 0 or names: 2,1,0 or DAPI,GFP.")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats in a list such as ``tiff,zarr``, each once. Raises :class:`UsageError` for other words."""
    formats = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [one for one in formats if one not in FORMAT_TITLES]
    if unknown:
        raise UsageError(
            f"There is no output format {', '.join(map(repr, unknown))}. Give one or several of "
            f"{', '.join(FORMAT_TITLES)}, with commas between them."
        )
    return formats
