"""Inserts argument checks before operators that crash, or read beyond their tensors, for wrong arguments.

Networks need these operators, so vetting cannot refuse them. Instead, the compiled graph of a vetted network passes
their arguments through checks, and the network fails with an error for wrong arguments. The results of other networks
do not change. Each fault was found by trial with PyTorch 2.13.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch

from .source_code import NotVetted

# TorchScript. The parameters have the names of the operators' arguments, or the name ``value``. Each check returns its
# first parameter, and the operator gets the returned value, because PyTorch may compute an operator of constants before
# the statements in front of it, but never before its own arguments.
_CHECKS = """
def whole_division(b: int, a: int) -> int:
    if b == 0 or (b == -1 and a == -9223372036854775807 - 1):
        raise ValueError("The network divides a whole number by zero, or the smallest one by -1.")
    else:
        result = b
    return result

def number_division(b: number, a: number) -> number:
    wrong = False
    if isinstance(a, int) and isinstance(b, int):
        wrong = b == 0 or (b == -1 and a == -9223372036854775807 - 1)
    if wrong:
        raise ValueError("The network divides a whole number by zero, or the smallest one by -1.")
    else:
        result = b
    return result

def common_divisor(b: int, a: int) -> int:
    if min(a, b) == -9223372036854775807 - 1:
        raise ValueError("The network divides the smallest whole number by common factors.")
    else:
        result = b
    return result

def common_multiple(self: Tensor) -> Tensor:
    if bool(torch.any(torch.lt(torch.abs(self), 0))):
        raise ValueError("The network divides the smallest whole number by common factors.")
    else:
        result = self
    return result

def truncated_division(self: Tensor, other: Any, rounding_mode: Optional[str]) -> Tensor:
    wrong = False
    if rounding_mode is not None:
        if rounding_mode == "trunc" and not torch.is_floating_point(self):
            if isinstance(other, Tensor):
                wrong = not torch.is_floating_point(other) and bool(torch.any(torch.eq(other, -1)))
            elif isinstance(other, int):
                wrong = other == -1
    if wrong:
        raise ValueError("The network divides whole numbers by -1 and truncates them.")
    else:
        result = self
    return result

def attention(value: Tensor, key: Tensor) -> Tensor:
    if key.size(-2) != value.size(-2):
        raise ValueError("The network computes attention with different numbers of keys and values.")
    else:
        result = value
    return result

def weight_norm(g: Tensor, v: Tensor, dim: int) -> Tensor:
    if v.numel() == 0 or ((dim == 0 or dim == v.dim() - 1) and g.numel() != v.size(dim)):
        raise ValueError("The network normalises weights by a wrong number of magnitudes.")
    else:
        result = g
    return result

def group_norm(HxW: int, input: Tensor, N: int, C: int) -> int:
    if min([N, C, HxW]) < 1 or input.numel() // N // C != HxW or N * C * HxW != input.numel():
        raise ValueError("The network normalises groups of a wrong number of values.")
    else:
        result = HxW
    return result

def contiguous(self: Tensor, dim: int) -> Tensor:
    return self.contiguous()

def copied_type(dtype: Optional[int], copy: bool) -> Optional[int]:
    if copy and dtype is None:
        raise ValueError("The network copies a tensor into no type of numbers.")
    else:
        result = dtype
    return result

def scale(value: Optional[float]) -> Optional[float]:
    if value is not None and not (value >= 0.001 and value <= 1000.):
        raise ValueError("The network scales an image by a factor below 0.001 or above 1000.")
    else:
        result = value
    return result

def no_scale(value: Optional[float]) -> Optional[float]:
    if value is not None:
        raise ValueError("The network scales an image to a size and by a factor at once.")
    else:
        result = value
    return result
"""
# Checks of an argument, for every operator that has it: the condition of its number, and words for other numbers.
_OF_ARGUMENTS: Mapping[str, tuple[str, str]] = {
    "memory_format": ("value >= 0 and value <= 3", "a memory format that PyTorch does not know"),
    "layout": ("value == 0", "tensors that are not dense"),
    **dict.fromkeys(("num_head", "num_heads"), ("value >= 1", "attention without heads")),
}
_ARGUMENT_CHECK = """
def {name}(value: int) -> int:
    if not ({condition}):
        raise ValueError("The network uses {words}.")
    else:
        result = value
    return result

