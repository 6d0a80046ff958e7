"""How much overlapping tiles differ where they meet: only networks that depend on the whole tile make a difference."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..array_types import Array
from ..tiling.plan import OutputPlan, Plan, Tile


class Seams:
    """Compares each tile with the tile before it, if they are neighbours, in the pixels on both sides of the cut.

    There, both tiles have their full halo. Outputs are compared as the network returns them.
    """

    def __init__(self, plan: Plan) -> None:
        self._outputs = plan.outputs
        self._before: tuple[Tile, Sequence[Array]] | None = None
        self._largest = {output.id: 0.0 for output in plan.outputs}
        self._ranges = {output.id: (np.inf, -np.inf) for output in plan.outputs}

    def add(self, tiles: Sequence[Tile], computed: Sequence[Sequence[Array]]) -> None:
        """Compare tiles that follow each other, and the first of them with the last tile of the call before."""
        for tile, blocks in zip(tiles, computed, strict=True):
            for number, (output, block) in enumerate(zip(self._outputs, blocks, strict=True)):
                known = block[np.isfinite(block)]
                if known.size:
                    low, high = self._ranges[output.id]
                    self._ranges[output.id] = min(low, float(known.min())), max(high, float(known.max()))
                if self._before is not None:
                    before, earlier = self._before
                    seam = _difference_at_cut(output, before, tile, earlier[number], block)
                    self._largest[output.id] = max(self._largest[output.id], seam)
            self._before = tile, blocks

    def remarks(self) -> Iterator[str]:
        """Yield, for each output with differences, the largest one as part of the range of the output's values."""
        for name, largest in self._largest.items():
            low, high = self._ranges[name]
            if largest > 0:
                yield (
                    f"Where tiles meet, overlapping tiles differ by up to {largest / (high - low):.1%} of the range of "
                    f"values of the output {name!r}."
                )


def _difference_at_cut(output: OutputPlan, before: Tile, after: Tile, block: Array, next_block: Array) -> float:
    """Return the largest difference of two tiles of an output beside their cut; 0 if they are not neighbours."""
    kept = [(letter, before.kept[output.id][letter], after.kept[output.id][letter]) for letter in output.kept]
    cut = [(letter, first, second) for letter, first, second in kept if first != second]
    if len(cut) != 1 or cut[0][1].stop != cut[0][2].start:
        return 0.0
    ((letter, first, second),) = cut
    axis = output.letters.index(letter)
    pixels = [
        (pixel - first.start + first.offset, pixel - second.start + second.offset)
        for pixel in (second.start - 1, second.start)
    ]
    shared = [pair for pair in pixels if pair[0] < block.shape[axis] and pair[1] >= 0]
    if not shared:
        return 0.0
    own, others = (list(indices) for indices in zip(*shared, strict=True))
    difference = np.abs(block.take(own, axis).astype(np.float64) - next_block.take(others, axis).astype(np.float64))
    return float(difference[np.isfinite(difference)].max(initial=0.0))
