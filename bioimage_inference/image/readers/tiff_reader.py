"""Reader of TIFF in all its dialects: ImageJ, OME-TIFF, BigTIFF, tifffile's own, plain pages, tiled and compressed.

Undocumented parts of tifffile that this reader relies on, tested with version 2026.3.3 by
``tests/module/test_reading_dialects.py``: values assigned to ``TiffFile.imagej_metadata`` and ``is_imagej`` take effect
when ``series`` is first read, and ``is_mmstack`` and ``is_ndtiff`` are flags that its constructor accepts.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError, UsageError
from ..axes import UNKNOWN, fitting_names, guess_axes, named_axes, only_present
from ..image import AxesSource, Image, Metadata, PixelSize, Region, check_numeric, check_shape
from ..series import MAIN, Selection, Series, choose, note_on_series
from .file_bytes import FileBytes, check_plausible
from .imagej_text import correct_counts, imagej_metadata, text_metadata
from .ome_xml import OmePart, companion_tiffs, describe_image, metadata_file, own_part
from .tiff_dialects import dialect_metadata, page_names, sample_names
from .tiff_pages import (
    Pages,
    PlainPages,
    SegmentedPages,
    damaged,
    ends_within_stack,
    page_reader,
    page_sizes,
    truncated,
)

_FILE_RATIO = 100_000
# Bits of NewSubfileType: a reduced image, and a transparency mask.
_NO_IMAGE = 1 | 4
# Names that tifffile gives to the small pictures in slides, and Bio-Formats when it writes a slide as OME-TIFF.
_PREVIEWS = ("label image", "macro image", "thumbnail image", "overview image")
_SLIDE_PREVIEWS = ("label", "macro", "map", "thumbnail")
# tifffile's readers for Micro-Manager and NDTiff also open the files beside this one.
_ALONE: dict[str, Any] = {"is_mmstack": False, "is_ndtiff": False}
_PHOTOMETRIC_NOTES = {
    0: "The file shows 0 as white; its values are used as they are stored, not inverted.",
    3: "The file has a colour table (as ImageJ's lookup tables); its stored values are used, not the colours.",
    5: "The colours are stored as cyan, magenta, yellow and black; they are used as they are stored.",
    8: "The colours are stored as CIE L*a*b*; they are used as they are stored.",
}


def open_tiff(path: Path, selection: Selection = MAIN) -> Image:
    """Open an image (series) of a TIFF file, by default the first one that is no preview; notes name the others.

    Raises ImageError for truncated and damaged files, and for numbers other than integers, booleans and reals, and
    UsageError if there is no such series or level.
    """
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        opened = _open_tifffile(file, page_sizes(file), selection)
        with closing(opened.tif):
            _check(path.name, file, opened.series)
            image = _image(file, opened, selection.level)
        stack.pop_all()
        return image


def tiff_series(path: Path) -> tuple[Series, ...]:
    """Return the images of a TIFF file. Raises ImageError for truncated and damaged files."""
    with closing(FileBytes(path)) as file:
        opened = _open_tifffile(file, page_sizes(file), MAIN)
        with closing(opened.tif):
            return _listed(opened.tif)


def open_companion(path: Path, selection: Selection = MAIN) -> Image:
    """Open the first TIFF that an OME companion file describes. Raises ImageError if none is in its folder."""
    files = companion_tiffs(path)
    if not files:
        raise ImageError(
            f"{path.name} is OME-XML that describes an image kept in other files, none of which is beside it. "
            "Give the OME-TIFF file itself."
        )
    image = open_tiff(files[0], selection)
    if len(files) == 1:
        return image
    others = ", ".join(file.name for file in files[1:6]) + (", ..." if len(files) > 6 else "")
    note = f"{path.name} describes {len(files)} files; {image.name} was read, not {others}. Give these one by one."
    return replace(image, notes=(note, *image.notes))


def companion_series(path: Path) -> tuple[Series, ...]:
    """Return the images of the TIFF that :func:`open_companion` opens, none if there is no TIFF."""
    return tuple(series for file in companion_tiffs(path)[:1] for series in tiff_series(file))


def companion_of(path: Path) -> list[Path]:
    """Return the companion file with the OME-XML of a TIFF, if there is one. Raises ImageError for damaged files."""
    import tifffile

    with closing(FileBytes(path)) as file:
        page_sizes(file)  # tifffile trusts any size
    with tifffile.TiffFile(path, **_ALONE) as tif:
        companion = metadata_file(tif.ome_metadata or "", path) if tif.is_ome else None
    return [] if companion is None else [companion]


@dataclass(frozen=True)
class _OpenTiff:
    """A file opened by tifffile, width and height of its pages, the series to read, and notes.

    ``series`` is in full resolution. ``ome`` is the OME-XML that was used, if any.
    """

    tif: Any
    sizes: tuple[tuple[int, int], ...]
    series: Any
    ome: str | None
    notes: tuple[str, ...]


def _open_tifffile(file: FileBytes, sizes: tuple[tuple[int, int], ...], selection: Selection) -> _OpenTiff:
    """Open the file with the metadata that fit its pages: OME-XML, else another dialect, else none."""
    import tifffile

    ome = OmePart(None)
    with tifffile.TiffFile(file.path, **_ALONE) as tif:
        if tif.is_ome:
            ome = own_part(tif.ome_metadata or "", file.path, len(sizes))
    if ome.xml is not None:
        tif = tifffile.TiffFile(file.path, omexml=ome.xml, **_ALONE)
        try:
            usable = tif.series[0].kind == "ome"
        except Exception:
            # A malformed description can raise any exception in tifffile. The pages may be sound all the same.
            usable = False
        if usable:
            series = _chosen(tif, file, selection)
            return _OpenTiff(tif, sizes, series, ome.xml, () if ome.note is None else (ome.note,))
        tif.close()
        ome = OmePart(None, "Its OME-XML does not fit its pages, so they are taken as they come.")
    tif = tifffile.TiffFile(file.path, is_ome=False, **_ALONE)
    try:
        notes = [ome.note, correct_counts(tif, file, sizes)]
        series = _chosen(tif, file, selection)
        if not _fits_pages(file, tif, series):
            announced = "×".join(map(str, series.shape))
            notes.append(
                f"The file announces a shape ({announced}) that its pages do not have; they are taken as they come."
            )
            tif.close()
            without: dict[str, Any] = {f"is_{series.kind}": False}
            tif = tifffile.TiffFile(file.path, is_ome=False, **_ALONE, **without)
            series = _chosen(tif, file, selection)
    except BaseException:
        tif.close()
        raise
    return _OpenTiff(tif, sizes, series, None, tuple(note for note in notes if note is not None))


def _chosen(tif: Any, file: FileBytes, selection: Selection) -> Any:
    """Return tifffile's series for the selected image. Raises UsageError if there is none, and closes the file."""
    try:
        return tif.series[choose(file.path.name, _listed(tif), selection).number]
    except UsageError:
        tif.close()
        raise


