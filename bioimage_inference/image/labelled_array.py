"""An xarray DataArray as an image: its dimensions are the axes, its coordinates tell pixel size and channel names."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .axes import LETTERS, named_axes, only_present, parse_axes, with_user_axes
from .image import Image, PixelSize, Region
from .readers.array_readers import check_numeric
from .units import pixel_size, unusual_size_note

if TYPE_CHECKING:
    from xarray import DataArray

_WORDS = {"time": "t", "channel": "c", "batch": "b", "index": "i", "position": "p", "sample": "s"}
_NO_LETTER = "-"
_EVEN = 1e-3
"""Steps between coordinates may differ by this part, as rounded positions of a microscope's stage do."""


def data_array_image(array: "DataArray", axes: str | None = None) -> Image:
    """Wrap a DataArray; regions are read from it as they are needed, so it may be lazy.

    Dimensions are axes where they are called by a letter (``t c s z y x b i p``, in either case) or by a word such as
    ``time`` or ``channel``; others are worked through like positions. ``axes`` overrides all names. The pixel size of
    an axis is the step of its coordinate, if that is even and has the attribute ``units``; its origin is the first
    position. The channels' names are the texts of the coordinate of ``c``.
    Raises :class:`UsageError` where the axes do not fit, :class:`ImageError` where the array holds no numbers.
    """
    name = str(array.name) if array.name is not None else "array"
    check_numeric(name, array.dtype)
    letters, notes = _letters([str(dimension) for dimension in array.dims])
    sizes = {letter: _pixel_size(array, number, letter) for number, letter in enumerate(letters)}
    dtype = array.dtype.newbyteorder("=")

    def read(region: Region) -> NDArray[np.generic]:
        return np.asarray(array.variable[region].values, dtype=dtype)

    image = Image(
        name=name,
        path="",
        axes=letters,
        axes_source="guess" if "?" in letters else "file",
        shape=tuple(array.shape),
        dtype=dtype,
        read=read,
        close=lambda: None,
        pixel_size=only_present(sizes, letters),
        channel_names=_channel_names(array, letters),
        notes=notes,
    )
    if axes is not None:
        image = with_user_axes(replace(image, notes=()), parse_axes(axes))
    unusual = unusual_size_note(image.pixel_size)
    return image if unusual is None else replace(image, notes=(*image.notes, unusual))


def _letters(dimensions: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """One letter per dimension, and remarks on those that have none of their own."""
    known = [_WORDS.get(name.lower(), name.lower()) for name in dimensions]
    known = [letter if len(letter) == 1 and letter in LETTERS else _NO_LETTER for letter in known]
    letters, _ = named_axes(known)
    return letters, tuple(
        f"The dimension {name!r} is treated like a series of positions."
        for name, own in zip(dimensions, known, strict=True)
        if own == _NO_LETTER
    )


def _pixel_size(array: "DataArray", number: int, letter: str) -> PixelSize | None:
    """The step of a dimension's coordinate and its first position, if it has one, even and with a unit.

    The position is 0 where the coordinate descends: outputs have ascending coordinates.
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
