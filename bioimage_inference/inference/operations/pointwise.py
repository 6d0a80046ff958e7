"""Operations on each pixel: ``scale_linear``, ``clip``, ``binarize``, ``sigmoid`` and ``softmax``."""

from math import isclose
from typing import Literal

import numpy as np

from ...array_types import Array
from ...image.axes import AXES
from ..statistics import Measure, Quantile
from .processing_operation import Context, Kwargs, ProcessingOperation, numbers_in_words


def _scale_linear(array: Array, context: Context) -> Array:
    """Return ``gain * x + offset``, in float64 where the sum could lose decimals of the product."""
    gain, offset = context.along_axis("gain", 1.0), context.along_axis("offset", 0.0)
    result: Array = array * gain + offset if offset.any() else array * gain.astype(array.dtype)
    return result.astype(array.dtype, copy=False)


def _scale_linear_trap(kwargs: Kwargs, tensor: str) -> str | None:
    if not isclose(float(np.max(kwargs["gain"])), 1 / 255, rel_tol=0.01):
        return None
    return f"{tensor} is meant for 8-bit values: they are divided by 255. Scale other images to 0 … 255 first."


def _clip(array: Array, context: Context) -> Array:
    measured = iter(context.values)

    def limit(name: str) -> Array | None:
        is_measured = context.kwargs.get(f"{name}_percentile") is not None
        value = next(measured)[0] if is_measured else context.kwargs.get(name)
        return None if value is None else np.asarray(value, dtype=array.dtype)

    return np.clip(array, limit("min"), limit("max"))


def _percentiles(kwargs: Kwargs, tensor: str) -> tuple[Measure, ...]:
    axes: str | None = kwargs.get("axes")
    # spec 0.5, ClipDescr: the percentiles of one sample are values that occur in it
    method: Literal["linear", "inverted_cdf"] = "linear" if axes is None or "b" in axes else "inverted_cdf"
    return tuple(
        Quantile(tensor, axes, kwargs[name] / 100, method)
        for name in ("min_percentile", "max_percentile")
        if kwargs.get(name) is not None
    )


def _clip_in_words(kwargs: Kwargs) -> str:
    def limit(name: str) -> str | None:
        if kwargs.get(f"{name}_percentile") is not None:
            return f"percentile {float(kwargs[f'{name}_percentile']):g}"
        return f"{float(kwargs[name]):g}" if kwargs.get(name) is not None else None

    low, high = limit("min"), limit("max")
    if low is not None and high is not None:
        return f"limited to {low} … {high}"
    return f"not below {low}" if low is not None else f"not above {high}"


def _binarize(array: Array, context: Context) -> Array:
    result: Array = array > context.along_axis("threshold")
    return result


def _sigmoid(array: Array, context: Context) -> Array:
    """Return ``1 / (1 + exp(-x))``. For large negative x the exponential is infinite and the result 0."""
    del context
    result: Array = 1 / (1 + np.exp(-array))
    return result


def _softmax(array: Array, context: Context) -> Array:
    axis = context.letters.index(context.kwargs.get("axis", "c"))
    powers = np.exp(array - array.max(axis=axis, keepdims=True, initial=-np.inf))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def _softmax_in_words(kwargs: Kwargs) -> str:
    letter = str(kwargs.get("axis", "c"))
    return f"softmax (each {AXES[letter].entry}'s share, between 0 and 1)"


OPERATIONS = (
    ProcessingOperation(
        name="scale_linear",
        apply=_scale_linear,
        in_words=lambda kwargs: (
            f"times {numbers_in_words(kwargs.get('gain', 1.0))} plus {numbers_in_words(kwargs.get('offset', 0.0))}"
        ),
        scaling="fixed",
        trap=_scale_linear_trap,
    ),
    ProcessingOperation(name="clip", apply=_clip, in_words=_clip_in_words, measures=_percentiles),
    ProcessingOperation(
        name="binarize",
        apply=_binarize,
        in_words=lambda kwargs: f"above {numbers_in_words(kwargs['threshold'])}, yes or no",
        is_continuous=lambda _: False,
    ),
    ProcessingOperation(name="sigmoid", apply=_sigmoid, in_words=lambda _: "sigmoid (between 0 and 1)"),
    ProcessingOperation(
        name="softmax",
        apply=_softmax,
        in_words=_softmax_in_words,
        needs_sample=lambda kwargs, cut: kwargs.get("axis", "c") in cut,
    ),
)
