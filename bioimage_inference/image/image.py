"""The image as the pipeline sees it: axes, shape, pixel size, and a function that reads any region."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..errors import ImageError
from .series import MAIN, Selection, Series

Region = tuple[slice, ...]
AxesSource = Literal["file", "user", "guess"]
_NUMERIC_KINDS = "biuf"
_OTHER_KINDS = {"c": "complex numbers", "O": "Python objects", "V": "records"}


@dataclass(frozen=True)
class PixelSize:
    """Extent of one pixel along one axis (or seconds per frame for ``t``), e.g. ``PixelSize(0.108, "µm")``.

    ``origin`` is the position of the centre of the first pixel, in the same unit. It is 0 for most images. An output
    has the position that its first pixel has in the image.
    """

    value: float
    unit: str
    origin: float = 0.0

    def resampled(self, scale: float, start: float = 0.0) -> "PixelSize":
        """Return the pixel size after resampling to ``scale`` new pixels per old pixel.

        The edge of the first new pixel lies ``start`` old pixels behind the edge of the first old pixel.
        """
        return PixelSize(self.value / scale, self.unit, self.origin + self.value * (start + (1 / scale - 1) / 2))


@dataclass(frozen=True)
class Metadata:
    """Facts from a file about its pixels: their size by axis (None if unknown), channel names, and notes."""

    pixel_size: Mapping[str, PixelSize | None] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image that is opened but not loaded.

    ``axes`` has one lower-case letter of :data:`~bioimage_inference.image.axes.AXES` per dimension of ``shape``;
    ``?`` stands for an axis that the file does not name. ``read`` takes one slice (step 1) per axis and returns the
    region as an array of ``dtype`` in native byte order. ``notes`` are remarks for the user, for example on the choice
    among several series. ``piece`` is the most bytes that reading a region decodes at once, in strips, tiles or chunks;
    it is 0 for pixels that are not compressed. ``members`` are the further files of an image that is spread over files
    in one folder. ``series`` and ``level`` say which image of a file with several images or a pyramid this is;
    ``series`` is None for a file with a single image in a single resolution.
    """

    name: str
    path: str
    axes: str
    axes_source: AxesSource
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read: Callable[[Region], Array]
    close: Callable[[], None]
    pixel_size: Mapping[str, PixelSize] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    piece: int = 0
    members: tuple[Path, ...] = ()
    series: Series | None = None
    level: int = 0

    @property
    def selection(self) -> Selection:
        """The selection that opens this image of the file ``path`` again."""
        return MAIN if self.series is None else Selection(series=self.series.number, level=self.level)

    def size(self, letter: str) -> int:
        """Return the extent along the axis of that letter, 1 if the image lacks it."""
        return self.shape[self.axes.index(letter)] if letter in self.axes else 1


def check_numeric(name: str, dtype: "np.dtype[Any]") -> None:
    """Raise ImageError unless ``dtype`` holds integers, booleans or real numbers."""
    if dtype.kind not in _NUMERIC_KINDS:
        kind = _OTHER_KINDS.get(dtype.kind, f"values of type {dtype}")
        advice = " Save its magnitude, or real and imaginary part as two channels." if dtype.kind == "c" else ""
        raise ImageError(f"{name} holds {kind}, but an image has to hold integers, booleans or real numbers.{advice}")


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raise ImageError unless the shape has at least one dimension, and pixels along every dimension."""
    if not shape or min(shape) < 1:
        raise ImageError(f"{name} holds no pixels: its shape is {shape}. Check the program that wrote it.")


def runs(shape: Sequence[int], starts: Sequence[int], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return the first element of each unbroken run of a region in a C-ordered array. All runs have the same length.

    >>> runs((4, 10), (1, 2), (2, 3))
    array([12, 22])
    >>> runs((4, 10), (1, 0), (2, 10))
    array([10])
    """
    inner = len(shape)
    while inner and sizes[inner - 1] == shape[inner - 1]:
        inner -= 1
    outer = max(inner - 1, 0)  # a run covers a part of this axis, and all of the axes behind it
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    positions = np.array([sum(start * stride for start, stride in zip(starts, strides, strict=True))], dtype=np.int64)
    for size, stride in zip(sizes[:outer], strides[:outer], strict=True):
        positions = np.add.outer(positions, np.arange(size, dtype=np.int64) * stride)
    return positions.ravel()
