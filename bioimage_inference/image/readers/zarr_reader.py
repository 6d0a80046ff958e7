"""Reading OME-Zarr (formats 0.1 to 0.5) and plain zarr arrays, from a folder or a zip, chunk by chunk."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ..axes import guess_axes, named_axes, only_present
from ..image import AxesSource, Image, PixelSize, Region
from ..units import finite_number, pixel_size, positive_number
from .array_readers import check_numeric, check_shape
from .ome_xml import complete_names
from .zarr_tree import METADATA, Node, ZarrTree

_LARGEST_CHUNK = 1 << 31
_MOST_LISTED = 10
_PARENTS = 3
"""Folders above an array that are looked at: a dataset's path may have several parts."""
_AXIS_NAMES = {"time": "t", "channel": "c", "depth": "z", "height": "y", "width": "x", "sample": "s", "batch": "b"}
# Codecs that compute nothing but pixels; among numcodecs' others is one that unpickles.
_CODECS = frozenset(
    (
        *("bytes", "transpose", "sharding_indexed", "shuffle", "delta", "fixedscaleoffset", "quantize", "bitround"),
        *("packbits", "astype", "blosc", "gzip", "zlib", "zstd", "lz4", "bz2", "lzma", "pcodec", "zfpy"),
        *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3"),
    )
)


def open_zarr(tree: ZarrTree) -> Image:
    """The highest resolution of the first image of an OME-Zarr, or a plain zarr array.

    Raises ImageError for groups without an image, arrays without data, and codecs or numbers that cannot be read.
    """
    node, notes = _image_node(tree, tree.node(""))
    if node.is_array:
        parent = None if tree.folder is None else _parent_description(tree.folder)
        if parent is not None:
            return _described_image(tree, node, *parent, notes)
        axes, source = _plain_axes(node)
        return _image(tree, node, axes, source, {}, (), notes)
    dataset = node.ome["multiscales"][0]["datasets"][0]
    array = tree.node(_joined(node.path, str(dataset["path"])))
    if not array.is_array:
        raise ImageError(
            f"{tree.name} announces an array {array.path!r} that it does not hold. The copy is incomplete."
        )
    return _described_image(tree, array, node.ome, dataset, notes)


def _described_image(
    tree: ZarrTree, array: Node, ome: Mapping[str, Any], dataset: Mapping[str, Any], notes: tuple[str, ...]
) -> Image:
    """The image of an array that OME metadata describe, as one of the datasets of their first multiscales."""
    multiscales = ome["multiscales"][0]
    count = len(array.shape)
    described = multiscales.get("axes") or [*"tczyx"][-count:]
    axes, renamed = named_axes([_letter(axis) for axis in described])
    if len(axes) != count:
        raise ImageError(
            f"{tree.name} names {len(axes)} axes ({axes}) for an array of {count} dimensions. Write the OME-Zarr again."
        )
    scales, origins = _transformations(multiscales, dataset, count)
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in described]
    sizes = {
        axis: pixel_size(axis, scale, unit, origin)
        for axis, scale, unit, origin in zip(axes, scales, units, origins, strict=True)
    }
    named: AxesSource = "guess" if "?" in axes else "file"
    return _image(tree, array, axes, named, sizes, _channel_names(ome), (*notes, *renamed))


def metadata_around(path: Path) -> list[Path]:
    """The files of metadata in the folders around an array, from which it takes axes and scale."""
    parents = list(path.absolute().parents)[:_PARENTS]
    return [parent / name for parent in parents for name in METADATA if (parent / name).is_file()]


def _parent_description(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """The OME metadata of the image that the array in the folder ``path`` belongs to, and those of this dataset."""
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
    """The group that describes an image, or the array itself."""
    if node.is_array or node.ome.get("multiscales"):
        return node, ()
    if "bioformats2raw.layout" in node.ome:
        first = tree.node(_joined(node.path, "0"))
        if first.ome.get("multiscales"):
            several = tree.has(_joined(node.path, "1"))
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
            f"{tree.name} is a well of a plate with {len(fields)} fields of view. Give one of them: "
            f"{', '.join(fields[:_MOST_LISTED])}{more}."
        )
    raise ImageError(
        f"{tree.name} is a zarr group without an image: it has no 'multiscales' description, as OME-Zarr requires, and "
        "is no array itself. Give the folder of the image or array inside it."
    )


