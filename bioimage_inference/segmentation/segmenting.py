"""Segments a prediction into objects, and writes a label map, a table and an overlay picture."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..files.overwriting import REPLACED, check_writable
from ..files.scratch import scratch_folder
from ..files.typed_path import ImagePath
from ..image.image import Image
from ..image.series import MAIN, Selection
from ..image.writers.zarr_additions import check_new_labels
from ..provenance.record_parts import OBJECT_FILES, MedianSizeRecord, ObjectsRecord
from ..text import counted
from .hole_filling import fill_holes
from .intensity import Intensities, open_intensities, pixel_sizes
from .label_blocks import OVERLAP, Grid, LabelFile, cut
from .measuring import Meter, NumberedObjects, Objects, concatenate, number_objects
from .object_files import PredictionObjects, write_files
from .prediction_image import BY_PLANE
from .prediction_maps import Maps, Samples, open_maps
from .stitching import merged_objects, stitched_groups
from .watershed import find_seeds, grow_seeds

ADDED_OPTIONS = ("max_size", "exclude_border", "fill_holes", "stitch")
"""Options of the objects that the record names only where they were given."""
# Smallest object in pixels, by the number of spatial dimensions. --object-min-size overrides it.
MIN_SIZE = {2: 10, 3: 50}
OTHER_SIZE = (
    "The prediction and the image differ in size, so the table has no intensities and the overlay shows the prediction."
)


@dataclass(frozen=True)
class SegmentFiles:
    """The files to write, at least one of them. None leaves a file out.

    Tabs separate the columns of a ``table`` whose name ends in .tsv, .tab or .tabular, commas those of other tables.
    ``zarr`` is the folder of a label map in the OME-Zarr of an image, see
    :func:`~bioimage_inference.image.writers.zarr_additions.addition_place`. ``rois_…`` are regions of interest, see
    :mod:`~bioimage_inference.segmentation.region_files`.
    """

    labels: Path | None = None
    table: Path | None = None
    overlay: Path | None = None
    zarr: Path | None = None
    rois_zip: Path | None = None
    rois_geojson: Path | None = None
    rois_table: Path | None = None

    @property
    def named(self) -> dict[str, Path]:
        """The files to write by their kinds, see :data:`~bioimage_inference.provenance.record_parts.OBJECT_FILES`."""
        return {kind: path for kind in OBJECT_FILES if (path := getattr(self, kind)) is not None}

    @property
    def paths(self) -> list[Path]:
        """The paths of the files to write, without ``zarr``. Raises ValueError if there is none."""
        files = [path for kind, path in self.named.items() if kind != "zarr"]
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
    min_size, max_size
        Smallest and largest object in pixels. ``min_size`` is by default 10 in 2-D and 50 in 3-D.
    exclude_border
        Leave out objects that touch the border of the image.
    fill_holes
        Give background that an object encloses to the object.
    stitch
        Find objects in each plane of a stack, and join those of neighbouring planes from this intersection over union.
    axes, image_axes
        Axes of the prediction and of the image. They override the metadata of the files.
    image_channel
        Channel of the image that the overlay picture shows, as a number from 0 or a name.
    """

    foreground: str = "0"
    boundary: str = "1"
    threshold: float = 0.6
    min_size: int | None = None
    max_size: int | None = None
    exclude_border: bool = False
    fill_holes: bool = False
    stitch: float | None = None
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
) -> ObjectsRecord:
    """Find the objects of a prediction and write ``files``. Each sample (time, position, …) is segmented separately.

    Parameters
    ----------
    image
        The image that was predicted, for mean intensities and the overlay picture.
    selection
        Which image of that file it is. Without an image, which image of the file is the prediction.
    overwrite
        Whether to replace files that no record beside them names as earlier results.

    Returns
    -------
    The entry ``objects`` of the record, without what was asked and the hashes. Labels continue from one sample to the
    next.

    Raises
    ------
    UsageError, ImageError, OutputError
    """
    given = [prediction, image] if isinstance(image, Path) else [prediction]
    replaced = check_writable(files.paths, given, overwrite=overwrite)
    if files.zarr is not None and (not overwrite or files.zarr.parents[1] == image):
        check_new_labels(files.zarr)
    with segmented(prediction, options, image, selection, files.paths[0]) as (objects, grid, min_size):
        write_files(files.named, objects)
        record = _record(prediction, files, options, objects, grid, min_size)
    return replace(record, notes=(*record.notes, REPLACED)) if replaced else record


