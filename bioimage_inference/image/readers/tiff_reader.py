"""Reading TIFF in all its dialects: ImageJ, OME-TIFF, BigTIFF, tifffile's own, plain pages, tiled and compressed."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ..axes import fitting_names, guess_axes, named_axes, only_present
from ..image import AxesSource, Image, Metadata, Region
from .array_readers import check_numeric, check_shape
from .file_bytes import FileBytes, check_plausible
from .imagej_counts import correct_counts
from .ome_xml import OmePart, describe_image, own_part
from .tiff_dialects import dialect_metadata, page_names, sample_names
from .tiff_metadata import imagej_metadata, text_metadata
from .tiff_pages import (
    Pages,
    PlainPages,
    SegmentedPages,
    Segments,
    damaged,
    ends_within_stack,
    page_reader,
    page_sizes,
    truncated,
)

_FILE_RATIO = 100_000
# Bits of NewSubfileType: a reduced image, and a transparency mask.
_NO_IMAGE = 1 | 4
# Micro-Manager's and NDTiff's own readers open the files beside this one.
_ALONE: dict[str, Any] = {"is_mmstack": False, "is_ndtiff": False}
_PHOTOMETRIC_NOTES = {
    0: "The file shows 0 as white; its values are used as they are stored, not inverted.",
    3: "The file has a colour table (as ImageJ's lookup tables); its stored values are used, not the colours.",
    5: "The colours are stored as cyan, magenta, yellow and black; they are used as they are stored.",
    8: "The colours are stored as CIE L*a*b*; they are used as they are stored.",
}


def open_tiff(path: Path) -> Image:
    """The first image (series) of a TIFF file that is no preview; further ones are named in the notes.

    Raises ImageError for truncated and damaged files, and for numbers that are no integers, booleans or reals.
    """
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        opened = _open_tifffile(file, page_sizes(file))
        stack.callback(opened.tif.close)
        _check(path.name, file, opened.series)
        image = _image(file, opened)
        opened.tif.close()
        stack.pop_all()
        return image


def ome_xml(path: Path) -> str:
    """The OME-XML of a TIFF file, empty where it has none.

    Raises ImageError for damaged files, and whatever tifffile raises.
    """
    import tifffile

    with closing(FileBytes(path)) as file:
        page_sizes(file)  # tifffile would believe any size
    with tifffile.TiffFile(path, **_ALONE) as tif:
        return (tif.ome_metadata or "") if tif.is_ome else ""


@dataclass(frozen=True)
class _OpenTiff:
    """The file in tifffile's hands, width and height of its pages, the series that is read, and remarks.

    ``ome`` is the OME-XML that was used, if any.
    """

    tif: Any
    sizes: tuple[tuple[int, int], ...]
    series: Any
    ome: str | None
    notes: tuple[str, ...]


def _open_tifffile(file: FileBytes, sizes: tuple[tuple[int, int], ...]) -> _OpenTiff:
    """The file with whichever of its metadata fit its pages: OME-XML, else another dialect, else none."""
    import tifffile

    ome = OmePart(None)
    with tifffile.TiffFile(file.path, **_ALONE) as tif:
        if tif.is_ome:
            ome = own_part(tif.ome_metadata or "", file.path, len(sizes))
    if ome.xml is not None:
        tif = tifffile.TiffFile(file.path, omexml=ome.xml, **_ALONE)
        try:
            series = _chosen(tif)
            usable = series.kind == "ome"
        except Exception:
            # tifffile raises whatever a malformed description leads to; the pages may be sound all the same.
            usable = False
        if usable:
            return _OpenTiff(tif, sizes, series, ome.xml, () if ome.note is None else (ome.note,))
        tif.close()
        ome = OmePart(None, "Its OME-XML does not fit its pages, so that they are taken as they come.")
    notes = [] if ome.note is None else [ome.note]
    tif = tifffile.TiffFile(file.path, is_ome=False, **_ALONE)
    try:
        counted = correct_counts(tif, file, sizes)
        if counted is not None:
            notes.append(counted)
        series = _chosen(tif)
        if not _fits_pages(file, tif, series):
            announced = "×".join(map(str, series.shape))
            notes.append(
                f"The file announces a shape ({announced}) that its pages do not have; they are taken as they come."
            )
            tif.close()
            without: dict[str, Any] = {f"is_{series.kind}": False}
            tif = tifffile.TiffFile(file.path, is_ome=False, **_ALONE, **without)
            series = _chosen(tif)
    except BaseException:
        tif.close()
        raise
    return _OpenTiff(tif, sizes, series, None, tuple(notes))


def _chosen(tif: Any) -> Any:
    """The first series that is neither a preview nor a mask (NewSubfileType 1 and 4), where there is one."""
    series: list[Any] = tif.series
    return next((one for one in series if not int(one.keyframe.subfiletype) & _NO_IMAGE), series[0])


def _fits_pages(file: FileBytes, tif: Any, series: Any) -> bool:
    """Whether the pages hold as many planes as the series announces.

    Raises ImageError for a stack behind a single page directory that is cut.
    """
    if series.kind in ("generic", "uniform"):
        return True
    key = series.keyframe
    if series.dataoffset is None:
        try:
            held = len(list(series))
        except IndexError:
            # The series counts on pages that are not there.
            return False
        return bool(held * math.prod(key.shape) == math.prod(series.shape))
    if int(series.dataoffset) + math.prod(series.shape) * series.dtype.itemsize <= file.size:
        return True
    if len(tif.pages) == 1 and ends_within_stack(file, key):
        raise truncated(file)
    return False


def _check(name: str, file: FileBytes, series: Any) -> None:
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


def _image(file: FileBytes, opened: _OpenTiff) -> Image:
    series = opened.series
    shape = tuple(int(size) for size in series.shape)
    axes, source, names, remarks = _named_axes(series, shape)
    metadata = _metadata(file, opened, axes, shape)
    pages, leading, missing = _pages(file, opened, shape)
    read = page_reader(pages, leading)
    dtype: np.dtype[np.generic] = np.dtype(series.dtype)
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    if series.transform is not None:
        read = partial(_transformed, read, series.transform, dtype)
    photometric = _PHOTOMETRIC_NOTES.get(int(series.keyframe.photometric))
    notes = (*opened.notes, *_other_images(opened), *remarks, *metadata.notes, *missing, photometric)
    return Image(
        name=file.path.name,
        path=str(file.path),
        axes=axes,
        axes_source=source,
        shape=shape,
        dtype=dtype.newbyteorder("="),
        read=read,
        close=pages.close,
        pixel_size=only_present(metadata.pixel_size, axes),
        channel_names=fitting_names(names or metadata.channel_names, axes, shape),
        notes=tuple(note for note in notes if note is not None),
        piece=pages.piece,
    )


def _named_axes(series: Any, shape: tuple[int, ...]) -> tuple[str, AxesSource, tuple[str, ...], tuple[str, ...]]:
    """Our axes, where they come from, the channels' names where these make pages channels, and remarks."""
    axes, notes = named_axes(["?" if letter in "QI" else letter for letter in series.axes])
    if not any(letter == "?" and size > 1 for letter, size in zip(axes, shape, strict=True)):
        return axes, "file", (), notes
    pages = list(series)
    if axes.startswith("?") and len(pages) == shape[0] and (names := page_names(pages)):
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        note = f"The pages have names of their own ({shown}), so they are taken as channels."
        axes = "c" + axes[1:]
        return axes, "guess" if "?" in axes else "file", names, (*notes, note)
    return guess_axes(shape) if set(axes) <= set("?yx") else axes, "guess", (), notes


