"""The tensors that a network takes and returns for a tile, and the comparison of two ways to compute them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array_types import Array

Inputs = Sequence[Array | None]
"""The input tensors of a tile in the order of the description, ``None`` for an optional one that is absent."""

TOLERANCE = 1e-4
"""Another way to compute the same, faster, is taken where each output differs by this part of its range at most."""

_ROUNDING = 4
"""Differences of so many units in the last place of an output's largest value are rounding."""


def difference(got: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest difference of two ways to compute the outputs, as part of the range of ``expected``.

    Each output counts with its own range. Rounding of floating point values counts as 0: without it, a constant output,
    whose range is 0, would never be the same. Infinite where number, shapes, types, NaN or infinities differ.
    """
    if [(one.shape, one.dtype) for one in got] != [(one.shape, one.dtype) for one in expected]:
        return np.inf
    return max(map(_difference, got, expected), default=0.0)


def same(got: Sequence[Array], expected: Sequence[Array]) -> bool:
    """Whether two ways to compute the outputs may replace each other: whole numbers must be equal.

    Floating point values are within :data:`TOLERANCE` of the range of their output.
    """
    found = difference(got, expected)
    whole = (pair for pair in zip(got, expected, strict=False) if pair[0].dtype.kind not in "fc")
    return found <= TOLERANCE and all(np.array_equal(*pair) for pair in whole)


def _difference(got: Array, expected: Array) -> float:
    alike = (got == expected) | (np.isnan(got) & np.isnan(expected))  # equal infinities cannot be subtracted
    if alike.all():
        return 0.0
    apart = np.zeros(got.shape)
    np.subtract(got, expected, dtype=np.float64, out=apart, where=~alike)
    largest = float(np.abs(np.where(np.isnan(apart), np.inf, apart)).max())
    known = expected[np.isfinite(expected)].astype(np.float64)
    if got.dtype.kind == "f" and largest <= _ROUNDING * np.spacing(np.abs(known).max(initial=0).astype(got.dtype)):
        return 0.0
    span = float(np.ptp(known)) if known.size else 0.0
    return largest / span if span > 0 else np.inf


def flat(result: Any) -> list[Any]:
    """A network returns a tensor, or a tuple, list or dict of them, in the order of the description."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [tensor for part in result for tensor in flat(part)]
    if not hasattr(result, "cpu"):
        raise TypeError(f"the network returned a {type(result).__name__}, not a tensor")
    return [result]
