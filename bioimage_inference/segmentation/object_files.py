"""Writes the objects of a prediction: label map, table and overlay picture, all of them or none."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..files.partial_file import PartialFile
from ..image.image import PixelSize, Region
from ..image.writers.base import Layout, Writer
from ..image.writers.ome_zarr_writer import open_labels_writer
from ..image.writers.tiff_writer import TiffWriter
from ..text import for_cells
from .intensity import Intensities
from .label_blocks import LabelFile, cut
from .measuring import NumberedObjects
from .prediction_maps import Maps, micrometres
from .region_files import object_regions, write_geojson, write_imagej, write_omero_table
from .shape_measures import eccentricity, feret_diameters, perimeter

# Length of the longer side of an overlay picture in pixels: at most, and at least for small images.
LONGEST = 1600
_SHORT = 800
OUTLINE = (255, 176, 0)  # amber: differs from every grey for every kind of colour vision
# Percentiles of the plane that become black and white.
_STRETCH = (0.5, 99.8)
_EXACT = 2**53  # float64 holds every whole number below
_TABS = (".tsv", ".tab", ".tabular")


@dataclass(frozen=True)
class PredictionObjects:
    """The objects of a prediction with what their files show.

    ``regions`` holds the grown regions, which ``numbered`` turns into labels. ``shown_channel`` is the channel of the
    image in the overlay picture.
    """

    maps: Maps
    light: Intensities | None
    regions: LabelFile
    numbered: NumberedObjects
    pixel_size: Mapping[str, PixelSize]
    shown_channel: int

    def labels(self, region: Region) -> NDArray[np.unsignedinteger]:
        """Return the labels of a region, which has slices along the axes of samples and then along the spatial axes."""
        return self.numbered.labels[self.regions.read(region)].astype(self.numbered.dtype)

    def mask(self, row: int) -> tuple[tuple[int, ...], Region, NDArray[np.bool_]]:
        """Return the sample, the bounding box and the pixels of an object, which has the label ``row`` + 1.

        The sample is a position along its axes. Box and pixels have the spatial axes.
        """
        samples, found = self.maps.samples, self.numbered.objects
        index = np.unravel_index(found.sample[row], samples.counts) if samples.counts else ()
        box = tuple(slice(*span) for span in zip(found.low[row].tolist(), found.high[row].tolist(), strict=True))
        labels = self.labels((*(slice(int(at), int(at) + 1) for at in index), *box))
        shape = [part.stop - part.start for part in box]
        return tuple(map(int, index)), box, (labels == row + 1).reshape(shape)

    @property
    def columns(self) -> "Columns":
        """The columns of the table."""
        samples = self.maps.samples
        return Columns(
            spatial=samples.spatial,
            samples=samples.axes,
            counts=samples.counts,
            micrometres=micrometres(self.pixel_size, samples.spatial),
            channels=() if self.light is None else self.light.names,
        )


@dataclass(frozen=True)
class Columns:
    """The columns of a table of objects.

    Attributes
    ----------
    spatial, samples
        Axes of one sample, and axes that count samples.
    counts
        Number of samples along each axis of ``samples``.
    micrometres
        Pixel size in µm along ``spatial``, None if it is unknown.
    channels
        Names of the measured channels.
    """

    spatial: str
    samples: str
    counts: tuple[int, ...]
    micrometres: tuple[float, ...] | None
    channels: tuple[str, ...]

    @property
    def is_square(self) -> bool:
        """Whether pixels are known to have the same size along y and x, so a length in µm follows from pixels."""
        return self.micrometres is not None and self.micrometres[-1] == self.micrometres[-2]

    @property
    def names(self) -> list[str]:
        """The header of the table."""
        axes = self.spatial
        size = "volume" if len(axes) == 3 else "area"
        known, flat = self.micrometres is not None, len(axes) == 2
        return [
            "label",
            *self.samples,
            f"{size}_px",
            *([f"{size}_um{len(axes)}"] if known else []),
            *(f"centroid_{axis}_px" for axis in axes),
            *(f"centroid_{axis}_um" for axis in axes if known),
            *(f"bbox_min_{axis}" for axis in axes),
            *(f"bbox_max_{axis}" for axis in axes),
            *(_column("mean_intensity", name) for name in self.channels),
            # Newer columns are last, because workflows may name the columns before them by number.
            "touches_border",
            *(
                _column(f"{kind}_intensity", name)
                for kind in ("min", "max", "integrated", "std")
                for name in self.channels
            ),
            *(["perimeter_px"] if flat else []),
            *(["perimeter_um"] if flat and self.is_square else []),
            *(["eccentricity"] if flat else []),
            "feret_px",
            *(["feret_um"] if known else []),
        ]


def _column(measure: str, channel: str) -> str:
    return f"{measure}_{channel}" if channel else measure


def table_columns(objects: PredictionObjects) -> dict[str, NDArray[Any]]:
    """Return the table of objects as an array for each column, with the numbers of the file."""
    names, rows = objects.columns.names, [*_rows(objects, objects.columns)]
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return {name: _as_numbers(column) for name, column in zip(names, columns, strict=True)}


def _as_numbers(column: Sequence[object]) -> NDArray[Any]:
    array = np.array(column)
    return array.astype(np.float64) if array.dtype.kind == "U" else array


def write_files(files: Mapping[str, Path], objects: PredictionObjects) -> None:
    """Write the files, by their kinds. None of them appears unless all are complete. Raises OutputError."""
    with ExitStack() as stack:
        commits: list[Callable[[], None]] = []
        for kind, path in files.items():
            if kind in _LABEL_WRITERS:
                writer = _LABEL_WRITERS[kind](path, _layout(objects))
                stack.callback(writer.abort)
                _write_labels(writer, objects)
                commits.append(writer.commit)
            else:
                file = PartialFile(path)
                stack.callback(file.abort)
                with file.stream() as stream:
                    _STREAMS[kind](stream, path, objects)
                file.flush()
                commits.append(file.commit)
        for commit in commits:
            commit()


def _layout(objects: PredictionObjects) -> Layout:
    samples = objects.maps.samples
    axes = samples.axes + samples.spatial
    sizes = {letter: size for letter, size in objects.pixel_size.items() if letter in axes}
    count = len(objects.numbered.objects)
    return Layout(axes, (*samples.counts, *samples.shape), objects.numbered.dtype, sizes, highest_label=count)


def _write_labels(writer: Writer, objects: PredictionObjects) -> None:
    samples = objects.maps.samples
    for index in samples.indices():
        for block in cut(samples.shape, 0):
            region = (*(slice(place, place + 1) for place in index), *block.core)
            writer.write(region, objects.labels(region))
    writer.flush()


def _write_table(stream: IO[bytes], path: Path, objects: PredictionObjects) -> None:
    """Write a row for each object. The final name ``path`` decides whether tabs or commas separate columns."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text, delimiter="\t" if path.suffix.lower() in _TABS else ",", lineterminator="\n")
    columns = objects.columns
    writer.writerow(for_cells(columns.names))
    writer.writerows(_rows(objects, columns))
    text.flush()
    text.detach()


