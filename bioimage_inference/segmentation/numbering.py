"""Which of the grown regions are objects, and their final labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measuring import Objects


@dataclass(frozen=True)
class Numbered:
    """The objects in the order of their labels 1, 2, ..., and the label of every region (0: not an object).

    ``small`` regions were left out because of their size.
    """

    objects: Objects
    labels: NDArray[np.uint32]
    small: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """uint16 where it holds all labels, else uint32."""
        return np.dtype(np.uint16 if len(self.objects) <= np.iinfo(np.uint16).max else np.uint32)


def number(regions: Objects, min_size: int) -> Numbered:
    """Label the regions of at least ``min_size`` pixels by sample, then by their first pixel in scan order.

    ``labels[0]`` of the result is the background; the region in row n has the number n + 1.
    """
    large = np.flatnonzero(regions.size >= max(min_size, 1))
    rows = large[np.lexsort((regions.first[large], regions.sample[large]))]
    labels = np.zeros(len(regions) + 1, np.uint32)
    labels[rows + 1] = np.arange(1, len(rows) + 1)
    return Numbered(regions.take(rows), labels, int(np.count_nonzero(regions.size)) - len(rows))
