"""The image as the engine sees it: axes, shape, pixel size, and a way to read any region of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Region = tuple[slice, ...]
AxesSource = Literal["file", "user", "guess"]


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
        """The pixel size where ``scale`` pixels lie along one of these pixels.

        The edge of the first new pixel lies ``start`` old pixels behind the edge of the first old one.
        """
        return PixelSize(self.value / scale, self.unit, self.origin + self.value * (start + (1 / scale - 1) / 2))


@dataclass(frozen=True)
class Metadata:
    """What a file says of its pixels: their size by axis (None where unknown), the channels' names, and remarks."""

    pixel_size: Mapping[str, PixelSize | None] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image that is opened but not loaded.

    ``axes`` has one letter per dimension of ``shape``, lower case: ``t`` time, ``c`` channel, ``s`` RGB(A) samples,
    ``z``, ``y``, ``x``, ``b`` batch, ``i`` index, ``p`` position; ``?`` stands for an axis that the file does not name.
    ``read`` takes one slice (step 1) per axis and returns that region as an array of ``dtype`` in native byte order.
    ``notes`` are remarks for the user (for instance, which of several series was read). ``piece`` are the bytes that
    reading any region may take at once, where pixels are stored in pieces that are only decoded as a whole, else 0.
    """

    name: str
    path: str
    axes: str
    axes_source: AxesSource
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    read: Callable[[Region], NDArray[np.generic]]
    close: Callable[[], None]
    pixel_size: Mapping[str, PixelSize] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    piece: int = 0

    def size(self, letter: str) -> int:
        """Extent along the axis of that letter, 1 where the image lacks it."""
        return self.shape[self.axes.index(letter)] if letter in self.axes else 1
