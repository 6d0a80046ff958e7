"""The run over many images: each gets its turn, whatever becomes of the others, and all of them a row in the tables."""

import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import in_our_words
from ..provenance.record import RunPlan, RunRecord, to_json
from ..terminal import say
from .index_page import write_index
from .objects_table import write_objects
from .one_image import Summary, Task, dry_run, process
from .outcome import Outcome, Status, facts_of
from .output_files import INDEX, OBJECTS, SUMMARY, ImageFiles
from .progress import Display
from .resume import Earlier
from .sample_sheet import Sample
from .summary_table import write_summary
from .thumbnails import thumbnails


@dataclass(frozen=True)
class Batch:
    """Images with their files in ``folder``, and what is done with each.

    ``say`` takes lines for the user, ``display`` shows the progress. With ``keep_records`` the records of all images
    are kept in memory and returned; with ``debug`` it is shown where errors come from.
    """

    task: Task
    items: Sequence[tuple[Sample, ImageFiles]]
    folder: Path
    say: Callable[..., None]
    display: Display
    keep_records: bool = False
    debug: bool = False


@dataclass
class Result:
    """What became of all images so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    records: list[RunRecord | RunPlan] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """That of the first image that failed, else 0."""
        return next((one.exit_code for one in self.outcomes if one.exit_code), 0)


def check_images(batch: Batch) -> dict[Path, Outcome]:
    """Say which images cannot be read or do not fit the model, before torch is imported.

    Returns what became of these, by their paths.
    """
    batch.display.wait(f"looking at {len(batch.items)} images")
    failed = {}
    for sample, files in batch.items:
        try:
            dry_run(batch.task, sample, files.targets)
        except Exception as error:  # the other images are predicted
            failed[sample.image] = _failed(batch, sample, files, error)
    return failed


def run_batch(batch: Batch, failed: Mapping[Path, Outcome]) -> Result:
    """Do what is to be done with every image, then write ``summary.csv`` and ``index.html`` into the folder.

    Images that ``failed`` before are only listed. An image that fails does not stop the others; a model that cannot be
    loaded stops the run. Interrupted, the tables are written of the images so far. Raises :class:`OutputError` where
    they cannot be, and what loading the model raises.
    """
    result = Result()
    try:
        for sample, files in batch.items:
            if sample.image in failed:
                result.outcomes.append(failed[sample.image])
            else:
                _turn(batch, sample, files, result)
    except KeyboardInterrupt as interruption:
        _write_tables(batch, result)
        raise KeyboardInterrupt(
            f"Interrupted after {len(result.outcomes)} of {len(batch.items)} images, which {batch.folder / SUMMARY} "
            "lists. The same command with --resume does the others."
        ) from interruption
    _write_tables(batch, result)
    _tell_failures(batch, result)
    return result


def run_single(batch: Batch) -> RunRecord:
    """Do what is to be done with the only image, without any tables; returns its record. Its errors are raised."""
    ((sample, files),) = batch.items
    record, _ = _process(batch, sample, files, Summary(batch.say, batch.display), done=0)
    return record


def _turn(batch: Batch, sample: Sample, files: ImageFiles, result: Result) -> None:
    """Do what is to be done with an image, and add what became of it to the result."""
    summary, task = Summary(batch.say, batch.display), batch.task
    try:
        record, changed = _process(batch, sample, files, summary, done=len(result.outcomes))
        pictures = thumbnails(to_json(record), sample.image)
    except BrokenPipeError:  # nobody reads our lines any more
        raise
    except Exception as error:  # told here, listed in the end and in the tables
        if summary.begun and task.cluster is None and not task.model.is_loaded(task.options):
            raise  # loading the network failed, which it would with every image
        result.outcomes.append(_failed(batch, sample, files, error))
        return
    status: Status = "done" if changed else "skipped"
    result.outcomes.append(Outcome(sample, files, status, facts=facts_of(record), pictures=pictures))
    if batch.keep_records:
        result.records.append(record)


def _process(batch: Batch, sample: Sample, files: ImageFiles, summary: Summary, done: int) -> tuple[RunRecord, bool]:
    """Do what is to be done with an image after ``done`` others, and say it.

    Returns its record, and whether anything was to be done.
    """
    name = sample.image.name
    progress = batch.display.image(name, done, len(batch.items))
    earlier = _earlier(batch, sample, files)
    record, changed = process(batch.task, sample, files, earlier, progress, summary.planned)
    if changed:
        summary.completed(record, files)
    else:
        batch.say(f"[{name}] is complete already: {files.record}")
    return record, changed


def _earlier(batch: Batch, sample: Sample, files: ImageFiles) -> Earlier:
    """What an earlier run left of an image; where that does not count, it is said why."""
    earlier = batch.task.earlier(sample, files)
    if earlier.reason:
        batch.say(f"[{sample.image.name}] is computed: {earlier.reason}")
    return earlier


def rehearse(batch: Batch) -> Result:
    """Say what would be done with every image; nothing is computed or written."""
    result = Result()
    for sample, files in batch.items:
        try:
            record = _rehearse(batch, sample, files)
        except Exception as error:
            result.outcomes.append(_failed(batch, sample, files, error))
            continue
        if batch.keep_records:
            result.records.append(record)
    _tell_failures(batch, result)
    return result


def rehearse_single(batch: Batch) -> RunPlan:
    """Say what would be done with the only image; returns the record so far. Its errors are raised."""
    ((sample, files),) = batch.items
    return _rehearse(batch, sample, files)


def _rehearse(batch: Batch, sample: Sample, files: ImageFiles) -> RunPlan:
    record = dry_run(batch.task, sample, files.targets)
    Summary(batch.say, batch.display).completed(record)
    return record


def _failed(batch: Batch, sample: Sample, files: ImageFiles, error: Exception) -> Outcome:
    """Tell that an image failed."""
    if batch.debug:
        say(*"".join(traceback.format_exception(error)).splitlines(), error=True)
    ours = in_our_words(error)
    say(f"[{sample.image.name}] {ours}", error=True)
    return Outcome(sample, files, "failed", ours.exit_code, str(ours))


def _write_tables(batch: Batch, result: Result) -> None:
    write_summary(result.outcomes, batch.folder / SUMMARY)
    write_index(result.outcomes, batch.task.model.spec.name, len(batch.items), batch.folder / INDEX)
    batch.say(f"summary   {batch.folder / SUMMARY}", f"          {batch.folder / INDEX}")
    if batch.task.objects is not None:
        write_objects(result.outcomes, batch.folder / OBJECTS)
        batch.say(f"          {batch.folder / OBJECTS}")


def _tell_failures(batch: Batch, result: Result) -> None:
    failed = [one for one in result.outcomes if one.status == "failed"]
    if failed:
        say(f"{len(failed)} image{'s' * (len(failed) > 1)} of {len(batch.items)} failed:", error=True)
    for one in failed:
        say(f"  {one.sample.name} (exit code {one.exit_code}): {textwrap.shorten(one.message, 120)}", error=True)
