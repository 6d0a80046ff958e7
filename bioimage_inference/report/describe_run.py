"""A run in plain words, from its provenance record: lines of text for the terminal, rows of tables for the report."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..image.axes import AXES
from ..image.writers.output_formats import FORMATS, OutputTexts
from ..model.spec import WEIGHTS_TITLES, Operation, TensorSpec
from ..provenance.record import RunPlan, RunRecord
from ..provenance.record_parts import (
    ExpectedCost,
    ObjectsRecord,
    OutputRecord,
    PlannedInput,
    PlannedOutput,
    PlanRecord,
    SeriesRecord,
    StepRecord,
)
from ..text import byte_size, capitalised, counted, times
from .describe_model import FEW_NAMES, operations_in_words

Run = RunPlan | RunRecord
Row = tuple[str, Sequence[str]]
"""A label, and lines of plain text."""

_AXES_FROM = {"file": "as the file names them", "user": "as given with --axes", "guess": "guessed from the model"}
_BORDERS = {
    "natural": "The network saw no halo beyond the image's border.",
    "mirror": "The network saw a halo of mirrored pixels beyond the image's border.",
}


# Lines for the terminal


def plan_lines(run: Run) -> Iterator[str]:
    """Yield images, model, inputs, memory, and in the last line the tiles."""
    for one in run.inputs:
        yield image_line(one)
        if one.series is not None:
            yield f"  series  {series_in_words(one.series)}"
    yield f"  model   {run.model.name}"
    for one in run.inputs:
        line = f"  input   {one.tensor}: axes {one.tensor_axes.upper()}"
        if one.iterated_axes:
            line += f", {counted(one.samples, 'sample')} along {one.iterated_axes.upper()}"
        yield line + (f", channels {_listed(one.channels)}" if one.channels is not None else "")
    yield f"  memory  {byte_size(run.memory.bytes)}, {run.memory.reason}"
    yield f"  tiles   {tiles_in_words(run.plan)}"


def image_line(one: PlannedInput) -> str:
    """Return an input of the record in giatools' words: ``[cells.tif] axes TYX (3,512,512) uint16, 0.1 µm/px``."""
    line = f"[{one.name}] axes {one.axes.upper()} ({_listed(one.shape)}) {one.dtype}"
    sizes = {axis: f"{size.value:.4g} {size.unit}" for axis, size in one.pixel_size.items()}
    if "x" in sizes and sizes.get("y") == sizes["x"]:
        line += f", {sizes.pop('x')}/px"
        del sizes["y"]
    return line + "".join(f", {axis} {sizes[axis]}" for axis in "xyzt" if axis in sizes)


def series_in_words(series: SeriesRecord) -> str:
    """Return which image of its file was read, for example ``1 'embryo', level 0 of 0 (512×512), 1 (256×256)``."""
    words = str(series.number) if series.well is None else f"well {series.well}, field {series.field}"
    if series.name is not None:
        words += f" {series.name!r}"
    if series.levels is not None:
        levels = (f"{number} ({times(shape)})" for number, shape in enumerate(series.levels))
        words += f", level {series.level} of {', '.join(levels)}"
    return words


def tiles_in_words(plan: PlanRecord) -> str:
    """Return number, size, halo and padding of the tiles of a plan, for example ``4 of 512×512 (y x), halo 32``."""
    words = f"{plan.tiles} of {times(plan.tile.values())} ({' '.join(plan.tile)})"
    if plan.batch is not None and plan.batch > 1:
        words += f", up to {plan.batch} at once"
    if len(set(plan.halo.values())) == 1:
        words += "".join(f", halo {size}" for size in set(plan.halo.values()))
    elif plan.halo:
        words += f", halo {', '.join(f'{axis} {size}' for axis, size in plan.halo.items())}"
    if plan.padding:
        added = (f"{axis} {before}+{after}" for axis, (before, after) in plan.padding.items())
        words += f", padded by {', '.join(added)}"
    return words + (", border mirrored" if plan.border == "mirror" else "")


