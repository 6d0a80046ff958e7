"""Reading regions from the pages of a TIFF: straight from the file where they are stored plainly, else only those
strips or tiles that the region meets."""

import math
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ..image import Region
from .file_bytes import FileBytes, check_plausible, read_region

# Tiles of the engine overlap and cross strips: what was just decoded is wanted again.
_CACHE_BYTES = 64 << 20
_LARGEST_SEGMENT = 1 << 31
_SEGMENT_RATIO = 4000
_MOST_PAGES = 1_000_000
_MOST_TAGS = 4096
# NewSubfileType and SubfileType come before the width and the height.
_FIRST_TAGS = 4
_WIDTH, _LENGTH = 256, 257
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_JPEG = (6, 7, 33007, 34892)


def page_sizes(file: FileBytes) -> tuple[tuple[int, int], ...]:
    """Width and height of every page, from the chain of page directories; it is followed before a library trusts it.

    Raises ImageError where it leaves the file (a truncated file), comes back to itself, or is absurdly long.
    """
    header = file.read(0, min(16, file.size))
    order = "<" if header[:2] == b"II" else ">"
    big = header[2:4] in (b"+\0", b"\0+")
    count_format, tag_size, link_format = (f"{order}Q", 20, f"{order}Q") if big else (f"{order}H", 12, f"{order}I")
    count_size, link_size = struct.calcsize(count_format), struct.calcsize(link_format)
    position = 8 if big else 4
    seen: set[int] = set()
    sizes: list[tuple[int, int]] = []
    while True:
        (page,) = struct.unpack(link_format, file.read(position, link_size))
        if page == 0:
            break
        if page in seen or len(seen) >= _MOST_PAGES:
            raise ImageError(
                f"{file.path.name} is damaged: the list of its pages does not end. Copy or export the image again."
            )
        seen.add(page)
        (tags,) = struct.unpack(count_format, file.read(page, count_size))
        if tags > _MOST_TAGS:
            # LSM files beyond 4 GiB have wrapped offsets here, which tifffile knows how to mend.
            if file.size >= 2**32 and not big:
                break
            raise ImageError(
                f"{file.path.name} is damaged: the description of its page {len(seen)} cannot be read. "
                "Copy or export the image again."
            )
        first = file.read(page + count_size, min(tags, _FIRST_TAGS) * tag_size)
        sizes.append(_page_size(first, order, tag_size))
        position = page + count_size + tags * tag_size
    if not seen:
        raise ImageError(f"{file.path.name} is a TIFF file without any page. Export the image again.")
    return tuple(sizes)


def _page_size(tags: bytes, order: str, tag_size: int) -> tuple[int, int]:
    """ImageWidth and ImageLength among the first tags of a page, which are in order of their codes; 0 where missing."""
    found = {_WIDTH: 0, _LENGTH: 0}
    for place in range(0, len(tags), tag_size):
        code, kind = struct.unpack_from(f"{order}HH", tags, place)
        if code in found and kind in _INTEGERS:
            (found[code],) = struct.unpack_from(
                f"{order}{_INTEGERS[kind]}", tags, place + (8 if tag_size == 12 else 12)
            )
    return found[_WIDTH], found[_LENGTH]


@dataclass(frozen=True)
class PlainPages:
    """Pages whose pixels are stored as they are; ``shape`` is that of one page, ``offsets`` where each begins."""

    file: FileBytes
    offsets: Sequence[int]
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def __post_init__(self) -> None:
        last = max(self.offsets) + math.prod(self.shape) * self.dtype.itemsize
        if last > self.file.size:
            raise truncated(self.file)

    @property
    def piece(self) -> int:
        """Nothing has to be decoded as a whole."""
        return 0

    def read(self, page: int, region: Region) -> NDArray[np.generic]:
        """The region of that page, in native byte order."""
        return read_region(self.file, self.offsets[page], self.shape, self.dtype, region)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass(frozen=True)
class Segments:
    """Where the strips or tiles of one page are stored, and what is needed to decode them."""

    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None = None


