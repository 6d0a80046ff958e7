"""Inputs for trials of a network: blank, noise, or a part of the user's image; ``None`` for an absent optional one."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..array_types import Array, Spans
from ..model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, TensorSpec
from ..network.network import Inputs
from ..tiling.axis_relations import TILED, Link
from ..tiling.axis_tiling import legal_size
from ..tiling.tile_size import Tiling
from .operations.dtype_conversion import target_dtype
from .operations.registry import needs_sample
from .planning import PreparedImages
from .preprocess import Preprocessor
from .sample_reader import Source
from .statistics import Statistics

# Pixels of a trial tile along each axis, by their number: enough for four levels of a U-Net.
_LENGTHS = {1: (64,), 2: (64, 64), 3: (16, 32, 32), 4: (4, 16, 32, 32)}


def network_inputs(model: ModelSpec, prepared: PreparedImages) -> list[Array | None]:
    """Return the first tile of the first sample as the network takes it."""
    domains = {key: prepared.domain(key) for key in prepared.matched}
    read = next(prepared.plan.tiles()).read
    return _inputs(model, prepared, read, domains, list(np.ndindex(*prepared.leading.samples)))


def blank(model: ModelSpec, prepared: PreparedImages, tile: Mapping[str, int]) -> Inputs:
    """Return zeros for a tile of these pixels along the axes of the leading input."""

    def zeros(tensor: TensorSpec) -> Array:
        linked = {letter: link.size(tile[link.letter]) for letter, link in prepared.plan.inputs[tensor.id].items()}
        shape = {**prepared.matched[tensor.id].sizes, **linked}
        dtype = target_dtype(tensor.operations[-1]) if tensor.operations else None
        return np.zeros([shape[letter] for letter in tensor.letters], dtype or np.float32)

    return [zeros(tensor) if tensor.id in prepared.matched else None for tensor in model.inputs]


def noise(model: ModelSpec, prepared: PreparedImages, tile: Mapping[str, int]) -> Inputs:
    """Return normal noise for a tile of these pixels along the axes of the leading input."""
    random = np.random.default_rng(0)
    return [
        None if zeros is None else random.normal(size=zeros.shape).astype(zeros.dtype)
        for zeros in blank(model, prepared, tile)
    ]


def part_of_image(model: ModelSpec, prepared: PreparedImages, tiling: Tiling) -> Inputs | None:
    """Return the tile in the middle of the first sample, with the statistics of this tile: they need no further pass.

    ``None`` if a step of the preprocessing needs the whole sample.
    """
    if any(
        needs_sample(step, prepared.plan.inputs.get(tensor.id, ()))
        for tensor in model.inputs
        for step in tensor.operations
    ):
        return None
    middle = {axis.letter: (axis.starts[len(axis.starts) // 2], axis.tile) for axis in tiling.axes}
    read = {
        tensor: {letter: link.span(*middle[link.letter]) for letter, link in own.items()}
        for tensor, own in prepared.plan.inputs.items()
    }
    domains = {
        key: {letter: (max(0, start), min(one.sizes[letter], stop)) for letter, (start, stop) in read[key].items()}
        for key, one in prepared.matched.items()
    }
    return _inputs(model, prepared, read, domains, [(0,) * len(prepared.leading.samples)])


def trial_tile(model: ModelSpec, prepared: PreparedImages, times: int) -> dict[str, int]:
    """Return pixels along the axes of the leading input for a small tile, about ``times`` as long as the smallest.

    The description allows them, except along axes of a fixed size: most of these networks take other sizes too.
    """
    leading = model.tensor(prepared.plan.leading)
    axes = [axis for axis in leading.axes if axis.letter in TILED and axis.size != FixedSize(1)]
    tile = dict(prepared.plan.tile_shape) | {
        axis.letter: times * length
        if isinstance(axis.size, FixedSize)
        else legal_size(axis.size, times * legal_size(axis.size, length))
        for axis, length in zip(axes, _LENGTHS[len(axes)], strict=True)
        if not isinstance(axis.size, ReferencedSize)
    }
    return with_following_axes(axes, tile)


def with_following_axes(axes: Sequence[Axis], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return sizes with those of the axes whose size follows another axis of the same tensor."""
    found = dict(sizes)
    for axis in axes:
        if isinstance(axis.size, ReferencedSize):
            reference = next(other.letter for other in axes if other.id == axis.size.axis)
            found[axis.letter] = Link(reference, axis.size.scale, axis.size.offset).size(sizes[reference])
    return found


def _inputs(
    model: ModelSpec,
    prepared: PreparedImages,
    read: Mapping[str, Spans],
    domains: Mapping[str, Spans],
    indices: Sequence[tuple[int, ...]],
) -> list[Array | None]:
    """Return a tile of the first of some samples, with the statistics of the ``domains``."""
    preprocessors = {
        key: Preprocessor(tensor := model.tensor(key), Source(one, tensor.padding, domains[key]), model)
        for key, one in prepared.matched.items()
    }
    statistics: Statistics = {}
    for one in preprocessors.values():
        statistics = {**statistics, **one.measure(indices, pooled=True), **one.measure(indices[:1], pooled=False)}
    return [
        preprocessors[tensor.id].tile(indices[0], read[tensor.id], statistics) if tensor.id in preprocessors else None
        for tensor in model.inputs
    ]
