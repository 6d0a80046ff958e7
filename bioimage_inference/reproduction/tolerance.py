"""Reads the tolerance of an output from ``config.bioimageio`` of a model's description.

This module reads the entries of ``reproducibility_tolerance`` as format 0.5.14 defines them. bioimageio.spec does so
from its version 0.5.14.2 on, but bioimageio.core 0.11 requires version 0.5.12.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.units import finite_number
from ..model.spec import ModelSpec, TensorSpec

_ENTRIES = "reproducibility_tolerance"
_DISCRETE, _CONTINUOUS = "any_discrete_output", "any_continuous_output"
_FORMATS = (
    *("torchscript", "pytorch_state_dict", "onnx", "keras_hdf5", "keras_v3"),
    *("tensorflow_js", "tensorflow_saved_model_bundle"),
)
_LEGACY = ("decimals", "decimal", "absolute_tolerance", "relative_tolerance")
# Largest values that format 0.5.14 allows.
_LARGEST = {"absolute_tolerance": math.inf, "relative_tolerance": 0.01, "mismatched_elements_per_million": 30_000}
# Largest absolute tolerance as a part of the largest published value (format 0.5, ReproducibilityTolerance).
_LARGEST_PART = 0.01
# Defaults of format 0.5.14: absolute, relative, mismatched elements per million.
_DISCRETE_DEFAULT: tuple[float, float, float] = (0, 0, 1000)
_CONTINUOUS_DEFAULT: tuple[float, float, float] = (1e-3, 1e-3, 100)


@dataclass(frozen=True)
class Tolerance:
    """An element agrees where ``|got - expected| <= absolute + relative * |expected|``.

    Up to ``per_million`` elements of a million may disagree. ``source`` names the origin of these numbers. ``notes``
    are sentences for the user. ``certain`` is false where an entry that may apply is unreadable.
    """

    absolute: float
    relative: float
    per_million: float
    source: str
    notes: tuple[str, ...] = ()
    certain: bool = True


def tolerance_of(
    described: Mapping[str, Any], spec: ModelSpec, weights_format: str, output: TensorSpec, expected: NDArray[Any]
) -> Tolerance:
    """Return the tolerance of an output: the first entry of the description that applies, or the format's default.

    ``described`` is the description as its authors wrote it, ``spec`` as this program read it. ``expected`` is the
    published output.
    """
    config = described.get("config")
    config = config.get("bioimageio") if isinstance(config, Mapping) else None
    config = config if isinstance(config, Mapping) else {}
    names = [str(raw.get("id", one.id)) for raw, one in zip(described["outputs"], spec.outputs, strict=True)]
    name, discrete = names[spec.outputs.index(output)], not output.dtype.startswith("float")
    found, notes, certain = None, [], True
    entries = config.get(_ENTRIES)
    if not isinstance(entries, list | None):
        notes.append(f"{_ENTRIES} cannot be read: {_shown(entries)} is not a list. It is left out.")
        certain, entries = False, None
    for number, entry in enumerate(entries or (), 1):
        problems = _problems(entry, names)
        readable = {key: entry[key] for key in entry if key not in problems} if isinstance(entry, Mapping) else {}
        decides = found is None and _applies(readable, weights_format, name, discrete)
        if problems:
            consequence = "It is left out." if decides else "It does not count for this output."
            notes.append(f"Entry {number} of {_ENTRIES} cannot be read: {'; '.join(problems.values())}. {consequence}")
            certain = certain and not decides
        elif decides:
            found = _limited(entry, number, discrete, expected)
    if found is None:
        found = _legacy(config, weights_format, _default(spec, discrete))
    return replace(found, notes=(*notes, *found.notes), certain=certain and found.certain)


def _default(spec: ModelSpec, discrete: bool) -> Tolerance:
    if not spec.format_version.startswith(("0.3", "0.4")):
        return Tolerance(*(_DISCRETE_DEFAULT if discrete else _CONTINUOUS_DEFAULT), "the format's default")
    return Tolerance(1e-3, 1e-3, 0, "the reference's default")  # bioimageio.core, for formats before 0.5


def _applies(readable: Mapping[str, Any], weights_format: str, name: str, discrete: bool) -> bool:
    """Return whether the readable part of an entry allows these weights and this output."""
    formats, outputs = (_listed(readable.get(key)) for key in ("weights_formats", "output_ids"))
    kind = _DISCRETE if discrete else _CONTINUOUS
    return (not formats or weights_format in formats) and (not outputs or name in outputs or kind in outputs)


def _listed(value: Any) -> Any:
    """Return a text as a list of one text, and other values as they are."""
    return [value] if isinstance(value, str) else value


def _problems(entry: Any, outputs: Collection[str]) -> dict[Any, str]:
    """Return the problems of an entry by key."""
    if not isinstance(entry, Mapping):
        return {None: f"it is {_shown(entry)}, not a mapping"}
    found = {key: _problem(key, value, outputs) for key, value in entry.items()}
    return {key: problem for key, problem in found.items() if problem}


def _problem(key: Any, value: Any, outputs: Collection[str]) -> str:
    """Return the problem with the value of a key, or the empty text."""
    if key in _LARGEST:
        if (number := _number(value)) is not None and number <= _LARGEST[key]:
            return ""
        largest = f"from 0 to {_LARGEST[key]:g}" if math.isfinite(_LARGEST[key]) else "of at least 0"
        return f"{key} is {_shown(value)}; expected is a number {largest}"
    known = {"output_ids": (*outputs, _DISCRETE, _CONTINUOUS), "weights_formats": _FORMATS}.get(key)
    if known is None:
        return f"the key {_shown(key)} is not known"
    named = _listed(value)
    if not isinstance(named, list):
        return f"{key} is {_shown(value)}; expected is a list"
    unknown = [one for one in named if one not in known]
    return f"{key} names {_shown(unknown[0])}; known are {', '.join(known)}" if unknown else ""


def _number(value: Any) -> float | None:
    """Return a number or a text as a finite number of at least 0, ``None`` for other values."""
    number = finite_number(value)
    return number if number is not None and number >= 0 else None


def _shown(value: Any) -> str:
    """Return a value of the description as a short text."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _limited(entry: Mapping[str, Any], number: int, discrete: bool, expected: NDArray[Any]) -> Tolerance:
    """Return the numbers of an entry, limited to the largest that the format allows for this output.

    bioimageio.spec refuses a description with larger numbers. Limiting them makes a comparison possible.
    """
    absolute, relative, per_million = (0, 0, 100) if discrete else _CONTINUOUS_DEFAULT
    if _DISCRETE in _listed(entry.get("output_ids", ())):
        per_million = _DISCRETE_DEFAULT[2]
    given = {key: float(entry[key]) for key in _LARGEST if key in entry}
    if discrete:
        limits, why = {"absolute_tolerance": 0.0, "relative_tolerance": 0.0}, "for integers and booleans"
    else:
        largest = float(np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0))
        limits, why = {"absolute_tolerance": _LARGEST_PART * largest}, "here, 1 % of the largest published value"
    notes = []
    for key, limit in limits.items():
        if given.get(key, 0) > limit:
            notes.append(
                f"Entry {number} of {_ENTRIES} has the {key} {given[key]:g}. The format allows {limit:g} {why}; "
                f"{limit:g} counts."
            )
            given[key] = limit
    return Tolerance(
        given.get("absolute_tolerance", absolute),
        given.get("relative_tolerance", relative),
        given.get("mismatched_elements_per_million", per_million),
        "the description",
        tuple(notes),
    )


