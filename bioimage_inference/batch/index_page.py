"""The page ``index.html`` of a run over many images, with a card for each image. The page loads nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..files.partial_file import write_whole
from ..report.rendering import render
from ..text import counted, for_address, times
from .output_files import OBJECTS, SUMMARY, relative
from .tables import Facts, Outcome, Status
from .thumbnails import MOST_PICTURED

_WORDS: dict[Status, str] = {"done": "done", "skipped": "complete already", "failed": "failed"}


def write_index(outcomes: Sequence[Outcome], model: str, images: int, path: Path) -> None:
    """Write the page of the outcomes so far, of ``images`` in all. The page appears when it is complete.

    Links are relative to the page, so that the folder can be moved. Raises :class:`OutputError`.
    """
    statuses = Counter(one.status for one in outcomes)
    counts = [f"{statuses[status]} {words}" for status, words in _WORDS.items() if statuses[status]]
    if len(outcomes) < images:
        counts.append(f"{images - len(outcomes)} not reached")
    page = render(
        "index",
        model=model,
        images=images,
        counts=", ".join(counts),
        pictured=MOST_PICTURED if len(outcomes) > MOST_PICTURED else None,
        tables=[SUMMARY, OBJECTS] if any(one.files.objects for one in outcomes) else [SUMMARY],
        failed=[(number, one) for number, one in enumerate(outcomes, 1) if one.status == "failed"],
        outcomes=outcomes,
        words=_WORDS,
        facts_in_words=_facts_in_words,
        links=lambda one: _links(one, path.parent),
    )
    write_whole(path, page.encode())


def _facts_in_words(facts: Facts) -> str:
    parts = [f"{facts.axes.upper()} {times(facts.shape)} {facts.dtype}"]
    if facts.tiles is not None:
        parts.append(counted(facts.tiles, "tile"))
    if facts.seconds is not None:
        parts.append(f"{facts.seconds:.1f} s")
    if facts.objects is not None:
        parts.append(counted(facts.objects, "object"))
    return " · ".join(parts)


def _links(one: Outcome, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield address and label of an image's files, the report first. Labels leave out the image's name."""
    assert one.files.record is not None  # every image of a run with an index page has a record
    start = one.files.record.name.removesuffix("provenance.json")
    if one.files.report is not None:
        yield for_address(relative(one.files.report, folder)), "Report"
    for file in (*one.files.outputs(), one.files.record):
        yield for_address(relative(file, folder)), file.name.removeprefix(start)
