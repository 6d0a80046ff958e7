"""Predicts one image on a cluster: each task computes a block of tiles and writes it into chunked OME-Zarr."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..api import Model, Target
from ..array_types import Index
from ..errors import UsageError
from ..files.typed_path import known_path
from ..image.writers.output_formats import FILE_FORMATS, ZARR
from ..image.writers.zarr_writer import PartialZarr, set_range, stored_bytes
from ..inference.pipeline import Progress, needs_whole_samples
from ..inference.planning import PreparedImages, close, prepare
from ..model.spec import ModelSpec
from ..options import Options
from ..provenance.hashing import InputHashes
from ..provenance.record import RunRecord, to_json
from ..provenance.record_builder import (
    ComputedRun,
    now,
    run_plan,
    step_records,
    with_files,
)
from ..provenance.record_parts import ClusterBytes, ClusterRecord, OutputRecord, SandboxRecord
from . import worker
from .connect import Cluster
from .tasks import as_ours, in_turn
from .tile_blocks import Blocks, make_blocks
from .work import ComputedBlock, ImageJob, MeasuredSamples, Place, Work


@dataclass
class _Answers:
    """What the tasks answered: statistics of all samples (``pooled``) and of each, and what blocks have in common."""

    pooled: MeasuredSamples | None = None
    own: dict[Index, MeasuredSamples] = field(default_factory=dict)
    first: ComputedBlock | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    measured: dict[Index, Mapping[tuple[str, int], Any]] = field(default_factory=dict)
    tiles: int = 0
    peak: int = 0
    cpu: float = 0.0
    bytes: dict[str, int] = field(default_factory=lambda: {"read": 0, "computed": 0})
    sandbox: dict[str, Any] = field(default_factory=dict)

    def add(self, index: Index, done: ComputedBlock) -> None:
        """Take the answer of a block of the sample at ``index``."""
        self.first = self.first or done
        self.add_seconds(done.seconds)
        self.notes += done.notes
        for name, (low, high) in done.ranges.items():
            before = self.ranges.get(name, (low, high))
            self.ranges[name] = min(before[0], low), max(before[1], high)
        self.measured[index] = done.measured
        self.tiles += done.tiles
        self.peak = max(self.peak, done.peak)
        self.cpu += done.cpu
        self.bytes["read"] += done.read
        self.bytes["computed"] += done.written
        for wall, stands in to_json(done.sandbox).items():  # the record counts the walls that stood around all workers
            self.sandbox[wall] = min(self.sandbox.get(wall, stands), stands)

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add to the seconds of all workers together."""
        for stage, value in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + value


def predict_tiles(
    cluster: Cluster, model: Model, place: Place, job: ImageJob, options: Options, progress: Progress
) -> RunRecord:
    """Compute an image on a cluster, write its outputs as OME-Zarr, and return the record, which is not written.

    Raises the errors of :mod:`bioimage_inference.errors`. No output has its final name then.
    """
    started, start, spec = now(), time.perf_counter(), model.spec
    options = job.options(options)
    fixed = options_of_workers(options, cluster)
    names = _store_names(job)
    with ExitStack() as stack:
        prepared = prepare(spec, job.image, job.inputs, fixed)
        stack.callback(close, prepared)
        blocks = _blocks(spec, prepared, job)
        places = {name: known_path(one.image.path) for name, one in prepared.matched.items()}
        hashes = stack.enter_context(
            InputHashes({name: place for name, place in places.items() if isinstance(place, Path)})
        )
        stores = {}
        for name, path in names.items():
            stores[name] = PartialZarr(path)
            stack.callback(stores[name].abort)
        folders = {name: store.folder for name, store in stores.items()}
        with as_ours(cluster):
            found = _compute(cluster, place, Work(uuid.uuid4().hex, job, fixed, folders), blocks, progress)
        computed = _computed(spec, replace(prepared, plan=blocks.plan), options, found, hashes)
        _commit(stores, found)
    outputs = _outputs(spec, names, found)
    stored = sum(stored_bytes(path) for path in names.values())
    used = ClusterRecord(
        address=cluster.address,
        workers=cluster.workers(),
        tasks=len(blocks),
        cpu_seconds=round(found.cpu, 3),
        bytes=ClusterBytes(**found.bytes, stored=stored),
    )
    return computed.complete(
        started=started,
        source=model.source,
        outputs=outputs,
        peak_bytes=found.peak,
        seconds={**found.seconds, "total": time.perf_counter() - start},
        notes=[*computed.planned.notes, *_pooled(found).notes, *found.notes],
        cluster=used,
    )


