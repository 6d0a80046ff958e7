"""What a network does to tensors of given shapes, as a list of layers; nothing is computed for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..interruptions import late_interruptions
from ..network import flat
from . import NotInSlabs
from .layers import Layer
from .operations import Call, layer_of


@dataclass(frozen=True)
class Recorded:
    """A network for inputs of given shapes: its inputs, and then what it makes of them, in the order of computation.

    The place in ``layers`` is the number of the value; ``outputs`` are the numbers of those that the network returns.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]

    @property
    def outer_bytes(self) -> int:
        """Bytes of all inputs and outputs."""
        inputs = [layer for layer in self.layers if not layer.inputs]
        return sum(layer.rows * layer.row_bytes for layer in (*inputs, *(self.layers[one] for one in self.outputs)))


def record(module: Callable[..., Any], tensors: Sequence[torch.Tensor]) -> Recorded:
    """List what a network does to tensors b, c, then two or three spatial axes, of one sample.

    Raises :class:`NotInSlabs` where a part of it is not known to depend on few rows alone, or where it fails.
    """
    recorder = _Recorder()
    stand_ins = [recorder.input(tensor) for tensor in tensors]
    try:
        with late_interruptions(), torch.inference_mode(), recorder:  # with gradients, operations come in other parts
            returned = flat(module(*stand_ins))
    except Exception as error:  # what is raised within comes back in the types of TorchScript
        raise NotInSlabs(recorder.refused or str(error)) from error
    return Recorded(tuple(recorder.layers), tuple(map(recorder.number, returned)))


class _Recorder(TorchDispatchMode):
    """Within this context, operations on stand-ins, which have shapes but no values, are listed, not computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.refused = ""
        self._numbers: dict[int, int] = {}
        self._stand_ins: list[torch.Tensor] = []  # held, so that no two have the same id

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so would import the compiler

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """The stand-in for an input. Raises :class:`NotInSlabs` for a tensor of other axes."""
        if tensor.dim() not in (4, 5) or tensor.shape[0] != 1:
            raise NotInSlabs("an input of other axes")
        self.layers.append(Layer((), tuple(tensor.shape), tensor.dtype))
        return self._stand_in(tuple(tensor.shape), tensor.dtype, len(self.layers) - 1)

    def number(self, tensor: torch.Tensor) -> int:
        """The number of the value that a tensor stands for."""
        if id(tensor) not in self._numbers:
            raise NotInSlabs("a tensor that does not come from the inputs")
        return self._numbers[id(tensor)]

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute constants, and list the rest."""
        del types
        given, schema = dict(kwargs or {}), func._schema  # type: ignore[attr-defined]
        tensors = [one for one in tree_leaves((args, given)) if isinstance(one, torch.Tensor)]
        asks = not any("Tensor" in str(one.type) for one in schema.returns)
        if asks or not any(one.is_meta for one in tensors):
            return func(*args, **given)
        try:
            return self._listed(Call(func, _named(schema, args, given), self.number))
        except NotInSlabs as error:
            self.refused = str(error)
            raise

    def _listed(self, call: Call) -> torch.Tensor:
        """The stand-in for what an operation returns."""
        made = layer_of(call)
        shape, dtype = (made.shape, made.dtype) if isinstance(made, Layer) else (call.tensor.shape, call.tensor.dtype)
        if isinstance(made, Layer):
            self.layers.append(made)
            made = len(self.layers) - 1
        if not call.function._schema.is_mutable:
            return self._stand_in(tuple(shape), dtype, made)
        if list(self._numbers.values()).count(self.number(call.tensor)) > 1:
            raise NotInSlabs(f"{call.name} in place, on a tensor that has another name")
        self._numbers[id(call.tensor)] = made
        return call.tensor

    def _stand_in(self, shape: tuple[int, ...], dtype: torch.dtype, number: int) -> torch.Tensor:
        tensor = torch.empty(shape, dtype=dtype, device="meta")
        self._stand_ins.append(tensor)
        self._numbers[id(tensor)] = number
        return tensor


def _named(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an operation by their names, defaults included."""
    named = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    return named | {one.name: given for one, given in zip(schema.arguments, args, strict=False)} | dict(kwargs)
