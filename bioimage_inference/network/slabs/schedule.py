"""In which order the rows of all layers are computed, slab by slab, and how long they are kept."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from .layers import Normalisation, Span
from .recording import Recorded


@dataclass(frozen=True)
class Step:
    """Compute the rows ``span`` of a value; after that, rows of others are needed only from those in ``below`` on."""

    value: int
    span: Span
    below: Mapping[int, int]


@dataclass(frozen=True)
class Pass:
    """One way through the rows of the tile.

    Of the values in ``kept`` all rows are kept; from those in ``measured`` moments are taken for the passes that
    follow; ``last`` are kept values that no later pass needs.
    """

    steps: tuple[Step, ...]
    kept: frozenset[int]
    measured: frozenset[int]
    last: frozenset[int]


@dataclass(frozen=True)
class Schedule:
    """All passes; ``most_bytes`` is what values take at once, at most, apart from the inputs."""

    passes: tuple[Pass, ...]
    most_bytes: int


def schedule(recorded: Recorded, pixels: int) -> Schedule:
    """Compute about so many pixels of the largest layer at a time.

    A normalisation by the values of the whole tile comes in a later pass than what it normalises.
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
    """The first pass in which each value can be computed."""
    stages: list[int] = []
    for layer in recorded.layers:
        before = max((stages[one] for one in layer.inputs), default=0)
        stages.append(before + isinstance(layer, Normalisation))
    return stages


def _normalised(recorded: Recorded, stages: Sequence[int], stage: int) -> Iterator[int]:
    """The values of a pass that are normalised later, by their moments."""
    for layer in recorded.layers:
        if isinstance(layer, Normalisation) and stages[layer.inputs[0]] == stage:
            yield layer.inputs[0]


def _kept(recorded: Recorded, stages: Sequence[int]) -> tuple[list[tuple[set[int], set[int]]], set[int]]:
    """What each pass computes, what of that for itself and not for a layer that follows, and which values are kept.

    Later passes compute again what is cheap, from what they find kept.
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
    """Whether a pass that computes some values reads another one that is kept."""
    return any(value in recorded.layers[one].inputs for one in values)


def _slabs(
    recorded: Recorded, values: Set[int], targets: Set[int], pixels: int
) -> Iterator[tuple[dict[int, Span], dict[int, int]]]:
    """For each slab the rows to compute of each value, and the first row that is read of each."""
    if not values:  # of the inputs, moments alone are wanted
        return
    layers = recorded.layers
    done = dict.fromkeys(values, 0)
    coarsest = min(layers[value].rows for value in values)
    most = max(layers[value].pixels for value in values)
    step = max(1, coarsest * pixels // most)
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
    """The steps of all slabs: each value is let go of after the last layer of a slab that reads it."""
    layers = recorded.layers
    steps: list[Step] = []
    needed: dict[int, int] = {}  # from which row on each value is needed after this slab
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
    """Bytes of the rows of all values that are held at once, at most."""
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
