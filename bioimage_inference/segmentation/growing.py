"""Growing seeds to objects by a watershed, block by block."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_blocks import Grid
from .label_file import Labels, compact
from .maps import Array, Maps
from .seeds import Seeds, object_mask


def grow_seeds(maps: Maps, index: tuple[int, ...], grid: Grid, seeds: Seeds) -> Iterator[tuple[Region, Labels]]:
    """The region of every block of the sample at ``index``, and which seed's object each of its pixels belongs to.

    Every block is grown with the overlap of the grid around it. Where an object and its neighbours are not larger than
    that, the result is that of a watershed of the whole sample, but for ties between pixels of exactly the same value.
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


def grow(foreground: Array, boundary: Array, seeds: NDArray[np.int32]) -> NDArray[np.int32]:
    """Flood from the seeds, the surest pixels first, to the end of the foreground; connected through faces."""
    from skimage.segmentation import watershed

    labels: NDArray[np.int32] = watershed(boundary - foreground, seeds, mask=object_mask(foreground))
    return labels
