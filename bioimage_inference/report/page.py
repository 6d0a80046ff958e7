"""The report of a run as one HTML page: pictures, what was done, how to cite. The page loads nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, cannot_write
from ..files.overwriting import make_folder
from ..files.partial_file import write_whole
from ..provenance.citation import bibtex, methods, references
from ..text import capitalised, counted, for_address, one_line
from .describe_run import (
    computing_rows,
    file_rows,
    image_rows,
    objects_in_words,
    processing_rows,
    start_time,
)
from .gallery import Gallery, make_gallery
from .pictures import FEW
from .rendering import render

Record = Mapping[str, Any]


def write_report(record: Record, path: Path) -> None:
    """Write the report of a run at ``path``, and its pictures as PNG into the folder ``path.with_suffix("")``.

    ``record`` is the provenance record of the run. It names the files of the image and of the outputs. A file that is
    not in its place is looked for in the report's own folder. The page says which files are missing. Every file appears
    under its final name only when it is complete.

    Raises :class:`UsageError` for a name without a suffix, and :class:`OutputError` where the report cannot be written.
    """
    folder = path.with_suffix("")
    if folder == path:
        raise UsageError(f"The report {path} needs a name that ends in .html; without it, its pictures have no folder.")
    gallery = make_gallery(record, path.parent)
    page = report_page(record, gallery, path)
    try:
        make_folder(folder)
    except OSError as error:
        raise cannot_write(
            f"The folder {folder} cannot be made: {error.strerror}. Move away what has its name, or write the report "
            "elsewhere.",
            error,
        ) from error
    for picture in gallery.pictures():
        write_whole(folder / f"{picture.name}.png", picture.png)
    write_whole(path, page.encode())


def report_page(record: Record, gallery: Gallery, path: Path) -> str:
    """Return the HTML of the report that will lie at ``path``."""
    model, objects = record["model"], record.get("objects") or {}
    version = f"version {model['version']}" if model.get("version") else None
    licence = f"licence {model['licence']}" if model.get("licence") else None
    seconds = record.get("seconds", {})
    result = f"Complete: {', '.join(str(one['id']) for one in record['outputs'])}"
    result += f", in {seconds['total']:.1f} s" if seconds else ""
    result += f"; {counted(objects['count'], 'object')} found" if objects else ""
    return render(
        "report",
        title=", ".join(one_line(one["name"]) for one in record["inputs"]),
        about=" · ".join(part for part in (model["name"], version, licence, start_time(record)) if part),
        result=f"{result}.",
        notes=dict.fromkeys([*record["notes"], *objects.get("notes", ())]),
        sample=_rows(record.get("sample") or {}),
        gallery=gallery,
        few=FEW,
        objects=objects,
        objects_in_words=objects_in_words(objects) if objects else "",
        table_address=_address(objects.get("table"), path),
        table_name=Path(objects.get("table") or "").name,
        done=[*image_rows(record), *processing_rows(record), *computing_rows(record)],
        time=_rows({capitalised(stage): f"{value:.2f} s" for stage, value in seconds.items()}),
        files=list(file_rows(record)),
        licence=model.get("licence"),
        methods=methods(record) if "device" in record else "",
        references=references(record),
        bibtex=bibtex(record),
        versions=_rows(record.get("versions", {})),
    )


def _rows(values: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [(name, [value]) for name, value in values.items()]


def _address(file: str | None, page: Path) -> str | None:
    """Return a file's address relative to the page, ``None`` for a file outside the page's folder."""
    place, folder = Path(file or "").absolute(), page.absolute().parent
    if not file or not place.is_relative_to(folder):
        return None
    return for_address(f"./{place.relative_to(folder).as_posix()}")
