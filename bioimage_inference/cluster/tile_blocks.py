"""Geometry of work on a cluster: the kept parts of tiles are chunks of a regular grid, and blocks of tiles are tasks.

::

    chunks     ├────────C────────┼────────C────────┼────────C────────┼──rest──┤
    tile 0     ├──────────────────────┤
    tile 1                    ├──────────────────────┤        begins a halo before its chunk,
    tile 2                                   ├──────────────────────┤   on a multiple of the stride
    tile 3                                                 ├──────────────────┤ flush with the end

One tile computes a chunk. One task computes and writes a block of tiles, which is a shard if it has several tiles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, floor, prod

from ..errors import UsageError
from ..text import counted
from ..tiling.axis_tiling import AxisTiling, Kept
from ..tiling.plan import OutputPlan, Plan, Tile

# Tiles join to blocks as long as this many tasks remain and a block has at most this many pixels.
_FEWEST_TASKS = 512
_LARGEST_BLOCK = 1 << 24
# Chunk length in pixels along an axis with a single tile, so that a viewer need not read the whole axis.
_LONGEST_CHUNK = 1024


@dataclass(frozen=True)
class Block:
    """One task: tiles of the sample at ``index``. ``places`` are the numbers of the first tile and the last + 1."""

    index: tuple[int, ...]
    places: Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Blocks:
    """All tasks of an image, and the chunks of its outputs.

    Along each axis with several tiles, ``kept`` is the length of a chunk in pixels of the leading input, and
    ``grouped`` is the number of tiles in a block. If ``regular`` is false, a block is a whole sample.
    """

    plan: Plan
    samples: tuple[int, ...]
    regular: bool
    kept: Mapping[str, int]
    grouped: Mapping[str, int]

    def __len__(self) -> int:
        return prod(self.samples) * prod(self._counts().values())

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks of one sample after the other, the last axis fastest."""
        counts = self._counts()
        for index in product(*map(range, self.samples)):
            for place in product(*map(range, counts.values())):
                yield Block(index, {letter: self._span(letter, n) for letter, n in zip(counts, place, strict=True)})

    def tiles(self, block: Block) -> Iterator[Tile]:
        """Yield the tiles of a block, the last axis fastest."""
        for place in product(*(range(*span) for span in block.places.values())):
            yield self.plan.tile(dict(zip(block.places, place, strict=True)))

    def spans(self, output: OutputPlan, block: Block) -> dict[str, tuple[int, int]]:
        """Return the region of an output that a block computes: (start, stop) along every axis that tiles cut."""
        found = {}
        for letter, kept in output.kept.items():
            first, last = block.places[output.links[letter].letter]
            found[letter] = (kept[first].start, kept[last - 1].stop)
        return found

    def chunks(self, output: OutputPlan, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return the pixels of a chunk along the axes that follow the image. Other axes have chunks of one."""
        found = {}
        for letter, link in output.links.items():
            if self.regular and link.letter in self.kept:
                found[letter] = floor(self.kept[link.letter] * link.scale)
            else:
                found[letter] = min(sizes[letter], _LONGEST_CHUNK)
        return found

    def shards(self, output: OutputPlan, sizes: Mapping[str, int]) -> dict[str, int] | None:
        """Return the pixels of a shard, which a block writes, or ``None`` if a block is one chunk of every channel."""
        if not self.regular or max(self.grouped.values(), default=1) == 1:
            return None
        chunks = self.chunks(output, sizes)
        found = {}
        for letter, size in sizes.items():
            link, chunk = output.links.get(letter), chunks.get(letter, 1)
            number = self.grouped.get(link.letter) if link is not None else None
            found[letter] = chunk * (number if number is not None else ceil(size / chunk))
        return found

    def _counts(self) -> dict[str, int]:
        """Return the number of blocks along each axis."""
        if not self.regular:
            return {axis.letter: 1 for axis in self.plan.axes}
        return {axis.letter: ceil(len(axis.starts) / self.grouped.get(axis.letter, 1)) for axis in self.plan.axes}

    def _span(self, letter: str, number: int) -> tuple[int, int]:
        tiles = next(len(axis.starts) for axis in self.plan.axes if axis.letter == letter)
        if not self.regular:
            return 0, tiles
        length = self.grouped.get(letter, 1)
        return number * length, min((number + 1) * length, tiles)


def make_blocks(plan: Plan, samples: tuple[int, ...], whole: bool) -> Blocks:
    """Return the tasks of an image: blocks of tiles, or samples if a step needs ``whole`` samples.

    Tiles keep their size and halo, but move so that their kept parts form a regular grid. Raises :class:`UsageError`
    for tiles that are too short for a grid.
    """
    if whole:
        return Blocks(plan, samples, regular=False, kept={}, grouped={})
    kept = {axis.letter: _kept_length(axis, plan.halo[axis.letter]) for axis in plan.axes if len(axis.starts) > 1}
    axes = tuple(
        replace(axis, starts=_starts(axis, kept[axis.letter], plan.halo[axis.letter])) if axis.letter in kept else axis
        for axis in plan.axes
    )
    tilings = {axis.letter: axis for axis in axes}
    outputs = tuple(replace(output, kept=dict(output.kept) | _cut(output, tilings, kept)) for output in plan.outputs)
    regular = replace(plan, axes=axes, outputs=outputs)
    return Blocks(regular, samples, regular=True, kept=kept, grouped=_grouped(regular, samples, kept))


def _lead(axis: AxisTiling, halo: int) -> int:
    """Return the pixels from the start of a tile to its chunk: the halo, rounded up to the stride."""
    return halo + (-halo - axis.start) % axis.stride


def _kept_length(axis: AxisTiling, halo: int) -> int:
    spare = axis.overlap - halo + _lead(axis, halo)
    length = (axis.tile - spare) // axis.stride * axis.stride
    if length < 1:
        shortest = ceil((spare + axis.stride) / axis.stride) * axis.stride
        raise UsageError(
            f"A tile of {counted(axis.tile, 'pixel')} along {axis.letter} is too short to be cut into the regular "
            f"grid in which results of a cluster are stored: {spare} of them are halo. Give at least {shortest} with "
            "--tile, or, where the model takes no other size, predict without --dask."
        )
    return length


def _starts(axis: AxisTiling, kept: int, halo: int) -> tuple[int, ...]:
    """Return the starts of tiles: tile n begins a halo before pixel n * kept, the last one ends at the end."""
    last, lead = axis.stop - axis.tile, _lead(axis, halo)
    starts = [axis.start]
    # a tile beyond the image, in the padding at its end, keeps nothing
    while starts[-1] < last and len(starts) * kept < axis.size:
        starts.append(min(max(axis.start, len(starts) * kept - lead), last))
    return tuple(starts)


def _cut(output: OutputPlan, axes: Mapping[str, AxisTiling], kept: Mapping[str, int]) -> dict[str, tuple[Kept, ...]]:
    """Return the kept part of each tile of an output: chunk n of tile n. The last one reaches the end."""
    found = {}
    for letter, link in output.links.items():
        if link.letter not in kept:
            continue
        axis, whole = axes[link.letter], output.sizes[letter]
        firsts = [floor(start * link.scale) for start in axis.starts]
        cuts = [min(floor(number * kept[link.letter] * link.scale), whole) for number in range(len(firsts))]
        ends = [*cuts[1:], whole]
        found[letter] = tuple(Kept(cut, end, cut - first) for first, cut, end in zip(firsts, cuts, ends, strict=True))
    return found


def _grouped(plan: Plan, samples: tuple[int, ...], kept: Mapping[str, int]) -> dict[str, int]:
    """Return the tiles per block along each axis, doubled along the shortest side while enough tasks remain."""
    counts = {axis.letter: len(axis.starts) for axis in plan.axes if axis.letter in kept}
    fixed = prod(axis.size for axis in plan.axes if axis.letter not in kept)
    grouped = dict.fromkeys(counts, 1)
    while True:
        open_axes = [letter for letter in counts if grouped[letter] < counts[letter]]
        if not open_axes:
            return grouped
        shortest = min(open_axes, key=lambda letter: grouped[letter] * kept[letter])
        larger = grouped | {shortest: 2 * grouped[shortest]}
        tasks = prod(samples) * prod(ceil(counts[letter] / larger[letter]) for letter in counts)
        if tasks < _FEWEST_TASKS or fixed * prod(larger[letter] * kept[letter] for letter in counts) > _LARGEST_BLOCK:
            return grouped
        grouped = larger
