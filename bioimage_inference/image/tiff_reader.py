"""Reading TIFF in all its dialects: ImageJ, OME-TIFF, BigTIFF, tifffile's own, plain pages, tiled and compressed."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .array_readers import check_numeric, check_shape
from .axis_letters import named_axes, only_present
from .file_bytes import FileBytes, check_plausible
from .image import Image, PixelSize, Region
from .ome import OmePart, describe_image, own_part
from .tiff_metadata import calibration_note, imagej_channel_names, pixel_sizes
from .tiff_pages import (
    Pages,
    PlainPages,
    SegmentedPages,
    Segments,
    count_pages,
    page_reader,
    truncated,
)

_FILE_RATIO = 100_000
_PHOTOMETRIC_NOTES = {
    0: "The file shows 0 as white; its values are used as they are stored, not inverted.",
    3: "The file has a colour table (as ImageJ's lookup tables); its stored values are used, not the colours.",
    5: "The colours are stored as cyan, magenta, yellow and black; they are used as they are stored.",
    8: "The colours are stored as CIE L*a*b*; they are used as they are stored.",
}


def open_tiff(path: Path) -> Image:
    """The first image (series) of a TIFF file; further ones are named in the notes.

    Raises ImageError for truncated and damaged files, and for numbers that are no integers, booleans or reals.
    """
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        pages = count_pages(file)
        tif, ome = _open_tifffile(path, pages)
        stack.callback(tif.close)
        series = tif.series[0]
        _check(path.name, file, tif, series)
        image = _image(path, file, tif, ome)
        tif.close()
        stack.pop_all()
        return image


def _open_tifffile(path: Path, pages: int) -> tuple[Any, OmePart]:
    """The file in tifffile's hands, with no way to any other file, and the part of its OME-XML that was used."""
    import tifffile

    # Micro-Manager's and NDTiff's own readers open the files beside this one.
    alone: dict[str, Any] = {"is_mmstack": False, "is_ndtiff": False}
    ome = OmePart(None)
    with tifffile.TiffFile(path, **alone) as tif:
        if tif.is_ome:
            ome = own_part(tif.ome_metadata or "", path.name, pages)
    if ome.xml is not None:
        tif = tifffile.TiffFile(path, omexml=ome.xml, **alone)
        try:
            usable = tif.series[0].kind == "ome"
        except Exception:
            # tifffile raises whatever a malformed description leads to; the pages may be sound all the same.
            usable = False
        if usable:
            return tif, ome
        tif.close()
        ome = OmePart(None, "Its OME-XML does not fit its pages, so that they are taken as they come.")
    return tifffile.TiffFile(path, is_ome=False, **alone), ome


def _check(name: str, file: FileBytes, tif: Any, series: Any) -> None:
    """Raises ImageError for what cannot be an image that is all there."""
    key = series.keyframe
    if key.dtype is None or not isinstance(key.bitspersample, int):
        raise ImageError(
            f"{name} stores its pixels as numbers of {key.bitspersample} bits (sample format {key.sampleformat!s}), "
            "which cannot be read. Export it with 8, 16 or 32 bits per channel."
        )
    check_numeric(name, series.dtype)
    check_shape(name, series.shape)
    check_plausible(name, math.prod(series.shape) * series.dtype.itemsize, file.size, _FILE_RATIO)
    if tif.is_imagej and series.kind not in ("imagej", "ome", "shaped"):
        images = (tif.imagej_metadata or {}).get("images", 1)
        if isinstance(images, int) and key.dataoffsets[0] + images * key.nbytes > file.size and key.compression == 1:
            raise truncated(file)


def _image(path: Path, file: FileBytes, tif: Any, ome: OmePart) -> Image:
    series = tif.series[0]
    axes, renamed = named_axes(["?" if letter in "QI" else letter for letter in series.axes])
    shape = tuple(int(size) for size in series.shape)
    sizes, channels, remarks = _metadata(tif, ome, axes, shape)
    pages, leading, missing = _pages(file, series, shape)
    read = page_reader(pages, leading)
    dtype: np.dtype[np.generic] = np.dtype(series.dtype)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    if series.transform is not None:
        read = partial(_transformed, read, series.transform, dtype)
    notes = (*_series_notes(tif, ome), *renamed, *remarks, *missing)
    photometric = _PHOTOMETRIC_NOTES.get(int(series.keyframe.photometric))
    return Image(
        name=path.name,
        path=str(path),
        axes=axes,
        axes_source="guess" if any(a == "?" and size > 1 for a, size in zip(axes, shape, strict=True)) else "file",
        shape=shape,
        dtype=dtype.newbyteorder("="),
        read=read,
        close=pages.close,
        pixel_size=only_present(sizes, axes),
        channel_names=channels if len(channels) == (shape[axes.index("c")] if "c" in axes else 1) else (),
        notes=notes if photometric is None else (*notes, photometric),
        piece=pages.piece,
    )


