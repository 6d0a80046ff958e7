"""Joins objects of neighbouring planes into objects of the stack, for models that see one plane at a time.

Two objects of neighbouring planes are one object if each overlaps the other more than any other object of that plane,
and their intersection over union reaches a threshold, as in the stitching of Cellpose (Stringer et al. 2021).
"""

from collections.abc import Iterator
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region
from .label_blocks import LabelFile, cut
from .measuring import Floats, Integers, Objects
from .prediction_maps import Samples

Pairs = NDArray[np.int64]
Numbers = TypeVar("Numbers", Integers, Floats)


def stitched_groups(regions: LabelFile, planes: Objects, stack: Samples, threshold: float) -> Integers:
    """Return the number of the object, from 0, that each region of a plane is a part of.

    Row n of ``planes`` is region n + 1 in ``regions``. ``stack`` are the samples with the axes zyx.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [np.empty((0, 2), np.int64)]
    for index in stack.indices():
        sample = tuple(slice(at, at + 1) for at in index)
        for z in range(1, stack.shape[0]):
            links.append(_links(_overlaps(regions, sample, z, stack.shape), planes.size, threshold))
    rows = np.concatenate(links).astype(np.int32) - 1
    graph = coo_array((np.ones(len(rows), np.bool_), (rows[:, 0], rows[:, 1])), shape=(len(planes),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def merged_objects(planes: Objects, groups: Integers, z: Integers, samples: Integers, depth: int) -> Objects:
    """Return the measures of the objects whose planes are in ``planes``.

    Parameters
    ----------
    groups
        The object of each row, from 0.
    z, samples
        The plane and the volume of each row, from 0.
    depth
        Number of planes in a volume. The first and the last plane are borders.
    """
    count = int(groups.max(initial=-1)) + 1
    size = _summed(planes.size, groups, count)
    parts = planes.size[:, None]
    centre = np.column_stack([z, planes.centre])
    low, high = np.column_stack([z, planes.low]), np.column_stack([z + 1, planes.high])
    mean = _summed(parts * planes.mean, groups, count) / size[:, None]
    squares = parts * (planes.deviation**2 + (planes.mean - mean[groups]) ** 2)
    border = planes.at_border | (z == 0) | (z == depth - 1)
    return Objects(
        sample=_lowest(samples, groups, count),
        first=_lowest(z * (planes.first.max(initial=0) + 1) + planes.first, groups, count),
        size=size,
        centre=_summed(parts * centre, groups, count) / size[:, None],
        low=_lowest(low, groups, count),
        high=-_lowest(-high, groups, count),
        at_border=_summed(border.astype(np.int64), groups, count) > 0,
        mean=mean,
        deviation=np.sqrt(_summed(squares, groups, count) / size[:, None]),
        lowest=_lowest(planes.lowest, groups, count),
        highest=-_lowest(-planes.highest, groups, count),
        integrated=_summed(planes.integrated, groups, count),
    )


def _overlaps(regions: LabelFile, sample: Region, z: int, shape: tuple[int, ...]) -> Iterator[tuple[Pairs, Integers]]:
    """Yield pairs of regions that overlap in plane z - 1 and plane z, and the number of pixels that they share."""
    for block in cut(shape[1:], 0):
        below = regions.read((*sample, slice(z - 1, z), *block.core)).reshape(-1)
        above = regions.read((*sample, slice(z, z + 1), *block.core)).reshape(-1)
        both = (below > 0) & (above > 0)
        pairs = np.stack([below[both], above[both]], axis=1).astype(np.int64)
        yield np.unique(pairs, axis=0, return_counts=True)


def _links(overlaps: Iterator[tuple[Pairs, Integers]], sizes: Integers, threshold: float) -> Pairs:
    """Return the pairs of regions whose intersection over union is best for both, and at least the threshold."""
    found = list(overlaps)
    pairs, places = np.unique(np.concatenate([one for one, _ in found]), axis=0, return_inverse=True)
    shared = np.bincount(places.reshape(-1), np.concatenate([counts for _, counts in found]), len(pairs))
    union = sizes[pairs[:, 0] - 1] + sizes[pairs[:, 1] - 1] - shared
    ratio = shared / np.maximum(union, 1)
    best = np.ones(len(pairs), np.bool_)
    for column in (0, 1):
        order = np.lexsort((-ratio, pairs[:, column]))
        first = np.unique(pairs[order, column], return_index=True)[1]
        is_best = np.zeros(len(pairs), np.bool_)
        is_best[order[first]] = True
        best &= is_best
    linked: Pairs = pairs[best & (ratio >= threshold)]
    return linked


def _summed(values: Numbers, groups: Integers, count: int) -> Numbers:
    found = np.zeros((count, *values.shape[1:]), values.dtype)
    np.add.at(found, groups, values)
    return cast(Numbers, found)


def _lowest(values: Numbers, groups: Integers, count: int) -> Numbers:
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(count))
    return cast(Numbers, np.minimum.reduceat(values[order], starts, axis=0) if count else values[:0])
