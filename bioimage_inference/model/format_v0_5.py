"""Tensors of format 0.5: axes as objects, processing by ``id``."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .format_v0_4 import explicit_size
from .spec import (
    Axis,
    FixedSize,
    FreeSize,
    Operation,
    Padding,
    ReferencedSize,
    Size,
    StepSize,
    TensorSpec,
)

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_5

Validate = Callable[[Callable[[Any], Any], Any, str], Any]

_LETTERS = {"batch": "b", "index": "i", "time": "t", "channel": "c"}


def read_tensors(
    content: Mapping[str, Any], validated: Validate
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; raises :class:`ModelError` through ``validated``."""
    from bioimageio.spec.model import v0_5

    described_inputs: list[v0_5.InputTensorDescr] = [
        validated(v0_5.InputTensorDescr.model_validate, raw, f"input {number}")
        for number, raw in enumerate(content["inputs"])
    ]
    described_outputs: list[v0_5.OutputTensorDescr] = [
        validated(v0_5.OutputTensorDescr.model_validate, raw, f"output {number}")
        for number, raw in enumerate(content["outputs"])
    ]
    described: list[v0_5.InputTensorDescr | v0_5.OutputTensorDescr] = [*described_inputs, *described_outputs]
    scales = {(str(tensor.id), str(axis.id)): float(axis.scale) for tensor in described for axis in tensor.axes}
    inputs = tuple(_input(tensor, scales) for tensor in described_inputs)
    return inputs, tuple(_output(tensor, scales, inputs) for tensor in described_outputs)


def _input(tensor: "v0_5.InputTensorDescr", scales: Mapping[tuple[str, str], float]) -> TensorSpec:
    axes = _axes(tensor.axes, scales, str(tensor.id))
    padding = Padding()
    if tensor.pad is not None:
        padding = Padding(tensor.pad.mode, float(getattr(tensor.pad, "value", 0.0)))
    return TensorSpec(
        id=str(tensor.id),
        axes=axes,
        dtype=tensor.dtype,
        operations=_operations(tensor.preprocessing, axes),
        optional=tensor.optional,
        padding=padding,
        data_range=_data_range(tensor.data),
        test_tensor=_test_tensor(tensor),
        description=tensor.description,
    )


def _output(
    tensor: "v0_5.OutputTensorDescr", scales: Mapping[tuple[str, str], float], inputs: Sequence[TensorSpec]
) -> TensorSpec:
    axes = _axes(tensor.axes, scales, str(tensor.id), inputs)
    return TensorSpec(
        id=str(tensor.id),
        axes=axes,
        dtype=tensor.dtype,
        operations=_operations(tensor.postprocessing, axes),
        data_range=_data_range(tensor.data),
        test_tensor=_test_tensor(tensor),
        description=tensor.description,
    )


def _axes(
    described: Sequence[Any],
    scales: Mapping[tuple[str, str], float],
    tensor_id: str,
    inputs: Sequence[TensorSpec] = (),
) -> tuple[Axis, ...]:
    """``inputs`` are given for outputs only."""
    named = {str(axis.id) for axis in described if axis.type == "space"}
    spare = [letter for letter in "xyz" if letter not in named]
    axes = []
    for axis in described:
        letter = _LETTERS.get(axis.type) or (str(axis.id) if str(axis.id) in "xyz" else None)
        if letter is None:  # a space axis may have any id; the names left over are given out from the last axis on
            if not spare:
                raise ModelError(f"Tensor {tensor_id!r} has more than three space axes; that is not supported.")
            letter = spare.pop()
        size = _size(axis, scales, tensor_id)
        if inputs and isinstance(size, FixedSize):
            size = explicit_size(size.size, letter, inputs)
        axes.append(
            Axis(
                id=str(axis.id),
                letter=letter,
                size=size,
                halo=int(getattr(axis, "halo", 0)),
                scale=float(axis.scale),
                unit=str(axis.unit) if axis.unit else None,
                channel_names=tuple(str(name) for name in getattr(axis, "channel_names", ())),
            )
        )
    return tuple(axes)


def _size(axis: Any, scales: Mapping[tuple[str, str], float], tensor_id: str) -> Size:
    from bioimageio.spec.model import v0_5

    size = axis.size
    if axis.type == "batch":
        return FreeSize()
    if isinstance(size, int):
        return FixedSize(size)
    if isinstance(size, v0_5.ParameterizedSize):
        return StepSize(size.min, size.step)
    if isinstance(size, v0_5.DataDependentSize):
        return FreeSize(size.min, size.max)
    reference = (str(size.tensor_id), str(size.axis_id))
    if reference not in scales:
        raise ModelError(
            f"The size of axis {str(axis.id)!r} of tensor {tensor_id!r} refers to axis {reference[1]!r} of "
            f"{reference[0]!r}, which does not exist in the description."
        )
    scale = Fraction(scales[reference] / float(axis.scale)).limit_denominator(1000)
    return ReferencedSize(*reference, scale, int(size.offset))


def _operations(steps: Sequence[Any], axes: Sequence[Axis]) -> tuple[Operation, ...]:
    letters = {axis.id: axis.letter for axis in axes}
    operations = []
    for step in steps:
        kwargs = {key: value for key, value in dict(step.kwargs).items() if value is not None or key == "axes"}
        if kwargs.get("axes") is not None:
            kwargs["axes"] = "".join(letters[str(axis)] for axis in kwargs["axes"])
        if kwargs.get("axis") is not None:
            kwargs["axis"] = _letter(letters, str(kwargs["axis"]), step.id)
        if kwargs.get("reference_tensor") is not None:
            kwargs["reference_tensor"] = str(kwargs["reference_tensor"])
        if step.id == "custom":
            kwargs = {
                "callable": str(step.callable),
                "source": str(step.source),
                "sha256": str(step.sha256) if step.sha256 else None,
                "kwargs": dict(step.kwargs),
            }
        operations.append(Operation(str(step.id), kwargs))
    return tuple(operations)


def _letter(letters: Mapping[str, str], axis_id: str, operation: str) -> str:
    if axis_id not in letters:
        raise ModelError(f"{operation} works along the axis {axis_id!r}, which its tensor does not have.")
    return letters[axis_id]


def _data_range(data: Any) -> tuple[float | None, float | None]:
    """The declared range; of all channels together where it is declared for each."""
    ranges = [part.range for part in (data if isinstance(data, Sequence) else [data])]
    lows, highs = zip(*ranges, strict=True)
    return (
        None if None in lows else min(float(low) for low in lows),
        None if None in highs else max(float(high) for high in highs),
    )


def _test_tensor(tensor: Any) -> str | None:
    return str(tensor.test_tensor.source) if tensor.test_tensor is not None else None
