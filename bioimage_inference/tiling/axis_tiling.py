"""Geometry along one axis: where tiles start, which part of each output is kept, which pixels fill the padding.

::

    image            0┌──────────────────────────────────────┐size
    tile 0            ├─────────────────┤
    tile 1                       ├─────────────────┤
    tile 2                              ┆ ├─────────────────┤┄ stop: beyond the image only up to the next legal size
    kept              ╞════════════╪═══════════╪═════════════╡
                                   cut: at least the halo away from the ends of both tiles
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, lcm
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..model.spec import FixedSize, FreeSize, Size, StepSize

OUTSIDE = -1
"""Index of a pixel that the image does not have, see :func:`border_indices`."""


@dataclass(frozen=True)
class AxisTiling:
    """Tiles along one axis, in pixels of the image.

    The network sees ``start`` … ``stop``: negative, or beyond ``size``, where the image is padded. Every tile is
    ``tile`` pixels long and begins at one of ``starts``. Neighbours share at least ``overlap`` pixels and start on
    multiples of ``stride``, counted from ``start``.
    """

    letter: str
    size: int
    start: int
    stop: int
    tile: int
    starts: tuple[int, ...]
    overlap: int = 0
    stride: int = 1

    @property
    def padding(self) -> tuple[int, int]:
        """Pixels added before and after the image."""
        return -self.start, self.stop - self.size


@dataclass(frozen=True)
class Kept:
    """The kept part of a tile: ``start`` … ``stop`` in the whole output, from ``offset`` on in the tile's output."""

    start: int
    stop: int
    offset: int


def legal_size(size: Size, pixels: int) -> int:
    """Return the smallest legal size of at least ``pixels``, or the fixed size, which may be smaller."""
    match size:
        case FixedSize(fixed):
            return fixed
        case StepSize(minimum, step):
            return minimum + max(0, ceil((pixels - minimum) / step)) * step
        case FreeSize(minimum, _):
            return max(minimum, pixels)
        case _:
            raise TypeError(f"{size} depends on another axis")


def stride_of(size: Size, overlap: int, coarsest: int = 1) -> int:
    """Return the step of tile starts with which the pooling grids of all tiles agree, a multiple of ``coarsest``.

    It is the step of the legal sizes. A fixed size has no step: networks halve it up to five times, so the largest
    power of two up to 32 that divides it is taken, if tiles then still advance beyond their ``overlap``. Tiles that
    start on multiples of ``coarsest`` never start between two pixels of a coarser tensor.
    """
    match size:
        case StepSize(_, step):
            return lcm(step, coarsest)
        case FixedSize(fixed):
            strides = [lcm(power, coarsest) for power in (1, 2, 4, 8, 16, 32) if fixed % power == 0]
            return max(stride for stride in strides if stride <= max(coarsest, fixed - overlap))
        case _:
            return coarsest


def spread(extent: int, tile: int, overlap: int, stride: int) -> tuple[int, ...]:
    """Return the starts of the fewest tiles that cover ``extent``; neighbours share at least ``overlap`` pixels.

    The first and the last tile are flush with the ends; the others lie evenly, on multiples of ``stride``.
    Raises :class:`ValueError` if tiles are too short to advance.
    """
    if tile >= extent:
        return (0,)
    advance = (tile - overlap) // stride * stride
    if advance < 1:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap} and start on multiples of {stride}")
    last = extent - tile
    count = ceil(last / advance)
    return (*(ceil(last * number / count / stride) * stride if number else 0 for number in range(count)), last)


def candidates(size: Size, extent: int, overlap: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of tile length and number of tiles that cover ``extent``, from one whole tile to the shortest."""
    tile = legal_size(size, extent)
    if isinstance(size, FixedSize):
        yield tile, len(spread(extent, tile, overlap, stride))
        return
    shortest = max(legal_size(size, 1), legal_size(size, overlap + stride))
    count = 0
    while tile >= shortest:
        starts = spread(extent, tile, overlap, stride)
        if len(starts) > count:
            count = len(starts)
            yield tile, count
        # the shortest tile that needs one more tile than now
        wanted = legal_size(size, ceil((extent + count * overlap) / (count + 1)))
        tile = wanted if wanted < tile else tile - stride


def kept_parts(tiling: AxisTiling, scale: Fraction, offset: int, halo: int) -> tuple[Kept, ...]:
    """Return the kept part of each tile along an output axis with ``output = input * scale + offset``.

    ``halo`` is in output pixels. A tile that begins at input pixel ``a`` yields output pixels from ``a * scale`` on;
    ``offset`` (below 0 if the network crops) shortens tiles and the whole image at the far end.
    Raises :class:`ValueError` if a tile starts between two output pixels.
    """
    whole = floor(tiling.size * scale) + offset
    begins = [start * scale for start in tiling.starts]
    if any(begin.denominator != 1 for begin in begins):
        raise ValueError(f"tiles along {tiling.letter} start between two output pixels")
    firsts = [int(begin) for begin in begins]
    length = floor(tiling.tile * scale) + offset
    cuts = [0]
    for before, after in pairwise(firsts):
        lowest, highest = after + halo, before + length - halo
        cuts.append((lowest + highest) // 2)
    cuts.append(whole)
    return tuple(Kept(begin, end, begin - first) for first, begin, end in zip(firsts, cuts, cuts[1:], strict=False))


def border_indices(
    start: int, stop: int, size: int, mode: Literal["constant", "edge", "reflect", "symmetric"]
) -> NDArray[Any]:
    """Return indices into an axis of ``size`` pixels for the pixels ``start`` … ``stop``, which may lie beyond it.

    ``symmetric`` mirrors at the border (…, 1, 0 | 0, 1, …), ``reflect`` at the outermost pixel (…, 2, 1 | 0, 1, …),
    repeatedly if the padding is longer than the image. ``edge`` repeats the outermost pixel, ``constant`` gives
    :data:`OUTSIDE`. The result is that of :func:`numpy.pad` on the whole axis.
    """
    places = np.arange(start, stop)
    if mode == "constant":
        return np.where((places >= 0) & (places < size), places, OUTSIDE)
    if mode == "edge" or size == 1:
        return places.clip(0, size - 1)
    period = 2 * size if mode == "symmetric" else 2 * size - 2
    places = places % period
    return np.minimum(places, period - places - (mode == "symmetric"))
