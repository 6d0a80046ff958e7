"""The facts of a model as one self-contained HTML page: nothing is loaded from elsewhere, every text is escaped."""

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from ..errors import ModelError
from ..model.package import package_file
from ..text import for_html
from ..zoo.resolving import OpenedModel
from .model_facts import WEIGHTS_NAMES, Facts

_TEMPLATE = Path(__file__).with_name("model_card.html")
_PICTURES = ("PNG", "JPEG", "GIF", "WEBP")
_MAX_COVER_BYTES = 20 * 2**20
_MAX_COVER_PIXELS = 50_000_000
_COVER_WIDTH = 640


def model_card(facts: Facts, cover: bytes | None = None) -> str:
    """The page for what :func:`model_facts` found; ``cover`` is a PNG as :func:`cover_picture` gives it."""
    content = "\n".join(
        (
            *_header(facts, cover),
            '<div class="sides">',
            *_tensors("What it takes", facts["inputs"]),
            *_tensors("What it gives", facts["outputs"]),
            "</div>",
            *_beware(facts),
            *_use(facts),
            *_weights(facts),
            *_credit(facts),
            *_footer(facts),
        )
    )
    return fill_template(_TEMPLATE, title=for_html(facts["name"]), content=content)


def fill_template(template: Path, **texts: str) -> str:
    """A page of that template with the style that all pages share; ``texts`` are HTML already."""
    style = template.with_name("style.css").read_text(encoding="utf-8")
    return Template(template.read_text(encoding="utf-8")).substitute(style=style, **texts)


def cover_picture(opened: OpenedModel) -> bytes | None:
    """The first cover of the package that is a picture, as a small PNG; ``None`` where there is none.

    It is decoded and written anew, so that only pixels get into the page.
    """
    covers = (opened.described or {}).get("covers")
    for cover in covers if isinstance(covers, list) else []:
        source = cover.get("source") if isinstance(cover, Mapping) else cover
        if isinstance(source, str) and (picture := _small_png(opened, source)) is not None:
            return picture
    return None


