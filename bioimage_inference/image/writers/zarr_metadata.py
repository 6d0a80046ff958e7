"""Metadata and grid of an OME-Zarr: axes, scales and positions of all levels, names and windows of channels, labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...files.partial_file import write_whole
from ...options import ZarrVersion
from ...text import parse_json
from ..axes import AXES, LETTERS
from ..image import PixelSize
from .base import Layout
from .pyramid import pyramid

_UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter", "s": "second"}
_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
# Pixels of a chunk along each axis, and chunks that share a file. A chunk of float32 has 1 MiB, of which a viewer loads
# several for a view; a file has 16 or 8 MiB, which a writer holds in memory.
_GRID_OF_PLANES = {"y": (512, 4), "x": (512, 4)}
_GRID_OF_STACKS = {"z": (16, 2), "y": (128, 2), "x": (128, 2)}
GROUP_FILES: Mapping[ZarrVersion, str] = {"0.5": "zarr.json", "0.4": ".zgroup"}
"""The file that makes a folder a group, by the version of OME-Zarr."""
_ATTRIBUTE_FILES: Mapping[ZarrVersion, str] = {"0.5": "zarr.json", "0.4": ".zattrs"}


@dataclass(frozen=True)
class ZarrGrid:
    """Pixels of a chunk and of a shard along each axis. Without ``shards``, a chunk is a file."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None


def stored_axes(axes: str) -> str:
    """Return the axes of a layout in the order that OME-Zarr requires, with y and x."""
    return "".join(sorted({*axes, "y", "x"}, key=LETTERS.index))


def stored_layout(layout: Layout) -> Layout:
    """Return the layout in the order of the store. An output without y or x has one pixel along it."""
    axes = stored_axes(layout.axes)
    return replace(layout, axes=axes, shape=tuple(map(layout.size, axes)))


def chosen_grid(layout: Layout, version: ZarrVersion) -> ZarrGrid:
    """Return the grid of an array in the order of the store. OME-Zarr 0.4 has no shards."""
    wanted = _GRID_OF_STACKS if layout.size("z") > 1 else _GRID_OF_PLANES
    chunks, shards = [], []
    for letter, size in zip(layout.axes, layout.shape, strict=True):
        chunk, count = wanted.get(letter, (1, 1))
        chunks.append(max(1, min(chunk, size)))
        shards.append(chunks[-1] * max(1, min(count, -(-size // chunks[-1]))))
    return ZarrGrid(tuple(chunks), None if version == "0.4" or shards == chunks else tuple(shards))


def image_attributes(name: str, layout: Layout, version: ZarrVersion, *, label: bool) -> dict[str, Any]:
    """Return the attributes of the group of an image, for a layout in the order of the store.

    A ``label`` map belongs to the image two folders above it.
    """
    levels = pyramid(layout)
    multiscales: dict[str, Any] = {
        "name": name,
        "axes": [_axis(letter, layout.pixel_size.get(letter)) for letter in layout.axes],
        "datasets": [
            {"path": str(number), "coordinateTransformations": _transformations(level)}
            for number, level in enumerate(levels)
        ],
    }
    if len(levels) > 1:
        multiscales["type"] = "nearest" if layout.dtype.kind in "iub" else "mean"
    if version == "0.4":
        multiscales["version"] = version
    ome: dict[str, Any] = {"multiscales": [multiscales]}
    if label:
        ome["image-label"] = {"source": {"image": "../../"}}
        if version == "0.4":
            ome["image-label"]["version"] = version
    elif "c" in layout.axes:
        ome["omero"] = {"channels": _channels(layout)}
    return group_attributes(ome, version)


def group_attributes(ome: Mapping[str, Any], version: ZarrVersion) -> dict[str, Any]:
    """Return the attributes of a group that hold OME metadata."""
    return dict(ome) if version == "0.4" else {"ome": {"version": version, **ome}}


def _transformations(level: Layout) -> list[dict[str, Any]]:
    sizes = [level.pixel_size.get(letter, PixelSize(1.0, "pixel")) for letter in level.axes]
    found: list[dict[str, Any]] = [{"type": "scale", "scale": [size.value for size in sizes]}]
    if any(size.origin for size in sizes):
        found.append({"type": "translation", "translation": [size.origin for size in sizes]})
    return found


def _axis(letter: str, size: PixelSize | None) -> dict[str, str]:
    axis = {"name": letter}
    if kind := AXES[letter].zarr_type:
        axis["type"] = kind
    if size is not None and size.unit in _UNITS:
        axis["unit"] = _UNITS[size.unit]
    return axis


def _channels(layout: Layout) -> list[dict[str, Any]]:
    names = layout.channel_names or [f"channel {number}" for number in range(layout.size("c"))]
    window = _window(*_limits(layout.dtype))
    return [
        {
            "label": label,
            "active": True,
            "color": "FFFFFF" if len(names) == 1 else _COLOURS[number % len(_COLOURS)],
            "window": window,
        }
        for number, label in enumerate(names)
    ]


def _limits(dtype: "np.dtype[Any]") -> tuple[float, float]:
    """Return the values that a viewer shows as black and white, until :func:`set_windows` replaces them."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(limits.min), int(limits.max)
    return 0, 1


def _window(low: float, high: float) -> dict[str, float]:
    low, high = +low, +high  # booleans are numbers in JSON
    return {"min": low, "max": high, "start": low, "end": high if high > low else low + 1}


def version_of(folder: Path) -> ZarrVersion | None:
    """Return the version of the OME-Zarr in a folder, or ``None`` if there is none."""
    return next((version for version, name in GROUP_FILES.items() if (folder / name).is_file()), None)


def axes_of(folder: Path, version: ZarrVersion) -> str:
    """Return the axes of the image that this program wrote to ``folder``."""
    _, ome = group_content(folder, version)
    return "".join(axis["name"] for axis in ome["multiscales"][0]["axes"])


def group_content(folder: Path, version: ZarrVersion) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of the metadata file of a group, and the OME metadata in it; of a new group without a file.

    Raises :class:`OSError`, and :class:`ValueError` for a file that is not JSON.
    """
    file = folder / _ATTRIBUTE_FILES[version]
    content = parse_json(file.read_text(encoding="utf-8")) if file.exists() else {}
    if version == "0.4":
        return content, content
    content = {"zarr_format": 3, "node_type": "group", **content}
    return content, content.setdefault("attributes", {}).setdefault("ome", {"version": version})


def write_group(folder: Path, version: ZarrVersion, content: Mapping[str, Any]) -> None:
    """Write the content of the metadata file of a group. Raises :class:`OutputError`."""
    if not (folder / GROUP_FILES[version]).exists() and version == "0.4":
        write_whole(folder / GROUP_FILES[version], json.dumps({"zarr_format": 2}).encode(), noted=False)
    write_whole(folder / _ATTRIBUTE_FILES[version], json.dumps(content, indent=2).encode(), noted=False)


def set_windows(folder: Path, version: ZarrVersion, ranges: Sequence[tuple[float, float] | None]) -> None:
    """Write the smallest and the largest value of each channel as black and white of viewers.

    ``None`` stands for a channel without a finite value, which keeps its window. Raises :class:`OutputError` and
    :class:`OSError`.
    """
    content, ome = group_content(folder, version)
    for channel, found in zip(ome.get("omero", {}).get("channels", []), ranges, strict=False):
        if found is not None:
            channel["window"] = _window(*found)
    write_group(folder, version, content)
