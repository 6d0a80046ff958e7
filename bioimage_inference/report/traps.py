"""What users of a model run into, and cannot see in its description unless they know how to read one."""

from collections.abc import Iterator, Sequence
from math import isclose
from typing import Any

import numpy as np

from ..inference.operations.registry import measures_of
from ..model.spec import FixedSize, ModelSpec, Operation, TensorSpec
from ..tiling.links import leading_input, links
from .tensor_words import image_axes, sizes_in_words

_DATA_DEPENDENT = ("scale_mean_variance", "scale_range", "zero_mean_unit_variance")
_LARGEST_SCALED = 10  # declared ranges such as 0 … 1 or -1 … 1, which no camera writes, end below this


# Operations that normalise by the values of the whole tile; a network that calls them does so in every run.
_OVER_TILE = ("group_norm", "instance_norm")


def known_traps(model: ModelSpec, operations: Sequence[str] = ()) -> list[str]:
    """One or two sentences for each trap, most harmful first; ``operations`` are those that the network calls."""
    images = [tensor for tensor in model.inputs if image_axes(tensor) and not tensor.optional]
    found = [trap for tensor in images for trap in _of_values(tensor)]
    if images:
        found += _of_sizes(model)
        found += _of_network(operations)
    found += [trap for tensor in model.inputs for trap in _of_samples(tensor)]
    return found


def _of_values(tensor: TensorSpec) -> Iterator[str]:
    """Intensities that the network has never seen."""
    integer = _integer_dtype(tensor)
    if any(operation.name in _DATA_DEPENDENT for operation in tensor.operations):
        if integer is not None:
            yield (
                f"{tensor.id} declares {integer}. Other images can be given as well: they are neither wrapped nor cut "
                "off, and normalised by their own statistics."
            )
        return
    step = next((one for one in tensor.operations if one.name != "ensure_dtype"), None)
    yield from _of_unscaled_values(tensor) if step is None else _of_fixed_scaling(tensor, step)
    if integer is not None:
        limits = np.iinfo(integer)
        yield (
            f"{tensor.id} declares {integer} (whole numbers from {limits.min} to {limits.max}). Values beyond are "
            "neither wrapped nor rescaled, but the network may never have seen such: bring a 16-bit or 0-to-1 image "
            "to that range first."
        )


def _of_unscaled_values(tensor: TensorSpec) -> Iterator[str]:
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


def _of_fixed_scaling(tensor: TensorSpec, step: Operation) -> Iterator[str]:
    """Numbers that give away for which images they are meant."""
    if step.name == "fixed_zero_mean_unit_variance":
        mean, std = _largest(step.kwargs["mean"]), _largest(step.kwargs["std"])
        if 0 < mean <= 1 and std <= 1:
            yield (
                f"{tensor.id} is meant for values from 0 to 1 (it is normalised with a fixed mean of {mean:.3g}), but "
                "nothing scales your image to that: divide an 8-bit image by 255, a 16-bit image by 65535 first."
            )
        else:
            yield (
                f"{tensor.id} is normalised with a fixed mean of {mean:.4g} and a standard deviation of {std:.4g}, "
                "whatever your image: one of another brightness or bit depth has to be scaled to that first."
            )
    elif step.name == "scale_linear" and isclose(_largest(step.kwargs["gain"]), 1 / 255, rel_tol=0.01):
        yield f"{tensor.id} is meant for 8-bit values: they are divided by 255. Scale other images to 0 … 255 first."


def _largest(values: Any) -> float:
    """Of one number, or one for each channel."""
    return float(np.max(values))


def _integer_dtype(tensor: TensorSpec) -> str | None:
    types = [tensor.dtype]
    types += [str(step.kwargs["dtype"]) for step in tensor.operations[:1] if step.name == "ensure_dtype"]
    return next((name for name in types if np.dtype(name).kind in "iu"), None)


def _of_sizes(model: ModelSpec) -> Iterator[str]:
    """Sizes that are fixed, cannot be tiled, or are tiled without a declared halo."""
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
            "size, smaller ones are padded. What is larger than a tile is never seen as a whole."
        )
    halo = any(axis.halo for output in model.outputs for axis in output.axes)
    if len(whole) < len(axes) and not halo:
        yield (
            "No halo is declared: where an image needs several tiles, an overlap is chosen (the summary says which). "
            "Look for seams in the result."
        )


def _of_network(operations: Sequence[str]) -> Iterator[str]:
    over_tile = [name for name in operations if name in _OVER_TILE]
    if over_tile:
        yield (
            f"The network normalises by the values of the whole tile ({', '.join(over_tile)}), so the result depends "
            "on the size of the tiles. An image is computed as one tile where it fits into memory; else the summary "
            "says how much overlapping tiles differ."
        )


def _is_tileable(letter: str, model: ModelSpec, leading: TensorSpec) -> bool:
    """Whether every output has an axis that follows this one of the image."""
    linked = links(model, leading)
    return all(
        any((link := linked.get((output.id, axis.letter))) and link.letter == letter for axis in output.axes)
        for output in model.outputs
    )


def _of_samples(tensor: TensorSpec) -> Iterator[str]:
    if any(measure.pooled for operation in tensor.operations for measure in measures_of(operation, tensor.id)):
        yield (
            f"The normalisation of {tensor.id} takes its statistics over all samples of an image (time points, "
            "positions …) together, so the result for one depends on the others in the same file."
        )
