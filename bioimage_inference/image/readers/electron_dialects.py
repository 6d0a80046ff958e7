"""Dialects of electron microscopes: Zeiss and FEI (Thermo Fisher) SEM, TVIPS, and Gatan's Digital Micrograph."""

from typing import Any

from ..image import PixelSize
from ..units import pixel_size
from .dialect_facts import DialectFacts, DialectSource, nested, size_of

# Gatan's tags for the axes x, y and the third one: unit and size of a pixel.
_GATAN_UNITS = {"x": 65003, "y": 65004, "z": 65005}
_GATAN_SCALES = {"x": 65009, "y": 65010, "z": 65011}
_ZEISS_KEYS = ("ap_image_pixel_size", "ap_pixel_size")


def zeiss_sem(source: DialectSource) -> DialectFacts:
    """Return the pixel size of a Zeiss SEM: a line such as ``Pixel Size = 4.2 nm`` behind ``AP_PIXEL_SIZE``."""
    entries = source.tif.sem_metadata or {}
    stated = [entries[key] for key in _ZEISS_KEYS if len(entries.get(key, ())) == 3]
    found = [size for _, value, unit in stated if (size := pixel_size("x", value, unit)) is not None]
    return DialectFacts({"y": found[0], "x": found[0]}) if found else DialectFacts()


def fei(source: DialectSource) -> DialectFacts:
    """Return the pixel size of FEI and Thermo Fisher microscopes: metres per pixel, or the field of view of a beam."""
    sections = source.tif.fei_metadata or {}
    scan = sections.get("Scan") or {}
    sides: dict[str, object] = {"x": scan.get("PixelWidth"), "y": scan.get("PixelHeight")}
    image, width = sections.get("Image") or {}, source.key.imagewidth
    if sides["x"] is None and image.get("ResolutionX") == width:
        beams = [sections.get(name) or {} for name in ("EBeam", "IBeam", "IRBeam")]
        fields = [beam["HFW"] for beam in beams if isinstance(beam.get("HFW"), int | float)]
        sides = dict.fromkeys("xy", fields[0] / width) if len(fields) == 1 else sides
    return DialectFacts({axis: size_of(axis, side, "nm", 1e9) for axis, side in sides.items()})


def tvips(source: DialectSource) -> DialectFacts:
    """Return the pixel size of TVIPS cameras (EM-MENU), which version 2 of their header states in nm."""
    header = source.tif.tvips_metadata or {}
    return DialectFacts({axis: size_of(axis, header.get(f"PixelSize{axis.upper()}"), "nm") for axis in "yx"})


def gatan(source: DialectSource) -> DialectFacts:
    """Return pixel sizes of Gatan's Digital Micrograph. The unit of its third axis says whether that is depth or time.

    Units of diffraction patterns and spectra (1/nm, eV) are no lengths, so they state no pixel size.
    """
    tags = source.key.tags
    units = {axis: tags.valueof(code) for axis, code in _GATAN_UNITS.items()}
    scales = {axis: tags.valueof(code) for axis, code in _GATAN_SCALES.items()}
    sizes: dict[str, PixelSize | None] = {axis: size_of(axis, scales[axis], units[axis]) for axis in "yx"}
    third = {axis: size_of(axis, scales["z"], units["z"]) for axis in "zt"}
    letter = next((axis for axis, size in third.items() if size is not None), None)
    if letter is None:
        return DialectFacts(sizes)
    return DialectFacts({**sizes, letter: third[letter]}, planes=nested([(letter, source.planes)], source.planes))


def is_gatan(page: Any) -> bool:
    """Return whether a tifffile page has Gatan's tags for the size of its pixels and their unit."""
    unit, scale = (page.tags.valueof(codes["x"]) for codes in (_GATAN_UNITS, _GATAN_SCALES))
    return isinstance(unit, str) and isinstance(scale, int | float)