def _image(
    tree: ZarrTree,
    node: Node,
    axes: str,
    source: AxesSource,
    sizes: Mapping[str, PixelSize | None],
    channels: tuple[str, ...],
    notes: tuple[str, ...],
) -> Image:
    """The image of an array node, checked before any chunk is decoded."""
    check_shape(tree.name, node.shape)
    _check_codecs(tree.name, node)
    array = tree.open_array(node)
    dtype: np.dtype[np.generic] = np.dtype(array.dtype)
    check_numeric(tree.name, dtype)
    chunk = math.prod(array.chunks) * dtype.itemsize
    if chunk > _LARGEST_CHUNK:
        raise ImageError(
            f"{tree.name} stores its pixels in chunks of {chunk / 2**30:,.1f} GiB, which can only be read as a whole. "
            "Write it again with smaller chunks."
        )
    return Image(
        name=tree.name,
        path=str(tree.path),
        axes=axes,
        axes_source=source,
        shape=node.shape,
        dtype=dtype.newbyteorder("="),
        read=partial(_read, array, dtype.newbyteorder("=")),
        close=array.store.close,
        pixel_size=only_present(sizes, axes),
        channel_names=channels if len(channels) == (node.shape[axes.index("c")] if "c" in axes else 1) else (),
        notes=(*notes, *_missing_chunks(tree, node, array)),
        piece=chunk,
    )


def _missing_chunks(tree: ZarrTree, node: Node, array: Any) -> tuple[str, ...]:
    """A remark on chunks that are not stored; zarr leaves out those that hold nothing but the fill value."""
    grid = [math.ceil(size / part) for size, part in zip(array.shape, array.shards or array.chunks, strict=True)]
    missing = math.prod(grid) - tree.count_chunks(node.path, grid)
    if not missing:
        return ()
    return (
        f"{missing} of the {math.prod(grid)} chunks of {tree.name} are not stored; they are read as the fill value "
        f"{array.fill_value}. If the image shows more than that, its copy is incomplete.",
    )


def _paths(holder: object, key: str) -> list[str]:
    """The paths in a list of OME-Zarr's metadata, such as the wells of a plate."""
    entries = holder.get(key) if isinstance(holder, Mapping) else None
    return [str(entry.get("path")) for entry in entries or [] if isinstance(entry, Mapping)]


def _read(array: Any, dtype: np.dtype[np.generic], region: Region) -> NDArray[np.generic]:
    return np.asarray(array[region]).astype(dtype, copy=False)


def _letter(axis: object) -> str:
    """The letter of an axis that is described by its name, or by name and type."""
    name = str(axis.get("name", "")) if isinstance(axis, Mapping) else str(axis)
    kind = str(axis.get("type", "")) if isinstance(axis, Mapping) else ""
    letter = _AXIS_NAMES.get(name.lower(), name.lower())
    if len(letter) != 1:
        letter = _AXIS_NAMES.get(kind, "?")
    return letter


def _plain_axes(node: Node) -> tuple[str, AxesSource]:
    """Axes of an array without OME metadata: its dimension names (zarr 3, xarray), else a guess."""
    names = node.dimension_names
    if len(names) == len(node.shape):
        letters = [_letter(name) for name in names]
        if len(set(letters)) == len(letters) and "?" not in letters:
            return named_axes(letters)[0], "file"
    return guess_axes(node.shape), "guess"


def _transformations(
    multiscales: Mapping[str, Any], dataset: Mapping[str, Any], count: int
) -> tuple[list[float | None], list[float]]:
    """Extent of a pixel and position of the first one along each axis; an extent is None where it is unknown.

    The transformations of the dataset come first, those of all datasets after them (OME-Zarr 0.4 and 0.5,
    "multiscales" metadata).
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
    """What a transformation of this kind has for each of ``count`` axes; nothing where it is of another kind."""
    values = transformation.get(kind) if transformation.get("type") == kind else None
    return values if isinstance(values, Sequence) and len(values) == count else ()


def _channel_names(ome: Mapping[str, Any]) -> tuple[str, ...]:
    omero = ome.get("omero") or {}
    return complete_names([str(channel.get("label") or "") for channel in omero.get("channels") or []])


def _check_codecs(name: str, node: Node) -> None:
    """Raises ImageError for codecs that are not known to decode pixels and nothing else."""
    strange = sorted(codec for codec in node.codecs if codec.removeprefix("numcodecs.") not in _CODECS)
    if strange:
        raise ImageError(
            f"{name} is compressed with {', '.join(map(repr, strange))}, which is not supported. "
            "Write it again with blosc, zstd or gzip."
        )


def _joined(parent: str, child: str) -> str:
    """The path of a child in the tree. Raises ImageError for paths that would leave it."""
    parts = child.strip("/").split("/")
    if child.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in child:
        raise ImageError(f"The OME-Zarr names an array outside itself: {child!r}. Write the OME-Zarr again.")
    return "/".join([parent, *parts]) if parent else "/".join(parts)
