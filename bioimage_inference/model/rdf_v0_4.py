"""Tensors of format 0.4 (and 0.3): axes as one string, shapes as lists, processing by ``name``."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..image.axes import axis_id
from .spec import Axis, FixedSize, FreeSize, Operation, ReferencedSize, Size, StepSize, TensorSpec
from .tensor_rules import Tensors, declared_dtype, declared_range, needed_steps

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_4

Validate = Callable[[Callable[[Any], Any], Any, str], Any]


def read_tensors(content: Mapping[str, Any], validated: Validate) -> Tensors:
    """Inputs and outputs; raises :class:`ModelError`, also through ``validated``."""
    from bioimageio.spec.model import v0_4

    inputs = []
    for number, raw in enumerate(content["inputs"]):
        where = f"input {number}"
        # the validator knows three types of inputs, but whatever is declared, the network is given float32
        needed = _needed(raw, "preprocessing", where) | {"data_type": "float32"}
        tensor = validated(v0_4.InputTensorDescr.model_validate, needed, where)
        inputs.append(_input(tensor, raw, _nth(content.get("test_inputs"), number)))
    outputs = []
    for number, raw in enumerate(content["outputs"]):
        where = f"output {number}"
        needed = _needed(raw, "postprocessing", where)
        if isinstance(raw, Mapping) and raw.get("halo"):
            needed["halo"] = raw["halo"]
        tensor = validated(v0_4.OutputTensorDescr.model_validate, needed, where)
        outputs.append(_output(tensor, inputs, raw, _nth(content.get("test_outputs"), number)))
    return Tensors(tuple(inputs), tuple(outputs))


def _nth(files: Any, number: int) -> str | None:
    named = isinstance(files, list | tuple) and number < len(files) and files[number]
    return str(files[number]) if named else None


def _needed(raw: Any, steps: str, where: str) -> dict[str, Any]:
    """What inference needs, in the validator's words: format 0.3 calls ``reference_tensor`` ``reference_input``."""
    if not isinstance(raw, Mapping):
        raise ModelError(f"The description of {where} is no list of named facts. Download the model again.")
    needed = {key: raw[key] for key in ("name", "axes", "shape") if key in raw}
    shape = needed.get("shape")
    if isinstance(shape, Mapping) and "reference_input" in shape:
        needed["shape"] = {("reference_tensor" if key == "reference_input" else key): shape[key] for key in shape}
    dtype = declared_dtype(raw.get("data_type", "float32"), where)
    return {**needed, "data_type": dtype, steps: needed_steps(raw.get(steps))}


def _input(tensor: "v0_4.InputTensorDescr", raw: Mapping[str, Any], test_tensor: str | None) -> TensorSpec:
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
        dtype=str(raw.get("data_type", "float32")),
        operations=(
            # The reference hands every network of format 0.4 float32, whatever the declared type.
            *_operations(tensor.preprocessing, tensor.axes),
            Operation("ensure_dtype", {"dtype": "float32"}),
        ),
        data_range=declared_range(raw.get("data_range")),
        test_tensor=test_tensor,
        description=str(raw.get("description") or ""),
    )


def _output(
    tensor: "v0_4.OutputTensorDescr", inputs: Sequence[TensorSpec], raw: Mapping[str, Any], test_tensor: str | None
) -> TensorSpec:
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
            size = FixedSize(int(tensor.shape[number]))
        axes.append(_axis(letter, size, halo[number]))
    operations = _operations(tensor.postprocessing, tensor.axes)
    return TensorSpec(
        id=str(tensor.name),
        axes=tuple(axes),
        dtype=tensor.data_type,
        operations=(*operations, _final_dtype(tensor.data_type, operations)),
        data_range=declared_range(raw.get("data_range")),
        test_tensor=test_tensor,
        description=str(raw.get("description") or ""),
    )


def _final_dtype(dtype: str, operations: Sequence[Operation]) -> Operation:
    """The declared type; descriptions of probabilities that declare integers must not cut off the decimals."""
    whole = operations[-1].name == "binarize" if operations else False
    if dtype.startswith("float") or whole:
        return Operation("ensure_dtype", {"dtype": dtype})
    return Operation("ensure_dtype", {"dtype": dtype, "keep_floats": True})


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


def _axis(letter: str, size: Size, halo: int = 0) -> Axis:
    return Axis(id=axis_id(letter), letter=letter, size=size, halo=halo)


def _check_rank(name: Any, axes: str, shape: Any) -> None:
    if len(shape) != len(axes):
        raise ModelError(f"Tensor {str(name)!r} has axes {axes!r} but a shape of {len(shape)} numbers.")


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
