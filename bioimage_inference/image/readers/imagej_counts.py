"""ImageJ's counts of channels, slices and frames, made to agree with the pages that the file really has."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .file_bytes import FileBytes
from .tiff_pages import ends_within_stack, truncated

_COUNTS = {"t": "frames", "z": "slices", "c": "channels"}
_DEFAULT_ORDER = "czt"


def correct_counts(tif: Any, file: FileBytes, sizes: Sequence[tuple[int, int]]) -> str | None:
    """Correct the counts in ``tif.imagej_metadata`` where the pages contradict them; returns a remark for the user.

    ``sizes`` are width and height of the pages, 0 where unknown. tifffile builds the shape of the stack on these
    counts. Bio-Formats counts the samples of RGB pages as channels, which loses nothing and needs no remark. Raises
    ImageError for a stack behind a single page directory that is cut.
    """
    description = tif.imagej_metadata
    if description is None:
        return None
    key, pages = tif.pages.first, len(tif.pages)
    counts = {letter: description.get(name, 1) for letter, name in _COUNTS.items()}
    if not all(isinstance(count, int) and count > 0 for count in counts.values()):
        return None
    samples = int(key.samplesperpixel)
    planar = int(key.shaped[0]) > 1
    if samples > 1 and counts["c"] == samples:
        counts["c"] = 1
        if not planar:
            # Separate samples stay channels for tifffile, interleaved ones are colours.
            tif.imagej_metadata = {**description, "channels": 1, "images": math.prod(counts.values())}
    expected = math.prod(counts.values())
    alike = len({size for size in sizes if all(size)}) <= 1
    if alike and expected in (1, pages):
        return None
    if expected > 1 and _holds_stack(file, tif, expected):
        return None if pages == 1 else f"The file has further pages behind its stack of {expected}; they are not read."
    if not alike:
        # tifffile then sorts the pages into series by itself.
        tif.is_imagej = False
        return "The file has pages of different sizes, so the counts in its text are not used."
    corrected, note = _corrected(counts, str(description.get("order", _DEFAULT_ORDER)).lower(), pages)
    if planar:
        corrected.pop("c")
    named = {_COUNTS[letter]: count for letter, count in corrected.items()}
    tif.imagej_metadata = {**tif.imagej_metadata, "images": pages, **named}
    return note


def _holds_stack(file: FileBytes, tif: Any, planes: int) -> bool:
    """Whether all planes follow each other behind the first page directory, as ImageJ and tifffile write them.

    Raises ImageError where such a stack ends before its last plane.
    """
    key = tif.pages.first
    if not key.is_final:
        return False
    end = int(key.dataoffsets[0]) + planes * key.nbytes
    if len(tif.pages) > 1:
        second = tif.pages[1]
        return bool(end <= min(second.offset, *second.dataoffsets))
    if end > file.size and ends_within_stack(file, key):
        raise truncated(file)
    return bool(end <= file.size)


def _corrected(counts: Mapping[str, int], order: str, pages: int) -> tuple[dict[str, int], str]:
    """Counts that fit the pages: fewer or more along the outermost axis, else none at all; and the remark."""
    outwards = order if sorted(order) == sorted(_DEFAULT_ORDER) else _DEFAULT_ORDER
    outer = [letter for letter in outwards if counts[letter] > 1][-1]
    inner = math.prod(counts.values()) // counts[outer]
    said = ", ".join(f"{count} {_COUNTS[letter]}" for letter, count in counts.items() if count > 1)
    found = f"The file's text counts {said}, but the file has {pages} page{'s' * (pages > 1)}"
    if pages % inner:
        return dict.fromkeys(counts, 1), f"{found}, which does not fit; the pages are taken as they come."
    now, before = pages // inner, counts[outer]
    kept = {**counts, outer: now}
    if now < before:
        return kept, f"{found}: {before - now} {_COUNTS[outer]} are missing, as after an interrupted acquisition."
    return kept, f"{found}; all of them are read."
