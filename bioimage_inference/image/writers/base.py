"""Outputs that are written region by region, in any order, and appear under their final names only when complete."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from bioimage_inference.errors import OutputError
from bioimage_inference.files.partial_file import PartialFile
from bioimage_inference.image.image import PixelSize, Region

LETTERS = "biptczyx"


@dataclass(frozen=True)
class Layout:
    """Facts of one output, in the order of axes in which its blocks are written.

    ``axes`` has one letter per dimension of ``shape``, each of ``b i p t c z y x`` at most once. ``channel_names``
    is empty or has one name per index along ``c``. Raises :class:`ValueError` where these do not agree.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    pixel_size: Mapping[str, PixelSize] = field(default_factory=lambda: MappingProxyType({}))
    channel_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or len(set(self.axes)) != len(self.axes) or set(self.axes) - set(LETTERS):
            raise ValueError(f"axes {self.axes!r} do not fit the shape {self.shape}")
        if min(self.shape, default=0) < 0 or self.dtype.kind not in "biufc":
            raise ValueError(f"no output has the shape {self.shape} of {self.dtype}")
        if self.channel_names and len(self.channel_names) != self.size("c"):
            raise ValueError(f"{len(self.channel_names)} channel names for {self.size('c')} channels")

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self.shape) * self.dtype.itemsize

    def size(self, letters: str) -> int:
        """Product of the extents along the axes of these letters, 1 for those that the output lacks."""
        return math.prod(self.shape[self.axes.index(letter)] for letter in letters if letter in self.axes)


class Sink(Protocol):
    """One output being written.

    ``path`` is its final name, ``notes`` are remarks for the user (for instance, that numbers are stored in another
    type). Every method raises :class:`OutputError` when the place cannot be written.
    """

    path: Path
    notes: tuple[str, ...]

    def write(self, region: Region, block: NDArray[np.generic]) -> None:
        """Write a block to a region: one slice of step 1 per axis of the layout; several threads may do so at once."""

    def flush(self) -> None:
        """Wait until all that was written is on the disk."""

    def commit(self) -> None:
        """Give the output its final name."""

    def abort(self) -> None:
        """Remove what was written; does nothing after :meth:`commit` or a first call. No thread may still write."""


def commit_all(sinks: Iterable[Sink]) -> None:
    """Commit all sinks, once everything of all of them is on the disk."""
    complete = list(sinks)
    for sink in complete:
        sink.flush()
    for sink in complete:
        sink.commit()


class ArraySink:
    """A file that holds all pixels one after another behind a header, as ``.npy`` and uncompressed TIFF do.

    ``order`` are the layout's axes as they lie in the file, slowest first, ``dtype`` is how numbers are stored there.
    ``write_header`` writes everything but the pixels and returns the position of the first one.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        order: str,
        dtype: np.dtype[np.generic],
        write_header: Callable[[IO[bytes]], int],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.layout = layout
        self.dtype = dtype
        self.notes = notes
        self._permutation = tuple(layout.axes.index(letter) for letter in order)
        self._shape = tuple(layout.shape[axis] for axis in self._permutation)
        nbytes = math.prod(layout.shape) * dtype.itemsize
        self._file = PartialFile(path, nbytes)
        try:
            with self._file.stream() as stream:
                self._offset = write_header(stream)
            self._file.reserve(max(self._file.size, self._offset + nbytes))
        except BaseException:
            self._file.abort()
            raise

    def write(self, region: Region, block: NDArray[np.generic]) -> None:
        """Write a block to a region of the output.

        ``block`` has the layout's axes and dtype and the region's shape (else :class:`ValueError`). Raises
        :class:`OutputError` when the disk does not take it, or the file's dtype cannot hold a value.
        """
        spans = [span.indices(size) for span, size in zip(region, self.layout.shape, strict=True)]
        starts = [start for start, _, _ in spans]
        shape = tuple(stop - start for start, stop, _ in spans)
        if block.shape != shape or block.dtype != self.layout.dtype or any(step != 1 for _, _, step in spans):
            raise ValueError(f"a block {block.shape} {block.dtype} for the region {region} of {self.layout}")
        stored = np.ascontiguousarray(self._as_stored(block).transpose(self._permutation))
        positions, length = runs(
            self._shape, [starts[axis] for axis in self._permutation], [shape[axis] for axis in self._permutation]
        )
        data = stored.reshape(-1).view(np.uint8).data
        step = length * self.dtype.itemsize
        for number, position in enumerate((positions * self.dtype.itemsize + self._offset).tolist()):
            self._file.write(position, data[number * step : (number + 1) * step])

    def _as_stored(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        if not np.can_cast(block.dtype, self.dtype):
            limits = np.iinfo(self.dtype.name)
            low, high = block.min(), block.max()
            if low < limits.min or high > limits.max:
                raise OutputError(
                    f"The output {self.path} has values from {low} to {high}, but it stores whole numbers of type "
                    f"{self.dtype}, which end at {limits.min} and {limits.max}. Write this output as .npy, "
                    "which holds every value."
                )
        return block.astype(self.dtype, copy=False)

    def flush(self) -> None:
        """Wait until all that was written is on the disk."""
        self._file.flush()

    def commit(self) -> None:
        """Give the output its final name; raises :class:`ValueError` after :meth:`abort`."""
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written; does nothing after :meth:`commit` or a first call."""
        self._file.abort()


def runs(shape: Sequence[int], starts: Sequence[int], sizes: Sequence[int]) -> tuple[NDArray[np.int64], int]:
    """Where a region lies in an array stored in C order: first element of each unbroken run, length of a run.

    >>> runs((4, 10), (1, 2), (2, 3))
    (array([12, 22]), 3)
    >>> runs((4, 10), (1, 0), (2, 10))
    (array([10]), 20)
    """
    inner = len(shape)
    while inner and sizes[inner - 1] == shape[inner - 1]:
        inner -= 1
    outer = max(inner - 1, 0)  # a run spans this axis in part and those behind it completely
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    positions = np.array([sum(start * stride for start, stride in zip(starts, strides, strict=True))], dtype=np.int64)
    for size, stride in zip(sizes[:outer], strides[:outer], strict=True):
        positions = np.add.outer(positions, np.arange(size, dtype=np.int64) * stride)
    return positions.ravel(), math.prod(sizes[outer:])
