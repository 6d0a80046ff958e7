"""A zarr hierarchy in a folder, in a zip or at an address. Its metadata are checked before zarr opens an array."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import ImageError
from ...files.typed_path import ImagePath
from ...text import parse_json
from .zarr_files import FolderFiles, ZarrFiles, ZipFiles, open_files

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
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
    """The hierarchy in ``root``, a subfolder (or empty) of a folder, a zip or an address."""

    def __init__(self, files: ZarrFiles, root: str = "") -> None:
        self.place = files.place
        self.name = files.place.name
        self._files = files
        self._root = root

    def place_of(self, path: str) -> ImagePath | None:
        """Return the folder or address of a group or array; None in a zip."""
        if isinstance(self._files, ZipFiles):
            return None
        inner = self._key(path, "").rstrip("/")
        return self.place / inner if inner else self.place

    def close(self) -> None:
        """Close the zip; opened arrays stay open."""
        self._files.close()

    def node(self, path: str) -> Node:
        """Return the metadata at that path, empty if there is nothing."""
        version3 = self._json(path, "zarr.json")
        if version3 is not None:
            return Node(path, 3, version3, _mapping(version3.get("attributes")))
        return Node(path, 2, self._json(path, ".zarray") or {}, self._json(path, ".zattrs") or {})

    def text(self, path: str) -> str:
        """Return the text of a file in UTF-8, empty if there is none."""
        return (self._files.read(self._key("", path)) or b"").decode("utf-8", "replace")

    def count_chunks(self, path: str, grid: Sequence[int]) -> int | None:
        """Return the number of stored chunks (or shards) of an array; ``grid`` is the number of all chunks by axis.

        The number is None where files cannot be listed.
        """
        names = self._files.names(self._key(path, ""))
        return None if names is None else sum(_is_chunk(name, grid) for name in names)

    def open_array(self, node: Node) -> Any:
        """Return the zarr array of a node, read-only; close its store at the end."""
        import zarr

        path = self._key(node.path, "").rstrip("/")
        return zarr.open_array(store=self._files.store(), path=path, mode="r", zarr_format=node.format)

    def _key(self, path: str, name: str) -> str:
        return "/".join([part for part in (self._root, path) if part] + [name])

    def _json(self, path: str, name: str) -> dict[str, Any] | None:
        raw = self._files.read(self._key(path, name))
        if raw is None:
            return None
        try:
            loaded = parse_json(raw)
        except ValueError as error:
            raise ImageError(
                f"{self.name} is a damaged zarr: its {self._key(path, name)} is no valid JSON. Copy or write it again."
            ) from error
        return _mapping(loaded)


def _is_chunk(key: str, grid: Sequence[int]) -> bool:
    """Return whether a file in an array is a chunk: ``c/0/1``, ``c.0.1``, ``0/1`` or ``0.1``."""
    parts = key.replace("/", ".").split(".")
    indices = parts[1:] if parts[0] == "c" else parts
    return len(indices) == len(grid) and all(
        index.isdecimal() and len(index) < _MOST_DIGITS and int(index) < count
        for index, count in zip(indices, grid, strict=True)
    )


def find_zarr(place: ImagePath) -> ZarrTree | None:
    """Return the zarr at the top of a folder, zip or address, or in the only subfolder with a zarr; None without one.

    Close the tree at the end. Raises ImageError for a zip with harmful members.
    """
    with ExitStack() as stack:
        files = open_files(place)
        stack.callback(files.close)
        if isinstance(files, FolderFiles):
            names = [child.name for child in files.place.iterdir()]
            deeper = [f"{name}/{mark}" for name in names for mark in METADATA if (files.place / name / mark).is_file()]
        elif isinstance(files, ZipFiles):
            names = list(files.names(""))
            deeper = [name for name in names if name.count("/") == 1 and name.endswith(METADATA)]
        else:
            found = next((mark for mark in METADATA if files.read(mark) is not None), None)
            if found is None and files.refused is not None:
                raise files.refused
            names, deeper = [found] if found else [], []
        roots = {""} if any(mark in names for mark in METADATA) else {name.split("/")[0] for name in deeper}
        if len(roots) != 1:
            return None
        tree = ZarrTree(files, roots.pop())
        stack.pop_all()
        return tree


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
