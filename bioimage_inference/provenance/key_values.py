"""The record in short as key-value pairs for OMERO: a table with a line of keys and a line of values.

Galaxy's tool "OMERO Metadata Import" (toolshed: ufz/omero_metadata_import) reads key-value pairs in this layout.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..files.partial_file import write_whole
from ..text import for_cells
from .record import RunRecord
from .record_parts import CitationRecord, InputRecord, ModelRecord, ObjectsRecord, PixelSizeRecord
from .tiff_tags import by_axis


def write_key_values(record: RunRecord, path: Path) -> None:
    """Write the pairs of :func:`key_values` as tab-separated text in UTF-8. Raises :class:`OutputError`."""
    text = io.StringIO(newline="")
    pairs = key_values(record)
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows([pairs, for_cells(pairs.values())])
    write_whole(path, text.getvalue().encode())


def key_values(record: RunRecord) -> dict[str, str]:
    """Return the facts that identify a run, by flat names in the order for a reader. Unknown facts are left out."""
    return {key: value for key, value in _pairs(record) if value}


def _pairs(record: RunRecord) -> Iterator[tuple[str, str | None]]:
    yield from _model(record.model)
    yield "weights_format", record.weights.format
    yield "weights_sha256", record.weights.sha256
    first, *others = record.inputs
    yield from _image(first)
    for one in others:
        yield f"input_{one.tensor}_name", one.name
        yield f"input_{one.tensor}_sha256", one.sha256
    yield "outputs", _listed(output.id for output in record.outputs)
    yield "output_channels", _listed(record.outputs[0].channel_names)
    yield from _computation(record)
    if record.objects is not None:
        yield from _objects(record.objects)
    yield "notes", " ".join(record.notes)


def _model(model: ModelRecord) -> Iterator[tuple[str, str | None]]:
    yield "model_name", model.name
    yield "model_id", model.id
    # Table readers take "1.10" for the number 1.1.
    yield "model_version", f"version {model.version}" if model.version else None
    yield "model_authors", _listed(model.authors)
    yield "model_licence", model.licence
    yield "model_sha256", model.sha256
    yield "model_cite", "; ".join(filter(None, map(_citation, model.cite)))


def _citation(cited: CitationRecord) -> str | None:
    return f"doi:{cited.doi}" if cited.doi else cited.url or cited.text


def _image(image: InputRecord) -> Iterator[tuple[str, str | None]]:
    yield "image_name", image.name
    if image.series is not None:
        yield "image_series", str(image.series.number)
        yield "image_level", str(image.series.level)
        yield "image_well", image.series.well
        yield "image_field", image.series.field
    yield "image_axes", image.axes
    yield "image_shape", "x".join(map(str, image.shape))
    yield "image_dtype", image.dtype
    yield "image_pixel_size", _pixel_size(image.pixel_size, image.axes)
    yield "image_channels", None if image.channels is None else _listed(image.channels)
    yield "image_rescaled_pixel_size", _pixel_size(image.rescaled_pixel_size, image.axes)
    yield "image_sha256", image.sha256


def _computation(record: RunRecord) -> Iterator[tuple[str, str | None]]:
    yield "processing", _listed(f"{step.tensor} {step.step}" for step in record.processing)
    yield "tiles", f"{record.plan.tiles} of {by_axis(record.plan.tile)}"
    yield "halo", by_axis(record.plan.halo)
    yield "border", record.plan.border
    yield "options", _listed(f"{name} {value}" for name, value in record.options.items())
    yield "device", record.device.name
    yield "precision", record.device.precision
    yield "engine", record.engine.name
    yield "versions", _listed(f"{name} {version}" for name, version in record.versions.items())
    yield "started", record.started


def _objects(objects: ObjectsRecord) -> Iterator[tuple[str, str | None]]:
    yield "objects_count", str(objects.count)
    yield "objects_foreground", objects.foreground
    yield "objects_boundary", objects.boundary
    yield "objects_threshold", str(objects.threshold)
    yield "objects_min_size_px", str(objects.min_size)
    if objects.max_size is not None:
        yield "objects_max_size_px", str(objects.max_size)
    if objects.stitch is not None:
        yield "objects_stitch", str(objects.stitch)
    yield "objects_exclude_border", "true" if objects.exclude_border else None
    yield "objects_fill_holes", "true" if objects.fill_holes else None


def _pixel_size(sizes: Mapping[str, PixelSizeRecord], axes: str) -> str:
    return _listed(f"{axis} {sizes[axis].value:g} {sizes[axis].unit}" for axis in axes if axis in sizes)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
