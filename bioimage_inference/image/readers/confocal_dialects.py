"""Dialects of light microscopes: MetaMorph STK, MetaSeries (ImageXpress), Zeiss LSM, Olympus FluoView and SIS."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..axes import SPACE, complete_names
from ..image import PixelSize
from .dialect_facts import DialectFacts, DialectSource, PlaneOrder, even_step, plane_order, ranks, size_of
from .ome_xml import parse_xml

# Pages of which the XML is compared; a file of more pages of MetaSeries is not known.
_MOST_PAGES = 4096
# Names of FluoView's dimensions, in lower case, and our axes.
_FLUOVIEW_AXES = {"x": "x", "y": "y", "z": "z", "t": "t", "time": "t"}


def stk(source: DialectSource) -> DialectFacts:
    """Return the facts of a MetaMorph stack (UIC tags): calibration, distance of planes, times, wavelengths."""
    info = source.tif.stk_metadata or {}
    planes = int(info.get("NumberPlanes", 1))
    unit = str(info.get("CalibrationUnits", "")).strip("\0 ")
    unit = "µm" if unit == "u" else unit
    sizes = {axis: size_of(axis, info.get(f"{axis.upper()}Calibration"), unit) for axis in "yx"}
    heights, distances = _listed(info.get("AbsoluteZ")), _listed(info.get("ZDistance"))
    # ZDistance is the distance from the plane before. Where it grows with the planes, its meaning is not known.
    same = distances[0] if len(set(distances)) == 1 else None
    depth = even_step(heights) or same
    sizes["z"] = size_of("z", depth, "µm" if even_step(heights) else unit)
    sizes["t"] = size_of("t", _seconds_between(info), "s")
    waves = [float(wave) for wave in _listed(info.get("Wavelengths"))]
    order: PlaneOrder | None = None
    names: tuple[str, ...] = ()
    if len(waves) == planes > 1 and len(set(waves)) > 1 and min(waves) > 0:
        channel = ranks(waves)
        # Planes of one wavelength come one after the other along depth or, without a distance, time.
        other = "z" if any(distances) or even_step(heights) else "t"
        seen: dict[float, int] = {}
        within = [seen.setdefault(wave, 0) for wave in waves]
        for page, wave in enumerate(waves):
            within[page], seen[wave] = seen[wave], seen[wave] + 1
        order = plane_order(f"c{other}", list(zip(channel, within, strict=True)))
        names = tuple(f"{wave:g} nm" for wave in dict.fromkeys(waves)) if order is not None else ()
    return DialectFacts(sizes, names, planes=order)


def _seconds_between(info: Mapping[str, Any]) -> float | None:
    """Return the time between planes of a MetaMorph stack, from their dates, or from their milliseconds of one day."""
    dates = info.get("DatetimeCreated")
    step = even_step(dates.astype("int64")) if dates is not None else None
    if step is not None:
        return step * 1e-9  # NumPy counts nanoseconds
    step = even_step(_listed(info.get("TimeCreated")))
    return None if step is None else step * 1e-3


def metaseries(source: DialectSource) -> DialectFacts:
    """Return the facts of MetaSeries and ImageXpress: the XML of each page has calibration, position and setting."""
    texts = [frame.aspage().description for frame in source.frames[:_MOST_PAGES]]
    if len(texts) != source.planes or not all(text.startswith("<MetaData>") for text in texts):
        texts = [source.tif.pages.first.description]
    planes = [{one.get("id"): one.get("value") for one in parse_xml(text).iter("prop")} for text in texts]
    first = planes[0]
    sizes: dict[str, PixelSize | None] = {}
    if first.get("spatial-calibration-state") != "off":
        unit = first.get("spatial-calibration-units")
        sizes = {axis: size_of(axis, first.get(f"spatial-calibration-{axis}"), unit) for axis in "yx"}
    settings = [(plane.get("_IllumSetting_") or "").strip() for plane in planes]
    heights = [plane.get("z-position") for plane in planes]
    times = [plane.get("acquisition-time-local") for plane in planes]
    names = complete_names(list(dict.fromkeys(settings)))
    if len(planes) == 1:
        return DialectFacts(sizes, names)
    order = plane_order("cz", list(zip(ranks(settings), ranks(heights), strict=True)))
    if order is None and len(set(settings)) == len(set(heights)) == 1 and None not in times:
        order = plane_order("t", [(rank,) for rank in ranks(times)])
    sizes["z"] = size_of("z", even_step(dict.fromkeys(heights)), "µm")
    return DialectFacts(sizes, names, planes=order)


def lsm(source: DialectSource) -> DialectFacts:
    """Return the facts of Zeiss LSM: voxel sizes in metres, the interval in seconds, names of channels."""
    info = source.tif.lsm_metadata or {}
    sizes = {axis: size_of(axis, info.get(f"VoxelSize{axis.upper()}"), "µm", 1e6) for axis in SPACE}
    names = (info.get("ChannelColors") or {}).get("ColorNames") or ()
    # The misspelt interval is 0 where frames follow each other without a pause; then each frame has its time.
    interval = size_of("t", info.get("TimeIntervall"), "s")
    sizes["t"] = interval or size_of("t", even_step(_listed(info.get("TimeStamps"))), "s")
    return DialectFacts(sizes, complete_names([str(name).strip("\0 ") for name in names]))


def fluoview(source: DialectSource) -> DialectFacts:
    """Return the pixel sizes of Olympus FluoView: each dimension has its resolution and unit."""
    sizes: dict[str, PixelSize | None] = {}
    for name, _, _, resolution, unit in (source.tif.fluoview_metadata or {}).get("Dimensions", ()):
        axis = _FLUOVIEW_AXES.get(str(name).strip().lower())
        if axis is not None:
            sizes[axis] = size_of(axis, abs(float(resolution)), unit)
    return DialectFacts(sizes)


def sis(source: DialectSource) -> DialectFacts:
    """Return the facts of Olympus SIS: metres per pixel, and names of bands, which are channels."""
    info = source.tif.sis_metadata or {}
    sizes = {axis: size_of(axis, info.get(f"pixelsize{axis}"), "µm", 1e6) for axis in "yx"}
    names = complete_names([str(band.get("BandName") or "").strip() for band in info.get("Band") or ()])
    return DialectFacts(sizes, names)


def _listed(values: Any) -> Sequence[Any]:
    """Return the values of a NumPy array or sequence as a list, nothing for anything else."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return values if isinstance(values, list | tuple) else []
