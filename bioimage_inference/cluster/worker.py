"""What a worker of a Dask cluster does: load the network once, then measure samples and compute blocks of tiles.

The functions here are the tasks. A worker process keeps one model and one image open; a task may run again after a
worker was lost, and then writes the same chunks with the same values.
"""

import asyncio
import atexit
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from threading import Lock
from typing import Any

from .. import __version__
from ..api import Model, open_model, predict
from ..engine.calibration import over_tile_in_words, tile_dependence
from ..engine.loading import Loaded
from ..engine.prepare import Prepared, close, prepare, sources_of
from ..engine.run import Job, Record, Stages, measure_samples, needs_whole_samples, remarks_of
from ..engine.source import Index, Source
from ..errors import ModelError, UsageError
from ..memory import memory_budget, peak_memory
from ..model.spec import TensorSpec
from ..options import Options
from ..report.record import describe_network
from ..scratch import scratch_folder
from ..tiling.plan import Tile
from .block_output import BlockOutput
from .blocks import Block, Blocks, make_blocks
from .work import Computed, ImageJob, Measured, ModelSource, Work


@dataclass
class _Process:
    """What this process keeps open between tasks; ``lock`` has one of them compute at a time.

    ``over_tile`` are remarks by work: whether the network looks at whole tiles, which depends on network and image.
    """

    lock: Lock = field(default_factory=Lock)
    source: ModelSource | None = None
    model: Model | None = None
    model_files: ExitStack = field(default_factory=ExitStack)
    image: "_OpenImage | None" = None
    over_tile: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _OpenImage:
    """The image of a run: its tiles are planned as the client planned them."""

    work: str
    prepared: Prepared
    blocks: Blocks
    sources: Mapping[str, Source]


_process = _Process()
atexit.register(lambda: _process.model_files.close())


def identify(dask_worker: Any) -> tuple[str, int]:
    """The version of this program, and the bytes of memory that the worker may use."""
    limit, budget = dask_worker.memory_manager.memory_limit, memory_budget().size
    return __version__, min(limit, budget) if limit else budget


async def settle() -> None:
    """Return when no task of ours is computing or writing in this process any more."""
    await asyncio.to_thread(_wait)


def _wait() -> None:
    with _process.lock:
        pass


def measure(work: Work, indices: list[Index], pooled: bool) -> Measured:
    """Statistics of these samples: those that pool them, with what the user should know of their values, or others."""
    with _process.lock:
        model, image = _open(work)
        record, cpu = Record(), time.process_time()
        with record.timed("statistics"):
            notes = remarks_of(model.spec, image.sources, indices) if pooled else []
            statistics = measure_samples(model.spec, image.sources, indices, pooled)
        return Measured(statistics, tuple(notes), record.seconds, time.process_time() - cpu)


def compute(work: Work, block: Block, pooled: Measured, own: Measured, create: bool) -> Computed:
    """Compute a block and write it into the stores, which the first task creates.

    Raises the errors of :mod:`bioimage_inference.errors`, as a single process does.
    """
    with _process.lock, scratch_folder() as scratch:
        record = Record()
        with record.timed("opening"):
            model, image = _open(work)
            loaded = model.load(work.options)
        cpu = time.process_time()
        outputs: dict[str, BlockOutput] = {}

        def make_writer(output: TensorSpec, sizes: Mapping[str, int], dtype: Any) -> BlockOutput:
            opened = outputs[output.id] = BlockOutput(output, sizes, dtype, image.prepared, image.blocks, block)
            if create:
                opened.create(work.stores[output.id])
            opened.open(work.stores[output.id])
            return opened

        cut, tiles, folder = image.blocks, list(image.blocks.tiles(block)), scratch
        job = Job(loaded.spec, loaded.network, cut.plan, image.sources, cut.samples, make_writer, folder, _silent)
        Stages(job, record).compute(block.index, {**pooled.statistics, **own.statistics}, tiles, lambda: None)
        with record.timed("postprocessing and writing"):
            for output in outputs.values():
                output.finish()
        return Computed(
            tiles=len(tiles),
            seconds=record.seconds,
            notes=(*loaded.notes, *_over_tile(work, image.prepared, loaded), *record.notes),
            network=describe_network(loaded, work.options.precision),
            engine=loaded.engine.name,
            outputs={name: output.describe() for name, output in outputs.items()},
            ranges={name: output.range for name, output in outputs.items() if output.range is not None},
            measured=record.measured[0],
            peak=peak_memory(),
            cpu=time.process_time() - cpu,
            read=sum(_bytes_read(image.prepared, tile) for tile in tiles),
            written=sum(output.written for output in outputs.values()),
        )


