"""The messages between client and workers: small frozen dataclasses that travel over the network."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..api import Target
from ..files.typed_path import Address, ImagePath
from ..image.series import MAIN, Selection
from ..inference.statistics import Statistics
from ..options import Options
from ..provenance.record_parts import ComputedOutput, NetworkRecord, SandboxRecord


@dataclass(frozen=True)
class ModelSource:
    """A model as the user named it, with absolute paths. The SHA-256 shows whether workers see the same model."""

    source: str
    description: str | None
    axes: str | None
    size: str | None
    offline: bool
    sha256: str | None


@dataclass(frozen=True)
class Place:
    """The model and the files of a computing process.

    The process may read the paths ``read`` and write below the folders ``write``. It may use the network if it reads
    images at ``addresses``. ``sandbox`` is false for ``--no-sandbox``, ``gpu`` for ``--device cpu``.
    """

    model: ModelSource
    read: tuple[Path, ...]
    write: tuple[Path, ...]
    sandbox: bool
    addresses: tuple[Address, ...]
    gpu: bool


@dataclass(frozen=True)
class ImageJob:
    """One image: its file, further inputs by tensor id, and the files of its outputs by output id.

    ``selection`` chooses one of several images of the file.
    """

    image: ImagePath
    inputs: Mapping[str, ImagePath]
    targets: Mapping[str, Target]
    selection: Selection = MAIN

    @property
    def places(self) -> tuple[ImagePath, ...]:
        """The places of all images."""
        return self.image, *self.inputs.values()

    def options(self, options: Options) -> Options:
        """Return the options of a run with the selection of this image."""
        return replace(options, **vars(self.selection))


@dataclass(frozen=True)
class Work:
    """All that a worker must know of a run. Every run has another ``id``.

    The options contain ``memory``, so all workers plan the same tiles. ``stores`` are the unfinished OME-Zarr folders
    by output id.
    """

    id: str
    job: ImageJob
    options: Options
    stores: Mapping[str, Path]


@dataclass(frozen=True)
class MeasuredSamples:
    """Statistics of samples, remarks for the user, and what it took: ``cpu`` are seconds of processor time."""

    statistics: Statistics
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    cpu: float


@dataclass(frozen=True)
class ComputedBlock:
    """A block that is on the disk.

    ``network`` and ``sandbox`` are parts of the record, and so are ``outputs``, by output id;
    ``measured`` has the statistics of a whole output by output and step. ``peak`` is
    the memory in bytes that the process has had at most, ``cpu`` seconds of processor time, ``read`` and ``written``
    are the bytes of pixels read and computed.
    """

    tiles: int
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    network: NetworkRecord
    outputs: Mapping[str, ComputedOutput]
    measured: Mapping[tuple[str, int], Statistics]
    peak: int
    cpu: float
    read: int
    written: int
    sandbox: SandboxRecord
