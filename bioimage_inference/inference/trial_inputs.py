"""Inputs for trials of a network: blank, noise, or a part of the user's image; ``None`` for an absent optional one."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..array_types import Array, Spans
from ..model.spec import FixedSize, ModelSpec, ReferencedSize, TensorSpec
from ..network.tile_tensors import Inputs
from ..tiling.axis import legal_size
from ..tiling.links import TILED, Link, links
from ..tiling.plan import Tile
from .operations.dtype_conversion import target_dtype
from .operations.registry import needs_sample
from .planning import Prepared
from .preprocess import Preprocessor
from .sample_reader import Source
from .statistics import Statistics

# Pixels of a trial tile along each axis, by their number: enough for four levels of a U-Net.
_LENGTHS = {1: (64,), 2: (64, 64), 3: (16, 32, 32), 4: (4, 16, 32, 32)}


def network_inputs(model: ModelSpec, prepared: Prepared) -> list[Array | None]:
    """The first tile of the first sample as the network takes it."""
    domains = {key: prepared.domain(key) for key in prepared.matched}
    return _inputs(model, prepared, next(prepared.plan.tiles()), domains, list(np.ndindex(*prepared.leading.samples)))


def blank(model: ModelSpec, prepared: Prepared, sizes: Mapping[str, Mapping[str, int]] | None = None) -> Inputs:
    """Zeros in the shape of a tile, or with these ``sizes`` along some axes of the inputs."""
    read = next(prepared.plan.tiles()).read

    def zeros(tensor: TensorSpec) -> Array:
        tile = {letter: stop - start for letter, (start, stop) in read[tensor.id].items()}
        shape = {**prepared.matched[tensor.id].sizes, **tile, **(sizes or {}).get(tensor.id, {})}
        dtype = target_dtype(tensor.operations[-1]) if tensor.operations else None
        return np.zeros([shape[letter] for letter in tensor.letters], dtype or np.float32)

    return [zeros(tensor) if tensor.id in prepared.matched else None for tensor in model.inputs]


def noise(model: ModelSpec, prepared: Prepared, sizes: Mapping[str, Mapping[str, int]] | None = None) -> Inputs:
    """Normal noise in the same shapes."""
    random = np.random.default_rng(0)
    return [
        None if zeros is None else random.normal(size=zeros.shape).astype(zeros.dtype)
        for zeros in blank(model, prepared, sizes)
    ]


def part_of_image(model: ModelSpec, prepared: Prepared) -> Inputs | None:
    """The tile in the middle of the first sample, with statistics of that tile alone: they cost no pass over the image.

    ``None`` where a step of the preprocessing needs the whole sample.
    """
    if any(
        needs_sample(step, prepared.plan.inputs.get(tensor.id, ()))
        for tensor in model.inputs
        for step in tensor.operations
    ):
        return None
    tile = prepared.plan.tile({axis.letter: len(axis.starts) // 2 for axis in prepared.plan.axes})
    domains = {
        key: {letter: _within(*span, one.sizes[letter]) for letter, span in tile.read[key].items()}
        for key, one in prepared.matched.items()
    }
    return _inputs(model, prepared, tile, domains, [(0,) * len(prepared.leading.samples)])


def trial_sizes(model: ModelSpec, prepared: Prepared, times: int) -> dict[str, dict[str, int]]:
    """Sizes of a small tile, about ``times`` as long as the smallest one for a trial.

    They are such that the description allows, but where it allows one only: most of these networks take others too.
    """
    leading = model.tensor(prepared.plan.leading)
    linked = links(model, leading)
    axes = [axis for axis in leading.axes if axis.letter in TILED and axis.size != FixedSize(1)]
    lengths = _LENGTHS[len(axes)]
    sizes = {
        axis.letter: times * length
        if isinstance(axis.size, FixedSize)
        else legal_size(axis.size, times * legal_size(axis.size, length))
        for axis, length in zip(axes, lengths, strict=True)
        if not isinstance(axis.size, ReferencedSize)
    }
    for axis in axes:
        if isinstance(axis.size, ReferencedSize):  # to another axis of this tensor
            reference = next(other.letter for other in axes if other.id == axis.size.axis)
            sizes[axis.letter] = Link(reference, axis.size.scale, axis.size.offset).size(sizes[reference])
    return {
        tensor.id: {
            axis.letter: linked[tensor.id, axis.letter].size(sizes[linked[tensor.id, axis.letter].letter])
            for axis in tensor.axes
            if (tensor.id, axis.letter) in linked and linked[tensor.id, axis.letter].letter in sizes
        }
        for tensor in model.inputs
    }


def _within(start: int, stop: int, size: int) -> tuple[int, int]:
    """The part of a span that lies in the image."""
    return max(0, start), min(size, stop)


def _inputs(
    model: ModelSpec,
    prepared: Prepared,
    tile: Tile,
    domains: Mapping[str, Spans],
    indices: Sequence[tuple[int, ...]],
) -> list[Array | None]:
    """A tile of the first of some samples; statistics are those of the ``domains``."""
    preprocessors = {
        key: Preprocessor(tensor := model.tensor(key), Source(one, tensor.padding, domains[key]), model)
        for key, one in prepared.matched.items()
    }
    statistics: Statistics = {}
    for one in preprocessors.values():
        statistics = {**statistics, **one.measure(indices, pooled=True), **one.measure(indices[:1], pooled=False)}
    return [
        preprocessors[tensor.id].tile(indices[0], tile.read[tensor.id], statistics)
        if tensor.id in preprocessors
        else None
        for tensor in model.inputs
    ]
