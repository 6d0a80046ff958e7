"""The options of a prediction, with the words of the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .errors import UsageError

Border = Literal["natural", "mirror"]
Fit = Literal["tile", "resize", "exact"]
TiffLayout = Literal["pages", "labelled"]
Precision = Literal["float32", "bfloat16", "float16"]
EngineName = Literal["auto", "torch", "openvino"]

_WORDS = {"fit": Fit, "border": Border, "precision": Precision, "engine": EngineName, "tiff_layout": TiffLayout}


@dataclass(frozen=True)
class Options:
    """Options of a prediction. Raises :class:`UsageError` for a word that is not in its ``Literal``.

    Parameters
    ----------
    axes
        Axis letters of the image file; ``None`` takes the file's own metadata.
    series
        Image of a file with several images: its number from 0, or its name.
    level
        Level of the image's pyramid; 0 is the full resolution.
    well, field
        Image of an OME-Zarr plate: the name of its well, such as ``"B03"``, and the name or number of its field.
    channels
        Channels of the image in the model's order: numbers from 0 or names, or a text such as ``"DAPI,2"``.
    tile
        Pixels of a tile in the order of the model's image axes (z y x); ``None`` lets the program choose.
    threads
        Number of threads; ``None`` takes the processors of this job.
    engine
        Library that computes on a CPU.
    memory
        Budget of the process such as ``4GiB``; ``None`` takes the memory that machine, container and job leave.
    """

    axes: str | None = None
    series: int | str | None = None
    level: int = 0
    well: str | None = None
    field: int | str | None = None
    channels: Sequence[int | str] | None = None
    fit: Fit = "tile"
    tile: Sequence[int] | None = None
    border: Border = "natural"
    device: str = "auto"
    threads: int | None = None
    precision: Precision = "float32"
    engine: EngineName = "auto"
    memory: str | None = None
    tiff_layout: TiffLayout = "pages"
    trust_model_code: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            object.__setattr__(self, "channels", parse_channels(self.channels))
        for name, kind in _WORDS.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise UsageError(f"{name}={value!r} is not known. Give one of {', '.join(get_args(kind))}.")


def parse_channels(text: str) -> tuple[int | str, ...]:
    """Return the channels in a list such as ``2,1,0`` or ``DAPI,GFP``. Digits are numbers, other texts are names."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"The channels {text!r} are not understood. Give numbers from 0 or names: 2,1,0 or DAPI,GFP.")
    return tuple(int(part) if part.isdecimal() else part for part in parts)
