"""Layout of an image in TIFF: which pages of which files hold its planes, and whether all of them are alike."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from ...text import agreeing, counted
from .file_bytes import FileBytes
from .member_files import member_bytes
from .tiff_pages import Pages, PageTags, PlainPages, SegmentedPages, byte_counts, damaged, tags_at


def series_pages(
    file: FileBytes, series: Any, tags: Mapping[Path, Mapping[int, PageTags]], shape: tuple[int, ...]
) -> tuple[Pages, tuple[int, ...], tuple[str, ...]]:
    """Return access to the pixels, the leading dimensions that count the pages, and notes on missing pixels.

    ``series`` is tifffile's, of the image in ``file`` or spread over this file and others in its folder. ``tags`` are
    the layouts of the pages of each of these files.

    Raises ImageError if pages are missing, or differ from the first page in shape or dtype.
    """
    key = series.keyframe
    elsewhere = series.kind == "ome" and any(
        frame is not None and frame.parent is not series.parent for frame in series
    )
    stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    if series.dataoffset and not elsewhere:  # 0 for a page that was never written
        return PlainPages(file, (int(series.dataoffset),), shape, stored), (), ()
    split = _page_split(series, shape)
    leading, inner = shape[:split], shape[split:]
    frames = list(series)
    if len(frames) != math.prod(leading):
        raise damaged(file, f"its metadata announce {counted(math.prod(leading), 'page')}, and it has {len(frames)}")
    members = _members(file, frames, key) if elsewhere else ()
    files = members or [file] * len(frames)
    frames = [_own_page(one, frame, key, tags[one.path]) for one, frame in zip(files, frames, strict=True)]
    if all(frame is not None and frame.is_final and _is_contiguous(frame) for frame in frames):
        offsets = tuple(int(frame.dataoffsets[0]) for frame in frames)
        return PlainPages(file, offsets, inner, stored, members), leading, ()
    dtype = np.dtype(np.uint8 if stored.kind == "b" else stored.newbyteorder("="))
    return SegmentedPages(file, frames, key, inner, dtype, members), leading, _missing(frames)


def _members(file: FileBytes, frames: Sequence[Any], key: Any) -> Sequence[FileBytes]:
    """Return the file of each page of a set. Raises ImageError if the pages of a file differ from the first page."""
    folder = file.path.parent
    paths = [file.path if frame is None else folder / frame.parent.filehandle.name for frame in frames]
    members = member_bytes(paths)
    for member in set(members):
        own = [frame for frame, one in zip(frames, members, strict=True) if one is member and frame is not None]
        if any(frame.keyframe.hash != key.hash for frame in own):
            raise ImageError(
                f"{member.path.name} and {file.path.name} belong to one image, but store pixels of different sizes or "
                "kinds. Export the set again."
            )
    return members


def _page_split(series: Any, shape: tuple[int, ...]) -> int:
    """Return the number of leading dimensions of ``shape`` that count pages; the others are those of one page."""
    page = [size for size in series.keyframe.shape if size != 1]
    for split in range(len(shape) + 1):
        if [size for size in shape[split:] if size != 1] == page:
            return split
    raise ImageError(
        f"The pages of this TIFF are {'×'.join(map(str, series.keyframe.shape))} pixels, which does not fit the shape "
        f"{'×'.join(map(str, shape))} that its metadata announce. Export the image again."
    )


def _is_contiguous(frame: Any) -> bool:
    """Return whether the strips of this page were written and follow each other.

    tifffile checks only the strips of the first page, and takes the start of the file for a strip at offset 0.
    """
    if 0 in frame.dataoffsets:
        return False
    ends = [begin + count for begin, count in zip(frame.dataoffsets, frame.databytecounts, strict=False)]
    return len(frame.dataoffsets) == 1 or ends[:-1] == list(frame.dataoffsets[1:])


def _own_page(file: FileBytes, frame: Any, key: Any, tags: Mapping[int, PageTags]) -> Any:
    """Return a page of the series with its own layout, if that differs from the layout of its keyframe.

    tifffile gives most pages the layout of the first one, and compares few of them. Raises ImageError for a page whose
    shape or dtype differ from those of ``key``.
    """
    if frame is None:
        return None
    page, layout, expected = frame, _layout(file, frame, tags), _layout(file, frame.keyframe, tags)
    if layout != expected and None not in (layout, expected):
        own = frame.aspage()
        page = frame if own.hash == frame.hash else own
    if (page.shaped, page.dtype) != (key.shaped, key.dtype):
        found, right = (f"{'×'.join(map(str, one.shape))} pixels of {one.dtype}" for one in (page, key))
        raise damaged(file, f"its page {frame.treeindex[0] + 1} has {found}, but {right} belong into the stack")
    return page


def _layout(file: FileBytes, page: Any, tags: Mapping[int, PageTags]) -> PageTags | None:
    """Return the layout of a tifffile page, None if it has no directory of its own."""
    is_subifd = len(page.treeindex) > 1
    return tags_at(file, page.offset) if is_subifd else tags.get(page.offset)


def _missing(frames: Sequence[Any]) -> tuple[str, ...]:
    """Return notes on pages, and on strips or tiles, that were never written."""
    notes = []
    present = [frame for frame in frames if frame is not None]
    if lacking := len(frames) - len(present):
        notes.append(
            f"The file announces {counted(len(frames), 'plane')}, of which {lacking} {agreeing(lacking, 'are')} "
            "missing. Missing planes are read as zeros."
        )
    places = (place for page in present for place in zip(page.dataoffsets, byte_counts(page), strict=False))
    if empty := sum(not offset or not count for offset, count in places):
        total = sum(len(page.dataoffsets) for page in present)
        notes.append(
            f"The file has {total} strips or tiles, of which {empty} {agreeing(empty, 'are')} empty. Empty ones are "
            "read as the fill value of the file."
        )
    return tuple(notes)
