"""Reader of Nikon ND2: the library nd2 (extra ``microscopes``) reads the metadata, this module reads regions of frames.

nd2 reads frames as a whole, and gives zeros for pixels that are missing in the file. This reader relies on an
undocumented part of nd2, tested with version 0.12.0: ``ND2File._rdr.chunkmap``, the offsets of the parts of the file.
"""

import math
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ...text import reason_of
from ..axes import complete_names, fitting_names, named_axes, only_present
from ..image import Image, Metadata, PixelSize, Region
from ..series import Selection, Series, choose, note_on_series
from ..units import pixel_size
from .file_bytes import FileBytes, check_plausible, read_region
from .microscope_libraries import damaged_file, vendor_library

KIND = "a Nikon ND2 file"
_POSITION = "p"
# A chunk: its mark, the length of its name, the length of its data, name, data. The data of a frame begin with a time.
_CHUNK = struct.Struct("<IIQ")
_MARK = 0x0ABECEDA
_TIME_BYTES = 8
# The parts with metadata that are read. Those that begin with L are packed, behind a head of 12 bytes.
_METADATA = (b"ImageAttributes", b"ImageMetadata", b"ImageTextInfo")
_PACKED, _PACKED_START = b"L", 12
_MOST_METADATA = 1 << 26
# zlib packs zeros to a thousandth.
_ZLIB_RATIO = 1100


def nd2_series(path: Path) -> list[Series]:
    """Return the positions of the stage in an ND2 file. Raises ImageError as :func:`open_nd2` does."""
    with vendor_library("nd2", path, KIND) as nd2, nd2.ND2File(path) as opened:
        return _series(opened, _frames(path, opened))


