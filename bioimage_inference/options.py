"""What the user may say about a prediction; the words are those of the command line."""

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
    """How to predict.

    ``axes`` are those of the image file, ``channels`` which of its channels to take, in the model's order: numbers from
    0 or names, or a text such as ``"DAPI,2"``. ``tile`` has
    pixels in the order of the model's image axes (z y x), ``None`` chooses. ``threads`` of ``None``
    takes the processors of this job; ``engine`` is what computes on a CPU; ``memory`` is the budget of the process, a
    text such as ``4GiB``, ``None`` takes what machine, container and job leave. Raises :class:`UsageError` for a word
    that is none of those above.
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
    """Channels in a list such as ``2,1,0`` or ``DAPI,GFP``: digits are numbers, all else is a name."""
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"The channels {text!r} are not understood. Give numbers from 0 or names: 2,1,0 or DAPI,GFP.")
    return tuple(int(part) if part.isdecimal() else part for part in parts)
