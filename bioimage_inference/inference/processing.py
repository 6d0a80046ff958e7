"""Pre- and postprocessing operations on arrays, as bioimageio.core 0.11 defines them.

Each takes an array with axes ``letters``, the operation's arguments and the statistics it asked for; the statistics
keep reduced axes with length 1. Values are processed in float32 (float64 where the data need it) and stay floating
point until the step that is last.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..errors import ModelError
from ..model.spec import Operation
from .statistics import Statistics, measures_of

Values = Sequence[Sequence[Array]]
Apply = Callable[[Array, str, Mapping[str, Any], Values], Array]
Place = Mapping[str, Mapping[int, NDArray[np.integer[Any]]]]
"""Where a tile lies: for axes that are cut, by the number of pixels of the whole, which of them the tile holds."""

SAMPLEWISE = ("cellpose_flow_dynamics", "custom", "stardist_postprocessing")
"""Operations that need a whole sample at once; see ``samplewise.py``."""

_EPS = 1e-6
_ALONG_AXIS = ("gain", "offset", "mean", "std", "threshold")
"""Arguments that are a number, or numbers along ``axis``."""


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 holds integers of up to 16 bit and half floats exactly; wider data are processed in float64."""
    narrow = dtype.itemsize <= 2 or dtype == np.float32
    return np.dtype(np.float32 if narrow else np.float64)


def needs_sample(operation: Operation, cut: Container[str]) -> bool:
    """Whether an operation cannot be applied to a part by itself of what is ``cut`` along axes with these letters."""
    return operation.name in SAMPLEWISE or (operation.name == "softmax" and operation.kwargs.get("axis", "c") in cut)


def apply(
    operations: Sequence[Operation],
    tensor: str,
    array: Array,
    letters: str,
    statistics: Statistics,
    place: Place = MappingProxyType({}),
) -> Array:
    """Apply operations in order to a tile of ``tensor``, which lies at ``place``, or to all of it.

    Numbers that are infinite stay so, or become NaN, as floating point has it. Raises :class:`ModelError` where an
    operation has values for each pixel along an axis, and the image has another size there.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for number, operation in enumerate(operations):
            cut = partial(_cut, operation, dict(zip(letters, array.shape, strict=True)), place)
            values = [
                [cut(letters, value) if value.size > 1 else value.reshape(()) for value in statistics[wanted]]
                for wanted in measures_of(operation, tensor)
            ]
            kwargs = operation.kwargs
            if "axis" in kwargs:
                along = {name: kwargs[name] for name in _ALONG_AXIS if isinstance(kwargs.get(name), Sequence)}
                kwargs = {**kwargs, **{name: cut(kwargs["axis"], np.asarray(one)) for name, one in along.items()}}
            if operation.name == "ensure_dtype" and kwargs.get("keep_floats"):
                array = _whole_numbers(array, np.dtype(kwargs["dtype"]), tensor)
            elif operation.name == "ensure_dtype":
                array = ensure_dtype(array, np.dtype(kwargs["dtype"]), last=_no_change_after(operations, number))
            else:
                if array.dtype.kind != "f" or array.dtype.itemsize < 4:
                    array = array.astype(working_dtype(array.dtype))
                array = _OPERATIONS[operation.name](array, letters, kwargs, values)
    return array


def _cut(operation: Operation, shape: Mapping[str, int], place: Place, letters: str, values: Array) -> Array:
    """The part of values with axes ``letters`` that belongs to a tile; they have one entry, or one for each pixel."""
    if values.ndim != len(letters):
        raise ModelError(
            f"The description's step {operation.name} uses values of another tensor along {values.ndim} axes, but this "
            f"tensor has the axes {letters}. Its authors have to correct the description."
        )
    for axis, letter in enumerate(letters):
        size, wholes = values.shape[axis], place.get(letter, {})
        if size in wholes:
            values = values.take(wholes[size], axis=axis)
        elif size not in (1, shape[letter]) or (
            size > 1 and wholes and not any(len(np.unique(one)) == whole for whole, one in wholes.items())
        ):
            raise ModelError(
                f"The description's step {operation.name} has {size} values along {letter}, one for each pixel, but "
                f"there are {next(iter(wholes), shape[letter])} pixels. Give an image of the size that the description "
                "means."
            )
    return values


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
    """``gain * x + offset``, in float64 where the sum could lose decimals of the product."""
    del values
    gain, offset = (
        _along(kwargs.get(name, default), kwargs, letters, np.dtype(np.float64))
        for name, default in (("gain", 1.0), ("offset", 0.0))
    )
    result: Array = array * gain + offset if offset.any() else array * gain.astype(array.dtype)
    return result.astype(array.dtype, copy=False)


def _sigmoid(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    """``1 / (1 + exp(-x))``; the exponential of large numbers is infinite, and its inverse 0, as it should be."""
    del letters, kwargs, values
    result: Array = 1 / (1 + np.exp(-array))
    return result


def _softmax(array: Array, letters: str, kwargs: Mapping[str, Any], values: Values) -> Array:
    del values
    axis = letters.index(kwargs.get("axis", "c"))
    powers = np.exp(array - array.max(axis=axis, keepdims=True, initial=-np.inf))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def _normalise(array: Array, mean: Array, std: Array) -> Array:
    """``(x - mean) / std``; of the mean, what the array's own precision does not hold is subtracted by itself."""
    near = mean.astype(array.dtype)
    rest = (mean - near).astype(array.dtype)
    result: Array = array - near
    if rest.any():
        result -= rest
    result /= std.astype(array.dtype)
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
