"""Reading NumPy's ``.npy`` files by region; nothing in them is ever unpickled."""

import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ..axes import guess_axes
from ..image import Image, Region
from .file_bytes import FileBytes, read_region

NUMERIC_KINDS = "biuf"


def open_npy(path: Path) -> Image:
    """The array of an ``.npy`` file; its axes are guessed, since the format knows none.

    Raises ImageError for damaged files and for arrays of anything but integers, booleans and real numbers.
    """
    shape, fortran, dtype, offset = _read_header(path)
    check_numeric(path.name, dtype)
    check_shape(path.name, shape)
    file = FileBytes(path)
    held = file.size - offset
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > held:
        file.close()
        raise ImageError(
            f"{path.name} is damaged: its header announces {claimed:,} bytes of pixels, but only {held:,} follow. "
            "It is truncated, as after an interrupted copy or download. Save or copy it again."
        )
    return Image(
        name=path.name,
        path=str(path),
        axes=guess_axes(shape),
        axes_source="guess",
        shape=shape,
        dtype=dtype.newbyteorder("="),
        read=partial(_read, file, offset, shape, dtype, fortran),
        close=file.close,
    )


def check_numeric(name: str, dtype: np.dtype[np.generic]) -> None:
    """Raises ImageError unless ``dtype`` holds integers, booleans or real numbers."""
    if dtype.kind not in NUMERIC_KINDS:
        kinds = {"c": "complex numbers", "O": "Python objects", "V": "records"}
        kind = kinds.get(dtype.kind, f"values of type {dtype}")
        advice = " Save its magnitude, or real and imaginary part as two channels." if dtype.kind == "c" else ""
        raise ImageError(f"{name} holds {kind}, but an image has to hold integers, booleans or real numbers.{advice}")


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raises ImageError unless the shape has at least one dimension and none without pixels."""
    if not shape or min(shape) < 1:
        raise ImageError(f"{name} holds no pixels: its shape is {shape}. Check how it was written.")


def _read_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[np.generic], int]:
    """Shape, whether in Fortran order, stored dtype, and where the data begin."""
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


def _read(
    file: FileBytes, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], fortran: bool, region: Region
) -> NDArray[np.generic]:
    if fortran:
        return read_region(file, offset, shape[::-1], dtype, region[::-1]).T
    return read_region(file, offset, shape, dtype, region)
