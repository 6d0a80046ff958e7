"""The order in which the rows of all layers are computed, slab by slab, and how long they are kept."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from .layers import Normalisation, Span
from .recording import Recorded


@dataclass(frozen=True)
class Step:
    """Compute the rows ``span`` of a value. Afterwards rows of other values before ``below`` are not needed."""

    value: int
    span: Span
    below: Mapping[int, int]


@dataclass(frozen=True)
class Pass:
    """One pass through the rows of the tile.

    All rows of the values in ``kept`` are kept. The moments of the values in ``measured`` are measured for later
    passes. ``last`` are kept values that no later pass needs.
    """

    steps: tuple[Step, ...]
    kept: frozenset[int]
    measured: frozenset[int]
    last: frozenset[int]


@dataclass(frozen=True)
class Schedule:
    """All passes. ``most_bytes`` is the peak memory of the values without the inputs, in bytes."""

    passes: tuple[Pass, ...]
    most_bytes: int


def schedule(recorded: Recorded, pixels: int) -> Schedule:
    """Return a schedule that computes about ``pixels`` pixels of the largest layer at a time.

    A normalisation with the moments of the tile runs in a later pass than the layer that it normalises.
    """
    stages = _stages(recorded)
    needed, kept = _kept(recorded, stages)
    passes = []
    for stage, (values, targets) in enumerate(needed):
        slabs = list(_slabs(recorded, values, targets, pixels))
        here = frozenset(value for value in kept if stages[value] == stage)
        measured = frozenset(_normalised(recorded, stages, stage))
        last = frozenset(
            value
            for value in kept
            if stages[value] <= stage and not any(_reads(recorded, later, value) for later, _ in needed[stage + 1 :])
        )
        passes.append(Pass(tuple(_steps(recorded, slabs)), here, measured, last - set(recorded.outputs)))
    return Schedule(tuple(passes), _most_bytes(recorded, passes))


def _stages(recorded: Recorded) -> list[int]:
    """Return the first pass in which each value can be computed."""
    stages: list[int] = []
    for layer in recorded.layers:
        before = max((stages[one] for one in layer.inputs), default=0)
        stages.append(before + isinstance(layer, Normalisation))
    return stages


def _normalised(recorded: Recorded, stages: Sequence[int], stage: int) -> Iterator[int]:
    """Yield the values of a pass that a later pass normalises."""
    for layer in recorded.layers:
        if isinstance(layer, Normalisation) and stages[layer.inputs[0]] == stage:
            yield layer.inputs[0]


def _kept(recorded: Recorded, stages: Sequence[int]) -> tuple[list[tuple[set[int], set[int]]], set[int]]:
    """Return the values that each pass computes, with its targets among them; and the values that are kept.

    Targets are values that a pass keeps or measures. Later passes compute cheap values again from kept values.
    """
    kept = set(recorded.outputs)
    needed: list[tuple[set[int], set[int]]] = []
    for stage in reversed(range(max(stages) + 1)):
        targets = {value for value in kept if stages[value] == stage} | set(_normalised(recorded, stages, stage))
        values: set[int] = set()
        open_ = list(targets)
        while open_:
            value = open_.pop()
            layer = recorded.layers[value]
            if not layer.inputs or value in values:
                continue
            if stages[value] < stage and (value in kept or not layer.cheap):
                kept.add(value)
                continue
            values.add(value)
            open_ += layer.inputs
        needed.insert(0, (values, targets))
    return needed, kept


def _reads(recorded: Recorded, values: Collection[int], value: int) -> bool:
    """Return whether a pass that computes some values reads a kept value."""
    return any(value in recorded.layers[one].inputs for one in values)


def _slabs(
    recorded: Recorded, values: Set[int], targets: Set[int], pixels: int
) -> Iterator[tuple[dict[int, Span], dict[int, int]]]:
    """Yield for each slab the rows of each value to compute, and the first row of each value that it reads."""
    if not values:  # only moments of the inputs are needed
        return
    layers = recorded.layers
    done = dict.fromkeys(values, 0)
    coarsest = min(layers[value].rows for value in values)
    most = max(layers[value].pixels for value in values)
    step = max(1, round(coarsest * pixels / most))
    for until in range(step, coarsest + step, step):
        wanted = {
            value: (done[value], layers[value].rows * min(until, coarsest) // coarsest) for value in targets & values
        }
        spans = {}
        for value in sorted(values, reverse=True):
            start, stop = wanted.get(value, (0, 0))
            start = max(start, done[value])
            if start >= stop:
                continue
            spans[value] = start, stop
            done[value] = stop
            first, last = layers[value].reads((start, stop))
            for one in layers[value].inputs:
                read = max(0, first), min(layers[one].rows, last)
                before = wanted.get(one, read)
                wanted[one] = min(read[0], before[0]), max(read[1], before[1])
        yield dict(sorted(spans.items())), {value: start for value, (start, _) in wanted.items()}


def _steps(recorded: Recorded, slabs: Sequence[tuple[Mapping[int, Span], Mapping[int, int]]]) -> list[Step]:
    """Return the steps of all slabs. Rows of a value are dropped after the last layer of a slab that reads it."""
    layers = recorded.layers
    steps: list[Step] = []
    needed: dict[int, int] = {}  # the first row of each value that later slabs need
    for spans, firsts in reversed(slabs):
        reader = {one: value for value in spans for one in layers[value].inputs}
        steps[:0] = [
            Step(
                value,
                span,
                {
                    one: needed.get(one, layers[one].rows)
                    for one in (*layers[value].inputs, value)
                    if reader.get(one, value) == value
                },
            )
            for value, span in spans.items()
        ]
        needed |= {value: min(first, needed.get(value, first)) for value, first in firsts.items()}
    return steps


def _most_bytes(recorded: Recorded, passes: Sequence[Pass]) -> int:
    """Return the peak memory of the rows of all values in bytes."""
    layers = recorded.layers
    most, kept = 0, 0
    for one in passes:
        kept += sum(layers[value].rows * layers[value].row_bytes for value in one.kept)
        held: dict[int, list[int]] = {}
        total = 0
        for step in one.steps:
            if step.value not in one.kept:
                held.setdefault(step.value, [step.span[0], step.span[0]])[1] = step.span[1]
                total += (step.span[1] - step.span[0]) * layers[step.value].row_bytes
            most = max(most, kept + total)
            for value, below in step.below.items():
                if value in held:
                    first = min(max(held[value][0], below), held[value][1])
                    total -= (first - held[value][0]) * layers[value].row_bytes
                    held[value][0] = first
        kept -= sum(layers[value].rows * layers[value].row_bytes for value in one.last)
    return most
