"""The report of a run as one HTML page: pictures, what was done, how to cite. The page loads nothing."""

from pathlib import Path

from ..errors import UsageError, cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder
from ..provenance import citation
from ..provenance.record import RunRecord
from ..text import for_address
from . import describe_run
from .gallery import Gallery, make_gallery
from .pictures import FEW
from .rendering import render


def write_report(run: RunRecord, path: Path) -> None:
    """Write the report of a run at ``path``, and its pictures as PNG into the folder ``path.with_suffix("")``.

    ``run`` is the provenance record of the run. It names the files of the image and of the outputs. A file that is
    not in its place is looked for in the report's own folder. The page says which files are missing. Every file appears
    under its final name only when it is complete.

    Raises :class:`UsageError` for a name without a suffix, and :class:`OutputError` where the report cannot be written.
    """
    folder = path.with_suffix("")
    if folder == path:
        raise UsageError(f"The report {path} needs a name that ends in .html; without it, its pictures have no folder.")
    gallery = make_gallery(run, path.parent)
    page = report_page(run, gallery, path)
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


def report_page(run: RunRecord, gallery: Gallery, path: Path) -> str:
    """Return the HTML of the report that will lie at ``path``."""

    def address(file: str) -> str | None:
        """Return a file's address relative to the page, ``None`` for a file outside the page's folder."""
        place, folder = Path(file).absolute(), path.absolute().parent
        inside = place.is_relative_to(folder)
        return for_address(f"./{place.relative_to(folder).as_posix()}") if inside else None

    return render(
        "report",
        run=run,
        gallery=gallery,
        few=FEW,
        describe=describe_run,
        citation=citation,
        address=address,
    )
