"""Several tiles at once: in one call of the network on a GPU, or side by side in threads on a CPU."""

from collections.abc import Sequence

import numpy as np

from ..array_types import Array
from ..errors import BioimageInferenceError, ModelError, OutOfMemoryError
from ..model.spec import ModelSpec, TensorSpec
from ..text import counted
from .network import Inputs, Network, same
from .torch_network import TorchNetwork


class Batches:
    """Computes up to ``most`` tiles at a time. A batch that does not fit into memory is halved.

    Tiles in slabs are computed side by side. All others are joined along the batch axes of the model. Then the first
    two tiles are also computed one by one. If the results differ, for instance because the network normalises over the
    batch, all tiles are computed one by one.
    """

    def __init__(self, network: Network, model: ModelSpec, most: int) -> None:
        self._network = network
        self._most = most
        self._inputs, self._outputs = _batch_axes(model.inputs), _batch_axes(model.outputs)
        self._compared = False

    def __call__(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        """Return the outputs of every tile. Raises the network's errors for a single tile."""
        if self._compared or min(self._most, len(tiles)) == 1 or self._in_slabs(tiles[0]) is not None:
            return self._compute(tiles)
        self._compared = True
        pair = [self._network(inputs) for inputs in tiles[:2]]
        if not self._agrees(tiles[:2], pair):
            self._most = 1
        return pair + self._compute(tiles[2:])

    def _agrees(self, tiles: Sequence[Inputs], expected: Sequence[Sequence[Array]]) -> bool:
        try:
            found = self._at_once(tiles)
        except BioimageInferenceError:  # the network takes single tiles only
            return False
        named = (outputs[: len(self._outputs)] for outputs in expected)
        return all(map(same, found, named))

    def _compute(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        """Return the outputs of every tile, computed as many at once as fit into memory."""
        found: list[list[Array]] = []
        while len(found) < len(tiles):
            part = tiles[len(found) : len(found) + self._most]
            try:
                found += self._at_once(part)
            except OutOfMemoryError:
                if len(part) == 1:
                    raise
                self._most = len(part) // 2
        return found

    def _at_once(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        if len(tiles) == 1:
            return [self._network(tiles[0])]
        if (network := self._in_slabs(tiles[0])) is not None:
            return network.side_by_side(tiles)
        joined = [
            None if arrays[0] is None else np.concatenate(arrays, axis)
            for axis, arrays in zip(self._inputs, zip(*tiles, strict=True), strict=True)
        ]
        # the description may name only the first of the outputs
        outputs = list(zip(self._outputs, self._network(joined), strict=False))
        if any(array.shape[axis] != len(tiles) for axis, array in outputs):
            raise ModelError(f"The network does not return a result for each of {counted(len(tiles), 'tile')}.")
        parts = [np.split(array, len(tiles), axis) for axis, array in outputs]
        return [list(tile) for tile in zip(*parts, strict=True)]

    def _in_slabs(self, inputs: Inputs) -> TorchNetwork | None:
        """Return the network if it computes such a tile in slabs."""
        network = self._network
        return network if isinstance(network, TorchNetwork) and network.computes_in_slabs(inputs) else None


def _batch_axes(tensors: Sequence[TensorSpec]) -> list[int]:
    return [tensor.letters.find("b") for tensor in tensors]
