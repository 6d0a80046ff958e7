"""The files of a downloaded model: which files it needs, their places in its folder, and their checksums."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import ModelError
from ..files.file_names import is_file_name
from ..files.partial_file import write_whole
from ..files.typed_path import is_address
from ..model.package import file_sha256
from ..model.spec import ModelSpec
from ..text import parse_json

DESCRIPTION = "rdf.yaml"
_CHECKSUMS = ".sha256.json"
_MOST_CHECKSUMS = 1 << 20
"""Bytes of the largest list of checksums that is read. A model has some dozen files of 100 bytes each in the list."""
_DIGITS = 12


@dataclass(frozen=True)
class File:
    """A file that the description names as ``source``. The model runs without a file that is not ``needed``."""

    source: str
    name: str
    sha256: str | None = None
    needed: bool = True


def package_files(description: Mapping[str, Any], spec: ModelSpec) -> list[File]:
    """Return the files to run, check and show a model: weights, code, test tensors, texts, pictures.

    Raises :class:`ModelError` where a file has no place inside the folder of the model.
    """
    files: dict[str, File] = {}
    taken: set[str] = set()
    for source, sha256, needed in (*_needed(spec), *_useful(description, spec)):
        if source not in files:
            name = file_name(source)
            while is_address(source) and name in taken:  # files with the same name from different servers
                name = f"other_{name}"
            taken.add(name)
            files[source] = File(source, name, sha256, needed)
    return list(files.values())


def _needed(spec: ModelSpec) -> Iterator[tuple[str, str | None, bool]]:
    for entry in spec.weights:
        # beside other weights, a missing or changed ONNX file must not spoil the model
        needed = entry.format != "onnx" or all(one.format == "onnx" for one in spec.weights)
        yield entry.source, entry.sha256, needed
        if entry.external_data is not None:
            yield entry.external_data.source, entry.external_data.sha256, needed
        if entry.architecture is not None and entry.architecture.source is not None:
            yield entry.architecture.source, entry.architecture.sha256, True
    for tensor in (*spec.inputs, *spec.outputs):
        for step in tensor.operations:
            if step.name == "custom":
                yield step.kwargs["source"], step.kwargs["sha256"], True


def _useful(description: Mapping[str, Any], spec: ModelSpec) -> Iterator[tuple[str, str | None, bool]]:
    tensors = (*description["inputs"], *description["outputs"])
    for tensor, raw in zip((*spec.inputs, *spec.outputs), tensors, strict=True):
        if tensor.test_tensor is not None:
            declared = raw.get("test_tensor")
            yield tensor.test_tensor, declared.get("sha256") if isinstance(declared, Mapping) else None, False
    if spec.documentation is not None and not is_address(spec.documentation):
        yield spec.documentation, None, False
    covers = description.get("covers")
    for cover in covers if isinstance(covers, list) else ():
        source = cover.get("source") if isinstance(cover, Mapping) else cover
        if isinstance(source, str) and source:
            yield source, None, False


def file_name(source: str) -> str:
    """Return the place of a file in its package. A file with an address (Zenodo: ``…/files/NAME/content``) has its
    place at the root. Raises :class:`ModelError` for a place outside the package.
    """
    name = source.replace("\\", "/")
    if is_address(source):
        parts = urlsplit(source).path.strip("/").split("/")
        name = unquote(parts[-2] if parts[-1] == "content" and len(parts) > 1 else parts[-1])
        name = name.replace("/", "_").replace("\\", "_")
    path = PurePosixPath(name)
    if not path.parts or ".." in path.parts or PureWindowsPath(name).drive or not all(map(is_file_name, path.parts)):
        raise ModelError(f"The description names {source!r}, which is no file name inside of the model's package.")
    return str(path)


def with_local_names(content: bytes, files: Iterable[File]) -> bytes:
    """Return the text of a description with the places of files in the folder instead of their addresses."""
    for file in sorted(files, key=lambda file: len(file.source), reverse=True):
        if is_address(file.source):
            content = content.replace(file.source.encode(), file.name.encode())
    return content


def folder_name(label: str, description: bytes) -> str:
    """Return the name of a model's folder. It contains the hash of the description."""
    return f"{label}-{hashlib.sha256(description).hexdigest()[:_DIGITS]}"


def write_model_checksums(folder: Path) -> None:
    """Write the hashes of all files in a folder. Raises :class:`OSError` and :class:`OutputError`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _CHECKSUMS)
    found = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    write_whole(folder / _CHECKSUMS, json.dumps(found, indent=1).encode(), noted=False)


def damaged_file(folder: Path) -> str | None:
    """Return the first file of a cached model that differs from its download; ``None`` for an intact model.

    Reads every file: 100 MB in memory take 0.07 s on an AMD EPYC with SHA instructions. Raises :class:`OSError`.
    """
    checksums = _read_checksums(folder / _CHECKSUMS)
    if checksums is None:
        return _CHECKSUMS
    for name, sha256 in checksums.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != sha256:
            return name
    return None if checksums[DESCRIPTION].startswith(folder.name.rpartition("-")[2]) else DESCRIPTION


def _read_checksums(path: Path) -> dict[str, str] | None:
    """Return hashes by file name; ``None`` where the list is missing or unusable."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_CHECKSUMS:
            return None
        found = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    usable = isinstance(found, dict) and all(isinstance(sha256, str) for sha256 in found.values())
    return found if usable and DESCRIPTION in found else None
