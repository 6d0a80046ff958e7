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
    mean, deviation, lowest, highest, integrated
        Mean, standard deviation, smallest, largest and summed intensity, a column for each channel.
    """

    sample: Integers
    first: Integers
    size: Integers
    centre: Floats
    low: Integers
    high: Integers
    at_border: NDArray[np.bool_]
    mean: Floats
    deviation: Floats
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
        self._squares = np.zeros((count, channels))  # of the differences from the mean
        self._darkest = np.full((count, channels), np.inf)
        self._brightest = np.full((count, channels), -np.inf)

    def add(self, region: Region, labels: Labels, channels: Sequence[NDArray[Any]]) -> None:
        """Add the labels of a region and the channels of the image in that region."""
        inside = np.flatnonzero(labels)
        present, numbers = compact(labels.reshape(-1)[inside], len(self._size))
        rows, local, count = present - 1, numbers - 1, len(present)
        before, added = self._size[rows], np.bincount(local, minlength=count)
        self._size[rows] += added
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
            total = np.bincount(local, light, count)
            mean = total / added
            apart = mean - self._integrated[rows, number] / np.maximum(before, 1)
            # the sums of squares of two parts make that of the whole (Chan, Golub and LeVeque 1979)
            within = np.bincount(local, (light - mean[local]) ** 2, count)
            self._squares[rows, number] += within + apart**2 * before * added / (before + added)
            self._integrated[rows, number] += total
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
            deviation=np.sqrt(self._squares / size),
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

    ``small`` and ``large`` are the numbers of regions that are too small or too large for an object, ``cut`` is the
    number of other regions that were left out because they touch the border.
    """

    objects: Objects
    labels: NDArray[np.uint32]
    small: int
    large: int
    cut: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The data type of the label map: uint16 if it can hold all labels, else uint32."""
        return np.dtype(np.uint16 if len(self.objects) <= np.iinfo(np.uint16).max else np.uint32)


def number_objects(
    regions: Objects, groups: Integers, *, min_size: int, max_size: int | None = None, exclude_border: bool = False
) -> NumberedObjects:
    """Return the objects among the regions, ordered by sample and then by first pixel.

    Parameters
    ----------
    groups
        The row of ``regions`` that each region of the label file belongs to; region n + 1 is entry n. Region 0 is the
        background.
    min_size, max_size
        Smallest and largest size of an object in pixels.
    exclude_border
        Whether regions at the border of their sample are no objects.
    """
    present = regions.size > 0
    small = present & (regions.size < min_size)
    large = present & ~small & (regions.size > (np.inf if max_size is None else max_size))
    at_border = present & ~small & ~large & regions.at_border & exclude_border
    kept = np.flatnonzero(present & ~small & ~large & ~at_border)
    rows = kept[np.lexsort((regions.first[kept], regions.sample[kept]))]
    numbers = np.zeros(len(regions), np.uint32)
    numbers[rows] = np.arange(1, len(rows) + 1)
    labels = np.concatenate([np.zeros(1, np.uint32), numbers[groups]])
    return NumberedObjects(regions.take(rows), labels, *(int(one.sum()) for one in (small, large, at_border)))
