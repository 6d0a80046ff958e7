"""Reader of TIFF in all its dialects: ImageJ, OME-TIFF, BigTIFF, tifffile's own, plain pages, tiled and compressed.

Undocumented parts of tifffile that this reader relies on, tested with version 2026.3.3 by
``tests/module/test_reading_dialects.py``: values assigned to ``TiffFile.imagej_metadata`` and ``is_imagej`` take effect
when ``series`` is first read, and its constructor accepts the flags ``is_mmstack``, ``is_ndtiff`` and ``is_scanimage``.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import ImageError, UsageError
from ..axes import UNKNOWN, fitting_names, guess_axes, named_axes, only_present
from ..image import AxesSource, Image, Metadata, PixelSize, Region, check_numeric, check_shape
from ..series import MAIN, Selection, Series, choose, note_on_series
from .dialect_facts import DialectFacts
from .file_bytes import FILE_RATIO, FileBytes, check_plausible
from .imagej_text import correct_counts, imagej_metadata, text_metadata
from .ome_set import OmePart, companion_tiffs, ome_part
from .ome_xml import describe_image
from .tiff_dialects import colour_space, dialect_facts, in_plane_order, page_names, sample_names
from .tiff_layout import series_pages
from .tiff_pages import (
    ALONE,
    PageTags,
    ends_within_stack,
    page_reader,
    page_tags,
    truncated,
)

# Bits of NewSubfileType: a reduced image, and a transparency mask.
_NO_IMAGE = 1 | 4
# Names that tifffile gives to the small pictures in slides, and Bio-Formats when it writes a slide as OME-TIFF.
_PREVIEWS = ("label image", "macro image", "thumbnail image", "overview image")
_SLIDE_PREVIEWS = ("label", "macro", "map", "thumbnail")
_PHOTOMETRIC_NOTES = {
    0: "The file shows 0 as white; its values are used as they are stored, not inverted.",
    3: "The file has a colour table (as ImageJ's lookup tables); its stored values are used, not the colours.",
    5: "The colours are stored as cyan, magenta, yellow and black; they are used as they are stored.",
    6: "The colours are stored as YCbCr (luma and two chroma channels); they are used as they are stored.",
    8: "The colours are stored as CIE L*a*b*; they are used as they are stored.",
    32803: "The file holds raw camera data (one colour of a mosaic per pixel); its values are used as they are stored.",
}


def open_tiff(path: Path, selection: Selection = MAIN, companion: Path | None = None) -> Image:
    """Open an image (series) of a TIFF file, by default the first one that is no preview; notes name the others.

    ``companion`` is a file with the OME-XML of the TIFF file and of the files beside it.

    Raises ImageError for truncated and damaged files, and for numbers other than integers, booleans and reals, and
    UsageError if there is no such series or level.
    """
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        opened = _open_tifffile(file, page_tags(file), selection, companion)
        with closing(opened.tif):
            opened = _with_dialect(file, opened)
            _check(path.name, file, opened)
            image = _image(file, opened, selection.level)
        stack.pop_all()
        return image


def tiff_series(path: Path, companion: Path | None = None) -> tuple[Series, ...]:
    """Return the images of a TIFF file. Raises ImageError for truncated and damaged files."""
    with closing(FileBytes(path)) as file:
        opened = _open_tifffile(file, page_tags(file), MAIN, companion)
        with closing(opened.tif):
            return _listed(opened.tif)


def open_companion(path: Path, selection: Selection = MAIN) -> Image:
    """Open the image that an OME companion file describes. Raises ImageError if none of its files is in its folder."""
    files = companion_tiffs(path)
    if not files:
        raise ImageError(
            f"{path.name} is OME-XML that describes an image kept in other files, none of which is beside it. "
            "Give the OME-TIFF file itself."
        )
    image = open_tiff(files[0], selection, path)
    return replace(
        image, name=path.name, path=str(path), members=(files[0], *(one for one in image.members if one != path))
    )


def companion_series(path: Path) -> tuple[Series, ...]:
    """Return the images that a companion file describes, none if none of its files is beside it."""
    return tuple(series for file in companion_tiffs(path)[:1] for series in tiff_series(file, path))


def files_of_set(path: Path) -> list[Path]:
    """Return the files beside a TIFF file that its OME-XML names: a companion file, and the other files of an image.

    Raises ImageError for damaged files, and for sets that lack files.
    """
    return _ome_part(path, None).files


def files_of_companion(path: Path) -> list[Path]:
    """Return the TIFF files that a companion file describes. Raises ImageError for damaged and incomplete sets."""
    files = companion_tiffs(path)[:1]
    return [*files, *(member for file in files for member in _ome_part(file, path).members)]


def _ome_part(path: Path, companion: Path | None) -> OmePart:
    import tifffile

    with closing(FileBytes(path)) as file:
        page_tags(file)  # tifffile trusts any chain of pages
    with tifffile.TiffFile(path, **ALONE) as tif:
        return ome_part(tif, path, companion)


@dataclass(frozen=True)
class _OpenTiff:
    """A file opened by tifffile, the layouts of its pages, the series to read, and notes.

    ``series`` is in full resolution. ``ome`` is the OME-XML that was used, if any. ``members`` are the layouts of the
    pages of other files of its set, and ``beside`` are these files and the companion file. ``counts`` is a note on
    counts of ImageJ that contradict the pages.
    """

    tif: Any
    tags: Mapping[int, PageTags]
    series: Any
    ome: str | None
    notes: tuple[str, ...]
    members: Mapping[Path, Mapping[int, PageTags]] = field(default_factory=lambda: MappingProxyType({}))
    beside: tuple[Path, ...] = ()
    counts: str | None = None
    facts: DialectFacts = field(default_factory=DialectFacts)


def _open_tifffile(
    file: FileBytes, tags: Mapping[int, PageTags], selection: Selection, companion: Path | None
) -> _OpenTiff:
    """Open the file with the metadata that fit its pages: OME-XML, else another dialect, else none."""
    import tifffile

    with tifffile.TiffFile(file.path, **ALONE) as tif:
        ome = ome_part(tif, file.path, companion)
    if ome.xml is not None:
        tif = tifffile.TiffFile(file.path, omexml=ome.xml, **ALONE)
        try:
            usable = tif.series[0].kind == "ome"
        except Exception:
            # A malformed description can raise any exception in tifffile. The pages may be sound all the same.
            usable = False
        if usable:
            series = _chosen(tif, file, tags, selection)
            return _OpenTiff(
                tif, tags, series, ome.xml, () if ome.note is None else (ome.note,), ome.members, tuple(ome.files)
            )
        tif.close()
        ome = OmePart(None, "Its OME-XML does not fit its pages, so they are taken as they come.")
    tif = tifffile.TiffFile(file.path, is_ome=False, **ALONE)
    try:
        notes, counts = [ome.note], correct_counts(tif, file, tags.values())
        series = _chosen(tif, file, tags, selection)
        if not _fits_pages(file, tif, series):
            announced = "×".join(map(str, series.shape))
            notes.append(
                f"The file announces a shape ({announced}) that its pages do not have; they are taken as they come."
            )
            tif.close()
            without: dict[str, Any] = {f"is_{series.kind}": False}
            tif = tifffile.TiffFile(file.path, is_ome=False, **ALONE, **without)
            series = _chosen(tif, file, tags, selection)
    except BaseException:
        tif.close()
        raise
    return _OpenTiff(tif, tags, series, None, tuple(note for note in notes if note is not None), counts=counts)


def _with_dialect(file: FileBytes, opened: _OpenTiff) -> _OpenTiff:
    """Return the file with the facts of its dialect, and the series with the axes that the dialect states.

    OME-XML states everything itself.
    """
    if opened.ome is not None:
        return opened
    facts = dialect_facts(opened.tif, opened.series, file)
    series = in_plane_order(opened.series, facts)
    if series is opened.series:
        counts = () if opened.counts is None else (opened.counts,)
        return replace(opened, facts=facts, notes=(*opened.notes, *counts))
    every: list[Any] = opened.tif.series
    every[every.index(opened.series)] = series
    return replace(opened, facts=facts, series=series)


def _chosen(tif: Any, file: FileBytes, tags: Mapping[int, PageTags], selection: Selection) -> Any:
    """Return tifffile's series for the selected image; on an error, the file is closed.

    Raises UsageError if there is none, and ImageError for pages that tifffile does not join to a stack.
    """
    try:
        return tif.series[choose(file.path.name, _listed(tif), selection).number]
    except UsageError:
        tif.close()
        raise
    except RuntimeError as error:  # tifffile's "incompatible keyframe": another number of strips or tiles
        tif.close()
        first, *others = tags.values()
        other = next((number for number, layout in enumerate(others, 2) if layout != first), None)
        if other is None:
            raise
        raise ImageError(
            f"{file.path.name} stores its page {other} in other strips or tiles than its first page, which cannot be "
            "read as a stack. Open it in Fiji and save it again as TIFF."
        ) from error


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
    if not series.dataoffset:  # 0 for a page that was never written
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


def _check(name: str, file: FileBytes, opened: _OpenTiff) -> None:
    """Raise ImageError for numbers that cannot be read, and for an image larger than its files can hold."""
    series, key = opened.series, opened.series.keyframe
    if key.dtype is None or not isinstance(key.bitspersample, int):
        raise ImageError(
            f"{name} stores its pixels as numbers of {key.bitspersample} bits (sample format {key.sampleformat!s}), "
            "which cannot be read. Export it with 8, 16 or 32 bits per channel."
        )
    check_numeric(name, series.dtype)
    check_shape(name, series.shape)
    stored = file.size + sum(member.stat().st_size for member in opened.members)
    check_plausible(name, math.prod(series.shape) * series.dtype.itemsize, stored, FILE_RATIO)


def _image(file: FileBytes, opened: _OpenTiff, level: int) -> Image:
    full, series = opened.series, opened.series.levels[level]
    shape = _shape(series)
    axes, source, names, remarks = _named_axes(series, shape)
    metadata = _metadata(opened, axes, _shape(full))
    tags = {file.path: opened.tags, **opened.members}
    pages, leading, missing = series_pages(file, series, tags, shape)
    stored = page_reader(pages, leading)
    dtype: np.dtype[np.generic] = np.dtype(series.dtype)
    dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")

    def transformed(region: Region) -> Array:
        return np.asarray(series.transform(stored(region)).astype(dtype))

    photometric = _PHOTOMETRIC_NOTES.get(colour_space(series.keyframe))
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
        members=opened.beside,
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


def _metadata(opened: _OpenTiff, axes: str, shape: tuple[int, ...]) -> Metadata:
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
        shaped = (one for one in tif.series if one.kind == "shaped")
        texts = zip(shaped, tif.shaped_metadata or (), strict=False)
        general = text_metadata(key, next((text for one, text in texts if one is opened.series), {}))
    own = opened.facts
    known = {axis: size for axis, size in own.pixel_size.items() if size is not None}
    return Metadata(
        {**general.pixel_size, **known},
        own.channel_names or general.channel_names or colours,
        (*general.notes, *own.notes),
    )
