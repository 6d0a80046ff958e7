"""Predicts on a Dask cluster: each of several images is a task, or blocks of tiles of a single image are tasks."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..api import Model, Target
from ..errors import BioimageInferenceError
from ..files.typed_path import Address
from ..image.readers.reading import files_beside
from ..image.writers.output_formats import FORMATS
from ..image.writers.zarr_additions import written_folder
from ..inference.pipeline import Progress
from ..options import Options
from ..provenance.record import RunRecord, record_from_json, to_json
from ..provenance.record_parts import OutputRecord
from . import worker
from .connect import Cluster, connect
from .image_on_cluster import options_of_workers, predict_tiles
from .messages import unreadable_answer
from .tasks import as_ours, in_turn
from .work import ImageJob, ModelSource, Place

Outcome = tuple[int, RunRecord | BioimageInferenceError]


def predict_on_cluster(
    cluster: Cluster,
    model: Model,
    jobs: Sequence[ImageJob],
    options: Options,
    progress: Progress,
    *,
    tiles: bool,
    offline: bool = False,
    sandbox: bool = True,
) -> Generator[Outcome, None, None]:
    """Predict images on the workers of a cluster (see :func:`~bioimage_inference.cluster.connect.connect`).

    Yields the number of each image with its record, which is not written, or with its error, in the order in which the
    images end. Closing the generator ends the computation.

    Parameters
    ----------
    progress
        Called with the number of tiles that are done (``tiles``) or of images that are done.
    tiles
        Whether workers share each image in blocks of tiles, one image after the other. The targets are then OME-Zarr
        only. Otherwise one worker computes each
        image and writes it as without a cluster.
    sandbox
        Whether the network runs behind the walls of :mod:`~bioimage_inference.machine.sandbox`.
    """
    jobs = [_absolute(job) for job in jobs]
    place = _place(model, jobs, offline=offline, sandbox=sandbox, gpu=options.may_use_gpu)
    if not tiles:
        yield from _images(cluster, model, place, jobs, options, progress)
        return
    for number, job in enumerate(jobs):
        outcome: RunRecord | BioimageInferenceError
        try:
            outcome = predict_tiles(cluster, model, place, job, options, progress)
        except BioimageInferenceError as error:
            outcome = error
        yield number, outcome


class Predictions:
    """The records of images on a cluster, to be taken one by one in any order while the workers continue.

    A context manager: the beginning of ``with`` connects, and raises :class:`UsageError` if that fails. The end of
    ``with`` ends the computation. ``say`` receives lines for the user. The other parameters are those of
    :func:`~bioimage_inference.cluster.connect.connect` and :func:`predict_on_cluster`.
    """

    def __init__(
        self,
        address: str,
        model: Model,
        jobs: Sequence[ImageJob],
        options: Options,
        say: Callable[[str], None],
        *,
        tiles: bool,
        offline: bool = False,
        sandbox: bool = True,
    ) -> None:
        self._connection = connect(address, options.memory, options.threads, say)
        self._jobs, self._tiles = list(jobs), tiles
        self._found: dict[int, RunRecord | BioimageInferenceError] = {}
        self._show: Progress = _silent
        self._begin = partial(
            predict_on_cluster,
            model=model,
            jobs=jobs,
            options=options,
            tiles=tiles,
            offline=offline,
            sandbox=sandbox,
        )
        self._stack = ExitStack()

    def __enter__(self) -> "Predictions":
        cluster = self._stack.enter_context(self._connection)
        self._outcomes = self._stack.enter_context(closing(self._begin(cluster, progress=self._progress)))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def record(self, targets: Mapping[str, Target], progress: Progress | None) -> RunRecord:
        """Wait for the image with these targets and return its record. Raises the error of the image.

        ``progress`` is called with the number of tiles if workers share tiles.
        """
        number = next(number for number, job in enumerate(self._jobs) if job.targets == targets)
        self._show = progress if progress is not None and self._tiles else _silent
        while number not in self._found:
            done, outcome = next(self._outcomes)
            self._found[done] = outcome
        outcome = self._found.pop(number)
        if isinstance(outcome, BioimageInferenceError):
            raise outcome
        return outcome

    def _progress(self, done: int, total: int) -> None:
        self._show(done, total)


def _silent(done: int, total: int) -> None:
    """Show no progress, because the images show it."""
    del done, total


def _images(
    cluster: Cluster, model: Model, place: Place, jobs: Sequence[ImageJob], options: Options, progress: Progress
) -> Iterator[Outcome]:
    fixed = options_of_workers(options, cluster)
    shared = cluster.client.submit(worker.same, place, pure=False)
    todo = ((number, (worker.predict_whole, shared, job, job.options(fixed))) for number, job in enumerate(jobs))
    with closing(in_turn(cluster, todo)) as running:
        for done, (number, future) in enumerate(running, 1):
            try:
                with as_ours(cluster):
                    record = future.result()
                yield number, name_files(record, model, jobs[number])
            except BioimageInferenceError as error:
                yield number, error
            progress(done, len(jobs))


def name_files(content: Any, model: Model, job: ImageJob) -> RunRecord:
    """Return a worker's record with the names of files that the client knows.

    The client reads these files outside of any sandbox, so that it must not take names from a stranger's network.
    Raises :class:`~bioimage_inference.cluster.messages.UnreadableAnswerError` where the content is not a record.
    """
    try:
        record = record_from_json(content)
        return replace(
            record,
            model=replace(record.model, **vars(model.source)),
            inputs=tuple(replace(one, file=str(job.inputs.get(one.tensor, job.image))) for one in record.inputs),
            outputs=tuple(_with_names(one, job.targets[one.id]) for one in record.outputs),
            cluster=None,
            sample=None,
            objects=None,
        )
    except (LookupError, ValueError) as error:
        raise unreadable_answer() from error


def _with_names(output: OutputRecord, target: Target) -> OutputRecord:
    """Return an output with the files of its target, without those that the worker did not write."""
    written = [key for key in FORMATS if getattr(output, key) is not None]
    names: dict[str, Any] = dict.fromkeys(FORMATS) | {key: to_json(getattr(target, key)) for key in written}
    return replace(output, **names)


def _place(model: Model, jobs: Sequence[ImageJob], *, offline: bool, sandbox: bool, gpu: bool) -> Place:
    """Return the files that a computing process may read (images, companions) and the folders that it may write."""
    places = {place for job in jobs for place in job.places}
    images = {place for place in places if isinstance(place, Path)}
    addresses = tuple(sorted(place for place in places if isinstance(place, Address)))
    read = images | {beside for path in images for beside in files_beside(path)}
    write = {written_folder(path) for job in jobs for target in job.targets.values() for path in target.files.values()}
    return Place(_source_of(model, offline), tuple(sorted(read)), tuple(sorted(write)), sandbox, addresses, gpu)


def _source_of(model: Model, offline: bool) -> ModelSource:
    known = model.source
    return ModelSource(
        source=known.source,
        description=known.description_file,
        axes=known.model_axes,
        size=known.model_size,
        offline=offline,
        sha256=model.spec.sha256,
    )


def _absolute(job: ImageJob) -> ImageJob:
    """Return the job with absolute paths, because workers have another current folder."""

    return ImageJob(
        image=job.image.absolute(),
        inputs={name: path.absolute() for name, path in job.inputs.items()},
        targets={
            name: Target(**{key: path.absolute() for key, path in target.files.items()})
            for name, target in job.targets.items()
        },
        selection=job.selection,
    )
