"""What a network does to tensors of given shapes, as a list of layers; nothing is computed for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..interruptions import late_interruptions
from ..tile_tensors import flat
from . import NotInSlabs
from .layers import Layer
from .slab_operations import Call, layer_of


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
    """Within this context, operations on stand-ins, which have shapes but no values, are listed, not computed.

    Names of the same memory (a tensor and its slices, say) are one family. An operation in place changes what its own
    name stands for; all other names of the family are stale from then on, and to use one is refused.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.refused = ""
        self._numbers: dict[int, int] = {}
        self._families: dict[int, set[int]] = {}  # the ids of stand-ins that may share memory, by the id of each
        self._made: set[int] = set()  # where the values of constants lie that the network made itself
        self._held: list[torch.Tensor] = []  # so that no two have the same id, or the same place

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
        """The number of the value that a tensor stands for. Raises :class:`NotInSlabs` where it stands for none."""
        if id(tensor) not in self._families:
            raise NotInSlabs("a tensor that does not come from the inputs")
        if id(tensor) not in self._numbers:
            raise NotInSlabs("a tensor whose memory was changed by another name")
        return self._numbers[id(tensor)]

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute constants, and list the rest."""
        del types
        given, schema = dict(kwargs or {}), func._schema  # type: ignore[attr-defined]
        tensors = [one for one in tree_leaves((args, given)) if isinstance(one, torch.Tensor)]
        named = _named(schema, args, given)
        written = [one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
        asks = not any("Tensor" in str(one.type) for one in schema.returns)
        try:
            if not any(one.is_meta for one in tensors):
                return self._constant(func, args, given, [named[name] for name in written])
            if asks and not written:
                return func(*args, **given)
            return self._listed(Call(func, named, self.number), written)
        except NotInSlabs as error:
            self.refused = str(error)
            raise

    def _constant(self, func: Callable[..., Any], args: Any, given: Mapping[str, Any], written: Sequence[Any]) -> Any:
        """Compute what depends on no input; only what the network has made for this tile may be changed in place."""
        if any(_place(one) not in self._made for one in tree_leaves(written) if isinstance(one, torch.Tensor)):
            raise NotInSlabs("an operation that changes a weight or another constant")
        before = {_place(one) for one in tree_leaves((args, given)) if isinstance(one, torch.Tensor)}
        result = func(*args, **given)
        made = [one for one in tree_leaves(result) if isinstance(one, torch.Tensor) and _place(one) not in before]
        self._held += made
        self._made |= {_place(one) for one in made}
        return result

    def _listed(self, call: Call, written: Sequence[str]) -> torch.Tensor:
        """The stand-in for what an operation returns; ``written`` are the arguments that it changes."""
        if written not in ([], ["self"]):
            raise NotInSlabs(f"{call.name} into another tensor")
        made = layer_of(call)
        handed_on = not isinstance(made, Layer)
        shape, dtype = (made.shape, made.dtype) if isinstance(made, Layer) else (call.tensor.shape, call.tensor.dtype)
        if isinstance(made, Layer):
            self.layers.append(made)
            made = len(self.layers) - 1
        if not written:
            shares = handed_on or any(one.alias_info is not None for one in call.function._schema.returns)
            return self._stand_in(tuple(shape), dtype, made, call.tensor if shares else None)
        if (tuple(shape), dtype) != (tuple(call.tensor.shape), call.tensor.dtype):
            raise NotInSlabs(f"{call.name} in place, with another shape or type")
        family = self._families[id(call.tensor)]
        if any(id(one) in family and one is not call.tensor for one in tree_leaves(dict(call.arguments))):
            raise NotInSlabs(f"{call.name} in place, of what it reads by another name")
        for name in family:
            self._numbers.pop(name, None)
        self._numbers[id(call.tensor)] = made
        return call.tensor

    def _stand_in(
        self, shape: tuple[int, ...], dtype: torch.dtype, number: int, shares: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A tensor for a value; it may share memory with another one."""
        # with gaps between values: of what lies together, `contiguous` would hand on the tensor itself, unseen
        tensor = torch.empty((*shape, 2), dtype=dtype, device="meta")[..., 0]
        self._held.append(tensor)
        self._numbers[id(tensor)] = number
        family = self._families[id(shares)] if shares is not None else set()
        family.add(id(tensor))
        self._families[id(tensor)] = family
        return tensor


def _place(tensor: torch.Tensor) -> int:
    """Where the memory of a tensor and of its slices begins."""
    return tensor.untyped_storage().data_ptr()


def _named(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an operation by their names, defaults included."""
    named = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    return named | {one.name: given for one, given in zip(schema.arguments, args, strict=False)} | dict(kwargs)