def _legacy(config: Mapping[str, Any], weights_format: str, default: Tolerance) -> Tolerance:
    """Return the tolerance in ``test_kwargs`` of older descriptions: tolerances, or a number of equal decimals."""
    kwargs = config.get("test_kwargs")
    if isinstance(kwargs, Mapping):
        kwargs = kwargs.get(weights_format)
    if kwargs is None:
        return default
    if not isinstance(kwargs, Mapping):
        return _left_out(default, f"{_shown(kwargs)} is not a mapping")
    given = {key: kwargs[key] for key in _LEGACY if key in kwargs}
    numbers = {key: number for key, value in given.items() if (number := _number(value)) is not None}
    if len(numbers) < len(given):
        return _left_out(default, "; ".join(f"{key} is {_shown(given[key])}" for key in given if key not in numbers))
    if not numbers:
        return default
    decimals = numbers.get("decimals", numbers.get("decimal"))
    if decimals is not None:
        return Tolerance(1.5 * 10**-decimals, 0, 0, "the description")
    absolute, relative = numbers.get("absolute_tolerance", 1e-3), numbers.get("relative_tolerance", 1e-3)
    return Tolerance(absolute, relative, min(default.per_million, 100), "the description")


def _left_out(default: Tolerance, reason: str) -> Tolerance:
    """Return the default with a note on ``test_kwargs``, which cannot be read."""
    return replace(default, notes=(f"test_kwargs cannot be read: {reason}. It is left out.",), certain=False)
