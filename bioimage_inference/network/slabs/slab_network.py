"""A network that computes its tiles slab by slab, with the result of the module on whole tiles."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import prod
from threading import Lock
from typing import Any

import numpy as np
import torch

from ..cpu_kernels import FORMATS, ChannelMoments, channels_last
from ..network import Dependence, Inputs, difference, same
from ..torch_operations import flat
from . import NotInSlabs
from .layers import Layer, Normalisation, Pointwise, Span
from .recording import Recorded, record
from .schedule import Pass, Schedule, schedule

# Pixels of a slab at full resolution, by the number of axes of the tensor. Larger slabs take more memory and no less
# time: with these, a 3-D U-Net was as fast as in whole tiles (docs/benchmarks.md). In 2-D, 100,000 pixels took as long
# as 65,000 and 20 to 25 % more memory, and 50,000 took 2 to 5 % longer (U-Nets of 16 and 32 channels, AMD EPYC).
_PIXELS = {4: 65_000, 5: 300_000}
# Slabs save little memory in a tile of fewer than four. The comparison with the module computes a small tile in five.
_FEWEST_SLABS, _SLABS_TRIED = 4, 5


class SlabNetwork:
    """Computes ``module`` in slabs of about ``pixels`` pixels, on the CPU.

    Values are equal, except for rounding if the network normalises by mean and variance of the tile. Inputs are arrays
    with the axes b, c and two or three spatial axes. Threads may share it: the module runs only while it is recorded.
    """

    def __init__(self, module: Callable[..., Any], pixels: int | None = None) -> None:
        self._module, self._pixels = module, pixels
        self._known: dict[Any, tuple[Recorded, Schedule]] = {}
        self._recording = Lock()
        self._checked = False
        self._refusal = ""

    def __call__(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs. Raises :class:`NotInSlabs` if the network cannot be computed in slabs."""
        recorded, planned = self._planned(tensors)
        return _Computation(recorded, tensors).run(planned)

    def large(self, inputs: Inputs) -> bool:
        """Return whether a tile of these inputs, all present, has enough rows for slabs."""
        shapes = [array.shape for array in inputs if array is not None]
        if len(shapes) < len(inputs) or any(len(shape) not in _PIXELS or shape[0] != 1 for shape in shapes):
            return False
        return max(prod(shape[2:]) for shape in shapes) >= _FEWEST_SLABS * self._slab(shapes[0])

    def check(self, tiles: Iterable[Inputs]) -> None:
        """Compare slabs with the module on small tiles, once. Raises :class:`NotInSlabs` if they differ."""
        if not self._checked:
            try:
                for inputs in tiles:
                    self._compare(_tensors(inputs))
            except NotInSlabs as error:
                self._refusal = str(error)
            self._checked = True
        if self._refusal:
            raise NotInSlabs(self._refusal)

    def held(self, inputs: Inputs) -> int:
        """Return the peak memory of all tensors for a tile of these inputs, in bytes. Raises :class:`NotInSlabs`."""
        recorded, planned = self._planned(_tensors(inputs))
        return planned.most_bytes + recorded.outer_bytes

    def normalises(self, inputs: Inputs) -> bool:
        """Return whether the network normalises by the values of the whole tile. Raises :class:`NotInSlabs`."""
        return len(self._planned(_tensors(inputs))[1].passes) > 1

    def independence(self, small: Inputs, large: Inputs) -> Dependence | None:
        """Return that no operation depends on the tile as a whole, ``None`` if one may.

        ``large`` is a tile that is larger along all axes. Nothing is computed. Raises :class:`NotInSlabs`.
        """
        one, other = (self._planned(_tensors(inputs))[0] for inputs in (small, large))
        if one.reaches != other.reaches or any(isinstance(layer, Normalisation) for layer in one.layers):
            return None
        dtypes = (torch.empty(0, dtype=one.layers[value].dtype).numpy().dtype for value in one.outputs)
        return Dependence((), tuple(dtypes))

    def _slab(self, shape: Sequence[int]) -> int:
        return self._pixels or _PIXELS[len(shape)]

    def _planned(self, tensors: Sequence[torch.Tensor]) -> tuple[Recorded, Schedule]:
        key = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        with self._recording:
            if key not in self._known:
                recorded = record(self._module, tensors)
                self._known[key] = recorded, schedule(recorded, self._slab(tensors[0].shape))
            return self._known[key]

    def _compare(self, tensors: Sequence[torch.Tensor]) -> None:
        tensors = [channels_last(tensor) for tensor in tensors]
        slab = max(prod(tensor.shape[2:]) for tensor in tensors) // _SLABS_TRIED
        networks: tuple[Callable[..., Any], ...] = SlabNetwork(self._module, slab), self._module
        try:
            with torch.inference_mode():
                found, expected = ([one.numpy() for one in flat(network(*tensors))] for network in networks)
        except RuntimeError as error:  # a module that fails will fail again on the image, with an error for the user
            raise NotInSlabs(str(error)) from error
        if not same(found, expected):
            apart = difference(found, expected)
            raise NotInSlabs(f"on a small tile it differs by {apart:.1g} of the range of values")


