"""The outcome of each image of a run, and the tables of all images: ``summary.csv`` and ``objects.csv``."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import OutputError
from ..files.partial_file import PartialFile, write_whole
from ..provenance.record import RunRecord
from ..text import for_cells
from .output_files import SUMMARY_COLUMNS, ImageFiles, relative
from .sample_sheet import Sample
from .thumbnails import Thumbnail

Status = Literal["done", "failed", "skipped"]

_METADATA_AFTER = 1 + SUMMARY_COLUMNS.index("message")


@dataclass(frozen=True)
class Facts:
    """Facts of a record, empty for a failed image.

    ``shape`` and ``axes`` belong to the image file. ``seconds`` is the duration of the prediction. ``objects`` is the
    number of objects, ``None`` without segmentation.
    """

    axes: str = ""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    tiles: int | None = None
    seconds: float | None = None
    objects: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of one image. ``message`` is the error of a failed image; a skipped image was complete already."""

    sample: Sample
    files: ImageFiles
    status: Status
    exit_code: int = 0
    message: str = ""
    facts: Facts = Facts()
    pictures: tuple[Thumbnail, ...] = ()


def facts_of(record: RunRecord) -> Facts:
    """Return the facts of a complete record."""
    image = record.inputs[0]
    return Facts(
        axes=image.axes,
        shape=image.shape,
        dtype=image.dtype,
        tiles=record.plan.tiles,
        seconds=record.seconds["total"],
        objects=record.objects.count if record.objects is not None else None,
    )


def write_summary(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a CSV table in UTF-8 with a row for each image. Raises :class:`OutputError`.

    A column of the sample sheet keeps its name, or becomes ``sample_status``, for example, if the table has a column
    of this name. ``shape`` follows the order of ``axes``. ``outputs`` are paths relative to the table.
    """
    names = _metadata_names((outcome.sample for outcome in outcomes), SUMMARY_COLUMNS)
    rows: list[list[Any]] = [list(SUMMARY_COLUMNS)]
    rows += [[*_summary_cells(outcome, path.parent)] for outcome in outcomes]
    metadata = [list(names.values())]
    metadata += [[outcome.sample.metadata.get(name, "") for name in names] for outcome in outcomes]
    for row, cells in zip(rows, metadata, strict=True):
        row[_METADATA_AFTER:_METADATA_AFTER] = cells
    write_whole(path, _csv(rows))


def _summary_cells(outcome: Outcome, folder: Path) -> Iterator[Any]:
    """Yield a value for each of ``SUMMARY_COLUMNS``. The cell for ``None`` is empty."""
    facts = outcome.facts
    yield from (outcome.sample.name, outcome.status, outcome.exit_code, outcome.message)
    yield from (facts.axes, "x".join(map(str, facts.shape)), facts.dtype, facts.tiles, facts.seconds)
    written = outcome.files.outputs() if outcome.status != "failed" else ()
    yield "; ".join(relative(file, folder) for file in written)
    yield facts.objects


def write_objects(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the object tables of all images as one CSV table in UTF-8. Raises :class:`OutputError`.

    The columns are ``image``, the columns of the sample sheet, then the columns of the object tables. A column of the
    sheet becomes ``sample_label``, for example, if another column has its name.
    """
    tables = [
        (outcome.sample, outcome.files.objects.table)
        for outcome in outcomes
        if outcome.status != "failed" and outcome.files.objects is not None and outcome.files.objects.table is not None
    ]
    measured = list(dict.fromkeys(name for _, table in tables for name in next(_read(table), [])))
    names = _metadata_names((sample for sample, _ in tables), ["image", *measured])
    columns = ["image", *names.values(), *measured]
    file, end = PartialFile(path), 0
    try:
        for part in ([columns], *(_object_rows(sample, table, names, columns) for sample, table in tables)):
            data = _csv(part)
            file.write([end], memoryview(data))
            end += len(data)
        file.flush()
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def _object_rows(sample: Sample, table: Path, names: Mapping[str, str], columns: Sequence[str]) -> Iterator[list[str]]:
    known = {names[name]: value for name, value in sample.metadata.items()} | {"image": sample.name}
    rows = _read(table)
    header = next(rows, [])
    for row in rows:
        cells = dict(zip(header, row, strict=True)) | known
        yield [cells.get(name, "") for name in columns]


def _metadata_names(samples: Iterable[Sample], taken: Sequence[str]) -> dict[str, str]:
    """Return the columns for the metadata of samples, by their names in the sample sheet.

    The columns differ from each other and from the ``taken`` ones.
    """
    names = {name: name for sample in samples for name in sample.metadata}
    used = {*taken, *names}
    for name in [one for one in names if one in taken]:
        while names[name] in used:
            names[name] = f"sample_{names[name]}"
        used.add(names[name])
    return names


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(map(for_cells, rows))
    return text.getvalue().encode()


def _read(table: Path) -> Iterator[list[str]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except OSError as error:
        raise OutputError(f"The table {table} can no longer be read: {error.strerror or error}.") from error
