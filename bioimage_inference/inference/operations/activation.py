"""Functions that end a network when the network does not contain them: ``sigmoid`` and ``softmax``."""

from collections.abc import Container

import numpy as np

from ...array_types import Array
from ...image.axes import AXES
from .base import Context, Kwargs, ProcessingOperation


def _sigmoid(array: Array, context: Context) -> Array:
    """Return ``1 / (1 + exp(-x))``. For large negative x the exponential is infinite and the result 0."""
    del context
    result: Array = 1 / (1 + np.exp(-array))
    return result


def _softmax_axis(kwargs: Kwargs) -> str:
    return str(kwargs.get("axis", "c"))


def _softmax(array: Array, context: Context) -> Array:
    axis = context.letters.index(_softmax_axis(context.kwargs))
    powers = np.exp(array - array.max(axis=axis, keepdims=True, initial=-np.inf))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def _softmax_needs_sample(kwargs: Kwargs, cut: Container[str]) -> bool:
    return _softmax_axis(kwargs) in cut


def _softmax_in_words(kwargs: Kwargs) -> str:
    letter = _softmax_axis(kwargs)
    return f"softmax (each {AXES[letter].entry}'s share, between 0 and 1)"


OPERATIONS = (
    ProcessingOperation(name="sigmoid", apply=_sigmoid, in_words=lambda _: "sigmoid (between 0 and 1)"),
    ProcessingOperation(name="softmax", apply=_softmax, in_words=_softmax_in_words, needs_sample=_softmax_needs_sample),
)
