"""The loop over all images of a run: an image that fails does not stop the others, and tables list all of them."""

import textwrap
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import in_our_words
from ..image.writers.output_formats import OutputPaths
from ..provenance.key_values import write_key_values
from ..provenance.record import RunPlan, RunRecord
from ..terminal import Display, say
from ..text import counted
from .expected_cost import Rehearsal
from .index_page import write_index
from .one_image import Summary, Task, dry_run, process
from .output_files import INDEX, OBJECTS, SUMMARY, ImageFiles
from .output_name import OutputName
from .sample_sheet import Sample
from .tables import Outcome, Status, facts_of, write_objects, write_summary
from .thumbnails import MOST_PICTURED, thumbnails


@dataclass(frozen=True, kw_only=True)
class RunOptions(OutputPaths):
    """Options of a run as a whole, with the names of the command line.

    The files of :class:`OutputPaths` exclude ``output``. ``format`` are the keys of formats, ``None`` for the usual.
    ``single`` refuses several images.
    """

    single: bool
    output: Path | None
    output_name: OutputName | None
    format: tuple[str, ...] | None
    add_labels: str | None
    add_prediction: str | None
    rois: bool
    report: bool
    overwrite: bool
    resume: bool
    ro_crate: Path | None
    key_values: Path | None
    json: bool
    dask: str | None
    no_sandbox: bool
    dry_run: bool
    offline: bool
    verbose: bool
    debug: bool

    @property
    def names_files(self) -> bool:
        """Whether options such as ``tiff`` name the files of the outputs."""
        return bool(self.files)

    @property
    def folder(self) -> Path:
        """The folder for all outputs, by default the current folder."""
        return self.output or Path()


@dataclass(frozen=True)
class Batch:
    """Images with their output files, and the task for each.

    ``tables`` is the folder for the tables. It is ``None`` for a single image, which has no tables and whose errors end
    the run.
    """

    task: Task
    items: Sequence[tuple[Sample, ImageFiles]]
    options: RunOptions
    display: Display
    tables: Path | None

    def say(self, *lines: str) -> None:
        """Print lines for the user, unless the output is JSON."""
        if not self.options.json:
            say(*lines)

    def keep(self, record: RunRecord | RunPlan, result: "Result") -> None:
        """Keep a record in memory if the run needs all records at its end."""
        if self.options.json or self.options.ro_crate is not None:
            result.records.append(record)


