"""Reading a record again: what is needed to repeat its run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..options import Options
from .record import SCHEMA

_EXPECTED = "Give the file NAME_provenance.json that predict wrote beside its outputs."


@dataclass(frozen=True)
class RecordedFile:
    """A file as the record names it; ``path`` is ``None`` for an array in memory."""

    name: str
    path: Path | None
    sha256: str | None


@dataclass(frozen=True)
class RecordedModel:
    """The model as it was given, its hash and that of its weights."""

    name: str
    source: str
    description: Path | None
    axes: str | None
    size: str | None
    sha256: str | None
    weights_sha256: str


@dataclass(frozen=True)
class Recorded:
    """A record: ``images`` by input tensor, ``outputs`` by output tensor and kind of file (tiff, npy).

    ``options`` are those given, with the device, threads, precision, engine and budget of memory that were used, but
    without any trust. ``tile`` is the size used by axis, ``content`` the whole record.
    """

    path: Path
    model: RecordedModel
    images: Mapping[str, RecordedFile]
    outputs: Mapping[tuple[str, str], RecordedFile]
    options: Options
    plan: Mapping[str, Any]
    tile: Mapping[str, int]
    content: Mapping[str, Any]


def read_record(path: Path) -> Recorded:
    """The record in a file. Raises :class:`UsageError` where it is none that can be repeated."""
    if path.exists() and not path.is_file():
        raise UsageError(f"The record {path} is no file. {_EXPECTED}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The record {path} cannot be read: {error.strerror or error}. {_EXPECTED}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no provenance record: it is not JSON. {_EXPECTED}") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        found = f"its schema is {schema!r}, expected was {SCHEMA!r}" if schema else "it names no schema"
        raise UsageError(f"{path} is no provenance record that can be repeated: {found}. {_EXPECTED}")
    try:
        return _recorded(path, content)
    except KeyError as error:
        raise UsageError(f"The record {path} is incomplete or damaged: {error} is missing. {_EXPECTED}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"The record {path} is damaged: {error}. {_EXPECTED}") from error


def _recorded(path: Path, content: Mapping[str, Any]) -> Recorded:
    if not content["inputs"]:
        raise ValueError("it names no image")
    model = content["model"]
    description = model["description_file"]
    return Recorded(
        path=path,
        model=RecordedModel(
            name=model["name"],
            source=str(model["source"]),
            description=None if description is None else Path(description),
            axes=model["model_axes"],
            size=model["model_size"],
            sha256=model["sha256"],
            weights_sha256=content["weights"]["sha256"],
        ),
        images={
            one["tensor"]: RecordedFile(one["name"], Path(one["file"]) if one["file"] else None, one["sha256"])
            for one in content["inputs"]
        },
        outputs={
            (one["id"], kind): RecordedFile(Path(one[kind]).name, Path(one[kind]), sha256)
            for one in content["outputs"]
            for kind, sha256 in one["sha256"].items()
            if sha256 is not None
        },
        options=_options(content),
        plan=content["plan"],
        tile={axis: int(size) for axis, size in content["plan"]["tile"].items()},
        content=content,
    )


def _options(content: Mapping[str, Any]) -> Options:
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in content["options"].items()}
    unknown = given.keys() - vars(Options())
    if unknown:
        raise ValueError(f"there is no option {', '.join(sorted(unknown))}")
    threads = int(content["device"]["threads"])
    if threads < 1:
        raise ValueError(f"{threads} threads cannot compute")
    used = {
        "device": str(content["device"]["name"]),
        "threads": threads,
        "precision": content["device"]["precision"],
        "engine": content["engine"]["name"],
        "memory": str(int(content["memory"]["bytes"])),  # the same budget gives the same tiles
        "trust_model_code": False,
    }
    return Options(**{**given, **used})
