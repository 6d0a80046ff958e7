"""Regions of TIFF pages: read straight from the file if uncompressed, else by decoding the strips or tiles they meet.

tifffile decodes the strips and tiles. Its own region reader, ``series.aszarr()``, is not used: it returned the first
page of truncated files without an error, read whole pages of uncompressed files for each region, and took 3 to 6 times
as long for overlapping regions (tifffile 2026.3.3, zarr 3.1.6).
"""

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ..image import Region
from .file_bytes import LARGEST_PIECE, PIECE_RATIO, FileBytes, check_plausible, read_region

# Tiles of the network overlap and cross strips, so decoded strips are soon needed again.
_CACHE_BYTES = 64 << 20
# Far above every microscope's files; a damaged or crafted file may name any number.
_MOST_PAGES = 1_000_000
_MOST_TAGS = 4096
# Tags that state how the pixels of a page are stored: ImageWidth, ImageLength, BitsPerSample, Compression,
# PhotometricInterpretation, FillOrder, SamplesPerPixel, RowsPerStrip, PlanarConfiguration, Predictor, TileWidth,
# TileLength, SampleFormat, ImageDepth and TileDepth.
_LAYOUT = (256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 339, 32997, 32998)
PageTags = tuple[int, ...]
"""Layout of a page: width, height and the first values of further tags, 0 for tags that the page lacks."""
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
# Values of Compression that tifffile decodes as JPEG; it also converts their colours to RGB.
JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
# Flags for tifffile.TiffFile. Its readers for Micro-Manager and NDTiff also open the files beside this one. Its reader
# for ScanImage takes the pages for equally long.
ALONE: dict[str, Any] = {"is_mmstack": False, "is_ndtiff": False, "is_scanimage": False}


def page_tags(file: FileBytes) -> dict[int, PageTags]:
    """Return the layout of every page, by the position of its directory, after a check of the chain of directories.

    Raises ImageError if the chain leaves the file (a truncated file), is circular or absurdly long.
    """
    form = _form(file)
    found: dict[int, PageTags] = {}
    layouts: dict[PageTags, PageTags] = {}  # equal layouts are one object, which saves memory
    (page,) = struct.unpack(form.link, file.read(form.first_link, struct.calcsize(form.link)))
    while page:
        if page in found or len(found) >= _MOST_PAGES:
            raise ImageError(
                f"{file.path.name} is damaged: the list of its pages does not end. Copy or export the image again."
            )
        tags = _count(file, form, page)
        if tags > _MOST_TAGS:
            # Offsets in LSM files beyond 4 GiB wrap around; tifffile corrects them.
            if file.size >= 2**32 and not form.is_big:
                break
            raise ImageError(
                f"{file.path.name} is damaged: the description of its page {len(found) + 1} cannot be read. "
                "Copy or export the image again."
            )
        end = tags * struct.calcsize(form.tag)
        directory = file.read(page + struct.calcsize(form.tag_count), end + struct.calcsize(form.link))
        layout = _tags(file, form, directory[:end])
        found[page] = layouts.setdefault(layout, layout)
        (page,) = struct.unpack(form.link, directory[end:])
    if not found:
        raise ImageError(f"{file.path.name} is a TIFF file without any page. Export the image again.")
    return found


def tags_at(file: FileBytes, page: int) -> PageTags:
    """Return the layout of the page whose directory is at this position."""
    form = _form(file)
    size = min(_count(file, form, page), _MOST_TAGS) * struct.calcsize(form.tag)
    return _tags(file, form, file.read(page + struct.calcsize(form.tag_count), size))


class _Form(NamedTuple):
    """Formats (of the module struct) of the parts of a page directory, and the position of the link to the first."""

    order: str
    tag_count: str
    tag: str
    link: str
    first_link: int
    is_big: bool


def _form(file: FileBytes) -> _Form:
    header = file.read(0, min(16, file.size))
    order = "<" if header[:2] == b"II" else ">"
    if header[2:4] in (b"+\0", b"\0+"):
        return _Form(order, f"{order}Q", f"{order}HHQ8s", f"{order}Q", 8, is_big=True)
    return _Form(order, f"{order}H", f"{order}HHI4s", f"{order}I", 4, is_big=False)


def _count(file: FileBytes, form: _Form, page: int) -> int:
    (tags,) = struct.unpack(form.tag_count, file.read(page, struct.calcsize(form.tag_count)))
    return int(tags)


