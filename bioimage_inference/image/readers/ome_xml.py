"""OME-XML: which of its planes are in one file, pixel sizes, channel names, and companion files."""

import math
from dataclasses import dataclass
from pathlib import Path, PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..axes import complete_names
from ..image import Metadata
from ..units import pixel_size

_PLANE_AXES = "CZT"
_LARGEST_COMPANION = 64 << 20


@dataclass(frozen=True)
class OmePart:
    """OME-XML reduced to the planes of one file; None if it cannot be used. ``note`` names what was left out."""

    xml: str | None
    note: str | None = None


@dataclass(frozen=True)
class _Plane:
    """One plane: its index along the axes C, Z, T, and the page that holds it."""

    index: tuple[int, ...]
    page: int


def own_part(xml: str, path: Path, pages: int) -> OmePart:
    """Return the OME-XML for the planes inside the TIFF file itself, so that no other file is read for pixels.

    ``pages`` is the number of pages of the file. A renamed file is recognised by its UUID. If the metadata are in a
    companion file, the companion is read, but only from the same folder.
    """
    try:
        root = _parse(xml)
    except (ElementTree.ParseError, ValueError):
        return OmePart(None, "Its OME-XML is damaged, so the pages are taken as they come.")
    if binary := _children(root, "BinaryOnly"):
        name, uuid = binary[0].get("MetadataFile", "another file"), root.get("UUID", "")
        companion = _companion(path.parent, name)
        if companion is None:
            return OmePart(
                None,
                f"Its OME metadata are in {name!r}, which is not beside it or damaged; the pages are taken as they "
                "come.",
            )
        root = companion
        root.set("UUID", uuid)
    try:
        return _own_part(root, path.name, pages)
    except (KeyError, ValueError):
        return OmePart(None, "Its OME-XML is incomplete, so the pages are taken as they come.")


def metadata_file(xml: str, path: Path) -> Path | None:
    """Return the companion file that the OME-XML of the TIFF at ``path`` names, if it is in the same folder."""
    try:
        binary = _children(_parse(xml), "BinaryOnly")
    except (ElementTree.ParseError, ValueError):
        return None
    name = binary[0].get("MetadataFile", "") if binary else ""
    return path.parent / name if _is_beside(path.parent, name) else None


def is_companion(start: bytes) -> bool:
    """Return whether a text is OME-XML; ``start`` is its beginning in lower case."""
    return b"<ome" in start


def companion_tiffs(path: Path) -> tuple[Path, ...]:
    """Return the TIFF files in the same folder that a companion file describes."""
    root = _companion(path.parent, path.name)
    elements = [] if root is None else [element for element in root.iter() if _tag(element) == "UUID"]
    names = dict.fromkeys(element.get("FileName", "") for element in elements)
    return tuple(path.parent / name for name in names if _is_beside(path.parent, name))


def describe_image(xml: str, number: int, count: int, width: int, height: int) -> Metadata:
    """Return pixel sizes and channel names of the image with this number, of ``count`` images that the file holds.

    Images without planes in the file are in the OME-XML only. If there are any, the first image of that width and
    height counts. The result is empty if there is none.
    """
    described = [pixels for image in _children(_parse(xml), "Image") for pixels in _children(image, "Pixels")]
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
            names = [channel.get("Name") or "" for channel in _children(pixels, "Channel")]
            return Metadata(sizes, complete_names(names))
    return Metadata()


def image_names(xml: str) -> list[str]:
    """Return the names of all images, empty where an image has none. The list is empty for a damaged text."""
    try:
        return [image.get("Name") or "" for image in _children(_parse(xml), "Image")]
    except (ElementTree.ParseError, ValueError):
        return []


def _companion(folder: Path, name: str) -> Element | None:
    """Return the OME-XML in the file of that name in the folder; None if it is missing, a link, huge or damaged."""
    if not _is_beside(folder, name) or (folder / name).stat().st_size > _LARGEST_COMPANION:
        return None
    try:
        return _parse((folder / name).read_text(encoding="utf-8-sig"))
    except (ElementTree.ParseError, ValueError):
        return None