def _commit(stores: Mapping[str, PartialZarr], found: _Answers) -> None:
    """Give all stores their final names. All of them are complete."""
    for name, store in stores.items():
        if name in found.ranges:
            set_range(store.folder, *found.ranges[name])
    for store in stores.values():
        store.commit()


def _outputs(spec: ModelSpec, names: Mapping[str, Path], found: _Answers) -> list[OutputRecord]:
    """The outputs under their names, with their hashes."""
    assert found.first is not None
    start = time.perf_counter()
    outputs = with_files((found.first.outputs[output.id], {ZARR.key: names[output.id]}) for output in spec.outputs)
    found.add_seconds({"hashing": time.perf_counter() - start})
    return outputs


def options_of_workers(options: Options, cluster: Cluster) -> Options:
    """Return options with fixed memory and threads, so that all workers choose the same tiles."""
    return replace(options, memory=str(cluster.memory), threads=cluster.threads)


def _store_names(job: ImageJob) -> dict[str, Path]:
    """Return the OME-Zarr of each output. Raises :class:`UsageError` if the user named single files."""
    found = {}
    for name, target in job.targets.items():
        if target.files.keys() != FILE_FORMATS.keys():
            raise UsageError(
                f"On a cluster a single image is written as {ZARR.title}, not as "
                f"{' or '.join(form.title for form in FILE_FORMATS.values())}: with --dask, name the folder "
                "of the outputs with -o."
            )
        found[name] = store_of(target)
    return found


def store_of(target: Target) -> Path:
    """Return the OME-Zarr that replaces the files of an output."""
    assert target.tiff is not None
    return target.tiff.with_name(f"{target.tiff.stem}{ZARR.suffix}")


def _blocks(spec: ModelSpec, prepared: PreparedImages, job: ImageJob) -> Blocks:
    plan, samples = prepared.plan, prepared.leading.samples
    whole = needs_whole_samples(spec, plan)
    if whole and len(plan) > 1 and not samples:
        raise UsageError(
            f"A step of the model {spec.name} needs all of its output at once, so {job.image.name} cannot be shared "
            "out among workers. Predict it without --dask; several images at once are possible with it."
        )
    return make_blocks(plan, samples, whole)


def _compute(cluster: Cluster, place: Place, work: Work, blocks: Blocks, progress: Progress) -> _Answers:
    """Let the workers compute all blocks."""
    client, found = cluster.client, _Answers()
    indices = list(product(*map(range, blocks.samples)))
    pooled = client.submit(worker.measure, place, work, indices, True, pure=False)
    own: dict[Index, Any] = {}
    left = {index: len(blocks) // len(indices) for index in indices}

    def tasks() -> Iterator[tuple[Index, tuple[Any, ...]]]:
        for number, block in enumerate(blocks):
            if block.index not in own:
                own[block.index] = client.submit(worker.measure, place, work, [block.index], False, pure=False)
            yield block.index, (worker.compute, place, work, block, pooled, own[block.index], number == 0)

    with closing(in_turn(cluster, tasks())) as running:
        for index, future in running:
            found.add(index, future.result())
            left[index] -= 1
            if not left[index]:  # results of a future are kept by the cluster until nobody asks for it any more
                found.own[index] = own.pop(index).result()
            progress(found.tiles, len(blocks.plan) * len(indices))
    found.pooled = pooled.result()
    for one in (found.pooled, *found.own.values()):
        found.add_seconds(one.seconds)
        found.cpu += one.cpu
    return found


def _pooled(found: _Answers) -> MeasuredSamples:
    assert found.pooled is not None
    return found.pooled


def _computed(
    spec: ModelSpec, prepared: PreparedImages, options: Options, found: _Answers, hashes: InputHashes
) -> ComputedRun:
    """Return the part of the record that is known before the outputs have their names."""
    assert found.first is not None
    planned = run_plan(spec, prepared, options)
    planned = replace(planned, memory=replace(planned.memory, reason="what each worker may use"))
    start = time.perf_counter()
    hashed = hashes.results()
    found.add_seconds({"hashing": time.perf_counter() - start})
    indices = sorted(found.own)
    statistics = [{**_pooled(found).statistics, **found.own[index].statistics} for index in indices]
    measured = [found.measured[index] for index in indices]
    steps = step_records(spec, tuple(prepared.matched), statistics, measured)
    return ComputedRun(planned, found.first.network, steps, hashed, SandboxRecord(**found.sandbox))
