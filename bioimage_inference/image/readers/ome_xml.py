"""OME-XML: which of its planes are in this file, pixel sizes, and channel names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..image import Metadata
from ..units import pixel_size

_PLANE_AXES = "CZT"
_LARGEST_COMPANION = 64 << 20


@dataclass(frozen=True)
class OmePart:
    """OME-XML cut down to the planes of one file; None where it cannot be used. ``note`` says what was left out."""

    xml: str | None
    note: str | None = None


@dataclass(frozen=True)
class _Plane:
    """One plane: its place along the axes C, Z, T and the page that holds it."""

    place: tuple[int, ...]
    page: int


def own_part(xml: str, path: Path, pages: int) -> OmePart:
    """The OME-XML for the planes in the TIFF file itself, so that no other pixels are ever read on its behalf.

    ``pages`` is the number of pages of the file. A file that was renamed still knows its planes. Where the file leaves
    its metadata to a companion file, that is read, if it is a file in the same folder.
    """
    try:
        root = _parse(xml)
    except (ElementTree.ParseError, ValueError):
        return OmePart(None, "Its OME-XML is damaged, so that the pages are taken as they come.")
    binary = _children(root, "BinaryOnly")
    if binary:
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
        return OmePart(None, "Its OME-XML is incomplete, so that the pages are taken as they come.")


def metadata_file(xml: str, path: Path) -> Path | None:
    """The companion file that has the metadata of the TIFF at ``path``, if it lies beside it; ``xml`` is the TIFF's."""
    try:
        binary = _children(_parse(xml), "BinaryOnly")
    except (ElementTree.ParseError, ValueError):
        return None
    name = binary[0].get("MetadataFile", "") if binary else ""
    return path.parent / name if _lies_beside(path.parent, name) else None


def companion_files(path: Path) -> tuple[Path, ...]:
    """The TIFF files of which a companion file is the description, as far as they lie beside it."""
    root = _companion(path.parent, path.name)
    elements = [] if root is None else [element for element in root.iter() if _tag(element) == "UUID"]
    names = dict.fromkeys(element.get("FileName", "") for element in elements)
    return tuple(path.parent / name for name in names if _lies_beside(path.parent, name))


def _companion(folder: Path, name: str) -> Element | None:
    """The OME-XML in the file of that name in that folder; None where it is not there, a link, huge or damaged."""
    if not _lies_beside(folder, name) or (folder / name).stat().st_size > _LARGEST_COMPANION:
        return None
    try:
        return _parse((folder / name).read_text(encoding="utf-8-sig"))
    except (ElementTree.ParseError, ValueError):
        return None


def _lies_beside(folder: Path, name: str) -> bool:
    """Whether this is the plain name of a file in the folder, which is no link to anywhere else."""
    plain = bool(name) and "\0" not in name and PurePath(name).name == name
    return plain and (folder / name).is_file() and not (folder / name).is_symlink()


def describe_image(xml: str, width: int, height: int) -> Metadata:
    """Pixel sizes and channel names of the first image of that width and height; nothing where there is none."""
    for image in _children(_parse(xml), "Image"):
        for pixels in _children(image, "Pixels"):
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


def complete_names(names: Sequence[str]) -> tuple[str, ...]:
    """Channel names with a stand-in for those that are empty; none at all when all are."""
    if not any(names):
        return ()
    return tuple(name or f"channel {index}" for index, name in enumerate(names))


def _own_part(root: Element, file_name: str, pages: int) -> OmePart:
    references = {uuid.text: uuid.get("FileName", "") for uuid in root.iter() if _tag(uuid) == "UUID"}
    if len(references) <= 1:
        for data in [element for element in root.iter() if _tag(element) == "TiffData"]:
            for uuid in _children(data, "UUID"):
                data.remove(uuid)
        return OmePart(ElementTree.tostring(root, encoding="unicode"))
    own = root.get("UUID")
    if own not in references:
        own = next((uuid for uuid, name in references.items() if PurePath(name).name == file_name), None)
    count = f"Its OME-XML describes an image spread over {len(references)} files"
    if own is None:
        return OmePart(
            None, f"{count} without saying which of them this is; only its own pages were read, as they come."
        )
    for image in _children(root, "Image"):
        for pixels in _children(image, "Pixels"):
            planes = _own_planes(pixels, own, pages)
            if not planes:
                root.remove(image)
            elif not _cut_down(pixels, planes):
                return OmePart(None, f"{count}; only the pages of this one were read, as they come.")
    return OmePart(ElementTree.tostring(root, encoding="unicode"), f"{count}; only what is in this one was read.")


def _own_planes(pixels: Element, own: str, pages: int) -> list[_Plane]:
    """The planes of an image that are stored in the file with the UUID ``own``."""
    order = pixels.attrib["DimensionOrder"][2:]
    sizes = _plane_sizes(pixels)
    planes: list[_Plane] = []
    for data in _children(pixels, "TiffData"):
        if own not in [uuid.text for uuid in _children(data, "UUID")]:
            continue
        page = int(data.get("IFD", 0))
        count = int(data.get("PlaneCount", data.get("NumPlanes", 1 if "IFD" in data.attrib else pages)))
        place = {axis: int(data.get(f"First{axis}", 0)) for axis in _PLANE_AXES}
        number = sum(place[axis] * _product(sizes, order[:index]) for index, axis in enumerate(order))
        for step in range(min(count, pages)):
            at = {axis: (number + step) // _product(sizes, order[:index]) for index, axis in enumerate(order)}
            planes.append(_Plane(tuple(at[axis] % sizes[axis] for axis in _PLANE_AXES), page + step))
    return planes


def _cut_down(pixels: Element, planes: list[_Plane]) -> bool:
    """Rewrite ``pixels`` to hold those planes only; False where they fill no box of channels, slices and frames."""
    kept = [sorted({plane.place[axis] for plane in planes}) for axis in range(3)]
    if len(kept[0]) * len(kept[1]) * len(kept[2]) != len({plane.place for plane in planes}):
        return False
    samples = int(pixels.get("SizeC", 1)) // _plane_sizes(pixels)["C"]
    for axis, places in zip(_PLANE_AXES, kept, strict=True):
        pixels.set(f"Size{axis}", str(len(places) * (samples if axis == "C" else 1)))
    for index, channel in enumerate(_children(pixels, "Channel")):
        if index not in kept[0]:
            pixels.remove(channel)
    namespace = pixels.tag.removesuffix("Pixels")
    for data in _children(pixels, "TiffData"):
        pixels.remove(data)
    for plane in planes:
        first = {f"First{a}": str(k.index(p)) for a, k, p in zip(_PLANE_AXES, kept, plane.place, strict=True)}
        pixels.append(Element(f"{namespace}TiffData", {"IFD": str(plane.page), "PlaneCount": "1", **first}))
    return True


def _plane_sizes(pixels: Element) -> dict[str, int]:
    """How many planes there are along C, Z and T; the samples of an RGB channel share one plane."""
    sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in _PLANE_AXES}
    channels = _children(pixels, "Channel")
    sizes["C"] //= int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    if min(sizes.values()) < 1:
        raise ValueError("an OME image without planes")
    return sizes


def _product(sizes: dict[str, int], axes: str) -> int:
    result = 1
    for axis in axes:
        result *= sizes[axis]
    return result


def _parse(xml: str) -> Element:
    # OME-XML never declares entities; those that do may be built to exhaust the memory.
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise ValueError("OME-XML with a document type declaration")
    return ElementTree.fromstring(xml)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(parent: Element, tag: str) -> list[Element]:
    return [child for child in parent if _tag(child) == tag]
