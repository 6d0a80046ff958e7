"""Segments a prediction into objects, and writes a label map, a table and an overlay picture."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..files.overwriting import REPLACED, check_writable
from ..files.scratch import scratch_folder
from ..files.typed_path import ImagePath
from ..image.image import PixelSize
from ..image.series import MAIN, Selection
from .intensity import Intensities, open_intensities
from .label_blocks import OVERLAP, Grid, LabelFile, cut
from .measuring import Meter, NumberedObjects, concatenate, number_objects
from .object_files import PredictionObjects, write_files
from .prediction_maps import Maps, Samples, open_maps
from .watershed import find_seeds, grow_seeds

# Smallest object in pixels, by the number of spatial dimensions. --object-min-size overrides it.
MIN_SIZE = {2: 10, 3: 50}


@dataclass(frozen=True)
class SegmentFiles:
    """The files to write, at least one of them. None leaves a file out.

    Tabs separate the columns of a ``table`` whose name ends in .tsv, .tab or .tabular, commas those of other tables.
    """

    labels: Path | None = None
    table: Path | None = None
    overlay: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """The paths of the files to write. Raises ValueError if there is none."""
        files = [path for path in (self.labels, self.table, self.overlay) if path is not None]
        if not files:
            raise ValueError("no file is named for the objects")
        return files


@dataclass(frozen=True)
class SegmentOptions:
    """How to find objects.

    Attributes
    ----------
    foreground, boundary
        Channel names or numbers, from 0. ``boundary`` may be ``none``.
    threshold
        Seeds lie where foreground - boundary exceeds it.
    min_size
        Smallest object in pixels, by default 10 in 2-D and 50 in 3-D.
    axes, image_axes
        Axes of the prediction and of the image. They override the metadata of the files.
    image_channel
        Channel of the image that the overlay picture shows, as a number from 0 or a name.
    """

    foreground: str = "0"
    boundary: str = "1"
    threshold: float = 0.6
    min_size: int | None = None
    axes: str | None = None
    image_axes: str | None = None
    image_channel: int | str = 0


def segment_file(
    prediction: Path,
    files: SegmentFiles,
    options: SegmentOptions,
    image: ImagePath | None = None,
    *,
    selection: Selection = MAIN,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Find the objects of a prediction and write ``files``. Each sample (time, position, …) is segmented separately.

    Parameters
    ----------
    image
        The image that was predicted, for mean intensities and the overlay picture.
    selection
        Which image of that file it is.
    overwrite
        Whether to replace files that no record beside them names as earlier results.

    Returns
    -------
    The entry ``objects`` of the record: ``labels``, ``table``, ``overlay`` (paths as text, or None), ``count``,
    ``foreground``, ``boundary``, ``threshold``, ``min_size``; of the prediction ``axes``, ``shape``, ``spatial`` (axes
    of a sample) and ``samples`` (their number); ``median_size`` (``{px, um}``: pixels, and µm² or µm³, None if unknown)
    and ``notes``. Labels continue from one sample to the next.

    Raises
    ------
    UsageError, ImageError, OutputError
    """
    given = [prediction, image] if isinstance(image, Path) else [prediction]
    replaced = check_writable(files.paths, given, overwrite=overwrite)
    with ExitStack() as stack:
        maps = open_maps(prediction, options.foreground, options.boundary, options.axes)
        stack.callback(maps.samples.image.close)
        light = (
            None if image is None else stack.enter_context(_opened(image, options.image_axes, selection, maps.samples))
        )
        scratch = stack.enter_context(scratch_folder(beside=files.paths[0]))
        samples = maps.samples
        axes, shape = samples.axes + samples.spatial, (*samples.counts, *samples.shape)
        regions = stack.enter_context(LabelFile(scratch / "regions.npy", axes, shape))
        grid = cut(samples.shape, OVERLAP[len(samples.spatial)])
        min_size = MIN_SIZE[len(samples.spatial)] if options.min_size is None else options.min_size
        numbered = _find(maps, light, grid, options.threshold, min_size, scratch, regions)
        shown = 0 if light is None else light.channel_number(options.image_channel)
        objects = PredictionObjects(maps, light, regions, numbered, _pixel_sizes(samples, light), shown)
        write_files(files.labels, files.table, files.overlay, objects)
        entry = _entry(prediction, files, options, objects, grid, min_size)
    entry["notes"] += [REPLACED] if replaced else []
    return entry


def _entry(
    prediction: Path,
    files: SegmentFiles,
    options: SegmentOptions,
    found: PredictionObjects,
    grid: Grid,
    min_size: int,
) -> dict[str, Any]:
    """Return the entry of the record."""
    samples = found.maps.samples
    return {
        "labels": _text(files.labels),
        "table": _text(files.table),
        "overlay": _text(files.overlay),
        "count": len(found.numbered.objects),
        "foreground": options.foreground,
        "boundary": options.boundary,
        "threshold": options.threshold,
        "min_size": min_size,
        "prediction": str(prediction),
        "axes": samples.image.axes,
        "shape": list(samples.image.shape),
        "spatial": samples.spatial,
        "samples": samples.total,
        "median_size": _median_size(found),
        "notes": list(_notes(found, grid, min_size)),
    }


