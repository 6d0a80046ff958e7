"""The text of ImageJ and its relatives (SCIFIO, tifffile, giatools) in a TIFF: counts, pixel sizes, labels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...text import counted
from ..axes import AXES, complete_names, letter_of
from ..image import Metadata, PixelSize
from ..units import pixel_size, positive_number
from .file_bytes import FileBytes
from .tiff_pages import PageTags, ends_within_stack, truncated

_COUNTS = {letter: AXES[letter].imagej_count for letter in "tzc"}
_DEFAULT_ORDER = "czt"
# Resolutions for printers and screens, in dots per inch; they are unrelated to the sample.
_PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 220, 240, 300, 350, 360, 400, 600, 720, 1200, 2400, 4800)
_CENTIMETRE = 3
_TAG_UNITS = {2: ("inch", 1.0), _CENTIMETRE: ("cm", 2.54)}
_CONTRADICTION = (
    "The file gives its resolution in pixels per cm, but names another unit in its text; the pixel size is taken from "
    "the pixels per cm."
)


def correct_counts(tif: Any, file: FileBytes, tags: Iterable[PageTags]) -> str | None:
    """Correct the counts in ``tif.imagej_metadata`` if the pages contradict them; return a note for the user.

    tifffile derives the shape of the stack from these counts. ``tags`` are the layouts of the pages.
    Raises ImageError for a truncated stack behind a single page directory.
    """
    text = tif.imagej_metadata
    if text is None:
        return None
    key, pages = tif.pages.first, len(tif.pages)
    counts = {letter: text.get(name, 1) for letter, name in _COUNTS.items()}
    if not all(isinstance(count, int) and count > 0 for count in counts.values()):
        return None
    planar = int(key.shaped[0]) > 1
    # Bio-Formats counts the samples of RGB pages as channels. Nothing is lost, so there is no note.
    if key.samplesperpixel > 1 and counts["c"] == key.samplesperpixel:
        counts["c"] = 1
        if not planar:
            # tifffile keeps separate samples as channels, and interleaved samples as colours.
            tif.imagej_metadata = {**text, "channels": 1, "images": math.prod(counts.values())}
    expected = math.prod(counts.values())
    alike = len({layout[:2] for layout in tags if all(layout[:2])}) <= 1
    if alike and expected in (1, pages):
        return None
    if expected > 1 and _has_stack(file, tif, expected):
        return None if pages == 1 else f"The file has further pages behind its stack of {expected}; they are not read."
    if not alike:
        # tifffile then sorts the pages into series by their sizes.
        tif.is_imagej = False
        return "The file has pages of different sizes, so the counts in its text are not used."
    corrected, note = _corrected(counts, str(text.get("order", _DEFAULT_ORDER)).lower(), pages)
    if planar:
        corrected.pop("c")
    named = {_COUNTS[letter]: count for letter, count in corrected.items()}
    tif.imagej_metadata = {**tif.imagej_metadata, "images": pages, **named}
    return note


def _has_stack(file: FileBytes, tif: Any, planes: int) -> bool:
    """Return whether all planes follow each other behind the first page directory, as ImageJ and tifffile write them.

    Raises ImageError if the file ends before the last plane of this stack.
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
    """Return counts that fit the pages, with a note: another count along the outermost axis, else 1 for all axes."""
    outwards = order if sorted(order) == sorted(_DEFAULT_ORDER) else _DEFAULT_ORDER
    outer = [letter for letter in outwards if counts[letter] > 1][-1]
    inner = math.prod(counts.values()) // counts[outer]
    listed = ", ".join(f"{count} {_COUNTS[letter]}" for letter, count in counts.items() if count > 1)
    found = f"The file's text counts {listed}, but the file has {counted(pages, 'page')}"
    if pages % inner:
        return dict.fromkeys(counts, 1), f"{found}, which does not fit; the pages are taken as they come."
    now, before = pages // inner, counts[outer]
    corrected = {**counts, outer: now}
    if now < before:
        return corrected, f"{found}: {before - now} {_COUNTS[outer]} are missing, as after an interrupted acquisition."
    return corrected, f"{found}; all of them are read."


