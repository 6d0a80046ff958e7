"""``bioimage-inference predict``: one model, one or more images."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..api import Model, Target, open_model
from ..batch.batch_run import Batch, check_images, rehearse, rehearse_single, run_batch, run_single
from ..batch.one_image import Summary, Task, dry_run, predict_into
from ..batch.output_files import TABLES, ImageFiles, Wanted, is_own, name_files, output_folder, own_tables
from ..batch.progress import Display, shown
from ..batch.resume import Resuming
from ..batch.sample_sheet import Sample, is_sheet, read_samples
from ..errors import UsageError
from ..files.overwriting import check_writable
from ..files.typed_path import input_path, user_path
from ..image.readers.reading import files_beside
from ..machine.sandbox import restricted, walls
from ..model.spec import FixedSize, TensorSpec
from ..options import Options
from ..provenance.record import RunPlan, RunRecord, to_json
from ..terminal import say, say_json

if TYPE_CHECKING:
    from ..segmentation.segmenting import SegmentOptions

Records = Sequence[RunRecord | RunPlan]


def predict_command(arguments: argparse.Namespace) -> int:
    """Predict every image; of several, a failed one does not stop the others; the exit code is that of the first."""
    _check_options(arguments)
    samples = read_samples(arguments.images)
    many = len(samples) > 1 or any(is_sheet(Path(name)) for name in arguments.images)
    records: Records
    with shown() as display:
        display.wait("reading the model")
        with open_model(
            arguments.model,
            description=arguments.description,
            model_axes=arguments.model_axes,
            model_size=arguments.model_size,
            offline=arguments.offline,
        ) as model:
            model.check_weights()
            task = _task(arguments, model)
            if _names_files(arguments):
                records, exit_code = [_predict_named(arguments, task, samples, display)], 0
            else:
                records, exit_code = _predict_into_folder(arguments, task, samples, many, display)
    if arguments.json:
        say_json(to_json(records if many else records[0]))
    return exit_code


def _names_files(arguments: argparse.Namespace) -> bool:
    return arguments.tiff is not None or arguments.npy is not None


def _check_options(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` where options for files and for folders get in each other's way."""
    if not _names_files(arguments):
        return
    if arguments.output is not None:
        raise UsageError("-o names a folder for all outputs, --tiff and --npy name files; give one or the other.")
    for name in ("resume", "report", "segment", "ro_crate", "dask"):
        if getattr(arguments, name):
            raise UsageError(
                f"--{name.replace('_', '-')} needs a folder for its files. Give -o DIR instead of --tiff and --npy."
            )


def _task(arguments: argparse.Namespace, model: Model) -> Task:
    options = Options(**{name: getattr(arguments, name) for name in vars(Options())})
    others = dict(_named_file(text) for text in arguments.input)
    resuming = Resuming(model, options, others) if arguments.resume else None
    objects = _segment_options(arguments, model.spec.outputs[0])
    return Task(model, options, others, objects, resuming, overwrite=arguments.overwrite)


def _segment_options(arguments: argparse.Namespace, output: TensorSpec) -> "SegmentOptions | None":
    """How to find objects. Raises :class:`UsageError` for channels that the output does not have."""
    if not arguments.segment:
        return None
    from ..segmentation.prediction_maps import Channels, choose_channels
    from .segment import segment_options

    options, axis = segment_options(arguments), output.axis("c")
    owner = f"the model's output {output.id!r}"
    if axis is None:
        choose_channels(Channels(owner, 1, ()), options.foreground, options.boundary)
    elif isinstance(axis.size, FixedSize):
        channels = Channels(owner, axis.size.size, axis.channel_names)
        choose_channels(channels, options.foreground, options.boundary)
    return options


def _predict_named(
    arguments: argparse.Namespace, task: Task, samples: Sequence[Sample], display: Display
) -> RunRecord | RunPlan:
    """Predict a single image into the files that --tiff and --npy name."""
    if len(samples) > 1:
        raise UsageError(f"--tiff and --npy are for a single image, but {len(samples)} are given. Use -o DIR.")
    (sample,) = samples
    ids = [output.id for output in task.model.spec.outputs]
    targets = {one: Target() for one in ids} | {ids[0]: Target(arguments.tiff, arguments.npy)}
    written = [*targets[ids[0]].files.values()]
    check_writable(written, _given(arguments, task, samples), overwrite=arguments.overwrite)
    summary = Summary(partial(_say, arguments), display)
    record: RunRecord | RunPlan
    if arguments.dry_run:
        record = dry_run(task, sample, targets)
    else:
        with _restricted(arguments, task, samples, [path.parent for path in written]):
            record = predict_into(task, sample, targets, display.image(sample.image.name), summary.planned)
    summary.completed(record)
    return record


