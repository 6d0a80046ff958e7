"""Tiles of a Zeiss CZI file: their places in the image and in the file, and their decoding.

The file is a chain of segments. A directory segment lists the tiles ("subblocks") with the first index and length
along each axis. czifile parses the directory, imagecodecs decodes the pixels.
"""

import math
import struct
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ..image import check_numeric
from .file_bytes import FILE_RATIO, FileBytes, check_plausible, read_region
from .microscope_libraries import damaged_file

KIND = "a Zeiss CZI file"
# A segment: name, bytes allocated, bytes used. The header of the file holds the number of the part, the places of
# directory and XML, and a flag that is set while somebody writes.
_SEGMENT = struct.Struct("<16sqq")
_FILE_HEADER = struct.Struct("<iiii16s16siqqi")
# The header of a tile: bytes of its XML, of its attachment and of its pixels. Its entry of the directory follows.
_TILE_HEADER = struct.Struct("<iiq")
_LEAST_TILE_HEADER = 256
_RAW, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_WITH_HEADER = 0, 1, 2, 4, 5, 6
_COMPRESSIONS = (_RAW, _JPEG, _LZW, _JPEG_XR, _ZSTD, _ZSTD_WITH_HEADER)


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile: its place in the image, the extents and type of its pixels, and its place in the file.

    ``axes`` is the order of its axes in the file, in Zeiss's capital letters. ``stored`` are the extents of its pixels
    along ``axes``, and the number of colours. A tile of higher ``order`` lies on top of others.
    """

    axes: str
    start: Mapping[str, int]
    size: Mapping[str, int]
    stored: tuple[int, ...]
    dtype: np.dtype[np.generic]
    scene: int
    order: int
    pyramid: int
    compression: int
    position: int
    entry_bytes: int

    @property
    def samples(self) -> int:
        """Colours of a pixel, 1 for grey."""
        return self.stored[-1]

    @property
    def is_full(self) -> bool:
        """Whether the tile holds the image in full resolution, and is no part of a pyramid."""
        return self.pyramid == 0 and self.stored[:-1] == tuple(self.size[axis] for axis in self.axes)

    @property
    def decoded_bytes(self) -> int:
        """Bytes that are decoded at once; 0 for pixels that are not compressed."""
        return 0 if self.compression == _RAW else math.prod(self.stored) * self.dtype.itemsize


def tiles_of(library: Any, file: FileBytes) -> tuple[list[Tile], str]:
    """Return all tiles and the XML of a file; ``library`` is czifile. Raises ImageError for damaged files."""
    name = file.path.name
    part, directory, metadata, _ = _header(file)
    if part:
        raise ImageError(
            f"{name} is one part of an image that is spread over several files, which is not read here. Open the "
            "image in ZEN and save it as one file, or as OME-TIFF."
        )
    # Without these segments czifile searches the whole file.
    if not _is_segment(file, directory, b"ZISRAWDIRECTORY"):
        raise damaged_file(name, KIND, "it has no directory of its pixels")
    # czifile 2019.7.2.3 leaves a file open that it cannot read, if it opened the file itself. It warns of unfinished
    # files, of which the image has a note.
    with file.path.open("rb") as stream, warnings.catch_warnings(action="ignore"), library.CziFile(stream) as opened:
        tiles = [_tile(name, entry) for entry in opened.subblock_directory]
        xml = opened.metadata() if _is_segment(file, metadata, b"ZISRAWMETADATA") else ""
    return tiles, xml


def is_unfinished(file: FileBytes) -> bool:
    """Return whether the program that wrote the file did not come to its end, or still writes."""
    *_, unfinished = _header(file)
    return bool(unfinished)


def _header(file: FileBytes) -> tuple[int, int, int, int]:
    """Return the number of the part, the places of the directory and the XML, and the flag of unfinished files."""
    part, directory, metadata, unfinished = _FILE_HEADER.unpack(file.read(_SEGMENT.size, _FILE_HEADER.size))[-4:]
    return part, directory, metadata, unfinished


def _is_segment(file: FileBytes, position: int, name: bytes) -> bool:
    """Return whether a segment of that name lies within the file."""
    if not 0 < position <= file.size - _SEGMENT.size:
        return False
    found, allocated, used = _SEGMENT.unpack(file.read(position, _SEGMENT.size))
    return bool(found.rstrip(b"\0") == name and min(allocated, used) >= 0 and position + used <= file.size)


def _tile(name: str, entry: Any) -> Tile:
    """Return the tile of an entry of czifile's directory, of either generation."""
    scene, order = getattr(entry, "scene_index", -1), entry.mosaic_index
    dimensions: Iterable[tuple[str, int, int, int]]
    if hasattr(entry, "dimension_entries"):
        dimensions = [(one.dimension, one.start, one.size, one.stored_size) for one in entry.dimension_entries]
        scene = next((start for axis, start, _, _ in dimensions if axis == "S"), -1)
        dimensions = [one for one in dimensions if one[0] not in ("S", "M")]
    else:
        dimensions = list(zip(entry.dims, entry.start, entry.shape, entry.stored_shape, strict=True))[:-1]
    dtype = np.dtype(entry.dtype).base
    check_numeric(name, dtype)
    axes = "".join(axis for axis, _, _, _ in dimensions)
    stored = tuple(int(count) for _, _, _, count in dimensions)
    if len(set(axes)) != len(axes) or not {"Y", "X"} <= {*axes} or min(stored) < 1:
        raise damaged_file(name, KIND, "its directory contradicts itself")
    return Tile(
        axes=axes,
        start={axis: int(start) for axis, start, _, _ in dimensions},
        size={axis: int(size) for axis, _, size, _ in dimensions},
        stored=(*stored, int(entry.stored_shape[-1])),
        dtype=dtype,
        scene=int(scene),
        order=-1 if order is None else int(order),
        pyramid=int(entry.pyramid_type),
        compression=int(entry.compression),
        position=int(entry.file_position),
        entry_bytes=int(entry.storage_size),
    )


