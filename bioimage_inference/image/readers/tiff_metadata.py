"""Pixel sizes and channel names that a TIFF states in a text (ImageJ, SCIFIO, JSON of tifffile) and in its tags."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..image import Metadata, PixelSize
from ..units import pixel_size, positive_number
from .ome_xml import complete_names

# Resolutions that programs write for the sake of printers and screens; they say nothing of the sample.
_PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 220, 240, 300, 350, 360, 400, 600, 720, 1200, 2400, 4800)
_CENTIMETRE = 3
_TAG_UNITS = {2: ("inch", 1.0), _CENTIMETRE: ("cm", 2.54)}
_CONTRADICTION = (
    "The file gives its resolution in pixels per cm, but names another unit in its text; the pixel size is taken from "
    "the pixels per cm."
)


def text_metadata(page: Any, description: Mapping[str, Any]) -> Metadata:
    """Pixel sizes from the resolution tags of a tifffile page and its ``description``.

    ``description`` is the text of ImageJ or SCIFIO, or the JSON of tifffile and giatools: ``unit``, ``spacing`` (z),
    ``finterval`` (t).
    """
    unit, notes = description.get("unit"), []
    spacing, zunit = description.get("spacing"), description.get("zunit", unit)
    if isinstance(spacing, int | float) and spacing < 0:
        spacing = -spacing
        notes.append("The stack is reversed: the file gives its planes a negative spacing. They are read as stored.")
    sizes = {
        "z": pixel_size("z", spacing, zunit),
        "t": pixel_size("t", description.get("finterval"), description.get("tunit", "s")),
    }
    scales = _scifio_sizes(description)
    if scales:
        # SCIFIO writes the tags in pixels per cm, and a unit for ImageJ that belongs to other numbers.
        return Metadata({**sizes, **scales}, notes=tuple(notes))
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        per_unit = _ratio(page.tags.valueof(tag))
        if per_unit is None:
            continue
        if unit is None:
            if _tells_of_sample(page, per_unit):
                sizes[axis] = pixel_size(axis, 1 / per_unit, _TAG_UNITS[page.tags.valueof("ResolutionUnit")][0])
            continue
        stated = pixel_size(axis, 1 / per_unit, description.get(f"{axis}unit", unit))
        by_tags = pixel_size(axis, 1 / per_unit, "cm")
        sizes[axis] = stated
        if stated is not None and stated != by_tags and page.tags.valueof("ResolutionUnit") == _CENTIMETRE:
            # ImageJ itself writes pixels per cm beside the unit cm only; Micro-Manager beside um.
            sizes[axis] = by_tags
            notes.append(_CONTRADICTION)
    return Metadata(sizes, notes=tuple(dict.fromkeys(notes)))


def imagej_metadata(page: Any, description: Mapping[str, Any], axes: str, shape: Sequence[int]) -> Metadata:
    """What the text of an ImageJ file says; ``axes`` and ``shape`` are those of its stack, as it is stored."""
    found = text_metadata(page, description)
    note = _calibration_note(description)
    return Metadata(
        found.pixel_size,
        _imagej_channel_names(description.get("Labels"), axes, shape),
        found.notes if note is None else (*found.notes, note),
    )


def _imagej_channel_names(labels: object, axes: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Channel names from ImageJ's slice labels, where all slices of a channel bear the same label and no other's.

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


def _calibration_note(description: Mapping[str, Any]) -> str | None:
    """A remark where ImageJ shows other values than it stores (a calibration function, as for signed 16-bit images)."""
    offset, slope = description.get("c0"), description.get("c1")
    if offset is None or slope is None or (offset, slope) == (0, 1):
        return None
    return f"ImageJ shows its values calibrated ({offset} + {slope} × stored value); the stored values are used."


def _scifio_sizes(description: Mapping[str, Any]) -> dict[str, PixelSize | None]:
    """Pixel sizes from the lists ``axes``, ``scales`` and ``units`` in the text of SCIFIO; empty where it has none."""
    if not {"SCIFIO", "axes", "scales", "units"} <= description.keys():
        return {}
    axes, scales, units = (str(description[key]).split(",") for key in ("axes", "scales", "units"))
    letters = [{"time": "t"}.get(axis.strip().lower(), axis.strip().lower()) for axis in axes]
    return {
        letter: pixel_size(letter, scale, unit)
        for letter, scale, unit in zip(letters, scales, units, strict=False)
        if letter in ("x", "y", "z", "t")
    }


def _tells_of_sample(page: Any, per_unit: float) -> bool:
    unit = page.tags.valueof("ResolutionUnit")
    if unit not in _TAG_UNITS or per_unit == 1:
        return False
    dpi = per_unit * _TAG_UNITS[unit][1]
    return not any(abs(dpi - usual) < 0.5 for usual in _PRINT_DPI)


def _ratio(value: object) -> float | None:
    """The value of a rational tag, when it is a positive number."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return positive_number(value[0] / value[1])
