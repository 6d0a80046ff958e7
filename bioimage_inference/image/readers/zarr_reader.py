"""Reader of OME-Zarr (formats 0.1 to 0.5) and plain zarr arrays, from a folder or a zip, chunk by chunk.

The metadata are read without the models of yaozarrs 0.3: those refuse the formats 0.1 to 0.3, and files of format 0.4
without transformations, with another order of axes, or with channels without a colour, as programs write them.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ...file_kinds.containers import zip_kind
from ...text import agreeing, counted
from ..axes import UNKNOWN, complete_names, fitting_names, guess_axes, letter_of, named_axes, only_present
from ..image import AxesSource, Image, PixelSize, Region, check_numeric, check_shape
from ..units import finite_number, pixel_size, positive_number
from .unreadable_files import SUPPORTED, no_image
from .zarr_tree import METADATA, Node, ZarrTree, find_zarr

_LARGEST_CHUNK = 1 << 31
_MOST_LISTED = 10
# The path of a dataset may have several parts, so its description may be several folders above an array.
_PARENTS = 3
_AXES_BEFORE_0_3 = "tczyx"
# Codecs that only compute pixels. numcodecs also has a codec that unpickles.
_CODECS = frozenset(
    (
        *("bytes", "transpose", "sharding_indexed", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround"),
        *("packbits", "astype", "blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma", "pcodec", "zfpy"),
        *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    )
)


@dataclass(frozen=True)
class _Description:
    """Axes of an array, their source, pixel sizes, channel names, and notes."""

    axes: str
    source: AxesSource
    sizes: Mapping[str, PixelSize | None]
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def open_zarr(path: Path) -> Image:
    """Open the highest resolution of the first image of an OME-Zarr, or a plain zarr array.

    Raises ImageError if there is no zarr, for groups without an image, arrays without data, and codecs or numbers that
    cannot be read.
    """
    tree = find_zarr(path)
    if tree is None:
        raise _no_zarr(path)
    with closing(tree):
        node, notes = _image_node(tree, tree.node(""))
        if node.is_array:
            found = None if tree.folder is None else _parent_description(tree.folder)
            if found is None:
                axes, source = _plain_axes(node)
                return _image(tree, node, _Description(axes, source, {}, notes=notes))
            ome, dataset = found
        else:
            ome, dataset = node.ome, node.ome["multiscales"][0]["datasets"][0]
            node = tree.node(_joined(node.path, str(dataset["path"])))
        if not node.is_array:
            raise ImageError(
                f"{tree.name} announces an array {node.path!r} that it does not hold. The copy is incomplete."
            )
        return _image(tree, node, _described(tree.name, node, ome, dataset, notes))


def metadata_around(path: Path) -> list[Path]:
    """Return the metadata files in the folders around an array, which describe its axes and scale."""
    parents = list(path.absolute().parents)[:_PARENTS] if path.is_dir() else []
    return [parent / name for parent in parents for name in METADATA if (parent / name).is_file()]


def _no_zarr(path: Path) -> ImageError:
    if path.is_dir():
        return ImageError(
            f"{path} is a folder without an OME-Zarr image in it (no zarr.json, .zattrs or .zarray). "
            f"Give the image files in it ({path.name}/*.tif names all TIFFs), or the folder of an OME-Zarr."
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("data.pkl", "rdf.yaml", "bioimageio.yaml")) for name in names):
        return ImageError(
            f"{path.name} is a model, but an image is expected here: the order is MODEL IMAGE. {SUPPORTED}"
        )
    kind = zip_kind(names)
    if kind is not None:
        return no_image(path.name, kind)
    if any(name.endswith(".npy") for name in names):
        return ImageError(
            f"{path.name} is an .npz archive of {counted(len(names), 'array')} ({', '.join(names[:5])}). Save the "
            "array that is the image with numpy.save as an .npy file, or as TIFF."
        )
    return ImageError(
        f"{path.name} is a zip archive without an OME-Zarr image in it. Unpack it (unzip FILE, or a double click in "
        "most file managers), and give the image that is inside."
    )


def _described(
    name: str, array: Node, ome: Mapping[str, Any], dataset: Mapping[str, Any], notes: tuple[str, ...]
) -> _Description:
    """Return the description of an array that is a dataset of the first multiscales of OME metadata."""
    multiscales = ome["multiscales"][0]
    count = len(array.shape)
    described = multiscales.get("axes") or [*_AXES_BEFORE_0_3][-count:]
    axes, renamed = named_axes([_letter(axis) for axis in described])
    if len(axes) != count:
        raise ImageError(
            f"{name} names {counted(len(axes), 'axis')} ({axes}) for an array of {counted(count, 'dimension')}. Write "
            "the OME-Zarr again."
        )
    scales, origins = _transformations(multiscales, dataset, count)
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in described]
    sizes = {
        axis: pixel_size(axis, scale, unit, origin)
        for axis, scale, unit, origin in zip(axes, scales, units, origins, strict=True)
    }
    channels = (ome.get("omero") or {}).get("channels") or []
    names = complete_names([str(channel.get("label") or "") for channel in channels])
    return _Description(axes, "guess" if UNKNOWN in axes else "file", sizes, names, (*notes, *renamed))


def _parent_description(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the OME metadata of the image to which the array in the folder ``path`` belongs, and its dataset."""
    place = path.absolute()
    for parent in list(place.parents)[:_PARENTS]:
        with closing(ZarrTree(parent, "", None)) as tree:
            ome = tree.node("").ome
        for multiscales in ome.get("multiscales") or []:
            for dataset in multiscales.get("datasets") or []:
                if dataset.get("path") == place.relative_to(parent).as_posix():
                    return {**ome, "multiscales": [multiscales]}, dataset
    return None


