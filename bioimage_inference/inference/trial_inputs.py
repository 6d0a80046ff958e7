"""Inputs for trials of a network: blank, noise, or a part of the user's image; ``None`` for an absent input."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..array_types import Array, Index, Spans
from ..model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, TensorSpec
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

Sizes = Mapping[str, Mapping[str, int]]
"""Pixels by the id of an input and the letter of an axis."""

# Pixels of a trial tile along each axis, by the number of axes: enough for four levels of a U-Net.
_LENGTHS = {1: (64,), 2: (64, 64), 3: (16, 32, 32), 4: (4, 16, 32, 32)}


def network_inputs(model: ModelSpec, prepared: Prepared) -> list[Array | None]:
    """Return the inputs of the network for the first tile of the first sample."""
    domains = {key: prepared.domain(key) for key in prepared.matched}
    return _inputs(model, prepared, next(prepared.plan.tiles()), domains, list(np.ndindex(*prepared.leading.samples)))


def blank(model: ModelSpec, prepared: Prepared, sizes: Sizes | None = None) -> Inputs:
    """Return zeros in the shape of a tile, with other ``sizes`` along some axes of the inputs if given."""
    read = next(prepared.plan.tiles()).read

    def zeros(tensor: TensorSpec) -> Array:
        tile = {letter: stop - start for letter, (start, stop) in read[tensor.id].items()}
        shape = {**prepared.matched[tensor.id].sizes, **tile, **(sizes or {}).get(tensor.id, {})}
        dtype = target_dtype(tensor.operations[-1]) if tensor.operations else None
        return np.zeros([shape[letter] for letter in tensor.letters], dtype or np.float32)

    return [zeros(tensor) if tensor.id in prepared.matched else None for tensor in model.inputs]


def noise(model: ModelSpec, prepared: Prepared, sizes: Sizes | None = None) -> Inputs:
    """Return normal noise in the shapes of :func:`blank`."""
    random = np.random.default_rng(0)
    return [
        None if zeros is None else random.normal(size=zeros.shape).astype(zeros.dtype)
        for zeros in blank(model, prepared, sizes)
    ]


def part_of_image(model: ModelSpec, prepared: Prepared) -> Inputs | None:
    """Return the inputs for the tile in the middle of the first sample.

    Statistics are those of the tile alone, which costs no pass over the image. ``None`` if a step of the preprocessing
    needs the whole sample.
    """
    if any(
        needs_sample(step, prepared.plan.inputs.get(tensor.id, ()))
        for tensor in model.inputs
        for step in tensor.operations
    ):
        return None
    tile = prepared.plan.tile({axis.letter: len(axis.starts) // 2 for axis in prepared.plan.axes})
    domains = {
        key: {letter: (max(0, start), min(size[letter], stop)) for letter, (start, stop) in tile.read[key].items()}
        for key, size in ((key, image.sizes) for key, image in prepared.matched.items())
    }
    return _inputs(model, prepared, tile, domains, [(0,) * len(prepared.leading.samples)])


def trial_sizes(model: ModelSpec, prepared: Prepared, times: int) -> Sizes:
    """Return the sizes of a small tile, about ``times`` as long as the smallest tile for a trial.

    The description allows them, unless it allows a single size only: most of these networks take other sizes too.
    """
    leading = model.tensor(prepared.plan.leading)
    linked = links(model, leading)
    axes = [axis for axis in leading.axes if axis.letter in TILED and axis.size != FixedSize(1)]
    sizes = {
        axis.letter: times * length
        if isinstance(axis.size, FixedSize)
        else legal_size(axis.size, times * legal_size(axis.size, length))
        for axis, length in zip(axes, _LENGTHS[len(axes)], strict=True)
        if not isinstance(axis.size, ReferencedSize)
    }
    sizes = with_following_axes(axes, sizes)
    return {
        tensor.id: {
            letter: link.size(sizes[link.letter])
            for letter in tensor.letters
            if (link := linked.get((tensor.id, letter))) is not None and link.letter in sizes
        }
        for tensor in model.inputs
    }


def with_following_axes(axes: Sequence[Axis], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return sizes with those of the axes whose size follows another axis of the same tensor."""
    found = dict(sizes)
    for axis in axes:
        if isinstance(axis.size, ReferencedSize):
            reference = next(other.letter for other in axes if other.id == axis.size.axis)
            found[axis.letter] = Link(reference, axis.size.scale, axis.size.offset).size(sizes[reference])
    return found


def _inputs(
    model: ModelSpec, prepared: Prepared, tile: Tile, domains: Mapping[str, Spans], indices: Sequence[Index]
) -> list[Array | None]:
    """Return the inputs for a tile of the first of some samples; statistics are those of the ``domains``."""
    preprocessors = {
        key: Preprocessor(tensor := model.tensor(key), Source(image, tensor.padding, domains[key]), model)
        for key, image in prepared.matched.items()
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