def result_lines(run: Run) -> Iterator[str]:
    """Yield weights, device, outputs with their files, times and notes."""
    if isinstance(run, RunRecord):
        yield f"  weights {', '.join(filter(None, (run.weights.format, run.weights.reason)))}"
        yield f"  device  {run.device.reason}"
        if run.engine.name != "torch" or run.device.precision != "float32":
            yield f"  engine  {run.engine.name} in {run.device.precision}: {run.engine.reason}"
    for output in run.outputs:
        yield from _output_lines(output)
    if isinstance(run, RunRecord):
        stages = (f"{stage} {value:.2f}" for stage, value in run.seconds.items() if stage != "total")
        yield f"  time    {run.seconds['total']:.2f} s ({', '.join(stages)})"
    elif run.expected is not None:
        yield from cost_lines(run.expected)
    for note in run.notes:
        yield f"  note    {note}"


def _output_lines(output: PlannedOutput | OutputRecord) -> Iterator[str]:
    """Yield an output, and a line for each of its files."""
    shape = _listed("?" if size is None else size for size in output.shape)
    line = f"  output  {output.id}: {output.axes.upper()} ({shape}) {output.dtype or ''}"
    names = output.channel_names if isinstance(output, OutputRecord) else ()
    if names:
        line += f", channels {', '.join(names)}" if len(names) <= FEW_NAMES else f", {len(names)} channels"
    yield line.rstrip()
    if isinstance(output, OutputTexts):
        yield from (f"          {getattr(output, kind)}" for kind in FORMATS if getattr(output, kind))


def objects_lines(objects: ObjectsRecord) -> Iterator[str]:
    """Yield number and size of the objects, how they were found, their files, and notes."""
    size = objects.median_size
    line = f"  objects {objects.count}"
    if objects.samples is not None and objects.samples > 1:
        line += f" in {objects.samples} samples"
    if size is not None and size.px is not None:
        solid = _are_solid(objects)
        line += f", median {'volume' if solid else 'area'} {size.px:g} px"
        line += f" ({size.um:.4g} µm{'³' if solid else '²'})" if size.um is not None else ""
    yield line
    maps = f"foreground {objects.foreground}"
    if objects.boundary != "none":
        maps += f" - boundary {objects.boundary}"
    yield f"  seeds   {maps} > {objects.threshold:g}, objects of {_limits(objects)}"
    for kind, path, _ in objects.files():
        yield f"  {kind.partition('_')[0]:<7} {path}"
    for note in objects.notes:
        yield f"  note    {note}"


def _are_solid(objects: ObjectsRecord) -> bool:
    """Return whether the objects are volumes, not areas."""
    return "z" in (objects.spatial or "")


def _limits(objects: ObjectsRecord) -> str:
    """Return sizes and further conditions of objects."""
    words = f"at least {objects.min_size} px"
    if objects.max_size is not None:
        words += f" and at most {objects.max_size} px"
    if objects.stitch is not None:
        words += f", planes joined from IoU {objects.stitch:g}"
    return words + (", holes filled" if objects.fill_holes else "")


def cost_lines(cost: ExpectedCost) -> Iterator[str]:
    """Yield what a run will probably take: computed pixels, memory, disk, time."""
    yield f"  compute {counted(cost.computed_pixels, 'pixel')}, with the halo of all tiles"
    yield f"  peak    about {byte_size(cost.memory_bytes)} of memory"
    free = cost.free_bytes
    line = f"  disk    about {byte_size(cost.disk_bytes)} in {cost.folder}"
    if free is not None:
        line += f", which has {byte_size(free)} free"
        line += "" if free > cost.disk_bytes else ": TOO LITTLE. Free some space, or choose another disk with -o"
    yield line
    if cost.seconds is None:
        yield f"  time    unknown {cost.seconds_from}"
    else:
        yield f"  time    about {duration_in_words(cost.seconds)}, {cost.seconds_from}"


