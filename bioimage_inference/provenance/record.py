"""The record of a run: frozen dataclasses that mirror ``provenance.schema.json``, and their JSON.

``docs/reference/provenance.md`` explains every key. A field with a default may be absent from the JSON. A field without
a default is always there, as ``null`` where its value is ``None``.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..files.partial_file import write_whole
from ..image.writers.output_formats import FORMATS
from ..text import for_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Facts = TypeVar("Facts")

SCHEMA = "urn:bioimage_inference:provenance:1"
FILE_KINDS = tuple(FORMATS)
"""Keys of an output that name its files."""


@dataclass(frozen=True, kw_only=True)
class CitationRecord:
    """A publication that the model's authors ask to cite."""

    text: str | None = None
    doi: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """The model, from its description."""

    name: str
    id: str | None
    version: str | None
    format_version: str
    authors: tuple[str, ...]
    licence: str | None
    sha256: str | None
    cite: tuple[CitationRecord, ...]


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """MODEL and the options that describe it. Paths are absolute; a model of the zoo has its id or DOI."""

    source: str
    description_file: str | None
    model_axes: str | None
    model_size: str | None


@dataclass(frozen=True, kw_only=True)
class ModelRecord(SourceRecord, PlannedModel):
    """The model and where it came from."""


@dataclass(frozen=True, kw_only=True)
class PixelSizeRecord:
    """Extent of a pixel along one axis."""

    value: float
    unit: str


@dataclass(frozen=True, kw_only=True)
class PlannedInput:
    """An image and how it fills an input tensor. ``file`` is an absolute path, ``None`` for an array in memory."""

    tensor: str
    name: str
    file: str | None
    axes: str
    axes_from: str
    shape: tuple[int, ...]
    dtype: str
    resized: Mapping[str, int]
    pixel_size: Mapping[str, PixelSizeRecord]
    origin: Mapping[str, float] = field(default_factory=dict)
    tensor_axes: str
    iterated_axes: str
    samples: int
    channels: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class InputRecord(PlannedInput):
    """An image after the run, with the hash of its file or array."""

    sha256: str | None
    bytes: int | None


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """Tiles, halo and padding. Mappings are by axis, in pixels."""

    tiles: int
    grid: Mapping[str, int]
    starts: Mapping[str, tuple[int, ...]]
    tile: Mapping[str, int]
    halo: Mapping[str, int]
    padding: Mapping[str, tuple[int, int]]
    border: str
    batch: int | None = None
    computed_per_pixel: float


@dataclass(frozen=True, kw_only=True)
class PlannedOutput:
    """An output before the run. Sizes that depend on the network's result are ``None``."""

    id: str
    axes: str
    shape: tuple[int | None, ...]
    dtype: str | None


@dataclass(frozen=True, kw_only=True)
class NamedOutput(PlannedOutput):
    """An output before the run, with the files that the run would write."""

    tiff: str | None
    npy: str | None


@dataclass(frozen=True, kw_only=True)
class ComputedOutput:
    """An output after the run, without its files."""

    id: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channel_names: tuple[str, ...]
    pixel_size: Mapping[str, PixelSizeRecord]
    origin: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OutputHashes:
    """SHA-256 of the files of an output."""

    tiff: str | None
    npy: str | None
    zarr: str | None = None


@dataclass(frozen=True, kw_only=True)
class OutputRecord(ComputedOutput):
    """An output after the run, with its files and their hashes."""

    tiff: str | None
    npy: str | None
    zarr: str | None = None
    sha256: OutputHashes

    def files(self) -> Iterator[tuple[str, Path, str | None]]:
        """Yield kind, path and SHA-256 of every file of the output."""
        for kind in FILE_KINDS:
            if getattr(self, kind) is not None:
                yield kind, Path(getattr(self, kind)), getattr(self.sha256, kind)


@dataclass(frozen=True, kw_only=True)
class PlannedMemory:
    """The memory budget in bytes, and the part of it that the program and the weights take."""

    bytes: int
    reason: str
    program_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryRecord(PlannedMemory):
    """The memory budget and the peak memory of the process."""

    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class WeightsRecord:
    """The weights entry that was loaded."""

    format: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DeviceRecord:
    """The device that computed."""

    name: str
    reason: str
    processor: str
    threads: int
    precision: str


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The engine that computed."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NetworkRecord:
    """The network as it was used: three keys of the record."""

    weights: WeightsRecord
    device: DeviceRecord
    engine: EngineRecord


@dataclass(frozen=True, kw_only=True)
class StatisticRecord:
    """The values of a statistic: a list per sample, or a single list for all samples where ``pooled``."""

    statistic: str
    tensor: str
    axes: str | None
    pooled: bool
    values: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """A step of pre- or postprocessing with the statistics that it used."""

    tensor: str
    step: str
    arguments: Mapping[str, Any]
    statistics: tuple[StatisticRecord, ...]


@dataclass(frozen=True, kw_only=True)
class SandboxRecord:
    """The restrictions of the process while the network computed."""

    landlock: int
    seccomp: bool


@dataclass(frozen=True, kw_only=True)
class ClusterBytes:
    """Bytes of pixels that the workers read and computed, and bytes of the stores."""

    read: int
    computed: int
    stored: int


@dataclass(frozen=True, kw_only=True)
class ClusterRecord:
    """The cluster that computed a single image."""

    address: str
    workers: int
    tasks: int
    cpu_seconds: float
    bytes: ClusterBytes


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The part of a record that is known before anything is computed, as ``--dry-run --json`` prints it."""

    model: PlannedModel
    inputs: tuple[PlannedInput, ...]
    plan: PlanRecord
    outputs: tuple[PlannedOutput, ...]
    memory: PlannedMemory
    options: Mapping[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a complete run."""

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
    objects: Mapping[str, Any] | None = None


def to_json(value: Any) -> Any:
    """Return a value as JSON holds it. Paths become texts, and numbers that are not finite become ``None``.

    Dataclasses become dictionaries, without the fields that have their default.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
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
        key = ".".join(map(str, first["loc"])) or "the whole"
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
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    return record_from_json(content)


def write_record(record: RunRecord, path: Path, *, noted: bool = True) -> None:
    """Write a record as JSON. The file appears when it is complete. Raises :class:`OutputError`.

    ``noted`` is that of :func:`~bioimage_inference.files.partial_file.write_whole`.
    """
    write_whole(path, f"{for_json(to_json(record), allow_nan=False)}\n".encode(), noted=noted)
