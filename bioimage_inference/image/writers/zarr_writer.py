"""Writer of OME-Zarr (format 0.5), chunk by chunk, from one process or from many at once.

Only the full resolution is written. Any number of processes may write, but no two of them to the same chunk (or shard).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...array_types import Array
from ...errors import OutputError
from ...files.partial_file import (
    beginning,
    final_place,
    finished,
    note_committed,
    output_error,
    partial_path,
    write_whole,
)
from ...files.temporary_names import keep_folder, make_folder, remove_folder
from ..axes import AXES, LETTERS
from ..image import PixelSize, Region
from .base import Layout, Writer

_UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter", "s": "second"}
_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
_ARRAY = "0"


def stored_axes(axes: str) -> str:
    """Return the axes of a layout in the order that OME-Zarr requires."""
    return "".join(sorted(axes, key=LETTERS.index))


def create_store(
    folder: Path, layout: Layout, chunks: Mapping[str, int], shards: Mapping[str, int] | None = None
) -> None:
    """Make an OME-Zarr without pixels in ``folder``; it replaces an earlier one.

    ``chunks`` and ``shards`` are pixels per axis letter. The default for an axis is a chunk of one pixel, and a shard
    of one chunk. Raises :class:`OutputError` if the place cannot be written.
    """
    import zarr

    axes = stored_axes(layout.axes)
    shape = [layout.size(letter) for letter in axes]
    with _explained(folder):
        group = zarr.open_group(folder, mode="a", zarr_format=3)
        group.create_array(
            _ARRAY,
            shape=shape,
            dtype=layout.dtype,
            chunks=tuple(min(chunks.get(letter, 1), size) for letter, size in zip(axes, shape, strict=True)),
            shards=None if shards is None else tuple(shards.get(letter, chunks.get(letter, 1)) for letter in axes),
            dimension_names=list(axes),
            overwrite=True,
        )
        group.attrs["ome"] = _metadata(folder.name, layout)


def _metadata(name: str, layout: Layout) -> dict[str, Any]:
    axes = stored_axes(layout.axes)
    sizes = [layout.pixel_size.get(letter, PixelSize(1.0, "pixel")) for letter in axes]
    transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [size.value for size in sizes]}]
    if any(size.origin for size in sizes):
        transformations.append({"type": "translation", "translation": [size.origin for size in sizes]})
    multiscales = {
        "name": name,
        "axes": [_axis(letter, layout.pixel_size.get(letter)) for letter in axes],
        "datasets": [{"path": _ARRAY, "coordinateTransformations": transformations}],
    }
    ome: dict[str, Any] = {"version": "0.5", "multiscales": [multiscales]}
    names = layout.channel_names or [f"channel {number}" for number in range(layout.size("c"))]
    low, high = _limits(layout.dtype)
    if "c" in axes:
        ome["omero"] = {
            "channels": [
                {
                    "label": label,
                    "active": True,
                    "color": "FFFFFF" if len(names) == 1 else _COLOURS[number % len(_COLOURS)],
                    "window": {"min": low, "max": high, "start": low, "end": high},
                }
                for number, label in enumerate(names)
            ]
        }
    return ome


def _axis(letter: str, size: PixelSize | None) -> dict[str, str]:
    axis = {"name": letter}
    if kind := AXES[letter].zarr_type:
        axis["type"] = kind
    if size is not None and size.unit in _UNITS:
        axis["unit"] = _UNITS[size.unit]
    return axis


def _limits(dtype: "np.dtype[Any]") -> tuple[float, float]:
    """Return the values that a viewer shows as black and white, until :func:`set_range` replaces them."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(limits.min), int(limits.max)
    return 0, 1


def set_range(folder: Path, low: float, high: float) -> None:
    """Write the smallest and the largest value, once they are known, as black and white of viewers."""
    file = folder / "zarr.json"
    with _explained(folder):
        content = json.loads(file.read_text(encoding="utf-8"))
        for channel in content["attributes"]["ome"].get("omero", {}).get("channels", []):
            channel["window"] = {"min": low, "max": high, "start": low, "end": high}
        write_whole(file, json.dumps(content, indent=2).encode(), noted=False)


class ZarrWriter(Writer):
    """Writes blocks into a store made by :func:`create_store`; ``axes`` are those of the blocks.

    :class:`PartialZarr` names or removes the store, which several writers share. ``low`` and ``high`` are the smallest
    and the largest finite value so far, ``None`` before the first one. Raises :class:`OutputError` if the store is
    missing or cannot be written.
    """

    def __init__(self, folder: Path, axes: str) -> None:
        import zarr

        self.path = folder
        self._order = tuple(axes.index(letter) for letter in stored_axes(axes))
        self.low: float | None = None
        self.high: float | None = None
        # Chunks of zeros are stored too, so that a missing chunk is recognised.
        with _explained(folder), zarr.config.set({"array.write_empty_chunks": True}):
            (folder / _ARRAY).stat()  # older zarr makes the folders of a missing store
            self._array = zarr.open_array(folder / _ARRAY, mode="r+")

    def write(self, region: Region, block: Array) -> None:
        """Write a block to a region: one slice of step 1 per axis. Each chunk must have one writer only."""
        # Somebody may have removed the store during the run: zarr would make it anew. Or a link may have replaced it.
        if self.path.is_symlink() or not (self.path / "zarr.json").exists():
            raise OutputError(f"The output {self.path} has been removed while it was being written. Predict again.")
        with _explained(self.path):
            self._array[tuple(region[axis] for axis in self._order)] = block.transpose(self._order)
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = finite.min().item(), finite.max().item()
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)


class PartialZarr:
    """A folder ``.{final name}.{mark}.partial`` that becomes ``path`` by :meth:`commit`.

    Remains of killed runs of the same store are removed, see :mod:`bioimage_inference.files.temporary_names`.
    Raises :class:`OutputError` if the place cannot be written, or ``path`` is something other than an OME-Zarr.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._final = final_place(path)
        if os.path.lexists(path) and not (path / "zarr.json").is_file():
            raise OutputError(
                f"The output {path} cannot be written: something else than an OME-Zarr has that name. Move it away, or "
                "name another folder."
            )
        with _explained(path), beginning(path, self._final) as self.folder:
            make_folder(self.folder, 0o777)
        self._unfinished = True

    def commit(self) -> None:
        """Give the store its final name; it replaces an OME-Zarr of this name, or a link to one."""
        old = partial_path(self._final).with_suffix(".old")
        with _explained(self.path):
            if os.path.lexists(self._final):
                self._final.rename(old)
            self.folder.rename(self._final)
            self._close()
            keep_folder(self._final, self.folder.name)
            note_committed(self.path)
            if old.is_symlink():
                old.unlink()
            elif old.exists():
                shutil.rmtree(old)

    def abort(self) -> None:
        """Remove the incomplete store; does nothing after :meth:`commit` or a first call."""
        if not self._unfinished:
            return
        self._close()
        with _explained(self.path):
            (self.folder / "zarr.json").unlink(missing_ok=True)  # running writers stop when it is gone
            remove_folder(self.folder)

    def _close(self) -> None:
        self._unfinished = False
        finished(self.folder)


def stored_bytes(folder: Path) -> int:
    """Return the bytes of all files of a store."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(path, path.parent, None, error) from error