def _small_png(opened: OpenedModel, source: str) -> bytes | None:
    from PIL import Image

    try:
        path = package_file(opened.spec.root, source)
        if path.stat().st_size > _MAX_COVER_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of huge or odd pictures, which are left out below
            with Image.open(path, formats=_PICTURES) as picture:
                if picture.width * picture.height > _MAX_COVER_PIXELS:
                    return None
                picture.draft("RGB", (_COVER_WIDTH, _COVER_WIDTH))
                small = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        small.thumbnail((_COVER_WIDTH, _COVER_WIDTH))
    except (ModelError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # not here, or no picture
        return None
    stream = io.BytesIO()
    small.save(stream, "PNG")
    return stream.getvalue()


def _header(facts: Facts, cover: bytes | None) -> Iterator[str]:
    name = for_html(facts["name"])
    yield f"<header>\n<div>\n<h1>{name}</h1>"
    known = [facts["id"], facts["version"] and f"version {facts['version']}", facts["licence"]]
    yield f'<p class="soft">{for_html(" · ".join(part for part in known if part))}</p>'
    if facts["description"]:
        yield f'<p class="about">{for_html(facts["description"])}</p>'
    yield "</div>"
    if cover is not None:
        data = base64.b64encode(cover).decode()
        yield f'<img class="cover" alt="Cover picture of {name}" src="data:image/png;base64,{data}">'
    yield "</header>"
    mark, kind = ("✓", "yes") if facts["runs_here"] else ("✗ It does not run here.", "no")
    yield f'<p class="verdict {kind}"><strong>{mark}</strong> {for_html(facts["verdict"])}</p>'
    for one in facts["missing_packages"]:
        if one["advice"] not in facts["verdict"]:
            yield f'<p class="verdict no">{for_html(one["advice"])}</p>'


def _tensors(title: str, tensors: list[Mapping[str, Any]]) -> Iterator[str]:
    if not tensors:
        return
    yield f"<section>\n<h2>{title}</h2>"
    for tensor in tensors:
        optional = ' <span class="soft">(optional)</span>' if tensor.get("optional") else ""
        yield f'<div class="tensor">\n<h3>{for_html(tensor["id"])}{optional}</h3>'
        yield f"<p>{for_html(_sentence(tensor['in_words']))}</p>"
        if tensor["description"]:
            yield f'<p class="soft">{for_html(tensor["description"])}</p>'
        yield f"<dl>{''.join(f'<dt>{label}</dt><dd>{text}</dd>' for label, text in _details(tensor))}</dl>\n</div>"
    yield "</section>"


def _details(tensor: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "give_as" in tensor:
        yield "Given as", f"<code>{for_html(tensor['give_as'])}</code>"
    yield "Axes", for_html(tensor["axes"].upper())
    yield "Declared type" if "give_as" in tensor else "Data type", for_html(tensor["dtype"])
    low, high = tensor["data_range"]
    if low is not None or high is not None:
        shown = ["any" if limit is None else f"{limit:g}" for limit in (low, high)]
        yield "Values", for_html(f"{shown[0]} to {shown[1]}")
    if tensor["pixel_size"]:
        sizes = [f"{letter} {one['value']:g} {one['unit']}" for letter, one in tensor["pixel_size"].items()]
        yield "Pixel size", for_html(", ".join(sizes))
    halo = {letter: size for letter, size in tensor.get("halo", {}).items() if size}
    if halo:
        yield "Halo", for_html(", ".join(f"{letter} {size}" for letter, size in halo.items()))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _beware(facts: Facts) -> Iterator[str]:
    for title, kind, texts in (("Beware", "beware", facts["traps"]), ("Notes", "notes", facts["notes"])):
        if texts:
            items = "\n".join(f"<li>{for_html(text)}</li>" for text in texts)
            yield f'<section>\n<h2>{title}</h2>\n<ul class="{kind}">\n{items}\n</ul>\n</section>'


def _use(facts: Facts) -> Iterator[str]:
    further = "".join(f" {one['give_as']}" for one in facts["inputs"][1:] if not one["optional"])
    yield "<section>\n<h2>How to use it</h2>"
    yield f"<pre><code>bioimage-inference predict MODEL IMAGE{for_html(further)} -o OUTPUT</code></pre>"
    yield (
        "<p>Axes, normalisation, tiles and halo come from the model. In Galaxy, choose the model and the image in "
        "<em>Process image using a BioImage.IO model</em>.</p>\n</section>"
    )


def _weights(facts: Facts) -> Iterator[str]:
    yield '<section>\n<h2>Weights and trust</h2>\n<table>\n<thead><tr><th scope="col">Weights</th>'
    yield '<th scope="col">Used here?</th><th scope="col">Trust</th></tr></thead>\n<tbody>'
    for one in facts["weights"]:
        trust = one["trust"]["in_words"] if one["trust"]["reason"] not in one["reason"] else "Not trusted."
        yield (
            f'<tr><th scope="row">{WEIGHTS_NAMES[one["format"]]}<br><code>{for_html(one["file"])}</code></th>'
            f"<td>{for_html(one['reason'])}</td><td>{for_html(trust)}</td></tr>"
        )
    for name in facts["other_weights"]:
        yield f'<tr><th scope="row">{for_html(name)}</th><td>No: PyTorch cannot load these.</td><td>–</td></tr>'
    yield "</tbody>\n</table>\n</section>"


def _credit(facts: Facts) -> Iterator[str]:
    licence = facts["licence"] or "none named: ask the authors before you publish results"
    yield f"<section>\n<h2>Credit</h2>\n<p>Licence: {for_html(licence)}</p>"
    if facts["authors"]:
        yield f"<p>Authors: {for_html(', '.join(facts['authors']))}</p>"
    if facts["citations"]:
        yield "<p>Please cite:</p>\n<ul>"
        yield "\n".join(f"<li>{_citation(one)}</li>" for one in facts["citations"])
        yield "</ul>"
    if facts["tags"]:
        yield f'<p class="soft">Tags: {for_html(", ".join(facts["tags"]))}</p>'
    yield "</section>"


def _citation(citation: Mapping[str, str | None]) -> str:
    text, url = for_html(citation["text"]), for_html(citation["url"])
    return f'{text} <a href="{url}" rel="noopener noreferrer">{url}</a>' if url else text


def _footer(facts: Facts) -> Iterator[str]:
    from .._version import __version__

    parts = [
        f"Description in format {facts['format_version']}" if facts["format_version"] else "No description",
        f"SHA-256 of the model {facts['sha256']}",
        f"written by bioimage-inference {__version__}",
    ]
    yield f"<footer>{for_html('; '.join(parts))}.</footer>"