def text_metadata(page: Any, text: Mapping[str, Any]) -> Metadata:
    """Return pixel sizes from the resolution tags of a tifffile page and the text of the file.

    ``text`` is the parsed text of ImageJ or SCIFIO, or the JSON of tifffile and giatools. Its keys are ``unit``,
    ``spacing`` (z) and ``finterval`` (t).
    """
    unit, notes = text.get("unit"), []
    spacing, zunit = text.get("spacing"), text.get("zunit", unit)
    if isinstance(spacing, int | float) and spacing < 0:
        spacing = -spacing
        notes.append("The stack is reversed: the file gives its planes a negative spacing. They are read as stored.")
    sizes = {
        "z": pixel_size("z", spacing, zunit),
        "t": pixel_size("t", text.get("finterval"), text.get("tunit", "s")),
    }
    if scales := _scifio_sizes(text):
        # SCIFIO writes the tags in pixels per cm; the unit in its text belongs to its scales.
        return Metadata({**sizes, **scales}, notes=tuple(notes))
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        per_unit = _ratio(page.tags.valueof(tag))
        if per_unit is None:
            continue
        tag_unit = page.tags.valueof("ResolutionUnit")
        if unit is None:
            if _is_of_sample(tag_unit, per_unit):
                sizes[axis] = pixel_size(axis, 1 / per_unit, _TAG_UNITS[tag_unit][0])
            continue
        sizes[axis] = pixel_size(axis, 1 / per_unit, text.get(f"{axis}unit", unit))
        by_tags = pixel_size(axis, 1 / per_unit, "cm")
        if sizes[axis] not in (None, by_tags) and tag_unit == _CENTIMETRE:
            # ImageJ writes pixels per cm only beside the unit cm; Micro-Manager writes them beside um.
            sizes[axis] = by_tags
            notes.append(_CONTRADICTION)
    return Metadata(sizes, notes=tuple(dict.fromkeys(notes)))


def imagej_metadata(page: Any, text: Mapping[str, Any], axes: str, shape: Sequence[int]) -> Metadata:
    """Return the metadata of an ImageJ file; ``axes`` and ``shape`` are those of its stack, as it is stored."""
    found = text_metadata(page, text)
    offset, slope = text.get("c0"), text.get("c1")
    notes = found.notes
    if None not in (offset, slope) and (offset, slope) != (0, 1):
        # A calibration function, as ImageJ uses it for signed 16-bit images.
        notes += (
            f"ImageJ shows its values calibrated ({offset} + {slope} × stored value); the stored values are used.",
        )
    return Metadata(found.pixel_size, _channel_names(text.get("Labels"), axes, shape), notes)


def _channel_names(labels: object, axes: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Return channel names from slice labels, if all slices of a channel have one label that no other channel has.

    ``axes`` and ``shape`` are those of the image, in the order in which its planes are stored.
    """
    if not isinstance(labels, list) or "c" not in axes:
        return ()
    planes = [(axis, size) for axis, size in zip(axes, shape, strict=True) if axis not in "yxs"]
    total = inner = 1
    for axis, size in reversed(planes):
        inner = total if axis == "c" else inner
        total *= size
    channels = shape[axes.index("c")]
    if len(labels) == channels:
        return complete_names([str(label) for label in labels])
    if len(labels) != total:
        return ()
    groups: list[set[str]] = [set() for _ in range(channels)]
    for plane, label in enumerate(labels):
        groups[plane // inner % channels].add(str(label))
    names = [label for group in groups for label in group]
    return complete_names(names) if len(names) == len(set(names)) == channels else ()


def _scifio_sizes(text: Mapping[str, Any]) -> dict[str, PixelSize | None]:
    """Return pixel sizes from the lists ``axes``, ``scales`` and ``units`` in SCIFIO's text; empty without them."""
    if not {"SCIFIO", "axes", "scales", "units"} <= text.keys():
        return {}
    axes, scales, units = (str(text[key]).split(",") for key in ("axes", "scales", "units"))
    letters = [letter_of(axis.strip(), "xyzt") for axis in axes]
    return {
        letter: pixel_size(letter, scale, unit)
        for letter, scale, unit in zip(letters, scales, units, strict=False)
        if letter is not None
    }


def _is_of_sample(tag_unit: int, per_unit: float) -> bool:
    """Return whether a resolution in the tags can be a pixel size, and is not one for printing."""
    if tag_unit not in _TAG_UNITS or per_unit == 1:
        return False
    dpi = per_unit * _TAG_UNITS[tag_unit][1]
    return not any(abs(dpi - usual) < 0.5 for usual in _PRINT_DPI)


def _ratio(value: object) -> float | None:
    """Return the value of a rational tag if it is a positive number, else None."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return positive_number(value[0] / value[1])
