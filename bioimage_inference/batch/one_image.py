"""What is done for each image: predict, write the record, find objects, write the report, complete the record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..api import Model, Planned, Target, predict
from ..errors import ImageError
from ..inference.planning import close, prepare
from ..model.package import file_sha256
from ..options import Options
from ..provenance.record import RunPlan, RunRecord, from_json, to_json, write_record
from ..provenance.record_builder import run_plan
from ..provenance.record_parts import InputRecord, NamedOutput, ObjectsRecord, OutputRecord
from ..report.summary import plan_lines, result_lines, tiles_in_words
from .output_files import ImageFiles
from .progress import Display, TileProgress
from .resume import Earlier, Resuming, changed
from .sample_sheet import Sample

if TYPE_CHECKING:
    from ..cluster.cluster_run import Predictions
    from ..segmentation.segmenting import SegmentOptions


@dataclass(frozen=True)
class Task:
    """What is done with every image: ``others`` are files of further inputs by tensor.

    ``objects`` says how to find them, ``None`` where they are not wanted; ``resuming`` what counts as complete,
    ``None`` where everything is computed anew; ``cluster`` predicts them, ``None`` where this process does. Existing
    files are replaced as with ``overwrite`` of :func:`~bioimage_inference.api.predict`.
    """

    model: Model
    options: Options
    others: Mapping[str, Path]
    objects: "SegmentOptions | None" = None
    resuming: Resuming | None = None
    cluster: "Predictions | None" = None
    overwrite: bool = False

    def earlier(self, sample: Sample, files: ImageFiles) -> Earlier:
        """What an earlier run left of an image, if that counts."""
        return Earlier(None) if self.resuming is None else self.resuming.earlier(sample.image, files)


def dry_run(task: Task, sample: Sample, targets: Mapping[str, Target]) -> RunPlan:
    """What would be done with an image; nothing is computed or written."""
    sample.check()
    prepared = prepare(task.model.spec, sample.image, task.others, task.options)
    close(prepared)
    plan = run_plan(task.model.spec, prepared, task.options)
    named = ((one, targets[one.id]) for one in plan.outputs)
    outputs = (NamedOutput(**vars(one), tiff=to_json(target.tiff), npy=to_json(target.npy)) for one, target in named)
    return replace(plan, outputs=tuple(outputs))


def predict_into(
    task: Task, sample: Sample, targets: Mapping[str, Target], progress: TileProgress | None, planned: Planned
) -> RunRecord:
    """Write the outputs of an image; returns the record, which is not written.

    ``progress`` and ``planned`` are those of :func:`~bioimage_inference.api.predict`; a cluster does not call the
    second one.
    """
    sample.check()
    if task.cluster is not None:
        return task.cluster.record(targets, progress)
    prediction = predict(
        task.model,
        sample.image,
        inputs=task.others,
        targets=targets,
        overwrite=task.overwrite,
        progress=progress,
        planned=planned,
        options=task.options,
    )
    return prediction.provenance


def process(
    task: Task, sample: Sample, files: ImageFiles, earlier: Earlier, progress: TileProgress | None, planned: Planned
) -> tuple[RunRecord, bool]:
    """Do all that is to be done with an image; returns its record, and whether there was anything to do.

    ``progress`` and ``planned`` are those of :func:`predict_into`. Raises the errors of
    :mod:`bioimage_inference.errors`.
    """
    predicted = earlier.record or predict_into(task, sample, files.targets, progress, planned)
    return _complete(task, sample, files, predicted, earlier.record)


class Summary:
    """Says the record of an image in lines for people, each line as soon as it is known."""

    def __init__(self, say: Callable[..., None], display: Display) -> None:
        self._say, self._display = say, display
        self._tiles = ""

    @property
    def begun(self) -> bool:
        """Whether it was said what was understood of the image."""
        return bool(self._tiles)

    def planned(self, record: Mapping[str, Any]) -> None:
        """Say what was understood of model and image, before the network is loaded; later, which tiles replace these.

        It is what :func:`~bioimage_inference.api.predict` calls.
        """
        if not self.begun:
            self._display.wait("loading the network")
        self._say_plan(record)

    def completed(self, complete: RunRecord | RunPlan, files: ImageFiles | None = None) -> None:
        """Say what was not said yet, and where the record and the report are."""
        record = to_json(complete)
        self._say_plan(record)
        lines = [*result_lines(record)]
        if "objects" in record:
            from ..segmentation.segmenting import objects_lines

            lines += objects_lines(record["objects"])
        if files is not None:
            lines += [f"  report  {files.report}"] if files.report is not None else []
            lines += [f"  record  {files.record}"]
        self._say(*lines)

    def _say_plan(self, record: Mapping[str, Any]) -> None:
        tiles = tiles_in_words(record["plan"])
        if not self._tiles:
            self._say(*plan_lines(record))
        elif tiles != self._tiles:
            self._say(f"  tiles   changed to {tiles}")
        self._tiles = tiles


def _complete(
    task: Task, sample: Sample, files: ImageFiles, predicted: RunRecord, earlier: RunRecord | None
) -> tuple[RunRecord, bool]:
    """Do what comes after the prediction: objects, report, record, save what is there from an ``earlier`` run.

    ``predicted`` is the record of the prediction, ``earlier`` the same where an earlier run made it. Returns the whole
    record, and whether anything was to be done. Raises :class:`OutputError` where something cannot be written, and what
    the segmentation raises.
    """
    record = replace(predicted, sample=dict(sample.metadata)) if sample.metadata else predicted
    written = earlier
    if written is None:  # now, so that the prediction is not lost where something goes wrong from here on
        if files.report is not None and files.report.is_file():
            files.report.unlink()  # that of another run
        write_record(record, files.record)
        written = record
    if task.objects is not None and not (earlier and _has_objects(earlier, task.objects, files)):
        record = replace(record, objects=_find_objects(task.objects, sample, files, record))
    if record == earlier and (files.report is None or files.report.is_file()):
        return record, False
    if files.report is not None:
        from ..report.page import write_report

        write_report(record, files.report)
    if record != written:
        write_record(record, files.record)
    return record, True


def _has_objects(record: RunRecord, options: "SegmentOptions", files: ImageFiles) -> bool:
    """Whether the objects of a record were found in the same way, and their files are those that were written."""
    found = record.objects
    if found is None or found.asked != vars(options):
        return False
    return not any(
        reason for name, path in _object_files(files).items() for reason in changed(path, found.sha256.get(name))
    )


def _object_files(files: ImageFiles) -> dict[str, Path]:
    """The files of the objects by their keys in the record."""
    assert files.objects is not None
    return {name: path for name, path in vars(files.objects).items() if path is not None}


def _find_objects(options: "SegmentOptions", sample: Sample, files: ImageFiles, record: RunRecord) -> ObjectsRecord:
    from ..segmentation.segmenting import segment_file

    assert files.objects is not None
    prediction, output = next(iter(files.targets.values())).tiff, record.outputs[0]
    assert prediction is not None
    if output.tiff is None:
        raise ImageError(f"The output {output.id!r} has no entries, so that it has no maps to find objects in.")
    same_size = _size(record.inputs[0]) == _size(output)
    image = sample.image if same_size else None
    found = segment_file(prediction, files.objects, options, image, overwrite=True)  # checked before the prediction
    if not same_size:
        found["notes"] = [
            *found["notes"],
            "The prediction and the image differ in size, so the table has no intensities and the overlay shows the "
            "prediction.",
        ]
    hashes = {name: file_sha256(path) for name, path in _object_files(files).items()}
    return from_json(ObjectsRecord, {**found, "asked": vars(options), "sha256": hashes})


def _size(described: InputRecord | OutputRecord) -> tuple[int, ...]:
    """Pixels along y and x of an image or output of the record."""
    sizes = dict(zip(described.axes, described.shape, strict=True))
    return sizes.get("y", 1), sizes.get("x", 1)
