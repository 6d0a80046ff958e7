"""Reader of Leica LIF and LOF: the library liffile (extra ``microscopes``) finds images, this module reads regions.

The XML of an image states how far apart neighbours along each axis lie in the file. liffile reads images or frames as
a whole; this module reads rows of a plane.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ..axes import complete_names, fitting_names, named_axes, only_present
from ..image import Image, PixelSize, Region
from ..series import Selection, Series, choose, note_on_series
from ..units import pixel_size
from .file_bytes import FileBytes, read_region
from .microscope_libraries import damaged_file, vendor_library

KIND = "a Leica LIF or LOF file"
_DESCRIPTION = "./Data/Image/ImageDescription"
# Numbers of axes in the XML; the words are for axes without a letter here.
_AXES = {
    **{1: "x", 2: "y", 3: "z", 4: "t", 5: "emission wavelength", 6: "rotation", 7: "XT slice", 8: "T slice"},
    **{9: "excitation wavelength", 10: "mosaic tile", 11: "loop"},
}
_RED_GREEN_BLUE = [1, 2, 3]


@dataclass(frozen=True)
class _Dimension:
    """An axis: its letter or word, its length, the bytes from one element to the next, and its pixel size."""

    word: str
    size: int
    step: int
    scale: PixelSize | None


@dataclass(frozen=True)
class _Channel:
    """A channel: its numbers, the bytes from the first channel to it, its colour (0 for grey), and its name."""

    dtype: np.dtype[np.generic]
    offset: int
    colour: int
    name: str


@dataclass(frozen=True)
class _Layout:
    """Where the pixels of an image lie: in ``bytes`` from ``start`` on, outer axes first in ``dimensions``."""

    name: str
    start: int
    bytes: int
    dimensions: tuple[_Dimension, ...]
    channels: tuple[_Channel, ...]

    @property
    def coloured(self) -> bool:
        """Whether the channels are red, green and blue of a colour picture."""
        return [channel.colour for channel in self.channels] == _RED_GREEN_BLUE

    @property
    def axes(self) -> tuple[str, tuple[str, ...]]:
        """Axis letters, and notes on axes without a letter."""
        words = [dimension.word for dimension in self.dimensions]
        channels = ["c"] if len(self.channels) > 1 else []
        return named_axes([*words, "s"] if self.coloured else [*words[:-2], *channels, *words[-2:]])

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents along the axes."""
        sizes = [dimension.size for dimension in self.dimensions]
        channels = [len(self.channels)] if len(self.channels) > 1 else []
        return (*sizes, *channels) if self.coloured else (*sizes[:-2], *channels, *sizes[-2:])


def is_leica(start: bytes) -> bool:
    """Return whether a file is a LIF or LOF file, by its first bytes; bytes 4 to 7 are a length."""
    return start.startswith(b"\x70\0\0\0") and start[8:9] == b"\x2a"


def open_leica(path: Path, selection: Selection) -> Image:
    """Open one image of a LIF file, or the image of a LOF file.

    Raises ImageError for damaged files, for files without an image, and without the library. Raises UsageError if the
    selection fits no image.
    """
    layouts = _file_layouts(path)
    series = _series(layouts)
    chosen = choose(path.name, series, selection)
    layout = layouts[chosen.number]
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        _check(file, layout)
        stack.pop_all()
    letters, renamed = layout.axes
    sizes = dict(zip(letters.replace("c", "").replace("s", ""), (one.scale for one in layout.dimensions), strict=True))
    dtype = _dtype(layout)
    return Image(
        name=path.name,
        path=str(path),
        axes=letters,
        axes_source="file",
        shape=layout.shape,
        dtype=dtype,
        read=lambda region: _read(file, layout, dtype, region),
        close=file.close,
        pixel_size=only_present(sizes, letters),
        channel_names=fitting_names(
            complete_names([channel.name for channel in layout.channels]), letters, layout.shape
        ),
        notes=(*note_on_series(path.name, series, chosen), *renamed),
        series=chosen if len(series) > 1 else None,
    )


def leica_series(path: Path) -> list[Series]:
    """Return the images of a LIF or LOF file. Raises ImageError as :func:`open_leica` does."""
    return _series(_file_layouts(path))


def _file_layouts(path: Path) -> list[_Layout]:
    # liffile 2026.2.15 leaves a file open that it cannot read, if it opened the file itself.
    with vendor_library("liffile", path, KIND) as liffile, path.open("rb") as file:
        return _layouts(path.name, liffile.LifFile(file, squeeze=False))


def _series(layouts: Sequence[_Layout]) -> list[Series]:
    return [Series(number, layout.name, layout.axes[0], layout.shape) for number, layout in enumerate(layouts)]


def _layouts(name: str, opened: Any) -> list[_Layout]:
    """Return the layouts of all images of pixels in an opened file. Raises ImageError if there is none."""
    images = [image for image in opened.images if not image.is_flim]
    if not images:
        raise ImageError(
            f"{name} holds no image of pixels (histograms of lifetimes are not read). Export the images from LAS X as "
            "OME-TIFF."
        )
    return [_layout(name, image) for image in images]