@dataclass(frozen=True)
class _Frames:
    """The frames of a file, and how pixels lie in them.

    ``loops`` are the axes and lengths that count the frames. A frame has ``height`` rows of ``row`` numbers, of which
    the first ``width`` times ``samples`` are pixels. ``offsets`` has None for frames that were never written.
    """

    loops: tuple[tuple[str, int], ...]
    height: int
    width: int
    samples: int
    row: int
    dtype: np.dtype[np.generic]
    packed: bool
    coloured: bool
    offsets: tuple[int | None, ...]

    @property
    def axes(self) -> tuple[str, tuple[str, ...]]:
        """Axis letters of one position, and notes on axes without a letter."""
        words = [letter for letter, _ in self.loops if letter != _POSITION]
        return named_axes([*words, *("yxs" if self.coloured else "cyx" if self.samples > 1 else "yx")])

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents along the axes of one position."""
        sizes = [size for letter, size in self.loops if letter != _POSITION]
        channels = [self.samples] if self.samples > 1 else []
        plane = (self.height, self.width)
        return (*sizes, *plane, *channels) if self.coloured else (*sizes, *channels, *plane)


def open_nd2(path: Path, selection: Selection) -> Image:
    """Open one position of the stage in an ND2 file; every position is an image of the file.

    Raises ImageError for damaged files, for lossy compression, and without the library. Raises UsageError if the
    selection fits no position.
    """
    with vendor_library("nd2", path, KIND) as nd2, nd2.ND2File(path) as opened:
        frames = _frames(path, opened)
        metadata = _metadata(opened)
        series = _series(opened, frames)
    chosen = choose(path.name, series, selection)
    letters, renamed = frames.axes
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        read, missing = _reader(file, frames, chosen.number)
        stack.pop_all()
    return Image(
        name=path.name,
        path=str(path),
        axes=letters,
        axes_source="file",
        shape=frames.shape,
        dtype=frames.dtype.newbyteorder("="),
        read=read,
        close=file.close,
        pixel_size=only_present(metadata.pixel_size, letters),
        channel_names=fitting_names(metadata.channel_names, letters, frames.shape),
        notes=(*note_on_series(path.name, series, chosen), *renamed, *metadata.notes, *missing),
        series=chosen if len(series) > 1 else None,
        piece=frames.height * frames.row * frames.dtype.itemsize if frames.packed else 0,
    )


def _frames(path: Path, opened: Any) -> _Frames:
    """Return the frames of an opened file. Raises ImageError for sizes that cannot be."""
    name, found = path.name, {bytes(key): int(place[0]) for key, place in opened._rdr.chunkmap.items()}
    with closing(FileBytes(path)) as file:
        for key, offset in found.items():
            if key.startswith(_METADATA):
                _check_metadata(file, offset)
    attributes = opened.attributes
    if attributes.compressionType == "lossy":
        raise ImageError(
            f"{name} is compressed with loss, which is not read here. Open it in NIS-Elements and save it without "
            "compression, or as TIFF."
        )
    dtype = np.dtype(
        f"<{'f' if attributes.pixelDataType == 'float' else 'u'}{attributes.bitsPerComponentInMemory // 8}"
    )
    height, width, samples = attributes.heightPx, attributes.widthPx, attributes.componentCount
    row = (attributes.widthBytes or 0) // dtype.itemsize
    loops = tuple((_letter(loop.type), int(loop.count)) for loop in opened.experiment if loop.count > 1)
    letters = [letter for letter, _ in loops]
    if min(height, width or 0, samples) < 1 or row < width * samples or len(set(letters)) != len(letters):
        raise damaged_file(name, KIND, "its metadata contradict each other")
    count = math.prod(size for _, size in loops)
    # A file may announce any number of frames, but it holds at most as many as it has chunks.
    if count > 1 and count > 1000 * len(found):
        raise damaged_file(name, KIND, f"it announces {count} frames")
    offsets = tuple(found.get(f"ImageDataSeq|{number}!".encode()) for number in range(count))
    if all(offset is None for offset in offsets):
        raise damaged_file(name, KIND, "it has no frame")
    return _Frames(
        loops,
        height,
        width,
        samples,
        row,
        dtype,
        packed=attributes.compressionType == "lossless",
        coloured=samples == 3 and attributes.channelCount in (None, 1),
        offsets=offsets,
    )


def _check_metadata(file: FileBytes, offset: int) -> None:
    """Raise ImageError for metadata that unpack to more than metadata can be: nd2 unpacks them without a limit."""
    start, count = _chunk(file, offset)
    data = file.read(start, count)
    if data.startswith(_PACKED):
        unpacker = zlib.decompressobj()
        unpacker.decompress(data[_PACKED_START:], _MOST_METADATA)
        if not unpacker.eof:
            raise damaged_file(file.path.name, KIND, "its metadata are incomplete or very large")


def _chunk(file: FileBytes, offset: int) -> tuple[int, int]:
    """Return offset and number of the bytes of a chunk's data. Raises ImageError unless the file holds them."""
    mark, name_bytes, count = _CHUNK.unpack(file.read(offset, _CHUNK.size))
    start = offset + _CHUNK.size + name_bytes
    if mark != _MARK or start + count > file.size:
        raise damaged_file(file.path.name, KIND, "a part is missing where its directory announces one")
    return int(start), int(count)


def _series(opened: Any, frames: _Frames) -> list[Series]:
    """Return the positions of the stage as images of the file."""
    letters, _ = frames.axes
    return [Series(number, name, letters, frames.shape) for number, name in enumerate(_position_names(opened))]


def _letter(loop: str) -> str:
    words = {"TimeLoop": "t", "NETimeLoop": "t", "XYPosLoop": _POSITION, "ZStackLoop": "z"}
    return words.get(loop, loop)


def _position_names(opened: Any) -> list[str]:
    """Return a name for each position of the stage, empty where the file gives none."""
    for loop in opened.experiment:
        if loop.type == "XYPosLoop" and loop.count > 1:
            names = [str(point.name or "") for point in loop.parameters.points]
            return names if len(names) == loop.count else [""] * loop.count
    return [""]


