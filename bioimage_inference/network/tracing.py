"""A network as one plain graph of tensor operations for inputs of fixed shapes, which other engines can read."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..array_types import Array
from .network import Inputs, memory_is_short

# Operations that read facts of a tensor other than its values.
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
    """Return the network's operations on these inputs as TorchScript without branches or loops, and its outputs.

    ``None`` stands for an optional input that is absent; the graph has the other inputs only. Raises torch's errors if
    the network fails, and :class:`RuntimeError` if its branches depend on the values of the inputs.
    """
    import torch

    from .torch_operations import flat

    found: list[Any] = []

    def tensors() -> tuple[Any, ...]:  # new for each use: networks may compute in place
        return tuple(torch.from_numpy(np.array(array, order="C")) for array in inputs if array is not None)

    def network(*tensors: Any) -> Any:
        return module(*_arguments(inputs, tensors))

    def forward(*tensors: Any) -> tuple[Any, ...]:
        found[:] = flat(operations(*tensors))
        return tuple(found)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about sizes that become constants, as they should here
        scripted = _scripted(module, len(tensors()))
        interpreted = _interpreted(scripted) if scripted is not None else None
        if scripted is not None and interpreted is None and not any(map(_branches, _nodes(scripted.graph))):
            return scripted, [tensor.numpy() for tensor in flat(scripted(*tensors()))]
        operations = interpreted or _recorded(network, tensors())
        traced = torch.jit.trace(forward, tensors(), check_trace=False)
    return traced, [tensor.numpy() for tensor in found]


def _scripted(module: Any, arguments: int) -> Any:
    """Return a TorchScript module with constant weights; ``None`` for other modules, and for more arguments."""
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        return None
    frozen = torch.jit.freeze(module)
    return frozen if len(list(frozen.graph.inputs())) == 1 + arguments else None


def _interpreted(scripted: Any) -> Callable[..., Any] | None:
    """Return a function that runs a module's graph operation by operation, so that tracing follows its branches.

    It spares the 1 s that the import in :func:`_recorded` takes. ``None`` if this version of torch has no interpreter,
    or if branches may depend on values.
    """
    from .torch_operations import graph_interpreter

    interpret = graph_interpreter()
    if interpret is None or any(map(_reads_values, _nodes(scripted.graph))):
        return None
    return lambda *tensors: interpret(scripted.graph, (scripted._c, *tensors))


def _recorded(network: Callable[..., Any], tensors: Sequence[Any]) -> Callable[..., Any]:
    """Return the operations of any network that does not branch on values."""
    from torch.fx.experimental.proxy_tensor import make_fx

    try:
        recorded: Callable[..., Any] = make_fx(network, pre_dispatch=True)(*tensors)
    except RuntimeError as error:
        if memory_is_short(error):
            raise
        raise RuntimeError("what it does depends on the values of its inputs, or cannot be recorded") from error
    return recorded


def _arguments(inputs: Inputs, tensors: Sequence[Any]) -> list[Any]:
    """Return the tensors at the positions of the present inputs. Absent inputs at the end keep their defaults."""
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
    """Return whether an operation is a branch or a loop."""
    return bool(list(node.blocks()))


def _reads_values(node: Any) -> bool:
    """Return whether an operation turns a tensor's values into a number, on which branches and shapes may depend."""
    if node.kind() in _METADATA or _branches(node):
        return False
    return any("Tensor" in str(value.type()) for value in node.inputs()) and any(
        _element(value.type()).kind() in _NUMBERS for value in node.outputs()
    )


def _element(kind: Any) -> Any:
    """Return the type of a list's elements, or the type itself."""
    return _element(kind.getElementType()) if kind.kind() == "ListType" else kind
