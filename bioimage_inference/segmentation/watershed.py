"""Finds objects in foreground and boundary maps: connected seeds, which a watershed grows, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_blocks import Grid, LabelFile, Labels, compact
from .prediction_maps import FloatArray, Maps

# Objects end where a pixel is more likely background than foreground.
LEAST_FOREGROUND = 0.5

_NumberPairs = NDArray[np.uint32]


@dataclass(frozen=True)
class Seeds:
    """The seeds of one sample, from 1.

    ``file`` holds the number of each pixel within its block. ``merged`` maps these numbers to seeds: a seed may have
    one number in each block that it touches. 0 is the background.
    """

    file: LabelFile
    merged: NDArray[np.uint32]

    @property
    def count(self) -> int:
        """Number of seeds in the sample."""
        return int(self.merged.max())

    def read(self, region: tuple[slice, ...]) -> Labels:
        """Return the seeds in a region."""
        return self.merged[self.file.read(region)]


def object_mask(foreground: FloatArray) -> NDArray[np.bool_]:
    """Return the pixels that may belong to an object."""
    return foreground > LEAST_FOREGROUND


def seed_mask(foreground: FloatArray, boundary: FloatArray, threshold: float) -> NDArray[np.bool_]:
    """Return the pixels of seeds."""
    return (foreground - boundary > threshold) & object_mask(foreground)


def find_seeds(maps: Maps, index: tuple[int, ...], grid: Grid, threshold: float, file: LabelFile) -> Seeds:
    """Return the seeds of a sample: pixels that share a face belong to one seed, across blocks too."""
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
    """Pairs of numbers that touch across the face of two blocks. Keeps the last plane of a block for its neighbour."""

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
    """Return the seed of each number from 0 to ``count``: numbers that touch share a seed. Numbers keep their order."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([np.empty((0, 2), np.uint32), *pairs]).astype(
        np.int32
    )  # scipy before 1.15 takes no other type
    graph = coo_array((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(count + 1, count + 1))
    _, component = connected_components(graph, directed=False)
    # Components are in the order of their first number, so the background is component 0.
    return np.asarray(component, np.uint32)


def grow_seeds(maps: Maps, index: tuple[int, ...], grid: Grid, seeds: Seeds) -> Iterator[tuple[Region, Labels]]:
    """Yield each block's region and the object, by its seed, of each pixel in the region.

    The watershed of a block includes the grid's overlap around the block. If an object and its neighbours are smaller
    than the overlap, the result equals a watershed of the whole sample, except for ties between equal pixels.
    """
    for block in grid:
        markers = seeds.read(block.outer)
        present, local = compact(markers, seeds.count)
        if not len(present):
            yield block.core, np.zeros([part.stop - part.start for part in block.core], np.uint32)
            continue
        foreground, boundary = maps.read(index, block.outer)
        grown = grow(foreground, boundary, local)[block.inner]
        yield block.core, np.concatenate([[0], present]).astype(np.uint32)[grown]


def grow(foreground: FloatArray, boundary: FloatArray, seeds: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the watershed that grows the seeds to the end of the foreground, through faces, surest pixels first."""
    from skimage.segmentation import watershed

    labels: NDArray[np.int32] = watershed(boundary - foreground, seeds, mask=object_mask(foreground))
    return labels
