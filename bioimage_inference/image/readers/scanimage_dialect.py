"""Dialect of ScanImage: its settings are assignments of Matlab, in the header of a BigTIFF or in a tag of each page.

Settings have been called ``SI.…`` since 2016, ``scanimage.SI4.…`` or ``scanimage.SI.…`` before, and ``state.…`` in
version 3. The pages of a file come channel by channel, then frame by frame, then plane by plane, or volume by volume.
"""

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..axes import complete_names
from ..image import PixelSize
from ..units import positive_number
from .dialect_facts import DialectFacts, DialectSource, PlaneOrder, nested, size_of

_HEADER_BYTES = 16 << 20
_Settings = Mapping[str, Any]
_REVERSED = "The stack is reversed: the file gives its planes a negative spacing. They are read as stored."


def scanimage(source: DialectSource) -> DialectFacts:
    """Return the facts of ScanImage: channels, planes and frames, their distances, and the field of view in µm."""
    settings = _settings(source)
    saved = _saved_channels(settings)
    step = _first(settings, "SI.hStackManager.actualStackZStepSize", "SI.hStackManager.stackZStepSize",
                  "SI4.stackZStepSize", "SI5.stackZStepSize", "state.acq.zStepSize")  # fmt: skip
    step = step if isinstance(step, int | float) else 0
    planes, unit_of_time = _planes(settings, max(len(saved), 1), source.planes)
    sizes: dict[str, PixelSize | None] = {
        **_field_of_view(settings, source.key),
        "z": size_of("z", abs(step), "µm"),
        "t": size_of("t", unit_of_time, "s"),
    }
    names = _as_list(settings.get("SI.hChannels.channelName"))
    chosen = [str(names[number - 1]) for number in saved if number <= len(names)]
    backwards = step < 0 and planes is not None and "z" in planes.axes
    return DialectFacts(
        sizes,
        complete_names(chosen) if len(chosen) == len(saved) else (),
        (_REVERSED,) if backwards else (),
        planes,
    )


def _settings(source: DialectSource) -> _Settings:
    """Return the settings by name, without ``scanimage.`` in front; empty if there are none."""
    import tifffile

    page, found = source.tif.pages.first, {}
    header: Any = io.BytesIO(source.file.read(0, min(source.file.size, _HEADER_BYTES)))
    with suppress(ValueError):  # a file without ScanImage's header has the settings in a tag
        found = tifffile.read_scanimage_metadata(header)[0]
    for text in (page.software, page.description):
        lines = [line for line in text.replace("\r", "\n").split("\n") if "=" in line]
        found = found or (tifffile.matlabstr2py("\n".join(lines)) if lines else {})
    settings = found if isinstance(found, dict) else {}
    return {str(name).removeprefix("scanimage."): value for name, value in settings.items()}


def _first(settings: _Settings, *names: str) -> Any:
    """Return the first of these settings that the file has, else None."""
    return next((settings[name] for name in names if name in settings), None)


def _saved_channels(settings: _Settings) -> list[int]:
    """Return the numbers of the saved channels, counted from 1; empty if they are unknown."""
    stated = _first(settings, "SI.hChannels.channelSave", "SI4.channelsSave", "SI5.channelsSave")
    if stated is None:
        numbers = range(1, 5)
        return [number for number in numbers if settings.get(f"state.acq.savingChannel{number}") in (1, True)]
    flat = [one for entry in _as_list(stated) for one in _as_list(entry)]
    return [one for one in flat if isinstance(one, int) and one > 0]


def _planes(settings: _Settings, channels: int, pages: int) -> tuple[PlaneOrder | None, float | None]:
    """Return the order of the pages, and the seconds from one time point to the next."""
    if pages % channels:
        return None, None
    shots = pages // channels
    slices = _count(_first(settings, "SI.hStackManager.actualNumSlices", "SI.hStackManager.numSlices",
                           "SI4.stackNumSlices", "SI5.stackNumSlices", "state.acq.numberOfZSlices"))  # fmt: skip
    frames = _count(_first(settings, "SI.hStackManager.framesPerSlice", "SI4.acqNumFrames", "SI5.acqNumFrames",
                           "state.acq.numberOfFrames"))  # fmt: skip
    averaged = _count(_first(settings, "SI.hScan2D.logAverageFactor")) or 1
    period = positive_number(_first(settings, "SI.hRoiManager.scanFramePeriod"))
    rate = positive_number(_first(settings, "SI.hRoiManager.scanVolumeRate"))
    between = None if period is None else period * averaged
    slices = slices or 1
    if slices == 1:
        return nested([("t", shots), ("c", channels)], pages), between
    saved = None if frames is None else max(frames // averaged, 1)
    if saved is not None and shots == slices * saved:
        return nested([("z", slices), ("t", saved), ("c", channels)], pages), between
    if saved in (1, None) and shots % slices == 0:
        volumes = shots // slices
        return nested([("t", volumes), ("z", slices), ("c", channels)], pages), None if rate is None else 1 / rate
    if saved == 1 and shots < slices:  # the acquisition was aborted
        return nested([("z", shots), ("c", channels)], pages), None
    return nested([("?", shots), ("c", channels)], pages), None


def _field_of_view(settings: _Settings, key: Any) -> dict[str, PixelSize | None]:
    """Return the pixel size by the corners of the field of view (x, y in µm), if the page ``key`` shows all of it."""
    corners = [row for row in _as_list(settings.get("SI.hRoiManager.imagingFovUm")) if isinstance(row, list)]
    counts = {
        "x": (settings.get("SI.hRoiManager.pixelsPerLine"), int(key.imagewidth)),
        "y": (settings.get("SI.hRoiManager.linesPerFrame"), int(key.imagelength)),
    }
    if len(corners) != 4 or any(len(row) != 2 for row in corners) or any(a != b for a, b in counts.values()):
        return {}
    sides = {axis: [row[place] for row in corners] for place, axis in enumerate("xy")}
    if not all(isinstance(one, int | float) and math.isfinite(one) for side in sides.values() for one in side):
        return {}
    return {axis: size_of(axis, (max(side) - min(side)) / counts[axis][1], "µm") for axis, side in sides.items()}


def _count(value: object) -> int | None:
    """Return a setting as a count; None if it is none, or infinite as for acquisitions that run until stopped."""
    number = positive_number(value)
    return int(number) if number is not None and number >= 1 else None


def _as_list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
