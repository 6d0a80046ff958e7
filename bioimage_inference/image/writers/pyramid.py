"""The levels of a pyramid: smaller copies of an output that viewers show when they zoom out.

A level halves y and x, and z where the planes lie close enough together. A pixel of a level stands for a block of
pixels of the level before it: their mean, or for whole numbers one of them, because these may be labels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from ...array_types import Array
from ..image import PixelSize, Region
from ..units import MICROMETRES
from .base import Layout

SMALLEST = 512
"""The last level has at most as many pixels along y and along x: a viewer draws it at once."""

Read = Callable[[Region], Array]


def pyramid(layout: Layout) -> tuple[Layout, ...]:
    """Return the layouts of all levels, the full resolution first. An output without y and x has one level."""
    levels = [layout]
    while layout.is_image and max(layout.size("y"), layout.size("x")) > SMALLEST:
        layout = _halved(layout)
        levels.append(layout)
    return tuple(levels)


def _halved(layout: Layout) -> Layout:
    letters = [letter for letter in ("yxz" if _planes_are_close(layout) else "yx") if layout.size(letter) > 1]
    shape = [-(-size // 2) if axis in letters else size for axis, size in zip(layout.axes, layout.shape, strict=True)]
    sizes = {one: (layout.pixel_size.get(one) or PixelSize(1.0, "pixel")).resampled(0.5) for one in letters}
    return replace(layout, shape=tuple(shape), pixel_size={**layout.pixel_size, **sizes})


def _planes_are_close(layout: Layout) -> bool:
    """Return whether voxels are nearer to cubes if z is halved together with y and x; unknown sizes are no reason."""
    known = [layout.pixel_size.get(letter) for letter in "zx"]
    z, x = (size.value * MICROMETRES[size.unit] if size and size.unit in MICROMETRES else None for size in known)
    return z is not None and x is not None and z < math.sqrt(2) * x


def averages(dtype: "np.dtype[np.generic]") -> bool:
    """Return whether a level has the means of pixels: whole numbers may be labels, which have no mean."""
    return dtype.kind not in "iub"


def reduced(read: Read, finer: Sequence[int], coarser: Sequence[int], region: Region) -> Array:
    """Return a region of a level.

    ``read`` returns a region of the level before. ``finer`` and ``coarser`` are the shapes of both levels.
    """
    factors = [1 if before == after else 2 for before, after in zip(finer, coarser, strict=True)]
    spans = zip(region, factors, finer, strict=True)
    source = tuple(slice(span.start * by, min(span.stop * by, size)) for span, by, size in spans)
    block = read(source)
    if not averages(block.dtype):
        return block[tuple(slice(None, None, by) for by in factors)]
    # An odd last pixel has no partner and stands for itself.
    block = np.pad(block, [(0, size % by) for size, by in zip(block.shape, factors, strict=True)], mode="edge")
    pairs = [part for size, by in zip(block.shape, factors, strict=True) for part in (size // by, by)]
    exact = np.promote_types(block.dtype, np.float32)
    mean = block.reshape(pairs).mean(axis=tuple(range(1, 2 * block.ndim, 2)), dtype=exact)
    return np.asarray(mean.astype(block.dtype))


def regions(shape: Sequence[int], step: Sequence[int], offset: Sequence[int] | None = None) -> Iterator[Region]:
    """Yield the regions of a grid of ``step`` pixels that covers ``shape``, the last axis fastest.

    ``offset`` is the first pixel, 0 along each axis by default.
    """
    starts = (0,) * len(shape) if offset is None else offset
    for place in product(*(range(0, size, by) for size, by in zip(shape, step, strict=True))):
        yield tuple(
            slice(start + at, start + min(at + by, size))
            for start, at, by, size in zip(starts, place, step, shape, strict=True)
        )
