"""The pipeline of one image: statistics, then tile by tile read, preprocess, compute, crop, postprocess, write."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice, product
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..array_types import Array, Index
from ..errors import ImageError, ModelError, UsageError
from ..machine.interruptions import late_interruptions
from ..machine.processors import thread_pool
from ..model.spec import ModelSpec, TensorSpec
from ..network.batching import Batches
from ..network.network import Inputs, Network
from ..text import counted
from ..tiling.plan import Plan, Tile
from .augmentation import Average, Copy, check_values, uncertainty_of
from .operations.registry import needs_sample
from .postprocess import MakeWriter, Postprocessor, needs_all, numbers_objects
from .preprocess import Preprocessor, remarks
from .sample_reader import Source
from .seams import Seams
from .statistics import Measure, Statistic, Statistics

Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """Everything needed to compute one image.

    ``sources`` has a reader for each input that is present. ``samples`` is the number of samples along each iterated
    axis. ``make_writer`` is called once for each output, when the first tile shows its dtype. ``scratch`` is a folder
    for intermediate results. ``progress`` is called with the numbers of tiles done, first 0, and of all tiles.
    ``compare_tiles`` adds a remark on the difference between overlapping tiles. ``copies`` are averaged, the image
    itself first; ``uncertainty`` adds their standard deviation to the outputs.
    """

    model: ModelSpec
    network: Network
    plan: Plan
    sources: Mapping[str, Source]
    samples: tuple[int, ...]
    make_writer: MakeWriter
    scratch: Path
    progress: Progress
    compare_tiles: bool = False
    copies: Sequence[Copy] = (Copy(""),)
    uncertainty: bool = False


@dataclass
class Record:
    """Findings of a run: seconds for each stage, remarks for the user, statistics of every sample.

    ``statistics`` belong to the inputs, ``measured`` to the outputs, by output and number of the step.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)
    measured: list[dict[tuple[str, int], Statistics]] = field(default_factory=list)

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

    While the network computes a tile or a batch, one thread reads and preprocesses the next, and another thread
    postprocesses and writes the previous one. Raises :class:`ModelError` if the network fails, or if its outputs
    contradict the description.
    """
    record = Record()
    stages = Stages(job, record)
    indices = list(product(*map(range, job.samples)))
    total, counter = len(indices) * len(job.plan), count(1)
    job.progress(0, total)
    with record.timed("statistics"):
        record.notes += remarks_of(job.model, job.sources, indices)
        pooled = measure_samples(stages.preprocessors, indices, pooled=True)
    for index in indices:
        with record.timed("statistics"):
            statistics = {**pooled, **measure_samples(stages.preprocessors, [index], pooled=False)}
        record.statistics.append(statistics)
        stages.compute(index, statistics, job.plan.tiles(), lambda: job.progress(next(counter), total))
    if stages.seams is not None:
        record.notes += stages.seams.remarks()
    return record


def remarks_of(model: ModelSpec, sources: Mapping[str, Source], indices: Sequence[Index]) -> list[str]:
    """Return remarks for the user on the values of these samples."""
    return [text for tensor in _present(model, sources) for text in remarks(tensor, sources[tensor.id], indices)]


def measure_samples(preprocessors: Mapping[str, Preprocessor], indices: Sequence[Index], pooled: bool) -> Statistics:
    """Return the statistics of these samples that are pooled over the image, or that belong to a single sample."""
    found: dict[Measure, Statistic] = {}
    for preprocessor in preprocessors.values():
        found.update(preprocessor.measure(indices, pooled))
    return found


def needs_whole_samples(model: ModelSpec, plan: Plan) -> bool:
    """Return whether a step of pre- or postprocessing needs all tiles of a sample."""
    return any(
        needs_sample(step, plan.inputs.get(tensor.id, ())) for tensor in model.inputs for step in tensor.operations
    ) or any(
        needs_all(step, output.id, part)
        for output, part in zip(model.outputs, plan.outputs, strict=True)
        for step in output.operations
    )


def _present(model: ModelSpec, sources: Mapping[str, Source]) -> list[TensorSpec]:
    return [tensor for tensor in model.inputs if tensor.id in sources]


def preprocessors_of(model: ModelSpec, sources: Mapping[str, Source]) -> dict[str, Preprocessor]:
    """Return the preprocessor of each input that is present."""
    return {tensor.id: Preprocessor(tensor, sources[tensor.id], model) for tensor in _present(model, sources)}


class Stages:
    """The stages of a job, for :func:`run` and for the workers of a cluster, each of which computes some tiles."""

    def __init__(self, job: Job, record: Record) -> None:
        self.job, self.record = job, record
        self.preprocessors = preprocessors_of(job.model, job.sources)
        self.postprocessors = [
            Postprocessor(output, plan, job.plan.tile_shape, job.make_writer, job.scratch)
            for output, plan in zip(job.model.outputs, job.plan.outputs, strict=True)
        ]
        self.uncertainties = [
            Postprocessor(uncertainty_of(output), plan, job.plan.tile_shape, job.make_writer, job.scratch)
            for output, plan in zip(job.model.outputs if job.uncertainty else (), job.plan.outputs, strict=False)
        ]
        self._check_averages()
        self.batches = Batches(job.network, job.model, job.plan.batch)
        self.seams = Seams(job.plan) if job.compare_tiles else None

    def _check_averages(self) -> None:
        """Raise :class:`UsageError` for averages of an output whose steps need all of its tiles."""
        for postprocessor in self.postprocessors if len(self.job.copies) > 1 else ():
            if postprocessor.measures_output:
                raise UsageError(
                    f"--augment averages tile by tile, but a step of the output {postprocessor.output.id!r} needs the "
                    "whole output. Leave --augment out."
                )

    def compute(self, index: Index, statistics: Statistics, tiles: Iterable[Tile], done: Callable[[], None]) -> None:
        """Compute tiles of one sample and write them; call ``done`` after each tile.

        ``tiles`` must be all tiles of the sample if a postprocessing step needs the whole output.
        """
        sample = _Sample(self, index, statistics)
        written: deque[Future[None]] = deque()
        with thread_pool() as reader, thread_pool() as writer:
            for batch, arrays in _ahead(reader, sample.read, _batches(tiles, self.job.plan.batch)):
                blocks = sample.compute(batch, arrays)
                while written:
                    _next_result(written)
                _begin(written, writer, partial(sample.write, batch, blocks))
                for _ in batch:
                    done()
            while written:
                _next_result(written)
        sample.finish()


def _batches(tiles: Iterable[Tile], size: int) -> Iterator[Sequence[Tile]]:
    """Yield tiles in groups of ``size``. The last group may be smaller."""
    following = iter(tiles)
    while batch := tuple(islice(following, size)):
        yield batch


def _ahead(pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of ``work``. Each begins while the previous result is in use."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        _begin(begun, pool, partial(work, item))
        if len(begun) > 1:
            yield _next_result(begun)
    while begun:
        yield _next_result(begun)


def _begin(begun: deque[Future[Result]], pool: ThreadPoolExecutor, work: Callable[[], Result]) -> None:
    """Begin work in a thread. An interruption waits, because it could leave a lock of the pool taken forever."""
    with late_interruptions():
        begun.append(pool.submit(work))


def _next_result(begun: deque[Future[Result]]) -> Result:
    """Wait for the oldest work and return its result, or raise its error. An interruption waits, see above.

    The future is in no variable: the frames of its error would refer to it, and this cycle would hold the arrays of a
    tile without room in memory until the garbage collector runs.
    """
    with late_interruptions():
        return begun.popleft().result()


@dataclass(frozen=True)
class _Sample:
    """One sample: its tiles are read, computed and written in different threads."""

    stages: Stages
    index: Index
    statistics: Statistics

    def read(self, batch: Sequence[Tile]) -> tuple[Sequence[Tile], list[Inputs]]:
        """Return some tiles and their preprocessed inputs; ``None`` for an absent optional input."""
        preprocessors, inputs = self.stages.preprocessors, self.stages.job.model.inputs
        with self.stages.record.timed("reading and preprocessing"):
            return batch, [
                [
                    preprocessors[tensor.id].tile(self.index, tile.read[tensor.id], self.statistics)
                    if tensor.id in preprocessors
                    else None
                    for tensor in inputs
                ]
                for tile in batch
            ]

    def compute(self, batch: Sequence[Tile], tiles: Sequence[Inputs]) -> Sequence[Sequence[Array | Average]]:
        """Return the outputs for some tiles: of the network, or averages over the copies after postprocessing."""
        job, seams = self.stages.job, self.stages.seams
        blocks = self._computed(tiles)
        if seams is not None:
            seams.add(batch, blocks)
        if len(job.copies) == 1:
            return blocks
        averages = [[Average(deviation=job.uncertainty) for _ in job.model.outputs] for _ in tiles]
        self._average(batch, blocks, averages)
        for copy in job.copies[1:]:
            computed = self._computed([copy.of(inputs, job.model.inputs) for inputs in tiles])
            undone = [
                [copy.undone(block, output.letters) for block, output in zip(of_tile, job.model.outputs, strict=True)]
                for of_tile in computed
            ]
            self._average(batch, undone, averages)
        return averages

    def _average(
        self, batch: Sequence[Tile], computed: Sequence[Sequence[Array]], averages: Sequence[Sequence[Average]]
    ) -> None:
        """Add the outputs of one copy of some tiles to their averages."""
        with self.stages.record.timed("postprocessing and writing"):
            for tile, blocks, of_tile in zip(batch, computed, averages, strict=True):
                for postprocessor, block, average in zip(self.stages.postprocessors, blocks, of_tile, strict=True):
                    kept = tile.kept[postprocessor.output.id]
                    values = postprocessor.processed(kept, block, self.statistics)
                    check_values(postprocessor.output, values)
                    average.add(values)

    def _computed(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        """Return the network's outputs for some tiles, as many as the description names."""
        job, record = self.stages.job, self.stages.record
        with record.timed("network"):
            try:
                computed = self.stages.batches(tiles)
            except ModelError as error:
                raise ModelError(f"{error}{_absent(job)}") from error
        expected = len(job.model.outputs)
        for blocks in computed:
            if len(blocks) < expected:
                raise ModelError(
                    f"The network returned {counted(len(blocks), 'tensor')}, but its description promises {expected}. "
                    "The description and the weights do not belong together."
                )
            if len(blocks) > expected:
                record.note(f"The network returns {len(blocks)} tensors; its description names the first {expected}.")
            self._check_labels(blocks)
        return [blocks[:expected] for blocks in computed]

    def _check_labels(self, blocks: Sequence[Array]) -> None:
        """Raise :class:`ImageError` for labels in several tiles, unless the user chose the tiles: then add a remark."""
        plan = self.stages.job.plan
        for output, block in zip(self.stages.job.model.outputs, blocks, strict=False):
            if len(plan) == 1 or not numbers_objects(output, block.dtype):
                continue
            shape = "×".join(map(str, plan.tile_shape.values()))
            if not plan.asked:
                raise ImageError(
                    f"The output {output.id!r} has whole numbers, as label maps have, and the image does not fit "
                    f"into one tile ({len(plan)} tiles of {shape} would be needed). Labels of tiles cannot be put "
                    "together: objects would be cut, and numbers would occur twice. Give more memory with --memory, "
                    "crop the image, or, where the numbers are no labels, ask for tiles with --tile "
                    f"{shape.replace('×', 'x')}."
                )
            self.stages.record.note(
                f"The output {output.id!r} has whole numbers and is put together from tiles, as asked. If they are "
                "labels of objects, those that lie across the edge of a tile are cut, and numbers occur twice."
            )

    def write(self, batch: Sequence[Tile], computed: Sequence[Sequence[Array | Average]]) -> None:
        """Crop, postprocess and write every output of some tiles. Averages are postprocessed already."""
        with self.stages.record.timed("postprocessing and writing"):
            for tile, blocks in zip(batch, computed, strict=True):
                for postprocessor, block in zip(self.stages.postprocessors, blocks, strict=True):
                    kept = tile.kept[postprocessor.output.id]
                    if isinstance(block, Average):
                        postprocessor.add(self.index, kept, block.mean)
                        self._remark(postprocessor, block.mean)
                    else:
                        postprocessor.add(self.index, kept, postprocessor.processed(kept, block, self.statistics))
                        self._remark(postprocessor, block)
                for uncertainty, output, block in zip(
                    self.stages.uncertainties, self.stages.job.model.outputs, blocks, strict=False
                ):
                    assert isinstance(block, Average)
                    uncertainty.add(self.index, tile.kept[output.id], block.deviation)

    def _remark(self, postprocessor: Postprocessor, block: Array) -> None:
        """Add a remark on an output without entries, or with values that are not finite."""
        if not block.size:
            self.stages.record.note(
                f"The output {postprocessor.output.id!r} has no entries ({'×'.join(map(str, block.shape))}): the "
                "network found nothing in this image."
            )
        elif not _finite(block):
            self.stages.record.note(
                f"The output {postprocessor.output.id!r} holds values that are infinite or not numbers (NaN), as the "
                "network returned them. They are kept; such values in the image, or extreme ones, can lead to them."
            )

    def finish(self) -> None:
        """Apply the steps that need the whole sample."""
        with self.stages.record.timed("postprocessing and writing"):
            self.stages.record.measured.append(
                {
                    (postprocessor.output.id, step): found
                    for postprocessor in self.stages.postprocessors
                    for step, found in postprocessor.finish(self.index, self.statistics).items()
                }
            )


def _finite(block: Array) -> bool:
    """Return whether all values are finite numbers. Minimum and maximum are NaN if any value is."""
    return block.dtype.kind != "f" or bool(np.isfinite(block.min()) and np.isfinite(block.max()))


def _absent(job: Job) -> str:
    """Return a hint on optional inputs that are absent, for a network that failed without them."""
    absent = [tensor.id for tensor in job.model.inputs if tensor.id not in job.sources]
    if not absent:
        return ""
    return f" It also takes {', '.join(absent)}; give the inputs that it needs, for instance --input {absent[0]}=FILE."