def _tags(file: FileBytes, form: _Form, entries: bytes) -> PageTags:
    """Return the first value of each tag of the layout, from the entries of a page directory."""
    found = dict.fromkeys(_LAYOUT, 0)
    for code, kind, number, value in struct.iter_unpack(form.tag, entries):
        if code in found and kind in _INTEGERS:
            integer = form.order + _INTEGERS[kind]
            size = struct.calcsize(integer)
            if number * size > len(value):
                (position,) = struct.unpack(form.link, value)
                value = file.read(position, size) if position + size <= file.size else bytes(size)
            (found[code],) = struct.unpack_from(integer, value)
    return tuple(found.values())


@dataclass(frozen=True)
class PlainPages:
    """Uncompressed pages; ``shape`` is that of one page, ``offsets`` are the positions of their pixels.

    ``members`` are the files of the pages, if these are spread over several files.
    """

    file: FileBytes
    offsets: Sequence[int]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    members: Sequence[FileBytes] = ()
    piece = 0

    def __post_init__(self) -> None:
        size = math.prod(self.shape) * self.dtype.itemsize
        for offset, file in zip(self.offsets, self.members or [self.file] * len(self.offsets), strict=True):
            if offset + size > file.size:
                raise truncated(file)

    def read(self, page: int, region: Region) -> Array:
        """Return the region of that page, in native byte order."""
        file = self.members[page] if self.members else self.file
        return read_region(file, self.offsets[page], self.shape, self.dtype, region)

    def close(self) -> None:
        """Close the files."""
        for file in (self.file, *self.members):
            file.close()


class _Grid(NamedTuple):
    """Grid of the strips or tiles of a page, along its first four dimensions inside.

    ``steps`` are the pixels of a strip or tile along each dimension, ``piece`` is the number of its bytes, and
    ``counts`` are the numbers of strips or tiles.
    """

    steps: tuple[int, ...]
    counts: tuple[int, ...]
    piece: int


def _grid(file: FileBytes, key: Any) -> _Grid:
    """Return the grid of a tifffile page. Raises ImageError for strips or tiles without pixels."""
    sides = (key.tiledepth, key.tilelength, key.tilewidth) if key.is_tiled else (1, key.rowsperstrip, key.imagewidth)
    steps = (1, *map(int, sides))
    if min(steps) < 1:
        raise damaged(file, f"its strips or tiles have no pixels ({'×'.join(map(str, steps[1:]))})")
    counts = tuple(math.ceil(size / step) for size, step in zip(key.shaped[:4], steps, strict=True))
    return _Grid(steps, counts, math.prod(steps) * int(key.shaped[4]) * int(key.dtype.itemsize))


