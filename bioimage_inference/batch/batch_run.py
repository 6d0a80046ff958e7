"""A run of ``predict``: check its files, put up the sandbox, connect a cluster, predict all images, write a crate."""

from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..api import Target
from ..errors import UsageError
from ..files.overwriting import check_writable
from ..files.typed_path import Address, ImagePath, check_online
from ..image.readers.reading import files_beside, prepare_network
from ..image.writers.output_formats import ZARR
from ..image.writers.zarr_additions import check_new_labels, written_folder
from ..inference.augmentation import with_uncertainty
from ..inference.planning import selection_of
from ..machine.sandbox import missing_on_this_system, restricted, walls
from ..options import USUAL_FORMATS
from ..provenance.record import RunRecord
from ..terminal import Display, is_quiet, say
from .all_images import Batch, Result, RunOptions, check_images, process_images
from .one_image import Task, dry_run
from .output_files import TABLES, ImageFiles, has_own_results, name_files, output_folder, own_tables
from .sample_sheet import Sample
from .series_samples import selected_samples


def predict_images(
    task: Task, samples: Sequence[Sample], sheets: Sequence[Path], options: RunOptions, display: Display
) -> Result:
    """Predict images, which ``sheets`` may have listed. Raises the errors of :mod:`bioimage_inference.errors`."""
    samples = selected_samples(samples, selection_of(task.options), offline=options.offline)
    _check_single(samples, options)
    for place in task.others.values():
        check_online(place, offline=options.offline)
    tables = options.folder if (len(samples) > 1 or sheets) and not options.names_files else None
    shares_tiles = options.dask is not None and tables is None
    files = _output_files(task, samples, options, shares_tiles=shares_tiles)
    if task.earlier is not None:
        task = replace(task, options=task.earlier.with_recorded_weights(task.options, files))
    if options.key_values is not None:
        files = [replace(one, key_values=options.key_values) for one in files]  # a single image
    given: list[ImagePath] = [*(sample.image for sample in samples), *sheets, *task.others.values()]
    images = [place for place in given if isinstance(place, Path)]
    addresses = [place for place in given if isinstance(place, Address)]
    _check_files(task, files, images, options, has_tables=tables is not None)
    batch = Batch(task, list(zip(samples, files, strict=True)), options, display, tables)
    checked = check_images(batch) if tables is not None or options.dry_run else Result()
    if options.dry_run:
        return checked
    wrong = {outcome.sample.key: outcome for outcome in checked.outcomes}
    with ExitStack() as stack:
        folders = [path.parent for path in (*options.files.values(), options.key_values) if path is not None]
        if not options.names_files:
            folders.append(stack.enter_context(output_folder(options.folder)))
        folders += [written_folder(path) for one in files for path in _additions(one, options)]
        if options.ro_crate is not None:
            folders.append(stack.enter_context(output_folder(options.ro_crate, keep_empty=False)))
        if options.dask is None:
            stack.enter_context(_sandbox(task, images, addresses, folders, options))
        else:  # this process loads no network; the processes of the cluster have their own sandboxes
            batch = stack.enter_context(_on_cluster(batch, wrong))
        result = process_images(batch, wrong)
        if options.ro_crate is not None and result.records:
            from ..provenance.ro_crate import write_crate

            write_crate([one for one in result.records if isinstance(one, RunRecord)], options.ro_crate)
    return result


def _check_single(samples: Sequence[Sample], options: RunOptions) -> None:
    """Raise :class:`UsageError` if there are several images beside an option that is for a single one."""
    named = ["single"] if options.single else [*options.files]
    named += ["key-values"] if options.key_values is not None else []
    if len(samples) == 1 or not named:
        return
    found, advice = f"{len(samples)} are given", "Predict them one by one, or leave the option out."
    first = samples[0].given
    if first is not None and all(sample.given == first for sample in samples):
        found = f"{first.name} holds {len(samples)}"
        advice = "Choose one with --series, or with --well and --field."
    if options.files:
        advice += " Give -o DIR in place of names of files for all images."
    are = "is" if len(named) == 1 else "are"
    raise UsageError(f"{' and '.join(f'--{name}' for name in named)} {are} for a single image, but {found}. {advice}")


