"""What microscopes and their programs write into TIFF beside the standard tags; each dialect is a small function."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..image import Metadata
from ..units import pixel_size
from .file_bytes import FileBytes
from .ome_xml import complete_names

_PAGE_NAME = 285
_MOST_NAMED_PAGES = 256
_SUMMARY_BYTES = 4 << 20


def dialect_metadata(tif: Any, file: FileBytes) -> Metadata:
    """What the dialect of the file says, nothing where it is none of those known here; ``tif`` is tifffile's file."""
    if tif.is_micromanager:
        return _micromanager(file)
    for known, read in _DIALECTS.items():
        if getattr(tif, known):
            return read(tif)
    return Metadata()


def page_names(pages: Sequence[Any]) -> tuple[str, ...]:
    """The names of pages (tag PageName) that are those of channels: all different, and more than numbers.

    Names such as ``slice 1``, ``slice 2`` count pages; nothing is returned for them.
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
    """Names of the samples of a pixel (axis ``s``) of a tifffile page, by its colour space and its extra samples."""
    names = [*_COLOURS.get(int(page.photometric), ()), *(_ALPHA.get(int(kind), "") for kind in page.extrasamples)]
    if names[:2] == ["grey", ""] or len(names) != page.samplesperpixel:
        # Beside grey, samples that are no transparency are channels of any kind.
        return ()
    return complete_names(names)


# Names of samples by PhotometricInterpretation, and what ExtraSamples call transparency, in TIFF 6.0.
_COLOURS = {
    **dict.fromkeys((0, 1), ("grey",)),
    **dict.fromkeys((2, 6), ("red", "green", "blue")),
    5: ("cyan", "magenta", "yellow", "black"),
    8: ("L*", "a*", "b*"),
}
_ALPHA = {1: "alpha", 2: "alpha"}


def _micromanager(file: FileBytes) -> Metadata:
    """The summary in front of the first page of a Micro-Manager stack: µm along y, x and z, names of channels."""
    import tifffile

    start = io.BytesIO(file.read(0, min(file.size, _SUMMARY_BYTES)))
    summary = tifffile.tifffile.read_micromanager_metadata(start, {"Summary"}).get("Summary")
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


def _lsm(tif: Any) -> Metadata:
    """Zeiss LSM: voxel sizes in metres, the interval in seconds, names of channels."""
    info = tif.lsm_metadata or {}
    sizes = {axis: _scaled(axis, info.get(f"VoxelSize{axis.upper()}"), 1e6, "µm") for axis in "zyx"}
    names = (info.get("ChannelColors") or {}).get("ColorNames") or ()
    interval = pixel_size("t", info.get("TimeIntervall"), "s")
    return Metadata({**sizes, "t": interval}, complete_names([str(name) for name in names]))


def _stk(tif: Any) -> Metadata:
    """MetaMorph STK: calibration along x and y; its unit ``u`` is µm."""
    info = tif.stk_metadata or {}
    unit = str(info.get("CalibrationUnits", "")).strip("\0 ")
    unit = "µm" if unit == "u" else unit
    return Metadata({axis: pixel_size(axis, info.get(f"{axis.upper()}Calibration"), unit) for axis in "yx"})


def _fei(tif: Any) -> Metadata:
    """FEI and Thermo Fisher electron microscopes: the section Scan has metres per pixel."""
    scan = (tif.fei_metadata or {}).get("Scan") or {}
    sides = {"x": scan.get("PixelWidth"), "y": scan.get("PixelHeight")}
    return Metadata({axis: _scaled(axis, side, 1e9, "nm") for axis, side in sides.items()})


def _svs(tif: Any) -> Metadata:
    """Aperio slides: ``MPP`` in the description is µm per pixel."""
    stated = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", tif.pages.first.description)
    size = pixel_size("x", stated and stated[1], "µm")
    return Metadata({"y": size, "x": size})


def _scaled(axis: str, value: object, factor: float, unit: str) -> Any:
    """The pixel size of ``value`` times ``factor``; None where it is no number."""
    return pixel_size(axis, value * factor, unit) if isinstance(value, int | float) else None


_DIALECTS: dict[str, Callable[[Any], Metadata]] = {"is_lsm": _lsm, "is_stk": _stk, "is_fei": _fei, "is_svs": _svs}
