"""Compares arrays and image files with expected ones, element by element."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import numpy as np

from ..array_types import Array
from ..image.image import Region
from ..image.readers.reading import open_image
from .tolerance import Tolerance

_BLOCK = 1 << 22  # elements of two files that are compared at a time: 32 MiB of float64 for each


@dataclass(frozen=True)
class Comparison:
    """Differences between an output and the expected array.

    ``largest`` and ``mean`` are those of the elements that are finite in both arrays, 0 where there are none.
    ``mismatched_per_million`` counts the elements beyond the tolerance, NaN or infinite on one side included.
    ``worst`` is the index of the largest difference.
    """

    largest: float
    mean: float
    mismatched_per_million: float
    worst: tuple[int, ...]


def compare(got: Array, expected: Array, tolerance: Tolerance) -> Comparison:
    """Compare two arrays of the same shape in float64."""
    if got.size == 0:
        return Comparison(0.0, 0.0, 0.0, ())
    difference = _differences(got, expected)
    finite = np.isfinite(difference)
    with np.errstate(invalid="ignore"):
        limit = tolerance.absolute + tolerance.relative * np.abs(expected.astype(np.float64))
        agree = (difference == 0) | (finite & (difference <= limit))
    known = difference[finite]
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    return Comparison(
        largest=float(known.max(initial=0)),
        mean=float(known.sum() / max(1, known.size)),
        mismatched_per_million=float(1e6 * (~agree).sum() / agree.size),
        worst=tuple(int(place) for place in worst),
    )


def largest_difference(one: Path, other: Path) -> float | None:
    """Return the largest difference of two image files, ``None`` where their shapes or dtypes differ.

    The difference is infinite where an element is NaN in one file only. The files are read block by block.
    """
    with closing(open_image(one)) as first, closing(open_image(other)) as second:
        if first.shape != second.shape or first.dtype != second.dtype:
            return None
        blocks = ((first.read(region), second.read(region)) for region in _regions(first.shape))
        return max((float(_differences(a, b).max(initial=0.0)) for a, b in blocks), default=0.0)


def _differences(got: Array, expected: Array) -> Array:
    """Return absolute differences in float64: 0 for NaN on both sides, infinite for NaN on one side."""
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    alike = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(alike, 0.0, np.abs(got - expected))
    return np.where(np.isnan(difference), np.inf, difference)


def _regions(shape: tuple[int, ...]) -> Iterator[Region]:
    """Yield regions of about ``_BLOCK`` elements that cover an array."""
    steps = [max(1, _BLOCK // prod(shape[axis + 1 :])) for axis in range(len(shape))]
    for place in product(*(range(0, size, step) for size, step in zip(shape, steps, strict=True))):
        yield tuple(slice(start, start + step) for start, step in zip(place, steps, strict=True))