def _image_node(tree: ZarrTree, node: Node) -> tuple[Node, tuple[str, ...]]:
    """Return the group that describes an image, or the array itself, with notes."""
    if node.is_array or node.ome.get("multiscales"):
        return node, ()
    if "bioformats2raw.layout" in node.ome:
        first = tree.node(_joined(node.path, "0"))
        if first.ome.get("multiscales"):
            several = bool(tree.node(_joined(node.path, "1")).ome)
            return first, ("The OME-Zarr holds several images; the first ('0') was read.",) if several else ()
    if "plate" in node.ome:
        wells = _paths(node.ome["plate"], "wells") or ["A/1"]
        raise ImageError(
            f"{tree.name} is a whole plate of wells. Give the folder of one field of view, such as "
            f"{tree.name}/{wells[0]}/0."
        )
    if "well" in node.ome:
        fields = [f"{tree.name}/{field}" for field in _paths(node.ome["well"], "images")]
        more = f" and {len(fields) - _MOST_LISTED} more" if len(fields) > _MOST_LISTED else ""
        raise ImageError(
            f"{tree.name} is a well of a plate with {counted(len(fields), 'field')} of view. Give one of them: "
            f"{', '.join(fields[:_MOST_LISTED])}{more}."
        )
    raise ImageError(
        f"{tree.name} is a zarr group without an image: it has no 'multiscales' description, as OME-Zarr requires, and "
        "is no array itself. Give the folder of the image or array inside it."
    )


def _image(tree: ZarrTree, node: Node, described: _Description) -> Image:
    """Return the image of an array, checked before any chunk is decoded."""
    check_shape(tree.name, node.shape)
    strange = sorted(codec for codec in node.codecs if codec.removeprefix("numcodecs.") not in _CODECS)
    if strange:
        raise ImageError(
            f"{tree.name} is compressed with {', '.join(map(repr, strange))}, which is not supported. "
            "Write it again with blosc, zstd or gzip."
        )
    array = tree.open_array(node)
    dtype: np.dtype[np.generic] = np.dtype(array.dtype).newbyteorder("=")
    check_numeric(tree.name, dtype)
    chunk = math.prod(array.chunks) * dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise ImageError(
            f"{tree.name} stores its pixels in chunks of {chunk / 2**30:,.1f} GiB, which can only be read as a whole. "
            "Write it again with smaller chunks."
        )

    def read(region: Region) -> Array:
        return np.asarray(array[region]).astype(dtype, copy=False)

    return Image(
        name=tree.name,
        path=str(tree.path),
        axes=described.axes,
        axes_source=described.source,
        shape=node.shape,
        dtype=dtype,
        read=read,
        close=array.store.close,
        pixel_size=only_present(described.sizes, described.axes),
        channel_names=fitting_names(described.channels, described.axes, node.shape),
        notes=(*described.notes, *_missing_chunks(tree, node, array)),
        piece=chunk,
    )


