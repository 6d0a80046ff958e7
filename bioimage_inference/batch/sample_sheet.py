"""The images of a run, with their metadata: image files and sample sheets from the command line."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

from ..errors import ImageError, UsageError
from ..files.typed_path import Address, ImagePath, image_path, user_path
from ..image.series import MAIN, Selection
from ..text import agreeing, counted

_SUFFIXES = (".csv", ".tsv")
_IMAGE_COLUMNS = ("image", "file", "filename", "path")
_EXPECTED = "Expected is a header line such as image,condition and below it a row for each image."


@dataclass(frozen=True)
class Sample:
    """One image. ``metadata`` holds the other cells of its row in a sample sheet, by column.

    ``name`` is the path as the user wrote it. ``where`` is the row of the image, e.g. ``row 3 of cells.csv``, or empty
    for an image from the command line. Of a file with several images, ``selection`` chooses one, and ``label`` is its
    name, which follows the name of the file ``given``. ``image`` is the file or folder that is opened.
    """

    image: ImagePath
    name: str
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    where: str = ""
    selection: Selection = MAIN
    label: str = ""
    given: ImagePath | None = None

    @property
    def key(self) -> tuple[ImagePath, Selection]:
        """The identity of the image among the images of a run."""
        return self.image, self.selection

    @property
    def title(self) -> str:
        """The name of the file, and of the image in it, for messages."""
        name = (self.given or self.image).name
        return f"{name} {self.label}" if self.label else name

    def check(self) -> None:
        """Raise :class:`ImageError` for a missing file in a sheet, :class:`UsageError` for a name of no file."""
        if not self.label:
            image_path(self.name)
        if self.where and isinstance(self.image, Path) and not self.image.exists():
            raise ImageError(
                f"{self.where[:1].upper()}{self.where[1:]} names {self.name}, but there is no file {self.image}. "
                "Names are relative to the folder of the sheet."
            )


def is_sheet(path: Path) -> bool:
    """Return whether the suffix of a path is the suffix of a sample sheet."""
    return path.suffix.lower() in _SUFFIXES


def read_samples(given: Sequence[str]) -> list[Sample]:
    """Return the images in the given order, with the rows of a sheet in its place. Raises :class:`UsageError`."""
    samples: list[Sample] = []
    for name in given:
        path = _typed_path(name)
        samples += read_sheet(path) if isinstance(path, Path) and is_sheet(path) else [Sample(path, name)]
    _check_unique(samples)
    return samples


def _typed_path(name: str) -> ImagePath:
    """Return a path or an address; :meth:`Sample.check` reports a name that is neither."""
    try:
        return image_path(name)
    except UsageError:
        return user_path(name)


def read_sheet(path: Path) -> list[Sample]:
    """Return the rows of a CSV or TSV table in UTF-8 with a header line.

    The column ``image`` (else ``file``, ``filename``, ``path``, else the first column) names image files relative to
    the folder of the table. All other columns are metadata. Raises :class:`UsageError` for an unreadable or empty
    table.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"The sample sheet {path} is no file. {_EXPECTED}")
    rows = list(_rows(path))
    if not rows:
        raise UsageError(f"The sample sheet {path} is empty. {_EXPECTED}")
    _, header = rows[0]
    while not header[-1]:  # spreadsheet programs write empty columns at the end
        header.pop()
    column = _image_column(path, header)
    if len(rows) == 1:
        raise UsageError(f"The sample sheet {path} has a header line, but no row with an image below it.")
    return [_sample(path, number, header, column, cells) for number, cells in rows[1:]]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped cells of every row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_delimiter(path, file), strict=True)
            file.seek(0)
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield reader.line_num, stripped
    except OSError as error:
        raise UsageError(f"The sample sheet {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The sample sheet {path} is not text in UTF-8 ({error.reason}). Save it as “CSV UTF-8” in your "
            "spreadsheet program."
        ) from error
    except csv.Error as error:
        raise UsageError(f"The sample sheet {path} is no table that can be read ({error}). {_EXPECTED}") from error


def _delimiter(path: Path, file: TextIO) -> str:
    """Return a tab for ``.tsv``, else the delimiter of the header. Some spreadsheet programs write semicolons.

    Names of columns may hold other delimiters. So the header is read with each one: a delimiter that gives a column for
    images comes first, then the one that gives most columns.
    """
    if path.suffix.lower() == ".tsv":
        return "\t"
    headers = {}
    for mark in ",;\t":
        file.seek(0)
        rows = ([cell.strip().lower() for cell in cells] for cells in csv.reader(file, delimiter=mark))
        headers[mark] = next(filter(any, rows), [])
    return max(headers, key=lambda mark: (not {*_IMAGE_COLUMNS}.isdisjoint(headers[mark]), len(headers[mark])))


def _image_column(path: Path, header: list[str]) -> int:
    lowered = [name.lower() for name in header]
    known = next((name for name in _IMAGE_COLUMNS if name in lowered), None)
    if known is None and (path.parent / header[0]).is_file():
        raise UsageError(f"The first line of the sample sheet {path} names an image, {header[0]}. {_EXPECTED}")
    unnamed = [number for number, name in enumerate(header, 1) if not name]
    doubled = [name for name in lowered if lowered.count(name) > 1 and name]
    if unnamed or doubled:
        wrong = f"no name for column {unnamed[0]}" if unnamed else f"the column {doubled[0]!r} more than once"
        raise UsageError(f"The header of the sample sheet {path} has {wrong}. Give every column its own name.")
    return lowered.index(known) if known is not None else 0


def _sample(path: Path, number: int, header: list[str], column: int, cells: list[str]) -> Sample:
    where = f"row {number} of {path}"
    if any(cells[len(header) :]):
        raise UsageError(
            f"There {agreeing(len(cells), 'are')} {counted(len(cells), 'cell')} in {where}, but "
            f"{counted(len(header), 'column')} in its header. Put double quotes "
            "around a text that contains the separator."
        )
    cells = cells[: len(header)] + [""] * (len(header) - len(cells))
    if not cells[column]:
        raise UsageError(f"There is no image in {where}, column {header[column]!r}. Name one, or remove the row.")
    metadata = {name: cell for index, (name, cell) in enumerate(zip(header, cells, strict=True)) if index != column}
    place = _typed_path(cells[column])
    image = place if isinstance(place, Address) else path.parent / place
    return Sample(image, cells[column], MappingProxyType(metadata), where)


def _check_unique(samples: Sequence[Sample]) -> None:
    seen: dict[str, Sample] = {}
    for sample in samples:
        # Links are not followed: a link and its target are two images with different outputs.
        place = str(sample.image) if isinstance(sample.image, Address) else os.path.abspath(sample.image)  # noqa: PTH100
        other = seen.setdefault(place, sample)
        if other is not sample:
            both = " and ".join(f"by {one.where}" if one.where else "directly" for one in (other, sample))
            raise UsageError(f"The image {sample.image} is given twice, {both}. Name every image once.")
