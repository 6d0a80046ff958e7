"""Tensors of format 0.5: axes as objects, processing by ``id``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .naming import axis_letters, is_list
from .needed_v0_5 import needed_tensors
from .spec import Axis, FixedSize, FreeSize, Operation, Padding, ReferencedSize, Size, StepSize, TensorSpec
from .tensor_rules import Tensors, declared_range

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_5

Validate = Callable[[Callable[[Any], Any], Any, str], Any]


@dataclass(frozen=True)
class _Described:
    """A tensor as the validator returns it, under the name that it has here, with the halo of each axis."""

    id: str
    tensor: "v0_5.InputTensorDescr | v0_5.OutputTensorDescr"
    halos: tuple[int, ...]
    raw: Mapping[str, Any]


def read_tensors(content: Mapping[str, Any], validated: Validate) -> Tensors:
    """Inputs and outputs; raises :class:`ModelError`, also through ``validated``."""
    from bioimageio.spec.model import v0_5

    notes: list[str] = []
    needed = needed_tensors(content, notes)
    inputs = _described(v0_5.InputTensorDescr, needed["inputs"], content["inputs"], "input", validated)
    outputs = _described(v0_5.OutputTensorDescr, needed["outputs"], content["outputs"], "output", validated)
    outputs = _renamed(outputs, {tensor.id for tensor in inputs}, notes)
    references = _References(inputs, outputs)
    read_inputs = tuple(_tensor(one, references) for one in inputs)
    read_outputs = tuple(_tensor(one, references, read_inputs) for one in outputs)
    notes += _lists(outputs, read_outputs)
    return Tensors(read_inputs, read_outputs, tuple(notes))


def _described(
    node: Any, needed: Sequence[Mapping[str, Any]], raws: Sequence[Any], kind: str, validated: Validate
) -> list[_Described]:
    found = []
    for number, (tensor, raw) in enumerate(zip(needed, raws, strict=True)):
        # the validator takes halos of axes only that refer to another; they are read without it
        axes = [{key: value for key, value in axis.items() if key != "halo"} for axis in tensor["axes"]]
        descr = validated(node.model_validate, {**tensor, "axes": axes}, f"{kind} {number}")
        halos = tuple(int(axis["halo"]) for axis in tensor["axes"])
        found.append(_Described(str(descr.id), descr, halos, raw))
    return found


def _renamed(outputs: Sequence[_Described], taken: set[str], notes: list[str]) -> list[_Described]:
    """Outputs that share their name with an input under one of their own.

    The format wants names to differ among all tensors, but its validator does not look, so that such models exist.
    """
    renamed = []
    for one in outputs:
        name = one.id
        while name in taken:
            name += "_output"
        if name != one.id:
            notes.append(
                f"The description gives the name {one.id!r} to an input and to an output; the output is called "
                f"{name!r} here."
            )
        renamed.append(_Described(name, one.tensor, one.halos, one.raw))
    return renamed


class _References:
    """Finds the tensor that a size refers to, and how coarse the axis meant there is."""

    def __init__(self, inputs: Sequence[_Described], outputs: Sequence[_Described]) -> None:
        self._found: dict[tuple[str, str], tuple[str, float]] = {}
        for one in (*inputs, *outputs):  # of an input and an output of one name the input is meant, if it has the axis
            for axis in one.tensor.axes:
                self._found.setdefault((str(one.tensor.id), str(axis.id)), (one.id, float(axis.scale)))

    def resolve(self, tensor: str, axis: str, where: str) -> tuple[str, float]:
        """Tensor and scale; raises :class:`ModelError` where there is no such axis."""
        if (tensor, axis) not in self._found:
            raise ModelError(f"The size of {where} refers to axis {axis!r} of {tensor!r}, which does not exist.")
        return self._found[tensor, axis]


def _tensor(one: _Described, references: _References, inputs: Sequence[TensorSpec] = ()) -> TensorSpec:
    """``inputs`` are given for outputs only."""
    letters = axis_letters(one.tensor.axes, one.id, inputs)
    axes = tuple(
        _axis(axis, letters[str(axis.id)], halo, references, one.id)
        for axis, halo in zip(one.tensor.axes, one.halos, strict=True)
    )
    steps = getattr(one.tensor, "preprocessing" if not inputs else "postprocessing")
    operations = _operations(steps, letters)
    if inputs and operations[-1].name == "binarize" and "int" in one.tensor.dtype:
        operations = (*operations, Operation("ensure_dtype", {"dtype": one.tensor.dtype}))
    return TensorSpec(
        id=one.id,
        axes=axes,
        dtype=one.tensor.dtype,
        operations=operations,
        optional=bool(getattr(one.tensor, "optional", False)),
        padding=_padding(getattr(one.tensor, "pad", None)),
        data_range=_data_range(one.raw.get("data")),
        listed=all(isinstance(part, Mapping) and bool(part.get("values")) for part in _parts(one.raw.get("data"))),
        test_tensor=_test_tensor(one.raw.get("test_tensor")),
        description=str(one.raw.get("description") or ""),
    )


def _padding(pad: Any) -> Padding:
    return Padding() if pad is None else Padding(pad.mode, float(getattr(pad, "value", 0.0)))


def _axis(axis: Any, letter: str, halo: int, references: _References, tensor_id: str) -> Axis:
    return Axis(
        id=str(axis.id),
        letter=letter,
        size=FreeSize() if is_list(axis, letter) else _size(axis, references, tensor_id),
        halo=halo,
        scale=float(axis.scale),
        unit=str(axis.unit) if axis.unit else None,
        channel_names=tuple(str(name) for name in getattr(axis, "channel_names", ())),
    )


def _size(axis: Any, references: _References, tensor_id: str) -> Size:
    from bioimageio.spec.model import v0_5

    size = axis.size
    if axis.type == "batch":
        return FreeSize(maximum=size)
    if isinstance(size, int):
        return FixedSize(size)
    if isinstance(size, v0_5.ParameterizedSize):
        return StepSize(size.min, size.step)
    if isinstance(size, v0_5.DataDependentSize):
        return FreeSize(size.min, size.max)
    where = f"axis {str(axis.id)!r} of tensor {tensor_id!r}"
    tensor, scale = references.resolve(str(size.tensor_id), str(size.axis_id), where)
    factor = Fraction(scale / float(axis.scale)).limit_denominator(1000)
    return ReferencedSize(tensor, str(size.axis_id), factor, int(size.offset))


def _lists(described: Sequence[_Described], read: Sequence[TensorSpec]) -> list[str]:
    """A remark on axes that are declared as directions in space, but are lists."""
    found = [
        f"{raw['id']!r} of {tensor.id!r}"
        for one, tensor in zip(described, read, strict=True)
        for axis, own, raw in zip(one.tensor.axes, tensor.axes, one.raw["axes"], strict=True)
        if is_list(axis, own.letter)
    ]
    if not found:
        return []
    return [
        f"The description declares axes of outputs as directions in space that no input has ({', '.join(found)}); "
        "they are taken as lists, as long as the network makes them."
    ]


def _operations(steps: Sequence[Any], letters: Mapping[str, str]) -> tuple[Operation, ...]:
    return tuple(_custom(step) if step.id == "custom" else _operation(step, letters) for step in steps)


def _custom(step: Any) -> Operation:
    """A function of the model's own; its arguments are its own, too."""
    kwargs = {"callable": str(step.callable), "source": str(step.source), "kwargs": dict(step.kwargs)}
    return Operation("custom", {**kwargs, "sha256": str(step.sha256) if step.sha256 else None})