def duration_in_words(seconds: float) -> str:
    """Return a rough duration, for example ``3 s``, ``12 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def work_lines(run: RunRecord) -> Iterator[str]:
    """Yield what was done with the images and how it was computed, as in the report: for ``--verbose``."""
    for label, texts in work_rows(run):
        yield f"  {label}"
        yield from (f"          {text}" for text in texts)


# Rows and sentences for the report


def work_rows(run: RunRecord) -> list[Row]:
    """Return images, processing and computation: what was done, with which values."""
    return [*_image_rows(run), *_processing_rows(run), *_computing_rows(run)]


def file_rows(run: RunRecord) -> Iterator[Row]:
    """Yield the files with their SHA-256."""
    for one in run.inputs:
        size = f" ({byte_size(one.bytes)})" if one.bytes else ""
        yield f"Image ({one.tensor})", [f"{one.file or 'an array in memory'}{size}", *_hash(one.sha256)]
    for output in run.outputs:
        yield f"Output ({output.id})", [_array(output), *_files(output)]
    if run.objects is not None and any(run.objects.files()):
        yield "Objects", _files(run.objects)
    yield "Model", [run.model.source, *_hash(run.model.sha256)]
    yield "Weights", [run.weights.file, *_hash(run.weights.sha256)]


def time_rows(run: RunRecord) -> list[Row]:
    """Return the seconds of each stage, the sum last."""
    return plain_rows({capitalised(stage): f"{value:.2f} s" for stage, value in run.seconds.items()})


def plain_rows(values: Mapping[str, str]) -> list[Row]:
    """Return a row for each entry."""
    return [(label, [value]) for label, value in values.items()]


def objects_in_words(objects: ObjectsRecord) -> str:
    """Return how the segmentation found objects, and their median size where it is known."""
    minus = "" if objects.boundary == "none" else f" minus the boundary (channel {objects.boundary})"
    words = (
        f"Objects grow from where the foreground (channel {objects.foreground}){minus} is above "
        f"{objects.threshold} to where the foreground falls to 0.5. They have at least "
        f"{counted(objects.min_size, 'pixel')}."
    )
    median = objects.median_size
    if median is not None and median.px is not None:
        power = "³" if _are_solid(objects) else "²"
        extent = f" ({median.um:.4g} µm{power})" if median.um is not None else ""
        words += f" Their median size is {median.px:,g} pixels{extent}."
    return words


def start_time(run: RunRecord) -> str:
    """Return when the run began, for instance ``21 November 2026, 14:03 UTC``."""
    began = datetime.fromisoformat(run.started)
    return f"{began.day} {began:%B %Y, %H:%M} UTC"


def field_of_view(one: PlannedInput) -> str:
    """Return pixels along x, y and z, the extent where the pixel size is known, and the lengths of series."""
    extents = dict(zip(one.axes, one.shape, strict=True))
    if "x" not in extents or "y" not in extents:
        return ""
    space = "xyz" if extents.get("z", 1) > 1 else "xy"
    words = [f"{' × '.join(str(extents[letter]) for letter in space)} pixels"]
    sizes = one.pixel_size
    if all(letter in sizes for letter in space) and len({sizes[letter].unit for letter in space}) == 1:
        field = (f"{extents[letter] * sizes[letter].value:.4g}" for letter in space)
        words.append(f"{' × '.join(field)} {sizes['x'].unit}")
    words += [f"{extents[letter]} {AXES[letter].entry}s" for letter in "tpc" if extents.get(letter, 1) > 1]
    return ", ".join(words)


def along(sizes: Mapping[str, int]) -> str:
    """Return a number for each axis, for example ``4 along y, 5 along x``."""
    return ", ".join(f"{size} along {letter}" for letter, size in sizes.items())


def grid_in_words(plan: PlanRecord) -> str:
    """Return how many tiles lie along each axis that is cut."""
    return along({letter: count for letter, count in plan.grid.items() if count > 1})


def _image_rows(run: RunRecord) -> Iterator[Row]:
    """Yield each image and how it filled the model's input."""
    for one in run.inputs:
        source = _AXES_FROM.get(one.axes_from, one.axes_from)
        lines = [f"{one.name}: {_array(one)}, {source}"]
        if one.pixel_size:
            sizes = (f"{axis} {size.value:.4g} {size.unit}" for axis, size in one.pixel_size.items())
            lines.append(f"Pixel size {', '.join(sizes)}")
        if one.series is not None:
            lines.append(f"Image of the file: {series_in_words(one.series)}")
        lines.append(f"Axes of the model's input {one.tensor_axes.upper()}")
        if one.iterated_axes:
            lines.append(
                f"{counted(one.samples, 'sample')} along {one.iterated_axes.upper()}, each predicted on its own"
            )
        if one.channels is not None:
            lines.append(f"Channels {', '.join(map(str, one.channels))} were given to the model")
        yield f"Image ({one.tensor})", lines


