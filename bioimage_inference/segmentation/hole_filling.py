"""Fills the holes of objects: background that an object encloses becomes a part of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_blocks import MOST_PIXELS, LabelFile, Labels, cut
from .measuring import Objects
from .prediction_maps import Samples


def fill_holes(
    regions: LabelFile, objects: Objects, samples: Samples, filled: LabelFile, most: int = MOST_PIXELS
) -> None:
    """Write the labels of ``regions`` to ``filled``, with the holes of the objects filled.

    Row n of ``objects`` is label n + 1. Other objects in a hole stay as they are; a hole within two objects belongs to
    the smaller of them. A hole of a volume is enclosed on all sides. Samples are written in blocks of ``most`` pixels.
    """
    for number, index in enumerate(samples.indices()):
        sample = tuple(slice(at, at + 1) for at in index)
        rows = np.flatnonzero((objects.sample == number) & (objects.size > 0))
        rows = rows[np.argsort(objects.size[rows], kind="stable")]
        for block in cut(samples.shape, 0, most):
            labels = regions.read((*sample, *block.core)).reshape([part.stop - part.start for part in block.core])
            start, stop = ([getattr(part, end) for part in block.core] for end in ("start", "stop"))
            touching = ((objects.low[rows] < stop) & (objects.high[rows] > start)).all(axis=1)
            for row in rows[touching]:
                box = tuple(map(slice, objects.low[row].tolist(), objects.high[row].tolist()))
                mask = regions.read((*sample, *box)).reshape([part.stop - part.start for part in box]) == row + 1
                _add(labels, _holes(mask), box, block.core, int(row) + 1)
            filled.write((*sample, *block.core), labels.reshape((1,) * len(index) + labels.shape))


def _holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask) & ~mask, np.bool_)


def _add(labels: Labels, holes: NDArray[np.bool_], box: Sequence[slice], core: Region, label: int) -> None:
    """Give background of ``labels``, a block at ``core``, the label where ``holes``, a part at ``box``, are true."""
    shared = [(max(one.start, other.start), min(one.stop, other.stop)) for one, other in zip(box, core, strict=True)]
    inside = labels[
        tuple(slice(low - part.start, high - part.start) for (low, high), part in zip(shared, core, strict=True))
    ]
    part = holes[tuple(slice(low - one.start, high - one.start) for (low, high), one in zip(shared, box, strict=True))]
    inside[part & (inside == 0)] = label
