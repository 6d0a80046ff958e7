"""Operations that bring intensities to a common scale, by statistics of the image or by fixed numbers.

``zero_mean_unit_variance``, ``fixed_zero_mean_unit_variance``, ``scale_range`` and ``scale_mean_variance``.
"""

import numpy as np

from ...array_types import Array
from ..statistics import Measure, Moments, Quantile
from .base import EPS, Context, Kwargs, ProcessingOperation, numbers_in_words


def _normalise(array: Array, mean: Array, std: Array) -> Array:
    """Return ``(x - mean) / std``.

    The part of the mean that the array's own precision cannot hold is subtracted separately.
    """
    near = mean.astype(array.dtype)
    rest = (mean - near).astype(array.dtype)
    result: Array = array - near
    if rest.any():
        result -= rest
    result /= std.astype(array.dtype)
    return result


def _eps(context: Context) -> float:
    return float(context.kwargs.get("eps", EPS))


def _zero_mean_unit_variance(array: Array, context: Context) -> Array:
    ((mean, std),) = context.values
    return _normalise(array, mean, std + _eps(context))


def _moments(kwargs: Kwargs, tensor: str) -> tuple[Measure, ...]:
    return (Moments(tensor, kwargs.get("axes")),)


def _fixed_zero_mean_unit_variance(array: Array, context: Context) -> Array:
    return _normalise(array, context.along_axis("mean"), context.along_axis("std") + EPS)


def _fixed_trap(kwargs: Kwargs, tensor: str) -> str:
    """Return for which intensities the fixed numbers are made."""
    mean, std = float(np.max(kwargs["mean"])), float(np.max(kwargs["std"]))
    if 0 < mean <= 1 and std <= 1:
        return (
            f"{tensor} is meant for values from 0 to 1 (it is normalised with a fixed mean of {mean:.3g}), but nothing "
            "scales your image to that: divide an 8-bit image by 255, a 16-bit image by 65535 first."
        )
    return (
        f"{tensor} is normalised with a fixed mean of {mean:.4g} and a standard deviation of {std:.4g}, whatever your "
        "image: one of another brightness or bit depth has to be scaled to that first."
    )


def _scale_range(array: Array, context: Context) -> Array:
    (low,), (high,) = context.values
    return _normalise(array, low, high - low + _eps(context))


def _limits(kwargs: Kwargs) -> tuple[float, float]:
    """Return the percentiles that become 0 and 1."""
    return float(kwargs.get("min_percentile", 0.0)), float(kwargs.get("max_percentile", 100.0))


def _range_measures(kwargs: Kwargs, tensor: str) -> tuple[Measure, ...]:
    reference, axes = kwargs.get("reference_tensor") or tensor, kwargs.get("axes")
    low, high = _limits(kwargs)
    return Quantile(reference, axes, low / 100), Quantile(reference, axes, high / 100)


def _range_in_words(kwargs: Kwargs) -> str:
    low, high = _limits(kwargs)
    lowest = "the smallest value" if low == 0 else f"percentile {low:g}"
    highest = "the largest" if high == 100 else f"percentile {high:g}"
    reference = kwargs.get("reference_tensor")
    return f"{lowest}{f' of {reference}' if reference is not None else ''} becomes 0 and {highest} 1"


def _scale_mean_variance(array: Array, context: Context) -> Array:
    (mean, std), (reference_mean, reference_std) = context.values
    eps = _eps(context)
    scaled = _normalise(array, mean, std + eps)
    result: Array = scaled * (reference_std + eps).astype(array.dtype) + reference_mean.astype(array.dtype)
    return result


def _own_and_reference_moments(kwargs: Kwargs, tensor: str) -> tuple[Measure, ...]:
    return tuple(Moments(one, kwargs.get("axes")) for one in (tensor, kwargs["reference_tensor"]))


OPERATIONS = (
    ProcessingOperation(
        name="zero_mean_unit_variance",
        apply=_zero_mean_unit_variance,
        measures=_moments,
        in_words=lambda _: "zero mean, unit variance",
        scaling="measured",
    ),
    ProcessingOperation(
        name="fixed_zero_mean_unit_variance",
        apply=_fixed_zero_mean_unit_variance,
        in_words=lambda kwargs: (
            f"minus a fixed mean of {numbers_in_words(kwargs['mean'])}, divided by {numbers_in_words(kwargs['std'])}"
        ),
        scaling="fixed",
        trap=_fixed_trap,
    ),
    ProcessingOperation(
        name="scale_range",
        apply=_scale_range,
        measures=_range_measures,
        in_words=_range_in_words,
        scaling="measured",
    ),
    ProcessingOperation(
        name="scale_mean_variance",
        apply=_scale_mean_variance,
        measures=_own_and_reference_moments,
        in_words=lambda kwargs: f"brought to the mean and variance of {kwargs['reference_tensor']}",
        scaling="measured",
    ),
)
