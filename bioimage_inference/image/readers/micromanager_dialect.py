"""Dialect of Micro-Manager: a summary in front of the pages, a map of all planes, and settings of every page.

A file mostly has the text of ImageJ as well, but that can be missing, and it does not count positions.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from ..axes import complete_names
from ..image import PixelSize
from .dialect_facts import DialectFacts, DialectSource, PlaneOrder, even_step, nested, plane_order, ranks, size_of
from .file_bytes import FileBytes

_SUMMARY_BYTES = 4 << 20
_PAGE_SETTINGS = 51123
# Decoding the settings of a page takes about a millisecond.
_MOST_PAGES = 4096
# The map of planes: its place in the header, its marks, and one row per plane (channel, slice, frame, position, page).
_MAP_MARK, _MAP_START, _MAP_ROW = 54773648, 3453623, 20
_AXES = "cztp"
# For each of these axes: the keys in the settings of a page, the axis of NDTiff, and the count in the summary.
_INDEX_KEYS = (
    ("ChannelIndex", "Channel_Index"),
    ("SliceIndex", "Slice"),
    ("FrameIndex", "Frame"),
    ("PositionIndex", "Position"),
)
_NDTIFF_AXES = ("channel", "z", "time", "position")
_COUNTS = {"c": "Channels", "z": "Slices", "t": "Frames", "p": "Positions"}
_ORDER_WORDS = {"channel": "c", "z": "z", "slice": "z", "time": "t", "position": "p"}

_Index = tuple[int, ...]


def micromanager(source: DialectSource) -> DialectFacts:
    """Return the facts of Micro-Manager: µm along y, x and z, interval, names of channels, and the order of pages."""
    summary = _summary(source.file)
    pages = _page_settings(source.frames)
    complete = len(pages) == source.planes
    indices = _mapped(source) or (_stated(pages) if complete else [])
    order = plane_order(_AXES, indices)
    if order is None:  # the indices contradict each other
        indices, order = [], _summarised(summary, source.planes)
    first = pages[0] if pages else {}
    size = size_of("x", summary.get("PixelSize_um"), "µm") or size_of("x", first.get("PixelSizeUm"), "µm")
    depth = size_of("z", summary.get("z-step_um"), "µm")
    if depth is None and complete and indices:
        depth = size_of("z", _distance(pages, indices), "µm")
    sizes: dict[str, PixelSize | None] = {
        "y": size,
        "x": size,
        "z": depth,
        "t": size_of("t", summary.get("Interval_ms"), "ms"),
    }
    return DialectFacts(sizes, _channel_names(summary, pages, indices), planes=order)


def _summary(file: FileBytes) -> Mapping[str, Any]:
    import tifffile

    start = io.BytesIO(file.read(0, min(file.size, _SUMMARY_BYTES)))
    summary = tifffile.read_micromanager_metadata(start, {"Summary"}).get("Summary")
    return summary if isinstance(summary, dict) else {}


def _mapped(source: DialectSource) -> list[_Index]:
    """Return channel, slice, frame and position of every page, from the map; empty if it lacks one of the pages."""
    file = source.file
    order = "<" if file.read(0, 2) == b"II" else ">"
    mark, place = struct.unpack(f"{order}2I", file.read(8, 8))
    if mark != _MAP_MARK or not 8 <= place <= file.size - 8:
        return []
    mark, count = struct.unpack(f"{order}2I", file.read(place, 8))
    if mark != _MAP_START or place + 8 + count * _MAP_ROW > file.size:
        return []
    rows = struct.iter_unpack(f"{order}5I", file.read(place + 8, count * _MAP_ROW))
    known = {page: tuple(index) for *index, page in rows}
    found = [known.get(frame.offset) for frame in source.frames]
    complete = len(found) == source.planes and all(index is not None for index in found)
    return [index for index in found if index is not None] if complete else []


def _page_settings(frames: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return the settings of each page, those of the first page only if there are very many."""
    chosen = frames if len(frames) <= _MOST_PAGES else frames[:1]
    found = [frame.aspage().tags.valueof(_PAGE_SETTINGS) for frame in chosen]
    return [one if isinstance(one, dict) else {} for one in found]


def _stated(pages: Sequence[Mapping[str, Any]]) -> list[_Index]:
    """Return channel, slice, frame and position of every page, from its settings; empty if one does not state them."""
    if all(isinstance(page.get("Axes"), dict) for page in pages):
        rows = [tuple(page["Axes"].get(axis, 0) for axis in _NDTIFF_AXES) for page in pages]
        columns = [
            column if all(_is_index(one) for one in column) else ranks(map(str, column))
            for column in zip(*rows, strict=True)
        ]
        return list(zip(*columns, strict=True))
    found: list[_Index] = []
    for page in pages:
        index = tuple(next((page[key] for key in keys if _is_index(page.get(key))), None) for keys in _INDEX_KEYS)
        if all(one is None for one in index):
            return []
        found.append(tuple(one or 0 for one in index))
    return found


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _summarised(summary: Mapping[str, Any], planes: int) -> PlaneOrder | None:
    """Return the order of the pages by the counts in the summary, if these are those of the file."""
    counts = {letter: summary.get(key, 1) for letter, key in _COUNTS.items()}
    if not all(_is_index(count) for count in counts.values()):
        return None
    words = summary.get("AxisOrder")
    innermost_first = [_ORDER_WORDS.get(str(word), "") for word in words] if isinstance(words, list) else []
    order = "".join(reversed(innermost_first))
    if sorted(order) != sorted(_AXES):
        order = "tp" if summary.get("TimeFirst", True) else "pt"
        order += "zc" if summary.get("SlicesFirst", True) else "cz"
    return nested([(letter, counts[letter]) for letter in order], planes)


def _distance(pages: Sequence[Mapping[str, Any]], indices: Sequence[_Index]) -> float | None:
    """Return the distance of the slices in µm, from the heights of the pages."""
    heights = {index[1]: page.get("ZPositionUm") for page, index in zip(pages, indices, strict=True)}
    return even_step(heights[number] for number in sorted(heights))


def _channel_names(
    summary: Mapping[str, Any], pages: Sequence[Mapping[str, Any]], indices: Sequence[_Index]
) -> tuple[str, ...]:
    """Return the names of the channels that are in the file, from the summary, else from the pages."""
    listed = summary.get("ChNames")
    names = [str(name) for name in listed] if isinstance(listed, list) else []
    present = sorted({index[0] for index in indices})
    if names and present and present[-1] < len(names):
        names = names[present[0] : present[-1] + 1]
    if not names:
        stated = {index[0]: str(page.get("Channel") or "") for page, index in zip(pages, indices, strict=False)}
        names = [stated[number] for number in sorted(stated)]
    return complete_names(names)
