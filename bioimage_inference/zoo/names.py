"""Names in the zoo: models by id or DOI, and files by their place in a package or their address."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from ..errors import ModelError

_ID = re.compile(r"([a-z]+(?:-[a-z]+)+)(?:/([0-9][0-9.]*))?")
_DOI = re.compile(r"(?:https?:/+(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/[^\s/]+)(?:/[0-9.]+)?", re.IGNORECASE)


@dataclass(frozen=True)
class ZooName:
    """An ``id`` such as ``affable-shark``, perhaps with a ``version`` (``affable-shark/1.2``); or a ``doi``."""

    id: str | None = None
    version: str | None = None
    doi: str | None = None

    def __str__(self) -> str:
        return self.doi or "/".join(filter(None, (self.id, self.version)))


def zoo_name(source: Path) -> ZooName | None:
    """The model of the zoo that ``source`` names; ``None`` where there is a file, or the text is neither id nor DOI."""
    text = source.as_posix()
    by_id, by_doi = _ID.fullmatch(text), _DOI.fullmatch(text)
    if not (by_id or by_doi) or source.exists():
        return None
    return ZooName(id=by_id[1], version=by_id[2]) if by_id else ZooName(doi=by_doi[1].lower() if by_doi else None)


def is_address(source: str) -> bool:
    """Whether a file is named by an address instead of by its place in the package."""
    return "://" in source


def file_name(source: str) -> str:
    """Where in its package a file belongs; one with an address (of Zenodo: ``…/files/NAME/content``) at the root.

    Raises :class:`ModelError` where that is outside of the package.
    """
    name = source.replace("\\", "/")
    if is_address(source):
        parts = urlsplit(source).path.strip("/").split("/")
        name = unquote(parts[-2] if parts[-1] == "content" and len(parts) > 1 else parts[-1])
        name = name.replace("/", "_").replace("\\", "_")
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name:
        raise ModelError(f"The description names {source!r}, which is no file name inside of the model's package.")
    return str(path)
