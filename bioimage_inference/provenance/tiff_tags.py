"""The record in short, for the metadata of a labelled TIFF: nothing in it changes when the same run is repeated."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# What is longer is left to the record.
_MANY = 8  # numbers of a statistic
_LONG = 300  # letters of arguments


def facts_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Pairs of key and value, in the order in which a reader wants them; what is unknown is left out."""
    return {key: value for key, value in _pairs(record) if value}


def _pairs(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, plan = record["model"], record["plan"]
    yield "program", f"bioimage_inference {record['versions']['bioimage_inference']}"
    for key, name in (
        ("name", "model"),
        ("id", "model id"),
        ("version", "model version"),
        ("licence", "model licence"),
    ):
        yield name, model[key] or ""
    yield "model sha256", model["sha256"] or ""
    yield "weights", record["weights"]["format"]
    yield "weights sha256", record["weights"]["sha256"]
    for one in record["inputs"]:
        yield f"input {one['tensor']}", one["name"]
        yield f"input {one['tensor']} sha256", one["sha256"] or ""
    for number, step in enumerate(record["processing"], 1):
        yield f"step {number} {step['tensor']} {step['step']}", _step_in_words(step)
    yield "tiles", f"{plan['tiles']} of {_by_axis(plan['tile'])}"
    yield "halo", _by_axis(plan["halo"])
    yield "border", plan["border"]
    yield "precision", record["device"]["precision"]
    yield "engine", record["engine"]["name"]


def _step_in_words(step: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in step["arguments"].items() if value is not None)
    if len(arguments) > _LONG:
        arguments = f"{arguments[:_LONG]}…"
    measured = [f"{one['statistic']} of {one['tensor']} {_numbers(one['values'])}" for one in step["statistics"]]
    return "; ".join(filter(None, (arguments, *measured))) or "without arguments"


def _numbers(samples: Sequence[Sequence[float | None]]) -> str:
    """Numbers of all samples; of many the first ones."""
    values = [value for sample in samples for value in sample]
    shown = ", ".join("NaN" if value is None else f"{value:.6g}" for value in values[:_MANY])
    return shown if len(values) <= _MANY else f"{shown} … ({len(values)} in all)"


def _by_axis(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())
