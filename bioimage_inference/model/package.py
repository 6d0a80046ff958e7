"""Finds the description and the files of a model in a zip, a folder, a YAML file or a bare weights file.

The content of a file decides what it is. Its name does not count, because Galaxy calls every file ``.dat``.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from ..errors import ModelError, UsageError
from ..file_kinds.containers import zip_kind
from ..file_kinds.file_kind import FileKind
from ..file_kinds.networks import folder_kind, is_onnx_start, network_kind, pickled_weights_kind
from .safe_yaml import MAX_BYTES, load_yaml
from .safe_zip import ZIP_MAGIC, Archive, open_archive
from .spec import USABLE_FORMATS
from .unusable_files import WHAT_IS_A_MODEL, image_in, no_model, refuse_other_files, swapped

WeightsKind = Literal["torchscript", "state_dict", "onnx"]

PREFERRED_NAMES = ("rdf.yaml", "bioimageio.yaml")
# Limits for the search among YAML files of other names; the longest description of the zoo has 17 KB.
MAX_YAML_FILES = 100
MAX_YAML_BYTES = 2**20

_PICKLE_MAGIC = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_ZARR_NAMES = {".zattrs", ".zgroup", "zarr.json"}
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|doi:|10\.\d{4,}/")

_Described = tuple[str, bytes, Mapping[str, Any]]
"""Name, bytes and content of a description."""


@dataclass(frozen=True)
class Package:
    """The files of a model and its description.

    ``root`` is the folder that the description's file names are relative to. ``description`` is the parsed YAML and
    ``description_name`` its file name; both are ``None`` for bare weights. ``bare_weights`` is a weights file that the
    user gave without a package. ``sha256`` is the hash of the zip or the weights, or else of the description.
    ``source`` is the path that the user gave.
    """

    root: Path
    description: Mapping[str, Any] | None
    description_name: str | None
    bare_weights: Path | None
    sha256: str
    source: Path

    @cached_property
    def files(self) -> list[Path]:
        """The files that the model is read from: the zip, or the files that its description names."""
        found = [self.source]
        if self.bare_weights is not None:
            found.append(self.bare_weights)
        if self.description is not None and self.description_name is not None:
            named = (self.root / name for name in (self.description_name, *_named_files(self.description)))
            # for a text that no file can have as its name, os.path returns False where Path raises an error
            found += [path for path in named if os.path.exists(path)]  # noqa: PTH110
        return found

    @property
    def places(self) -> list[Path]:
        """Return the files and folders of the model: a package's whole folder, or bare weights alone.

        Names of files in a description that a stranger wrote do not count. A description from a list of models (it has
        no file name) names the files that belong to published weights and lie beside them, nowhere else.
        """
        if self.description is not None and self.description_name is not None:
            return [self.source, self.root, *([] if self.bare_weights is None else [self.bare_weights])]
        found = [self.source]
        for name in () if self.description is None else _named_files(self.description):
            with suppress(ModelError):  # most texts of a description name no file
                found.append(package_file(self.root, name))
        return found


def open_package(source: Path, scratch: Path, description: Path | None = None, sha256: str | None = None) -> Package:
    """Open a model; a zip package is unpacked into a new folder below ``scratch``.

    ``description`` is the YAML file for bare weights, ``sha256`` the hash of the file, if known. A zip is unpacked
    as far as this program needs it: the files that the description names, without the weights for other frameworks.

    Raises :class:`UsageError` where nothing readable is at ``source``, and :class:`ModelError` where it is no model,
    damaged, ambiguous or hostile.
    """
    try:
        if source.is_dir():
            package = _open_folder(source)
        elif source.is_file():
            package = _open_file(source, scratch, description, sha256)
        elif source.exists():
            raise UsageError(f"{source} is neither a file nor a folder. {WHAT_IS_A_MODEL}")
        else:
            raise UsageError(f"There is no file or folder {source}. {WHAT_IS_A_MODEL}")
    except OSError as error:
        raise UsageError(f"The model {source} cannot be read: {error.strerror or error}.") from error
    if description is not None and package.bare_weights is None:
        raise UsageError(
            f"--description is for bare weights, but {source} brings its own description. "
            "Leave --description out, or give the weights file as the model."
        )
    return package


def package_file(root: Path, name: str) -> Path:
    """Return the path of a file that a description names.

    Raises :class:`ModelError` where it is missing, not readable, or outside of ``root``.
    """
    if _ADDRESS.match(name):
        raise ModelError(
            f"The file {PurePosixPath(name).name} is not in the package; its description says that it is at {name}. "
            "Download the complete package of the model (bioimage.io: Download → package) and use that."
        )
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or PureWindowsPath(name).drive or "\0" in name:
        raise ModelError(f"The description names {name!r}, which is no file name inside of the model's package.")
    try:
        path = (root / posix).resolve()
        is_file = path.is_file()
    except OSError as error:
        raise ModelError(f"The description names {name!r}, which cannot be read: {error.strerror}.") from error
    if not path.is_relative_to(root.resolve()):
        raise ModelError(
            f"The description names {name!r}, which is, or is a link to, a file outside of the model's folder. "
            "Put the file itself into the folder."
        )
    if not is_file:
        raise ModelError(
            f"The description names the file {name!r}, which is missing in the package. Download the complete package."
        )
    if not os.access(path, os.R_OK):
        raise ModelError(f"The model's file {name!r} cannot be read: permission denied. Ask its owner for access.")
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in lower case."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(path: Path, expected: str | None, what: str) -> str:
    """Return the SHA-256 of a file. Raises :class:`ModelError` where another is ``expected`` (``None``: any)."""
    actual = file_sha256(path)
    require_sha256(actual, expected, what)
    return actual


def require_sha256(actual: str, expected: str | None, what: str) -> None:
    """Raise :class:`ModelError` where two hashes differ; ``what`` names the file in the message."""
    if expected is not None and actual != expected.strip().lower():
        raise ModelError(
            f"{what} is not the file that the description means: its SHA-256 begins with {actual[:12]}, expected was "
            f"{expected[:12]}. It was changed or damaged; download the model again."
        )


def weights_kind(path: Path) -> WeightsKind | None:
    """Return the kind of a weights file by its content, ``None`` for other files.

    Raises :class:`ModelError` for damaged and hostile zip files.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    if not head.startswith(ZIP_MAGIC):
        return "state_dict" if head.startswith(_PICKLE_MAGIC) or is_safetensors(path) else None
    with open_archive(path) as archive:
        return _archive_kind(archive)


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: with the length of a JSON object, and the object."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return head[8:] == b"{" and 1 < int.from_bytes(head[:8], "little") < path.stat().st_size


def is_onnx(path: Path) -> bool:
    """Return whether a file begins as ONNX networks do."""
    with path.open("rb") as stream:
        return is_onnx_start(stream.read(16))


def may_be_weights(path: Path) -> bool:
    """Return whether the first bytes of a file allow it to hold weights. A package in a zip begins like them."""
    with path.open("rb") as stream:
        known = stream.read(4).startswith((*ZIP_MAGIC, *_PICKLE_MAGIC))
    return known or is_safetensors(path) or is_onnx(path)


def _archive_kind(archive: Archive) -> WeightsKind | None:
    names = list(archive.members)
    # PyTorch packs everything into one folder
    if len({name.partition("/")[0] for name in names}) != 1:
        return None
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return "torchscript"
    return "state_dict" if "data.pkl" in inside else None


def _open_file(source: Path, scratch: Path, description: Path | None, sha256: str | None) -> Package:
    with source.open("rb") as stream:
        head = stream.read(1024)
    if head.startswith(ZIP_MAGIC):
        with open_archive(source) as archive:
            kind = _archive_kind(archive)
            if kind is None:
                return _open_zip(archive, scratch, sha256)
    elif is_onnx(source):
        kind = "onnx"
    else:
        kind = "state_dict" if head.startswith(_PICKLE_MAGIC) or is_safetensors(source) else None
    if kind is not None and description is not None:
        described = _open_yaml(description)
        names = described.description, described.description_name
        return Package(described.root, *names, source, sha256 or file_sha256(source), source)
    if kind == "onnx":
        raise ModelError(
            f"{source.name} is an ONNX model without a description. Give the model's package (zip or folder), or name "
            "its description with --description rdf.yaml."
        )
    if kind == "state_dict":
        other = _other_program(source, head)
        if other is not None:
            raise no_model(source, other)
        raise ModelError(
            f"{source.name} holds the weights of a network, but not the network: it is no TorchScript. Give the "
            "model's package (zip or folder), or name its description with --description rdf.yaml."
        )
    if kind == "torchscript":
        return Package(source.absolute().parent, None, None, source, sha256 or file_sha256(source), source)
    refuse_other_files(source, head)
    return _open_yaml(source)


def _open_yaml(source: Path) -> Package:
    if not source.is_file():
        raise UsageError(f"There is no file {source}.")
    name, content, data = _described(source.name, _yaml_bytes(source))
    return Package(source.absolute().parent, data, name, None, hashlib.sha256(content).hexdigest(), source)


def _open_folder(source: Path) -> Package:
    if any((source / name).exists() for name in _ZARR_NAMES):
        raise ModelError(swapped(source, "an OME-Zarr image"))
    yamls = [path for pattern in ("*.y*ml", "*/*.y*ml") for path in source.glob(pattern) if path.is_file()]
    names = [path.relative_to(source).as_posix() for path in yamls]
    kind = folder_kind(source)
    if kind is not None and not _names_description(names):
        raise no_model(source, kind)
    if not names and (image := image_in(source)) is not None:
        raise ModelError(swapped(source, f"a folder of images, such as {image}"))
    name, content, data = _find_description(names, lambda name: _yaml_bytes(source / name), f"The folder {source}")
    path = source.absolute() / name
    return Package(path.parent, data, path.name, None, hashlib.sha256(content).hexdigest(), source)


def _open_zip(archive: Archive, scratch: Path, sha256: str | None) -> Package:
    source = archive.path
    if _ZARR_NAMES & archive.members.keys():
        raise ModelError(swapped(source, "an OME-Zarr image"))
    if not archive.members:
        raise ModelError(f"The zip file {source.name} is empty. {WHAT_IS_A_MODEL}")
    kind = zip_kind(archive.members)
    if kind is not None and not _names_description(archive.members):
        raise no_model(source, kind)
    name, _, data = _find_description(
        archive.members, lambda member: archive.read(member, MAX_BYTES), f"The zip file {source.name}"
    )
    inside = PurePosixPath(name).parent
    wanted = {str(inside / file) for file in _named_files(data)}
    folder = archive.unpack(sorted((wanted & archive.members.keys()) | {name}), scratch)
    return Package(folder / inside, data, PurePosixPath(name).name, None, sha256 or file_sha256(source), source)


def _yaml_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)  # load_yaml refuses the file for the last byte


