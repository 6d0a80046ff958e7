"""Conversion to a declared data type without harm to the values: ``ensure_dtype``."""

from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ModelError
from ...model.spec import Operation
from .base import Context, Kwargs, ProcessingOperation

_NAME = "ensure_dtype"


def target_dtype(step: Operation) -> np.dtype[Any] | None:
    """Return the dtype that a step converts to, ``None`` for steps of other operations."""
    return np.dtype(step.kwargs["dtype"]) if step.name == _NAME else None


def _ensure_dtype(array: Array, context: Context) -> Array:
    dtype = np.dtype(context.kwargs["dtype"])
    if context.kwargs.get("keep_floats"):
        return _whole_numbers(array, dtype, context.tensor)
    is_bool = array.dtype.kind == "b"
    rounds = dtype.kind in "iu" or (dtype == np.float32 and array.dtype == np.float64)
    if rounds and not is_bool and not context.is_last:
        return array  # before further steps, no decimals are cut off, no values wrapped, no doubles rounded
    if dtype.kind in "iu" and not is_bool:
        array = _within(array, np.iinfo(dtype))
    return array.astype(dtype, copy=False)


def _within(array: Array, limits: "np.iinfo[Any]") -> Array:
    """Return the values with those outside of an integer type set to its limits, and NaN to 0."""
    if array.dtype.kind in "iu":
        own = np.iinfo(array.dtype)
        return np.clip(array, max(limits.min, own.min), min(limits.max, own.max))
    high = array.dtype.type(limits.max)
    if high > limits.max:  # no float is exactly the largest integer
        high = np.nextafter(high, array.dtype.type(0))
    result: Array = np.nan_to_num(np.clip(array, limits.min, high), nan=0.0)
    return result


def _whole_numbers(array: Array, dtype: np.dtype[Any], tensor: str) -> Array:
    """Return whole numbers and booleans in the declared type; floating point values stay unchanged."""
    if array.dtype.kind == "f":
        return array
    if not np.can_cast(array.dtype, dtype) and (array.astype(dtype) != array).any():
        raise ModelError(
            f"The network returned values from {array.min()} to {array.max()} for output {tensor!r}, but its "
            f"description declares {dtype.name}, which cannot hold them. The description and the weights do not belong "
            "together."
        )
    return array.astype(dtype, copy=False)


def _in_words(kwargs: Kwargs) -> str:
    dtype = str(kwargs["dtype"])
    if dtype.startswith("float"):
        return ""
    return "yes or no (bool)" if dtype == "bool" else f"whole numbers ({dtype})"


OPERATIONS = (
    ProcessingOperation(
        name=_NAME,
        apply=_ensure_dtype,
        in_words=_in_words,
        is_continuous=lambda kwargs: bool(kwargs.get("keep_floats")) or np.dtype(kwargs["dtype"]).kind == "f",
        needs_floats=False,
    ),
)
