"""Measures regions of pixels, and numbers those that are objects.

Regions arrive in parts, so a region of any size takes a few numbers of memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_blocks import Labels, compact

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_FAR = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Objects:
    """Measures of objects. Each field has one row for each object.

    Attributes
    ----------
    sample
        Number of the object's sample, from 0.
    first
        Position of the object's first pixel in the sample, in scan order.
    size
        Number of pixels.
    centre, low, high
        Centroid and bounding box in pixels, a column for each spatial axis. The sample's first pixel has the
        centre 0. ``high`` lies one pixel beyond the object.
    at_border
        Whether the object has pixels in the first or last row, column or plane of its sample, so it may be cut.
    mean, lowest, highest, integrated
        Mean, smallest, largest and summed intensity, a column for each channel.
    """

    sample: Integers
    first: Integers
    size: Integers
    centre: Floats
    low: Integers
    high: Integers
    at_border: NDArray[np.bool_]
    mean: Floats
    lowest: Floats
    highest: Floats
    integrated: Floats

    def __len__(self) -> int:
        return len(self.size)

    def take(self, rows: Integers) -> "Objects":
        """Return the objects in these rows, in the order of ``rows``."""
        return Objects(*(getattr(self, name)[rows] for name in vars(self)))


def concatenate(parts: Sequence[Objects]) -> Objects:
    """Return the objects of all parts, one part after the other."""
    return Objects(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


class Meter:
    """Sums up the measures of the objects 1 to ``count`` in a sample of ``shape``, from one region after the other."""

    def __init__(self, sample: int, count: int, shape: Sequence[int], channels: int) -> None:
        self._shape = tuple(shape)
        self._sample = sample
        self._first = np.full(count, _FAR)
        self._size = np.zeros(count, np.int64)
        self._sums = np.zeros((count, len(shape)))
        self._low = np.full((count, len(shape)), _FAR)
        self._high = np.zeros((count, len(shape)), np.int64)
        self._integrated = np.zeros((count, channels))
        self._darkest = np.full((count, channels), np.inf)
        self._brightest = np.full((count, channels), -np.inf)

    def add(self, region: Region, labels: Labels, channels: Sequence[NDArray[Any]]) -> None:
        """Add the labels of a region and the channels of the image in that region."""
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
            light = channel.reshape(-1)[inside].astype(np.float64)
            self._integrated[rows, number] += np.bincount(local, light, count)
            with np.errstate(invalid="ignore"):  # NaN in the image becomes NaN of its object
                np.minimum.at(self._darkest[:, number], rows[local], light)
                np.maximum.at(self._brightest[:, number], rows[local], light)

    def result(self) -> Objects:
        """Return the measures. An object without any pixel has the size 0."""
        size = np.maximum(self._size, 1)[:, None]
        return Objects(
            sample=np.full(len(self._size), self._sample),
            first=self._first,
            size=self._size,
            centre=self._sums / size,
            low=self._low,
            high=self._high,
            at_border=((self._low == 0) | (self._high == self._shape)).any(axis=1),
            mean=self._integrated / size,
            lowest=self._darkest,
            highest=self._brightest,
            integrated=self._integrated,
        )


def _lowest(local: NDArray[np.int32], values: Integers, count: int) -> Integers:
    """Return the lowest value of each local number."""
    found = np.full(count, _FAR)
    np.minimum.at(found, local, values)
    return found


@dataclass(frozen=True)
class NumberedObjects:
    """Objects in the order of their labels 1, 2, …, and the label of each region: 0 for a region that is no object.

    ``small`` is the number of regions that are too small for an object.
    """

    objects: Objects
    labels: NDArray[np.uint32]
    small: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The data type of the label map: uint16 if it can hold all labels, else uint32."""
        return np.dtype(np.uint16 if len(self.objects) <= np.iinfo(np.uint16).max else np.uint32)


def number_objects(regions: Objects, min_size: int) -> NumberedObjects:
    """Return the regions of at least ``min_size`` pixels as objects, ordered by sample and then by first pixel.

    Row n of ``regions`` is region n + 1. Region 0 is the background.
    """
    large = np.flatnonzero(regions.size >= max(min_size, 1))
    rows = large[np.lexsort((regions.first[large], regions.sample[large]))]
    labels = np.zeros(len(regions) + 1, np.uint32)
    labels[rows + 1] = np.arange(1, len(rows) + 1)
    return NumberedObjects(regions.take(rows), labels, int(np.count_nonzero(regions.size)) - len(rows))
