"""The table ``objects.csv`` of a run over many images: the objects of all of them, with the columns of the sheet."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import OutputError
from ..files.partial_file import PartialFile
from ..text import for_cells
from .outcome import Outcome
from .sample_sheet import Sample

_IMAGE = "image"


def write_objects(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the tables of all images as one CSV in UTF-8, one image after the other; it appears when it is complete.

    The first column, ``image``, is the image as it was given, then come the columns of the sample sheet, then those of
    the tables; a column of the sheet that is called like another becomes ``sample_label``, say. Raises
    :class:`OutputError`.
    """
    found = [(one.sample, table) for one in outcomes if one.status != "failed" and (table := _table(one))]
    measured = list(dict.fromkeys(name for _, table in found for name in next(_read(table), [])))
    metadata = list(dict.fromkeys(name for sample, _ in found for name in sample.metadata))
    named = {name: f"sample_{name}" if name in (_IMAGE, *measured) else name for name in metadata}
    file, end = PartialFile(path), 0
    try:
        for rows in _parts(found, [_IMAGE, *named.values(), *measured], named):
            data = rows.encode()
            file.write(end, memoryview(data))
            end += len(data)
        file.flush()
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def _table(one: Outcome) -> Path | None:
    return None if one.files.objects is None else one.files.objects.table


def _parts(found: Sequence[tuple[Sample, Path]], columns: Sequence[str], named: Mapping[str, str]) -> Iterator[str]:
    """The header, then the rows of each image."""
    yield _lines(columns, [dict(zip(columns, columns, strict=True))])
    for sample, table in found:
        about = {named[name]: value for name, value in sample.metadata.items()} | {_IMAGE: sample.name}
        yield _lines(columns, ({**row, **about} for row in _rows(table)))


def _lines(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(for_cells(row.get(name, "") for name in columns) for row in rows)
    return text.getvalue()


def _rows(table: Path) -> Iterator[dict[str, str]]:
    rows = _read(table)
    header = next(rows, [])
    yield from (dict(zip(header, row, strict=True)) for row in rows)


def _read(table: Path) -> Iterator[list[str]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except OSError as error:
        raise OutputError(f"The table {table} can no longer be read: {error.strerror or error}.") from error
