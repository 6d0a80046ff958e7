"""The record in short, for the metadata of a labelled TIFF. A repeated run writes the same text."""

from collections.abc import Iterator, Mapping

from .._version import __version__
from .record_builder import ComputedRun
from .record_parts import StatisticRecord, StepRecord

# Longer values stand in the record alone.
_MOST_VALUES = 8  # values of a statistic
_MOST_LETTERS = 300  # letters of arguments


def tiff_facts(run: ComputedRun) -> dict[str, str]:
    """Return pairs of key and value in the order for a reader. Unknown facts are left out."""
    return {key: value for key, value in _pairs(run) if value}


def _pairs(run: ComputedRun) -> Iterator[tuple[str, str | None]]:
    model, plan, network = run.planned.model, run.planned.plan, run.network
    yield "program", f"bioimage_inference {__version__}"
    yield "model", model.name
    yield "model id", model.id
    yield "model version", model.version
    yield "model licence", model.licence
    yield "model sha256", model.sha256
    yield "weights", network.weights.format
    yield "weights sha256", network.weights.sha256
    for one in run.inputs:
        yield f"input {one.tensor}", one.name
        yield f"input {one.tensor} sha256", one.sha256
    for number, step in enumerate(run.processing, 1):
        yield f"step {number} {step.tensor} {step.step}", _step_in_words(step)
    yield "tiles", f"{plan.tiles} of {by_axis(plan.tile)}"
    yield "halo", by_axis(plan.halo)
    yield "border", plan.border
    yield "mean over", run.planned.options.get("augment")
    yield "precision", network.device.precision
    yield "engine", network.engine.name


def _step_in_words(step: StepRecord) -> str:
    arguments = ", ".join(f"{key}={value}" for key, value in step.arguments.items() if value is not None)
    if len(arguments) > _MOST_LETTERS:
        arguments = f"{arguments[:_MOST_LETTERS]}…"
    measured = [f"{one.statistic} of {one.tensor} {_values(one)}" for one in step.statistics]
    return "; ".join(filter(None, (arguments, *measured))) or "without arguments"


def _values(statistic: StatisticRecord) -> str:
    """Return the first values of all samples."""
    values = [value for sample in statistic.values for value in sample]
    shown = ", ".join("NaN" if value is None else f"{value:.6g}" for value in values[:_MOST_VALUES])
    return shown if len(values) <= _MOST_VALUES else f"{shown} … ({len(values)} in all)"


def by_axis(sizes: Mapping[str, int]) -> str:
    """Return sizes along axes as a text, for example ``y 512, x 512``."""
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())
