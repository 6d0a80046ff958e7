"""Agreement of two label maps: which objects match, F1, average precision, and overlap of the foreground.

The measures are the measures of the 2018 Data Science Bowl, Cellpose and StarDist: two objects match at a threshold if
their intersection over union (IoU) reaches it. They work in 2-D and 3-D.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""IoU from which two objects match; the average precision is the mean over these thresholds."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of a label map with another.

    ``ious`` has for each object of the first map the IoU with its partner in the second map, 0 without a partner. Two
    objects are partners if their IoU is at least 0.5. ``unmatched`` is the number of objects of the second map without
    a partner. ``foreground_iou`` ignores which object a pixel belongs to.
    """

    ious: NDArray[np.float64]
    unmatched: int
    foreground_iou: float

    def matches(self, threshold: float) -> tuple[int, int, int]:
        """Return the objects that match, the further objects of the second map, and those of the first map."""
        matched = int(np.count_nonzero(self.ious >= threshold))
        partners = int(np.count_nonzero(self.ious))
        return matched, self.unmatched + partners - matched, len(self.ious) - matched

    def f1(self, threshold: float) -> float:
        """Return 2 matched / (objects of both maps); 1 for two empty maps."""
        matched, second, first = self.matches(threshold)
        return 2 * matched / (2 * matched + second + first) if matched + second + first else 1.0

    def precision(self, threshold: float) -> float:
        """Return matched / (matched + further objects of both maps); 1 for two empty maps."""
        matched, second, first = self.matches(threshold)
        return matched / (matched + second + first) if matched + second + first else 1.0

    @property
    def average_precision(self) -> float:
        """Mean of :meth:`precision` over :data:`THRESHOLDS`."""
        return float(np.mean([self.precision(threshold) for threshold in THRESHOLDS]))


def agreement(first: Array, second: Array) -> Agreement:
    """Return the agreement of two label maps of the same shape, in which 0 is background.

    >>> agreement(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 0, 0]])).matches(0.5)
    (1, 0, 1)
    """
    from scipy.sparse import coo_array

    rows, first_sizes = _numbered(first)
    columns, second_sizes = _numbered(second)
    both = (rows > 0) & (columns > 0)
    union = int(np.count_nonzero((rows > 0) | (columns > 0)))
    foreground = float(np.count_nonzero(both) / union) if union else 1.0
    places = (rows[both] - 1, columns[both] - 1)
    shape = (len(first_sizes), len(second_sizes))
    ious, partners = np.zeros(shape[0]), np.zeros(shape[1], bool)
    if both.any():
        overlaps = coo_array((np.ones(len(places[0]), np.int64), places), shape=shape)
        overlaps.sum_duplicates()
        row, column = overlaps.coords
        found = overlaps.data / (first_sizes[row] + second_sizes[column] - overlaps.data)
        # An IoU above 0.5 has one partner only. Several objects can have exactly 0.5 with one: the first gets it.
        for number in np.argsort(-found, kind="stable"):
            if found[number] < THRESHOLDS[0]:
                break
            if not ious[row[number]] and not partners[column[number]]:
                ious[row[number]], partners[column[number]] = found[number], True
    return Agreement(ious, int(np.count_nonzero(~partners)), foreground)


def _numbered(labels: Array) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the label map with numbers from 1 without gaps, as one axis, and the pixels of each object."""
    values, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    numbers = numbers.ravel()
    background = np.flatnonzero(values == 0)
    if not background.size:
        return numbers + 1, counts
    # values are sorted, and labels may be negative in files of other programs
    zero = int(background[0])
    order = np.concatenate([np.arange(1, zero + 1), [0], np.arange(zero + 1, len(values))])
    return order[numbers], np.delete(counts, zero)