def _over_tile(work: Work, prepared: Prepared, loaded: Loaded) -> tuple[str, ...]:
    """A remark where the network looks at whole tiles, and there are several."""
    if work.id not in _process.over_tile:
        remarks: tuple[str, ...] = ()
        if len(prepared.plan) > 1 and (found := tile_dependence(prepared, loaded)).operations:
            words = over_tile_in_words(found, prepared)
            remarks = (f"{words} Without --dask it is computed as one tile where that fits into memory.",)
        _process.over_tile = {work.id: remarks}
    return _process.over_tile[work.id]


def predict_whole(model: ModelSource, job: ImageJob, options: Options) -> dict[str, Any]:
    """Predict an image as a single process does; returns its record, which is not written."""
    with _process.lock:
        opened = _open_model(model)
        _check_seen(job)
        found = predict(  # the client has seen that the files may be replaced
            opened, job.image, inputs=job.inputs, targets=job.targets, overwrite=True, options=options
        )
        return dict(found.record)


def _silent(done: int, total: int) -> None:
    """The client shows progress."""
    del done, total


def _open(work: Work) -> tuple[Model, _OpenImage]:
    """The model and the image of a run, opened once per process."""
    model = _open_model(work.model)
    if _process.image is None or _process.image.work != work.id:
        if _process.image is not None:
            close(_process.image.prepared)
            _process.image = None
        _check_seen(work.job)
        prepared = prepare(model.spec, work.job.image, work.job.inputs, work.options)
        samples = prepared.leading.samples
        blocks = make_blocks(prepared.plan, samples, needs_whole_samples(model.spec, prepared.plan))
        _process.image = _OpenImage(work.id, prepared, blocks, sources_of(model.spec, prepared))
    return model, _process.image


def _open_model(source: ModelSource) -> Model:
    """The model, opened once per process. Raises :class:`ModelError` where it is another than the client's."""
    if _process.model is None or _process.source != source:
        _process.model_files.close()
        _process.source = _process.model = None
        opened = open_model(
            source.source,
            description=source.description,
            model_axes=source.axes,
            model_size=source.size,
            offline=source.offline,
        )
        _process.model = _process.model_files.enter_context(opened)
        if _process.model.spec.sha256 != source.sha256:
            raise ModelError(
                f"The worker on {socket.gethostname()} sees another model as {source.source} than you do. Give workers "
                "and yourself the same files."
            )
        _process.source = source
    return _process.model


def _check_seen(job: ImageJob) -> None:
    """Raises :class:`UsageError` for files that only the client sees."""
    for path in (job.image, *job.inputs.values()):
        if not path.exists():
            raise UsageError(
                f"The worker on {socket.gethostname()} sees no file {path}. Workers of a cluster read images and write "
                "results themselves: put both on a file system that all of them share."
            )


def _bytes_read(prepared: Prepared, tile: Tile) -> int:
    """Bytes of pixels that a tile takes from the images, its halo included."""
    total = 0
    for tensor, spans in tile.read.items():
        matched = prepared.matched[tensor]
        extents = dict(matched.sizes)
        for letter, (start, stop) in spans.items():
            extents[letter] = min(stop, matched.sizes[letter]) - max(start, 0)
        total += prod(extents.values()) * matched.image.dtype.itemsize
    return total
