"""OME-XML: pixel sizes, channel names, and companion files; and XML of other microscopes."""

from pathlib import Path, PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..axes import complete_names
from ..image import Metadata
from ..units import pixel_size

_LARGEST_COMPANION = 64 << 20


def is_companion(start: bytes) -> bool:
    """Return whether a text is OME-XML; ``start`` is its beginning in lower case."""
    return b"<ome" in start


def describe_image(xml: str, number: int, count: int, width: int, height: int) -> Metadata:
    """Return pixel sizes and channel names of the image with this number, of ``count`` images that the file holds.

    Images without planes in the file are in the OME-XML only. If there are any, the first image of that width and
    height counts. The result is empty if there is none.
    """
    described = [pixels for image in children(parse_xml(xml), "Image") for pixels in children(image, "Pixels")]
    if len(described) == count:
        described = described[number : number + 1]
    for pixels in described:
        if (pixels.get("SizeX"), pixels.get("SizeY")) == (str(width), str(height)):
            sizes = {
                axis.lower(): pixel_size(
                    axis.lower(), pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
                )
                for axis in "XYZ"
            }
            sizes["t"] = pixel_size("t", pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
            names = [channel.get("Name") or "" for channel in children(pixels, "Channel")]
            return Metadata(sizes, complete_names(names))
    return Metadata()


def image_names(xml: str) -> list[str]:
    """Return the names of all images, empty where an image has none. The list is empty for a damaged text."""
    try:
        return [image.get("Name") or "" for image in children(parse_xml(xml), "Image")]
    except (ElementTree.ParseError, ValueError):
        return []


def companion_root(folder: Path, name: str) -> Element | None:
    """Return the OME-XML in the file of that name in the folder; None if it is missing, a link, huge or damaged."""
    if not is_beside(folder, name) or (folder / name).stat().st_size > _LARGEST_COMPANION:
        return None
    try:
        return parse_xml((folder / name).read_text(encoding="utf-8-sig"))
    except (ElementTree.ParseError, ValueError):
        return None


def is_beside(folder: Path, name: str) -> bool:
    """Return whether ``name`` is the plain name of a file in the folder, and the file is no link."""
    plain = bool(name) and "\0" not in name and PurePath(name).name == name
    return plain and (folder / name).is_file() and not (folder / name).is_symlink()


def parse_xml(xml: str) -> Element:
    """Return the root of an XML text of a microscope. Raises ParseError or ValueError for damaged and hostile texts."""
    # Such texts declare no entities. A file that does so may be built to exhaust the memory.
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("XML with a document type declaration")
    return ElementTree.fromstring(xml)


def tag(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def children(parent: Element, name: str) -> list[Element]:
    """Return the children of an element with that name, whatever their namespace."""
    return [child for child in parent if tag(child) == name]
