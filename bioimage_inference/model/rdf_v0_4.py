"""Reads the tensors of formats 0.4 and 0.3: axes as one string, shapes as lists, processing by ``name``."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..image.axes import axis_id
from ..text import counted
from .reduction import Raw, tensors_v0_4
from .spec import Axis, FixedSize, FreeSize, Operation, ReferencedSize, Size, StepSize, TensorSpec
from .tensor_rules import Tensors, declared_range

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_4


def read_tensors(content: Mapping[str, Any]) -> Tensors:
    """Return inputs and outputs. Raises :class:`ModelError` where they are not valid."""
    described_inputs, described_outputs = tensors_v0_4(content)
    inputs = tuple(
        _input(descr, raw, _file(content.get("test_inputs"), number))
        for number, (descr, raw) in enumerate(described_inputs)
    )
    outputs = tuple(
        _output(descr, inputs, raw, _file(content.get("test_outputs"), number))
        for number, (descr, raw) in enumerate(described_outputs)
    )
    return Tensors(inputs, outputs)


def _file(names: Any, number: int) -> str | None:
    """Return the file of that number in a list, ``None`` where the list lacks it."""
    return str(names[number]) if isinstance(names, list | tuple) and number < len(names) and names[number] else None


def _input(tensor: "v0_4.InputTensorDescr", raw: Raw, test_tensor: str | None) -> TensorSpec:
    from bioimageio.spec.model.v0_4 import ParameterizedInputShape

    shape = tensor.shape
    minimum = shape.min if isinstance(shape, ParameterizedInputShape) else shape
    step = shape.step if isinstance(shape, ParameterizedInputShape) else [0] * len(shape)
    _check_rank(tensor.name, tensor.axes, minimum)
    sizes = [
        FreeSize() if letter == "b" else StepSize(low, by) if by else FixedSize(low)
        for letter, low, by in zip(tensor.axes, minimum, step, strict=True)
    ]
    # bioimageio.core gives every network of format 0.4 float32, whatever type the description declares
    operations = (*_operations(tensor.preprocessing, tensor.axes), Operation("ensure_dtype", {"dtype": "float32"}))
    return _tensor(tensor, _axes(tensor.axes, sizes), operations, raw, test_tensor)


def _output(
    tensor: "v0_4.OutputTensorDescr", inputs: Sequence[TensorSpec], raw: Raw, test_tensor: str | None
) -> TensorSpec:
    _check_rank(tensor.name, tensor.axes, tensor.shape)
    sizes = [_output_size(tensor, number, letter, inputs) for number, letter in enumerate(tensor.axes)]
    operations = _operations(tensor.postprocessing, tensor.axes)
    is_binary = bool(operations) and operations[-1].name == "binarize"
    # some descriptions of probabilities declare integers: their decimals must not be cut off
    keep = {} if tensor.data_type.startswith("float") or is_binary else {"keep_floats": True}
    operations.append(Operation("ensure_dtype", {"dtype": tensor.data_type, **keep}))
    return _tensor(tensor, _axes(tensor.axes, sizes, tensor.halo), operations, raw, test_tensor)


def _axes(letters: str, sizes: Sequence[Size], halos: Sequence[int] | None = None) -> tuple[Axis, ...]:
    return tuple(
        Axis(axis_id(letter), letter, size, halo)
        for letter, size, halo in zip(letters, sizes, halos or [0] * len(sizes), strict=True)
    )


def _tensor(
    tensor: Any, axes: tuple[Axis, ...], operations: Iterable[Operation], raw: Raw, test_tensor: str | None
) -> TensorSpec:
    return TensorSpec(
        id=str(tensor.name),
        axes=axes,
        dtype=str(raw.get("data_type", "float32")),
        operations=tuple(operations),
        data_range=declared_range(raw.get("data_range")),
        test_tensor=test_tensor,
        description=str(raw.get("description") or ""),
    )


def _output_size(tensor: "v0_4.OutputTensorDescr", number: int, letter: str, inputs: Sequence[TensorSpec]) -> Size:
    """Return the size of an output axis: ``reference * scale + 2 * offset`` (spec 0.4, ImplicitOutputShape)."""
    from bioimageio.spec.model.v0_4 import ImplicitOutputShape

    shape = tensor.shape
    if letter == "b":
        return FreeSize()
    if not isinstance(shape, ImplicitOutputShape):
        return FixedSize(int(shape[number]))
    scale, added = shape.scale[number], int(2 * shape.offset[number])
    if not scale:  # a new axis
        return FixedSize(added)
    tensor_id, _, axis_id = str(shape.reference_tensor).partition(".")
    reference = next((tensor for tensor in inputs if tensor.id == tensor_id), None)
    if reference is None:
        raise ModelError(f"The shape of an output refers to the tensor {tensor_id!r}, which is not among the inputs.")
    axis = reference.axis(axis_id or letter)
    if axis is None and not axis_id and number < len(reference.axes):
        axis = reference.axes[number]  # older descriptions mean the axis at the same place
    if axis is None:
        raise ModelError(f"The output axis {letter!r} refers to an axis that input {tensor_id!r} does not have.")
    factor = Fraction(scale).limit_denominator(1000)
    if letter in "ci" and isinstance(axis.size, FixedSize):
        return FixedSize(int(axis.size.size * factor) + added)
    return ReferencedSize(tensor_id, axis.id, factor, added)


def _check_rank(name: Any, axes: str, shape: Any) -> None:
    if len(shape) != len(axes):
        raise ModelError(f"Tensor {str(name)!r} has axes {axes!r} but a shape of {counted(len(shape), 'number')}.")


def _operations(steps: Sequence[Any], tensor_axes: str) -> list[Operation]:
    return [_operation(step.name, dict(step.kwargs), tensor_axes) for step in steps]


def _operation(name: str, kwargs: dict[str, Any], tensor_axes: str) -> Operation:
    """Return a step with ``mode``, ``axes`` and values per channel in the form of format 0.5."""
    mode, axes = kwargs.pop("mode", None), kwargs.get("axes")
    if name == "zero_mean_unit_variance" and mode == "fixed":
        values = {"mean": kwargs["mean"], "std": kwargs["std"]}
        return _along("fixed_zero_mean_unit_variance", values, axes, tensor_axes)
    if name == "scale_linear":
        return _along(name, {"gain": kwargs["gain"], "offset": kwargs["offset"]}, axes, tensor_axes)
    kwargs = {key: value for key, value in kwargs.items() if key not in ("mean", "std")}
    if "axes" in kwargs:
        # "per_dataset" pools all samples, as the batch axis among the axes does in format 0.5
        kwargs["axes"] = None if axes is None else ("b" if mode == "per_dataset" else "") + axes
    if kwargs.get("reference_tensor") is not None:
        kwargs["reference_tensor"] = str(kwargs["reference_tensor"])
    return Operation(name, kwargs)


def _along(name: str, values: dict[str, Any], axes: str | None, tensor_axes: str) -> Operation:
    """Return an operation whose listed values differ along the only axis that is not normalised jointly."""
    if not any(isinstance(value, list | tuple) and len(value) > 1 for value in values.values()):
        return Operation(name, values)
    rest = [letter for letter in tensor_axes if letter != "b" and letter not in (axes or "")]
    if axes is None or len(rest) != 1:
        raise ModelError(
            f"Values per channel are given for axes {axes!r} of a tensor {tensor_axes!r}: which axis is meant?"
        )
    return Operation(name, {**values, "axis": rest[0]})
