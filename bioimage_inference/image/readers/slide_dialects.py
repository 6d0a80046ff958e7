"""Dialects of slide scanners: Aperio SVS, Akoya (PerkinElmer) QPTIFF, Hamamatsu NDPI, Philips, Leica SCN.

NDPI and QPTIFF state their pixel size in the resolution tags of TIFF.
"""

import re
from typing import Any
from xml.etree.ElementTree import Element

from ..axes import complete_names
from ..units import pixel_size
from .dialect_facts import DialectFacts, DialectSource, even_step, size_of
from .ome_xml import children, parse_xml, tag

_NDPI_Z_OFFSET = 65424  # nm from the centre of the slide


def svs(source: DialectSource) -> DialectFacts:
    """Return the pixel size of Aperio slides: ``MPP`` in the description is µm per pixel of the full resolution."""
    if source.key.index != 0:
        return DialectFacts()
    stated = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", source.key.description)
    size = pixel_size("x", stated and stated[1], "µm")
    return DialectFacts({"y": size, "x": size})


def qptiff(source: DialectSource) -> DialectFacts:
    """Return the channel names of QPTIFF: ``Name`` in the XML of each page."""
    names = []
    for page in source.frames:
        root = parse_xml(page.aspage().description)
        named = [element for element in children(root, "Name") if element.text]
        names.append((named[0].text or "").strip() if named else "")
    return DialectFacts(channel_names=complete_names(names))


def ndpi(source: DialectSource) -> DialectFacts:
    """Return the distance of the focal planes of NDPI; each page has its offset in nm."""
    if "Z" not in source.series.axes:
        return DialectFacts()
    step = even_step(page.aspage().tags.valueof(_NDPI_Z_OFFSET) for page in source.frames)
    return DialectFacts({"z": size_of("z", step, "nm")})


def philips(source: DialectSource) -> DialectFacts:
    """Return the pixel size of Philips slides: ``DICOM_PIXEL_SPACING`` of the full resolution, mm along y and x."""
    if source.key.index != 0:
        return DialectFacts()
    root = parse_xml(source.tif.philips_metadata or "")
    levels = [element for element in root.iter() if element.get("ObjectType") == "PixelDataRepresentation"]
    for place in (*levels, root):
        for element in place.iter():
            numbers = (element.text or "").replace('"', " ").split()
            if element.get("Name") == "DICOM_PIXEL_SPACING" and len(numbers) == 2:
                return DialectFacts(
                    {axis: size_of(axis, number, "mm") for axis, number in zip("yx", numbers, strict=True)}
                )
    return DialectFacts()


def scn(source: DialectSource) -> DialectFacts:
    """Return pixel sizes and channel names of Leica SCN: the size of the view in nm over its number of pixels."""
    image = _scn_image(parse_xml(source.tif.scn_metadata or ""), source.key)
    if image is None:
        return DialectFacts()
    (view, *_), (pixels, *_) = children(image, "view"), children(image, "pixels")
    sizes = {"z": size_of("z", view.get("spacingZ"), "nm")}
    for axis in "yx":
        field, count = view.get(f"size{axis.upper()}"), pixels.get(f"size{axis.upper()}")
        sizes[axis] = size_of(axis, field, "nm", 1 / int(count)) if count is not None and int(count) > 0 else None
    channels = {
        int(one.get("index", number)): one.get("name") or ""
        for settings in children(image, "scanSettings")
        for group in children(settings, "channelSettings")
        for number, one in enumerate(children(group, "channel"))
    }
    return DialectFacts(sizes, complete_names([channels[number] for number in sorted(channels)]))


def _scn_image(root: Element, key: Any) -> Element | None:
    """Return the image whose full resolution is the page ``key``."""
    for image in (element for element in root.iter() if tag(element) == "image"):
        for pixels in children(image, "pixels"):
            pages = [one.get("ifd") for one in children(pixels, "dimension") if one.get("r", "0") == "0"]
            if str(key.index) in pages and children(image, "view"):
                return image
    return None