def read_tile(file: FileBytes, tile: Tile, part: Mapping[str, slice]) -> Array:
    """Return a part of a tile along its axes, with the colours last: red, green, blue (alpha).

    ``part`` has a slice for each axis; axes that are not in it are read whole. Raises ImageError for damaged tiles.
    """
    offset, count = _place(file, tile)
    region = (*(part.get(axis, slice(0, tile.size[axis])) for axis in tile.axes), slice(0, tile.samples))
    if tile.compression == _RAW:
        block = read_region(file, offset, tile.stored, tile.dtype, region)
    else:
        block = _decoded(file.path.name, file.read(offset, count), tile)[region]
    # JPEG and JPEG XR hold red first, all others blue first.
    if tile.samples > 1 and tile.compression not in (_JPEG, _JPEG_XR):
        block = block[..., [2, 1, 0, *range(3, tile.samples)]]
    return block


def _place(file: FileBytes, tile: Tile) -> tuple[int, int]:
    """Return offset and number of the bytes of a tile's pixels. Raises ImageError unless the file holds them."""
    name = file.path.name
    if not _is_segment(file, tile.position, b"ZISRAWSUBBLOCK"):
        raise damaged_file(name, KIND, "a tile is missing where its directory announces one")
    header = tile.position + _SEGMENT.size
    xml, _, count = _TILE_HEADER.unpack(file.read(header, _TILE_HEADER.size))
    offset = header + max(_LEAST_TILE_HEADER, _TILE_HEADER.size + tile.entry_bytes) + xml
    needed = math.prod(tile.stored) * tile.dtype.itemsize
    if min(xml, count) < 0 or offset + count > file.size or (tile.compression == _RAW and count < needed):
        raise damaged_file(name, KIND, "a tile is shorter than its directory announces")
    check_plausible(name, needed, count, FILE_RATIO)
    return offset, count


def _decoded(name: str, data: bytes, tile: Tile) -> Array:
    """Return all pixels of a compressed tile, in the shape ``stored``."""
    import imagecodecs

    if tile.compression not in _COMPRESSIONS:
        raise ImageError(
            f"{name} is compressed by a method (number {tile.compression}) that is not read here. Save it in ZEN "
            "without compression, or as OME-TIFF."
        )
    if tile.compression in (_JPEG, _JPEG_XR):
        decode = imagecodecs.jpeg8_decode if tile.compression == _JPEG else imagecodecs.jpegxr_decode
        height, width = (tile.size[axis] for axis in "YX")
        # A given array stops the decoder before it allocates what the data claim.
        pixels: Array = np.empty((height, width) if tile.samples == 1 else (height, width, tile.samples), tile.dtype)
        decode(data, out=pixels)
        return pixels.reshape(tile.stored)
    size = math.prod(tile.stored) * tile.dtype.itemsize
    shuffled = False
    if tile.compression == _ZSTD_WITH_HEADER:
        # The first byte is the length of the header. Part 1 of it tells whether low bytes come before high bytes.
        header, data = data[: data[0]], data[data[0] :]
        shuffled = header[1:2] == b"\x01" and bool(header[2] & 1)
    unpack = imagecodecs.lzw_decode if tile.compression == _LZW else imagecodecs.zstd_decode
    unpacked = unpack(data, out=size)
    if len(unpacked) != size:
        raise damaged_file(name, KIND, "a compressed tile is incomplete")
    values = np.frombuffer(unpacked, np.uint8)
    if shuffled:
        values = values.reshape(tile.dtype.itemsize, -1).T.ravel()
    return values.view(tile.dtype).reshape(tile.stored)