def _missing_chunks(tree: ZarrTree, node: Node, array: Any) -> tuple[str, ...]:
    """Return a note on chunks that are not stored; zarr leaves out chunks that hold the fill value only."""
    grid = [math.ceil(size / part) for size, part in zip(array.shape, array.shards or array.chunks, strict=True)]
    missing = math.prod(grid) - tree.count_chunks(node.path, grid)
    if not missing:
        return ()
    return (
        f"{tree.name} has {counted(math.prod(grid), 'chunk')}, of which {missing} {agreeing(missing, 'are')} not "
        f"stored. Missing chunks are read as the fill value {array.fill_value}. If the image shows more than that, its "
        "copy is incomplete.",
    )


def _paths(holder: object, key: str) -> list[str]:
    """Return the paths in a list of OME-Zarr's metadata, such as the wells of a plate."""
    entries = holder.get(key) if isinstance(holder, Mapping) else None
    return [str(entry.get("path")) for entry in entries or [] if isinstance(entry, Mapping)]


def _letter(axis: object) -> str:
    """Return the letter of an axis that is described by its name, or by name and type."""
    name, kind = (axis.get("name", ""), axis.get("type", "")) if isinstance(axis, Mapping) else (axis, "")
    letter = letter_of(str(name)) or str(name).lower()
    return letter if len(letter) == 1 else letter_of(str(kind)) or UNKNOWN


def _plain_axes(node: Node) -> tuple[str, AxesSource]:
    """Return the axes of an array without OME metadata: its dimension names (zarr 3, xarray), else a guess."""
    names = node.dimension_names
    if len(names) == len(node.shape):
        letters = [_letter(name) for name in names]
        if len(set(letters)) == len(letters) and UNKNOWN not in letters:
            return named_axes(letters)[0], "file"
    return guess_axes(node.shape), "guess"


def _transformations(
    multiscales: Mapping[str, Any], dataset: Mapping[str, Any], count: int
) -> tuple[list[float | None], list[float]]:
    """Return pixel extent and first position along each axis; an extent is None if it is unknown.

    The transformations of the dataset come first, then those of all datasets (OME-Zarr 0.4 and 0.5, "multiscales"
    metadata).
    """
    scales: list[float | None] = [1.0] * count
    origins = [0.0] * count
    found = False
    for holder in (dataset, multiscales):
        for transformation in holder.get("coordinateTransformations") or []:
            if factors := _numbers(transformation, "scale", count):
                found = True
                positive = [positive_number(factor) for factor in factors]
                scales = [a * b if a and b else None for a, b in zip(scales, positive, strict=True)]
                origins = [origin * (factor or 1.0) for origin, factor in zip(origins, positive, strict=True)]
            elif steps := _numbers(transformation, "translation", count):
                origins = [origin + (finite_number(step) or 0.0) for origin, step in zip(origins, steps, strict=True)]
    return scales if found else [None] * count, origins


def _numbers(transformation: Mapping[str, Any], kind: str, count: int) -> Sequence[object]:
    """Return the numbers of a transformation of this kind, one per axis; empty for another kind."""
    values = transformation.get(kind) if transformation.get("type") == kind else None
    return values if isinstance(values, Sequence) and len(values) == count else ()


def _joined(parent: str, child: str) -> str:
    """Return the path of a child in the tree. Raises ImageError for paths that would leave it."""
    parts = child.strip("/").split("/")
    if child.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in child:
        raise ImageError(f"The OME-Zarr names an array outside itself: {child!r}. Write the OME-Zarr again.")
    return "/".join([parent, *parts]) if parent else "/".join(parts)
