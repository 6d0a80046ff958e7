"""Names in the zoo: models by id or DOI, and files by their place in a package or their address."""

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from ..errors import ModelError
from ..files.typed_path import is_address

_ID = re.compile(r"([a-z]+(?:-[a-z]+)+)(?:/([0-9][0-9.]*))?")
_DOI = re.compile(r"10\.\d{4,9}/[^\s/]+")


@dataclass(frozen=True)
class ZooName:
    """An ``id`` such as ``affable-shark``, perhaps with a ``version`` (``affable-shark/1.2``); or a ``doi``.

    The text of a ``ZooName`` is the name that records hold; ``typed`` is what the user wrote, for messages.
    """

    id: str | None = None
    version: str | None = None
    doi: str | None = None
    typed: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.doi or "/".join(filter(None, (self.id, self.version)))


def recorded_name(text: str) -> ZooName | None:
    """The model of the zoo that a record names; ``None`` for a path. What users type, ``zoo/typed.py`` reads."""
    if by_id := _ID.fullmatch(text):
        return ZooName(id=by_id[1], version=by_id[2], typed=text)
    return ZooName(doi=text, typed=text) if _DOI.fullmatch(text) else None


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
