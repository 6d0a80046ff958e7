"""The computing process of a Dask worker: it loads the network, measures samples and computes blocks of tiles.

The sandbox stands around this process, so it has no connection to the cluster. It reads tasks from standard input and
writes answers to a pipe (see :mod:`.process`). It keeps one model and one image open. A task may run again after a
worker was lost, and then writes the same chunks with the same values.
"""

import os
import pickle
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, NoReturn

from ..api import Model, open_model, predict
from ..array_types import Index
from ..errors import ModelError, UsageError
from ..files.scratch import leave_nothing, scratch_folder
from ..image.readers.reading import prepare_network
from ..image.writers.output_formats import ZARR
from ..image.writers.zarr_additions import version_at
from ..image.writers.zarr_writer import complete_store
from ..inference.calibration import over_tile_in_words, tile_dependence
from ..inference.pipeline import Job, Record, Stages, measure_samples, needs_whole_samples, preprocessors_of, remarks_of
from ..inference.planning import PreparedImages, close, prepare, sources_of
from ..inference.sample_reader import Source
from ..machine.memory import peak_memory
from ..machine.process_settings import set_up_process
from ..machine.sandbox import may_be_restricted, restricted
from ..model.spec import TensorSpec
from ..network.loading import LoadedNetwork
from ..options import Options
from ..provenance.record_builder import network_record, sandbox_record
from ..terminal import own_output
from ..tiling.plan import Tile
from .block_output import BlockOutput
from .messages import encoded, encoded_error, read_message, write_message
from .tile_blocks import Block, Blocks, make_blocks
from .work import ComputedBlock, ImageJob, MeasuredSamples, ModelSource, Place, Work


@dataclass(frozen=True)
class _OpenImage:
    """The image of a run, with the same tiles as the client planned."""

    work: str
    prepared: PreparedImages
    blocks: Blocks
    sources: Mapping[str, Source]


@dataclass
class _OpenModel:
    """The model and the image that stay open between tasks.

    ``over_tile`` holds notes by work on networks that depend on whole tiles.
    """

    model: Model
    image: _OpenImage | None = None
    over_tile: dict[str, tuple[str, ...]] = field(default_factory=dict)


def main() -> None:
    """Compute tasks from standard input until it ends, with answers to the pipe that is standard output at first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the client, and the client ends its tasks
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    requests = os.fdopen(os.dup(0), "rb")
    answers_pipe = os.dup(1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # the code of a network must not read the requests
    os.dup2(2, 1)  # what a network prints goes to the log of the worker
    set_up_process()
    may_be_restricted()
    with os.fdopen(answers_pipe, "wb") as answers, own_output():
        try:
            _serve(requests, answers)
        except (BrokenPipeError, EOFError):  # the worker is gone
            _leave()


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Open the model that the first message names, put up the walls, and compute the tasks of the other messages."""
    place: Place = pickle.loads(read_message(requests))  # the worker writes the requests
    with ExitStack() as stack:
        opened: list[_OpenModel] = []

        def start() -> None:
            model = stack.enter_context(_open_model(place.model))
            places = [*model.opened.package.places, *place.read]
            # a folder that only the client sees must not open the folders above it
            folders = [folder for folder in place.write if folder.is_dir()]
            prepare_network(place.addresses)
            network = bool(place.addresses)
            stack.enter_context(restricted(places, folders, place.sandbox, network=network, gpu=place.gpu))
            opened.append(_OpenModel(model))

        write_message(answers, _answer(start))
        if not opened:
            return
        waiting = _Requests(requests)  # Landlock restricts a thread only if the thread starts behind the walls
        while (request := waiting.next()) is not None:
            name, arguments = pickle.loads(request)
            answer = _answer(partial(_TASKS[name], opened[0], *arguments))
            waiting.pending = False
            write_message(answers, answer)


def _answer(task: Callable[[], Any]) -> bytes:
    """Return the result of a task, or its error, as a message."""
    try:
        return encoded(task())
    except BaseException as error:  # a network's own code can raise anything
        return encoded_error(error)


