"""Reads the tensors of format 0.5: axes with a type and any name, processing by ``id``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import ModelError
from ..image.axes import SPACE, letter_of
from .reduction import Raw, tensors_v0_5
from .spec import Axis, FixedSize, FreeSize, Operation, Padding, ReferencedSize, Size, StepSize, TensorSpec
from .tensor_rules import Tensors, declared_range

_References = Mapping[tuple[str, str], tuple[str, float]]
"""From tensor and axis as a size names them to the id that the tensor has here, and the scale of the axis."""


@dataclass(frozen=True)
class _DescribedTensor:
    """A validated tensor under the id that it has here, and its YAML."""

    id: str
    descr: Any
    raw: Raw


def read_tensors(content: Mapping[str, Any]) -> Tensors:
    """Return inputs and outputs. Raises :class:`ModelError` where they are not valid."""
    notes: list[str] = []
    validated_inputs, validated_outputs = tensors_v0_5(content, notes)
    inputs = [_DescribedTensor(str(descr.id), descr, raw) for descr, raw in validated_inputs]
    taken = {tensor.id for tensor in inputs}
    outputs = [
        _DescribedTensor(_output_id(str(descr.id), taken, notes), descr, raw) for descr, raw in validated_outputs
    ]
    # Where an input and an output share an id, a size refers to the input if that has the axis. It comes last here.
    references = {
        (str(one.descr.id), str(axis.id)): (one.id, float(axis.scale))
        for one in reversed((*inputs, *outputs))
        for axis in one.descr.axes
    }
    read_inputs = tuple(_tensor(one, references) for one in inputs)
    read_outputs = tuple(_tensor(one, references, read_inputs) for one in outputs)
    notes += _notes_on_lists(outputs, read_outputs)
    return Tensors(read_inputs, read_outputs, tuple(notes))


def _output_id(declared: str, taken: set[str], notes: list[str]) -> str:
    """Return an id that no input has.

    The format wants ids to differ among all tensors, but its validator does not check outputs against inputs
    (bioimageio.spec 0.5.12.0), so there are models whose ids do not.
    """
    name = declared
    while name in taken:
        name += "_output"
    if name != declared:
        notes.append(
            f"The description gives the name {declared!r} to an input and to an output; the output is called {name!r} "
            "here."
        )
    return name


def _tensor(one: _DescribedTensor, references: _References, inputs: Sequence[TensorSpec] = ()) -> TensorSpec:
    """Return the facts of an input, or of an output, for which all ``inputs`` are given."""
    descr, raw = one.descr, one.raw
    letters = _axis_letters(descr.axes, one.id, inputs)
    axes = tuple(
        _axis(axis, letters[str(axis.id)], declared.get("halo", 0), references, one.id)
        for axis, declared in zip(descr.axes, raw["axes"], strict=True)
    )
    operations = [_operation(step, letters) for step in (descr.postprocessing if inputs else descr.preprocessing)]
    if inputs and operations[-1].name == "binarize" and "int" in descr.dtype:
        operations.append(Operation("ensure_dtype", {"dtype": descr.dtype}))
    data = raw.get("data")
    channels = data if isinstance(data, list | tuple) else [data]
    test_tensor = raw.get("test_tensor")
    source = test_tensor.get("source") if isinstance(test_tensor, Mapping) else test_tensor
    return TensorSpec(
        id=one.id,
        axes=axes,
        dtype=descr.dtype,
        operations=tuple(operations),
        optional=bool(getattr(descr, "optional", False)),
        padding=_padding(getattr(descr, "pad", None)),
        data_range=_data_range(channels),
        listed=all(isinstance(channel, Mapping) and bool(channel.get("values")) for channel in channels),
        test_tensor=str(source) if source else None,
        description=str(raw.get("description") or ""),
    )


def _padding(pad: Any) -> Padding:
    return Padding() if pad is None else Padding(pad.mode, float(getattr(pad, "value", 0.0)))


def _axis_letters(axes: Sequence[Any], tensor_id: str, inputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return the letter of each axis by its id; ``inputs`` are given for outputs only.

    A space axis has the letter of its name, else of the input axis that it follows. Where neither is known, the space
    axes of an input are z, y, x counted from the last, and those of an output are lists, for instance a detector's
    boxes. A list has the letter ``i``, a list within a list ``p``. Raises :class:`ModelError` where letters run out.
    """
    letters: dict[str, str] = {}
    for axis in axes:
        letter = letter_of(axis.type, "bct")
        if axis.type == "space":
            letter = letter_of(str(axis.id), SPACE) or _followed_letter(axis, inputs)
        if letter is not None and letter not in letters.values():
            letters[str(axis.id)] = letter
    for kind, spare in (("index", "ip"), ("space", "icp" if inputs else "xyz")):
        unnamed = [str(axis.id) for axis in axes if axis.type == kind and str(axis.id) not in letters]
        free = [letter for letter in spare if letter not in letters.values()]
        if len(unnamed) > len(free):
            raise ModelError(f"Tensor {tensor_id!r} has too many axes of type {kind}; that is not supported.")
        letters.update(zip(unnamed if inputs or kind == "index" else reversed(unnamed), free, strict=False))
    twice = next((axis.type for axis in axes if str(axis.id) not in letters), None)
    if twice is not None:
        raise ModelError(f"Tensor {tensor_id!r} has more than one axis of type {twice}; that is not supported.")
    return letters