def _listed(tif: Any) -> tuple[Series, ...]:
    return tuple(
        Series(
            number,
            name=str(one.name),
            axes="".join(UNKNOWN if letter in "QI" else letter.lower() for letter in one.axes),
            shape=_shape(one),
            levels=tuple(map(_shape, one.levels)) if len(one.levels) > 1 else (),
            preview=_is_preview(one),
        )
        for number, one in enumerate(tif.series)
    )


def _shape(series: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in series.shape)


def _is_preview(series: Any) -> bool:
    name = str(series.name).lower()
    named = name in _PREVIEWS or (series.kind != "ome" and name in _SLIDE_PREVIEWS)
    return named or bool(int(series.keyframe.subfiletype) & _NO_IMAGE)


def _fits_pages(file: FileBytes, tif: Any, series: Any) -> bool:
    """Return whether the pages hold as many planes as the series announces.

    Raises ImageError for a truncated stack behind a single page directory.
    """
    if series.kind in ("generic", "uniform"):
        return True
    key = series.keyframe
    if series.dataoffset is None:
        try:
            pages = len(list(series))
        except IndexError:
            # The series counts pages that do not exist.
            return False
        return bool(pages * math.prod(key.shape) == math.prod(series.shape))
    if int(series.dataoffset) + math.prod(series.shape) * series.dtype.itemsize <= file.size:
        return True
    if len(tif.pages) == 1 and ends_within_stack(file, key):
        raise truncated(file)
    return False


