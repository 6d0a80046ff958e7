"""Reader of OME-Zarr (formats 0.1 to 0.5) and plain zarr arrays, from a folder, a zip or an address, chunk by chunk.

The metadata are read without the models of yaozarrs 0.3: those refuse the formats 0.1 to 0.3, and files of format 0.4
without transformations, with another order of axes, or with channels without a colour, as programs write them.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError
from ...file_kinds.containers import zip_kind
from ...files.typed_path import Address, ImagePath
from ...text import agreeing, counted
from ..axes import UNKNOWN, complete_names, fitting_names, guess_axes, named_axes, only_present
from ..image import AxesSource, Image, PixelSize, Region, check_numeric, check_shape
from ..series import MAIN, Selection, Series, check_level, choose, is_plate, note_on_series
from ..units import finite_number, pixel_size, positive_number
from .file_bytes import LARGEST_PIECE
from .unreadable_files import SUPPORTED, no_image
from .zarr_files import open_files
from .zarr_series import ZarrSeries, axis_letter, axis_letters, joined, series_around, series_of, with_levels
from .zarr_tree import METADATA, Node, ZarrTree, find_zarr

# The path of a dataset may have several parts, so its description may be several folders above an array.
_PARENTS = 3
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


def open_zarr(place: ImagePath, selection: Selection = MAIN) -> Image:
    """Open an image of an OME-Zarr, by default the first one in full resolution, or a plain zarr array.

    Raises ImageError if there is no zarr, for groups without an image, arrays without data, and codecs or numbers that
    cannot be read, and UsageError if there is no such image, or a plate of several images.
    """
    with closing(_found(place)) as tree:
        root = tree.node("")
        if root.is_array:
            choose(tree.name, [Series(0, axes=UNKNOWN * len(root.shape), shape=root.shape)], selection)
            return _open_array(tree, root)
        listed = _listed(tree, root)
        series = [one.series for one in listed]
        chosen = choose(tree.name, series, replace(selection, level=0) if is_plate(series) else selection)
        notes = note_on_series(tree.name, series, chosen)
        if chosen.place is None:
            own = with_levels(tree, listed[chosen.number])
            check_level(tree.name, own.series, selection.level)
            return _open_level(tree, own, selection.level, notes)
    image = open_zarr(chosen.place, Selection(level=selection.level))
    return replace(image, notes=(*notes, *image.notes))


def zarr_series(place: ImagePath) -> tuple[Series, ...]:
    """Return the images of an OME-Zarr, none for a plain array. Raises the errors of :func:`open_zarr`."""
    with closing(_found(place)) as tree:
        root = tree.node("")
        return () if root.is_array else tuple(one.series for one in _listed(tree, root))


def _found(place: ImagePath) -> ZarrTree:
    tree = find_zarr(place)
    if tree is None:
        raise _no_zarr(place)
    return tree


def _listed(tree: ZarrTree, root: Node) -> tuple[ZarrSeries, ...]:
    listed = series_of(tree, root)
    if not listed:
        raise ImageError(
            f"{tree.name} is a zarr group without an image: it has no 'multiscales' description, as OME-Zarr requires, "
            "and is no array itself. Give the folder of the image or array inside it."
        )
    return listed


def _open_array(tree: ZarrTree, node: Node) -> Image:
    place = tree.place_of("")
    found = None if place is None else _parent_description(place)
    if found is None:
        axes, source = _plain_axes(node)
        return _image(tree, node, _Description(axes, source, {}))
    return _image(tree, node, _described(tree.name, node, *found))


def _open_level(tree: ZarrTree, chosen: ZarrSeries, level: int, notes: tuple[str, ...]) -> Image:
    """Return an image of the tree at a level of its pyramid."""
    group = tree.node(chosen.path)
    multiscales = group.ome["multiscales"][chosen.entry]
    dataset = multiscales["datasets"][level]
    node = tree.node(joined(group.path, str(dataset["path"])))
    if not node.is_array:
        raise ImageError(f"{tree.name} announces an array {node.path!r} that it does not hold. The copy is incomplete.")
    described = _described(tree.name, node, {**group.ome, "multiscales": [multiscales]}, dataset)
    image = _image(tree, node, replace(described, notes=(*notes, *described.notes)))
    place = tree.place_of(group.path)
    around = None if place is None else series_around(place)
    several = chosen.series.levels or chosen.series.number or notes or around
    return replace(
        image,
        name=image.name if around is None else around[1],
        series=chosen.series if several else None,
        level=level,
    )


def metadata_around(path: Path) -> list[Path]:
    """Return the metadata files in the folders around an array, a field or a well, which describe it."""
    parents = list(path.absolute().parents)[:_PARENTS] if path.is_dir() else []
    return [parent / name for parent in parents for name in METADATA if (parent / name).is_file()]


def _no_zarr(path: ImagePath) -> ImageError:
    if isinstance(path, Address):
        return ImageError(
            f"There is no OME-Zarr at {path} (no zarr.json, .zattrs or .zarray). Only OME-Zarr is read from addresses. "
            "Download an image of another format, and give the file."
        )
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


def _described(name: str, array: Node, ome: Mapping[str, Any], dataset: Mapping[str, Any]) -> _Description:
    """Return the description of an array that is a dataset of the first multiscales of OME metadata."""
    multiscales = ome["multiscales"][0]
    count = len(array.shape)
    axes, renamed = named_axes(axis_letters(multiscales, count))
    if len(axes) != count:
        raise ImageError(
            f"{name} names {counted(len(axes), 'axis')} ({axes}) for an array of {counted(count, 'dimension')}. Write "
            "the OME-Zarr again."
        )
    scales, origins = _transformations(multiscales, dataset, count)
    described = multiscales.get("axes") or axes
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in described]
    sizes = {
        axis: pixel_size(axis, scale, unit, origin)
        for axis, scale, unit, origin in zip(axes, scales, units, origins, strict=True)
    }
    channels = (ome.get("omero") or {}).get("channels") or []
    names = complete_names([str(channel.get("label") or "") for channel in channels])
    return _Description(axes, "guess" if UNKNOWN in axes else "file", sizes, names, renamed)


def _parent_description(place: ImagePath) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the OME metadata of the image to which the array at ``place`` belongs, and its dataset."""
    parent, names = place.absolute(), ""
    for _ in range(_PARENTS):
        names = f"{parent.name}/{names}" if names else parent.name
        parent = parent.parent
        with closing(ZarrTree(open_files(parent))) as tree:
            ome = tree.node("").ome
        for multiscales in ome.get("multiscales") or []:
            for dataset in multiscales.get("datasets") or []:
                if dataset.get("path") == names:
                    return {**ome, "multiscales": [multiscales]}, dataset
    return None


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
    if chunk > LARGEST_PIECE:
        raise ImageError(
            f"{tree.name} stores its pixels in chunks of {chunk / 2**30:,.1f} GiB, which can only be read as a whole. "
            "Write it again with smaller chunks."
        )

    def read(region: Region) -> Array:
        return np.asarray(array[region]).astype(dtype, copy=False)

    return Image(
        name=tree.name,
        path=str(tree.place),
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
    stored = tree.count_chunks(node.path, grid)
    missing = 0 if stored is None else math.prod(grid) - stored
    if not missing:
        return ()
    return (
        f"{tree.name} has {counted(math.prod(grid), 'chunk')}, of which {missing} {agreeing(missing, 'are')} not "
        f"stored. Missing chunks are read as the fill value {array.fill_value}. If the image shows more than that, its "
        "copy is incomplete.",
    )


def _plain_axes(node: Node) -> tuple[str, AxesSource]:
    """Return the axes of an array without OME metadata: its dimension names (zarr 3, xarray), else a guess."""
    names = node.dimension_names
    if len(names) == len(node.shape):
        letters = [axis_letter(name) for name in names]
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
