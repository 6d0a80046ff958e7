"""Sets of OME-TIFF files: an image whose planes are spread over files in one folder, as its OME-XML describes.

Another file is read only if it lies in the same folder, is no link, and states itself that it belongs to the set. A
plain TIFF without OME-XML states nothing; it is read only on behalf of a companion file (``.companion.ome``), which
nobody names so by chance. So an image never gives access to the pixels of files that merely lie beside it.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ...errors import ImageError
from .file_bytes import FileBytes
from .ome_xml import children, companion_root, is_beside, parse_xml, tag
from .tiff_pages import ALONE, PageTags, page_tags

_COMPANION_SUFFIX = ".ome"
_SHOWN = 5
_Tags = Mapping[int, PageTags]
# tifffile takes every element for one of these whose name ends so.
_KNOWN_TAGS = ("Image", "Pixels", "Channel", "TiffData", "UUID", "BinaryOnly")


@dataclass(frozen=True)
class OmePart:
    """OME-XML reduced to the images that can be read; None if it cannot be used. ``note`` names what was left out.

    ``members`` are the other files of the set with the layouts of their pages. ``companion`` is the file that has
    the OME-XML, if that is not the TIFF file itself.
    """

    xml: str | None
    note: str | None = None
    members: Mapping[Path, _Tags] = field(default_factory=lambda: MappingProxyType({}))
    companion: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Every file beside the TIFF file that is read."""
        return [*([] if self.companion is None else [self.companion]), *self.members]


def ome_part(tif: Any, path: Path, companion: Path | None = None) -> OmePart:
    """Return the OME-XML of the TIFF file at ``path``, opened by tifffile, with the other files of its set.

    The XML is that of ``companion``, else that of the TIFF file, which can name a companion file beside it.

    Raises ImageError if a file of the image is missing or unusable.
    """
    xml = (tif.ome_metadata if tif.is_ome else None) or ""
    if not xml and companion is None:
        return OmePart(None)
    own, every = "", companion is not None
    try:
        root = parse_xml(xml) if xml else None
        own = "" if root is None else root.get("UUID", "")
        binary = [] if root is None else children(root, "BinaryOnly")
        if companion is None and binary:
            name = binary[0].get("MetadataFile", "another file")
            companion = path.parent / name
            root = companion_root(path.parent, name)
        elif companion is not None:
            root = companion_root(companion.parent, companion.name)
    except (ElementTree.ParseError, ValueError):
        return OmePart(None, "Its OME-XML is damaged, so the pages are taken as they come.")
    if root is None:
        return OmePart(
            None,
            f"Its OME metadata are in {binary[0].get('MetadataFile', 'another file')!r}, which is not beside it or "
            "damaged; the pages are taken as they come.",
        )
    return _part(root, own, path, companion, every=every)


def companion_tiffs(path: Path) -> tuple[Path, ...]:
    """Return the TIFF files in the same folder that a companion file describes, in its order."""
    root = companion_root(path.parent, path.name)
    elements = [] if root is None else [element for element in root.iter() if tag(element) == "UUID"]
    found = [_beside(path.parent, element.get("FileName", "")) for element in elements]
    return tuple(dict.fromkeys(member for member in found if member is not None))


def _part(root: Element, own: str, path: Path, companion: Path | None, *, every: bool) -> OmePart:
    """Return the part of the set that can be read; ``own`` is the UUID that the TIFF file states.

    The images are those with planes in the TIFF file, or all of them with ``every``.
    """
    _remove_lookalikes(root)
    if not children(root, "Image"):
        return OmePart(None, "Its OME-XML describes no image, so the pages are taken as they come.")
    files = {uuid.text or "": uuid.get("FileName", "") for image in children(root, "Image") for uuid in _uuids(image)}
    if len(files) <= 1:
        # A renamed file: its planes are in it, whatever its name.
        for data in [element for element in root.iter() if tag(element) == "TiffData"]:
            for uuid in children(data, "UUID"):
                data.remove(uuid)
        return OmePart(ElementTree.tostring(root, encoding="unicode"), companion=companion)
    if own not in files:
        own = next((uuid for uuid, name in files.items() if _plain(name) == path.name), "")
    if own not in files:
        return OmePart(
            None,
            f"Its OME-XML describes an image spread over {len(files)} files without saying which of them this is; only "
            "its own pages were read, as they come.",
        )
    return _read_set(root, own, path, companion, every=every)


