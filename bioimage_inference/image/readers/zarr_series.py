"""The images of a zarr hierarchy: pyramids, series that bioformats2raw converted, and the fields of a plate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from ...errors import ImageError
from ...files.typed_path import ImagePath
from ...machine.processors import thread_pool
from ..axes import UNKNOWN, letter_of
from ..series import Series
from .ome_xml import image_names
from .zarr_files import open_files
from .zarr_tree import Node, ZarrTree

_AXES_BEFORE_0_3 = "tczyx"
_LAYOUT = "bioformats2raw.layout"
_XML = "OME/METADATA.ome.xml"
_MOST_SERIES = 100_000
# Wells whose metadata are read at the same time. A server answers each request after some tens of milliseconds.
_AT_ONCE = 8


@dataclass(frozen=True)
class ZarrSeries:
    """An image of a hierarchy: the path of its group in the tree, and the position of its entry in ``multiscales``."""

    series: Series
    path: str
    entry: int = 0


def series_of(tree: ZarrTree, root: Node) -> tuple[ZarrSeries, ...]:
    """Return the images below the group ``root``. Raises ImageError if it holds none, or a plate without wells."""
    if "plate" in root.ome:
        return tuple(_numbered(_fields_of_plate(tree, root)))
    if "well" in root.ome:
        place = tree.place_of("")
        name = tree.name if place is None else _well_and_path(place.absolute())[0]
        return tuple(_numbered(_fields(tree, root, name)))
    if root.ome.get("multiscales"):
        place = tree.place_of("")
        around = None if place is None else series_around(place)
        entries = root.ome["multiscales"]
        return tuple(_numbered(_pyramid(tree, root, entry, around) for entry in range(len(entries))))
    if _LAYOUT in root.ome:
        return tuple(_numbered(_converted(tree)))
    return ()


def with_levels(tree: ZarrTree, one: ZarrSeries) -> ZarrSeries:
    """Return an image with the extents of its levels, which the field of a plate has in its own group."""
    group = tree.node(one.path)
    if one.series.shape or not group.ome.get("multiscales"):
        return one
    return _pyramid(tree, group, one.entry, (one.series, ""))


def joined(parent: str, child: str) -> str:
    """Return the path of a child in the tree. Raises ImageError for paths that would leave it."""
    parts = child.strip("/").split("/")
    if child.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in child:
        raise ImageError(f"The OME-Zarr names an array outside itself: {child!r}. Write the OME-Zarr again.")
    return "/".join([parent, *parts]) if parent else "/".join(parts)


def axis_letters(multiscales: Mapping[str, Any], count: int) -> list[str]:
    """Return the letter of each axis that multiscales metadata describe, for an array of ``count`` dimensions."""
    return [axis_letter(axis) for axis in multiscales.get("axes") or [*_AXES_BEFORE_0_3][-count:]]


def axis_letter(axis: object) -> str:
    """Return the letter of an axis that is described by its name, or by name and type."""
    name, kind = (axis.get("name", ""), axis.get("type", "")) if isinstance(axis, Mapping) else (axis, "")
    letter = letter_of(str(name)) or str(name).lower()
    return letter if len(letter) == 1 else letter_of(str(kind)) or UNKNOWN


def series_around(place: ImagePath) -> tuple[Series, str] | None:
    """Return well and field, or the name in a converted file, of the image group in a folder or at an address.

    The second value is the path of the group from the folder with the plate or file. The result is None for a group
    that belongs to neither.
    """
    place = place.absolute()
    with closing(ZarrTree(open_files(place.parent))) as tree:
        node = tree.node("")
        if "well" in node.ome and place.name in _paths(node.ome["well"], "images"):
            well, path = _well_and_path(place.parent)
            return Series(0, well=well, field=place.name), f"{path}/{place.name}"
        if _LAYOUT in node.ome:
            names = _names(tree)
            number = int(place.name) if place.name.isdecimal() else len(names)
            name = names[number] if number < len(names) else place.name
            return Series(0, name=name), f"{tree.name}/{place.name}"
    return None


def _well_and_path(well: ImagePath) -> tuple[str, str]:
    """Return the name of the well in a folder or at an address, and its path from the folder of its plate."""
    with closing(ZarrTree(open_files(well.parent.parent))) as tree:
        plate = tree.node("").ome.get("plate")
        path = f"{well.parent.name}/{well.name}"
        if plate is not None and path in _paths(plate, "wells"):
            return _well_name(path), f"{tree.name}/{path}"
    return well.name, well.name


def _numbered(found: "Iterator[ZarrSeries] | Sequence[ZarrSeries]") -> Iterator[ZarrSeries]:
    for number, one in enumerate(found):
        yield replace(one, series=replace(one.series, number=number))


def _fields_of_plate(tree: ZarrTree, plate: Node) -> Iterator[ZarrSeries]:
    paths = [joined("", path) for path in _paths(plate.ome["plate"], "wells")]
    if not paths:
        raise ImageError(f"{tree.name} is a plate that lists no wells. Write the OME-Zarr again.")
    with thread_pool(_AT_ONCE) as pool:
        for path, well in zip(paths, pool.map(tree.node, paths), strict=True):
            yield from _fields(tree, well, _well_name(path))


def _fields(tree: ZarrTree, well: Node, name: str) -> Iterator[ZarrSeries]:
    """Yield the fields of a well. A well without metadata is a field without a name, and opening it is an error."""
    for field in _paths(well.ome.get("well"), "images") or [""]:
        path = joined(well.path, field) if field else well.path
        yield ZarrSeries(Series(0, well=name, field=field, place=tree.place_of(path)), path)


def _well_name(path: str) -> str:
    """Return the usual name of a well, ``B03``, from its path ``B/03``."""
    return path.replace("/", "")


def _converted(tree: ZarrTree) -> Iterator[ZarrSeries]:
    listed = tree.node("OME").ome.get("series")
    paths = map(str, listed) if isinstance(listed, Sequence) else map(str, range(_MOST_SERIES))
    names = _names(tree)
    for number, path in enumerate(paths):
        group = tree.node(joined("", path))
        if not group.ome.get("multiscales"):
            if isinstance(listed, Sequence):
                raise ImageError(f"{tree.name} lists an image {path!r} that it does not hold. The copy is incomplete.")
            return
        one = _pyramid(tree, group, 0, None)
        name = names[number] if number < len(names) else ""
        yield replace(one, series=replace(one.series, name=name, place=tree.place_of(group.path)))


def _names(tree: ZarrTree) -> list[str]:
    """Return the names of converted images, as far as the OME-XML of the conversion gives them."""
    return image_names(tree.text(_XML))


def _pyramid(tree: ZarrTree, group: Node, entry: int, around: tuple[Series, str] | None) -> ZarrSeries:
    """Return an image with the extents of its levels, as far as they are there."""
    multiscales = group.ome["multiscales"][entry]
    levels = []
    for dataset in multiscales["datasets"]:
        array = tree.node(joined(group.path, str(dataset["path"])))
        if not array.is_array:
            break
        levels.append(array.shape)
    full = levels[0] if levels else ()
    letters = axis_letters(multiscales, len(full))
    known = Series(0, name=str(multiscales.get("name") or "")) if around is None else around[0]
    return ZarrSeries(
        replace(
            known,
            axes="".join(letters) if len(letters) == len(full) else UNKNOWN * len(full),
            shape=full,
            levels=tuple(levels) if len(levels) > 1 else (),
        ),
        group.path,
        entry,
    )


def _paths(holder: object, key: str) -> list[str]:
    """Return the paths in a list of OME-Zarr's metadata, such as the wells of a plate."""
    entries = holder.get(key) if isinstance(holder, Mapping) else None
    return [str(entry.get("path")) for entry in entries or [] if isinstance(entry, Mapping)]
