"""Bytes and regions of uncompressed arrays, read from a file that is never mapped nor loaded as a whole.

Explicit reads replace memory maps for two reasons. A file that shrinks during reading raises an error, and does not
kill the process. Bytes that were read do not count as memory of the process.
"""

import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...array_types import Array
from ...errors import ImageError
from ..image import Region, runs

LARGEST_PIECE = 1 << 31
"""Most bytes of a part of a file that is unpacked as a whole: a strip, tile, chunk, picture or member of a zip."""
PIECE_RATIO = 4000
"""Most unpacked bytes for each stored byte of such a part. zlib packs zeros to a thousandth."""
FILE_RATIO = 100_000
"""The same for an image that need not store blank parts, and for zstd, which packs zeros to a ten-thousandth."""

# A run of bytes also covers pixels outside the region if the run would be shorter than _SHORT_RUN bytes otherwise, or
# if it is at most _WASTE times as long as needed: one long read is faster than many short ones.
_SHORT_RUN = 512
_WASTE = 4
# Bytes that a read of several runs holds besides the result.
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

    def read_runs(self, positions: Sequence[int], rows: NDArray[np.uint8]) -> None:
        """Fill each row (C-ordered, 2-D) from its position in the file. Raises ImageError if the file is too short."""
        size = rows.shape[1]
        view = rows.reshape(-1).data
        with self._lock:
            for number, position in enumerate(positions):
                self._fill(position, view[number * size : (number + 1) * size])

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
    out: Array = np.empty([part.stop - part.start for part in region], dtype.newbyteorder("="))
    _fill(file, offset, shape, dtype, region, out)
    return out


def _fill(
    file: FileBytes,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    region: Region,
    out: Array,
) -> None:
    """Read a region into ``out``, in halves if it needs more than one buffer."""
    inner = _first_whole_axis(shape, out.shape, dtype.itemsize)
    sizes = (*out.shape[:inner], *shape[inner:])
    long = next((axis for axis in range(inner) if sizes[axis] > 1), None)
    if math.prod(sizes) * dtype.itemsize > _BUFFER and long is not None:
        half, part = sizes[long] // 2, region[long]
        before, after = (slice(None),) * long, region[long + 1 :]
        first, second = slice(part.start, part.start + half), slice(part.start + half, part.stop)
        _fill(file, offset, shape, dtype, (*region[:long], first, *after), out[(*before, slice(half))])
        _fill(file, offset, shape, dtype, (*region[:long], second, *after), out[(*before, slice(half, None))])
        return
    positions = runs(shape, [*(part.start for part in region[:inner]), *(0 for _ in shape[inner:])], sizes)
    block = np.empty(sizes, dtype)
    file.read_runs((offset + positions * dtype.itemsize).tolist(), block.reshape(len(positions), -1).view(np.uint8))
    out[...] = block[(*(slice(None) for _ in range(inner)), *region[inner:])]


def _first_whole_axis(shape: Sequence[int], counts: Sequence[int], itemsize: int) -> int:
    """Return the axis from which on all axes are read whole; at least the first axis is not."""
    axis, size, waste = len(shape) - 1, itemsize, 1.0
    while axis > 0:
        waste *= shape[axis] / counts[axis]
        if waste > _WASTE and counts[axis] * size >= _SHORT_RUN:
            break
        size *= shape[axis]
        axis -= 1
    return axis + 1


def check_plausible(name: str, claimed: int, stored: int, ratio: int) -> None:
    """Raise ImageError if a header claims more than ``ratio`` times the bytes stored, and at least 256 MiB.

    Call it before memory is allocated.
    """
    if claimed > _PLAUSIBLE and claimed > ratio * stored:
        raise ImageError(
            f"{name} is damaged or not what it seems: its header announces {claimed / 2**30:,.1f} GiB of pixels, which "
            f"cannot be stored in {stored:,} bytes. Copy or export the image again."
        )
