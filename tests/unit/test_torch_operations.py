"""The private names of torch that the network's modules use: each still means what it meant in torch 2.13."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bioimage_inference.network.torch_operations import (
    Operation,
    OperationMode,
    TensorMemory,
    arguments_of,
    graph_interpreter,
    leaves,
    map_leaves,
    operation_name,
    overload_name,
    schema_of,
    tensors_of,
)


class Listing(OperationMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self.seen.append((operation_name(function), overload_name(function), arguments_of(function, args, kwargs)))
        return super().operation(function, args, kwargs)


def test_operations_are_seen_with_all_their_arguments() -> None:
    with torch.inference_mode(), Listing() as listing:
        result = torch.ones(2, 3).add_(2.0)
    names = [(name, overload) for name, overload, _ in listing.seen]
    assert names == [("ones", "default"), ("add", "Tensor")]
    arguments = listing.seen[1][2]
    assert (arguments["other"], arguments["alpha"]) == (2.0, 1)
    assert arguments["self"].shape == (2, 3)
    assert result.eq(3).all()


def test_a_schema_names_written_and_shared_arguments() -> None:
    in_place, view = (schema_of(one) for one in (torch.ops.aten.relu_.default, torch.ops.aten.view.default))
    assert [one.alias_info.is_write for one in in_place.arguments] == [True]
    assert not view.arguments[0].alias_info.is_write
    assert view.returns[0].alias_info is not None
    assert torch.ops.aten.relu.default._schema.returns[0].alias_info is None
    assert "Tensor" in str(view.returns[0].type)


def test_nested_values_are_taken_apart() -> None:
    tensor = torch.zeros(2)
    nested = {"a": [1, (tensor, None)]}
    assert tensors_of(nested) == [tensor]
    assert leaves({"a": [1, (2, 3)]}) == [1, 2, 3]
    assert map_leaves(lambda one: one + 1, {"a": [1, (2, 3)]}) == {"a": [2, (3, 4)]}


def test_freed_tensors_do_not_count() -> None:
    with torch.inference_mode(), TensorMemory() as memory:
        first = torch.ones(1000)
        del first
        second = torch.ones(500)
        second.view(5, 100)  # the same memory
    assert memory.most == 4000


def test_the_interpreter_runs_a_graph() -> None:
    scripted = torch.jit.freeze(torch.jit.script(torch.nn.ReLU().eval()))
    interpret = graph_interpreter()
    assert interpret is not None
    found = interpret(scripted.graph, (scripted._c, torch.tensor([-1.0, 2.0])))
    assert torch.equal(found, torch.tensor([0.0, 2.0]))