def optional_{name}(value: Optional[int]) -> Optional[int]:
    if value is not None and not ({condition}):
        raise ValueError("The network uses {words}.")
    else:
        result = value
    return result
"""
_DIVISIONS = ("whole_division", "number_division")
# Checks of an operator, or of one overload of it. The operator gets the first check whose parameters it has.
_OF_OPERATORS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("aten::floordiv", "aten::remainder"), _DIVISIONS),
    **dict.fromkeys(("aten::div", "aten::div_"), ("truncated_division",)),
    "aten::scaled_dot_product_attention": ("attention",),
    "aten::_weight_norm": ("weight_norm",),
    "aten::native_group_norm": ("group_norm",),
    "aten::gcd": ("common_divisor",),
    "aten::lcm": ("common_multiple",),
    **dict.fromkeys(("aten::median", "aten::nanmedian"), ("contiguous",)),
    "aten::to.prim_dtype": ("copied_type",),
}
# The median along an axis reads beyond expanded tensors of any size. Any tensor may hold the smallest number.
_ALWAYS = ("contiguous", "common_multiple")
# Worst values of arguments that are unknown before the network computes. A check that passes with them is left out.
_WORST: Mapping[str, Any] = {"a": -(2**63), "self": torch.tensor([1]), "other": -1, "copy": True}


def add_checks(graph: Any) -> None:
    """Insert checks into a compiled graph. Raises :class:`NotVetted` for an argument of a type without a check."""
    for node in list(_nodes(graph)):
        for name, places in _checks_of(node):
            check = getattr(_checks(), name)
            inputs = list(node.inputs())
            values = [inputs[place] for place in places]
            if not _fits(check, values):
                raise NotVetted(f"it gives {node.kind()} a {values[0].type().annotation_str}")
            if name in _ALWAYS or not _passes(check, values):
                with graph.insert_point_guard(node):
                    (checked,) = graph.insertGraph(check.graph, values)
                checked.setType(values[0].type())
                node.replaceInput(places[0], checked)


@cache
def _checks() -> Any:
    """Return the compiled checks."""
    of_arguments = [
        _ARGUMENT_CHECK.format(name=name, condition=condition, words=words)
        for name, (condition, words) in _OF_ARGUMENTS.items()
    ]
    return torch.jit.CompilationUnit("".join([_CHECKS, *of_arguments]))


def _nodes(block: Any) -> Iterator[Any]:
    """Yield every node, with the nodes of inner blocks."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _checks_of(node: Any) -> Iterator[tuple[str, list[int]]]:
    """Yield the names of the checks that a node needs, each with the positions of the checked inputs."""
    kind = node.kind()
    if not kind.startswith("aten::"):
        return
    schema = node.schema()
    arguments = _argument_names(schema)
    inputs = list(node.inputs())
    overload = schema.partition("(")[0]
    for name in _OF_OPERATORS.get(kind, _OF_OPERATORS.get(overload, ())):
        check = getattr(_checks(), name)
        parameters = _argument_names(str(check.schema))
        if set(parameters) <= set(arguments):
            places = [arguments.index(one) for one in parameters]
            if _fits(check, [inputs[place] for place in places]):
                yield name, places
                break
    for place, argument in enumerate(arguments):
        if argument in _OF_ARGUMENTS:
            is_number = inputs[place].type().kind() == "IntType"
            yield argument if is_number else f"optional_{argument}", [place]
        elif "upsample" in kind and argument.startswith("scales"):
            yield "no_scale" if kind.endswith("_aa") else "scale", [place]


@cache
def _argument_names(schema: str) -> tuple[str, ...]:
    return tuple(argument.name for argument in torch._C.parse_schema(schema).arguments)


def _fits(check: Any, values: list[Any]) -> bool:
    """Return whether a check accepts the types of the values."""
    pairs = zip(values, check.graph.inputs(), strict=True)
    return all(value.type().isSubtypeOf(parameter.type()) for value, parameter in pairs)


def _passes(check: Any, values: list[Any]) -> bool:
    """Return whether a check passes with the constants among its values and any other values."""
    arguments = []
    for value, name in zip(values, _argument_names(str(check.schema)), strict=True):
        if value.node().kind() == "prim::Constant":
            arguments.append(value.toIValue())
        elif name in _WORST:
            arguments.append(_WORST[name])
        else:
            return False
    try:
        check(*arguments)
    except torch.jit.Error:
        return False
    return True
