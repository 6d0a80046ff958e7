"""From numbers to colours: which range a picture shows, in colours for every eye, encoded as a small file."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..text import counted

if TYPE_CHECKING:
    import PIL.Image

Kind = Literal["image", "probability", "values", "labels"]
Colour = tuple[int, int, int]

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), which people with any colour vision tell apart.
ORANGE, SKY, GREEN = (230, 159, 0), (86, 180, 233), (0, 158, 115)
YELLOW, BLUE, VERMILLION, PURPLE = (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)
LINES = (ORANGE, SKY, YELLOW, PURPLE, GREEN, VERMILLION)
NO_NUMBER = VERMILLION  # for NaN and infinity
_LABELS = (SKY, ORANGE, GREEN, YELLOW, PURPLE, BLUE, VERMILLION, (255, 255, 255))
_MAPS = {"image": "gray", "probability": "viridis", "values": "magma"}
_SHADES = 255  # the last of 256 entries of a palette is NO_NUMBER
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Contrast:
    """How numbers become colours: from ``low`` to ``high`` in the colours of ``kind``, and this in ``words``."""

    kind: Kind
    low: float
    high: float
    words: str


def kind_of(samples: Sequence[Array]) -> Kind:
    """Return what an output holds: whole numbers are labels, numbers within 0 … 1 are probabilities."""
    if samples[0].dtype.kind in "biu":
        return "labels"
    known = [finite for finite in map(finite_of, samples) if finite.size]
    within = all(finite.min() >= 0 and finite.max() <= 1 for finite in known)
    return "probability" if within and known else "values"


def finite_of(values: Array) -> Array:
    """Return the values that are finite numbers, as an array of one axis."""
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()


def contrast(plane: Array, kind: Kind) -> Contrast:
    """Return the contrast for a plane: 0 … 1 for probabilities, else from percentile 0.5 to 99.5 of the plane."""
    known = finite_of(plane)
    if not known.size:
        return Contrast(kind, 0.0, 1.0, "no value is a number")
    low, high = float(known.min()), float(known.max())
    if kind == "labels":
        return Contrast(kind, low, high, f"{counted(np.unique(known[known != 0]).size, 'different label')}; 0 is black")
    if kind == "probability":
        return Contrast(kind, 0.0, 1.0, f"shown from 0 to 1; values {low:.3f} to {high:.3f}")
    if low == high:
        return Contrast(kind, low - 0.5, high + 0.5, f"the same value everywhere: {number(low)}")
    dark, bright = (float(limit) for limit in np.percentile(known.astype(np.float64), _PERCENTILES))
    if dark == bright:
        return Contrast(kind, low, high, f"shown from {number(low)} to {number(high)}, the smallest and largest value")
    words = f"shown from {number(dark)} to {number(bright)} (percentiles 0.5 and 99.5)"
    return Contrast(kind, dark, bright, f"{words}; values {number(low)} to {number(high)}")


def number(value: float) -> str:
    """Return a number for the reader: with four digits, or with all digits where it is whole or large."""
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}" if whole and abs(value) < 1e7 else f"{value:.4g}"


def shades(plane: Array, how: Contrast) -> NDArray[np.uint8]:
    """Return indices into :func:`palette`: 0 … 254, and 255 for NaN and infinity."""
    if how.kind == "labels":
        whole = plane.astype(np.int64)
        return np.where(whole == 0, 0, 1 + (whole - 1) % len(_LABELS)).astype(np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (plane.astype(np.float64) - how.low) / (how.high - how.low) * (_SHADES - 1)
    known = np.isfinite(scaled)
    return np.where(known, np.where(known, scaled, 0).clip(0, _SHADES - 1).round(), _SHADES).astype(np.uint8)


@cache
def palette(kind: Kind) -> tuple[Colour, ...]:
    """Return the 256 colours of a kind of picture."""
    if kind == "labels":
        return ((0, 0, 0), *_LABELS, *((0, 0, 0),) * (_SHADES - 1 - len(_LABELS)), NO_NUMBER)
    from matplotlib import colormaps

    rows = (colormaps[_MAPS[kind]](np.linspace(0, 1, _SHADES))[:, :3] * 255).round().astype(int)
    return (*((int(red), int(green), int(blue)) for red, green, blue in rows), NO_NUMBER)


def palette_picture(indices: NDArray[np.uint8], colours: Sequence[Colour]) -> "PIL.Image.Image":
    """Return a picture of indices (axes yx) into at most 256 colours."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(indices))
    picture.putpalette([part for colour in colours for part in colour])
    return picture


def palette_png(indices: NDArray[np.uint8], colours: Sequence[Colour]) -> bytes:
    """Return a PNG of indices (axes yx) into at most 256 colours."""
    return encoded(palette_picture(indices, colours), "PNG", optimize=True)


def colour_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of red, green and blue (axes yxc), in the 255 colours that suit the picture best."""
    from PIL import Image

    return encoded(Image.fromarray(np.ascontiguousarray(pixels)).quantize(_SHADES), "PNG", optimize=True)


def encoded(picture: "PIL.Image.Image", file_format: str, **options: Any) -> bytes:
    """Return a picture of Pillow as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()
