"""A network's operations on tensors of given shapes, recorded as a list of layers without computing them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...machine.interruptions import late_interruptions
from ..torch_operations import Operation, OperationMode, arguments_of, flat, schema_of, tensors_of
from . import NotInSlabs
from .layers import Layer
from .slab_operations import Call, layer_of


@dataclass(frozen=True)
class Recorded:
    """The layers of a network for inputs of given shapes: its inputs, then its operations in order of computation.

    The position in ``layers`` is the number of a value. ``outputs`` are the numbers of the values that the network
    returns.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]

    @property
    def reaches(self) -> list[tuple[Any, ...]]:
        """The kind and the reach of each layer. They differ from tile to tile if a layer looks at the whole tile."""
        return [(type(layer), layer.reach) for layer in self.layers]

    @property
    def outer_bytes(self) -> int:
        """Memory of all inputs and outputs in bytes."""
        inputs = [layer for layer in self.layers if not layer.inputs]
        return sum(layer.rows * layer.row_bytes for layer in (*inputs, *(self.layers[one] for one in self.outputs)))


def record(module: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> Recorded:
    """Return the layers of a network for tensors of one sample with the axes b, c and two or three spatial axes.

    Raises :class:`NotInSlabs` if the network fails, or for an operation that may depend on many rows.
    """
    recorder = _Recorder()
    stand_ins = [recorder.input(tensor) for tensor in tensors]
    try:
        # without inference mode, torch splits operations into other parts
        with late_interruptions(), torch.inference_mode(), recorder:
            returned = flat(module(*stand_ins))
    except Exception as error:  # TorchScript wraps errors into its own
        raise NotInSlabs(recorder.refused or str(error)) from error
    return Recorded(tuple(recorder.layers), tuple(map(recorder.number, returned)))


class _Recorder(OperationMode):
    """A context that lists operations on stand-ins instead of computing them. Stand-ins have shapes but no values.

    Tensors that share memory (a tensor and its slices, for example) form one family. An operation in place changes the
    value of the tensor that it is called on; any use of another tensor of the family is refused from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.refused = ""
        self._numbers: dict[int, int] = {}
        self._families: dict[int, set[int]] = {}  # the ids of stand-ins that may share memory, by the id of each
        self._made: set[int] = set()  # addresses of constants that the network made itself
        self._held: list[torch.Tensor] = []  # keeps all alive, so that no two have the same id or address

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the stand-in for an input. Raises :class:`NotInSlabs` for a tensor of other axes."""
        if tensor.dim() not in (4, 5) or tensor.shape[0] != 1:
            raise NotInSlabs("an input of other axes")
        self.layers.append(Layer((), tuple(tensor.shape), tensor.dtype))
        return self._stand_in(tuple(tensor.shape), tensor.dtype, len(self.layers) - 1)

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of the value that a tensor stands for. Raises :class:`NotInSlabs` if there is none."""
        if id(tensor) not in self._families:
            raise NotInSlabs("a tensor that does not come from the inputs")
        if id(tensor) not in self._numbers:
            raise NotInSlabs("a tensor whose memory was changed by another name")
        return self._numbers[id(tensor)]

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Compute constants and facts of shapes, and list everything else."""
        schema, named = schema_of(function), arguments_of(function, args, kwargs)
        written = [one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
        reads_facts = not any("Tensor" in str(one.type) for one in schema.returns)
        try:
            if not any(one.is_meta for one in tensors_of((args, kwargs))):
                return self._constant(function, args, kwargs, [named[name] for name in written])
            if reads_facts and not written:
                return function(*args, **kwargs)
            return self._listed(Call(function, named, self.number), written)
        except NotInSlabs as error:
            self.refused = str(error)
            raise

    def _constant(self, function: Operation, args: Any, given: Mapping[str, Any], written: Sequence[Any]) -> Any:
        """Compute an operation on constants. It may change only constants that the network made for this tile."""
        if any(_address(one) not in self._made for one in tensors_of(written)):
            raise NotInSlabs("an operation that changes a weight or another constant")
        before = set(map(_address, tensors_of((args, given))))
        result = function(*args, **given)
        made = [one for one in tensors_of(result) if _address(one) not in before]
        self._held += made
        self._made |= set(map(_address, made))
        return result

    def _listed(self, call: Call, written: Sequence[str]) -> torch.Tensor:
        """Return the stand-in for an operation's result; ``written`` are the arguments that it changes."""
        if written not in ([], ["self"]):
            raise NotInSlabs(f"{call.name} into another tensor")
        made = layer_of(call)
        handed_on = not isinstance(made, Layer)
        shape, dtype = (made.shape, made.dtype) if isinstance(made, Layer) else (call.tensor.shape, call.tensor.dtype)
        if isinstance(made, Layer):
            self.layers.append(made)
            made = len(self.layers) - 1
        if not written:
            shares = handed_on or any(one.alias_info is not None for one in schema_of(call.function).returns)
            return self._stand_in(tuple(shape), dtype, made, call.tensor if shares else None)
        if (tuple(shape), dtype) != (tuple(call.tensor.shape), call.tensor.dtype):
            raise NotInSlabs(f"{call.name} in place, with another shape or type")
        family = self._families[id(call.tensor)]
        if any(id(one) in family and one is not call.tensor for one in tensors_of(dict(call.arguments))):
            raise NotInSlabs(f"{call.name} in place, of what it reads by another name")
        for name in family:
            self._numbers.pop(name, None)
        self._numbers[id(call.tensor)] = made
        return call.tensor

    def _stand_in(
        self, shape: tuple[int, ...], dtype: torch.dtype, number: int, shares: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a tensor that stands for a value; ``shares`` is a tensor whose memory it may share."""
        # with gaps between values: `contiguous` of a dense tensor returns the tensor itself, and would not be recorded
        tensor = torch.empty((*shape, 2), dtype=dtype, device="meta")[..., 0]
        self._held.append(tensor)
        self._numbers[id(tensor)] = number
        family = self._families[id(shares)] if shares is not None else set()
        family.add(id(tensor))
        self._families[id(tensor)] = family
        return tensor


def _address(tensor: torch.Tensor) -> int:
    """Return where the memory of a tensor and of its slices begins."""
    return tensor.untyped_storage().data_ptr()
