"""Arrays as images: of NumPy, of libraries that keep arrays in files, and xarray's with their coordinates."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array_types import Array
from ..errors import UsageError
from .axes import UNKNOWN, guess_axes, letter_of, named_axes, only_present, parse_axes, with_user_axes
from .image import Image, PixelSize, Region, check_numeric, check_shape
from .units import pixel_size, unusual_size_note

if TYPE_CHECKING:
    from xarray import DataArray

_NO_LETTER = "-"
# Relative tolerance between the steps of a coordinate: positions of a microscope's stage are rounded.
_EVEN = 1e-3


def array_image(array: Array, axes: str | None = None, name: str = "array") -> Image:
    """Return an array as an image; ``axes`` has one letter per dimension, without it they are guessed later.

    Raises :class:`UsageError` if the axes do not fit, :class:`ImageError` if the array does not hold real numbers.
    """
    image = _image(array, name, lambda region: array[region])
    return image if axes is None else with_user_axes(image, parse_axes(axes))


def data_array_image(array: "DataArray", axes: str | None = None) -> Image:
    """Return a DataArray as an image; regions are read when they are needed, so the array may be lazy.

    A dimension is an axis if its name is a letter or a name of :data:`~bioimage_inference.image.axes.AXES`, such as
    ``t`` or ``time``. Other dimensions are iterated like positions. ``axes`` overrides all names. The pixel size of an
    axis is the step of its coordinate, if the step is even and the coordinate has the attribute ``units``; its origin
    is the first position. The channel names are the texts of the coordinate of ``c``.

    Raises :class:`UsageError` if the axes do not fit, :class:`ImageError` if the array does not hold real numbers.
    """
    letters, notes = _dimension_axes([str(dimension) for dimension in array.dims])
    sizes = {letter: _pixel_size(array, number, letter) for number, letter in enumerate(letters)}
    image = replace(
        _image(array, str(array.name) if array.name is not None else "array", lambda at: array.variable[at].values),
        axes=letters,
        axes_source="guess" if UNKNOWN in letters else "file",
        pixel_size=only_present(sizes, letters),
        channel_names=_channel_names(array, letters),
        notes=notes,
    )
    if axes is not None:
        image = with_user_axes(replace(image, notes=()), parse_axes(axes))
    unusual = unusual_size_note(image.pixel_size)
    return image if unusual is None else replace(image, notes=(*image.notes, unusual))


def stored_image(array: Any, axes: str | None = None) -> Image:
    """Return an array of zarr, dask, HDF5 or another library as an image. Only the regions that are needed are read.

    ``array`` has ``shape``, ``dtype`` and regions by slices. The dimension names of a zarr array are its axes, as those
    of a DataArray. ``axes`` overrides them.

    Raises :class:`UsageError` if the axes do not fit, or if the shape is not known; :class:`ImageError` if the array
    does not hold real numbers.
    """
    if not all(isinstance(size, int) for size in array.shape):
        raise UsageError("The shape of the dask array is not known: call its compute_chunk_sizes() first.")
    image = replace(_image(array, "array", lambda region: array[region]), piece=_piece(array))
    if axes is not None:
        return with_user_axes(image, parse_axes(axes))
    names = getattr(getattr(array, "metadata", None), "dimension_names", None)
    if not names or not all(names):
        return image
    letters, notes = _dimension_axes(names)
    return replace(image, axes=letters, axes_source="guess" if UNKNOWN in letters else "file", notes=notes)


def _piece(array: Any) -> int:
    """Return the bytes of a chunk, which is read as a whole; 0 for an array without chunks."""
    chunk = getattr(array, "chunksize", None) or getattr(array, "chunks", None)
    return prod(chunk) * array.dtype.itemsize if chunk else 0


def _dimension_axes(names: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the axes for the names of dimensions, and notes on dimensions that are no axes of ours."""
    known = [letter_of(name) or _NO_LETTER for name in names]
    letters, _ = named_axes(known)
    notes = tuple(
        f"The dimension {name!r} is treated like a series of positions."
        for name, letter in zip(names, known, strict=True)
        if letter == _NO_LETTER
    )
    return letters, notes


def _image(array: "Array | DataArray", name: str, read: Callable[[Region], Array]) -> Image:
    check_shape(name, tuple(array.shape))
    check_numeric(name, array.dtype)
    dtype = array.dtype.newbyteorder("=")
    return Image(
        name=name,
        path="",
        axes=guess_axes(array.shape),
        axes_source="guess",
        shape=tuple(array.shape),
        dtype=dtype,
        read=lambda region: np.asarray(read(region), dtype=dtype),
        close=lambda: None,
    )


def _pixel_size(array: "DataArray", number: int, letter: str) -> PixelSize | None:
    """Return the step and first position of a dimension's coordinate; None if it is uneven or has no unit.

    The position is 0 for a descending coordinate, because outputs have ascending coordinates.
    """
    coordinate = array.coords.get(array.dims[number])
    if coordinate is None or coordinate.dtype.kind not in "iuf" or coordinate.size < 2 or letter in "cs?":
        return None
    steps = np.diff(coordinate.values.astype(np.float64))
    step = steps.mean()
    if not np.allclose(steps, step, rtol=_EVEN, atol=0):
        return None
    first = float(coordinate.values[0]) if step > 0 else 0.0
    return pixel_size(letter, float(abs(step)), coordinate.attrs.get("units"), first)


def _channel_names(array: "DataArray", letters: str) -> tuple[str, ...]:
    if "c" not in letters:
        return ()
    coordinate = array.coords.get(array.dims[letters.index("c")])
    if coordinate is None or coordinate.dtype.kind not in "UOT":
        return ()
    return tuple(str(name) for name in coordinate.values)