def _rows(found: PredictionObjects, columns: Columns) -> Iterator[list[object]]:
    objects, scale = found.numbered.objects, columns.micrometres
    for row in range(len(objects)):
        place = np.unravel_index(objects.sample[row], columns.counts) if columns.counts else ()
        size, centre = int(objects.size[row]), objects.centre[row].tolist()
        yield [
            row + 1,
            *map(int, place),
            size,
            *([] if scale is None else _rounded([size * prod(scale)])),
            *_rounded(centre),
            *([] if scale is None else _rounded([pixels * by for pixels, by in zip(centre, scale, strict=True)])),
            *objects.low[row].tolist(),
            *objects.high[row].tolist(),
            *_rounded(objects.mean[row].tolist()),
            int(objects.at_border[row]),
            *(
                _exact(value)
                for kind in (objects.lowest, objects.highest, objects.integrated)
                for value in kind[row].tolist()
            ),
            *_rounded(objects.deviation[row].tolist()),
            *_rounded(_shape(found.mask(row)[2], columns)),
        ]


def _shape(mask: NDArray[np.bool_], columns: Columns) -> Iterator[float]:
    """Yield the measures of the shape of an object, in the order of the columns."""
    scale = columns.micrometres
    if mask.ndim == 2:
        border = perimeter(mask)
        yield border
        if columns.is_square and scale is not None:
            yield border * scale[-1]
        yield eccentricity(mask)
    pixels = (1,) * mask.ndim
    yield from feret_diameters(mask, (pixels,) if scale is None else (pixels, scale))


