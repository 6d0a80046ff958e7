"""Compares a predicted output with the one that was published, by the tolerance that the description asks for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Tolerance:
    """An element agrees where ``|got - expected| <= absolute + relative * |expected|``.

    Up to ``per_million`` elements of a million may disagree; ``source`` says who decided all this.
    """

    absolute: float
    relative: float
    per_million: float
    source: str


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


def tolerance_of(described: Mapping[str, Any], format_version: str, weights_format: str, output: str) -> Tolerance:
    """The tolerance of one output: the description's own, else what bioimageio.core takes where it says nothing."""
    config = described.get("config")
    config = config.get("bioimageio") if isinstance(config, Mapping) else None
    if isinstance(config, Mapping):
        for own in (*_declared(config, weights_format, output), *_legacy(config, weights_format)):
            return own
    return Tolerance(1e-3, 1e-3, 100 if format_version.startswith("0.5") else 0, "the reference's default")


def _declared(config: Mapping[str, Any], weights_format: str, output: str) -> Iterator[Tolerance]:
    """Entries of ``reproducibility_tolerance`` that apply; those that are not valid are passed over."""
    from bioimageio.spec.model.v0_5 import ReproducibilityTolerance
    from pydantic import ValidationError

    entries = config.get("reproducibility_tolerance")
    for entry in entries if isinstance(entries, list) else []:
        try:
            node = ReproducibilityTolerance.model_validate(entry)
        except ValidationError:
            continue
        formats, outputs = node.weights_formats, [str(one) for one in node.output_ids]
        if (not formats or weights_format in formats) and (not outputs or output in outputs):
            yield Tolerance(
                node.absolute_tolerance,
                node.relative_tolerance,
                node.mismatched_elements_per_million,
                "the description",
            )


def _legacy(config: Mapping[str, Any], weights_format: str) -> Iterator[Tolerance]:
    """``test_kwargs``, as older descriptions have them: tolerances, or a number of decimals that agree."""
    kwargs = config.get("test_kwargs")
    kwargs = kwargs.get(weights_format) if isinstance(kwargs, Mapping) else None
    if not isinstance(kwargs, Mapping):
        return
    numbers = {key: float(value) for key, value in kwargs.items() if isinstance(value, int | float)}
    decimals = numbers.get("decimals", numbers.get("decimal"))
    if decimals is not None:
        yield Tolerance(1.5 * 10**-decimals, 0.0, 0, "the description")
    elif numbers:
        absolute, relative = numbers.get("absolute_tolerance", 1e-3), numbers.get("relative_tolerance", 1e-3)
        yield Tolerance(absolute, relative, 0, "the description")


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
