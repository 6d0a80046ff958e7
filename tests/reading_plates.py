"""OME-Zarr plates, wells and converted files for tests, their metadata written by hand."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

Array = NDArray[Any]
Version = Literal["0.4", "0.5"]


def write_group(path: Path, ome: dict[str, Any], version: Version = "0.5") -> None:
    """Write a group with OME metadata."""
    group = zarr.open_group(path, mode="a", zarr_format=3 if version == "0.5" else 2)
    group.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)


def write_image(path: Path, array: Array, version: Version = "0.5", axes: str = "yx", chunk: int = 32) -> Path:
    """Write a pyramid of two levels, with a pixel size of 0.5 µm."""
    kind = {"y": "space", "x": "space", "c": "channel"}
    named = [{"name": one, "type": kind[one]} | ({"unit": "micrometer"} if one != "c" else {}) for one in axes]
    levels = {"0": (array, 0.5), "1": (array[..., ::2, ::2], 1.0)}
    datasets = []
    for name, (pixels, size) in levels.items():
        chunks = tuple(min(chunk, extent) for extent in pixels.shape)
        form = 3 if version == "0.5" else 2
        stored = zarr.create_array(path / name, shape=pixels.shape, chunks=chunks, dtype=pixels.dtype, zarr_format=form)
        stored[...] = pixels
        scale = [1.0 if one == "c" else size for one in axes]
        datasets.append({"path": name, "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    multiscales: dict[str, Any] = {"axes": named, "datasets": datasets}
    write_group(path, {"multiscales": [multiscales | ({"version": version} if version == "0.4" else {})]}, version)
    return path


def write_plate(path: Path, fields: dict[str, list[str]], version: Version = "0.5", size: int = 48) -> dict[str, Array]:
    """Write a plate with these fields by well (``B/03``), and return the pixels by ``B/03/0``."""
    wells = [{"path": well, "rowIndex": 0, "columnIndex": 0} for well in fields]
    write_group(path, {"plate": {"wells": wells, "rows": [], "columns": []}}, version)
    written = {}
    for number, (well, names) in enumerate(fields.items()):
        write_group(path / well, {"well": {"images": [{"path": name} for name in names]}}, version)
        for place, name in enumerate(names):
            pixels = np.random.default_rng([number, place]).integers(0, 999, (size, size)).astype(np.uint16)
            write_image(path / well / name, pixels, version)
            written[f"{well}/{name}"] = pixels
    return written