def _metadata(file: FileBytes, opened: _OpenTiff, axes: str, shape: tuple[int, ...]) -> Metadata:
    """Pixel sizes, channel names and remarks from whichever descriptions the file has."""
    tif, key = opened.tif, opened.series.keyframe
    colours = sample_names(key) if "s" in axes else ()
    if opened.ome is not None:
        found = describe_image(opened.ome, key.imagewidth, key.imagelength)
        return found if "c" in axes else replace(found, channel_names=colours or found.channel_names)
    if tif.imagej_metadata is not None:
        general = imagej_metadata(key, tif.imagej_metadata, axes, shape)
    else:
        shaped: Sequence[dict[str, Any]] = tif.shaped_metadata or ({},)
        general = text_metadata(key, shaped[0])
    own = dialect_metadata(tif, file)
    known = {axis: size for axis, size in own.pixel_size.items() if size is not None}
    return Metadata(
        {**general.pixel_size, **known}, own.channel_names or general.channel_names or colours, general.notes
    )


def _other_images(opened: _OpenTiff) -> tuple[str, ...]:
    """A remark on further images in the file; previews are none."""
    series = opened.tif.series
    others = [
        _label(one, number)
        for number, one in enumerate(series, 1)
        if one is not opened.series and not int(one.keyframe.subfiletype) & _NO_IMAGE
    ]
    if not others:
        return ()
    more = f" and {len(others) - 5} more" if len(others) > 5 else ""
    chosen = _label(opened.series, series.index(opened.series) + 1)
    return (
        f"The file holds {len(others) + 1} images; {chosen} was read, not {', '.join(others[:5])}{more}. "
        "To use another, save it as a file of its own.",
    )


def _label(series: Any, number: int) -> str:
    name = f" {series.name!r}" if series.name else ""
    return f"image {number}{name} ({series.axes} {'×'.join(map(str, series.shape))})"


def _pages(
    file: FileBytes, opened: _OpenTiff, shape: tuple[int, ...]
) -> tuple[Pages, tuple[int, ...], tuple[str, ...]]:
    """How to get at the pixels, the leading dimensions that count the pages, and remarks on what the file lacks."""
    series = opened.series
    key = series.keyframe
    stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    if series.dataoffset is not None:
        return PlainPages(file, (int(series.dataoffset),), shape, stored), (), ()
    split = _page_split(series, shape)
    leading, inner = shape[:split], shape[split:]
    frames = list(series)
    if len(frames) != math.prod(leading):
        raise damaged(file, f"it has {len(frames)} of the {math.prod(leading)} pages that its metadata announce")
    _check_sizes(file, frames, key, opened.sizes)
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


def _check_sizes(file: FileBytes, frames: Sequence[Any], key: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Raises ImageError where a page of the series is of another width or height than the first one."""
    expected = (int(key.imagewidth), int(key.imagelength))
    for frame in frames:
        index = None if frame is None else frame.index
        if isinstance(index, int) and index < len(sizes) and all(sizes[index]) and sizes[index] != expected:
            found, wanted = (f"{height}×{width}" for width, height in (sizes[index], expected))
            raise damaged(file, f"its page {index + 1} has {found} pixels, but {wanted} belong into the stack")


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
