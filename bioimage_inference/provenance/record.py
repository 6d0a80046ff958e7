"""The record of a run and its JSON: one writer, and one reader that checks every field.

``provenance.schema.json`` describes the JSON, and :class:`RunRecord` mirrors it. A test compares the two.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..files.overwriting import files_of_earlier_runs
from ..files.partial_file import write_whole
from ..text import for_json, parse_json
from .record_parts import (
    ClusterRecord,
    DeviceRecord,
    EngineRecord,
    ExpectedCost,
    InputRecord,
    MemoryRecord,
    ModelRecord,
    ObjectsRecord,
    OutputRecord,
    PlannedInput,
    PlannedMemory,
    PlannedModel,
    PlannedOutput,
    PlanRecord,
    SandboxRecord,
    StepRecord,
    WeightsRecord,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Facts = TypeVar("Facts")

_UNION = "json-or-python["  # pydantic's label of a type in a union, which is no key
SCHEMA = "urn:bioimage_inference:provenance:1"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The part of a record that is known before anything is computed, as ``--dry-run --json`` prints it.

    ``expected`` is there in a dry run only.
    """

    model: PlannedModel
    inputs: tuple[PlannedInput, ...]
    plan: PlanRecord
    outputs: tuple[PlannedOutput, ...]
    memory: PlannedMemory
    options: Mapping[str, Any]
    notes: tuple[str, ...]
    expected: ExpectedCost | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a complete run.

    ``earlier_files`` are the names of files beside the record that earlier runs of the same image wrote and this one
    did not.
    """

    schema: str
    started: str
    ended: str
    model: ModelRecord
    inputs: tuple[InputRecord, ...]
    plan: PlanRecord
    outputs: tuple[OutputRecord, ...]
    memory: MemoryRecord
    options: Mapping[str, Any]
    notes: tuple[str, ...]
    weights: WeightsRecord
    device: DeviceRecord
    engine: EngineRecord
    processing: tuple[StepRecord, ...]
    seconds: Mapping[str, float]
    versions: Mapping[str, str]
    sandbox: SandboxRecord | None = None
    cluster: ClusterRecord | None = None
    sample: Mapping[str, str] | None = None
    objects: ObjectsRecord | None = None
    earlier_files: tuple[str, ...] | None = None


def to_json(value: Any) -> Any:
    """Return a value as JSON holds it. Paths become texts, and numbers that are not finite become ``None``.

    Dataclasses become dictionaries, without the fields that have their default.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if is_dataclass(value):
        return {one.name: to_json(getattr(value, one.name)) for one in fields(value) if not _is_absent(value, one)}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    return str(value) if isinstance(value, PurePath) else repr(value)


def _is_absent(record: Any, one: Any) -> bool:
    """Return whether a field has its default: ``None`` or an empty mapping."""
    has_default = one.default is not MISSING or one.default_factory is not MISSING
    return has_default and getattr(record, one.name) in (None, {})


def from_json(kind: Callable[..., Facts], content: Any) -> Facts:
    """Return a dataclass of the type ``kind`` with the content of a JSON object. Unknown keys are ignored.

    Raises :class:`ValueError` with the key that is missing or wrong.
    """
    from pydantic import ValidationError

    try:
        found: Facts = _adapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = [str(part) for part in first["loc"]]
        key = ".".join(part for part in place if not part.startswith(_UNION)) or "the whole"
        problem = "is missing" if first["type"] == "missing" else f"is wrong ({first['msg']})"
        raise ValueError(f"{key} {problem}") from error
    return found


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def record_from_json(content: Any) -> RunRecord:
    """Return the record with this JSON content. Raises :class:`ValueError` with the reason where there is none."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r}, expected was {SCHEMA!r}" if schema else "it names no schema")
    try:
        record = from_json(RunRecord, content)
    except ValueError as error:
        raise ValueError(f"it is incomplete or damaged: {error}") from error
    if not record.inputs:
        raise ValueError("it names no image")
    return record


def read_record(path: Path) -> RunRecord:
    """Return the record in a file. Raises :class:`OSError`, and :class:`ValueError` with the reason."""
    text = path.read_bytes()
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError("it is not JSON") from error
    return record_from_json(content)


def write_record(record: RunRecord, path: Path, *, noted: bool = True) -> None:
    """Write a record as JSON, with the files of earlier runs. The file appears when it is complete.

    ``noted`` is that of :func:`~bioimage_inference.files.partial_file.write_whole`. Raises :class:`OutputError`.
    """
    content = to_json(replace(record, earlier_files=None))
    if earlier := files_of_earlier_runs(path, content):
        content["earlier_files"] = earlier
    write_whole(path, f"{for_json(content, allow_nan=False)}\n".encode(), noted=noted)
