"""Names of zoo models: in the forms that users type and paste, and in the form that records hold."""

import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from urllib.parse import unquote

from ..errors import UsageError
from .index import Entry, Index

_ID = r"[a-z]+(?:-[a-z]+)+"
# Also the ids of a few old models, such as UNet2DNucleiBroad-5744490.
_ANY_ID = r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+"
_DOI = r"10\.\d{4,9}/[^\s/?#&]+"
_RECORDED = re.compile(rf"(?P<id>{_ANY_ID})(?:/(?P<version>[0-9][0-9.]*))?|(?P<doi>{_DOI})")
# The zoo's own pages and file servers, and those of the DOIs that it gave to models until 2024.
_HOSTS = re.compile(
    r"(?:https?:/+)?(?:www\.|dev\.)?(?:bioimage\.io|hypha\.aicell\.io|uk1s3\.embassy\.ebi\.ac\.uk|(?:dx\.)?doi\.org|"
    r"zenodo\.org|bioimage-io\.github\.io)/",
    re.IGNORECASE,
)
_ID_IN_ADDRESS = re.compile(
    r"(?:artifacts/|/r/|[?&]id=|public-datasets/bioimage\.io/)(?:bioimage-io[/:])?"
    rf"({_ANY_ID})(?:/(\d[\d.]*))?(?=[/?#&]|$)",
    re.IGNORECASE,
)
_DOI_TYPED = re.compile(rf"(?:doi:?\s*)?({_DOI})(?:/[0-9.]+)?", re.IGNORECASE)
_ZENODO = re.compile(r"zenodo\.org/records?/(\d+)", re.IGNORECASE)
_NAME = re.compile(r"(?:bioimage[-.]io[/:])?(.+?)(?:/v?([0-9][0-9.]*))?", re.IGNORECASE)
# Letters that do not count when names are compared; the zoo puts pictures beside its ids.
_IGNORED = re.compile(r"[\s_-]|[^\w!-~]")


@dataclass(frozen=True)
class ZooName:
    """An ``id`` such as ``affable-shark``, perhaps with a ``version`` (``affable-shark/1.2``); or a ``doi``.

    ``str()`` gives the name that records hold. ``typed`` is the text of the user, for messages.
    """

    id: str | None = None
    version: str | None = None
    doi: str | None = None
    typed: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.doi or "/".join(filter(None, (self.id, self.version)))


def recorded_name(text: str) -> ZooName | None:
    """Return the zoo model that a record names; ``None`` for a path."""
    found = _RECORDED.fullmatch(text)
    return ZooName(**found.groupdict(), typed=text) if found else None


def typed_name(typed: str, index: Index) -> ZooName | None:
    """Return the zoo model that the user names; ``None`` where a file has this name, or where no model can have it.

    Users give the id in any case (``Affable-Shark``, ``bioimage-io/affable-shark``, ``affable-shark/1.2``), the title,
    the DOI, or the address of a page or file of the model at bioimage.io, doi.org or zenodo.org. An id that is not in
    ``index`` may belong to a newer model. Raises :class:`UsageError` for a title that several models have.
    """
    text = typed.strip()
    if not text or os.path.exists(typed):  # noqa: PTH110  (a text may be longer than a path can be)
        return None
    if _HOSTS.match(text) and (in_address := _name_in_address(unquote(text), typed, index)):
        return in_address
    if by_doi := _DOI_TYPED.fullmatch(text):
        return ZooName(doi=by_doi[1].lower(), typed=typed)
    name, version = _parts(text)
    for title, title_version in ((text, None), (name, version)):
        found = _models_named(title, index)
        if len(found) > 1:
            ids = ", ".join(entry.id for entry in found)
            raise UsageError(f"Several models of the zoo have the title {typed!r}: {ids}. Give one of these names.")
        if found:
            return ZooName(id=found[0].id, version=title_version, typed=typed)
    is_id = re.fullmatch(_ID, name, re.IGNORECASE)
    return ZooName(id=name.lower(), version=version, typed=typed) if is_id else None


def did_you_mean(typed: str, index: Index) -> str:
    """Return a question with at most three models of similar ids or titles; empty where no model is similar."""
    wanted = _key(_parts(typed.strip())[0])
    keys = [(_key(name), entry.id) for entry in index.current().values() for name in (entry.id, entry.name)]
    close = get_close_matches(wanted, dict(keys), n=3, cutoff=0.7)
    similar = [model for match in close for key, model in keys if key == match]
    inside = [model for key, model in keys if len(wanted) > 3 and wanted in key]
    meant = list(dict.fromkeys([*similar, *inside]))[:3]
    return f" Did you mean {' or '.join(meant)}?" if meant else ""


def _name_in_address(address: str, typed: str, index: Index) -> ZooName | None:
    if by_record := _ZENODO.search(address):
        return ZooName(doi=f"10.5281/zenodo.{by_record[1]}", typed=typed)
    if by_doi := re.search(_DOI, address, re.IGNORECASE):
        return ZooName(doi=by_doi[0].lower(), typed=typed)
    by_id = _ID_IN_ADDRESS.search(address)
    if by_id is None:
        return None
    listed = next(
        (entry.id for entry in index.current().values() if entry.id.lower() == by_id[1].lower()), by_id[1].lower()
    )
    return ZooName(id=listed, version=by_id[2], typed=typed)


def _parts(text: str) -> tuple[str, str | None]:
    """Return a name without the zoo's own name before it, and the version after it."""
    found = _NAME.fullmatch(text)
    return (found[1], found[2]) if found else (text, None)


def _models_named(name: str, index: Index) -> list[Entry]:
    """Return the model with this id, else all models with this title."""
    wanted, current = _key(name), index.current().values()
    by_id = [entry for entry in current if _key(entry.id) == wanted]
    return by_id or [entry for entry in current if _key(entry.name) == wanted]


def _key(name: str) -> str:
    return _IGNORED.sub("", name.casefold())
