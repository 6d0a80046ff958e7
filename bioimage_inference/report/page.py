"""The report of a run as one HTML page: pictures, what was done, how to cite. It loads nothing, all text is escaped."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..errors import UsageError, cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder
from ..provenance.citation import bibtex, methods, references
from ..provenance.record import RunRecord, to_json
from ..text import for_address, for_html, one_line
from .colours import colour_bar
from .gallery import Gallery, Shown, make_gallery
from .model_card import fill_template
from .page_facts import (
    Row,
    computing_rows,
    field_of_view,
    file_rows,
    image_rows,
    objects_in_words,
    processing_rows,
    time_rows,
    when,
)
from .pictures import FEW, Picture

Record = Mapping[str, Any]

_TEMPLATE = Path(__file__).with_name("page.html")
_SMALL = 480  # pixels; smaller pictures are shown pixel by pixel
_SHORT = 20  # letters that a narrow screen has room for beside a label


def write_report(run: RunRecord, path: Path) -> None:
    """Write the report of a run at ``path``, and its pictures as PNG into the folder ``path.with_suffix("")``.

    ``run`` is the provenance record of the run. The image and the outputs are read from the files that it names, or
    from the report's own folder if they were moved there; of what is gone, the page says so. Every file appears under
    its final name only when complete. Raises :class:`UsageError` for a name without a suffix, :class:`OutputError`
    where the place cannot be written.
    """
    folder = path.with_suffix("")
    if folder == path:
        raise UsageError(f"The report {path} needs a name that ends in .html; without it, its pictures have no folder.")
    gallery = make_gallery(to_json(run), path.parent)
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
    """The HTML of the report that will lie at ``path``."""
    record = to_json(run)
    title = ", ".join(one_line(one["name"]) for one in record["inputs"])
    content = "\n".join(
        (
            *_header(record, title),
            *_list("Please note", "beware", [*record["notes"], *(record.get("objects") or {}).get("notes", ())]),
            *_table("Sample", [(name, [text]) for name, text in (record.get("sample") or {}).items()]),
            *_images(record, gallery),
            *_outputs(gallery.outputs),
            *_objects(record.get("objects"), gallery.objects, path),
            *_table("What was done", [*image_rows(record), *processing_rows(record), *computing_rows(record)]),
            *_figures([gallery.tiles] if gallery.tiles is not None else []),
            *_table("Time", list(time_rows(record))),
            *_table("Files", list(file_rows(record))),
            *_credit(run),
            *_table("Versions", [(name, [text]) for name, text in record.get("versions", {}).items()]),
            f"<footer>{for_html(_origin(record))}</footer>",
        )
    )
    return fill_template(_TEMPLATE, title=for_html(title), content=content)


def _header(record: Record, title: str) -> Iterator[str]:
    model = record["model"]
    version = f"version {model['version']}" if model.get("version") else ""
    known = [model["name"], version, model.get("licence") and f"licence {model['licence']}", when(record)]
    yield '<header>\n<div>\n<p class="soft kicker">Prediction report</p>'
    yield f"<h1>{for_html(title)}</h1>"
    yield f'<p class="about">{for_html(" · ".join(part for part in known if part))}</p>\n</div>\n</header>'
    outputs = ", ".join(str(one["id"]) for one in record["outputs"])
    seconds = f", in {record['seconds']['total']:.1f} s" if "seconds" in record else ""
    found = f"; {_counted(record['objects']['count'])}" if record.get("objects") else ""
    yield f'<p class="verdict yes"><strong>✓</strong> {for_html(f"Complete: {outputs}{seconds}{found}.")}</p>'


def _list(title: str, kind: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        items = "\n".join(f"<li>{for_html(text)}</li>" for text in dict.fromkeys(texts))
        yield f'<section>\n<h2>{title}</h2>\n<ul class="{kind}">\n{items}\n</ul>\n</section>'


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    short = " short" if all(len(lines) == 1 and len(lines[0]) <= _SHORT for _, lines in rows) else ""
    yield f'<section>\n<h2>{title}</h2>\n<table class="facts{short}">\n<tbody>'
    for label, lines in rows:
        text = "<br>".join(for_html(line) for line in lines)
        yield f'<tr><th scope="row">{for_html(label)}</th><td>{text}</td></tr>'
    yield "</tbody>\n</table>\n</section>"


def _images(record: Record, gallery: Gallery) -> Iterator[str]:
    yield "<section>\n<h2>Image</h2>"
    for shown, one in zip(gallery.inputs, record["inputs"], strict=True):
        if len(gallery.inputs) > 1:
            yield f"<h3>{for_html(shown.title)}</h3>"
        words = ": ".join(part for part in (one["name"], field_of_view(one)) if part)
        yield f'<p class="soft">{for_html(words)}</p>'
        first = shown is gallery.inputs[0]
        yield from _shown(shown, [*shown.pictures, *(gallery.overlays if first else ())])
    yield "</section>"


def _outputs(outputs: Sequence[Shown]) -> Iterator[str]:
    yield f"<section>\n<h2>Output{'s' if len(outputs) > 1 else ''}</h2>"
    for shown in outputs:
        yield f"<h3>{for_html(shown.title)}</h3>"
        beside = [shown.histogram] if shown.histogram is not None else []
        together = len(shown.pictures) == 1
        yield from _shown(shown, [*shown.pictures, *(beside if together else ())])
        yield from _figures([] if together else beside)
    yield "</section>"


def _shown(shown: Shown, pictures: Sequence[Picture]) -> Iterator[str]:
    yield from _figures(pictures)
    if shown.numbers is not None:
        heads, rows = shown.numbers
        yield '<div class="wide"><table class="numbers">\n<thead><tr>'
        yield "".join(f'<th scope="col">{for_html(head)}</th>' for head in heads)
        yield "</tr></thead>\n<tbody>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{for_html(value)}</td>' for value in row)}</tr>"
        yield "</tbody>\n</table></div>"
    for remark in shown.remarks:
        yield f'<p class="soft">{for_html(remark)}</p>'


def _figures(pictures: Sequence[Picture]) -> Iterator[str]:
    if pictures:
        yield f'<div class="figures{" many" if len(pictures) > FEW else ""}">'
        for picture in pictures:
            yield from _figure(picture)
        yield "</div>"


def _figure(picture: Picture) -> Iterator[str]:
    width, height = picture.size
    pixelated = ' class="pixelated"' if max(width, height) < _SMALL else ""
    alt = for_html(picture.alt)
    yield f'<figure>\n<img{pixelated} alt="{alt}" width="{width}" height="{height}" {_data(picture.png)}>'
    yield f"<figcaption><strong>{for_html(picture.title)}</strong>"
    if picture.kind is not None:
        low, high = picture.limits
        yield f'<span class="bar">{for_html(low)}<img alt="" {_data(colour_bar(picture.kind))}>{for_html(high)}</span>'
    for colour, words in picture.key:
        yield f'<span class="key"><span class="swatch" style="background:rgb{colour}"></span>{for_html(words)}</span>'
    caption = f"{picture.caption[:1].upper()}{picture.caption[1:]}"
    yield f'<span class="soft">{for_html(caption)}</span></figcaption>\n</figure>'


def _data(png: bytes) -> str:
    return f'src="data:image/png;base64,{base64.b64encode(png).decode()}"'


def _objects(objects: Record | None, picture: Picture | None, path: Path) -> Iterator[str]:
    if not objects:
        return
    yield f'<section>\n<h2>Objects</h2>\n<p class="count">{_counted(objects["count"], "<strong>", "</strong>")}</p>'
    yield from _figures([picture] if picture is not None else [])
    yield f"<p>{for_html(objects_in_words(objects))}</p>"
    if objects.get("table"):
        yield f"<p>Every object with its measurements: {_link(Path(objects['table']), path)}</p>"
    yield "</section>"


def _counted(count: int, begin: str = "", end: str = "") -> str:
    return f"{begin}{count:,}{end} object{'s' * (count != 1)} found"


def _link(file: Path, page: Path) -> str:
    """A file as a link relative to the page where it lies in the same folder or below, else its name."""
    place = file.absolute()
    if not place.is_relative_to(page.absolute().parent):
        return f"<code>{for_html(file)}</code>"
    relative = place.relative_to(page.absolute().parent)
    return f'<a href="{for_html(for_address(f"./{relative.as_posix()}"))}">{for_html(file.name)}</a>'


def _credit(record: RunRecord) -> Iterator[str]:
    licence = one_line(record.model.licence)
    named = f"Licence of the model: {licence}" if licence else "The model names no licence: ask its authors."
    yield f"<section>\n<h2>Licence, and how to cite</h2>\n<p>{for_html(named)}</p>"
    yield f"<h3>For the methods section</h3>\n<blockquote>{for_html(methods(record))}</blockquote>"
    yield "<h3>References</h3>\n<ul>"
    for one in references(record):
        address = for_html(one.url)
        link = f' <a href="{address}" rel="noopener noreferrer">{address}</a>' if one.url else ""
        yield f'<li><span class="soft">{for_html(one.what)}:</span> {for_html(one.text)}{link}</li>'
    yield f"</ul>\n<h3>BibTeX</h3>\n<pre><code>{escape(bibtex(record))}</code></pre>\n</section>"


def _origin(record: Record) -> str:
    version = record.get("versions", {}).get("bioimage_inference", "")
    return f"Written by bioimage-inference {version} from the record of the run, which says all of this to programs."
