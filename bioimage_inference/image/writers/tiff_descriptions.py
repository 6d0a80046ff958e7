"""Metadata of written TIFF files in three dialects: JSON for plain pages, ImageJ hyperstack, and OME-XML.

Facts about a run are known last (the hash of a large image, for example). They are written behind the pixels, as
ImageJ's Info or as a MapAnnotation in the OME-XML.
"""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ...text import for_xml
from ..image import PixelSize
from ..units import MICROMETRES, pixel_size
from .base import Layout
from .label_colours import COLOURS, label_colours

Dialect = Literal["pages", "imagej", "ome"]

_STRIP = 1 << 20  # bytes; programs that read by region load whole strips
_MICROMETRES_PER_CM = 1e4
_RESOLUTIONS = (1e-6, 4e9)  # what a TIFF rational holds with enough digits
_IMAGE_DESCRIPTION, _COLOR_MAP = 270, 320  # tags
_SHORT = 3  # the data type of a tag with numbers of 16 bits
_NAMESPACE = "urn:bioimage_inference:provenance:1"


@dataclass(frozen=True)
class Arrangement:
    """The place of an output's pixels in a TIFF.

    ``order`` are the layout's axes, slowest first. ``axes`` and ``shape`` are those of the TIFF, in which several axes
    of ``order`` may be folded into one.
    """

    dialect: Dialect
    order: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    notes: tuple[str, ...] = ()

    @property
    def pages(self) -> int:
        """Number of TIFF pages."""
        return math.prod(self.shape[:-2])

    @property
    def rows_per_strip(self) -> int:
        """Rows in strips of about one MiB."""
        return max(1, min(self.shape[-2], _STRIP // (self.shape[-1] * self.dtype.itemsize)))


def describe(path: Path, layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    """Return the arguments of ``tifffile.TiffWriter.write`` for the metadata and the resolution."""
    match arrangement.dialect:
        case "pages":
            return _pages(layout, arrangement)
        case "imagej":
            return _imagej(layout, arrangement)
        case "ome":
            return _ome(path, layout, arrangement)


def write_facts(
    stream: IO[bytes], path: Path, layout: Layout, arrangement: Arrangement, facts: Mapping[str, str]
) -> None:
    """Write facts into a labelled TIFF, in place of its first description."""
    import tifffile

    metadata = describe(path, layout, arrangement)["metadata"]
    with tifffile.TiffFile(stream, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        if arrangement.dialect == "imagej":
            info = "".join(f"{for_xml(key)}: {for_xml(value)}\n" for key, value in facts.items())
            kept = {"Info": info} | {key: metadata[key] for key in ("Labels",) if key in metadata}
            for code, kind, _, value, _ in tifffile.imagej_metadata_tag(kept, tiff.byteorder):
                tags[code].overwrite(value, dtype=kind)
            return
        metadata = with_facts(metadata, facts)
        shape = arrangement.shape
        xml = tifffile.OmeXml(**metadata)
        xml.addimage(arrangement.dtype, shape, (arrangement.pages, 1, 1, shape[-2], shape[-1], 1), **metadata)
        tags[_IMAGE_DESCRIPTION].overwrite(xml.tostring(declaration=True).encode())


def with_facts(metadata: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata of an OME-TIFF with facts as pairs of keys and values."""
    pairs = {for_xml(key): for_xml(value) for key, value in facts.items()}
    # OMERO shows the pairs of a namespace other than its own, but does not let users edit them.
    return {**metadata, "MapAnnotation": {"Namespace": _NAMESPACE, "Value": pairs}} if pairs else dict(metadata)


def _pages(layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    # Written without tifffile: it drops the last axis of a shape whose width is 1, so pages would have no width.
    description: dict[str, Any] = {
        "shape": arrangement.shape,
        "axes": arrangement.axes,
        "original_axes": layout.axes,
        "original_shape": layout.shape,
    }
    if layout.channel_names:
        description["channel_names"] = layout.channel_names
    if origins := _origins(layout):
        description["origin"] = {letter: {"value": size.origin, "unit": size.unit} for letter, size in origins.items()}
    sizes = _micrometres(layout)
    resolution = _resolution(sizes, _MICROMETRES_PER_CM, "CENTIMETER")
    if resolution and "z" in sizes:
        # In the unit of the resolution: giatools takes one unit for all axes.
        description |= {"spacing": sizes["z"] / _MICROMETRES_PER_CM, "unit": "cm"}
    if seconds := _frame_interval(layout):
        description["finterval"] = seconds
    return {"metadata": None, "description": json.dumps(description), **resolution}


def _imagej(layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    sizes = _micrometres(layout)
    resolution = _resolution(sizes, 1.0, "NONE")
    metadata: dict[str, Any] = {"axes": arrangement.axes, "mode": "grayscale", "unit": "um" if resolution else "pixel"}
    metadata["Info"] = "program: bioimage_inference\n"  # write_facts replaces it
    if resolution and "z" in sizes:
        metadata["spacing"] = sizes["z"]
    if seconds := _frame_interval(layout):
        metadata["finterval"] = seconds
    # ImageJ's position of pixel i is (i - origin) * size (ij.measure.Calibration).
    metadata |= {f"{letter}origin": -size.origin / size.value for letter, size in _origins(layout).items()}
    if names := _channel_names(layout):
        metadata["Labels"] = names * (arrangement.pages // len(names))
    if layout.highest_label is None:
        return {"metadata": metadata, **resolution}
    metadata |= {"min": 0, "max": max(layout.highest_label, COLOURS - 1)}
    return {"metadata": metadata, "extratags": [_colour_map()], **resolution}


def _colour_map() -> tuple[int, int, int, tuple[int, ...], bool]:
    """Return the tag from which ImageJ takes the colours of an image, also of 16 bits (ij.io.TiffDecoder)."""
    entries = label_colours().T.ravel().astype(np.uint16) * 0x101
    return _COLOR_MAP, _SHORT, entries.size, tuple(entries.tolist()), True


def _ome(path: Path, layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": arrangement.axes,
        "Name": for_xml(path.stem),
        "Creator": "bioimage_inference",
        # The same output gives the same bytes; tifffile would derive a UUID from the clock.
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{for_xml(path.name)} {arrangement}")),
    }
    sizes = _micrometres(layout)
    for letter, micrometres in sizes.items():
        metadata |= {f"PhysicalSize{letter.upper()}": micrometres, f"PhysicalSize{letter.upper()}Unit": "µm"}
    if seconds := _frame_interval(layout):
        metadata |= {"TimeIncrement": seconds, "TimeIncrementUnit": "s"}
    if names := _channel_names(layout):
        metadata["Channel"] = {"Name": names}
    if origins := _origins(layout):
        metadata["Plane"] = _plane_positions(arrangement, origins)
    # giatools reads the tags in the unit of PhysicalSizeZ if there is one, else in the unit of the tags.
    unit = (1.0, "NONE") if "z" in sizes else (_MICROMETRES_PER_CM, "CENTIMETER")
    return {"metadata": metadata, **_resolution(sizes, *unit)}


def _origins(layout: Layout) -> Mapping[str, PixelSize]:
    """Return pixel sizes along x, y and z if the output begins elsewhere than at 0; else nothing."""
    known = {letter: layout.pixel_size[letter] for letter in "xyz" if letter in layout.pixel_size}
    return known if layout.is_image and any(size.origin for size in known.values()) else {}


def _plane_positions(arrangement: Arrangement, origins: Mapping[str, PixelSize]) -> dict[str, list[Any]]:
    """Return the position of the first pixel of every page, as attributes of the elements ``Plane`` of OME-XML."""
    positions: dict[str, list[Any]] = {}
    for letter, size in origins.items():
        along = np.zeros(arrangement.pages)
        if letter == "z":
            along = np.indices(arrangement.shape[:-2])[arrangement.axes.index("Z")].ravel()
        positions[f"Position{letter.upper()}"] = (size.origin + along * size.value).tolist()
        positions[f"Position{letter.upper()}Unit"] = [size.unit] * arrangement.pages
    return positions


def _micrometres(layout: Layout) -> dict[str, float]:
    """Return the known pixel sizes along x, y and z in µm."""
    sizes: dict[str, float] = {}
    for letter in "xyz" if layout.is_image else "":
        given = layout.pixel_size.get(letter)
        known = given and pixel_size(letter, given.value, given.unit)
        if known and letter in layout.axes:
            sizes[letter] = known.value * MICROMETRES[known.unit]
    return sizes


def _resolution(sizes: Mapping[str, float], micrometres: float, unit: str) -> dict[str, Any]:
    """Return the tags for pixels per ``micrometres``, empty if x or y is unknown or no TIFF can hold the number."""
    if "x" not in sizes or "y" not in sizes:
        return {}
    low, high = _RESOLUTIONS
    values = (micrometres / sizes["x"], micrometres / sizes["y"])
    if not all(low < value < high for value in values):
        return {}
    return {"resolution": tuple(_rational(value) for value in values), "resolutionunit": unit}


def _rational(value: float) -> tuple[int, int]:
    """Return the nearest fraction of two 32-bit numbers; older tifffile rounds to five digits."""
    largest = 2**32 - 1
    return Fraction(value).limit_denominator(min(largest, int(largest / value))).as_integer_ratio()


def _frame_interval(layout: Layout) -> float | None:
    """Return seconds per frame if T is nothing but time, else None."""
    given = layout.pixel_size.get("t")
    if given is None or "t" not in layout.axes or layout.size("bip") > 1 or not layout.is_image:
        return None
    known = pixel_size("t", given.value, given.unit)
    return known.value if known else None


def _channel_names(layout: Layout) -> list[str]:
    return [for_xml(name) for name in layout.channel_names] if layout.is_image else []
