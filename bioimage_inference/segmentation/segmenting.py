"""From the prediction of a model to objects: a label image, a table and an overlay picture."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..files.overwriting import REPLACED, check_writable
from ..files.scratch import scratch_folder
from ..image.image import PixelSize
from .growing import grow_seeds
from .intensity import Intensities, open_intensities
from .label_blocks import OVERLAP, Grid, cut
from .label_file import LabelFile
from .maps import Maps, open_maps
from .measuring import Meter, together
from .numbering import Numbered, number
from .samples import Samples
from .seeds import find_seeds
from .writing import Found, write_files

MIN_SIZE = {2: 10, 3: 50}
"""Pixels of the smallest object, by the number of spatial dimensions, where the user names none."""


@dataclass(frozen=True)
class SegmentFiles:
    """The files to write, None for one that is not wanted; at least one is.

    ``table`` is written with tabs where its name ends in .tsv, .tab or .tabular, else as CSV.
    """

    labels: Path | None = None
    table: Path | None = None
    overlay: Path | None = None

    @property
    def wanted(self) -> list[Path]:
        """Those that are to be written. Raises ValueError where there is none."""
        files = [path for path in (self.labels, self.table, self.overlay) if path is not None]
        if not files:
            raise ValueError("no file is named for the objects")
        return files


@dataclass(frozen=True)
class SegmentOptions:
    """How to find objects.

    ``foreground`` and ``boundary`` are names or numbers (from 0) of channels; ``boundary`` may be ``none``. Seeds are
    where foreground - boundary exceeds ``threshold``. ``min_size`` in pixels, by default 10 in 2-D and 50 in 3-D.
    ``axes`` are those of the prediction, ``image_axes`` those of the image, whatever the files say themselves.
    ``image_channel`` is the channel of the image that the overlay shows, a number from 0 or a name.
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
    image: Path | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Find the objects of a prediction and write ``files``; returns the entry ``objects`` of the record.

    Every sample (time, position, ...) is segmented by itself, and labels run on from one to the next. ``image`` is the
    one that was predicted, for mean intensities and the overlay picture. The entry has the keys ``labels``, ``table``,
    ``overlay`` (paths as text or None), ``count``, ``foreground``, ``boundary``, ``threshold``, ``min_size``;
    of the prediction ``axes``, ``shape``, ``spatial`` (axes of a sample) and ``samples`` (their number);
    ``median_size`` (``{px, um}``: pixels, and µm² or µm³, None where unknown), ``notes``.
    Files that are there already are replaced where a record beside them names them, or with ``overwrite``.
    Raises UsageError, ImageError or OutputError.
    """
    given = [prediction] if image is None else [prediction, image]
    replaced = check_writable(files.wanted, given, overwrite=overwrite)
    with ExitStack() as stack:
        maps = open_maps(prediction, options.foreground, options.boundary, options.axes)
        stack.callback(maps.samples.image.close)
        light = None if image is None else stack.enter_context(_opened(image, options.image_axes, maps.samples))
        scratch = stack.enter_context(scratch_folder(beside=files.wanted[0]))
        samples = maps.samples
        axes, shape = samples.axes + samples.spatial, (*samples.counts, *samples.shape)
        raw = stack.enter_context(LabelFile(scratch / "regions.npy", axes, shape))
        grid = cut(samples.shape, OVERLAP[len(samples.spatial)])
        min_size = MIN_SIZE[len(samples.spatial)] if options.min_size is None else options.min_size
        numbered = _find(maps, light, grid, options.threshold, min_size, scratch, raw)
        shown = 0 if light is None else light.channel_number(options.image_channel)
        found = Found(maps, light, raw, numbered, _pixel_sizes(samples, light), shown)
        write_files(files.labels, files.table, files.overlay, found)
        entry = _entry(prediction, files, options, found, grid, min_size)
    entry["notes"] += [REPLACED] if replaced else []
    return entry


def _entry(
    prediction: Path, files: SegmentFiles, options: SegmentOptions, found: Found, grid: Grid, min_size: int
) -> dict[str, Any]:
    """The entry of the record."""
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
    raw: LabelFile,
) -> Numbered:
    """Write the grown regions of all samples to ``raw``, and say which of them are objects."""
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
                raw.write((*sample, *region), labels.reshape((1,) * len(index) + labels.shape))
        parts.append(meter.result())
        total += seeds.count
    return number(together(parts), min_size)


@contextmanager
def _opened(image: Path, axes: str | None, prediction: Samples) -> Iterator[Intensities]:
    light = open_intensities(image, axes, prediction)
    with closing(light.samples.image):
        yield light


def _pixel_sizes(samples: Samples, light: Intensities | None) -> Mapping[str, PixelSize]:
    """The prediction's pixel sizes, and the image's where the prediction knows none."""
    if samples.image.pixel_size or light is None:
        return samples.image.pixel_size
    return light.samples.image.pixel_size


def _median_size(found: Found) -> dict[str, float | None]:
    """Of all objects, in pixels and in µm² or µm³."""
    objects, scale = found.numbered.objects, found.columns.micrometres
    if not len(objects):
        return {"px": None, "um": None}
    median = float(np.median(objects.size))
    return {"px": median, "um": None if scale is None else float(f"{median * prod(scale):.6g}")}


def _notes(found: Found, grid: Grid, min_size: int) -> Iterator[str]:
    """What the user should know of the result."""
    maps, numbered, name = found.maps, found.numbered, found.maps.samples.image.name
    yield from maps.notes
    if not maps.seen.probable:
        yield (
            f"{name} has values from {maps.seen.low:.4g} to {maps.seen.high:.4g}, which are no probabilities (0 to 1): "
            "--threshold was applied to them as they are, and objects end where the foreground is 0.5."
        )
    if not len(numbered.objects):
        yield "No object was found: nowhere does foreground - boundary exceed the threshold in a region large enough."
    if numbered.small:
        yield f"{numbered.small} of the regions found have fewer than {min_size} pixels and were left out (--min-size)."
    if found.columns.micrometres is None:
        yield "The pixel size is unknown, so that the table has no columns in µm."
    if found.light is not None and found.pixel_size and not maps.samples.image.pixel_size:
        yield f"The pixel size is that of {found.light.samples.image.name}; the prediction has none."
    unknown = int(np.count_nonzero(~np.isfinite(numbered.objects.intensity).all(axis=1)))
    if found.light is not None and unknown:
        yield (
            f"{found.light.samples.image.name} holds values that are no numbers (NaN or infinite), so that the "
            f"mean intensity of {unknown} of the objects is none either."
        )
    extents = (numbered.objects.high - numbered.objects.low).max(axis=1, initial=0)
    large = int(np.count_nonzero(extents > grid.overlap))
    if len(grid) > 1 and large:
        yield (
            f"The prediction was segmented in {len(grid)} blocks that overlap by {grid.overlap} pixels; {large} of the "
            "objects are longer than that, and their outlines may be other than in one piece."
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