def _followed_letter(axis: Any, inputs: Sequence[TensorSpec]) -> str | None:
    """Return the letter of the input axis to which the size of an output axis refers, or which has its name."""
    tensor_id, axis_id = getattr(axis.size, "tensor_id", None), getattr(axis.size, "axis_id", axis.id)
    for tensor in inputs:
        for other in tensor.axes:
            if other.id == str(axis_id) and tensor_id in (None, tensor.id) and other.letter in SPACE:
                return other.letter
    return None


def _is_list(axis: Any, letter: str) -> bool:
    """Return whether an axis that is declared as a direction in space is a list."""
    return axis.type == "space" and letter not in "xyz"


def _notes_on_lists(outputs: Sequence[_DescribedTensor], read: Sequence[TensorSpec]) -> list[str]:
    found = [
        f"{declared.get('id', 'x')!r} of {tensor.id!r}"
        for one, tensor in zip(outputs, read, strict=True)
        for axis, own, declared in zip(one.descr.axes, tensor.axes, one.raw["axes"], strict=True)
        if _is_list(axis, own.letter)
    ]
    if not found:
        return []
    return [
        f"The description declares axes of outputs as directions in space that no input has ({', '.join(found)}); "
        "they are taken as lists, as long as the network makes them."
    ]


def _axis(axis: Any, letter: str, halo: Any, references: _References, tensor_id: str) -> Axis:
    """``halo`` is the declared value: the validator takes halos only beside sizes that refer to another axis."""
    where = f"axis {str(axis.id)!r} of tensor {tensor_id!r}"
    return Axis(
        id=str(axis.id),
        letter=letter,
        size=FreeSize() if _is_list(axis, letter) else _size(axis, references, where),
        halo=halo,
        scale=float(axis.scale),
        unit=str(axis.unit) if axis.unit else None,
        channel_names=tuple(str(name) for name in getattr(axis, "channel_names", ())),
    )


def _size(axis: Any, references: _References, where: str) -> Size:
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
    reference = (str(size.tensor_id), str(size.axis_id))
    if reference not in references:
        raise ModelError(
            f"The size of {where} refers to axis {reference[1]!r} of {reference[0]!r}, which does not exist."
        )
    tensor, scale = references[reference]
    factor = Fraction(scale / float(axis.scale)).limit_denominator(1000)
    return ReferencedSize(tensor, reference[1], factor, int(size.offset))


def _operation(step: Any, letters: Mapping[str, str]) -> Operation:
    """Return a step with letters of axes; ``custom`` is a function of the model's own, and so are its arguments."""
    if step.id == "custom":
        own = {"callable": str(step.callable), "source": str(step.source), "kwargs": dict(step.kwargs)}
        return Operation("custom", {**own, "sha256": str(step.sha256) if step.sha256 else None})
    kwargs = {key: value for key, value in dict(step.kwargs).items() if value is not None or key == "axes"}
    if kwargs.get("axes") is not None:
        kwargs["axes"] = "".join(letters[str(axis)] for axis in kwargs["axes"])
    if "axis" in kwargs:
        if str(kwargs["axis"]) not in letters:
            raise ModelError(f"{step.id} works along the axis {str(kwargs['axis'])!r}, which its tensor does not have.")
        kwargs["axis"] = letters[str(kwargs["axis"])]
    if "reference_tensor" in kwargs:
        kwargs["reference_tensor"] = str(kwargs["reference_tensor"])
    return Operation(str(step.id), kwargs)


def _data_range(channels: Sequence[Any]) -> tuple[float | None, float | None]:
    """Return the declared range of the values, over all channels where each declares its own."""
    ranges = [_channel_range(channel) for channel in channels] or [(None, None)]
    lows, highs = [low for low, _ in ranges if low is not None], [high for _, high in ranges if high is not None]
    return min(lows) if len(lows) == len(ranges) else None, max(highs) if len(highs) == len(ranges) else None


def _channel_range(channel: Any) -> tuple[float | None, float | None]:
    if not isinstance(channel, Mapping):
        return None, None
    values = channel.get("values")
    if isinstance(values, list | tuple) and values:
        if isinstance(values[0], str):  # names of the values 0, 1, 2 …
            return 0.0, float(len(values) - 1)
        numbers = [value for value in values if isinstance(value, int | float)]
        return declared_range([min(numbers), max(numbers)]) if numbers else (None, None)
    return declared_range(channel.get("range"))
