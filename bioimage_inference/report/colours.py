"""From numbers to colours: which range is shown in which colours, so that they suit every eye, and as small PNGs."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array

Kind = Literal["image", "probability", "values", "labels"]
Colour = tuple[int, int, int]

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), which people with any colour vision tell apart.
ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, BLUE, VERMILLION, PURPLE = (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)
LINES = (ORANGE, SKY, YELLOW, PURPLE, GREEN, VERMILLION)
_LABELS = (SKY, ORANGE, GREEN, YELLOW, PURPLE, BLUE, VERMILLION, (255, 255, 255))
NO_NUMBER = VERMILLION  # what is NaN or infinite
_MAPS = {"image": "gray", "probability": "viridis", "values": "magma"}
_SHADES = 255  # the last entry of a palette is for what is no number
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Contrast:
    """How numbers become colours: from ``low`` to ``high`` in the colours of ``kind``; ``words`` says it."""

    kind: Kind
    low: float
    high: float
    words: str


def kind_of(samples: Sequence[Array]) -> Kind:
    """What an output holds, by its numbers: whole numbers are labels, numbers within 0 … 1 probabilities."""
    if samples[0].dtype.kind in "biu":
        return "labels"
    finite = [known for known in map(finite_of, samples) if known.size]
    within = all(known.min() >= 0 and known.max() <= 1 for known in finite)
    return "probability" if within and finite else "values"


def finite_of(values: Array) -> Array:
    """The values that are numbers, in one row."""
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()


def contrast(plane: Array, kind: Kind) -> Contrast:
    """The contrast for a plane: fixed for probabilities, else between its percentiles 0.5 and 99.5."""
    known = finite_of(plane)
    if not known.size:
        return Contrast(kind, 0.0, 1.0, "no value is a number")
    low, high = float(known.min()), float(known.max())
    if kind == "labels":
        return Contrast(kind, low, high, _labels_in_words(known))
    if kind == "probability":
        return Contrast(kind, 0.0, 1.0, f"shown from 0 to 1; values {low:.3f} to {high:.3f}")
    if low == high:
        return Contrast(kind, low - 0.5, high + 0.5, f"the same value everywhere: {number(low)}")
    inner = [float(limit) for limit in np.percentile(known.astype(np.float64), _PERCENTILES)]
    if inner[0] == inner[1]:
        return Contrast(kind, low, high, f"shown from {number(low)} to {number(high)}, the smallest and largest value")
    words = f"shown from {number(inner[0])} to {number(inner[1])} (percentiles 0.5 and 99.5)"
    return Contrast(kind, inner[0], inner[1], f"{words}; values {number(low)} to {number(high)}")


def _labels_in_words(known: Array) -> str:
    different = np.unique(known[known != 0]).size
    return f"{different:,} different label{'s' * (different != 1)}; 0 is black"


def number(value: float) -> str:
    """A number for the reader: four digits, or all of a whole or large one."""
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}" if whole and abs(value) < 1e7 else f"{value:.4g}"


def shades(plane: Array, how: Contrast) -> NDArray[np.uint8]:
    """Indices into :func:`palette`: 0 … 254, and 255 where there is no number."""
    if how.kind == "labels":
        whole = plane.astype(np.int64)
        return np.where(whole == 0, 0, 1 + (whole - 1) % len(_LABELS)).astype(np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (plane.astype(np.float64) - how.low) / (how.high - how.low) * (_SHADES - 1)
    known = np.isfinite(scaled)
    return np.where(known, np.where(known, scaled, 0).clip(0, _SHADES - 1).round(), _SHADES).astype(np.uint8)


@cache
def palette(kind: Kind) -> tuple[Colour, ...]:
    """The 256 colours of a kind of picture."""
    if kind == "labels":
        return ((0, 0, 0), *_LABELS, *((0, 0, 0),) * (_SHADES - 1 - len(_LABELS)), NO_NUMBER)
    from matplotlib import colormaps

    rows = (colormaps[_MAPS[kind]](np.linspace(0, 1, _SHADES))[:, :3] * 255).round().astype(int)
    return (*((int(red), int(green), int(blue)) for red, green, blue in rows), NO_NUMBER)


def png(indices: NDArray[np.uint8], colours: Sequence[Colour]) -> bytes:
    """A picture of indices into colours."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(indices))
    picture.putpalette([part for colour in colours for part in colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def colour_png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture of red, green and blue (axes yxc), in 255 colours that suit it best."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).quantize(_SHADES).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def colour_bar(kind: Kind) -> bytes:
    """The colours from low to high, in a row."""
    return png(np.arange(_SHADES, dtype=np.uint8)[np.newaxis], palette(kind))
