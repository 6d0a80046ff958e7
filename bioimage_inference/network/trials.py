"""Which operations of a network depend on the tile as a whole, so that tiles of its result cannot be put together.

The network computes two small tiles of different sizes. The image is cut along the axes whose sizes differ between
the two. An operation that sums or normalises over such an axis depends on the whole tile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .network import Dependence
from .torch_operations import (
    Operation,
    OperationMode,
    arguments_of,
    flat,
    leaves,
    map_leaves,
    operation_name,
    tensors_of,
)

Shape = tuple[int, ...]

# Operations along the axes that an argument names. All others keep each value's place, or reduce.
_ALONG = frozenset(
    ("_softmax", "softmax", "_log_softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk")
) | frozenset(("argsort", "median", "quantile", "nanquantile"))
_REDUCTIONS = frozenset(
    ("mean", "sum", "nansum", "prod", "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "argmax")
) | frozenset(("argmin", "logsumexp", "norm", "linalg_vector_norm", "any", "all", "aminmax", "nanmean"))
_NORMALISATIONS = frozenset(("group_norm", "native_group_norm"))
_BATCH_NORMALISATIONS = frozenset(
    ("batch_norm", "native_batch_norm", "instance_norm", "_batch_norm_impl_index", "cudnn_batch_norm")
)
# A matrix product sums over the last axis of the first of these arguments that is present.
_FACTORS = ("mat1", "batch1", "mat", "self", "input")
_MATRIX_PRODUCTS = frozenset(("mm", "bmm", "matmul", "addmm", "baddbmm", "linear", "mv", "dot"))
# Operations that read no values of their arguments.
_UNREAD = ("new_", "empty", "_like", "zeros", "ones", "full")


@dataclass(frozen=True)
class _Call:
    """An operation, its arguments by name with shapes in place of tensors, and the shapes of its results."""

    name: str
    arguments: Mapping[str, Any]
    results: tuple[Shape, ...]


@dataclass(frozen=True)
class _TensorShape:
    """Stands for a tensor among the arguments."""

    shape: Shape


def dependence(module: Callable[..., Any], small: Sequence[Any], large: Sequence[Any] | None = None) -> Dependence:
    """Compare the operations on the tensors of a small tile and of a tile that is larger along all axes.

    Without the larger tile, or if the network runs other operations on it, tensors are assumed to have the axes b, c
    and then the axes that the image is cut along. Raises the network's own errors.
    """
    outputs, calls = _listed(module, small)
    others = _listed(module, large)[1] if large is not None else []
    if [one.name for one in calls] != [one.name for one in others]:
        others = [
            replace(one, arguments=map_leaves(_larger, one.arguments), results=tuple(map(_longer, one.results)))
            for one in calls
        ]
    found = [one.name for one, other in zip(calls, others, strict=True) if _reads_tile(one, other)]
    return Dependence(
        tuple(dict.fromkeys(found)),
        tuple((one.float() if one.is_floating_point() else one).cpu().numpy().dtype for one in outputs),
    )


def _larger(argument: Any) -> Any:
    """Return the argument of the same operation for a tile of twice the size."""
    return _TensorShape(_longer(argument.shape)) if isinstance(argument, _TensorShape) else argument


def _longer(shape: Shape) -> Shape:
    if len(shape) not in (4, 5):
        return shape
    return (*shape[:2], *(2 * size if size > 1 else size for size in shape[2:]))


def _listed(module: Callable[..., Any], tensors: Sequence[Any]) -> tuple[list[torch.Tensor], list[_Call]]:
    with torch.inference_mode(), _Listing() as listing:
        outputs = flat(module(*tensors))
    return outputs, listing.calls


class _Listing(OperationMode):
    """A context that runs operations and lists those that return tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation, and list it if it returns tensors."""
        shapes = map_leaves(_without_values, arguments_of(function, args, kwargs))
        result = function(*args, **kwargs)
        results = tuple(tuple(one.shape) for one in tensors_of(result))
        if results:
            self.calls.append(_Call(operation_name(function), shapes, results))
        return result


def _without_values(argument: Any) -> Any:
    return _TensorShape(tuple(argument.shape)) if isinstance(argument, torch.Tensor) else argument


def _reads_tile(one: _Call, other: _Call) -> bool:
    """Return whether a value of the result depends on the whole tile, from the same call for two sizes of it."""
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
    if one.name.startswith("upsample"):  # positions count from the outermost pixels of the tile, not of the image
        return bool(one.arguments.get("align_corners"))
    if one.name in _ALONG | _REDUCTIONS or one.name.removeprefix("_").startswith("fft_"):
        return bool(axes & _named_axes(one.arguments, rank))
    if one.name.endswith("scaled_dot_product_attention") or one.name.startswith("_scaled_dot_product"):
        return any(len(shape) - 2 in cut.get(key, ()) for key, shape in _shapes(one.arguments).items() if key == "key")
    if one.name in _MATRIX_PRODUCTS:
        key = next(key for key in _FACTORS if isinstance(one.arguments.get(key), _TensorShape))
        return len(_shapes(one.arguments)[key]) - 1 in cut.get(key, ())
    return one.results == other.results and not any(part in one.name for part in _UNREAD)


def _cut_axes(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[int]]]:
    """Yield for each tensor among the arguments the axes that differ between two tiles, if any does."""
    shapes, others = _shapes(one), _shapes(other)
    for key, shape in shapes.items():
        pairs = enumerate(zip(shape, others.get(key, shape), strict=False))
        axes = frozenset(axis for axis, (size, another) in pairs if size != another)
        if axes:
            yield key, axes


def _shapes(arguments: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shapes of all tensors among the arguments. Tensors of a list have numbers in their names."""
    found: dict[str, Shape] = {}
    for key, value in arguments.items():
        tensors = [one for one in leaves(value) if isinstance(one, _TensorShape)]
        found |= {key if len(tensors) == 1 else f"{key} {n}": one.shape for n, one in enumerate(tensors)}
    return found


def _named_axes(arguments: Mapping[str, Any], rank: int) -> set[int]:
    """Return the axes that an operation works along: all axes if it names none."""
    named = arguments.get("dim", arguments.get("dims"))
    if named is None or named == []:
        return set(range(rank))
    return {axis % rank for axis in ([named] if isinstance(named, int) else named)}
