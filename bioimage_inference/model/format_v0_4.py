"""Tensors of format 0.4 (and 0.3): axes as one string, shapes as lists, processing by ``name``."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .spec import Axis, FixedSize, FreeSize, Operation, ReferencedSize, Size, StepSize, TensorSpec

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_4

Validate = Callable[[Callable[[Any], Any], Any, str], Any]

_AXIS_IDS = {"b": "batch", "i": "index", "t": "time", "c": "channel"}


def read_tensors(
    content: Mapping[str, Any], validated: Validate
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; raises :class:`ModelError` through ``validated``."""
    from bioimageio.spec.model import v0_4

    input_files = list(content.get("test_inputs") or [])
    output_files = list(content.get("test_outputs") or [])
    inputs = [
        _input(validated(v0_4.InputTensorDescr.model_validate, raw, f"input {number}"), _nth(input_files, number))
        for number, raw in enumerate(content["inputs"])
    ]
    outputs = [
        _output(
            validated(v0_4.OutputTensorDescr.model_validate, _renamed(raw), f"output {number}"),
            inputs,
            _nth(output_files, number),
        )
        for number, raw in enumerate(content["outputs"])
    ]
    return tuple(inputs), tuple(outputs)


def _nth(files: Sequence[Any], number: int) -> str | None:
    return str(files[number]) if number < len(files) else None


def _renamed(raw: Any) -> Any:
    """Format 0.3 calls ``reference_tensor`` ``reference_input``."""
    shape = raw.get("shape") if isinstance(raw, Mapping) else None
    if isinstance(shape, Mapping) and "reference_input" in shape:
        renamed = {("reference_tensor" if key == "reference_input" else key): shape[key] for key in shape}
        return {**raw, "shape": renamed}
    return raw


def _input(tensor: "v0_4.InputTensorDescr", test_tensor: str | None) -> TensorSpec:
    from bioimageio.spec.model.v0_4 import ParameterizedInputShape

    shape = tensor.shape
    minimum = shape.min if isinstance(shape, ParameterizedInputShape) else shape
    step = shape.step if isinstance(shape, ParameterizedInputShape) else [0] * len(shape)
    _check_rank(tensor.name, tensor.axes, minimum)
    axes = tuple(
        _axis(letter, FreeSize() if letter == "b" else (StepSize(low, by) if by else FixedSize(low)))
        for letter, low, by in zip(tensor.axes, minimum, step, strict=True)
    )
    return TensorSpec(
        id=str(tensor.name),
        axes=axes,
        dtype=tensor.data_type,
        operations=(
            # The reference hands every network of format 0.4 float32, whatever the declared type.
            *_operations(tensor.preprocessing, tensor.axes),
            Operation("ensure_dtype", {"dtype": "float32"}),
        ),
        data_range=_finite(tensor.data_range),
        test_tensor=test_tensor,
        description=tensor.description,
    )


def _output(tensor: "v0_4.OutputTensorDescr", inputs: Sequence[TensorSpec], test_tensor: str | None) -> TensorSpec:
    from bioimageio.spec.model.v0_4 import ImplicitOutputShape

    _check_rank(tensor.name, tensor.axes, tensor.shape)
    halo = list(tensor.halo or [0] * len(tensor.axes))
    axes = []
    for number, letter in enumerate(tensor.axes):
        size: Size
        if letter == "b":
            size = FreeSize()
        elif isinstance(tensor.shape, ImplicitOutputShape):
            size = _implicit_size(tensor.shape, number, letter, inputs)
        else:
            size = explicit_size(int(tensor.shape[number]), letter, inputs)
        axes.append(_axis(letter, size, halo[number]))
    return TensorSpec(
        id=str(tensor.name),
        axes=tuple(axes),
        dtype=tensor.data_type,
        operations=tuple(_operations(tensor.postprocessing, tensor.axes)),
        data_range=_finite(tensor.data_range),
        test_tensor=test_tensor,
        description=tensor.description,
    )


def _implicit_size(shape: "v0_4.ImplicitOutputShape", number: int, letter: str, inputs: Sequence[TensorSpec]) -> Size:
    """``shape = reference * scale + 2 * offset`` (spec 0.4, ImplicitOutputShape); no scale means a new axis."""
    scale, added = shape.scale[number], int(2 * shape.offset[number])
    if not scale:
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


def explicit_size(size: int, letter: str, inputs: Sequence[TensorSpec]) -> Size:
    """Relate a plain number to the input axis of the same letter, where one ratio or one crop can only be meant.

    Equal sizes and whole-number ratios are a change of resolution; anything else stays a fixed size.
    """
    if letter in "zyxt":
        for tensor in inputs:
            axis = tensor.axis(letter)
            if axis is not None and isinstance(axis.size, FixedSize):
                ratio = Fraction(size, axis.size.size)
                if 1 in (ratio.numerator, ratio.denominator):
                    return ReferencedSize(tensor.id, axis.id, ratio)
    return FixedSize(size)


def _axis(letter: str, size: Size, halo: int = 0) -> Axis:
    return Axis(id=_AXIS_IDS.get(letter, letter), letter=letter, size=size, halo=halo)


def _check_rank(name: Any, axes: str, shape: Any) -> None:
    if len(shape) != len(axes):
        raise ModelError(f"Tensor {str(name)!r} has axes {axes!r} but a shape of {len(shape)} numbers.")


def _finite(data_range: tuple[float, float] | None) -> tuple[float | None, float | None]:
    infinite = (float("-inf"), float("inf"))
    low, high = data_range or infinite
    return (None if low in infinite else low, None if high in infinite else high)


def _operations(steps: Sequence[Any], tensor_axes: str) -> list[Operation]:
    return [_operation(step.name, dict(step.kwargs) if step.kwargs else {}, tensor_axes) for step in steps]


def _operation(name: str, kwargs: dict[str, Any], tensor_axes: str) -> Operation:
    """Bring ``mode``, ``axes`` and per-channel lists into the form of format 0.5."""
    mode, axes = kwargs.pop("mode", None), kwargs.get("axes")
    if name == "zero_mean_unit_variance" and mode == "fixed":
        values = {key: kwargs[key] for key in ("mean", "std")}
        return Operation("fixed_zero_mean_unit_variance", {**values, **_along(axes, tensor_axes, values.values())})
    if name == "scale_linear":
        values = {key: kwargs[key] for key in ("gain", "offset")}
        return Operation(name, {**values, **_along(axes, tensor_axes, values.values())})
    kwargs = {key: value for key, value in kwargs.items() if key not in ("mean", "std")}
    if "axes" in kwargs:
        # "per_dataset" pools all samples, as the batch axis among the axes does in format 0.5
        kwargs["axes"] = None if axes is None else ("b" if mode == "per_dataset" else "") + axes
    if kwargs.get("reference_tensor") is not None:
        kwargs["reference_tensor"] = str(kwargs["reference_tensor"])
    return Operation(name, kwargs)


def _along(axes: str | None, tensor_axes: str, values: Any) -> dict[str, str]:
    """The axis along which listed values differ: the only one that is not normalised jointly."""
    if not any(isinstance(value, list | tuple) and len(value) > 1 for value in values):
        return {}
    rest = [letter for letter in tensor_axes if letter != "b" and letter not in (axes or "")]
    if axes is None or len(rest) != 1:
        raise ModelError(
            f"Values per channel are given for axes {axes!r} of a tensor {tensor_axes!r}: which axis is meant?"
        )
    return {"axis": rest[0]}