def _metadata(
    tif: Any, ome: OmePart, axes: str, shape: tuple[int, ...]
) -> tuple[dict[str, PixelSize | None], tuple[str, ...], tuple[str, ...]]:
    """Pixel sizes, channel names and remarks from whichever description the file has."""
    series = tif.series[0]
    key = series.keyframe
    if ome.xml is not None:
        image = describe_image(ome.xml, key.imagewidth, key.imagelength)
        return (image.pixel_size, image.channel_names, ()) if image else ({}, (), ())
    if tif.is_imagej:
        description = tif.imagej_metadata or {}
        names = imagej_channel_names(description.get("Labels"), axes, shape)
        note = calibration_note(description)
        return pixel_sizes(key, description), names, () if note is None else (note,)
    shaped: Sequence[dict[str, Any]] = tif.shaped_metadata or ({},)
    return pixel_sizes(key, shaped[0]), (), ()


def _series_notes(tif: Any, ome: OmePart) -> list[str]:
    series = tif.series
    notes = [] if ome.note is None else [ome.note]
    if len(series) > 1:
        others = ", ".join(_label(one, number) for number, one in enumerate(series[1:6], 2))
        more = f" and {len(series) - 6} more" if len(series) > 6 else ""
        notes.append(
            f"The file holds {len(series)} images; {_label(series[0], 1)} was read, not {others}{more}. "
            "To use another, save it as a file of its own."
        )
    return notes


def _label(series: Any, number: int) -> str:
    name = f" {series.name!r}" if series.name else ""
    return f"image {number}{name} ({series.axes} {'×'.join(map(str, series.shape))})"


def _pages(file: FileBytes, series: Any, shape: tuple[int, ...]) -> tuple[Pages, tuple[int, ...], tuple[str, ...]]:
    """How to get at the pixels, the leading dimensions that count the pages, and remarks on what the file lacks."""
    key = series.keyframe
    stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    if series.dataoffset is not None:
        return PlainPages(file, (int(series.dataoffset),), shape, stored), (), ()
    split = _page_split(series, shape)
    leading, inner = shape[:split], shape[split:]
    frames = list(series)
    if len(frames) != math.prod(leading):
        raise truncated(file)
    if key.is_final and all(frame is not None and _contiguous(frame, key) for frame in frames):
        offsets = tuple(int(frame.dataoffsets[0]) for frame in frames)
        return PlainPages(file, offsets, inner, stored), leading, ()
    segments = [None if frame is None else _segments(frame, key) for frame in frames]
    dtype = np.dtype(np.uint8 if stored.kind == "b" else stored.newbyteorder("="))
    return SegmentedPages(file, segments, key, inner, dtype), leading, _missing(segments)


def _page_split(series: Any, shape: tuple[int, ...]) -> int:
    """The number of leading dimensions of ``shape`` that count pages; the others are those of one page."""
    page = [size for size in series.keyframe.shape if size != 1]
    for split in range(len(shape) + 1):
        if [size for size in shape[split:] if size != 1] == page:
            return split
    raise ImageError(
        f"The pages of this TIFF are {'×'.join(map(str, series.keyframe.shape))} pixels, which does not fit the shape "
        f"{'×'.join(map(str, shape))} that its metadata announce. Export the image again."
    )


def _contiguous(frame: Any, key: Any) -> bool:
    """Whether the strips of this page follow each other; tifffile looks at those of the first page only."""
    ends = [begin + count for begin, count in zip(frame.dataoffsets, key.databytecounts, strict=False)]
    return len(frame.dataoffsets) == 1 or ends[:-1] == list(frame.dataoffsets[1:])


def _segments(frame: Any, key: Any) -> Segments:
    tables = frame.jpegtables if key.compression in (6, 7) else None
    return Segments(tuple(frame.dataoffsets), tuple(frame.databytecounts), tables)


def _missing(segments: list[Segments | None]) -> tuple[str, ...]:
    """Remarks on pages and pieces of pages that were never written."""
    notes = []
    if pages := segments.count(None):
        notes.append(f"The file lacks {pages} of the {len(segments)} planes that it announces; they are read as zeros.")
    present = [segment for segment in segments if segment is not None]
    empty = sum(segment.counts.count(0) for segment in present)
    if empty:
        total = sum(len(segment.counts) for segment in present)
        notes.append(f"The file leaves {empty} of its {total} strips or tiles empty; they are read as its fill value.")
    return tuple(notes)


def _transformed(
    read: Callable[[Region], NDArray[np.generic]],
    transform: Callable[[NDArray[Any]], NDArray[Any]],
    dtype: np.dtype[np.generic],
    region: Region,
) -> NDArray[np.generic]:
    return transform(read(region)).astype(dtype)