def _metadata(opened: Any) -> Metadata:
    """Return the pixel sizes and channel names that the file states: nd2 gives 1 µm where there is no calibration."""
    try:
        channels = opened.metadata.channels or []
    except Exception as error:  # nd2 0.12.0 expects facts on lamps and filters that not every file has
        return Metadata(
            notes=(f"Its metadata cannot be read ({reason_of(error)}), so pixel size and channel names are unknown.",)
        )
    sizes: dict[str, PixelSize | None] = {}
    if channels:
        volume = channels[0].volume
        for axis, known, size in zip("xyz", volume.axesCalibrated, volume.axesCalibration, strict=True):
            sizes[axis] = pixel_size(axis, size, "µm") if known else None
    for loop in opened.experiment:
        if loop.type == "TimeLoop":
            sizes["t"] = pixel_size("t", loop.parameters.periodMs, "ms")
        elif loop.type == "NETimeLoop":
            periods = {period.periodMs for period in loop.parameters.periods}
            sizes["t"] = pixel_size("t", periods.pop(), "ms") if len(periods) == 1 else None
    return Metadata(sizes, complete_names([str(channel.channel.name or "") for channel in channels]))


def _reader(file: FileBytes, frames: _Frames, position: int) -> tuple[Callable[[Region], Array], tuple[str, ...]]:
    """Return the function that reads regions of a position, and notes on missing frames."""
    numbers = np.arange(len(frames.offsets)).reshape([size for _, size in frames.loops])
    numbers = numbers[tuple(position if letter == _POSITION else slice(None) for letter, _ in frames.loops)]
    present = [offset for number in numbers.ravel() if (offset := frames.offsets[number]) is not None]
    starts = {offset: _start(file, offset, frames) for offset in present}

    axes, _ = frames.axes

    def read(region: Region) -> Array:
        parts = dict(zip(axes[numbers.ndim :], region[numbers.ndim :], strict=True))
        rows, columns, samples = parts["y"], parts["x"], parts.get("s", parts.get("c", slice(0, 1)))
        taken = np.asarray(numbers[region[: numbers.ndim]])
        shape = [part.stop - part.start for part in (rows, columns, samples)]
        out: Array = np.zeros((*taken.shape, *shape), frames.dtype.newbyteorder("="))
        for index in np.ndindex(taken.shape):
            offset = frames.offsets[taken[index]]
            if offset is not None:
                out[index] = _pixels(file, frames, starts[offset], rows, columns)[..., samples]
        if "s" in parts:
            return out
        return np.moveaxis(out, -1, -3) if "c" in parts else out[..., 0]

    lacking = numbers.size - len(present)
    note = f"The file lacks {lacking} of the {numbers.size} frames that it announces; they are read as zeros."
    return read, (note,) if lacking else ()


def _start(file: FileBytes, offset: int, frames: _Frames) -> tuple[int, int]:
    """Return offset and number of the bytes of a frame. Raises ImageError unless the file holds them."""
    start, count = _chunk(file, offset)
    start, count = start + _TIME_BYTES, count - _TIME_BYTES
    needed = ((frames.height - 1) * frames.row + frames.width * frames.samples) * frames.dtype.itemsize
    if frames.packed:
        check_plausible(file.path.name, needed, count, _ZLIB_RATIO)
    elif count < needed:
        raise damaged_file(file.path.name, KIND, "a frame is shorter than its metadata announce")
    return start, count


def _pixels(file: FileBytes, frames: _Frames, place: tuple[int, int], rows: slice, columns: slice) -> Array:
    """Return rows and columns of a frame, with the samples of a pixel last."""
    start, count = place
    samples = frames.samples
    shape = (frames.height, frames.row)
    part = slice(columns.start * samples, columns.stop * samples)
    if frames.packed:
        size = math.prod(shape) * frames.dtype.itemsize
        unpacked = zlib.decompressobj().decompress(file.read(start, count), size)
        if len(unpacked) != size:
            raise damaged_file(file.path.name, KIND, "a compressed frame is incomplete")
        block: Array = np.frombuffer(unpacked, frames.dtype).reshape(shape)[rows, part]
    else:
        block = read_region(file, start, shape, frames.dtype, (rows, part))
    return block.reshape(rows.stop - rows.start, columns.stop - columns.start, samples)