def _rounded(values: Iterable[float]) -> list[str]:
    """Return the values with 7 significant digits, the precision of the float32 predictions that they stem from."""
    return [f"{value:.7g}" for value in values]


def _exact(value: float) -> str:
    """Return a whole number with all digits, and another number with 9 digits, which tell all float32 apart."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < _EXACT else f"{value:.9g}"


def _write_overlay(stream: IO[bytes], objects: PredictionObjects) -> None:
    """Write a PNG of the first sample, or of its middle plane, with the outlines of its objects.

    The picture shows the image, or the foreground if there is no image. It shows every n-th pixel of large planes, and
    enlarges small planes.
    """
    from PIL import Image
    from skimage.segmentation import find_boundaries

    maps, light = objects.maps, objects.light
    first = (0,) * len(maps.samples.counts)
    middle = tuple(slice(size // 2, size // 2 + 1) for size in maps.samples.shape[:-2])
    rows, columns = maps.samples.shape[-2:]
    step = -(-max(rows, columns) // LONGEST)

    def plane(read: Callable[[Region], NDArray[Any]]) -> NDArray[Any]:
        regions = ((*middle, slice(row, row + 1), slice(0, columns)) for row in range(0, rows, step))
        return np.concatenate([read(region).reshape(1, columns)[:, ::step] for region in regions], axis=0)

    if light is not None:
        grey = plane(lambda region: light.read_channel(first, objects.shown_channel, region))
    else:
        grey = plane(lambda region: maps.samples.read(first, maps.foreground, region))
    labels = plane(lambda region: objects.labels((*(slice(place, place + 1) for place in first), *region)))
    factor = max(1, _SHORT // max(grey.shape))
    grey, labels = enlarged(stretched(grey), factor), enlarged(labels, factor)
    picture = np.stack([grey] * 3, axis=-1)
    picture[find_boundaries(labels, mode="inner")] = OUTLINE
    Image.fromarray(picture).save(stream, format="PNG")


def stretched(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the plane in grey values from 0 to 255, between two percentiles of its values."""
    values = np.nan_to_num(plane.astype(np.float32))
    low, high = np.percentile(values, _STRETCH)
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)


def enlarged(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return the plane with every pixel as a square of ``factor`` pixels."""
    return plane.repeat(factor, axis=0).repeat(factor, axis=1)


_LABEL_WRITERS: Mapping[str, Callable[[Path, Layout], Writer]] = {
    "labels": lambda path, layout: TiffWriter(path, layout, "labelled"),
    "zarr": open_labels_writer,
}
_STREAMS: Mapping[str, Callable[[IO[bytes], Path, PredictionObjects], None]] = {
    "table": _write_table,
    "overlay": lambda stream, _, objects: _write_overlay(stream, objects),
    "rois_zip": lambda stream, _, objects: write_imagej(stream, object_regions(objects)),
    "rois_geojson": lambda stream, _, objects: write_geojson(stream, object_regions(objects)),
    "rois_table": lambda stream, _, objects: write_omero_table(stream, object_regions(objects)),
}
"""Writers of all kinds of files but label maps. They get the stream and the final path."""