def _named_files(description: Mapping[str, Any]) -> set[str]:
    """Return every text of the description that may be a file name, except for weights of other frameworks."""
    weights = description.get("weights")
    if isinstance(weights, Mapping):
        usable = {key: value for key, value in weights.items() if key in USABLE_FORMATS}
        description = {**description, "weights": usable}
    # "unet.py:UNet2d" and "conda:environment.yaml" of format 0.4 name a file before or after the colon
    parts = {part for text in _texts(description) for part in (text, text.rpartition(":")[0], text.partition(":")[2])}
    return {str(PurePosixPath(part.replace("\\", "/"))) for part in parts if part}


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list):
        for value in data.values() if isinstance(data, Mapping) else data:
            yield from _texts(value)


def _find_description(names: Iterable[str], read: Callable[[str], bytes], where: str) -> _Described:
    """Return the model description among files, which is at the root or one folder deep; ``read`` returns their bytes.

    Raises :class:`ModelError` where there is none, or more than one.
    """
    yamls = sorted(filter(_is_yaml_name, names))
    broken: list[str] = []
    for depth in (1, 2):
        level = [name for name in yamls if len(PurePosixPath(name).parts) == depth]
        for preferred in PREFERRED_NAMES:
            named = [name for name in level if PurePosixPath(name).name.lower() == preferred]
            if named:
                name = _the_only(named, where)
                return _described(name, read(name))
        models = {model[0]: model for model in _models(level, read, broken, where)}
        if models:
            return models[_the_only(list(models), where)]
    seen = f" (it holds {', '.join(yamls[:5])})" if yamls else ""
    raise ModelError(
        " ".join([f"{where} holds no model description such as rdf.yaml{seen}. {WHAT_IS_A_MODEL}", *broken])
    )


