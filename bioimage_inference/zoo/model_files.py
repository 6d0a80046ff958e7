"""Which files a downloaded model consists of, and where they belong in its folder."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..files.typed_path import is_address
from ..model.spec import ModelSpec
from .names import file_name


@dataclass(frozen=True)
class File:
    """A file that the description names as ``source``; the model runs without one that is not ``needed``."""

    source: str
    name: str
    sha256: str | None = None
    needed: bool = True


def package_files(description: Mapping[str, Any], spec: ModelSpec) -> list[File]:
    """What running, checking and showing the model takes: PyTorch weights, code, test tensors, texts, pictures.

    Raises :class:`ModelError` where a file has no place inside of the model's folder.
    """
    files: dict[str, File] = {}
    taken: set[str] = set()
    for source, sha256, needed in (*_needed(spec), *_useful(description, spec)):
        if source not in files:
            name = file_name(source)
            while is_address(source) and name in taken:  # files of one name from different places
                name = f"other_{name}"
            taken.add(name)
            files[source] = File(source, name, sha256, needed)
    return list(files.values())


def _needed(spec: ModelSpec) -> Iterator[tuple[str, str | None, bool]]:
    for entry in spec.weights:
        yield entry.source, entry.sha256, True
        if entry.architecture is not None and entry.architecture.source is not None:
            yield entry.architecture.source, entry.architecture.sha256, True
    for tensor in (*spec.inputs, *spec.outputs):
        for step in tensor.operations:
            if step.name == "custom":
                yield step.kwargs["source"], step.kwargs["sha256"], True


def _useful(description: Mapping[str, Any], spec: ModelSpec) -> Iterator[tuple[str, str | None, bool]]:
    for tensor, raw in zip(
        (*spec.inputs, *spec.outputs), (*description["inputs"], *description["outputs"]), strict=True
    ):
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


def with_local_names(content: bytes, files: Iterable[File]) -> bytes:
    """The text of a description that names files by address, naming them by their place in the folder."""
    for file in sorted(files, key=lambda file: len(file.source), reverse=True):
        if is_address(file.source):
            content = content.replace(file.source.encode(), file.name.encode())
    return content
