"""Bytes and regions of uncompressed arrays, read from a file that is never mapped nor loaded as a whole.

Explicit reads replace memory maps for two reasons. A file that shrinks during reading raises an error, and does not
kill the process. Bytes that were read do not count as memory of the process.
"""

import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...array_types import Array
from ...errors import ImageError
from ..image import Region

# A run of bytes also covers pixels outside the region if the run would be shorter than _SHORT_RUN bytes otherwise, or
# if it is at most _WASTE times as long as needed: one long read is faster than many short ones.
_SHORT_RUN = 512
_WASTE = 4
_BUFFER = 8 << 20
# Smaller claims of a header need no check: reading them takes little memory.
_PLAUSIBLE = 1 << 28


class FileBytes:
    """A file opened for reading by any number of threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self.size = self._file.seek(0, 2)

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on. Raises ImageError if the file is too short."""
        # Checked before memory is allocated: a header may claim any number.
        if offset + count > self.size:
            raise self._too_short()
        buffer = bytearray(count)
        with self._lock:
            self._fill(offset, memoryview(buffer))
        return bytes(buffer)

    def read_runs(self, offset: int, stride: int, runs: NDArray[np.uint8]) -> None:
        """Fill each row of ``runs`` (C-ordered, 2-D) from the file, in which rows are ``stride`` bytes apart.

        Raises ImageError if the file is too short.
        """
        size = runs.shape[1]
        view = runs.reshape(-1).data
        with self._lock:
            for begin in range(0, runs.size, size):
                self._fill(offset, view[begin : begin + size])
                offset += stride

    def close(self) -> None:
        """Close the file; later reads fail."""
        self._file.close()

    def _fill(self, offset: int, view: memoryview) -> None:
        self._file.seek(offset)
        count = self._file.readinto(view)
        while count != len(view):
            if not count:
                raise self._too_short()
            view = view[count:]
            count = self._file.readinto(view)

    def _too_short(self) -> ImageError:
        return ImageError(
            f"{self.path.name} is damaged: it ends before the pixels that it announces. It is truncated, as after an "
            "interrupted copy, download or acquisition. Copy or export the image again."
        )


def read_region(
    file: FileBytes, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], region: Region
) -> Array:
    """Return a region, in native byte order, of the C-ordered array of ``shape`` and ``dtype`` at ``offset``.

    ``region`` has one slice with start, stop and step 1 per dimension.
    """
    # The first axis of size 1 ensures that there is an axis in front of the one along which runs are read.
    shape, region = (1, *shape), (slice(0, 1), *region)
    counts = tuple(part.stop - part.start for part in region)
    out: Array = np.empty(counts, dtype.newbyteorder("="))
    axis, inner = _run_axis(shape, counts, dtype.itemsize)
    size = inner * dtype.itemsize
    stride = shape[axis] * size
    steps = max(1, min(counts[axis], _BUFFER // size))
    lines = max(1, min(counts[axis - 1], _BUFFER // (steps * size)))
    for outer in np.ndindex(counts[: axis - 1]):
        place = 0
        for index, part, extent in zip(outer, region, shape, strict=False):
            place = place * extent + part.start + index
        place = place * shape[axis - 1] + region[axis - 1].start
        for line, step in product(range(0, counts[axis - 1], lines), range(0, counts[axis], steps)):
            here = (slice(line, min(line + lines, counts[axis - 1])), slice(step, min(step + steps, counts[axis])))
            block = np.empty((*(part.stop - part.start for part in here), *shape[axis + 1 :]), dtype)
            begin = offset + (place + line) * stride + (region[axis].start + step) * size
            file.read_runs(begin, stride, block.reshape(len(block), -1).view(np.uint8))
            out[(*outer, *here)] = block[(slice(None), slice(None), *region[axis + 1 :])]
    return out.reshape(counts[1:])


def _run_axis(shape: Sequence[int], counts: Sequence[int], itemsize: int) -> tuple[int, int]:
    """Return the axis along which one run is read, and the elements per step along it; inner axes are read whole."""
    axis, inner, waste = len(shape) - 1, 1, 1.0
    while axis > 1:
        waste *= shape[axis] / counts[axis]
        if waste > _WASTE and counts[axis] * inner * itemsize >= _SHORT_RUN:
            break
        inner *= shape[axis]
        axis -= 1
    return axis, inner


def check_plausible(name: str, claimed: int, stored: int, ratio: int) -> None:
    """Raise ImageError if a header claims more than ``ratio`` times the bytes stored, and at least 256 MiB.

    Call it before memory is allocated.
    """
    if claimed > _PLAUSIBLE and claimed > ratio * stored:
        raise ImageError(
            f"{name} is damaged or not what it seems: its header announces {claimed / 2**30:,.1f} GiB of pixels, which "
            f"cannot be stored in {stored:,} bytes. Copy or export the image again."
        )