def _output_files(
    task: Task, samples: Sequence[Sample], options: RunOptions, *, shares_tiles: bool
) -> list[ImageFiles]:
    """Return the output files of every image. Raises :class:`UsageError`.

    ``shares_tiles``: the workers of a cluster share the tiles of a single image.
    """
    ids = [output.id for output in with_uncertainty(task.model.spec, task.options).outputs]
    if not options.names_files:
        formats = options.format or ((ZARR.key,) if shares_tiles else USUAL_FORMATS)
        if shares_tiles and formats != (ZARR.key,):
            raise UsageError(
                f"On a cluster a single image is written as {ZARR.title} only, because workers write its parts at the "
                f"same time. Give --format {ZARR.key} with --dask, or leave --format out."
            )
        return name_files(
            samples,
            options.folder,
            ids,
            formats,
            report=options.report,
            objects=task.objects is not None,
            added_labels=options.add_labels,
            added_prediction=options.add_prediction,
            rois=options.rois,
            pattern=options.output_name,
            model=task.model.spec.id or task.model.spec.name,
        )
    if task.options.uncertainty:
        raise UsageError("--uncertainty adds an output, whose file goes into the folder of -o. Give -o DIR instead.")
    return [ImageFiles(dict.fromkeys(ids, Target()) | {ids[0]: Target(**options.files)})]


def _check_files(
    task: Task, files: Sequence[ImageFiles], images: Sequence[Path], options: RunOptions, has_tables: bool
) -> None:
    """Raise :class:`UsageError` if the run would overwrite an input, another output, or a file that is no result."""
    folder = options.folder
    read = [*task.model.opened.package.files, *images]
    written = [folder / name for name in TABLES] if has_tables else []
    written += [path for one in files for path in one.all()]
    claimed = own_tables(folder) if not options.names_files else []
    if options.resume and has_own_results(folder):  # a killed run can leave outputs without a record
        claimed += [path for one in files for path in (*one.tensors(), one.record, one.key_values) if path is not None]
    if options.ro_crate is not None:
        from ..provenance.ro_crate import CRATE, check_names, is_own_crate

        check_names([*read, *written])
        written.append(options.ro_crate / CRATE)
        claimed += [written[-1]] if is_own_crate(options.ro_crate) else []
    check_writable(written, read, overwrite=options.overwrite, claimed=claimed)
    for one in files if options.add_labels is not None and not options.resume else ():
        if one.objects is not None and one.objects.zarr is not None:
            check_new_labels(one.objects.zarr)


def _additions(files: ImageFiles, options: RunOptions) -> Iterator[Path]:
    """Yield what is added to the OME-Zarr of an image."""
    if options.add_prediction is not None:
        yield from (target.zarr for target in files.targets.values() if target.zarr is not None)
    if options.add_labels is not None and files.objects is not None and files.objects.zarr is not None:
        yield files.objects.zarr


@contextmanager
def _sandbox(
    task: Task, images: Sequence[Path], addresses: Sequence[Address], folders: Sequence[Path], options: RunOptions
) -> Iterator[None]:
    """Restrict the process to the files of the run: images with their companions, the model, the output folders.

    The process may use the network only for images at addresses.
    """
    prepare_network(addresses)
    read = [*task.model.opened.package.places, *images, *(one for path in images for one in files_beside(path))]
    walled, gpu = not options.no_sandbox, task.options.may_use_gpu
    with restricted(read, folders, walled, network=bool(addresses), gpu=gpu):
        if options.debug or options.verbose:
            say(f"sandbox: {walls().in_words()}", error=True)
        elif (missing := missing_on_this_system()) and not options.no_sandbox and not is_quiet():
            say(missing, error=True)
        yield


@contextmanager
def _on_cluster(batch: Batch, wrong: Container[Any]) -> Iterator[Batch]:
    """Connect the cluster of ``--dask``, which predicts all images that are neither complete nor ``wrong``."""
    from ..cluster.cluster_run import Predictions
    from ..cluster.work import ImageJob

    task, options, single = batch.task, batch.options, batch.tables is None
    if single:
        if task.objects is not None:
            raise UsageError(
                "--segment cannot be combined with --dask for a single image, which is written as OME-Zarr. Find its "
                "objects afterwards, with bioimage-inference segment."
            )
        if task.options.rescale:
            raise UsageError(
                "--rescale cannot be combined with --dask for a single image, because a prediction is brought back to "
                "the pixels of the image as a whole. Predict the image without --dask."
            )
        if task.options.augment != "none":
            raise UsageError(
                "--augment cannot be combined with --dask for a single image. Predict the image without --dask, or "
                "several images with it."
            )
        ((sample, files),) = batch.items
        dry_run(task, sample, files.targets)  # reports a wrong image before the cluster is connected
    jobs = [
        ImageJob(sample.image, task.others, files.targets, sample.selection)
        for sample, files in batch.items
        if sample.key not in wrong and task.find_earlier(sample, files)[0] is None
    ]
    if not jobs:
        yield batch
        return
    with Predictions(
        options.dask or "",
        task.model,
        jobs,
        task.options,
        partial(say, error=True),
        tiles=single,
        offline=options.offline,
        sandbox=not options.no_sandbox,
    ) as cluster:
        yield replace(batch, task=replace(task, cluster=cluster))