def _predict_into_folder(
    arguments: argparse.Namespace, task: Task, samples: Sequence[Sample], many: bool, display: Display
) -> tuple[Records, int]:
    """Predict images into the folder of -o; returns their records and the exit code."""
    folder = arguments.output or Path()
    ids = [output.id for output in task.model.spec.outputs]
    files = name_files(samples, folder, Wanted(ids, arguments.report, task.objects is not None))
    tables = [folder / name for name in TABLES] if many else []
    given = _given(arguments, task, samples)
    written = [*tables, *_stores(arguments, files, many), *(path for one in files for path in one.all())]
    claimed = own_tables(folder)
    if arguments.resume and is_own(folder):  # a run that was killed can leave outputs of which there is no record yet
        claimed += [path for one in files for path in one.predicted()]
    if arguments.ro_crate is not None:
        from ..provenance.ro_crate import CRATE, check_names, is_own_crate, write_crate

        check_names([*given, *written])
        written.append(arguments.ro_crate / CRATE)
        claimed += [written[-1]] if is_own_crate(arguments.ro_crate) else []
    check_writable(written, given, overwrite=arguments.overwrite, claimed=claimed)
    keep_records = arguments.json or arguments.ro_crate is not None
    items = list(zip(samples, files, strict=True))
    task = replace(task, overwrite=True)  # what may be replaced was decided above, with the records as they were
    batch = Batch(task, items, folder, partial(_say, arguments), display, keep_records, arguments.debug)
    if arguments.dry_run:
        if not many:
            return [rehearse_single(batch)], 0
        result = rehearse(batch)
        return result.records, result.exit_code
    failed = check_images(batch) if many else {}
    made = [folder] if arguments.ro_crate is None else [folder, arguments.ro_crate]
    with (
        output_folder(folder),
        nullcontext() if arguments.ro_crate is None else output_folder(arguments.ro_crate, keep_empty=False),
        _shared_out(arguments, batch, failed, many) as batch,
        _restricted(arguments, task, samples, made),
    ):
        if many:
            result = run_batch(batch, failed)
            records, exit_code = result.records, result.exit_code
        else:
            records, exit_code = [run_single(batch)], 0
        if arguments.ro_crate is not None and records:
            write_crate([one for one in records if isinstance(one, RunRecord)], arguments.ro_crate)
    return records, exit_code


@contextmanager
def _restricted(
    arguments: argparse.Namespace, task: Task, samples: Sequence[Sample], write: Sequence[Path]
) -> Iterator[None]:
    """Leave the process the files that the run needs: images with their companions, the model, the outputs.

    With ``--dask`` this process loads no network, and walls stand around the processes that do.
    """
    if arguments.dask is not None:
        yield
        return
    images = _images(arguments, task, samples)
    beside = [one for path in images for one in files_beside(path)]
    with restricted([*task.model.opened.package.places, *images, *beside], write, not arguments.no_sandbox):
        if arguments.debug:
            say(f"sandbox: {walls().in_words()}", error=True)
        yield


def _given(arguments: argparse.Namespace, task: Task, samples: Sequence[Sample]) -> list[Path]:
    """All files that are read, as far as they are known before images are opened."""
    return [*task.model.opened.package.files, *_images(arguments, task, samples)]


def _images(arguments: argparse.Namespace, task: Task, samples: Sequence[Sample]) -> list[Path]:
    """The images, the sample sheets and the files of further inputs."""
    sheets = [path for path in map(user_path, arguments.images) if is_sheet(path)]
    return [*(one.image for one in samples), *sheets, *task.others.values()]


def _stores(arguments: argparse.Namespace, files: Sequence[ImageFiles], many: bool) -> list[Path]:
    """The OME-Zarr that a cluster writes for a single image."""
    if arguments.dask is None or many:
        return []
    from ..cluster.image_on_cluster import store_of

    return [store_of(target) for one in files for target in one.targets.values()]


@contextmanager
def _shared_out(arguments: argparse.Namespace, batch: Batch, failed: Collection[Path], many: bool) -> Iterator[Batch]:
    """The run with the cluster of --dask, which predicts all images that are neither complete already nor failed."""
    task = batch.task
    if arguments.dask is None:
        yield batch
        return
    if task.objects is not None and not many:
        raise UsageError(
            "--segment cannot be combined with --dask for a single image, which is written as OME-Zarr. Find its "
            "objects afterwards, with bioimage-inference segment."
        )
    if not many:
        ((sample, files),) = batch.items
        dry_run(task, sample, files.targets)  # an image that cannot be predicted needs no cluster
    readable = [(sample, files) for sample, files in batch.items if sample.image not in failed]
    missing = [(sample, files) for sample, files in readable if task.earlier(sample, files).record is None]
    from ..cluster.work import ImageJob

    jobs = [ImageJob(sample.image, task.others, files.targets) for sample, files in missing]
    if not jobs:
        yield batch
        return
    from ..cluster.cluster_run import Predictions

    with Predictions(
        arguments.dask,
        task.model,
        jobs,
        task.options,
        partial(say, error=True),
        tiles=not many,
        offline=arguments.offline,
        sandbox=not arguments.no_sandbox,
    ) as cluster:
        yield replace(batch, task=replace(task, cluster=cluster))


def _say(arguments: argparse.Namespace, *lines: str) -> None:
    """Print lines for people, unless the record is printed."""
    if not arguments.json:
        say(*lines)


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"--input {text!r} is not understood. Give ID=FILE, for instance --input mask=mask.tif.")
    return name, input_path(file)
