"""What of a network's result depends on the tile as a whole, so that the results of tiles cannot be put together.

The network computes two small tiles of different sizes. An axis that differs between them is one that the image is cut
along, and an operation that adds up over such an axis, or normalises over it, looks at the whole tile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .tile_tensors import flat

Shape = tuple[int, ...]

# Operations along the axes that an argument names; all others keep their place, or give fewer values.
_ALONG = frozenset(
    f"{name}" for name in ("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp")
) | frozenset(("sort", "topk", "argsort", "median", "quantile", "nanquantile"))
_REDUCTIONS = frozenset(
    ("mean", "sum", "nansum", "prod", "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "argmax")
) | frozenset(("argmin", "logsumexp", "norm", "linalg_vector_norm", "any", "all", "aminmax", "nanmean"))
_NORMALISATIONS = frozenset(("group_norm", "native_group_norm"))
_BATCH_NORMALISATIONS = frozenset(
    ("batch_norm", "native_batch_norm", "instance_norm", "_batch_norm_impl_index", "cudnn_batch_norm")
)
# The last axis of the first of these arguments that is there is added up over.
_PRODUCTS = ("mat1", "batch1", "mat", "self", "input")
_MATRIX_PRODUCTS = frozenset(("mm", "bmm", "matmul", "addmm", "baddbmm", "linear", "mv", "dot"))
_UNREAD = ("new_", "empty", "_like", "zeros", "ones", "full")


@dataclass(frozen=True)
class Dependence:
    """``operations`` of the network look at the whole tile; ``dtypes`` are those of its outputs, floats as float32."""

    operations: tuple[str, ...]
    dtypes: tuple["np.dtype[Any]", ...]


@dataclass(frozen=True)
class _Call:
    """An operation, its arguments by name with shapes in place of tensors, and the shapes of its results."""

    name: str
    arguments: Mapping[str, Any]
    results: tuple[Shape, ...]


@dataclass(frozen=True)
class _Shaped:
    """Stands for a tensor of that shape."""

    shape: Shape


def dependence(module: Callable[..., Any], small: Sequence[Any], large: Sequence[Any] | None = None) -> Dependence:
    """Compare what a network does to the tensors of a small tile and to those of one that is larger along all axes.

    Without the larger one, or where the network does something else with it, tensors are assumed to have the axes
    b, c and then those that the image is cut along. Raises what the network raises.
    """
    outputs, calls = _listed(module, small)
    others = _listed(module, large)[1] if large is not None else []
    if [one.name for one in calls] != [one.name for one in others]:
        others = [
            replace(one, arguments=tree_map(_larger, one.arguments), results=tuple(map(_longer, one.results)))
            for one in calls
        ]
    found = [one.name for one, other in zip(calls, others, strict=True) if _reads_tile(one, other)]
    return Dependence(
        tuple(dict.fromkeys(found)),
        tuple((one.float() if one.is_floating_point() else one).cpu().numpy().dtype for one in outputs),
    )


def _larger(argument: Any) -> Any:
    """An argument of the same operation for a tile of twice the size."""
    return _Shaped(_longer(argument.shape)) if isinstance(argument, _Shaped) else argument


def _longer(shape: Shape) -> Shape:
    if len(shape) not in (4, 5):
        return shape
    return (*shape[:2], *(2 * size if size > 1 else size for size in shape[2:]))


def _listed(module: Callable[..., Any], tensors: Sequence[Any]) -> tuple[list[torch.Tensor], list[_Call]]:
    with torch.inference_mode(), _Listing() as listing:
        outputs = flat(module(*tensors))
    return outputs, listing.calls


class _Listing(TorchDispatchMode):
    """Within this context, operations are computed and listed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so would import the compiler

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute an operation, and list it where it returns tensors."""
        del types
        schema: Any = func._schema  # type: ignore[attr-defined]
        given = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
        given |= {one.name: value for one, value in zip(schema.arguments, args, strict=False)} | dict(kwargs or {})
        shapes = tree_map(lambda one: _Shaped(tuple(one.shape)) if isinstance(one, torch.Tensor) else one, given)
        result = func(*args, **(kwargs or {}))
        results = tuple(tuple(one.shape) for one in tree_leaves(result) if isinstance(one, torch.Tensor))
        name = str(schema.name).removeprefix("aten::").removesuffix("_")
        if results:
            self.calls.append(_Call(name, shapes, results))
        return result


def _reads_tile(one: _Call, other: _Call) -> bool:
    """Whether a value of the result depends on all of the tile; the calls are the same one for two sizes of it."""
    cut = dict(_cut_axes(one.arguments, other.arguments))
    if not cut:
        return False
    first, axes = next(iter(cut.items()))
    rank = len(_shapes(one.arguments)[first])
    if one.name in _NORMALISATIONS:
        return True
    if one.name in _BATCH_NORMALISATIONS:
        return bool(one.arguments.get("use_input_stats", one.arguments.get("training")))
    if one.name in ("layer_norm", "native_layer_norm"):
        return any(axis >= rank - len(one.arguments["normalized_shape"]) for axis in axes)
    if one.name.startswith("upsample"):  # places between the outermost pixels of the tile, not of the image
        return bool(one.arguments.get("align_corners"))
    if one.name in _ALONG | _REDUCTIONS or one.name.removeprefix("_").startswith("fft_"):
        return bool(axes & _named_axes(one.arguments, rank))
    if one.name.endswith("scaled_dot_product_attention") or one.name.startswith("_scaled_dot_product"):
        return any(len(shape) - 2 in cut.get(key, ()) for key, shape in _shapes(one.arguments).items() if key == "key")
    if one.name in _MATRIX_PRODUCTS:
        key = next(key for key in _PRODUCTS if isinstance(one.arguments.get(key), _Shaped))
        return len(_shapes(one.arguments)[key]) - 1 in cut.get(key, ())
    return one.results == other.results and not any(part in one.name for part in _UNREAD)


def _cut_axes(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[int]]]:
    """For each tensor among the arguments the axes that differ between two tiles, where any does."""
    shapes, others = _shapes(one), _shapes(other)
    for key, shape in shapes.items():
        pairs = enumerate(zip(shape, others.get(key, shape), strict=False))
        axes = frozenset(axis for axis, (size, another) in pairs if size != another)
        if axes:
            yield key, axes


def _shapes(arguments: Mapping[str, Any]) -> dict[str, Shape]:
    """The shapes of all tensors among the arguments; those of a list have numbers in their names."""
    found: dict[str, Shape] = {}
    for key, value in arguments.items():
        tensors = [one for one in tree_leaves(value) if isinstance(one, _Shaped)]
        found |= {key if len(tensors) == 1 else f"{key} {n}": one.shape for n, one in enumerate(tensors)}
    return found


def _named_axes(arguments: Mapping[str, Any], rank: int) -> set[int]:
    """The axes that an operation is along: all where it names none."""
    named = arguments.get("dim", arguments.get("dims"))
    if named is None or named == []:
        return set(range(rank))
    return {axis % rank for axis in ([named] if isinstance(named, int) else named)}