def _tensors(inputs: Inputs) -> list[torch.Tensor]:
    # torch warns of arrays that cannot be written, such as views of a user's array
    arrays = [np.require(array, requirements=["C", "W"]) for array in inputs if array is not None]
    tensors = [torch.from_numpy(array) for array in arrays]
    if len(tensors) < len(inputs) or any(tensor.dim() not in FORMATS for tensor in tensors):
        raise NotInSlabs("inputs of other axes, or absent ones")
    return tensors


class _Computation:
    """The computation of one tile."""

    def __init__(self, recorded: Recorded, tensors: Sequence[torch.Tensor]) -> None:
        self._layers, self._outputs = recorded.layers, recorded.outputs
        # the rows of each value that exist, in pieces: the number of the first row, and the rows
        self._pieces: dict[int, list[tuple[int, torch.Tensor]]] = {
            value: [(0, tensor)] for value, tensor in enumerate(tensors)
        }
        self._kept: set[int] = set(range(len(tensors)))
        self._moments: dict[int, ChannelMoments] = {}

    def run(self, planned: Schedule) -> list[torch.Tensor]:
        """Return all outputs, whole."""
        for one in planned.passes:
            self._pass(one)
        # inputs are the caller's arrays, and the caller may change an output
        found = [self._pieces[value][0][1] for value in self._outputs]
        shared = [bool(not self._layers[one].inputs or one in self._outputs[:n]) for n, one in enumerate(self._outputs)]
        return [rows.clone() if twice else rows for rows, twice in zip(found, shared, strict=True)]

    def _pass(self, one: Pass) -> None:
        self._pieces = {value: self._pieces[value] for value in self._kept}
        for value in one.kept - self._kept:
            layer = self._layers[value]
            self._pieces[value] = [(0, _room(layer, layer.rows))]
            self._kept.add(value)
        for value in one.measured:
            self._moments[value] = ChannelMoments()
            if not self._layers[value].inputs:  # all rows of an input exist
                self._moments[value].add(self._pieces[value][0][1])
        for step in one.steps:
            rows = self._computed(step.value, step.span)
            if step.value in one.measured:
                self._moments[step.value].add(rows)
            for value, below in step.below.items():
                self._drop(value, below)
        self._kept -= one.last

    def _computed(self, value: int, span: Span) -> torch.Tensor:
        """Return new rows: in the tensor of all rows, or in one piece with few rows before them."""
        layer, count = self._layers[value], span[1] - span[0]
        if value in self._kept:
            rows = self._read(value, span)
            self._fill(rows, layer, span)
            return rows
        pieces = self._pieces.setdefault(value, [])
        before = pieces.pop()[1] if pieces and pieces[-1][1].shape[2] < count else None
        if before is None and not (isinstance(layer, Pointwise) and layer.into):
            rows = self._rows_of(layer, span)
            pieces.append((span[0], rows))
            return rows
        few = before.shape[2] if before is not None else 0
        room = _room(layer, few + count)
        if before is not None:
            room.narrow(2, 0, few).copy_(before)
        rows = room.narrow(2, few, count)
        self._fill(rows, layer, span)
        pieces.append((span[0] - few, room))
        return rows

    def _fill(self, room: torch.Tensor, layer: Layer, span: Span) -> None:
        """Compute rows and write them into a tensor."""
        if not isinstance(layer, Pointwise):
            room.copy_(self._rows_of(layer, span))
            return
        borders = {first for one in layer.inputs for first, _ in self._pieces[one] if span[0] < first < span[1]}
        for start, stop in pairwise(sorted({*span, *borders})):
            parts = [self._read(one, (start, stop)) for one in layer.inputs]
            layer.fill(room.narrow(2, start - span[0], stop - start), parts)

    def _rows_of(self, layer: Layer, span: Span) -> torch.Tensor:
        start, stop = layer.reads(span)
        parts = [self._read(one, (max(0, start), min(self._layers[one].rows, stop))) for one in layer.inputs]
        if isinstance(layer, Normalisation):
            return layer.normalise(parts[0], self._moments[layer.inputs[0]])
        return layer.compute(parts, span)

    def _read(self, value: int, span: Span) -> torch.Tensor:
        """Return some rows of a value."""
        found = []
        for first, rows in self._pieces[value]:
            start, stop = max(span[0], first), min(span[1], first + rows.shape[2])
            if start < stop:
                found.append(rows.narrow(2, start - first, stop - start))
        return found[0] if len(found) == 1 else torch.cat(found, 2)

    def _drop(self, value: int, below: int) -> None:
        """Drop the rows before ``below``. A piece with few rows left is copied, so that its memory is freed."""
        if value in self._kept:
            return
        left = []
        for first, rows in self._pieces[value]:
            extra, count = below - first, rows.shape[2]
            if extra >= count:
                continue
            if extra > count // 2:
                first, rows = below, rows.narrow(2, extra, count - extra).clone()
            left.append((first, rows))
        self._pieces[value] = left


def _room(layer: Layer, rows: int) -> torch.Tensor:
    """Return an empty tensor for some rows of a layer's result, with its channels together."""
    shape = (*layer.shape[:2], rows, *layer.shape[3:])
    return torch.empty(shape, dtype=layer.dtype, memory_format=FORMATS[len(shape)])
