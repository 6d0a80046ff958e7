"""Compares a predicted output with the one that was published, within a tolerance."""

from dataclasses import dataclass

import numpy as np

from ..array_types import Array
from .tolerance import Tolerance


@dataclass(frozen=True)
class Comparison:
    """How much an output differs from the expected one.

    The differences are those of the elements that are numbers in both, 0 where there are none; elements that are not a
    number (NaN), or infinite, on one side only are ``mismatched``. ``worst`` is the place of the largest difference.
    """

    largest: float
    mean: float
    mismatched_per_million: float
    worst: tuple[int, ...]


def compare(got: Array, expected: Array, tolerance: Tolerance) -> Comparison:
    """Compare two arrays of one shape, as 64-bit numbers."""
    if got.size == 0:
        return Comparison(0.0, 0.0, 0.0, ())
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    alike = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(alike, 0, np.abs(got - expected))
        finite = np.isfinite(difference)
        within = finite & (difference <= tolerance.absolute + tolerance.relative * np.abs(expected))
    known = difference[finite]
    worst = np.unravel_index(int(np.where(finite, difference, np.inf).argmax()), difference.shape)
    return Comparison(
        largest=float(known.max(initial=0)),
        mean=float(known.sum() / max(1, known.size)),
        mismatched_per_million=float(1e6 * (~(alike | within)).sum() / within.size),
        worst=tuple(int(place) for place in worst),
    )
