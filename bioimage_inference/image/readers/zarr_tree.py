"""A zarr hierarchy in a folder or a zip. Its metadata are read and checked before zarr opens an array."""

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import ImageError
from .file_bytes import check_plausible

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
_LARGEST_METADATA = 64 << 20
_LARGEST_MEMBER = 1 << 31
_MEMBER_RATIO = 4000
# Longer chunk indices belong to no chunk, and int() refuses thousands of digits.
_MOST_DIGITS = 20


@dataclass(frozen=True)
class Node:
    """A group or array: its path in the tree, its zarr format, its metadata, and its attributes."""

    path: str
    format: Literal[2, 3]
    metadata: Mapping[str, Any]
    attributes: Mapping[str, Any]

    @property
    def is_array(self) -> bool:
        """Whether this is an array, not a group (or nothing)."""
        return "shape" in self.metadata

    @property
    def ome(self) -> Mapping[str, Any]:
        """The OME metadata: all attributes up to format 0.4, those under ``ome`` from 0.5 on."""
        ome = self.attributes.get("ome")
        return ome if isinstance(ome, Mapping) else self.attributes

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the array."""
        return tuple(int(size) for size in self.metadata["shape"])

    @property
    def dimension_names(self) -> list[str]:
        """Names of the dimensions from zarr 3 or xarray, else empty."""
        names = self.metadata.get("dimension_names") or self.attributes.get("_ARRAY_DIMENSIONS") or []
        return [str(name or "?") for name in names]

    @property
    def codecs(self) -> set[str]:
        """Names of all codecs that reading the array would call, also inside shards."""
        entries = (self.metadata.get("codecs"), self.metadata.get("filters"), self.metadata.get("compressor"))
        return {name for entry in entries for name in _codec_names(entry)}


class ZarrTree:
    """The hierarchy in ``root``, a subfolder (or empty) of the folder or opened zip at ``path``."""

    def __init__(self, path: Path, root: str, archive: zipfile.ZipFile | None) -> None:
        self.path = path
        self.name = path.name
        self._root = root
        self._archive = archive
        self._members = None if archive is None else _checked_members(path.name, archive)

    @property
    def folder(self) -> Path | None:
        """The folder of its root; None in a zip."""
        return self.path / self._root if self._archive is None else None

    def close(self) -> None:
        """Close the zip; opened arrays stay open."""
        if self._archive is not None:
            self._archive.close()

    def node(self, path: str) -> Node:
        """Return the metadata at that path, empty if there is nothing."""
        version3 = self._json(path, "zarr.json")
        if version3 is not None:
            return Node(path, 3, version3, _mapping(version3.get("attributes")))
        return Node(path, 2, self._json(path, ".zarray") or {}, self._json(path, ".zattrs") or {})

    def count_chunks(self, path: str, grid: Sequence[int]) -> int:
        """Return the number of stored chunks (or shards) of an array; ``grid`` is the number of all chunks by axis."""
        prefix = self._key(path, "")
        if self._members is not None:
            return sum(_is_chunk(name.removeprefix(prefix), grid) for name in self._members if name.startswith(prefix))
        top = str(self.path / prefix)
        return sum(
            _is_chunk(f"{folder[len(top) :]}/{name}".replace(os.sep, "/").lstrip("/"), grid)
            for folder, _, names in os.walk(top)
            for name in names
        )

    def open_array(self, node: Node) -> Any:
        """Return the zarr array of a node, read-only; close its store at the end."""
        import zarr
        from zarr.storage import LocalStore, ZipStore

        zipped = self._members is not None
        store = ZipStore(self.path, mode="r") if zipped else LocalStore(self.path, read_only=True)
        path = self._key(node.path, "").rstrip("/")
        return zarr.open_array(store=store, path=path, mode="r", zarr_format=node.format)

    def _key(self, path: str, name: str) -> str:
        return "/".join([part for part in (self._root, path) if part] + [name])

    def _json(self, path: str, name: str) -> dict[str, Any] | None:
        raw = self._bytes(self._key(path, name))
        if raw is None:
            return None
        try:
            loaded = json.loads(raw)
        except ValueError as error:
            raise ImageError(
                f"{self.name} is a damaged zarr: its {self._key(path, name)} is no valid JSON. Copy or write it again."
            ) from error
        return _mapping(loaded)

    def _bytes(self, key: str) -> bytes | None:
        file = self.path / key
        if self._members is None:
            size = file.stat().st_size if file.is_file() else None
        else:
            size = self._members[key].file_size if key in self._members else None
        if size is None:
            return None
        if size > _LARGEST_METADATA:
            raise ImageError(f"{self.name} is no usable zarr: its {key} is {size:,} bytes long. Write it again.")
        return file.read_bytes() if self._archive is None else self._archive.read(key)


def _is_chunk(key: str, grid: Sequence[int]) -> bool:
    """Return whether a file in an array is a chunk: ``c/0/1``, ``c.0.1``, ``0/1`` or ``0.1``."""
    parts = key.replace("/", ".").split(".")
    indices = parts[1:] if parts[0] == "c" else parts
    return len(indices) == len(grid) and all(
        index.isdecimal() and len(index) < _MOST_DIGITS and int(index) < count
        for index, count in zip(indices, grid, strict=True)
    )


def find_zarr(path: Path) -> ZarrTree | None:
    """Return the zarr at the top of a folder or zip, or in its only subfolder with a zarr; None if there is none.

    Close the tree at the end. Raises ImageError for a zip with harmful members.
    """
    with ExitStack() as stack:
        archive = None
        if path.is_dir():
            names = [child.name for child in path.iterdir()]
            deeper = (f"{name}/{mark}" for name in names for mark in METADATA if (path / name / mark).is_file())
        else:
            archive = stack.enter_context(zipfile.ZipFile(path))
            names = archive.namelist()
            deeper = (name for name in names if name.count("/") == 1 and name.endswith(METADATA))
        roots = {""} if any(mark in names for mark in METADATA) else {name.split("/")[0] for name in deeper}
        if len(roots) != 1:
            return None
        tree = ZarrTree(path, roots.pop(), archive)
        stack.pop_all()
        return tree


def _checked_members(name: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip by name. Raises ImageError for paths out of the archive and for huge members."""
    members = archive.infolist()
    for member in members:
        if member.filename.startswith("/") or ".." in member.filename.split("/"):
            raise ImageError(f"{name} is refused: its member {member.filename!r} lies outside the archive.")
        check_plausible(name, member.file_size, member.compress_size, _MEMBER_RATIO)
        if member.file_size > _LARGEST_MEMBER:
            raise ImageError(
                f"{name} holds a chunk of {member.file_size / 2**30:.1f} GiB, which can only be read as a whole. "
                "Write it again with smaller chunks."
            )
    return {member.filename: member for member in members}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _codec_names(entry: object) -> Iterator[str]:
    """Yield the names of codecs in zarr metadata: ``id`` in format 2, ``name`` in format 3, nested in shards."""
    if isinstance(entry, list):
        for part in entry:
            yield from _codec_names(part)
    elif isinstance(entry, dict):
        name = entry.get("id", entry.get("name"))
        if name is not None:
            yield str(name)
            configuration = _mapping(entry.get("configuration"))
            yield from _codec_names(configuration.get("codecs"))
            yield from _codec_names(configuration.get("index_codecs"))
    elif isinstance(entry, str):
        yield entry