@contextmanager
def segmented(
    prediction: Path | Image,
    options: SegmentOptions,
    image: ImagePath | Image | None,
    selection: Selection = MAIN,
    beside: Path | None = None,
) -> Iterator[tuple[PredictionObjects, Grid, int]]:
    """Yield the objects of a prediction, the grid of blocks, and the smallest size of an object in pixels.

    The labels are in a temporary file while the ``with`` block lasts, in a folder ``beside`` a file. ``selection``
    chooses one of the images in the file ``image``, or in the prediction if there is no image. Images that are given as
    :class:`Image` are closed at its end. Raises the errors of :func:`segment_file`.
    """
    with ExitStack() as stack:
        chosen = selection if image is None else MAIN
        maps = open_maps(prediction, options.foreground, options.boundary, options.axes, chosen)
        stack.callback(maps.samples.image.close)
        samples = _samples_to_grow(maps.samples, options.stitch)
        light = None if image is None else stack.enter_context(_opened(image, options.image_axes, selection, samples))
        scratch = stack.enter_context(scratch_folder(beside))
        grid = cut(samples.shape, OVERLAP[len(samples.spatial)])
        grown = replace(maps, samples=samples)
        regions, numbered, min_size = _find(grown, maps.samples, light, grid, options, scratch, stack)
        if light is not None:
            light = Intensities(replace(light.samples, spatial=maps.samples.spatial), maps.samples)
        shown = 0 if light is None else light.channel_number(options.image_channel)
        sizes = pixel_sizes(maps.samples, light)
        yield PredictionObjects(maps, light, regions, numbered, sizes, shown), grid, min_size


def _record(
    prediction: Path,
    files: SegmentFiles,
    options: SegmentOptions,
    found: PredictionObjects,
    grid: Grid,
    min_size: int,
) -> ObjectsRecord:
    samples = found.maps.samples
    paths: dict[str, Any] = {kind: None if path is None else str(path) for kind, path in vars(files).items()}
    added: dict[str, Any] = {name: getattr(options, name) or None for name in ADDED_OPTIONS}
    return ObjectsRecord(
        **paths,
        count=len(found.numbered.objects),
        foreground=options.foreground,
        boundary=options.boundary,
        threshold=options.threshold,
        min_size=min_size,
        **added,
        prediction=str(prediction),
        axes=samples.image.axes,
        shape=samples.image.shape,
        spatial=samples.spatial,
        samples=samples.total,
        median_size=_median_size(found),
        notes=tuple(segmentation_notes(found, grid, options, min_size)),
    )


def _samples_to_grow(samples: Samples, stitch: float | None) -> Samples:
    """Return the samples in which objects grow: each plane of a stack that is stitched afterwards, else ``samples``."""
    if stitch is None:
        return samples
    if "z" not in samples.spatial:
        raise UsageError(
            f"--object-stitch joins objects of neighbouring planes, but {samples.image.name} has no planes along z. "
            "Leave the option out."
        )
    return replace(samples, spatial="yx")


