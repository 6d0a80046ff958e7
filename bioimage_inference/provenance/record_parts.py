"""The parts of a record: frozen dataclasses that mirror ``provenance.schema.json``.

``docs/reference/provenance.md`` explains every key. A field with a default may be absent from the JSON. A field without
a default is always there, as ``null`` where its value is ``None``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..image.series import Selection
from ..image.writers.output_formats import FORMATS, OutputTexts


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
class SeriesRecord:
    """The image of a file with several images, levels or fields: its number in ``file`` and its level from 0.

    ``levels`` has the shape of each level.
    """

    number: int
    level: int
    name: str | None = None
    well: str | None = None
    field: str | None = None
    levels: tuple[tuple[int, ...], ...] | None = None

    @property
    def selection(self) -> Selection:
        """The selection that opens the image of the file again."""
        return Selection(series=self.number, level=self.level)


@dataclass(frozen=True, kw_only=True)
class PlannedInput:
    """An image and how it fills an input tensor.

    ``file`` is an absolute path or an address, ``None`` for an array in memory. ``series`` is ``None`` for a file with
    a single image.
    """

    tensor: str
    name: str
    file: str | None
    series: SeriesRecord | None = None
    axes: str
    axes_from: str
    shape: tuple[int, ...]
    dtype: str
    resized: Mapping[str, int]
    rescaled_pixel_size: Mapping[str, PixelSizeRecord] = field(default_factory=dict)
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
class NamedOutput(OutputTexts, PlannedOutput):
    """An output before the run, with the files that the run would write."""


@dataclass(frozen=True, kw_only=True)
class ExpectedCost:
    """The probable cost of a run; all numbers but the first are estimates.

    ``computed_pixels`` counts the pixels of all tiles with their halo. ``memory_bytes`` is the peak of the process,
    ``disk_bytes`` the size of the outputs in ``folder``, ``free_bytes`` the room there (``None``: unknown). ``seconds``
    is ``None`` where nothing is known of the speed, and ``seconds_from`` tells where the estimate comes from.
    """

    computed_pixels: int
    memory_bytes: int
    disk_bytes: int
    free_bytes: int | None
    folder: str
    seconds: float | None
    seconds_from: str


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
class OutputHashes(OutputTexts):
    """SHA-256 of the files of an output."""


@dataclass(frozen=True, kw_only=True)
class OutputRecord(OutputTexts, ComputedOutput):
    """An output after the run, with its files and their hashes."""

    sha256: OutputHashes

    def files(self) -> Iterator[tuple[str, Path, str | None]]:
        """Yield kind, path and SHA-256 of every file of the output."""
        for kind in FORMATS:
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
    """The weights entry that was loaded, and why. ``external_data_sha256`` belongs to the tensors of ONNX weights."""

    format: str
    file: str
    sha256: str
    reason: str | None = None
    external_data_sha256: str | None = None


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
    """The restrictions of the process while the network computed.

    ``network`` is true where the process could use the internet, because the image is at an address.
    """

    landlock: int
    seccomp: bool
    network: bool | None = None


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
class MedianSizeRecord:
    """Median size of the objects in pixels, and in µm² or µm³ where the pixel size is known."""

    px: float | None
    um: float | None


OBJECT_FILES: Mapping[str, str] = MappingProxyType(
    {
        "labels": "labels.tif",
        "zarr": "",
        "table": "objects.csv",
        "overlay": "overlay.png",
        "rois_zip": "rois.zip",
        "rois_geojson": "rois.geojson",
        "rois_table": "rois.tsv",
    }
)
"""The kinds of files of the objects, and the end of the name of each. A label map in an OME-Zarr is a folder in it."""


@dataclass(frozen=True, kw_only=True)
class ObjectsRecord:
    """The objects that ``--segment`` found: their files, the values that it used, and the prediction.

    ``asked`` are the options of the segmentation, ``sha256`` the hashes of the files by their keys.
    """

    labels: str | None
    table: str | None
    overlay: str | None
    zarr: str | None = None
    rois_zip: str | None = None
    rois_geojson: str | None = None
    rois_table: str | None = None
    count: int
    foreground: str
    boundary: str
    threshold: float
    min_size: int
    max_size: int | None = None
    exclude_border: bool | None = None
    fill_holes: bool | None = None
    stitch: float | None = None
    prediction: str | None = None
    axes: str | None = None
    shape: tuple[int, ...] | None = None
    spatial: str | None = None
    samples: int | None = None
    median_size: MedianSizeRecord | None = None
    notes: tuple[str, ...] = ()
    asked: Mapping[str, Any] | None = None
    sha256: Mapping[str, str] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[str, Path, str | None]]:
        """Yield kind, path and SHA-256 of every file of the objects."""
        for kind in OBJECT_FILES:
            if getattr(self, kind) is not None:
                yield kind, Path(getattr(self, kind)), self.sha256.get(kind)
