"""The pipeline of one image: statistics, then tile by tile read, preprocess, compute, crop, postprocess, write."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TypeVar

from ..errors import ModelError
from ..model.spec import ModelSpec
from ..tiling.plan import Plan, Tile
from .network import Network
from .postprocessing import MakeWriter, Postprocessor
from .preprocessing import Preprocessor, remarks
from .source import Index, Source
from .statistics import Array, Measure, Statistics

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


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

    def note(self, text: str) -> None:
        """Add a remark for the user, once."""
        if text not in self.notes:
            self.notes.append(text)

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

    While the network computes a tile, the next one is read and preprocessed, and the one before postprocessed and
    written, each in a thread of its own. Raises :class:`ModelError` where the network fails or does not return what its
    description promises.
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
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        for number, index in enumerate(indices):
            with record.timed("statistics"):
                statistics = {**pooled, **_measure(preprocessors, [index], pooled=False)}
            record.statistics.append(statistics)
            sample = _Sample(job, preprocessors, postprocessors, index, statistics, record)
            done, written = number * len(job.plan), None
            for tile, arrays in _ahead(reader, sample.read, job.plan.tiles()):
                blocks = sample.compute(arrays)
                if written is not None:
                    written.result()
                written = writer.submit(sample.write, tile, blocks)
                done += 1
                job.progress(done, len(indices) * len(job.plan))
            if written is not None:
                written.result()
            sample.finish()
    return record


def _ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of ``work``, each begun while the one before is in use."""
    begun: Future[Result] | None = None
    for item in items:
        following = pool.submit(work, item)
        if begun is not None:
            yield begun.result()
        begun = following
    if begun is not None:
        yield begun.result()


def _measure(
    preprocessors: Mapping[str, Preprocessor], indices: list[Index], pooled: bool
) -> dict[Measure, tuple[Array, ...]]:
    found: dict[Measure, tuple[Array, ...]] = {}
    for preprocessor in preprocessors.values():
        found.update(preprocessor.measure(indices, pooled))
    return found


@dataclass(frozen=True)
class _Sample:
    """One sample on its way: its tiles are read, computed and written, in different threads."""

    job: Job
    preprocessors: Mapping[str, Preprocessor]
    postprocessors: Sequence[Postprocessor]
    index: Index
    statistics: Statistics
    record: Record

    def read(self, tile: Tile) -> tuple[Tile, list[Array | None]]:
        """All inputs of a tile, preprocessed; ``None`` for an optional one that is absent."""
        with self.record.timed("reading and preprocessing"):
            return tile, [
                self.preprocessors[tensor.id].tile(self.index, tile.read[tensor.id], self.statistics)
                if tensor.id in self.preprocessors
                else None
                for tensor in self.job.model.inputs
            ]

    def compute(self, arrays: Sequence[Array | None]) -> list[Array]:
        """What the network returns for the outputs of the description."""
        with self.record.timed("network"):
            try:
                blocks = self.job.network(arrays)
            except ModelError as error:
                raise ModelError(f"{error}{_absent(self.job)}") from error
        expected = len(self.job.model.outputs)
        if len(blocks) < expected:
            raise ModelError(
                f"The network returned {len(blocks)} tensors, but its description promises {expected}. "
                "The description and the weights do not belong together."
            )
        if len(blocks) > expected:
            self.record.note(f"The network returns {len(blocks)} tensors; its description names the first {expected}.")
        return blocks[:expected]

    def write(self, tile: Tile, blocks: Sequence[Array]) -> None:
        """Crop, postprocess and write a tile of every output."""
        with self.record.timed("postprocessing and writing"):
            for postprocessor, block in zip(self.postprocessors, blocks, strict=True):
                postprocessor.add(self.index, tile.kept[postprocessor.output.id], block, self.statistics)

    def finish(self) -> None:
        """What needs the whole sample."""
        with self.record.timed("postprocessing and writing"):
            for postprocessor in self.postprocessors:
                postprocessor.finish(self.index, self.statistics)


def _absent(job: Job) -> str:
    """Which inputs the user may still give, for a network that failed without them."""
    absent = [tensor.id for tensor in job.model.inputs if tensor.id not in job.sources]
    if not absent:
        return ""
    return f" It also takes {', '.join(absent)}; give what it needs of these, for instance --input {absent[0]}=FILE."
