"""A network as one plain graph of tensor operations for inputs of fixed shapes, which other engines can read."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..array_types import Array
from .tile_tensors import Inputs, flat
from .torch_network import memory_is_short

# Operations that ask a tensor for something other than its values.
_METADATA = {
    "aten::__is__",
    "aten::__isnot__",
    "aten::dim",
    "aten::is_floating_point",
    "aten::len",
    "aten::numel",
    "aten::size",
    "aten::stride",
    "prim::device",
    "prim::dtype",
    "prim::is_cuda",
}
_NUMBERS = {"IntType", "FloatType", "BoolType", "NumberType", "ComplexType"}


def trace(module: Any, inputs: Inputs) -> tuple[Any, list[Array]]:
    """The network's operations on these inputs as TorchScript without branches or loops, and its outputs.

    ``None`` stands for an optional input that is absent; the graph has the others only. Raises what torch raises where
    the network fails, :class:`RuntimeError` where its branches depend on the values of the inputs.
    """
    import torch

    found: list[Any] = []

    def tensors() -> tuple[Any, ...]:  # anew for each use: networks may compute in place
        return tuple(torch.from_numpy(np.array(array, order="C")) for array in inputs if array is not None)

    def network(*tensors: Any) -> Any:
        return module(*_arguments(inputs, tensors))

    def forward(*tensors: Any) -> tuple[Any, ...]:
        found[:] = flat(operations(*tensors))
        return tuple(found)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of constants, which is what they are here
        scripted = _scripted(module, len(tensors()))
        interpreted = _interpreted(scripted) if scripted is not None else None
        if scripted is not None and interpreted is None and not any(map(_branches, _nodes(scripted.graph))):
            return scripted, [tensor.numpy() for tensor in flat(scripted(*tensors()))]
        operations = interpreted or _recorded(network, tensors())
        traced = torch.jit.trace(forward, tensors(), check_trace=False)
    return traced, [tensor.numpy() for tensor in found]


def _scripted(module: Any, arguments: int) -> Any:
    """A TorchScript module with constant weights, ``None`` for other modules, or where it takes more arguments."""
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        return None
    frozen = torch.jit.freeze(module)
    return frozen if len(list(frozen.graph.inputs())) == 1 + arguments else None


def _interpreted(scripted: Any) -> Callable[..., Any] | None:
    """What a module computes, one operation after the other: called as it is, its branches would be traced as such.

    The interpreter has no public name, and spares the 1 s that the import of :func:`_recorded` takes. ``None`` where
    it is not there, or where branches may depend on values.
    """
    import torch

    interpret = getattr(torch._C, "_jit_interpret_graph", None)
    if interpret is None or any(map(_reads_values, _nodes(scripted.graph))):
        return None
    return lambda *tensors: interpret(scripted.graph, (scripted._c, *tensors))


def _recorded(network: Callable[..., Any], tensors: Sequence[Any]) -> Callable[..., Any]:
    """The operations of any network that asks no tensor for its values."""
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        recorded: Callable[..., Any] = make_fx(network, pre_dispatch=True)(*tensors)
    except RuntimeError as error:
        if memory_is_short(error):
            raise
        raise RuntimeError("what it does depends on the values of its inputs, or cannot be recorded") from error
    return recorded


def _arguments(inputs: Inputs, tensors: Sequence[Any]) -> list[Any]:
    """Tensors in the places of the inputs that are present; absent ones at the end keep their defaults."""
    following = iter(tensors)
    arguments = [None if array is None else next(following) for array in inputs]
    while arguments and arguments[-1] is None:
        arguments.pop()
    return arguments


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _branches(node: Any) -> bool:
    """Whether an operation is a branch or a loop."""
    return bool(list(node.blocks()))


def _reads_values(node: Any) -> bool:
    """Whether an operation makes a number of a tensor's values, on which branches and shapes may then depend."""
    if node.kind() in _METADATA or _branches(node):
        return False
    return any("Tensor" in str(value.type()) for value in node.inputs()) and any(
        _element(value.type()).kind() in _NUMBERS for value in node.outputs()
    )


def _element(kind: Any) -> Any:
    """The type of what a list holds, or the type itself."""
    return _element(kind.getElementType()) if kind.kind() == "ListType" else kind