def _check(name: str, file: FileBytes, series: Any) -> None:
    """Raise ImageError for numbers that cannot be read, and for an image larger than its file can hold."""
    key = series.keyframe
    if key.dtype is None or not isinstance(key.bitspersample, int):
        raise ImageError(
            f"{name} stores its pixels as numbers of {key.bitspersample} bits (sample format {key.sampleformat!s}), "
            "which cannot be read. Export it with 8, 16 or 32 bits per channel."
        )
    check_numeric(name, series.dtype)
    check_shape(name, series.shape)
    check_plausible(name, math.prod(series.shape) * series.dtype.itemsize, file.size, _FILE_RATIO)


def _image(file: FileBytes, opened: _OpenTiff, level: int) -> Image:
    full, series = opened.series, opened.series.levels[level]
    shape = _shape(series)
    axes, source, names, remarks = _named_axes(series, shape)
    metadata = _metadata(file, opened, axes, _shape(full))
    pages, leading, missing = _pages(file, series, opened.sizes, shape)
    stored = page_reader(pages, leading)
    dtype: np.dtype[np.generic] = np.dtype(series.dtype)
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")

    def transformed(region: Region) -> Array:
        return np.asarray(series.transform(stored(region)).astype(dtype))

    photometric = _PHOTOMETRIC_NOTES.get(int(series.keyframe.photometric))
    listed = _listed(opened.tif)
    chosen = listed[next(number for number, one in enumerate(opened.tif.series) if one is full)]
    others = note_on_series(file.path.name, listed, chosen)
    notes = (*opened.notes, *others, *remarks, *metadata.notes, *missing, photometric)
    return Image(
        name=file.path.name,
        path=str(file.path),
        axes=axes,
        axes_source=source,
        shape=shape,
        dtype=dtype,
        read=stored if series.transform is None else transformed,
        close=pages.close,
        pixel_size=only_present(_at_level(metadata.pixel_size, axes, _shape(full), shape), axes),
        channel_names=fitting_names(names or metadata.channel_names, axes, shape),
        notes=tuple(note for note in notes if note is not None),
        piece=pages.piece,
        series=chosen if len(listed) > 1 or chosen.levels else None,
        level=level,
    )


def _at_level(
    sizes: Mapping[str, PixelSize | None], axes: str, full: tuple[int, ...], shape: tuple[int, ...]
) -> dict[str, PixelSize | None]:
    """Return the pixel sizes of a level of the pyramid with this shape, from those of the full resolution."""
    scales = {letter: part / whole for letter, part, whole in zip(axes, shape, full, strict=True)}
    return {letter: size and size.resampled(scales.get(letter, 1.0)) for letter, size in sizes.items()}


def _named_axes(series: Any, shape: tuple[int, ...]) -> tuple[str, AxesSource, tuple[str, ...], tuple[str, ...]]:
    """Return axes, their source, channel names if page names make the pages channels, and notes."""
    # tifffile writes Q for unknown axes, and I for pages in sequence.
    axes, notes = named_axes([UNKNOWN if letter in "QI" else letter for letter in series.axes])
    if not any(letter == UNKNOWN and size > 1 for letter, size in zip(axes, shape, strict=True)):
        return axes, "file", (), notes
    pages = list(series)
    if axes.startswith(UNKNOWN) and len(pages) == shape[0] and (names := page_names(pages)):
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        note = f"The pages have names of their own ({shown}), so they are taken as channels."
        axes = "c" + axes[1:]
        return axes, "guess" if UNKNOWN in axes else "file", names, (*notes, note)
    return guess_axes(shape) if set(axes) <= set("?yx") else axes, "guess", (), notes


