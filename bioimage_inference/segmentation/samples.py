"""An image as a series of samples: regions of one channel of one sample, always in the order z y x."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.image import Image, PixelSize, Region

_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}


@dataclass(frozen=True)
class Samples:
    """The samples of an image with named axes (c, z, y, x; every other letter counts samples).

    ``spatial`` are the axes of one sample, ``zyx`` or ``yx``; axes of a single pixel are left out elsewhere.
    """

    image: Image
    spatial: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Pixels of one sample along :attr:`spatial`."""
        return tuple(self.image.size(letter) for letter in self.spatial)

    @property
    def axes(self) -> str:
        """The axes along which samples are counted, in the order of the file."""
        return "".join(
            letter
            for letter, size in zip(self.image.axes, self.image.shape, strict=True)
            if letter not in "c" + self.spatial and size > 1
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples along :attr:`axes`."""
        return tuple(self.image.size(letter) for letter in self.axes)

    @property
    def total(self) -> int:
        """Number of all samples."""
        return prod(self.counts)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.image.size("c")

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Place of every sample along :attr:`axes`, the last one fastest."""
        return product(*map(range, self.counts))

    def read(self, index: tuple[int, ...], channel: int, region: Region) -> NDArray[Any]:
        """The region (a slice per letter of :attr:`spatial`) of a channel of the sample at ``index``."""
        place = {**dict(zip(self.axes, index, strict=True)), "c": channel}
        parts = dict(zip(self.spatial, region, strict=True))
        where = []
        for letter in self.image.axes:
            start = place.get(letter, 0)
            where.append(parts.get(letter, slice(start, start + 1)))
        found = self.image.read(tuple(where))
        kept = [axis for axis, letter in enumerate(self.image.axes) if letter in self.spatial]
        found = found.reshape([found.shape[axis] for axis in kept])
        order = [letter for letter in self.image.axes if letter in self.spatial]
        return found.transpose([order.index(letter) for letter in self.spatial])


def spatial_axes(image: Image) -> str:
    """``zyx`` for an image with more than one plane, else ``yx``."""
    return "zyx" if image.size("z") > 1 else "yx"


def micrometres(sizes: Mapping[str, PixelSize], spatial: str) -> tuple[float, ...] | None:
    """Extent of a pixel in µm along each axis of ``spatial``, None unless all are known."""
    known = [sizes[letter] for letter in spatial if letter in sizes and sizes[letter].unit in _MICROMETRES]
    if len(known) < len(spatial):
        return None
    return tuple(size.value * _MICROMETRES[size.unit] for size in known)


def as_float(values: NDArray[Any]) -> NDArray[np.float32]:
    """The values as float32."""
    return values.astype(np.float32, copy=False)
