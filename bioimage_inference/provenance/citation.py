"""How to cite a result, as text and BibTeX: the model's publications, the model, and this program."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ..text import counted, one_line
from .record import RunRecord
from .record_parts import CitationRecord, ModelRecord, ObjectsRecord, PlanRecord

PROGRAM = "bioimage_inference: run BioImage.IO models on scientific images"
PROGRAM_AUTHORS = "bioimage_inference developers"
_DOI = re.compile(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_ZOO = re.compile(r"[a-z]+-[a-z]+(?:-[a-z]+)*")  # nicknames of the zoo, such as affable-shark
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_"},
}


@dataclass(frozen=True)
class Reference:
    """A citation as text and BibTeX. ``url`` is its address (http or https), ``None`` where it is unknown."""

    what: str
    text: str
    url: str | None
    bibtex: str


def references(record: RunRecord) -> list[Reference]:
    """Return the program, the model, then the publications that the model's authors ask to cite."""
    found = [_program(record.versions["bioimage_inference"]), _model(record.model)]
    for number, cited in enumerate(record.model.cite, 1):
        found.append(_cited(cited, f"{_key(record.model)}_{number}"))
    return found


def methods(record: RunRecord) -> str:
    """Return a few sentences for the methods section of a paper."""
    model, versions = record.model, record.versions
    version = f", version {one_line(model.version)}" if model.version else ""
    engine = one_line(record.engine.name)
    device, precision = one_line(record.device.name), one_line(record.device.precision)
    return (
        f"Images were processed with the model “{one_line(model.name)}”{version} (SHA-256 "
        f"{str(model.sha256)[:12]}…) using bioimage_inference {versions['bioimage_inference']} "
        f"({engine} {one_line(versions.get(engine, ''))}, {precision}, on {device}). {_tiling(record.plan)}"
        f"{_segmentation(record.objects)}"
    )


def bibtex(record: RunRecord) -> str:
    """Return the BibTeX entries of all references."""
    return "\n\n".join(one.bibtex for one in references(record))


def _tiling(plan: PlanRecord) -> str:
    if plan.tiles == 1:
        return "Each image was processed in one piece."
    tile = "×".join(str(size) for size in plan.tile.values())
    halo = ", ".join(f"{size} along {letter}" for letter, size in plan.halo.items())
    return f"Images were processed in {counted(plan.tiles, 'tile')} of {tile} pixels" + (
        f" (halo {halo})." if halo else "."
    )


def _segmentation(objects: ObjectsRecord | None) -> str:
    if objects is None:
        return ""
    foreground = f"channel {one_line(objects.foreground)}"
    minus = "" if objects.boundary == "none" else f" minus channel {one_line(objects.boundary)}"
    return (
        f" Objects were grown by a watershed from the connected regions where {foreground}{minus} of the prediction "
        f"exceeds {objects.threshold:g}, to where {foreground} falls to 0.5; those of fewer than "
        f"{counted(objects.min_size, 'pixel')} were left out."
    )


def _program(version: str) -> Reference:
    text = f"{PROGRAM_AUTHORS}. {PROGRAM}, version {one_line(version)}."
    fields = {"author": f"{{{_escaped(PROGRAM_AUTHORS)}}}", "title": f"{{{_escaped(PROGRAM)}}}"}
    return Reference("This program", text, None, _entry("bioimage_inference", {**fields, "version": _escaped(version)}))


def _model(model: ModelRecord) -> Reference:
    name, version, url = one_line(model.name), one_line(model.version), _model_url(one_line(model.id))
    authors = [one_line(author) for author in model.authors]
    text = f"{', '.join(authors)}. " if authors else ""
    text += f"{name}{f', version {version}' if version else ''}. BioImage.IO model"
    text += f", SHA-256 {model.sha256}." if model.sha256 else "."
    fields = {
        "author": " and ".join(f"{{{_escaped(author)}}}" for author in authors),
        "title": f"{{{_escaped(name)}}}",
        "version": _escaped(version or ""),
        "howpublished": "BioImage.IO model",
        "note": f"SHA-256 {model.sha256}" if model.sha256 else "",
        **_address(url),
    }
    return Reference("The model", text, url, _entry(_key(model), fields))


def _cited(cited: CitationRecord, key: str) -> Reference:
    """Return a publication of the model's authors. The description gives it as free text, so only its year is known."""
    text = one_line(cited.text) or ""
    url = _citation_url(cited)
    years = _YEAR.findall(text)
    fields = {"title": f"{{{_escaped(text)}}}" if text else "", "year": years[-1] if years else "", **_address(url)}
    return Reference("Asked for by the model's authors", text, url, _entry(key, fields))


def _citation_url(cited: CitationRecord) -> str | None:
    doi = _DOI.search(one_line(cited.doi) or "")
    url = one_line(cited.url) or ""
    if doi is not None:
        return f"https://doi.org/{doi[0]}"
    return quote(url, safe=":/?&=#%~.,;+@!") if url.startswith(("https://", "http://")) else None


def _model_url(name: str | None) -> str | None:
    """Return the address of a model whose id is a DOI or a nickname of the zoo."""
    if name is None:
        return None
    if (doi := _DOI.match(name)) is not None:
        return f"https://doi.org/{doi[0]}"
    return f"https://bioimage.io/#/?id={name}" if _ZOO.fullmatch(name) else None


def _address(url: str | None) -> dict[str, str]:
    if url is None:
        return {}
    doi = url.removeprefix("https://doi.org/")
    return {"doi": doi} if doi != url else {"url": url}


def _key(model: ModelRecord) -> str:
    words = re.findall(r"[A-Za-z0-9]+", model.id or model.name)
    return "_".join(words).lower()[:40] or "model"


def _entry(key: str, fields: Mapping[str, str]) -> str:
    lines = (f"  {name} = {{{value}}}," for name, value in fields.items() if value)
    return "\n".join((f"@misc{{{key},", *lines, "}"))


def _escaped(text: str) -> str:
    """Return a text for BibTeX, with its special characters escaped."""
    return "".join(_SPECIAL.get(letter, letter) for letter in one_line(text))
