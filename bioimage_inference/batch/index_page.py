"""The page ``index.html`` of a run over many images: a card for each, nothing loaded from elsewhere, texts escaped."""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

from ..files.partial_file import write_whole
from ..text import for_address, for_html
from .output_files import OBJECTS, SUMMARY, relative
from .tables import Facts, Outcome, Status
from .thumbnails import Picture

_TEMPLATE = Path(__file__).with_name("index.html")
_WORDS: dict[Status, str] = {"done": "done", "skipped": "complete already", "failed": "failed"}


def write_index(outcomes: Sequence[Outcome], model: str, images: int, path: Path) -> None:
    """Write the page of the images so far, of ``images`` in all; it appears when it is complete.

    The files that it links to are relative to it, so that the folder can be moved. Raises :class:`OutputError`.
    """
    parts = [*_heading(outcomes, model, images)]
    parts += ('<div class="cards">', *(_card(number, one, path.parent) for number, one in enumerate(outcomes, 1)))
    parts += ("</div>", _footer())
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.substitute(title=for_html(f"{images} images, {model}"), content="\n".join(parts))
    write_whole(path, page.encode())


def _heading(outcomes: Sequence[Outcome], model: str, images: int) -> Iterator[str]:
    counts = Counter(one.status for one in outcomes)
    told = [f"{counts[status]} {_WORDS[status]}" for status in _WORDS if counts[status]]
    if len(outcomes) < images:
        told.append(f"{images - len(outcomes)} not reached")
    yield f"<header><h1>{images} images</h1><p>{for_html(model)}</p>"
    tables = [SUMMARY, OBJECTS] if any(one.files.objects for one in outcomes) else [SUMMARY]
    links = " and ".join(f'<a href="{name}">{name}</a>' for name in tables)
    yield f"<p>{', '.join(told)}. As a table: {links}</p></header>"
    failed = [(number, one) for number, one in enumerate(outcomes, 1) if one.status == "failed"]
    if failed:
        links = ", ".join(f'<a href="#image-{number}">{for_html(one.sample.name)}</a>' for number, one in failed)
        yield f'<p class="failures"><strong>Failed:</strong> {links}</p>'


def _card(number: int, one: Outcome, folder: Path) -> str:
    status = f"{'✗' if one.status == 'failed' else '✓'} {_WORDS[one.status]}"
    return "".join(
        (
            f'<article id="image-{number}" class="{one.status}">',
            f'<h2>{for_html(one.sample.image.name)}</h2><p class="status">{status}</p>',
            f'<p class="soft">{for_html(one.sample.name)}</p>' if one.sample.name != one.sample.image.name else "",
            f"<p>{for_html(one.message)}</p>" if one.message else "",
            f'<div class="pictures">{"".join(map(_figure, one.pictures))}</div>' if one.pictures else "",
            _metadata(one),
            f'<p class="soft">{for_html(_facts(one.facts))}</p>' if one.status != "failed" else "",
            f'<p class="links">{" ".join(_links(one, folder))}</p>' if one.status != "failed" else "",
            "</article>",
        )
    )


def _figure(picture: Picture) -> str:
    title = for_html(picture.title)
    if picture.webp is None:
        return f'<p class="soft">{title}</p>'
    data = base64.b64encode(picture.webp).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<figure><img {size} alt="" src="data:image/webp;base64,{data}"><figcaption>{title}</figcaption></figure>'


def _metadata(one: Outcome) -> str:
    known = [(name, value) for name, value in one.sample.metadata.items() if value]
    rows = "".join(f"<dt>{for_html(name)}</dt><dd>{for_html(value)}</dd>" for name, value in known)
    return f"<dl>{rows}</dl>" if rows else ""


def _facts(facts: Facts) -> str:
    parts = [f"{facts.axes.upper()} {'×'.join(str(size) for size in facts.shape)} {facts.dtype}"]
    if facts.tiles is not None:
        parts.append(f"{facts.tiles} tile{'s' * (facts.tiles != 1)}")
    if facts.seconds is not None:
        parts.append(f"{facts.seconds:.1f} s")
    if facts.objects is not None:
        parts.append(f"{facts.objects} object{'s' * (facts.objects != 1)}")
    return " · ".join(parts)


def _links(one: Outcome, folder: Path) -> Iterator[str]:
    """The files of an image, the report first, each called by what comes after the image's name."""
    assert one.files.record is not None  # every image of a run with an index page has a record
    start = one.files.record.name.removesuffix("provenance.json")
    files = [*one.files.outputs(), one.files.record]
    if one.files.report is not None:
        files.insert(0, one.files.report)
    for file in files:
        label = "Report" if file == one.files.report else file.name.removeprefix(start)
        yield f'<a href="{for_address(relative(file, folder))}">{for_html(label)}</a>'


def _footer() -> str:
    from .._version import __version__

    return f"<footer>Written by bioimage-inference {__version__}.</footer>"
