"""What reading tensors has in common in all formats: declared types and ranges, and outputs of a plain size."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..errors import ModelError
from ..image.axes import SCALED
from .spec import FixedSize, ReferencedSize, Size, StepSize, TensorSpec

DTYPES = (
    *("float32", "float64", "bool"),
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
)

# Networks coarsen or refine by less than this; a plain size that is further off has nothing to do with the image's.
_LARGEST_RATIO = 32


@dataclass(frozen=True)
class Tensors:
    """Inputs and outputs as read, and remarks for the user on what was not as the format wants it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    notes: tuple[str, ...] = ()


def declared_dtype(value: Any, where: str) -> str:
    """The name of a dtype; raises :class:`ModelError` where it is none that the formats know."""
    if value not in DTYPES:
        raise ModelError(
            f"The description of {where} declares the data type {value!r}; known are {', '.join(DTYPES)}. "
            "Correct the description, or ask the model's authors."
        )
    return str(value)


def declared_range(value: Any) -> tuple[float | None, float | None]:
    """Minimum and maximum; what is infinite, empty or no number says nothing and becomes ``None``."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None, None
    low, high = (float(limit) if isinstance(limit, int | float) and math.isfinite(limit) else None for limit in value)
    return low, high


def needed_steps(steps: Any) -> Any:
    """Pre- or postprocessing without steps that change nothing and arguments that are empty."""
    if not isinstance(steps, list | tuple):
        return steps or []
    return [_without_empty(step) for step in steps if not _changes_nothing(step)]


def _without_empty(step: Any) -> Any:
    if not isinstance(step, Mapping):
        return step
    return {key: value for key, value in step.items() if key != "kwargs" or value}


def _changes_nothing(step: Any) -> bool:
    """Whether it is a multiplication by 1 with nothing added, which the validator refuses."""
    if not isinstance(step, Mapping) or "scale_linear" not in (step.get("id"), step.get("name")):
        return False
    kwargs = step.get("kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    return all(
        number == neutral
        for key, neutral in (("gain", 1), ("offset", 0))
        for number in (kwargs[key] if isinstance(kwargs.get(key), list | tuple) else [kwargs.get(key, neutral)])
    )


def relate_plain_sizes(read: Tensors) -> Tensors:
    """Let outputs of a plain size follow the input axis of the same letter, where one relation only can be meant.

    Beside a fixed input axis, equal sizes and whole-number ratios are a change of resolution. Where an input may be
    larger than an output that is as long as the input's minimum, the input is held at that size: it is the only one
    for which the description promises anything.
    """
    inputs, outputs, notes = read.inputs, [], list(read.notes)
    for output in read.outputs:
        relations = dict(_relations(output, read.inputs))
        held = {own for own, _, is_held in relations.values() if is_held}
        inputs = tuple(_held(tensor, held) for tensor in inputs)
        if held:
            letters = ", ".join(letter for letter, (_, _, is_held) in relations.items() if is_held)
            notes.append(
                f"The description gives output {output.id!r} a plain size along {letters}, although the input may be "
                "larger there; the network is given tiles of exactly that size."
            )
        axes = tuple(
            replace(axis, size=ReferencedSize(*relations[axis.letter][0], relations[axis.letter][1]))
            if axis.letter in relations
            else axis
            for axis in output.axes
        )
        outputs.append(replace(output, axes=axes))
    return Tensors(inputs, tuple(outputs), tuple(notes))


_Relation = tuple[tuple[str, str], Fraction, bool]


def _relations(output: TensorSpec, inputs: Sequence[TensorSpec]) -> Iterator[tuple[str, _Relation]]:
    """For letters of an output's axes: (tensor, axis) of the input, the ratio to it, whether it is to be held.

    The input is the first that is always given and has such an axis.
    """
    for axis in output.axes:
        if axis.letter not in SCALED or not isinstance(axis.size, FixedSize):
            continue
        tensor = next((one for one in inputs if not one.optional and one.axis(axis.letter) is not None), None)
        own = tensor.axis(axis.letter) if tensor is not None else None
        if tensor is not None and own is not None:
            ratio = _ratio(axis.size.size, own.size)
            if ratio is not None:
                yield axis.letter, ((tensor.id, own.id), ratio, isinstance(own.size, StepSize))


def _ratio(size: int, reference: Size) -> Fraction | None:
    match reference:
        case FixedSize(fixed) if fixed == size:
            return Fraction(1)
        case FixedSize(fixed) if size > 1 and fixed > 1:
            ratio = Fraction(size, fixed)
            larger, smaller = max(ratio.numerator, ratio.denominator), min(ratio.numerator, ratio.denominator)
            return ratio if smaller == 1 and larger <= _LARGEST_RATIO else None
        case StepSize(minimum, _) if size == minimum and size > 1:
            return Fraction(1)
        case _:
            return None


def _held(tensor: TensorSpec, held: set[tuple[str, str]]) -> TensorSpec:
    axes = tuple(
        replace(axis, size=FixedSize(axis.size.minimum))
        if (tensor.id, axis.id) in held and isinstance(axis.size, StepSize)
        else axis
        for axis in tensor.axes
    )
    return replace(tensor, axes=axes)