def _find(
    maps: Maps,
    whole: Samples,
    light: Intensities | None,
    grid: Grid,
    options: SegmentOptions,
    scratch: Path,
    files: ExitStack,
) -> tuple[LabelFile, NumberedObjects, int]:
    """Return the file of grown regions, the objects among them, and the size of the smallest object.

    Regions grow in the samples of ``maps``; objects belong to samples of ``whole``. ``files`` closes the file.
    """
    axes, shape = whole.axes + whole.spatial, (*whole.counts, *whole.shape)
    regions = files.enter_context(LabelFile(scratch / "regions.npy", axes, shape))
    found = _grown(maps, light, grid, options.threshold, scratch, regions)
    if options.fill_holes:
        filled = files.enter_context(LabelFile(scratch / "filled.npy", axes, shape))
        fill_holes(regions, found, maps.samples, filled)
        regions, found = filled, _measured(filled, found, maps.samples, light)
    groups = np.arange(len(found))
    if options.stitch is not None:
        depth = whole.shape[0]
        groups = stitched_groups(regions, found, whole, options.stitch)
        found = merged_objects(found, groups, found.sample % depth, found.sample // depth, depth)
    min_size = MIN_SIZE[len(whole.spatial)] if options.min_size is None else options.min_size
    numbered = number_objects(
        found, groups, min_size=min_size, max_size=options.max_size, exclude_border=options.exclude_border
    )
    return regions, numbered, min_size


def _grown(
    maps: Maps, light: Intensities | None, grid: Grid, threshold: float, scratch: Path, regions: LabelFile
) -> Objects:
    """Write the grown regions of all samples to ``regions``, and return their measures: row n is region n + 1."""
    parts, total = [], 0
    channels = 0 if light is None else light.samples.channels
    for place, index in enumerate(maps.samples.indices()):
        with LabelFile(scratch / "seeds.npy", maps.samples.spatial, maps.samples.shape) as file:
            seeds = find_seeds(maps, index, grid, threshold, file)
            meter = Meter(place, seeds.count, grid.shape, channels)
            for region, labels in grow_seeds(maps, index, grid, seeds):
                meter.add(region, labels, [] if light is None else light.read(index, region))
                labels[labels > 0] += np.uint32(total)
                regions.write((*_place(index), *region), labels.reshape((1,) * len(index) + labels.shape))
        parts.append(meter.result())
        total += seeds.count
    return concatenate(parts)


def _measured(regions: LabelFile, before: Objects, samples: Samples, light: Intensities | None) -> Objects:
    """Return the measures of the regions once more, after their pixels changed."""
    parts, total = [], 0
    channels = 0 if light is None else light.samples.channels
    for place, index in enumerate(samples.indices()):
        count = int(np.count_nonzero(before.sample == place))
        meter = Meter(place, count, samples.shape, channels)
        for block in cut(samples.shape, 0):
            sizes = [part.stop - part.start for part in block.core]
            labels = regions.read((*_place(index), *block.core)).reshape(sizes)
            labels = np.where(labels > 0, labels - np.uint32(total), 0)
            meter.add(block.core, labels, [] if light is None else light.read(index, block.core))
        parts.append(meter.result())
        total += count
    return concatenate(parts)


def _place(index: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(at, at + 1) for at in index)


@contextmanager
def _opened(
    image: ImagePath | Image, axes: str | None, selection: Selection, prediction: Samples
) -> Iterator[Intensities]:
    light = open_intensities(image, axes, selection, prediction)
    with closing(light.samples.image):
        yield light


def _median_size(found: PredictionObjects) -> MedianSizeRecord:
    objects, scale = found.numbered.objects, found.columns.micrometres
    if not len(objects):
        return MedianSizeRecord(px=None, um=None)
    median = float(np.median(objects.size))
    return MedianSizeRecord(px=median, um=None if scale is None else float(f"{median * prod(scale):.6g}"))


def segmentation_notes(found: PredictionObjects, grid: Grid, options: SegmentOptions, min_size: int) -> Iterator[str]:
    """Yield what the user should know about the result."""
    maps, objects = found.maps, found.numbered.objects
    name, small = maps.samples.image.name, found.numbered.small
    yield from (note for note in maps.notes if note != BY_PLANE or options.stitch is None)
    if not maps.seen.probable:
        yield (
            f"{name} has values from {maps.seen.low:.4g} to {maps.seen.high:.4g}, which are no probabilities (0 to 1). "
            "--object-threshold applies to the values as they are, and objects end where the foreground is 0.5."
        )
    if not len(objects):
        yield "No object was found: nowhere does foreground - boundary exceed the threshold in a region large enough."
    if small:
        left_out = counted(small, "region", "have")
        yield f"{left_out} fewer than {counted(min_size, 'pixel')}, too few for an object (--object-min-size)."
    if found.numbered.large:
        left_out = counted(found.numbered.large, "region", "have")
        most = counted(options.max_size or 0, "pixel")
        yield f"{left_out} more than {most}, too many for an object (--object-max-size)."
    if found.numbered.cut:
        left_out = counted(found.numbered.cut, "object", "lie")
        yield f"{left_out} at the border of the image, left out as asked (--object-exclude-border)."
    if found.columns.micrometres is None:
        yield "The pixel size is unknown, so the table has no columns in µm."
    if found.light is not None and found.pixel_size and not maps.samples.image.pixel_size:
        yield f"The prediction has no pixel size. The pixel size is from {found.light.samples.image.name}."
    unknown = int(np.count_nonzero(~np.isfinite(objects.mean).all(axis=1)))
    if found.light is not None and unknown:
        yield (
            f"{found.light.samples.image.name} holds NaN or infinite values, so {counted(unknown, 'object', 'have')} "
            "no mean or integrated intensity."
        )
    extents = (objects.high - objects.low)[:, -len(grid.shape) :].max(axis=1, initial=0)
    large = int(np.count_nonzero(extents > grid.overlap))
    if len(grid) > 1 and large:
        yield (
            f"The prediction was segmented in {len(grid)} blocks that overlap by {grid.overlap} pixels. "
            f"{counted(large, 'object', 'are')} longer than the overlap, so outlines may differ from a segmentation in "
            "one piece."
        )
