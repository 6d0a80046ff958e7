"""How much overlapping tiles differ where they meet: nothing, but for networks that look at the whole tile."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..array_types import Array
from ..tiling.plan import OutputPlan, Plan, Tile


class Seams:
    """Compares each tile with the one before it, where that is its neighbour, in the pixels on both sides of the cut.

    There both tiles have their full halo. Outputs are as the network returns them.
    """

    def __init__(self, plan: Plan) -> None:
        self._outputs = plan.outputs
        self._before: tuple[Tile, Sequence[Array]] | None = None
        self._largest = dict.fromkeys((output.id for output in plan.outputs), 0.0)
        self._ranges = {output.id: (np.inf, -np.inf) for output in plan.outputs}

    def add(self, tiles: Sequence[Tile], computed: Sequence[Sequence[Array]]) -> None:
        """Compare some tiles that follow each other, and the first with the last of those before."""
        for tile, blocks in zip(tiles, computed, strict=True):
            for output, block in zip(self._outputs, blocks, strict=False):
                known = block[np.isfinite(block)]
                low, high = self._ranges[output.id]
                if known.size:
                    self._ranges[output.id] = min(low, float(known.min())), max(high, float(known.max()))
            if self._before is not None:
                before, earlier = self._before
                for output, one, other in zip(self._outputs, earlier, blocks, strict=False):
                    apart = _apart(output, before, tile, one, other)
                    self._largest[output.id] = max(self._largest[output.id], apart)
            self._before = tile, blocks

    def remarks(self) -> Iterator[str]:
        """For each output how much tiles differ at most, as part of the range of its values."""
        for name, largest in self._largest.items():
            low, high = self._ranges[name]
            if largest > 0:
                yield (
                    f"Where tiles meet, overlapping tiles differ by up to {largest / (high - low):.1%} of the range of "
                    f"values of the output {name!r}."
                )


def _apart(output: OutputPlan, before: Tile, after: Tile, one: Array, other: Array) -> float:
    """The largest difference of two tiles of an output on both sides of their cut; 0 where they are no neighbours."""
    kept = [(letter, before.kept[output.id][letter], after.kept[output.id][letter]) for letter in output.kept]
    cut = [(letter, first, second) for letter, first, second in kept if first != second]
    if len(cut) != 1 or cut[0][1].stop != cut[0][2].start:
        return 0.0
    ((letter, first, second),) = cut
    axis = output.letters.index(letter)
    places = [
        (place - first.start + first.offset, place - second.start + second.offset)
        for place in (second.start - 1, second.start)
    ]
    shared = [pair for pair in places if pair[0] < one.shape[axis] and pair[1] >= 0]
    if not shared:
        return 0.0
    sides = [block.take([pair[n] for pair in shared], axis).astype(np.float64) for n, block in enumerate((one, other))]
    difference = np.abs(np.subtract(*sides))
    return float(difference[np.isfinite(difference)].max(initial=0.0))