def _processing_rows(run: RunRecord) -> Iterator[Row]:
    """Yield pre- and postprocessing of each tensor, with the values that were used."""
    steps = run.processing
    inputs = [one.tensor for one in run.inputs]
    for tensor in dict.fromkeys(step.tensor for step in steps):
        when = "Before the network" if tensor in inputs else "After the network"
        yield f"{when} ({tensor})", [_step(step) for step in steps if step.tensor == tensor]


def _computing_rows(run: RunRecord) -> Iterator[Row]:
    """Yield tiles, weights, engine, device, memory and options."""
    yield "Tiles", list(_tiles(run.plan))
    weights, engine, device, memory = run.weights, run.engine, run.device, run.memory
    reason = f" ({weights.reason})" if weights.reason else ""
    yield "Weights", [f"{WEIGHTS_TITLES.get(weights.format, weights.format)}, {weights.file}{reason}"]
    yield "Engine", [f"{engine.name}: {engine.reason}"]
    yield (
        "Device",
        [f"{device.reason}; {device.precision}, {counted(device.threads, 'thread')}", device.processor],
    )
    budget = f"The budget was {byte_size(memory.bytes)}, {memory.reason}"
    yield "Memory", [f"Peak memory {byte_size(memory.peak_bytes)}", budget]
    if run.options:
        yield "Options", [f"{name} {value}" for name, value in run.options.items()]


def _step(step: StepRecord) -> str:
    """Return a step of the processing in words, with its arguments and the statistics that it used."""
    operation = Operation(step.step, step.arguments)
    words = operations_in_words(TensorSpec(step.tensor, axes=(), operations=(operation,)))
    text = capitalised(words[0]) if words else f"Numbers as {step.arguments.get('dtype')}"
    arguments = "".join(f", {name} {value}" for name, value in step.arguments.items() if value is not None)
    values = "; ".join(f"{one.statistic} {_values(one.values)}" for one in step.statistics)
    return f"{text} [{step.step}{arguments}]" + (f": {values}" if values else "")


def _values(samples: Sequence[Sequence[float | None]]) -> str:
    """Return the values of a statistic, one per sample and channel, or their range where there are more than four."""
    values = [value for sample in samples for value in sample]
    known = [value for value in values if value is not None]
    if not known:
        return "not a number"
    if len(values) <= 4:
        return ", ".join("not a number" if value is None else f"{value:.6g}" for value in values)
    return f"{min(known):.6g} to {max(known):.6g} ({len(values)} values)"


def _tiles(plan: PlanRecord) -> Iterator[str]:
    size = f"{times(plan.tile.values())} pixels ({' '.join(plan.tile)})"
    if plan.tiles == 1:
        yield f"One tile of {size}"
    else:
        yield f"{plan.tiles} tiles of {size}: {grid_in_words(plan)}"
        halo = along(plan.halo)
        yield f"Halo in pixels {halo}; it is computed with each tile, then cropped" if halo else "No halo"
    if plan.padding:
        added = (f"{letter} {before} before and {after} after" for letter, (before, after) in plan.padding.items())
        yield f"Padding in pixels, which is cropped again: {', '.join(added)}"
    yield _BORDERS.get(plan.border, plan.border)
    computed = f"{plan.computed_per_pixel:.3g}"
    yield f"{computed} pixel{'s' * (computed != '1')} computed for each pixel of the image"


def _array(one: PlannedInput | OutputRecord) -> str:
    return f"axes {one.axes.upper()} ({times(one.shape)}), {one.dtype}"


def _files(one: OutputRecord | ObjectsRecord) -> list[str]:
    """Return the files, each followed by its SHA-256."""
    return [line for _, path, sha256 in one.files() for line in (str(path), *_hash(sha256))]


def _hash(sha256: str | None) -> list[str]:
    return [f"SHA-256 {sha256}"] if sha256 else []


def _listed(values: Any) -> str:
    return ",".join(map(str, values))