def _is_yaml_name(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in (".yaml", ".yml") and len(path.parts) <= 2 and not hidden


def _the_only(names: list[str], where: str) -> str:
    if len(names) > 1:
        raise ModelError(
            f"{where} holds several model descriptions: {', '.join(names[:10])}. Give the one to use as the model "
            "itself (of a zip file, after unpacking it)."
        )
    return names[0]


def _models(names: list[str], read: Callable[[str], bytes], broken: list[str], where: str) -> Iterator[_Described]:
    """Yield the YAML files that describe a model; messages on broken ones are added to ``broken``."""
    taken = 0
    for name in names:
        try:
            content = read(name)
            data = load_yaml(content, name)
        except ModelError as error:
            broken.append(str(error))
            continue
        taken += len(content)
        if taken > MAX_YAML_BYTES or len(names) > MAX_YAML_FILES:
            raise ModelError(
                f"{where} holds too much YAML to search for the model's description. Give the one to use as the model "
                "itself (of a zip file, after unpacking it)."
            )
        if _is_model(data):
            yield name, content, data


def _described(name: str, content: bytes) -> _Described:
    """Parse a file that must be a model description. Raises :class:`ModelError` where it is none."""
    data = load_yaml(content, name)
    if not _is_model(data):
        kind = data.get("type") if isinstance(data, dict) else None
        found = f"describes something of the type {kind!r}" if kind is not None else "is no model description"
        raise ModelError(f"{name} {found}. {WHAT_IS_A_MODEL}")
    return name, content, data


def _is_model(data: Any) -> bool:
    return isinstance(data, dict) and (data.get("type") == "model" or ("inputs" in data and "type" not in data))


def _names_description(names: Iterable[str]) -> bool:
    return any(PurePosixPath(name).name.lower() in PREFERRED_NAMES for name in names)


def _other_program(source: Path, head: bytes) -> FileKind | None:
    """Return the kind of a file of pickled weights, or of a pickled model, that belongs to another program."""
    if not head.startswith(ZIP_MAGIC):
        return network_kind(source, head)
    with open_archive(source) as archive:
        (name,) = (member for member in archive.members if PurePosixPath(member).name == "data.pkl")
        small = archive.members[name].file_size <= MAX_BYTES
        return pickled_weights_kind(archive.read(name, MAX_BYTES)) if small else None
