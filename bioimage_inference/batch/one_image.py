"""The steps for one image: predict, write the record, find objects, write the report, complete the record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..api import Model, Target
from ..errors import ImageError
from ..files.overwriting import REPLACED
from ..files.typed_path import ImagePath
from ..image.series import MAIN
from ..image.writers.output_formats import FORMATS
from ..inference.planning import close, prepare
from ..model.spec import FixedSize, TensorSpec
from ..options import Options
from ..predictor import PlanCallback, predict_image
from ..provenance.hashing import path_hash
from ..provenance.record import RunPlan, RunRecord, to_json, write_record
from ..provenance.record_builder import run_plan
from ..provenance.record_parts import InputRecord, NamedOutput, ObjectsRecord, OutputRecord
from ..report.describe_run import objects_lines, plan_lines, result_lines, tiles_in_words, work_lines
from ..terminal import Display, TileProgress
from .output_files import ImageFiles
from .resume import EarlierResults, change
from .sample_sheet import Sample

if TYPE_CHECKING:
    from ..cluster.cluster_run import Predictions
    from ..segmentation.segmenting import SegmentFiles, SegmentOptions


@dataclass(frozen=True)
class Task:
    """The task for every image.

    ``others`` are files of further inputs by tensor. ``objects`` is ``None`` without segmentation, ``earlier`` without
    ``--resume``, and ``cluster`` if this process predicts. Existing files are replaced: the caller has checked them.
    """

    model: Model
    options: Options
    others: Mapping[str, ImagePath]
    objects: "SegmentOptions | None" = None
    earlier: EarlierResults | None = None
    cluster: "Predictions | None" = None

    def find_earlier(self, sample: Sample, files: ImageFiles) -> tuple[RunRecord | None, str]:
        """Return the record of a complete prediction, or ``None`` and the reason to predict the image again."""
        return (None, "") if self.earlier is None else self.earlier.find(sample.image, files, self.options_of(sample))

    def options_of(self, sample: Sample) -> Options:
        """Return the options of the prediction of an image, with its own selection."""
        return replace(self.options, **vars(sample.selection))


def check_object_channels(options: "SegmentOptions", output: TensorSpec) -> None:
    """Raise :class:`UsageError` if an output of the model lacks the foreground or the boundary channel."""
    from ..segmentation.prediction_maps import Channels, choose_channels

    axis, owner = output.axis("c"), f"the model's output {output.id!r}"
    if axis is None:
        choose_channels(Channels(owner, 1, ()), options.foreground, options.boundary)
    elif isinstance(axis.size, FixedSize):
        channels = Channels(owner, axis.size.size, axis.channel_names)
        choose_channels(channels, options.foreground, options.boundary)


def dry_run(task: Task, sample: Sample, targets: Mapping[str, Target]) -> RunPlan:
    """Return the part of an image's record that is known before the prediction. Computes and writes nothing."""
    sample.check()
    options = task.options_of(sample)
    prepared = prepare(task.model.spec, sample.image, task.others, options)
    close(prepared)
    plan = run_plan(task.model.spec, prepared, options)
    named = (NamedOutput(**vars(output), **to_json(vars(targets[output.id]))) for output in plan.outputs)
    return replace(plan, outputs=tuple(named))


def process(
    task: Task,
    sample: Sample,
    files: ImageFiles,
    earlier: RunRecord | None,
    progress: TileProgress | None,
    planned: PlanCallback,
) -> tuple[RunRecord, bool]:
    """Do the steps for an image. The record of an ``earlier`` run replaces the prediction.

    ``progress`` and ``planned`` are those of :func:`~bioimage_inference.predictor.predict_image`. A cluster does not
    call ``planned``. Returns the complete record, and whether there was anything to do. Raises the errors of
    :mod:`bioimage_inference.errors`.
    """
    predicted = earlier or _predict(task, sample, files.targets, progress, planned)
    if files.record is None:
        return predicted, True
    record = replace(predicted, sample=dict(sample.metadata)) if sample.metadata else predicted
    written = earlier
    if written is None:  # written at once, so that an error in a later step does not waste the prediction
        if files.report is not None and files.report.is_file():
            files.report.unlink()  # the report of an earlier run
        write_record(record, files.record)
        written = record
    if task.objects is not None:
        assert files.objects is not None
        if earlier is None or not _has_objects(earlier, task.objects, files.objects):
            objects = _find_objects(task.objects, sample, files, files.objects, record)
            record = replace(record, objects=objects)
    if record == earlier and (files.report is None or files.report.is_file()):
        return record, False
    if files.report is not None:
        from ..report.page import write_report

        write_report(record, files.report)
    if record != written:
        write_record(record, files.record)
    return record, True