def _layout(name: str, image: Any) -> _Layout:
    """Return the layout of an image of liffile. Raises ImageError for a description that cannot be."""
    description = image.xml_element.find(_DESCRIPTION)
    if description is None:
        raise damaged_file(name, KIND, f"its image {image.path!r} has no description")
    dimensions = [_dimension(found.attrib) for found in description.findall("./Dimensions/DimensionDescription")]
    kept = [one for one in dimensions if one.size > 1 or one.word in "yx"]
    kept.sort(key=lambda dimension: dimension.step, reverse=True)
    while len(kept) < 2:
        kept.insert(0, _Dimension("y", 1, 0, None))
    dyes = [
        "".join(value.text or "" for value in found.findall("./ChannelProperty[Key='DyeName']/Value"))
        for found in description.findall("./Channels/ChannelDescription")
    ]
    channels = [
        _channel(found.attrib, dye)
        for found, dye in zip(description.findall("./Channels/ChannelDescription"), dyes, strict=True)
    ]
    if sorted(channel.colour for channel in channels) == _RED_GREEN_BLUE:
        channels.sort(key=lambda channel: channel.colour)
    if not channels or min(one.size for one in kept) < 1 or min(one.step for one in kept if one.size > 1) < 1:
        raise damaged_file(name, KIND, f"the description of its image {image.path!r} contradicts itself")
    block = image.memory_block
    return _Layout(image.path, int(block.offset), int(block.size), tuple(kept), tuple(channels))


def _dimension(attributes: Mapping[str, str]) -> _Dimension:
    """Return an axis; ``Length`` is the distance from its first to its last element."""
    word, size = _AXES.get(int(attributes["DimID"]), "axis"), int(attributes["NumberOfElements"])
    scale = None
    if size > 1 and word in "xyzt":
        scale = pixel_size(word, abs(float(attributes["Length"])) / (size - 1), attributes.get("Unit"))
    return _Dimension(word, size, int(attributes["BytesInc"]), scale)


def _channel(attributes: Mapping[str, str], dye: str) -> _Channel:
    bits = int(attributes["Resolution"])
    whole = next(size for size in (8, 16, 32, 64) if bits <= size)
    kind = "f" if int(attributes["DataType"]) == 1 else "u"
    return _Channel(
        np.dtype(f"<{kind}{whole // 8}"),
        int(attributes["BytesInc"]),
        int(attributes.get("ChannelTag", 0)),
        dye.strip() or attributes.get("LUTName", ""),
    )


def _dtype(layout: _Layout) -> np.dtype[np.generic]:
    """Return the smallest type of numbers that holds the values of all channels."""
    return np.result_type(*(channel.dtype for channel in layout.channels)).newbyteorder("=")


def _check(file: FileBytes, layout: _Layout) -> None:
    """Raise ImageError unless the file holds all pixels, each at a place of its own."""
    lines, row = layout.dimensions[-2:]
    item = max(channel.dtype.itemsize for channel in layout.channels)
    steps = [row.step, *([lines.step] if lines.size > 1 else []), *(channel.offset for channel in layout.channels)]
    if any(step % channel.dtype.itemsize for step in steps for channel in layout.channels):
        raise damaged_file(file.path.name, KIND, "its pixels do not lie on whole bytes of their numbers")
    last = sum((one.size - 1) * one.step for one in layout.dimensions)
    needed = last + max(channel.offset for channel in layout.channels) + item
    if layout.start < 0 or needed > layout.bytes or math.prod(layout.shape) > layout.bytes:
        raise damaged_file(file.path.name, KIND, "it announces more pixels than it holds")
    if layout.start + needed > file.size:
        raise damaged_file(file.path.name, KIND, "it ends before the pixels that it announces")


def _read(file: FileBytes, layout: _Layout, dtype: np.dtype[np.generic], region: Region) -> Array:
    """Return a region; its slices have start, stop and step 1."""
    outer, (lines, row) = layout.dimensions[:-2], layout.dimensions[-2:]
    parts = list(region)
    of_channels = slice(0, 1)
    if len(layout.channels) > 1:
        of_channels = parts.pop(-1 if layout.coloured else -3)
    *before, of_lines, of_row = parts
    places = [range(part.start, part.stop) for part in before]
    chosen = range(of_channels.start, of_channels.stop)
    counts = (of_lines.stop - of_lines.start, of_row.stop - of_row.start)
    out: Array = np.empty((*map(len, places), len(chosen), *counts), dtype)
    for index in product(*(range(len(numbers)) for numbers in places)):
        steps: Sequence[int] = [numbers[at] * one.step for numbers, at, one in zip(places, index, outer, strict=True)]
        for number, channel in enumerate(chosen):
            start = layout.start + sum(steps)
            out[(*index, number)] = _plane(file, start, layout.channels[channel], lines, row, of_lines, of_row)
    if len(layout.channels) == 1:
        return out.squeeze(len(places))
    return np.moveaxis(out, len(places), -1) if layout.coloured else out


def _plane(
    file: FileBytes,
    start: int,
    channel: _Channel,
    lines: _Dimension,
    row: _Dimension,
    of_lines: slice,
    of_row: slice,
) -> Array:
    """Return a part of the plane of a channel. Rows may hold other channels and filling bytes too."""
    item = channel.dtype.itemsize
    width = lines.step if lines.size > 1 else channel.offset + (row.size - 1) * row.step + item
    planes, within = divmod(channel.offset, width)
    step = max(row.step // item, 1)
    first = within // item + of_row.start * step
    part = slice(first, first + (of_row.stop - of_row.start - 1) * step + 1)
    shape = (lines.size, width // item)
    return read_region(file, start + planes * width, shape, channel.dtype, (of_lines, part))[:, ::step]
