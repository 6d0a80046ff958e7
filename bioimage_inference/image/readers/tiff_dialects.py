"""Metadata that microscopes and their programs write into TIFF beside the standard tags.

A dialect is a function from the opened file to :class:`~bioimage_inference.image.image.Metadata` and a line in
:data:`_DIALECTS`.
"""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..axes import SPACE, complete_names
from ..image import Metadata
from ..units import pixel_size
from .file_bytes import FileBytes

_PAGE_NAME = 285
_MOST_NAMED_PAGES = 256
_SUMMARY_BYTES = 4 << 20


def dialect_metadata(tif: Any, file: FileBytes) -> Metadata:
    """Return the metadata of the file's dialect, empty for none of the known ones; ``tif`` is tifffile's file."""
    for flag, read in _DIALECTS.items():
        if getattr(tif, flag):
            return read(tif, file)
    return Metadata()


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


def sample_names(page: Any) -> tuple[str, ...]:
    """Return names of the colours (axis ``s``) of a tifffile page, by its colour space and extra samples."""
    names = [*_COLOURS.get(int(page.photometric), ()), *(_ALPHA.get(int(kind), "") for kind in page.extrasamples)]
    if names[:2] == ["grey", ""] or len(names) != page.samplesperpixel:
        # Beside grey, samples other than transparency are channels of any kind.
        return ()
    return complete_names(names)


# Names by PhotometricInterpretation, and the values of ExtraSamples for transparency, from TIFF 6.0.
_COLOURS = {
    **dict.fromkeys((0, 1), ("grey",)),
    **dict.fromkeys((2, 6), ("red", "green", "blue")),
    5: ("cyan", "magenta", "yellow", "black"),
    8: ("L*", "a*", "b*"),
}
_ALPHA = {1: "alpha", 2: "alpha"}


def _micromanager(_tif: Any, file: FileBytes) -> Metadata:
    """Micro-Manager: the summary in front of the first page has µm along y, x and z, and names of channels."""
    import tifffile

    start = io.BytesIO(file.read(0, min(file.size, _SUMMARY_BYTES)))
    summary = tifffile.read_micromanager_metadata(start, {"Summary"}).get("Summary")
    if not isinstance(summary, dict):
        return Metadata()
    size = pixel_size("x", summary.get("PixelSize_um"), "µm")
    sizes = {
        "y": size,
        "x": size,
        "z": pixel_size("z", summary.get("z-step_um"), "µm"),
        "t": pixel_size("t", summary.get("Interval_ms"), "ms"),
    }
    names = summary.get("ChNames")
    return Metadata(sizes, complete_names([str(name) for name in names]) if isinstance(names, list) else ())


def _lsm(tif: Any, _file: FileBytes) -> Metadata:
    """Zeiss LSM: voxel sizes in metres, the interval in seconds, names of channels."""
    info = tif.lsm_metadata or {}
    sizes = {axis: _scaled(axis, info.get(f"VoxelSize{axis.upper()}"), 1e6, "µm") for axis in SPACE}
    names = (info.get("ChannelColors") or {}).get("ColorNames") or ()
    interval = pixel_size("t", info.get("TimeIntervall"), "s")  # spelled so by Zeiss
    return Metadata({**sizes, "t": interval}, complete_names([str(name) for name in names]))


def _stk(tif: Any, _file: FileBytes) -> Metadata:
    """MetaMorph STK: calibration along x and y; its unit ``u`` is µm."""
    info = tif.stk_metadata or {}
    unit = str(info.get("CalibrationUnits", "")).strip("\0 ")
    unit = "µm" if unit == "u" else unit
    return Metadata({axis: pixel_size(axis, info.get(f"{axis.upper()}Calibration"), unit) for axis in "yx"})


def _fei(tif: Any, _file: FileBytes) -> Metadata:
    """FEI and Thermo Fisher electron microscopes: the section Scan has metres per pixel."""
    scan = (tif.fei_metadata or {}).get("Scan") or {}
    sides = {"x": scan.get("PixelWidth"), "y": scan.get("PixelHeight")}
    return Metadata({axis: _scaled(axis, side, 1e9, "nm") for axis, side in sides.items()})


def _svs(tif: Any, _file: FileBytes) -> Metadata:
    """Aperio slides: ``MPP`` in the description is µm per pixel."""
    stated = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", tif.pages.first.description)
    size = pixel_size("x", stated and stated[1], "µm")
    return Metadata({"y": size, "x": size})


def _scaled(axis: str, value: object, factor: float, unit: str) -> Any:
    """Return the pixel size of ``value`` times ``factor``; None if it is no number."""
    return pixel_size(axis, value * factor, unit) if isinstance(value, int | float) else None


_DIALECTS: dict[str, Callable[[Any, FileBytes], Metadata]] = {
    "is_micromanager": _micromanager,
    "is_lsm": _lsm,
    "is_stk": _stk,
    "is_fei": _fei,
    "is_svs": _svs,
}
"""Flags of ``tifffile.TiffFile`` and the functions for them; the first flag that is set counts."""
