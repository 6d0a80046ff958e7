"""The table ``summary.csv`` of a run over many images: one row for each, with the columns of the sample sheet."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..files.partial_file import write_whole
from ..text import for_cells
from .outcome import Outcome
from .output_files import relative

COLUMNS = (
    "image", "status", "exit_code", "message", "axes", "shape", "dtype", "tiles", "seconds", "outputs", "objects"
)  # fmt: skip
_METADATA_AFTER = "message"


def write_summary(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the table as CSV in UTF-8; it appears when it is complete. Raises :class:`OutputError`.

    Columns of the sample sheet keep their names; one that is called like a column of ours becomes ``sample_status``,
    say. ``shape`` is in the order of ``axes``, ``seconds`` the time of the prediction, ``outputs`` are files relative
    to the table, ``objects`` their number where a segmentation was asked for.
    """
    metadata = list(dict.fromkeys(name for one in outcomes for name in one.sample.metadata))
    place = COLUMNS.index(_METADATA_AFTER) + 1
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    named = [f"sample_{name}" if name in COLUMNS else name for name in metadata]
    rows: list[list[object]] = [[*COLUMNS[:place], *named, *COLUMNS[place:]]]
    for one in outcomes:
        cells = list(_cells(one, path.parent))
        rows.append([*cells[:place], *(one.sample.metadata.get(name, "") for name in metadata), *cells[place:]])
    writer.writerows(map(for_cells, rows))
    write_whole(path, text.getvalue().encode())


def _cells(one: Outcome, folder: Path) -> Iterator[object]:
    """One value for each of ``COLUMNS``; the module ``csv`` leaves the cell of ``None`` empty."""
    facts = one.facts
    yield one.sample.name
    yield one.status
    yield one.exit_code
    yield one.message
    yield facts.axes
    yield "x".join(str(size) for size in facts.shape)
    yield facts.dtype
    yield facts.tiles
    yield facts.seconds
    yield "; ".join(relative(file, folder) for file in one.files.outputs()) if one.status != "failed" else ""
    yield facts.objects
