"""Seeds of objects: connected regions where the foreground exceeds the boundary, found block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .label_blocks import Grid
from .label_file import LabelFile, Labels
from .maps import Array, Maps

LEAST_FOREGROUND = 0.5
"""Objects end where a pixel is more likely not to belong to one."""

_NumberPairs = NDArray[np.uint32]


@dataclass(frozen=True)
class Seeds:
    """The seeds of one sample: ``file`` holds the numbers that blocks gave, ``merged`` the seed of each number.

    Seeds are counted from 1; ``merged[0]`` is 0, the background.
    """

    file: LabelFile
    merged: NDArray[np.uint32]

    @property
    def count(self) -> int:
        """Number of seeds."""
        return int(self.merged.max())

    def read(self, region: tuple[slice, ...]) -> Labels:
        """The seeds in a region."""
        return self.merged[self.file.read(region)]


def object_mask(foreground: Array) -> NDArray[np.bool_]:
    """Pixels that may belong to an object."""
    return foreground > LEAST_FOREGROUND


def seed_mask(foreground: Array, boundary: Array, threshold: float) -> NDArray[np.bool_]:
    """Pixels of seeds."""
    return (foreground - boundary > threshold) & object_mask(foreground)


def find_seeds(maps: Maps, index: tuple[int, ...], grid: Grid, threshold: float, file: LabelFile) -> Seeds:
    """Number the seeds of the sample at ``index``, by connection through faces, also across blocks."""
    from scipy import ndimage

    count = 0
    faces = _Faces()
    for block in grid:
        mask = seed_mask(*maps.read(index, block.core), threshold)
        labels, found = ndimage.label(mask, output=np.uint32)
        labels[labels > 0] += np.uint32(count)
        count += int(found)
        file.write(block.core, labels)
        faces.add(block.index, labels, grid.counts)
    return Seeds(file, _merged(count, faces.pairs()))


@dataclass
class _Faces:
    """Numbers that meet across the faces of blocks; the last planes of blocks are kept until their neighbours come."""

    _last: dict[tuple[int, tuple[int, ...]], Labels] = field(default_factory=dict)
    _met: list[_NumberPairs] = field(default_factory=list)

    def add(self, index: tuple[int, ...], labels: Labels, counts: tuple[int, ...]) -> None:
        for axis in range(labels.ndim):
            before = self._last.pop((axis, index), None)
            if before is not None:
                after: Labels = np.take(labels, 0, axis=axis)
                both = (before > 0) & (after > 0)
                self._met.append(np.unique(np.stack([before[both], after[both]], axis=1), axis=0))
            if index[axis] + 1 < counts[axis]:
                neighbour = (*index[:axis], index[axis] + 1, *index[axis + 1 :])
                self._last[axis, neighbour] = np.take(labels, -1, axis=axis)

    def pairs(self) -> Iterator[_NumberPairs]:
        yield from self._met


def _merged(count: int, pairs: Iterator[_NumberPairs]) -> NDArray[np.uint32]:
    """The seed of every number from 0 to ``count``, where numbers that meet are one seed; in the order of numbers."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([np.empty((0, 2), np.uint32), *pairs]).astype(np.int32)  # older scipy takes no other
    graph = coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(count + 1, count + 1))
    _, component = connected_components(graph, directed=False)
    # Components come in the order of their first number, so that the background's is 0.
    return np.asarray(component, np.uint32)