def _is_beside(folder: Path, name: str) -> bool:
    """Return whether ``name`` is the plain name of a file in the folder, and the file is no link."""
    plain = bool(name) and "\0" not in name and PurePath(name).name == name
    return plain and (folder / name).is_file() and not (folder / name).is_symlink()


def _own_part(root: Element, file_name: str, pages: int) -> OmePart:
    files = {uuid.text: uuid.get("FileName", "") for uuid in root.iter() if _tag(uuid) == "UUID"}
    if len(files) <= 1:
        for data in [element for element in root.iter() if _tag(element) == "TiffData"]:
            for uuid in _children(data, "UUID"):
                data.remove(uuid)
        return OmePart(ElementTree.tostring(root, encoding="unicode"))
    own = root.get("UUID")
    if own not in files:
        own = next((uuid for uuid, name in files.items() if PurePath(name).name == file_name), None)
    count = f"Its OME-XML describes an image spread over {len(files)} files"
    if own is None:
        return OmePart(
            None, f"{count} without saying which of them this is; only its own pages were read, as they come."
        )
    for image in _children(root, "Image"):
        for pixels in _children(image, "Pixels"):
            planes = _own_planes(pixels, own, pages)
            if not planes:
                root.remove(image)
            elif not _reduce(pixels, planes):
                return OmePart(None, f"{count}; only the pages of this one were read, as they come.")
    return OmePart(ElementTree.tostring(root, encoding="unicode"), f"{count}; only what is in this one was read.")


def _own_planes(pixels: Element, own: str, pages: int) -> list[_Plane]:
    """Return the planes of an image that are stored in the file with the UUID ``own``."""
    order = pixels.attrib["DimensionOrder"][2:]
    sizes = _plane_sizes(pixels)
    strides = {axis: math.prod(sizes[inner] for inner in order[:place]) for place, axis in enumerate(order)}
    planes: list[_Plane] = []
    for data in _children(pixels, "TiffData"):
        if own not in [uuid.text for uuid in _children(data, "UUID")]:
            continue
        page = int(data.get("IFD", 0))
        count = int(data.get("PlaneCount", data.get("NumPlanes", 1 if "IFD" in data.attrib else pages)))
        first = sum(int(data.get(f"First{axis}", 0)) * stride for axis, stride in strides.items())
        for step in range(min(count, pages)):
            index = tuple((first + step) // strides[axis] % sizes[axis] for axis in _PLANE_AXES)
            planes.append(_Plane(index, page + step))
    return planes


def _reduce(pixels: Element, planes: list[_Plane]) -> bool:
    """Reduce ``pixels`` to those planes; return False if they fill no box of channels, slices and frames."""
    kept = [sorted({plane.index[axis] for plane in planes}) for axis in range(3)]
    if math.prod(map(len, kept)) != len({plane.index for plane in planes}):
        return False
    samples = int(pixels.get("SizeC", 1)) // _plane_sizes(pixels)["C"]
    for axis, indices in zip(_PLANE_AXES, kept, strict=True):
        pixels.set(f"Size{axis}", str(len(indices) * (samples if axis == "C" else 1)))
    for number, channel in enumerate(_children(pixels, "Channel")):
        if number not in kept[0]:
            pixels.remove(channel)
    namespace = pixels.tag.removesuffix("Pixels")
    for data in _children(pixels, "TiffData"):
        pixels.remove(data)
    for plane in planes:
        first = {f"First{a}": str(k.index(i)) for a, k, i in zip(_PLANE_AXES, kept, plane.index, strict=True)}
        pixels.append(Element(f"{namespace}TiffData", {"IFD": str(plane.page), "PlaneCount": "1", **first}))
    return True


def _plane_sizes(pixels: Element) -> dict[str, int]:
    """Return the number of planes along C, Z and T; the samples of an RGB channel share one plane."""
    sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in _PLANE_AXES}
    channels = _children(pixels, "Channel")
    sizes["C"] //= int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    if min(sizes.values()) < 1:
        raise ValueError("an OME image without planes")
    return sizes


def _parse(xml: str) -> Element:
    # OME-XML declares no entities. A file that does so may be built to exhaust the memory.
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("OME-XML with a document type declaration")
    return ElementTree.fromstring(xml)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(parent: Element, tag: str) -> list[Element]:
    return [child for child in parent if _tag(child) == tag]