class _Cache:
    """The strips or tiles decoded last, up to a number of bytes, for any number of threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._arrays: OrderedDict[tuple[int, int], NDArray[np.generic]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int]) -> NDArray[np.generic] | None:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def clear(self) -> None:
        with self._lock:
            self._arrays.clear()
            self._held = 0

    def put(self, key: tuple[int, int], array: NDArray[np.generic]) -> None:
        with self._lock:
            if key not in self._arrays:
                self._arrays[key] = array
                self._held += array.nbytes
            while self._held > self._limit:
                self._held -= self._arrays.popitem(last=False)[1].nbytes


@dataclass(frozen=True)
class SegmentedPages:
    """Pages in compressed or scattered strips or tiles; None stands for a page that the file lacks.

    ``keyframe`` is the tifffile page whose properties all share, ``shape`` that of one page as tifffile gives it.
    """

    file: FileBytes
    pages: Sequence[Segments | None]
    keyframe: Any
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    _cache: _Cache = field(default_factory=lambda: _Cache(_CACHE_BYTES))

    def __post_init__(self) -> None:
        size = self.piece
        expected = math.prod(self._grid)
        for page in self.pages:
            if page is None:
                continue
            listed = min(len(page.offsets), len(page.counts))
            if listed < expected:
                raise damaged(self.file, f"a page lists {listed} of the {expected} strips or tiles that it must have")
            if any(begin + count > self.file.size for begin, count in zip(page.offsets, page.counts, strict=False)):
                raise truncated(self.file)
            check_plausible(self.file.path.name, size, max(page.counts, default=0), _SEGMENT_RATIO)
        if size > _LARGEST_SEGMENT:
            raise ImageError(
                f"{self.file.path.name} stores its pixels in pieces of {size / 2**30:.1f} GiB that can only be "
                "unpacked as a whole. Save it as a tiled TIFF, uncompressed TIFF or OME-Zarr."
            )
        # tifffile builds this function on first access, which is not safe from several threads.
        _ = self.keyframe.decode

    @property
    def piece(self) -> int:
        """Bytes of one strip or tile, which is decoded as a whole."""
        return math.prod(self._segment) * int(self.keyframe.dtype.itemsize)

    def read(self, page: int, region: Region) -> NDArray[np.generic]:
        """The region of that page, in native byte order."""
        whole = _normalised(region, self.shape, self.keyframe.shaped)
        counts = tuple(part.stop - part.start for part in whole)
        out = np.full(counts, self.keyframe.nodata, self.dtype)
        segments = self.pages[page]
        if segments is not None:
            for index in self._met(whole):
                decoded, (sample, *begin) = self._decoded(page, segments, index)
                if decoded is not None:
                    _paste(out[sample - whole[0].start], decoded, begin[:3], whole[1:])
        return out.reshape(tuple(part.stop - part.start for part in region))

    def close(self) -> None:
        """Close the file and forget what was decoded."""
        self.file.close()
        self._cache.clear()

    @property
    def _segment(self) -> tuple[int, int, int, int]:
        """Depth, rows, columns and samples of one strip or tile."""
        key = self.keyframe
        samples = int(key.shaped[4])
        if key.is_tiled:
            return int(key.tiledepth), int(key.tilelength), int(key.tilewidth), samples
        return 1, int(key.rowsperstrip), int(key.imagewidth), samples

    @property
    def _grid(self) -> tuple[int, int, int, int]:
        """How many strips or tiles there are: by separate sample, in depth, along y, along x."""
        shaped, segment = self.keyframe.shaped, self._segment
        if min(segment) < 1:
            raise damaged(self.file, f"its strips or tiles have no pixels ({'×'.join(map(str, segment))})")
        depth, rows, columns = (math.ceil(size / part) for size, part in zip(shaped[1:4], segment[:3], strict=True))
        return int(shaped[0]), depth, rows, columns

    def _met(self, region: Region) -> Iterator[int]:
        """Indices of the strips or tiles that the region, of normalised dimensions, meets."""
        grid = self._grid
        steps = (1, *self._segment[:3])
        spans = [range(part.start // step, -(-part.stop // step)) for part, step in zip(region, steps, strict=False)]
        for sample in spans[0]:
            for depth in spans[1]:
                for row in spans[2]:
                    for column in spans[3]:
                        yield ((sample * grid[1] + depth) * grid[2] + row) * grid[3] + column

    def _decoded(
        self, page: int, segments: Segments, index: int
    ) -> tuple[NDArray[np.generic] | None, tuple[int, int, int, int]]:
        """One strip or tile and where it begins (sample, depth, row, column); None for one that was never written."""
        sample, rest = divmod(index, math.prod(self._grid[1:]))
        depth, rest = divmod(rest, math.prod(self._grid[2:]))
        row, column = divmod(rest, self._grid[3])
        segment = self._segment
        begin = (sample, depth * segment[0], row * segment[1], column * segment[2])
        if not segments.counts[index] or not segments.offsets[index]:
            return None, begin
        cached = self._cache.get((page, index))
        if cached is not None:
            return cached, begin
        data = self.file.read(segments.offsets[index], segments.counts[index])
        options = {}
        if self.keyframe.compression in _JPEG:
            options = {"jpegtables": segments.tables, "jpegheader": self.keyframe.jpegheader}
        decoded: NDArray[np.generic] = self.keyframe.decode(data, index, **options)[0]
        self._cache.put((page, index), decoded)
        return decoded, begin


Pages = PlainPages | SegmentedPages


def page_reader(pages: Pages, leading: tuple[int, ...]) -> Callable[[Region], NDArray[np.generic]]:
    """Read regions of the image whose first dimensions, of shape ``leading``, count the pages."""

    def read(region: Region) -> NDArray[np.generic]:
        if not leading:
            return pages.read(0, region)
        inner = region[len(leading) :]
        counts = tuple(part.stop - part.start for part in region)
        out = np.empty(counts, pages.dtype.newbyteorder("="))
        for index in np.ndindex(counts[: len(leading)]):
            page = 0
            for position, part, size in zip(index, region, leading, strict=False):
                page = page * size + part.start + position
            out[index] = pages.read(page, inner)
        return out

    return read


def ends_within_stack(file: FileBytes, key: Any) -> bool:
    """Whether the file ends within a stack that is stored behind its only page directory.

    ``key`` is the page, plainly stored, as tifffile gives it. Where its directory stands behind the pixels the file is
    whole, and where nothing follows its own pixels, there never was a stack.
    """
    begin = int(key.dataoffsets[0])
    end = begin + key.nbytes
    return bool(end > file.size or (end < file.size and key.offset < begin))


def damaged(file: FileBytes, reason: str) -> ImageError:
    """The error for a TIFF whose parts contradict each other."""
    return ImageError(f"{file.path.name} is a damaged TIFF: {reason}. Copy or export the image again.")


def truncated(file: FileBytes) -> ImageError:
    """The error for a TIFF that points to pixels beyond its own end."""
    return ImageError(
        f"{file.path.name} is a damaged TIFF: it points to pixels beyond its end ({file.size:,} bytes). It is "
        "truncated, as after an interrupted copy, download or acquisition. Copy or export the image again."
    )


def _normalised(region: Region, shape: tuple[int, ...], shaped: tuple[int, ...]) -> Region:
    """The region of a page in tifffile's five dimensions: separate sample, depth, y, x, interleaved sample."""
    wide = iter([part for part, size in zip(region, shape, strict=True) if size != 1])
    return tuple(slice(0, 1) if size == 1 else next(wide) for size in shaped)


def _paste(out: NDArray[np.generic], decoded: NDArray[np.generic], begin: Sequence[int], region: Region) -> None:
    """Copy that part of a strip or tile into ``out`` (depth, y, x, sample) that lies in the region."""
    source: list[slice] = []
    target: list[slice] = []
    for start, size, part in zip(begin, decoded.shape, region, strict=False):
        low, high = max(start, part.start), min(start + size, part.stop)
        source.append(slice(low - start, high - start))
        target.append(slice(low - part.start, high - part.start))
    out[tuple(target)] = decoded[(*source, region[3])]