def _metadata(file: FileBytes, opened: _OpenTiff, axes: str, shape: tuple[int, ...]) -> Metadata:
    """Return pixel sizes, channel names and notes from the descriptions in the file."""
    tif, key = opened.tif, opened.series.keyframe
    colours = sample_names(key) if "s" in axes else ()
    if opened.ome is not None:
        number = next(number for number, one in enumerate(tif.series) if one is opened.series)
        found = describe_image(opened.ome, number, len(tif.series), key.imagewidth, key.imagelength)
        return found if "c" in axes else replace(found, channel_names=colours or found.channel_names)
    if tif.imagej_metadata is not None:
        general = imagej_metadata(key, tif.imagej_metadata, axes, shape)
    else:
        shaped: Sequence[dict[str, Any]] = tif.shaped_metadata or ({},)
        general = text_metadata(key, shaped[0])
    own = dialect_metadata(tif, file)
    known = {axis: size for axis, size in own.pixel_size.items() if size is not None}
    return Metadata(
        {**general.pixel_size, **known},
        own.channel_names or general.channel_names or colours,
        (*general.notes, *own.notes),
    )


def _pages(
    file: FileBytes, series: Any, sizes: Sequence[tuple[int, int]], shape: tuple[int, ...]
) -> tuple[Pages, tuple[int, ...], tuple[str, ...]]:
    """Return access to the pixels, the leading dimensions that count the pages, and notes on missing pixels."""
    key = series.keyframe
    stored = np.dtype(key.dtype).newbyteorder(key.parent.byteorder)
    if series.dataoffset is not None:
        return PlainPages(file, (int(series.dataoffset),), shape, stored), (), ()
    split = _page_split(series, shape)
    leading, inner = shape[:split], shape[split:]
    frames = list(series)
    if len(frames) != math.prod(leading):
        raise damaged(file, f"it has {len(frames)} of the {math.prod(leading)} pages that its metadata announce")
    _check_sizes(file, frames, key, sizes)
    if key.is_final and all(frame is not None and _is_contiguous(frame, key) for frame in frames):
        offsets = tuple(int(frame.dataoffsets[0]) for frame in frames)
        return PlainPages(file, offsets, inner, stored), leading, ()
    dtype = np.dtype(np.uint8 if stored.kind == "b" else stored.newbyteorder("="))
    return SegmentedPages(file, frames, key, inner, dtype), leading, _missing(frames)


def _page_split(series: Any, shape: tuple[int, ...]) -> int:
    """Return the number of leading dimensions of ``shape`` that count pages; the others are those of one page."""
    page = [size for size in series.keyframe.shape if size != 1]
    for split in range(len(shape) + 1):
        if [size for size in shape[split:] if size != 1] == page:
            return split
    raise ImageError(
        f"The pages of this TIFF are {'×'.join(map(str, series.keyframe.shape))} pixels, which does not fit the shape "
        f"{'×'.join(map(str, shape))} that its metadata announce. Export the image again."
    )


def _is_contiguous(frame: Any, key: Any) -> bool:
    """Return whether the strips of this page follow each other; tifffile checks only those of the first page."""
    ends = [begin + count for begin, count in zip(frame.dataoffsets, key.databytecounts, strict=False)]
    return len(frame.dataoffsets) == 1 or ends[:-1] == list(frame.dataoffsets[1:])


def _check_sizes(file: FileBytes, frames: Sequence[Any], key: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Raise ImageError if a page of the series has another width or height than the first one."""
    expected = (int(key.imagewidth), int(key.imagelength))
    for frame in frames:
        place = () if frame is None else frame.treeindex  # a page of a pyramid's level has two numbers
        index = place[0] if len(place) == 1 else None
        if isinstance(index, int) and index < len(sizes) and all(sizes[index]) and sizes[index] != expected:
            found, right = (f"{height}×{width}" for width, height in (sizes[index], expected))
            raise damaged(file, f"its page {index + 1} has {found} pixels, but {right} belong into the stack")


def _missing(frames: Sequence[Any]) -> tuple[str, ...]:
    """Return notes on pages, and on strips or tiles, that were never written."""
    notes = []
    present = [frame.databytecounts for frame in frames if frame is not None]
    if lacking := len(frames) - len(present):
        notes.append(f"The file lacks {lacking} of the {len(frames)} planes that it announces; they are read as zeros.")
    if empty := sum(counts.count(0) for counts in present):
        total = sum(map(len, present))
        notes.append(f"The file leaves {empty} of its {total} strips or tiles empty; they are read as its fill value.")
    return tuple(notes)