def _predict(
    task: Task, sample: Sample, targets: Mapping[str, Target], progress: TileProgress | None, planned: PlanCallback
) -> RunRecord:
    """Write the outputs of an image and return the record, which is not written."""
    sample.check()
    if task.cluster is not None:
        return task.cluster.record(targets, progress)
    prediction = predict_image(
        task.model,
        sample.image,
        task.options_of(sample),
        inputs=task.others,
        targets=targets,
        overwrite=True,
        progress=progress,
        planned=planned,
    )
    return prediction.provenance


def _has_objects(record: RunRecord, options: "SegmentOptions", files: "SegmentFiles") -> bool:
    """Return whether a record has objects found with these options, whose files are unchanged."""
    objects = record.objects
    if objects is None or objects.asked != vars(options):
        return False
    paths = {name: path for name, path in vars(files).items() if path is not None}
    return not any(reason for name, path in paths.items() for reason in change(path, objects.sha256.get(name)))


def _find_objects(
    options: "SegmentOptions", sample: Sample, files: ImageFiles, object_files: "SegmentFiles", record: RunRecord
) -> ObjectsRecord:
    """Return the entry ``objects`` of the record."""
    from ..segmentation.segmenting import OTHER_SIZE, segment_file

    output = record.outputs[0]
    written = next(iter(files.targets.values())).files
    # A .npy file lacks its axes, which then come from the record.
    prediction = written[min(written, key=lambda kind: FORMATS[kind].axes == "tensor")]
    if 0 in output.shape:
        raise ImageError(f"The output {output.id!r} has no entries, so there are no maps to find objects in.")
    same_size = _size(record.inputs[0]) == _size(output)
    image = sample.image if same_size else None
    selection = MAIN if image is None else sample.selection
    found = segment_file(prediction, object_files, options, image, selection=selection, overwrite=True)
    hashes = {name: path_hash(path).sha256 for name, path in vars(object_files).items() if path is not None}
    notes = [note for note in found.notes if note != REPLACED]  # the prediction has this note
    if not same_size:
        notes.append(OTHER_SIZE)
    return replace(found, notes=tuple(notes), asked=vars(options), sha256=hashes)


def _size(described: InputRecord | OutputRecord) -> tuple[int, ...]:
    """Return the number of pixels along y and x of an image or output of the record."""
    sizes = dict(zip(described.axes, described.shape, strict=True))
    return sizes.get("y", 1), sizes.get("x", 1)


class Summary:
    """Prints the record of an image, each line as soon as it is known; ``verbose`` adds how it was computed."""

    def __init__(self, say: Callable[..., None], display: Display, *, verbose: bool = False) -> None:
        self._say, self._display, self._verbose = say, display, verbose
        self._tiles = ""

    @property
    def begun(self) -> bool:
        """Whether the first lines, on model and image, are printed."""
        return bool(self._tiles)

    def planned(self, plan: RunPlan) -> None:
        """Print model, image and tiles before the network is loaded. Print the tiles again whenever they change.

        This is the parameter ``planned`` of :func:`~bioimage_inference.predictor.predict_image`.
        """
        if not self.begun:
            self._display.wait("loading the network")
        self._say_plan(plan)

    def completed(self, run: RunRecord | RunPlan, files: ImageFiles | None = None) -> None:
        """Print the remaining lines, among them the paths of record and report."""
        self._say_plan(run)
        lines = [*result_lines(run)]
        if self._verbose and isinstance(run, RunRecord):
            lines += work_lines(run)
        if isinstance(run, RunRecord) and run.objects is not None:
            lines += objects_lines(run.objects)
        if files is not None:
            named = {"report": files.report, "record": files.record, "values": files.key_values}
            lines += [f"  {name}  {path}" for name, path in named.items() if path is not None]
        self._say(*lines)

    def _say_plan(self, run: RunRecord | RunPlan) -> None:
        tiles = tiles_in_words(run.plan)
        if not self.begun:
            self._say(*plan_lines(run))
        elif tiles != self._tiles:
            self._say(f"  tiles   changed to {tiles}")
        self._tiles = tiles
