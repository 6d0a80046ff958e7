"""Dialects of TIFF: the table of what microscopes and their programs write beside the standard tags, and page names.

A dialect is a function from :class:`~bioimage_inference.image.readers.dialect_facts.DialectSource` to
:class:`~bioimage_inference.image.readers.dialect_facts.DialectFacts` and a line in :data:`_DIALECTS`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..axes import complete_names
from .confocal_dialects import fluoview, lsm, metaseries, sis, stk
from .dialect_facts import DialectFacts, DialectSource
from .electron_dialects import fei, gatan, is_gatan, tvips, zeiss_sem
from .file_bytes import FileBytes
from .micromanager_dialect import micromanager
from .scanimage_dialect import scanimage
from .slide_dialects import ndpi, philips, qptiff, scn, svs
from .tiff_pages import JPEG_COMPRESSIONS

_PAGE_NAME = 285
_MOST_NAMED_PAGES = 256
# Values of PhotometricInterpretation.
_RGB, _YCBCR = 2, 6


def _flag(name: str) -> Callable[[DialectSource], bool]:
    return lambda source: bool(getattr(source.tif, f"is_{name}"))


_DIALECTS: tuple[tuple[str, Callable[[DialectSource], bool], Callable[[DialectSource], DialectFacts]], ...] = (
    ("Micro-Manager", _flag("micromanager"), micromanager),
    ("Zeiss LSM", _flag("lsm"), lsm),
    ("MetaMorph", _flag("stk"), stk),
    ("MetaSeries", _flag("metaseries"), metaseries),
    ("FluoView", _flag("fluoview"), fluoview),
    ("Olympus SIS", _flag("sis"), sis),
    ("ScanImage", lambda source: bool(source.tif.pages.first.is_scanimage), scanimage),
    ("FEI", _flag("fei"), fei),
    ("Zeiss SEM", _flag("sem"), zeiss_sem),
    ("TVIPS", _flag("tvips"), tvips),
    ("Aperio", _flag("svs"), svs),
    ("QPTIFF", _flag("qpi"), qptiff),
    ("NDPI", _flag("ndpi"), ndpi),
    ("Philips", _flag("philips"), philips),
    ("Leica SCN", _flag("scn"), scn),
    ("Gatan", lambda source: is_gatan(source.key), gatan),
)
"""Names, tests and functions of the dialects; the first one whose test is true counts."""


def dialect_facts(tif: Any, series: Any, file: FileBytes) -> DialectFacts:
    """Return the facts of the file's dialect on a series, empty for none of the known dialects.

    ``tif`` and ``series`` are tifffile's. Damaged metadata lead to a note.
    """
    planes = math.prod(series.shape) // max(math.prod(series.keyframe.shape), 1)
    source = DialectSource(tif, series, file, _frames(series), planes)
    for name, applies, read in _DIALECTS:
        if applies(source):
            try:
                return read(source)
            except Exception:  # damaged metadata can raise any exception in tifffile
                return DialectFacts(notes=(f"Its {name} metadata are damaged, so they are not used.",))
    return DialectFacts()


def in_plane_order(series: Any, facts: DialectFacts) -> Any:
    """Return tifffile's series with the axes and the order of pages that its dialect states; as it is without them."""
    import tifffile

    planes, key, frames = facts.planes, series.keyframe, _frames(series)
    if planes is None or len(series.levels) > 1:
        return series
    present = [page for page in planes.pages if page is not None]
    if math.prod(series.shape) != len(present) * math.prod(key.shape):
        return series
    pages: list[Any] = list(frames)
    if len(frames) == len(present):
        pages = [None if page is None else frames[page] for page in planes.pages]
    elif list(planes.pages) != list(range(len(present))):
        return series
    return tifffile.TiffPageSeries(
        pages,
        (*planes.counts, *key.shape),
        series.dtype,
        planes.axes.upper().replace("?", "Q") + key.axes,
        parent=series.parent,
        name=series.name,
        kind=series.kind,
        truncated=series.is_truncated,
    )


def _frames(series: Any) -> tuple[Any, ...]:
    """Return the pages of a series; only the first one if planes follow each other behind a single page."""
    single = series.dataoffset is not None and not series.parent.pages.is_multipage
    return (series.keyframe,) if single else tuple(frame for frame in series if frame is not None)


def page_names(pages: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of pages (tag PageName) if they are names of channels: all different, and more than numbers.

    Names such as ``slice 1``, ``slice 2`` count pages, so the result is empty for them.
    """
    if not 1 < len(pages) <= _MOST_NAMED_PAGES:
        return ()
    names: list[str] = []
    for page in pages:
        name = page.aspage().tags.valueof(_PAGE_NAME)
        if not isinstance(name, str) or not name.strip():
            return ()
        names.append(name.strip())
    words = {"".join(letter for letter in name if not letter.isdecimal()) for name in names}
    return tuple(names) if len(set(names)) == len(names) and len(words) > 1 else ()


def colour_space(page: Any) -> int:
    """Return the PhotometricInterpretation of a tifffile page after decoding: RGB for YCbCr in JPEG."""
    stored = int(page.photometric)
    # tifffile decodes separate samples as grey, without a conversion.
    is_converted = page.compression in JPEG_COMPRESSIONS and page.planarconfig == 1
    return _RGB if stored == _YCBCR and is_converted else stored


def sample_names(page: Any) -> tuple[str, ...]:
    """Return names of the colours (axis ``s``) of a tifffile page, by its colour space and extra samples."""
    names = [*_COLOURS.get(colour_space(page), ()), *(_ALPHA.get(int(kind), "") for kind in page.extrasamples)]
    if names[:2] == ["grey", ""] or len(names) != page.samplesperpixel:
        # Beside grey, samples other than transparency are channels of any kind.
        return ()
    return complete_names(names)


# Names by PhotometricInterpretation, and the values of ExtraSamples for transparency, from TIFF 6.0.
_COLOURS = {
    **dict.fromkeys((0, 1), ("grey",)),
    _RGB: ("red", "green", "blue"),
    5: ("cyan", "magenta", "yellow", "black"),
    _YCBCR: ("Y", "Cb", "Cr"),
    8: ("L*", "a*", "b*"),
}
_ALPHA = {1: "alpha", 2: "alpha"}
