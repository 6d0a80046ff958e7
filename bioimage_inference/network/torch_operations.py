"""The operations that torch runs, one by one, and the memory of their tensors.

This is the only module of ``network`` that uses private names of torch: ``utils._python_dispatch``, ``utils._pytree``,
the ``_schema`` of an operation and ``torch._C._jit_interpret_graph``. They were tested with torch 2.13;
``tests/unit/test_torch_operations.py`` fails if one of them changes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

Operation = Callable[..., Any]
"""An operation of ``torch.ops.aten``, one overload of it."""


class OperationMode(TorchDispatchMode):
    """A context in which :meth:`operation` runs in place of each operation of torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would import the compiler, which is not used here

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of one operation."""
        return function(*args, **kwargs)

    def __torch_dispatch__(
        self, func: Operation, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation."""
        del types
        return self.operation(func, args, kwargs or {})


class TensorMemory(OperationMode):
    """A context that counts the memory of all tensors made in it.

    ``most`` is their peak in bytes. It is the same in every run, unlike the memory of the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most: int = 0
        self._sizes: dict[StorageWeakRef, int] = {}

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation, and count the tensors that exist afterwards."""
        result = function(*args, **kwargs)
        for tensor in tensors_of(result):
            storage = tensor.untyped_storage()
            self._sizes[StorageWeakRef(storage)] = storage.nbytes()
        self._sizes = {storage: size for storage, size in self._sizes.items() if not storage.expired()}
        self.most = max(self.most, sum(self._sizes.values()))
        return result


def leaves(value: Any) -> list[Any]:
    """Return everything in nested lists, tuples and dictionaries."""
    return tree_leaves(value)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Return nested lists, tuples and dictionaries with a function applied to everything in them."""
    return tree_map(function, value)


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return all tensors in nested lists, tuples and dictionaries."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def operation_name(function: Operation) -> str:
    """Return the name of an operation without namespace, overload, or the mark of an operation in place."""
    return str(schema_of(function).name).removeprefix("aten::").removesuffix("_")


def overload_name(function: Operation) -> str:
    """Return the name of the overload, such as ``Tensor`` or ``default``."""
    return str(function._overloadname)  # type: ignore[attr-defined]


def schema_of(function: Operation) -> Any:
    """Return the schema of an operation: names and types of its arguments and results."""
    return function._schema  # type: ignore[attr-defined]


def arguments_of(function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of an operation by name, defaults included."""
    arguments = schema_of(function).arguments
    defaults = {one.name: one.default_value for one in arguments if one.has_default_value()}
    return defaults | {one.name: given for one, given in zip(arguments, args, strict=False)} | dict(kwargs)


def graph_interpreter() -> Callable[..., Any] | None:
    """Return torch's function that runs a TorchScript graph; ``None`` for a version of torch without it."""
    return getattr(torch._C, "_jit_interpret_graph", None)


def flat(result: Any) -> list[Any]:
    """Return the tensors that a network returns (a tensor, or a tuple, list or dict), in the description's order."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [tensor for part in result for tensor in flat(part)]
    if not isinstance(result, torch.Tensor):
        raise TypeError(f"the network returned a {type(result).__name__}, not a tensor")
    return [result]
