"""Reader of NumPy's ``.npy`` files by region; nothing in them is ever unpickled."""

import math
from pathlib import Path

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ...text import counted
from ..axes import guess_axes
from ..image import Image, Region, check_numeric, check_shape
from .file_bytes import FileBytes, read_region


def open_npy(path: Path) -> Image:
    """Return the array of an ``.npy`` file; its axes are guessed, because the format does not name them.

    Raises ImageError for damaged files and for arrays of anything but integers, booleans and real numbers.
    """
    shape, fortran, dtype, offset = _read_header(path)
    check_numeric(path.name, dtype)
    check_shape(path.name, shape)
    file = FileBytes(path)
    stored = file.size - offset
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > stored:
        file.close()
        raise ImageError(
            f"{path.name} is damaged: its header announces {counted(claimed, 'byte')} of pixels, but the file holds "
            f"{stored:,}. It is truncated, as after an interrupted copy or download. Save or copy it again."
        )

    def read(region: Region) -> Array:
        if fortran:
            return read_region(file, offset, shape[::-1], dtype, region[::-1]).T
        return read_region(file, offset, shape, dtype, region)

    return Image(
        name=path.name,
        path=str(path),
        axes=guess_axes(shape),
        axes_source="guess",
        shape=shape,
        dtype=dtype.newbyteorder("="),
        read=read,
        close=file.close,
    )


def _read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Return shape, whether in Fortran order, stored dtype, and the offset of the data."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ImageError(
                f"{path.name} is an .npy file of version {version[0]}.{version[1]}, which holds records instead of "
                "pixels. Save the image as a plain array."
            )
        return shape, fortran, dtype, file.tell()
