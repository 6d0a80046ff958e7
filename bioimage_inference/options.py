"""The options of a prediction, with the words of the command line."""

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from operator import index
from reprlib import repr as short_repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from .errors import UsageError

if TYPE_CHECKING:
    import torch

Border = Literal["natural", "mirror"]
Fit = Literal["tile", "resize", "exact"]
TiffLayout = Literal["labelled", "pages", "pyramid"]
ZarrVersion = Literal["0.5", "0.4"]
Precision = Literal["float32", "bfloat16", "float16"]
EngineName = Literal["auto", "torch", "openvino", "onnxruntime"]
WeightsName = Literal["torchscript", "pytorch_state_dict", "onnx"]
Augment = Literal["none", "flips", "rotations"]

FORMAT_TITLES: Mapping[str, str] = MappingProxyType({"tiff": "TIFF", "npy": ".npy", "zarr": "OME-Zarr"})
"""The formats of outputs: their keys, and their names in messages. The writers are in ``image/writers``."""
USUAL_FORMATS = ("tiff", "npy")
"""Keys of the formats that are written unless the user names others."""

_CHOICES = {
    "fit": Fit,
    "border": Border,
    "precision": Precision,
    "engine": EngineName,
    "augment": Augment,
    "tiff_layout": TiffLayout,
    "zarr_version": ZarrVersion,
}


class OptionWords(TypedDict, total=False):
    """The options as keyword arguments of :func:`~bioimage_inference.predict`, in every form that they may have."""

    axes: str | None
    series: int | str | None
    level: int
    well: str | None
    field: int | str | None
    channels: int | str | Sequence[int | str] | None
    fit: Fit
    tile: int | Sequence[int] | Literal["auto", "whole"] | None
    border: Border
    device: "str | torch.device"
    threads: int | None
    precision: Precision
    engine: EngineName
    weights: WeightsName | None
    pixel_size: str | float | Sequence[float] | None
    model_pixel_size: str | float | Sequence[float] | None
    rescale: bool
    augment: Augment
    uncertainty: bool
    memory: str | float | None
    tiff_layout: TiffLayout
    zarr_version: ZarrVersion
    trust_model_code: bool


@dataclass(frozen=True)
class Options:
    """Options of a prediction. Raises :class:`UsageError` for a value that is none of the forms of an option.

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
        Channels of the image in the model's order: numbers from 0 or names, one of them, or a text such as
        ``"DAPI,2"``.
    tile
        Pixels of a tile in the order of the model's image axes (z y x), or one number for all of these axes; ``None``
        and ``"auto"`` let the program choose. ``"whole"`` computes the image as one tile.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``, or a ``torch.device``.
    threads
        Number of threads; ``None`` takes the processors of this job.
    engine
        Library that computes: ``onnxruntime`` for ONNX weights, ``torch`` or on a CPU ``openvino`` for others.
    weights
        Weights that compute: ``torchscript``, ``pytorch_state_dict`` or ``onnx``; ``None`` takes the first that run.
    pixel_size
        Pixel size of the image in µm, which overrides the file's: a number for y and x, or a text such as
        ``"1,0.1,0.1"`` (z, y, x) or ``"300nm"``.
    model_pixel_size
        Pixel size that the network was trained with, in the same words; ``None`` takes the description's.
    rescale
        Resample the image to the network's pixel size, and the outputs back to the image's pixels.
    augment
        Average over copies of the image: ``flips`` along the axes of space, or ``rotations``: these flips, and quarter
        turns of the YX plane.
    uncertainty
        Add an output for each output: the standard deviation over the copies.
    memory
        Budget of the process such as ``4GiB``, or its number of bytes; ``None`` takes the memory that machine,
        container and job leave.
    tiff_layout
        ``labelled``: axes, channel names and pixel size for viewers. ``pages``: every channel is a page. ``pyramid``:
        as labelled, in compressed tiles with smaller copies of the image.
    zarr_version
        Version of the OME-Zarr format.
    """

    axes: str | None = None
    series: int | str | None = None
    level: int = 0
    well: str | None = None
    field: int | str | None = None
    channels: Sequence[int | str] | None = None
    fit: Fit = "tile"
    tile: Sequence[int] | int | Literal["whole"] | None = None
    border: Border = "natural"
    device: str = "auto"
    threads: int | None = None
    precision: Precision = "float32"
    engine: EngineName = "auto"
    weights: WeightsName | None = None
    pixel_size: str | None = None
    model_pixel_size: str | None = None
    rescale: bool = False
    augment: Augment = "none"
    uncertainty: bool = False
    memory: str | None = None
    tiff_layout: TiffLayout = "labelled"
    zarr_version: ZarrVersion = "0.5"
    trust_model_code: bool = False

    def __post_init__(self) -> None:
        for name, (uniform, advice) in _FORMS.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, uniform(value))
            except (TypeError, ValueError, OverflowError) as error:
                raise UsageError(f"{name}={short_repr(value)} is not understood: give {advice}.") from error
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in get_args(kind):
                raise UsageError(f"{name}={short_repr(value)} is not known. Give one of {', '.join(get_args(kind))}.")
        if self.uncertainty and self.augment == "none":
            raise UsageError(
                "--uncertainty is the standard deviation over copies of the image. Give --augment flips or --augment "
                "rotations with it."
            )
        if self.rescale and self.fit == "resize":
            raise UsageError(
                "--rescale and --fit resize both resample the image. Give --rescale alone: an image of another size is "
                "then tiled or padded."
            )

    @property
    def may_use_gpu(self) -> bool:
        """Whether a GPU may compute, if the machine has one."""
        return self.device != "cpu"