@dataclass
class Result:
    """The results of all images so far. A run without tables has no outcomes."""

    outcomes: list[Outcome] = field(default_factory=list)
    records: list[RunRecord | RunPlan] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The exit code of the first failed image, else 0."""
        return next((outcome.exit_code for outcome in self.outcomes if outcome.exit_code), 0)


def check_images(batch: Batch) -> Result:
    """Report images that cannot be read or do not fit the model, before torch is imported.

    With ``--dry-run``, print the plan of every other image, and what it costs. Returns the outcomes of wrong images
    only.
    """
    result, rehearsal = Result(), Rehearsal(batch.task, batch.options.folder, cluster=batch.options.dask is not None)
    if not batch.options.dry_run:
        batch.display.wait(f"looking at {counted(len(batch.items), 'image')}")
    for sample, files in batch.items:
        try:
            record = dry_run(batch.task, sample, files.targets)
            if batch.options.dry_run:
                _rehearse(batch, rehearsal, sample, files, record, result)
        except Exception as error:
            result.outcomes.append(_failure(batch, sample, files, error))
    if batch.options.dry_run:
        batch.say(*rehearsal.lines())
        _say_failures(batch, result)
    return result


def _rehearse(
    batch: Batch, rehearsal: Rehearsal, sample: Sample, files: ImageFiles, plan: RunPlan, result: "Result"
) -> None:
    """Print the plan of an image with its cost, or that its results are complete already."""
    if batch.task.find_earlier(sample, files)[0] is not None:
        batch.say(f"[{sample.title}] is complete already: {files.record}")
    else:
        plan = rehearsal.with_cost(plan, files)
        Summary(batch.say, batch.display, verbose=batch.options.verbose).completed(plan)
    batch.keep(plan, result)


def process_images(batch: Batch, wrong: Mapping[Any, Outcome]) -> Result:
    """Do the task for every image, then write the tables. ``wrong`` images, by their keys, only get a row there.

    An error of one image does not stop the others. An error while the network is loaded stops the run. After an
    interruption, the tables list the images so far. Raises :class:`OutputError` if a table cannot be written.
    """
    result = Result()
    try:
        for sample, files in batch.items:
            if sample.key in wrong:
                result.outcomes.append(wrong[sample.key])
            else:
                _turn(batch, sample, files, result)
    except KeyboardInterrupt as interruption:
        if batch.tables is None:
            raise
        _write_tables(batch, batch.tables, result)
        raise KeyboardInterrupt(
            f"Interrupted after {len(result.outcomes)} of {len(batch.items)} images, which {batch.tables / SUMMARY} "
            "lists. The same command with --resume does the others."
        ) from interruption
    if batch.tables is not None:
        _write_tables(batch, batch.tables, result)
        _say_failures(batch, result)
    return result


def _turn(batch: Batch, sample: Sample, files: ImageFiles, result: Result) -> None:
    """Do the task for an image, print its summary, and add its outcome to the result."""
    summary = Summary(batch.say, batch.display, verbose=batch.options.verbose)
    task, name = batch.task, sample.title
    progress = batch.display.image(name, len(result.outcomes), len(batch.items))
    try:
        earlier, reason = task.find_earlier(sample, files)
        if reason:
            batch.say(f"[{name}] has no complete result: {reason}")
        record, changed = process(task, sample, files, earlier, progress, summary.planned)
        if files.key_values is not None:
            write_key_values(record, files.key_values)
        if changed:
            summary.completed(record, files)
        else:
            batch.say(f"[{name}] is complete already: {files.record}")
        pictured = batch.tables is not None and len(result.outcomes) < MOST_PICTURED
        pictures = thumbnails(record, sample.image) if pictured else ()
    except Exception as error:
        if summary.begun and task.cluster is None and not task.model.is_loaded(task.options):
            raise  # the network cannot be loaded, so all other images would fail as well
        result.outcomes.append(_failure(batch, sample, files, error))
        return
    if batch.tables is not None:
        status: Status = "done" if changed else "skipped"
        result.outcomes.append(Outcome(sample, files, status, facts=facts_of(record), pictures=pictures))
    batch.keep(record, result)


def _failure(batch: Batch, sample: Sample, files: ImageFiles, error: Exception) -> Outcome:
    """Print the error of an image and return its outcome. Raise an error that ends the run."""
    if batch.tables is None or isinstance(error, BrokenPipeError):  # no table can list it; nobody reads the output
        raise error
    if batch.options.debug:
        say(*"".join(traceback.format_exception(error)).splitlines(), error=True)
    explained = in_our_words(error)
    say(f"[{sample.title}] {explained}", error=True)
    return Outcome(sample, files, "failed", explained.exit_code, str(explained))


def _write_tables(batch: Batch, folder: Path, result: Result) -> None:
    write_summary(result.outcomes, folder / SUMMARY)
    write_index(result.outcomes, batch.task.model.spec.name, len(batch.items), folder / INDEX)
    batch.say(f"summary   {folder / SUMMARY}", f"          {folder / INDEX}")
    if batch.task.objects is not None:
        write_objects(result.outcomes, folder / OBJECTS)
        batch.say(f"          {folder / OBJECTS}")
    if total := _total(result):
        batch.say(total)


def _total(result: Result) -> str:
    """Return what the run yields in all, e.g. ``84 objects in 3 images``. Failed images do not count."""
    complete = [outcome for outcome in result.outcomes if outcome.status != "failed"]
    if not complete:
        return ""
    images = counted(len(complete), "image")
    objects = [outcome.facts.objects for outcome in complete]
    found = [count for count in objects if count is not None]
    return f"{counted(sum(found), 'object')} in {images}" if found else f"predicted {images}"


def _say_failures(batch: Batch, result: Result) -> None:
    failed = [outcome for outcome in result.outcomes if outcome.status == "failed"]
    if failed:
        say(f"{counted(len(failed), 'image')} of {len(batch.items)} failed:", error=True)
    for outcome in failed:
        message = textwrap.shorten(outcome.message, 120)
        say(f"  {outcome.sample.name} (exit code {outcome.exit_code}): {message}", error=True)