def _operation(step: Any, letters: Mapping[str, str]) -> Operation:
    kwargs: dict[str, Any] = {
        key: value for key, value in dict(step.kwargs).items() if value is not None or key == "axes"
    }
    if kwargs.get("axes") is not None:
        kwargs["axes"] = "".join(letters[str(axis)] for axis in kwargs["axes"])
    if kwargs.get("axis") is not None:
        kwargs["axis"] = _letter(letters, str(kwargs["axis"]), step.id)
    if kwargs.get("reference_tensor") is not None:
        kwargs["reference_tensor"] = str(kwargs["reference_tensor"])
    return Operation(str(step.id), kwargs)


def _letter(letters: Mapping[str, str], axis_id: str, operation: str) -> str:
    if axis_id not in letters:
        raise ModelError(f"{operation} works along the axis {axis_id!r}, which its tensor does not have.")
    return letters[axis_id]


def _data_range(data: Any) -> tuple[float | None, float | None]:
    """The declared range; of all channels together where it is declared for each."""
    ranges = [_range_of(part) for part in _parts(data)] or [(None, None)]
    lows, highs = [low for low, _ in ranges if low is not None], [high for _, high in ranges if high is not None]
    return (
        min(lows) if len(lows) == len(ranges) else None,
        max(highs) if len(highs) == len(ranges) else None,
    )


def _parts(data: Any) -> Sequence[Any]:
    """What is declared of the values, for all channels together or for each."""
    return data if isinstance(data, list | tuple) else [data]


def _range_of(part: Any) -> tuple[float | None, float | None]:
    if not isinstance(part, Mapping):
        return None, None
    values = part.get("values")
    if isinstance(values, list | tuple) and values:
        if isinstance(values[0], str):  # names of the values 0, 1, 2 …
            return 0.0, float(len(values) - 1)
        numbers = [value for value in values if isinstance(value, int | float)]
        return declared_range([min(numbers), max(numbers)]) if numbers else (None, None)
    return declared_range(part.get("range"))


def _test_tensor(test_tensor: Any) -> str | None:
    source = test_tensor.get("source") if isinstance(test_tensor, Mapping) else test_tensor
    return str(source) if source else None
