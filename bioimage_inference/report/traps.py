"""Traps of a model: what can make its predictions wrong, and what its description tells only to an expert."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..inference.operations.registry import measures_of, operation_of
from ..model.spec import FixedSize, ModelSpec, TensorSpec
from ..tiling.axis_relations import leading_input, links
from .describe_model import image_axes, sizes_in_words

# A network that calls them does so in every run. Means over the tile by other operations need the shapes of a run.
_TILE_WIDE = (
    *("group_norm", "instance_norm", "scaled_dot_product_attention"),
    *(f"adaptive_{kind}_pool{dimensions}d" for kind in ("avg", "max") for dimensions in (2, 3)),
    *("GlobalAveragePool", "GlobalMaxPool", "InstanceNormalization", "GroupNormalization", "Attention"),  # of ONNX
)
_LARGEST_SCALED = 10  # a declared range such as 0 … 1 or -1 … 1, which no camera writes, ends below this


def known_traps(model: ModelSpec, operations: Sequence[str] = ()) -> list[str]:
    """Return one or two sentences for each trap, the most harmful first; ``operations`` are those of the network."""
    images = [tensor for tensor in model.inputs if image_axes(tensor) and not tensor.optional]
    found = [trap for tensor in images for trap in _value_traps(tensor)]
    if images:
        found += _size_traps(model)
    over_tile = ", ".join(name for name in operations if name in _TILE_WIDE)
    if images and over_tile:
        found.append(
            f"The network looks at the tile as a whole ({over_tile}), so the result depends on the size of the tiles. "
            "An image is computed as one tile where it fits into memory. Otherwise the summary says how much "
            "overlapping tiles differ, and how much memory --tile whole takes."
        )
    for tensor in model.inputs:
        if any(measure.pooled for step in tensor.operations for measure in measures_of(step, tensor.id)):
            found.append(
                f"The normalisation of {tensor.id} takes its statistics over all samples of an image (time points, "
                "positions …) together, so the result for one depends on the others in the same file."
            )
    return found


def _value_traps(tensor: TensorSpec) -> Iterator[str]:
    """Yield traps of intensities that the network has not seen in training."""
    integer = _integer_dtype(tensor)
    if any(operation_of(step).scaling == "measured" for step in tensor.operations):
        if integer is not None:
            yield (
                f"{tensor.id} declares {integer}. Other images can be given as well: they are neither wrapped nor cut "
                "off, and normalised by their own statistics."
            )
        return
    step = next((one for one in tensor.operations if one.name != "ensure_dtype"), None)
    if step is None:
        yield from _unscaled_traps(tensor)
    elif (trap := operation_of(step).trap(step.kwargs, tensor.id)) is not None:
        yield trap
    if integer is not None:
        limits = np.iinfo(integer)
        yield (
            f"{tensor.id} declares {integer} (whole numbers from {limits.min} to {limits.max}). Values beyond are "
            "neither wrapped nor rescaled, but the network may never have seen such values: bring a 16-bit or 0-to-1 "
            "image to that range first."
        )


def _unscaled_traps(tensor: TensorSpec) -> Iterator[str]:
    low, high = tensor.data_range
    if high is not None and high <= _LARGEST_SCALED:
        yield (
            f"{tensor.id} expects values from {'any' if low is None else f'{low:g}'} to {high:g}, but nothing scales "
            "your image to that: an 8-bit image (0 to 255) or a 16-bit image (0 to 65535) has to be scaled first."
        )
    elif low is None and high is None:
        yield (
            f"The description neither scales the intensities of {tensor.id} nor says in what range they should be. "
            "Look into the model's documentation before you trust a result."
        )


def _integer_dtype(tensor: TensorSpec) -> str | None:
    types = [tensor.dtype]
    types += [str(step.kwargs["dtype"]) for step in tensor.operations[:1] if step.name == "ensure_dtype"]
    return next((name for name in types if np.dtype(name).kind in "iu"), None)


def _size_traps(model: ModelSpec) -> Iterator[str]:
    """Yield traps of sizes that are fixed, cannot be tiled, or are tiled without a declared halo."""
    leading = leading_input(model, [tensor.id for tensor in model.inputs])
    axes = image_axes(leading)
    whole = [axis.letter for axis in axes if not _is_tileable(axis.letter, model, leading)]
    fixed = [axis.letter for axis in axes if isinstance(axis.size, FixedSize)]
    if any(letter in whole for letter in fixed):
        yield (
            f"The outputs do not follow the image along {' and '.join(whole)}, so it cannot be cut into tiles: crop it "
            f"to the model's size ({sizes_in_words(leading)}), or resize it with --fit resize."
        )
    elif len(fixed) == len(axes):
        yield (
            f"The network takes {sizes_in_words(leading)}: larger images are computed in overlapping tiles of that "
            "size, smaller images are padded. The network never sees an object that is larger than a tile as a whole."
        )
    halo = any(axis.halo for output in model.outputs for axis in output.axes)
    if len(whole) < len(axes) and not halo:
        yield (
            "No halo is declared: where an image needs several tiles, an overlap is chosen (the summary says which). "
            "Look for seams in the result."
        )


def _is_tileable(letter: str, model: ModelSpec, leading: TensorSpec) -> bool:
    """Return whether every output has an axis that follows this axis of the image."""
    linked = links(model, leading, [tensor.id for tensor in model.inputs])
    return all(
        any((link := linked.get((output.id, axis.letter))) and link.letter == letter for axis in output.axes)
        for output in model.outputs
    )
