"""The pipeline of one image: statistics, then tile by tile read, preprocess, compute, crop, postprocess, write."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from ..errors import ModelError
from ..model.spec import ModelSpec
from ..tiling.plan import Plan, Tile
from .network import Network
from .postprocessing import MakeWriter, Postprocessor
from .preprocessing import Preprocessor, remarks
from .source import Index, Source
from .statistics import Array, Measure, Statistics

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Job:
    """Everything needed to compute one image.

    ``sources`` has an entry per input that is present, ``samples`` the number of samples along each iterated axis;
    ``make_writer`` is called once per output, when its shape and dtype are known; ``scratch`` is a folder for
    intermediate results; ``progress`` is told how many tiles are done, of how many.
    """

    model: ModelSpec
    network: Network
    plan: Plan
    sources: Mapping[str, Source]
    samples: tuple[int, ...]
    make_writer: MakeWriter
    scratch: Path
    progress: Progress


@dataclass
class Record:
    """What a run found out: seconds per stage, remarks for the user, statistics of every sample."""

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def run(job: Job) -> Record:
    """Compute all samples of an image and hand the results to the writers.

    Raises :class:`ModelError` where the network fails or does not return what its description promises.
    """
    record = Record()
    inputs = [tensor for tensor in job.model.inputs if tensor.id in job.sources]
    preprocessors = {tensor.id: Preprocessor(tensor, job.sources[tensor.id], job.model) for tensor in inputs}
    postprocessors = [
        Postprocessor(output, plan, job.plan.tile_shape, job.make_writer, job.scratch)
        for output, plan in zip(job.model.outputs, job.plan.outputs, strict=True)
    ]
    indices = list(product(*(range(count) for count in job.samples)))
    with record.timed("statistics"):
        for tensor in inputs:
            record.notes += remarks(tensor, job.sources[tensor.id], indices)
        pooled = _measure(preprocessors, indices, pooled=True)
    total = len(indices) * len(job.plan)
    for number, index in enumerate(indices):
        with record.timed("statistics"):
            statistics = {**pooled, **_measure(preprocessors, [index], pooled=False)}
        record.statistics.append(statistics)
        for done, tile in enumerate(job.plan.tiles(), number * len(job.plan) + 1):
            blocks = _compute(job, preprocessors, index, tile, statistics, record)
            with record.timed("postprocessing and writing"):
                for postprocessor, block in zip(postprocessors, blocks, strict=True):
                    postprocessor.add(index, tile.kept[postprocessor.output.id], block, statistics)
            job.progress(done, total)
        with record.timed("postprocessing and writing"):
            for postprocessor in postprocessors:
                postprocessor.finish(index, statistics)
    return record


def _measure(
    preprocessors: Mapping[str, Preprocessor], indices: list[Index], pooled: bool
) -> dict[Measure, tuple[Array, ...]]:
    found: dict[Measure, tuple[Array, ...]] = {}
    for preprocessor in preprocessors.values():
        found.update(preprocessor.measure(indices, pooled))
    return found


def _compute(
    job: Job,
    preprocessors: Mapping[str, Preprocessor],
    index: Index,
    tile: Tile,
    statistics: Statistics,
    record: Record,
) -> list[Array]:
    with record.timed("reading and preprocessing"):
        arrays = [
            preprocessors[tensor.id].tile(index, tile.read[tensor.id], statistics)
            if tensor.id in preprocessors
            else None
            for tensor in job.model.inputs
        ]
    with record.timed("network"):
        blocks = job.network(arrays)
    if len(blocks) < len(job.model.outputs):
        raise ModelError(
            f"The network returned {len(blocks)} tensors, but its description promises {len(job.model.outputs)}. "
            "The description and the weights do not belong together."
        )
    return blocks[: len(job.model.outputs)]