def _find(
    maps: Maps,
    light: Intensities | None,
    grid: Grid,
    threshold: float,
    min_size: int,
    scratch: Path,
    regions: LabelFile,
) -> NumberedObjects:
    """Write the grown regions of all samples to ``regions``, and return those that are objects."""
    parts, total = [], 0
    channels = 0 if light is None else light.samples.channels
    for place, index in enumerate(maps.samples.indices()):
        with LabelFile(scratch / "seeds.npy", maps.samples.spatial, maps.samples.shape) as file:
            seeds = find_seeds(maps, index, grid, threshold, file)
            meter = Meter(place, seeds.count, grid.shape, channels)
            for region, labels in grow_seeds(maps, index, grid, seeds):
                meter.add(region, labels, [] if light is None else light.read(index, region))
                labels[labels > 0] += np.uint32(total)
                sample = tuple(slice(at, at + 1) for at in index)
                regions.write((*sample, *region), labels.reshape((1,) * len(index) + labels.shape))
        parts.append(meter.result())
        total += seeds.count
    return number_objects(concatenate(parts), min_size)


@contextmanager
def _opened(image: ImagePath, axes: str | None, selection: Selection, prediction: Samples) -> Iterator[Intensities]:
    light = open_intensities(image, axes, selection, prediction)
    with closing(light.samples.image):
        yield light


def _pixel_sizes(samples: Samples, light: Intensities | None) -> Mapping[str, PixelSize]:
    """Return the pixel sizes of the prediction, or of the image if the prediction has none."""
    if samples.image.pixel_size or light is None:
        return samples.image.pixel_size
    return light.samples.image.pixel_size


def _median_size(found: PredictionObjects) -> dict[str, float | None]:
    """Return the median size of the objects in pixels, and in µm² or µm³."""
    objects, scale = found.numbered.objects, found.columns.micrometres
    if not len(objects):
        return {"px": None, "um": None}
    median = float(np.median(objects.size))
    return {"px": median, "um": None if scale is None else float(f"{median * prod(scale):.6g}")}


def _notes(found: PredictionObjects, grid: Grid, min_size: int) -> Iterator[str]:
    """Yield what the user should know about the result."""
    maps, objects = found.maps, found.numbered.objects
    name, small = maps.samples.image.name, found.numbered.small
    yield from maps.notes
    if not maps.seen.probable:
        yield (
            f"{name} has values from {maps.seen.low:.4g} to {maps.seen.high:.4g}, which are no probabilities (0 to 1). "
            "--object-threshold applies to the values as they are, and objects end where the foreground is 0.5."
        )
    if not len(objects):
        yield "No object was found: nowhere does foreground - boundary exceed the threshold in a region large enough."
    if small:
        left_out = "1 region has" if small == 1 else f"{small} regions have"
        yield f"{left_out} fewer than {min_size} pixels, too few for an object (--object-min-size)."
    if found.columns.micrometres is None:
        yield "The pixel size is unknown, so the table has no columns in µm."
    if found.light is not None and found.pixel_size and not maps.samples.image.pixel_size:
        yield f"The prediction has no pixel size. The pixel size is from {found.light.samples.image.name}."
    unknown = int(np.count_nonzero(~np.isfinite(objects.intensity).all(axis=1)))
    if found.light is not None and unknown:
        yield (
            f"{found.light.samples.image.name} holds NaN or infinite values, so {unknown} "
            f"{'object has' if unknown == 1 else 'objects have'} no mean intensity."
        )
    extents = (objects.high - objects.low).max(axis=1, initial=0)
    large = int(np.count_nonzero(extents > grid.overlap))
    if len(grid) > 1 and large:
        yield (
            f"The prediction was segmented in {len(grid)} blocks that overlap by {grid.overlap} pixels. {large} "
            f"{'object is' if large == 1 else 'objects are'} longer than the overlap, so their outlines may differ "
            "from a segmentation in one piece."
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def objects_lines(objects: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the summary for the entry ``objects`` of a record."""
    size = objects["median_size"]
    line = f"  objects {objects['count']}"
    if objects["samples"] > 1:
        line += f" in {objects['samples']} samples"
    if size["px"] is not None:
        solid = "z" in objects["spatial"]
        line += f", median {'volume' if solid else 'area'} {size['px']:g} px"
        line += f" ({size['um']:.4g} µm{'³' if solid else '²'})" if size["um"] is not None else ""
    yield line
    maps = f"foreground {objects['foreground']}"
    if objects["boundary"] != "none":
        maps += f" - boundary {objects['boundary']}"
    yield f"  seeds   {maps} > {objects['threshold']:g}, objects of at least {objects['min_size']} px"
    for kind in ("labels", "table", "overlay"):
        if objects[kind] is not None:
            yield f"  {kind:<7} {objects[kind]}"
    for note in objects["notes"]:
        yield f"  note    {note}"