def _read_set(root: Element, own: str, path: Path, companion: Path | None, *, every: bool) -> OmePart:
    """Return the images of a set. The first image must be complete; others that lack files are left out."""
    members: dict[Path, _Tags] = {}
    kept, elsewhere, incomplete = 0, 0, 0
    for image in children(root, "Image"):
        names = {uuid.text or "": uuid.get("FileName", "") for uuid in _uuids(image)}
        if own not in names and not every:
            elsewhere += 1
            root.remove(image)
            continue
        names.pop(own, None)
        # A file under the name of another one of its set is a renamed file.
        missing = [name or uuid for uuid, name in names.items() if _beside(path.parent, name) in (None, path)]
        if missing and kept:
            incomplete += 1
            root.remove(image)
            continue
        if missing:
            raise _missing(path, companion or path, len(names) + 1, missing)
        for uuid, name in names.items():
            member = path.parent / _plain(name)
            if member not in members:
                members[member] = _checked(member, uuid, root, companion or path)
        kept += 1
        for element in _uuids(image):
            element.set("FileName", path.name if element.text == own else _plain(element.get("FileName", "")))
    root.set("UUID", own)
    notes = []
    if members:
        names_of_all = _listed([path.name, *(member.name for member in members)])
        notes.append(f"The image is spread over {len(members) + 1} files ({names_of_all}); all of them are read.")
    notes += [f"Its OME-XML describes {elsewhere} more images in other files; give those to read them."] * bool(
        elsewhere
    )
    notes += [f"Its OME-XML describes {incomplete} more images whose files are not all beside it."] * bool(incomplete)
    xml = ElementTree.tostring(root, encoding="unicode")
    return OmePart(xml, " ".join(notes) or None, MappingProxyType(members), companion)


def _remove_lookalikes(root: Element) -> None:
    """Remove elements that tifffile would take for others, and all but the first UUID of each TiffData."""
    for parent in list(root.iter()):
        for child in list(parent):
            name = tag(child)
            if any(name.endswith(known) and name != known for known in _KNOWN_TAGS):
                parent.remove(child)
        for uuid in children(parent, "UUID")[1:]:
            parent.remove(uuid)


def _uuids(image: Element) -> Iterator[Element]:
    """Yield the UUID of the file of each TiffData of an image."""
    for pixels in children(image, "Pixels"):
        for data in children(pixels, "TiffData"):
            yield from children(data, "UUID")


def _plain(name: str) -> str:
    """Return the name of a file without folders, as Windows or others write them."""
    return PureWindowsPath(name).name


def _beside(folder: Path, name: str) -> Path | None:
    """Return the file of that name in the folder, whatever folder the name itself has; None without one."""
    return folder / _plain(name) if is_beside(folder, _plain(name)) else None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _missing(path: Path, describer: Path, count: int, names: list[str]) -> ImageError:
    by = "its OME-XML" if describer == path else describer.name
    return ImageError(
        f"{path.name} holds a part of an image that is spread over {count} files, as {by} states. Missing beside it: "
        f"{_listed([repr(name) for name in names])}. Put all files of the image into one folder, under their own names "
        "and not as links. To use this file alone, open it in Fiji without grouping files and save it as TIFF."
    )


def _checked(member: Path, uuid: str, root: Element, describer: Path) -> _Tags:
    """Return the layouts of the pages of a file of the set. Raises ImageError if it does not state that it is one."""
    try:
        with closing(FileBytes(member)) as file:
            tags = page_tags(file)
        stated = _states(member, uuid, root, describer)
    except (OSError, struct.error, ElementTree.ParseError, ValueError) as error:
        raise ImageError(
            f"{member.name} belongs to the image that {describer.name} describes, but cannot be read as TIFF "
            f"({' '.join(str(error).split())[:200]}). Copy or export the set again."
        ) from error
    if not stated:
        raise ImageError(
            f"{describer.name} describes an image that is spread over files, one of them {member.name}. That file does "
            "not state that it belongs to the set, so it is not read. Export the set again."
        )
    return tags


def _states(member: Path, uuid: str, root: Element, describer: Path) -> bool:
    """Return whether the file states that it has this UUID in the set, or that it belongs to the companion file."""
    import tifffile

    with tifffile.TiffFile(member, **ALONE) as tif:
        xml = tif.ome_metadata if tif.is_ome else None
    is_companion = describer.suffix.lower() == _COMPANION_SUFFIX
    if xml is None:
        return is_companion
    own = parse_xml(xml)
    if own.get("UUID") == uuid:
        return True
    if binary := children(own, "BinaryOnly"):
        return is_companion and binary[0].get("MetadataFile") == describer.name
    known = {element.text for element in own.iter() if tag(element) == "UUID"}
    return {element.text for element in root.iter() if tag(element) == "UUID"} <= known