class _Requests:
    """The messages of the worker. The process ends when its worker ends, also in the middle of a task.

    ``pending`` is true from the arrival of a request until its task is done.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.pending = False
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        Thread(target=self._read, args=(stream,), daemon=True).start()

    def next(self) -> bytes | None:
        """Wait for the next request; ``None`` means that there are no more."""
        return self._queue.get()

    def _read(self, stream: BinaryIO) -> None:
        with suppress(EOFError):
            while True:
                message = read_message(stream)
                self.pending = True
                self._queue.put(message)
        if self.pending:
            _leave()
        self._queue.put(None)


def _leave() -> NoReturn:
    """End at once, and remove temporary files and unfinished outputs."""
    leave_nothing()
    os._exit(1)


def _measure(opened: _OpenModel, work: Work, indices: list[Index], pooled: bool) -> MeasuredSamples:
    image, record, cpu = _open_image(opened, work), Record(), time.process_time()
    with record.timed("statistics"):
        notes = remarks_of(opened.model.spec, image.sources, indices) if pooled else []
        statistics = measure_samples(preprocessors_of(opened.model.spec, image.sources), indices, pooled)
    return MeasuredSamples(statistics, tuple(notes), record.seconds, time.process_time() - cpu)


def _compute(
    opened: _OpenModel, work: Work, block: Block, pooled: MeasuredSamples, own: MeasuredSamples, create: bool
) -> ComputedBlock:
    with scratch_folder() as scratch:
        record = Record()
        with record.timed("opening"):
            image = _open_image(opened, work)
            loaded = opened.model.load(work.options)
        cpu = time.process_time()
        outputs: dict[str, BlockOutput] = {}

        def make_writer(output: TensorSpec, sizes: Mapping[str, int], dtype: Any) -> BlockOutput:
            made = outputs[output.id] = BlockOutput(output, sizes, dtype, image.prepared, image.blocks, block)
            if create:
                target = work.job.targets[output.id].files[ZARR.key]
                made.create(work.stores[output.id], target.name, version_at(target, work.options.zarr_version))
            made.open(work.stores[output.id])
            return made

        cut, tiles, folder = image.blocks, list(image.blocks.tiles(block)), scratch
        job = Job(loaded.spec, loaded.network, cut.plan, image.sources, cut.samples, make_writer, folder, _silent)
        Stages(job, record).compute(block.index, {**pooled.statistics, **own.statistics}, tiles, lambda: None)
        with record.timed("postprocessing and writing"):
            for output in outputs.values():
                output.finish()
        return ComputedBlock(
            tiles=len(tiles),
            seconds=record.seconds,
            notes=(*loaded.notes, *_over_tile(opened, work, image.prepared, loaded), *record.notes),
            network=network_record(loaded, work.options.precision),
            outputs={name: output.describe() for name, output in outputs.items()},
            measured=record.measured[0],
            peak=peak_memory(),
            cpu=time.process_time() - cpu,
            read=sum(_bytes_read(image.prepared, tile) for tile in tiles),
            written=sum(output.written for output in outputs.values()),
            sandbox=sandbox_record(),
        )


def _over_tile(opened: _OpenModel, work: Work, prepared: PreparedImages, loaded: LoadedNetwork) -> tuple[str, ...]:
    """Return a note if there are several tiles and the network depends on whole tiles."""
    if work.id not in opened.over_tile:
        remarks: tuple[str, ...] = ()
        if len(prepared.plan) > 1 and (found := tile_dependence(prepared, loaded)).operations:
            words = over_tile_in_words(found, prepared.plan)
            remarks = (f"{words} Without --dask it is computed as one tile where that fits into memory.",)
        opened.over_tile = {work.id: remarks}
    return opened.over_tile[work.id]


def _complete(_: _OpenModel, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    complete_store(folder)
    return {"seconds": time.perf_counter() - start}


def _predict_whole(opened: _OpenModel, job: ImageJob, options: Options) -> dict[str, Any]:
    _check_seen(job)
    found = predict(  # the client has seen that the files may be replaced
        opened.model, job.image, inputs=job.inputs, targets=job.targets, overwrite=True, options=options
    )
    return dict(found.record)


_TASKS: Mapping[str, Callable[..., Any]] = {
    "measure": _measure,
    "compute": _compute,
    "complete": _complete,
    "predict_whole": _predict_whole,
}


def _silent(done: int, total: int) -> None:
    """Show no progress, because the client shows it."""
    del done, total


def _open_image(opened: _OpenModel, work: Work) -> _OpenImage:
    """Return the image of a run, which is opened once per process."""
    if opened.image is None or opened.image.work != work.id:
        if opened.image is not None:
            close(opened.image.prepared)
            opened.image = None
        _check_seen(work.job)
        spec = opened.model.spec
        prepared = prepare(spec, work.job.image, work.job.inputs, work.options)
        samples = prepared.leading.samples
        blocks = make_blocks(prepared.plan, samples, needs_whole_samples(spec, prepared.plan))
        opened.image = _OpenImage(work.id, prepared, blocks, sources_of(spec, prepared))
    return opened.image


@contextmanager
def _open_model(source: ModelSource) -> Iterator[Model]:
    """Open the model. Raises :class:`ModelError` if the client has another model."""
    with open_model(
        source.source,
        description=source.description,
        model_axes=source.axes,
        model_size=source.size,
        offline=source.offline,
    ) as model:
        if model.spec.sha256 != source.sha256:
            raise ModelError(
                f"The worker on {socket.gethostname()} sees another model as {source.source} than you do. Give workers "
                "and yourself the same files."
            )
        yield model


def _check_seen(job: ImageJob) -> None:
    """Raise :class:`UsageError` for files that only the client sees."""
    for path in job.places:
        if isinstance(path, Path) and not path.exists():
            raise UsageError(
                f"The worker on {socket.gethostname()} sees no file {path}. Workers of a cluster read images and write "
                "results themselves: put both on a file system that all of them share."
            )


def _bytes_read(prepared: PreparedImages, tile: Tile) -> int:
    """Return the bytes of pixels that a tile reads from the images, its halo included."""
    total = 0
    for tensor, spans in tile.read.items():
        matched = prepared.matched[tensor]
        extents = dict(matched.sizes)
        for letter, (start, stop) in spans.items():
            extents[letter] = min(stop, matched.sizes[letter]) - max(start, 0)
        total += prod(extents.values()) * matched.image.dtype.itemsize
    return total


if __name__ == "__main__":
    main()