def options_of(options: Options | None, words: Mapping[str, Any], others: Collection[str] = ()) -> Options:
    """Return the options with ``words`` in place of their own.

    ``others`` are further arguments that the caller of ``words`` may have misspelled. Raises :class:`UsageError` for a
    word that is no option.
    """
    known = [field.name for field in fields(Options)]
    for word in words:
        if word not in known:
            near = get_close_matches(word, [*known, *others], 1)
            advice = f"Did you mean {near[0]!r}?" if near else f"The options are {', '.join(known)}."
            raise UsageError(f"There is no option {word!r}. {advice}")
    if options is not None and not isinstance(options, Options):
        raise UsageError(f"options={short_repr(options)} is not understood: give Options(...), or keyword arguments.")
    return replace(options or Options(), **words)


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


# Uniform forms of the values. Each function raises TypeError or ValueError for a value that it does not know.


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):  # a text such as "no" is true
        raise TypeError
    return value


def _whole(value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or index(value) < least:
        raise ValueError
    return index(value)


def _name_or_number(value: Any) -> int | str:
    return value if isinstance(value, str) else _whole(value, 0)


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping | Set) or not (found := list(value)):
        raise ValueError
    return found


def _channels(value: Any) -> tuple[int | str, ...]:
    if isinstance(value, str):
        return parse_channels(value)
    items = _items(value) if hasattr(value, "__len__") else [value]
    return tuple(item if isinstance(item, str) else _whole(item, 0) for item in items)


def _tile(value: Any) -> tuple[int, ...] | int | Literal["whole"] | None:
    if isinstance(value, str) and value in ("auto", "whole"):
        return None if value == "auto" else "whole"
    return tuple(map(_whole, _items(value))) if hasattr(value, "__len__") else _whole(value)


def _device(value: Any) -> str:
    torch = sys.modules.get("torch")  # nobody has a torch.device without it
    return str(value) if torch is not None and isinstance(value, torch.device) else _text(value)


def _sizes(value: Any) -> str:
    """Return pixel sizes as the command line takes them."""
    if isinstance(value, str):
        return value
    numbers = [float(one) for one in (_items(value) if hasattr(value, "__len__") else [value])]
    return ",".join(repr(one) for one in numbers)


def _memory(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not 1 <= value < math.inf:
        raise ValueError
    return str(int(value))


def _weights(value: Any) -> str:
    if value not in get_args(WeightsName):
        raise ValueError
    return str(value)


def _unless_none(uniform: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else uniform(value)


_FORMS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "axes": (_unless_none(_text), 'a letter for each dimension, such as axes="zyx"'),
    "series": (_unless_none(_name_or_number), "a number from 0 or a name"),
    "level": (lambda value: _whole(value, 0), "a whole number from 0"),
    "well": (_unless_none(_text), 'the name of a well, such as "B03"'),
    "field": (_unless_none(_name_or_number), "a number from 0 or a name"),
    "channels": (_unless_none(_channels), 'numbers from 0 or names, such as channels=0 or channels=["DAPI", "GFP"]'),
    "tile": (_unless_none(_tile), 'pixels above 0, such as tile=256 or tile=(16, 256, 256), or tile="auto" or "whole"'),
    "device": (_device, '"auto", "cpu", "cuda", "cuda:1" or "mps", or a torch.device'),
    "weights": (_unless_none(_weights), " or ".join(map(repr, get_args(WeightsName)))),
    "threads": (_unless_none(_whole), "a whole number above 0, or None"),
    "pixel_size": (_unless_none(_sizes), 'µm, such as 0.1 or (1, 0.1, 0.1), or a text such as "300nm"'),
    "model_pixel_size": (_unless_none(_sizes), 'µm, such as 0.1 or (1, 0.1, 0.1), or a text such as "300nm"'),
    "rescale": (_switch, "True or False"),
    "uncertainty": (_switch, "True or False"),
    "memory": (_unless_none(_memory), 'a text such as "4GiB", a number of bytes, or None'),
    "trust_model_code": (_switch, "True or False"),
}
