"""Measuring objects from their pixels, region by region: size, centre, bounding box, intensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_file import Labels, compact

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Objects:
    """Measures of objects, one row each.

    ``sample``: number of the sample, from 0. ``first``: position of the first pixel in the sample, in scan order.
    ``size``: number of pixels. ``centre``, ``low``, ``high``: per spatial axis, in pixels; the first pixel's centre is
    at 0, ``high`` is one beyond the last pixel. ``intensity``: mean per channel.
    """

    sample: Integers
    first: Integers
    size: Integers
    centre: Floats
    low: Integers
    high: Integers
    intensity: Floats

    def __len__(self) -> int:
        return len(self.size)

    def take(self, rows: Integers) -> "Objects":
        """The objects in these rows, in their order."""
        return Objects(*(getattr(self, name)[rows] for name in vars(self)))


def together(parts: Sequence[Objects]) -> Objects:
    """The objects of all parts, one after another."""
    return Objects(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


class Meter:
    """Adds up the measures of ``count`` objects of one sample of ``shape``, numbered from 1, as regions come in."""

    def __init__(self, sample: int, count: int, shape: Sequence[int], channels: int) -> None:
        self._shape = tuple(shape)
        self._sample = sample
        self._first = np.full(count, _FAR)
        self._size = np.zeros(count, np.int64)
        self._sums = np.zeros((count, len(shape)))
        self._low = np.full((count, len(shape)), _FAR)
        self._high = np.zeros((count, len(shape)), np.int64)
        self._light = np.zeros((count, channels))

    def add(self, region: Region, labels: Labels, channels: Sequence[NDArray[Any]]) -> None:
        """Add a region: its labels, and the image's channels there."""
        inside = np.flatnonzero(labels)
        present, numbers = compact(labels.reshape(-1)[inside], len(self._size))
        rows, local, count = present - 1, numbers - 1, len(present)
        self._size[rows] += np.bincount(local, minlength=count)
        position = np.zeros(len(inside), np.int64)
        for axis, part in enumerate(region):
            stride = int(np.prod(labels.shape[axis + 1 :], dtype=np.int64))
            place = inside // stride % labels.shape[axis] + part.start
            position = position * self._shape[axis] + place
            self._sums[rows, axis] += np.bincount(local, place, count)
            self._low[rows, axis] = np.minimum(self._low[rows, axis], _lowest(local, place, count))
            self._high[rows, axis] = np.maximum(self._high[rows, axis], 1 - _lowest(local, -place, count))
        self._first[rows] = np.minimum(self._first[rows], _lowest(local, position, count))
        for number, channel in enumerate(channels):
            self._light[rows, number] += np.bincount(local, channel.reshape(-1)[inside].astype(np.float64), count)

    def result(self) -> Objects:
        """The measures; objects of which no pixel came have the size 0."""
        size = np.maximum(self._size, 1)[:, None]
        return Objects(
            sample=np.full(len(self._size), self._sample),
            first=self._first,
            size=self._size,
            centre=self._sums / size,
            low=self._low,
            high=self._high,
            intensity=self._light / size,
        )


def _lowest(local: NDArray[np.int32], values: Integers, count: int) -> Integers:
    """The lowest value of every local number."""
    found = np.full(count, _FAR)
    np.minimum.at(found, local, values)
    return found
