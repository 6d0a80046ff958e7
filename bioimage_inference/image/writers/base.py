"""Writers of outputs: they take regions in any order, and give a file its final name only when it is complete."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np

from ...array_types import Array
from ...errors import OutputError
from ...files.partial_file import PartialFile
from ..axes import OUTPUT_LETTERS
from ..image import PixelSize, Region, runs


@dataclass(frozen=True)
class Layout:
    """Axes, shape, dtype and metadata of one output, in the order of axes in which its blocks are written.

    ``axes`` has one letter of :data:`~bioimage_inference.image.axes.OUTPUT_LETTERS` per dimension of ``shape``, each at
    most once. ``channel_names`` is empty or has one name per index along ``c``. ``highest_label`` is the largest number
    in a label map, and ``None`` for all other outputs. Raises :class:`ValueError` if these do not agree.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    pixel_size: Mapping[str, PixelSize] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()
    highest_label: int | None = None

    def __post_init__(self) -> None:
        different = set(self.axes)
        if len(self.axes) != len(self.shape) or len(different) != len(self.axes) or different - set(OUTPUT_LETTERS):
            raise ValueError(f"axes {self.axes!r} do not fit the shape {self.shape}")
        if min(self.shape, default=0) < 0 or self.dtype.kind not in "biufc":
            raise ValueError(f"no output has the shape {self.shape} of {self.dtype}")
        if self.channel_names and len(self.channel_names) != self.size("c"):
            raise ValueError(f"{len(self.channel_names)} channel names for {self.size('c')} channels")

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_image(self) -> bool:
        """Whether the output has the axes y and x."""
        return "y" in self.axes and "x" in self.axes

    def size(self, letters: str) -> int:
        """Return the product of the extents along the axes of these letters; missing axes have extent 1."""
        return math.prod(self.shape[self.axes.index(letter)] for letter in letters if letter in self.axes)


class Writer(ABC):
    """One output being written. Every method raises :class:`OutputError` if the place cannot be written.

    ``path`` is the final name, ``notes`` are remarks for the user, for example on numbers stored in another type.
    """

    path: Path
    notes: tuple[str, ...] = ()

    @abstractmethod
    def write(self, region: Region, block: Array) -> None:
        """Write a block to a region: one slice of step 1 per axis of the layout. Several threads may write at once."""

    def annotate(self, facts: Mapping[str, str]) -> None:  # noqa: B027 (most formats have no place for facts)
        """Write facts about the run into the metadata, once they are known."""

    def flush(self) -> None:  # noqa: B027 (not every writer buffers)
        """Wait until all written blocks are on the disk."""

    def commit(self) -> None:  # noqa: B027 (not every writer has a file)
        """Give the output its final name."""

    def abort(self) -> None:  # noqa: B027 (not every writer has a file)
        """Remove an incomplete output; does nothing after :meth:`commit`. No thread may still write."""


def commit_all(writers: Iterable[Writer]) -> None:
    """Commit all writers, after all of their blocks are on the disk."""
    complete = list(writers)
    for writer in complete:
        writer.flush()
    for writer in complete:
        writer.commit()


class MemoryWriter(Writer):
    """Collects an output in ``array``, with the axes and dtype of the layout, for callers who want no file."""

    path = Path()

    def __init__(self, layout: Layout) -> None:
        self.array: Array = np.zeros(layout.shape, layout.dtype)

    def write(self, region: Region, block: Array) -> None:
        """Put a block into a region of the array."""
        self.array[region] = block


class ArrayWriter(Writer):
    """A file of one header and all pixels behind it, as in ``.npy`` and uncompressed TIFF.

    ``order`` are the layout's axes in the file, slowest first; ``dtype`` is the type of the stored numbers.
    ``write_header`` writes everything but the pixels and returns the position of the first pixel. ``place`` is the
    final place of the file where it is another than ``path``, which messages name.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        order: str,
        dtype: np.dtype[np.generic],
        write_header: Callable[[IO[bytes]], int],
        notes: tuple[str, ...] = (),
        place: Path | None = None,
    ) -> None:
        self.path, self.layout, self.dtype, self.notes = path, layout, dtype, notes
        self._permutation = tuple(layout.axes.index(letter) for letter in order)
        self._shape = tuple(layout.shape[axis] for axis in self._permutation)
        nbytes = math.prod(layout.shape) * dtype.itemsize
        self._file = PartialFile(path, nbytes, place=place)
        try:
            with self._file.stream() as stream:
                self._offset = write_header(stream)
            self._file.reserve(max(self._file.size, self._offset + nbytes))
        except BaseException:
            self._file.abort()
            raise

    def write(self, region: Region, block: Array) -> None:
        """Write a block to a region of the output.

        ``block`` has the layout's axes and dtype and the region's shape (else :class:`ValueError`). Raises
        :class:`OutputError` if the disk refuses it, or the file's dtype cannot hold a value.
        """
        spans = [span.indices(size) for span, size in zip(region, self.layout.shape, strict=True)]
        starts = [start for start, _, _ in spans]
        shape = tuple(stop - start for start, stop, _ in spans)
        if block.shape != shape or block.dtype != self.layout.dtype or any(step != 1 for _, _, step in spans):
            raise ValueError(f"a block {block.shape} {block.dtype} for the region {region} of {self.layout}")
        stored = np.ascontiguousarray(self._as_stored(block).transpose(self._permutation))
        positions = runs(self._shape, [starts[axis] for axis in self._permutation], stored.shape)
        places = positions * self.dtype.itemsize + self._offset
        self._file.write(places.tolist(), stored.reshape(-1).view(np.uint8).data)

    def _as_stored(self, block: Array) -> Array:
        if not np.can_cast(block.dtype, self.dtype):
            limits = np.iinfo(self.dtype.name)
            low, high = block.min(), block.max()
            if low < limits.min or high > limits.max:
                raise OutputError(
                    f"The output {self.path} has values from {low} to {high}, but it stores whole numbers of type "
                    f"{self.dtype}, from {limits.min} to {limits.max}. Write this output as .npy, "
                    "which holds every value."
                )
        return block.astype(self.dtype, copy=False)

    def flush(self) -> None:
        """Wait until all written blocks are on the disk."""
        self._file.flush()

    def commit(self) -> None:
        """Give the output its final name. Raises :class:`ValueError` after :meth:`abort`."""
        self._file.commit()

    def abort(self) -> None:
        """Remove an incomplete output; does nothing after :meth:`commit`."""
        self._file.abort()
