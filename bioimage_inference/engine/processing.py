"""Pre- and postprocessing operations on arrays, as bioimageio.core 0.11 defines them.

Each takes an array with axes ``letters``, the operation's arguments and the statistics it asked for; the statistics
keep reduced axes with length 1. Values are processed in float32 (float64 where the data need it) and stay floating
point until the step that is last.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..errors import ModelError
from ..model.spec import Operation
from .statistics import Array, Statistics, measures_of

Values = Sequence[Sequence[Array]]
Apply = Callable[[Array, str, Mapping[str, Any], Values], Array]

SAMPLEWISE = ("cellpose_flow_dynamics", "custom", "stardist_postprocessing")
"""Operations that need a whole sample at once; see ``samplewise.py``."""

_EPS = 1e-6


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 holds integers of up to 16 bit and half floats exactly; wider data are processed in float64."""
    narrow = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if narrow else np.float64)


def apply(operations: Sequence[Operation], tensor: str, array: Array, letters: str, statistics: Statistics) -> Array:
    """Apply operations in order to a tile of ``tensor`` (or all of it)."""
    for number, operation in enumerate(operations):
        values = [statistics[wanted] for wanted in measures_of(operation, tensor)]
        _check_statistics(operation, array, values)
        kwargs = operation.kwargs
        if operation.name == "ensure_dtype" and kwargs.get("keep_floats"):
            array = _whole_numbers(array, np.dtype(kwargs["dtype"]), tensor)
        elif operation.name == "ensure_dtype":
            array = ensure_dtype(array, np.dtype(kwargs["dtype"]), last=_no_change_after(operations, number))
        else:
            if array.dtype.kind != "f" or array.dtype.itemsize < 4:
                array = array.astype(working_dtype(array.dtype))
            array = _OPERATIONS[operation.name](array, letters, kwargs, values)
    return array


def _check_statistics(operation: Operation, array: Array, values: Values) -> None:
    """Statistics of single rows or pixels fit the whole image only, neither a tile of it nor a padded one."""
    shapes = [value.shape for value in chain.from_iterable(values) if value.ndim == array.ndim]
    if any(one not in (1, size) for shape in shapes for one, size in zip(shape, array.shape, strict=True)):
        raise ModelError(
            f"The description's step {operation.name} takes its statistics of single rows or pixels (axes "
            f"{operation.kwargs.get('axes')}), which is supported only for images of a size that the model takes as a "
            "whole. Correct the axes of that step in the description."
        )


def _no_change_after(operations: Sequence[Operation], number: int) -> bool:
    return all(operation.name == "ensure_dtype" for operation in operations[number + 1 :])


def ensure_dtype(array: Array, dtype: np.dtype[Any], last: bool) -> Array:
    """Convert without harm to the data.

    An integer type in front of further steps would cut off decimals and wrap large values, so values stay floating
    point there. As the last step it is what the network expects: decimals are cut off (as :meth:`numpy.ndarray.astype`
    does), values outside of its range become its limits.
    """
    if dtype.kind in "iu" and array.dtype.kind != "b":
        if not last:
            return array
        limits = np.iinfo(dtype)
        if array.dtype.kind in "iu":
            own = np.iinfo(array.dtype)
            array = np.clip(array, max(limits.min, own.min), min(limits.max, own.max))
            return array.astype(dtype, copy=False)
        high = array.dtype.type(limits.max)
        if high > limits.max:  # no float is exactly the largest integer
            high = np.nextafter(high, array.dtype.type(0))
        array = np.nan_to_num(np.clip(array, limits.min, high), nan=0.0)
    if dtype == np.float32 and array.dtype == np.float64 and not last:
        return array
    return array.astype(dtype, copy=False)


def _whole_numbers(array: Array, dtype: np.dtype[Any], tensor: str) -> Array:
    """Store whole numbers and booleans as declared; floating point stays what it is."""
    if array.dtype.kind == "f":
        return array
    if not np.can_cast(array.dtype, dtype) and (array.astype(dtype) != array).any():
        raise ModelError(
            f"The network returned values from {array.min()} to {array.max()} for output {tensor!r}, but its "
            f"description declares {dtype.name}, which cannot hold them. The description and the weights do not belong "
            "together."
        )
    return array.astype(dtype, copy=False)


def _along(values: Any, kwargs: Mapping[str, Any], letters: str, dtype: np.dtype[Any]) -> Array:
    """A number, or numbers along ``kwargs["axis"]``, in a shape that broadcasts with ``letters``."""
    array = np.atleast_1d(np.asarray(values, dtype=dtype))
    axis = kwargs.get("axis")
    if axis is None or array.size == 1:
        return array.reshape(())
    return array.reshape([-1 if letter == axis else 1 for letter in letters])


def _binarize(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del values
    threshold: Array = array > _along(kwargs["threshold"], kwargs, letters, np.dtype(np.float64))
    return threshold


def _clip(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del letters
    limits = iter(values)
    low = next(limits)[0] if kwargs.get("min_percentile") is not None else kwargs.get("min")
    high = next(limits)[0] if kwargs.get("max_percentile") is not None else kwargs.get("max")
    low, high = (None if limit is None else np.asarray(limit, dtype=array.dtype) for limit in (low, high))
    return np.clip(array, low, high)


def _scale_linear(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del values
    gain = _along(kwargs.get("gain", 1.0), kwargs, letters, array.dtype)
    result: Array = array * gain + _along(kwargs.get("offset", 0.0), kwargs, letters, array.dtype)
    return result


def _sigmoid(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    """``1 / (1 + exp(-x))``; the exponential of large numbers is infinite, and its inverse 0, as it should be."""
    del letters, kwargs, values
    with np.errstate(over="ignore"):
        result: Array = 1 / (1 + np.exp(-array))
    return result


def _softmax(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del values
    axis = letters.index(kwargs.get("axis", "c"))
    powers = np.exp(array - array.max(axis=axis, keepdims=True))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def _normalise(array: Array, mean: Array, std: Array) -> Array:
    """``(x - mean) / std``, subtracted in the statistics' own precision where float32 would lose decimals."""
    result: Array = (array - mean.astype(array.dtype)) / std.astype(array.dtype)
    return result


def _zero_mean_unit_variance(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del letters
    mean, std = values[0]
    return _normalise(array, mean, std + kwargs.get("eps", _EPS))


def _fixed_zero_mean_unit_variance(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del values
    mean = _along(kwargs["mean"], kwargs, letters, np.dtype(np.float64))
    return _normalise(array, mean, _along(kwargs["std"], kwargs, letters, np.dtype(np.float64)) + _EPS)


def _scale_range(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del letters
    (low,), (high,) = values
    return _normalise(array, low, high - low + kwargs.get("eps", _EPS))


def _scale_mean_variance(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del letters
    (mean, std), (reference_mean, reference_std) = values
    eps = kwargs.get("eps", _EPS)
    scaled = _normalise(array, mean, std + eps)
    result: Array = scaled * (reference_std + eps).astype(array.dtype) + reference_mean.astype(array.dtype)
    return result


_OPERATIONS: Mapping[str, Apply] = {
    "binarize": _binarize,
    "clip": _clip,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean_unit_variance,
    "scale_linear": _scale_linear,
    "scale_mean_variance": _scale_mean_variance,
    "scale_range": _scale_range,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "zero_mean_unit_variance": _zero_mean_unit_variance,
}
