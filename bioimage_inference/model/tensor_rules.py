"""Rules for tensors of all formats: declared ranges, names and references, and outputs of a plain size."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..errors import ModelError
from ..image.axes import SCALED
from ..text import counted
from .spec import Axis, FixedSize, Operation, ReferencedSize, Size, StepSize, TensorSpec

# Networks coarsen or refine by less than this. An output size that is further off does not follow the image's size.
_LARGEST_RATIO = 32


@dataclass(frozen=True)
class Tensors:
    """Inputs and outputs of a description, and remarks for the user where it differs from its format."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()


def declared_range(value: Any) -> tuple[float | None, float | None]:
    """Return minimum and maximum; ``None`` for a limit that is infinite, missing or no number."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None, None
    low, high = (float(limit) if isinstance(limit, int | float) and math.isfinite(limit) else None for limit in value)
    return low, high


def check_tensors(tensors: Tensors) -> None:
    """Raise :class:`ModelError` for names that are not unique, impossible sizes, and operations that do not fit."""
    both = (*tensors.inputs, *tensors.outputs)
    ids = [tensor.id for tensor in both]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ModelError(f"The description uses the name {twice[0]!r} for more than one tensor; names must differ.")
    for tensor in both:
        if len(set(tensor.letters)) != len(tensor.axes):
            raise ModelError(
                f"Tensor {tensor.id!r} has two axes of one kind ({tensor.letters}); that is not supported."
            )
        for axis in tensor.axes:
            if not _is_possible(axis.size) or not isinstance(axis.halo, int) or axis.halo < 0:
                raise ModelError(
                    f"Axis {axis.id!r} of tensor {tensor.id!r} cannot have {axis.size.describe()} pixels and a halo of "
                    f"{axis.halo}. The description is broken."
                )
        for operation in tensor.operations:
            _check_operation(operation, tensor, [other.id for other in tensors.inputs])


def _is_possible(size: Size) -> bool:
    match size:
        case FixedSize(pixels):
            return pixels > 0
        case StepSize(minimum, step):
            return minimum > 0 and step > 0
        case ReferencedSize():
            return size.scale > 0
        case _:
            return True


def _check_operation(operation: Operation, tensor: TensorSpec, inputs: Collection[str]) -> None:
    """Raise for a reference to a tensor that is no input, and for a list of values that does not fit its axis."""
    reference = operation.kwargs.get("reference_tensor")
    if reference is not None and reference not in inputs and reference != tensor.id:
        raise ModelError(
            f"{operation.name} of tensor {tensor.id!r} refers to {reference!r}, which is no input of the model."
        )
    axis = tensor.axis(operation.kwargs.get("axis", ""))
    if axis is None or not isinstance(axis.size, FixedSize):
        return
    for name, values in operation.kwargs.items():
        if isinstance(values, list | tuple) and len(values) not in (1, axis.size.size):
            raise ModelError(
                f"{operation.name} of tensor {tensor.id!r} gives {counted(len(values), 'value')} of {name} for the "
                f"{counted(axis.size.size, 'entry')} of axis {axis.id!r}."
            )


def relate_plain_sizes(declared: Tensors) -> Tensors:
    """Let outputs of a plain size follow the input axis of the same letter, where only one relation is possible.

    Beside a fixed input axis, equal sizes and whole-number ratios are a change of resolution. Where an output is as
    long as the minimum of an input that may be larger, the input becomes fixed at its minimum: the description
    promises nothing for other sizes.
    """
    inputs, outputs, notes = declared.inputs, [], list(declared.notes)
    for output in declared.outputs:
        related = {axis.letter: found for axis in output.axes if (found := _related_size(axis, declared.inputs))}
        fixed = {letter: (size.tensor, size.axis) for letter, (size, varies) in related.items() if varies}
        inputs = tuple(_fixed_at_minimum(tensor, fixed.values()) for tensor in inputs)
        if fixed:
            notes.append(
                f"The description gives output {output.id!r} a plain size along {', '.join(fixed)}, although the input "
                "may be larger there; the network is given tiles of exactly that size."
            )
        axes = (replace(axis, size=related[axis.letter][0]) if axis.letter in related else axis for axis in output.axes)
        outputs.append(replace(output, axes=tuple(axes)))
    return Tensors(inputs, tuple(outputs), tuple(notes))


def _related_size(axis: Axis, inputs: Sequence[TensorSpec]) -> tuple[ReferencedSize, bool] | None:
    """Return an output axis's size relative to an input's, and whether the size of the input may vary.

    The input is the first that is always given and has such an axis.
    """
    tensor = next((one for one in inputs if not one.optional and one.axis(axis.letter) is not None), None)
    own = tensor.axis(axis.letter) if tensor is not None else None
    if tensor is None or own is None or axis.letter not in SCALED or not isinstance(axis.size, FixedSize):
        return None
    ratio = _ratio(axis.size.size, own.size)
    return None if ratio is None else (ReferencedSize(tensor.id, own.id, ratio), isinstance(own.size, StepSize))


def _ratio(size: int, reference: Size) -> Fraction | None:
    match reference:
        case FixedSize(fixed) if fixed == size:
            return Fraction(1)
        case FixedSize(fixed) if size > 1 and fixed > 1:
            ratio = Fraction(size, fixed)
            smaller, larger = sorted((ratio.numerator, ratio.denominator))
            return ratio if smaller == 1 and larger <= _LARGEST_RATIO else None
        case StepSize(minimum, _) if size == minimum and size > 1:
            return Fraction(1)
        case _:
            return None


def _fixed_at_minimum(tensor: TensorSpec, fixed: Collection[tuple[str, str]]) -> TensorSpec:
    """Return the tensor with the axes in ``fixed``, as pairs of tensor and axis id, at their minimal size."""
    axes = (
        replace(axis, size=FixedSize(axis.size.minimum))
        if isinstance(axis.size, StepSize) and (tensor.id, axis.id) in fixed
        else axis
        for axis in tensor.axes
    )
    return replace(tensor, axes=tuple(axes))
