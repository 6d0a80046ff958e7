"""Pixel sizes and channel names that a TIFF states outside OME-XML: ImageJ, JSON of tifffile, resolution tags."""

from collections.abc import Mapping, Sequence
from typing import Any

from .image import PixelSize
from .ome import complete_names
from .units import pixel_size, positive_number

# Resolutions that programs write for the sake of printers and screens; they say nothing of the sample.
_PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 220, 240, 300, 350, 360, 400, 600, 720, 1200, 2400, 4800)
_TAG_UNITS = {2: ("inch", 1.0), 3: ("cm", 2.54)}


def pixel_sizes(page: Any, description: Mapping[str, Any]) -> dict[str, PixelSize | None]:
    """Pixel sizes from the resolution tags of a tifffile page and its ``description``.

    ``description`` is ImageJ's or the JSON of tifffile and giatools: ``unit``, ``spacing`` (z), ``finterval`` (t).
    """
    unit = description.get("unit")
    sizes = {
        "z": pixel_size("z", description.get("spacing"), description.get("zunit", unit)),
        "t": pixel_size("t", description.get("finterval"), description.get("tunit", "s")),
    }
    for axis, tag in (("x", "XResolution"), ("y", "YResolution")):
        per_unit = _ratio(page.tags.valueof(tag))
        if per_unit is None:
            continue
        if unit is not None:
            sizes[axis] = pixel_size(axis, 1 / per_unit, description.get(f"{axis}unit", unit))
        elif _tells_of_sample(page, per_unit):
            sizes[axis] = pixel_size(axis, 1 / per_unit, _TAG_UNITS[page.tags.valueof("ResolutionUnit")][0])
    return sizes


def imagej_channel_names(labels: object, axes: str, shape: Sequence[int]) -> tuple[str, ...]:
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


def calibration_note(description: Mapping[str, Any]) -> str | None:
    """A remark where ImageJ shows other values than it stores (a calibration function, as for signed 16-bit images)."""
    offset, slope = description.get("c0"), description.get("c1")
    if offset is None or slope is None or (offset, slope) == (0, 1):
        return None
    return f"ImageJ shows its values calibrated ({offset} + {slope} × stored value); the stored values are used."


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
