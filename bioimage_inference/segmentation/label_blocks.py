"""Cutting a sample into blocks: cores that cover it once, each inside a larger outer region that is worked on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from ..image.image import Region

MOST_PIXELS = 1 << 23
"""Largest outer region of a block; what is held at once is about 70 bytes for each of its pixels."""
OVERLAP = {2: 256, 3: 48}
"""How far a block looks beyond its core, in pixels, by the number of spatial dimensions."""


@dataclass(frozen=True)
class Block:
    """One block of a sample: ``core`` is what it contributes, ``outer`` what it sees; one slice per spatial axis.

    ``index`` is its place in the grid of blocks.
    """

    index: tuple[int, ...]
    core: Region
    outer: Region

    @property
    def inner(self) -> Region:
        """The core, counted from the start of the outer region."""
        return tuple(
            slice(core.start - outer.start, core.stop - outer.start)
            for core, outer in zip(self.core, self.outer, strict=True)
        )


@dataclass(frozen=True)
class Grid:
    """The blocks of a sample of ``shape``: cores of ``size`` pixels (fewer at the end), ``overlap`` pixels around."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    overlap: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along every axis."""
        return tuple(-(-whole // part) for whole, part in zip(self.shape, self.size, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        """All blocks, the last axis fastest."""
        for index in product(*map(range, self.counts)):
            starts = [place * part for place, part in zip(index, self.size, strict=True)]
            stops = [min(start + part, whole) for start, part, whole in zip(starts, self.size, self.shape, strict=True)]
            yield Block(
                index,
                tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True)),
                tuple(
                    slice(max(start - self.overlap, 0), min(stop + self.overlap, whole))
                    for start, stop, whole in zip(starts, stops, self.shape, strict=True)
                ),
            )


def cut(shape: Sequence[int], overlap: int, most: int = MOST_PIXELS) -> Grid:
    """The grid of fewest cuts whose outer regions have at most ``most`` pixels; one block where the sample fits.

    Cores are never made smaller than the overlap, so that ``most`` may be passed where the overlap is large.
    """
    counts = [1] * len(shape)
    size = list(shape)
    while prod(min(part + 2 * overlap, whole) for part, whole in zip(size, shape, strict=True)) > most:
        longest = max(range(len(size)), key=lambda axis: size[axis])
        if size[longest] <= overlap:
            break
        counts[longest] += 1
        size[longest] = -(-shape[longest] // counts[longest])
    return Grid(tuple(shape), tuple(size), overlap)