class SegmentedPages:
    """Pages in compressed or scattered strips or tiles.

    ``pages`` are those of tifffile, None for a page that the file lacks. All of them have the shape and the dtype of
    ``keyframe``; their own keyframes state how they are stored. ``shape`` is that of one page. Inside, a page has
    tifffile's five dimensions: separate sample, depth, y, x, interleaved sample. ``piece`` is the size in bytes of the
    largest strip or tile, which is decoded as a whole. ``members`` are the files of the pages, if these are spread over
    several files.
    """

    def __init__(
        self,
        file: FileBytes,
        pages: Sequence[Any],
        keyframe: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        members: Sequence[FileBytes] = (),
    ) -> None:
        self.file, self.pages, self.keyframe, self.shape, self.dtype = file, pages, keyframe, shape, dtype
        self.members = members or [file] * len(pages)
        self._grids = {key: _grid(file, key) for key in {page.keyframe for page in pages if page is not None}}
        self.piece = max((grid.piece for grid in self._grids.values()), default=1)
        self._check()
        for key in self._grids:
            # tifffile builds this function on first access, which is not safe from several threads.
            _ = key.decode
        self._decoded = lru_cache(maxsize=_CACHE_BYTES // self.piece)(self._decode)

    def _check(self) -> None:
        """Raise ImageError for strips or tiles that are missing, cut, or too large to decode."""
        name = self.file.path.name
        for page, file in zip(self.pages, self.members, strict=True):
            if page is None:
                continue
            counts, grid = byte_counts(page), self._grids[page.keyframe]
            expected = math.prod(grid.counts)
            listed = min(len(page.dataoffsets), len(counts))
            if listed < expected:
                raise damaged(file, f"a page lists {listed} of the {expected} strips or tiles that it must have")
            places = zip(page.dataoffsets, counts, strict=False)
            if any(begin and begin + count > file.size for begin, count in places):
                raise truncated(file)
            check_plausible(name, grid.piece, max(counts, default=0), PIECE_RATIO)
        if self.piece > LARGEST_PIECE:
            raise ImageError(
                f"{name} stores its pixels in pieces of {self.piece / 2**30:.1f} GiB that can only be "
                "unpacked as a whole. Save it as a tiled TIFF, uncompressed TIFF or OME-Zarr."
            )

    def read(self, page: int, region: Region) -> Array:
        """Return the region of that page, in native byte order."""
        long = iter([part for part, size in zip(region, self.shape, strict=True) if size != 1])
        inside = tuple(slice(0, 1) if size == 1 else next(long) for size in self.keyframe.shaped)
        out = np.full([part.stop - part.start for part in inside], self.keyframe.nodata, self.dtype)
        if self.pages[page] is None:
            return out.reshape([part.stop - part.start for part in region])
        grid = self._grids[self.pages[page].keyframe]
        met = (
            range(part.start // step, math.ceil(part.stop / step))
            for part, step in zip(inside, grid.steps, strict=False)
        )
        for place in product(*met):
            decoded = self._decoded(page, int(np.ravel_multi_index(place, grid.counts)))
            if decoded is not None:
                begin = [number * step for number, step in zip(place[1:], grid.steps[1:], strict=True)]
                _paste(out[place[0] - inside[0].start], decoded, begin, inside[1:])
        return out.reshape([part.stop - part.start for part in region])

    def close(self) -> None:
        """Close the files and forget the decoded strips or tiles."""
        for file in (self.file, *self.members):
            file.close()
        self._decoded.cache_clear()

    def _decode(self, page: int, index: int) -> Array | None:
        """Return one strip or tile; None for a strip or tile that was never written."""
        stored, key = self.pages[page], self.pages[page].keyframe
        offset, count = stored.dataoffsets[index], byte_counts(stored)[index]
        if not count or not offset:
            return None
        data = self.members[page].read(offset, count)
        options = {}
        if key.compression in JPEG_COMPRESSIONS:
            options = {"jpegtables": stored.jpegtables, "jpegheader": key.jpegheader}
        decoded: Array = key.decode(data, index, **options)[0]
        return decoded


def byte_counts(page: Any) -> Sequence[int]:
    """Return the byte counts of the strips or tiles of a tifffile page.

    tifffile gives an uncompressed page in one strip the byte count of the first page: 0 if that was never written.
    """
    key = page.keyframe
    whole = key.is_contiguous and len(page.dataoffsets) == 1
    counts: Sequence[int] = (key.nbytes,) if whole else page.databytecounts
    return counts


def _paste(out: Array, decoded: Array, begin: Sequence[int], region: Region) -> None:
    """Copy the part of a strip or tile that lies in the region into ``out`` (depth, y, x, sample)."""
    source: list[slice] = []
    target: list[slice] = []
    for start, size, part in zip(begin, decoded.shape, region, strict=False):
        low, high = max(start, part.start), min(start + size, part.stop)
        source.append(slice(low - start, high - start))
        target.append(slice(low - part.start, high - part.start))
    out[tuple(target)] = decoded[(*source, region[3])]


Pages = PlainPages | SegmentedPages


def page_reader(pages: Pages, leading: tuple[int, ...]) -> Callable[[Region], Array]:
    """Return the function that reads regions of an image whose first dimensions, ``leading``, count the pages."""

    def read(region: Region) -> Array:
        if not leading:
            return pages.read(0, region)
        inner = region[len(leading) :]
        counts = tuple(part.stop - part.start for part in region)
        out = np.empty(counts, pages.dtype.newbyteorder("="))
        for index in np.ndindex(counts[: len(leading)]):
            place = [part.start + step for part, step in zip(region, index, strict=False)]
            out[index] = pages.read(int(np.ravel_multi_index(place, leading)), inner)
        return out

    return read


def ends_within_stack(file: FileBytes, key: Any) -> bool:
    """Return whether the file ends within a stack behind its only page directory.

    ``key`` is the page, uncompressed, from tifffile. A file is whole if its directory follows the pixels. There never
    was a stack if nothing follows the pixels of the page.
    """
    begin = int(key.dataoffsets[0])
    end = begin + key.nbytes
    return bool(end > file.size or (end < file.size and key.offset < begin))


def damaged(file: FileBytes, reason: str) -> ImageError:
    """Return the error for a TIFF whose parts contradict each other."""
    return ImageError(f"{file.path.name} is a damaged TIFF: {reason}. Copy or export the image again.")


def truncated(file: FileBytes) -> ImageError:
    """Return the error for a TIFF that points to pixels beyond its own end."""
    return ImageError(
        f"{file.path.name} is a damaged TIFF: it points to pixels beyond its end ({file.size:,} bytes). It is "
        "truncated, as after an interrupted copy, download or acquisition. Copy or export the image again."
    )
