"""Writing an output as an OME-Zarr of format 0.5, chunk by chunk, from one process or from many at once.

One resolution is written (the full one). Any number of processes may write, as long as no two of them write to the
same chunk (shard, where there are any).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from ..image import PixelSize, Region
from .base import Layout

_ORDER = "tbipczyx"
"""OME-Zarr wants time, then the channel or one other axis, then space."""
_TYPES = {"t": "time", "c": "channel", **dict.fromkeys("zyx", "space")}
_UNITS = {"µm": "micrometer", "nm": "nanometer", "mm": "millimeter", "s": "second"}
_COLOURS = ("00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
_ARRAY = "0"


def stored_axes(axes: str) -> str:
    """The axes of a layout in the order in which they are stored."""
    return "".join(sorted(axes, key=_ORDER.index))


def create_store(
    folder: Path, layout: Layout, chunks: Mapping[str, int], shards: Mapping[str, int] | None = None
) -> None:
    """Make an OME-Zarr without pixels in ``folder``, replacing one that is there.

    ``chunks`` and ``shards`` give pixels per axis letter; an axis that is missing there has chunks of one pixel, shards
    of one chunk. Raises :class:`OutputError` where the place cannot be written.
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
    if letter in _TYPES:
        axis["type"] = _TYPES[letter]
    if size is not None and size.unit in _UNITS:
        axis["unit"] = _UNITS[size.unit]
    return axis


def _limits(dtype: "np.dtype[Any]") -> tuple[float, float]:
    """What a viewer shows as black and white until :func:`set_range` knows better."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return int(limits.min), int(limits.max)
    return 0, 1


def set_range(folder: Path, low: float, high: float) -> None:
    """Tell viewers the smallest and the largest value, once they are known."""
    file = folder / "zarr.json"
    with _explained(folder):
        content = json.loads(file.read_text(encoding="utf-8"))
        for channel in content["attributes"]["ome"].get("omero", {}).get("channels", []):
            channel["window"] = {"min": low, "max": high, "start": low, "end": high}
        write_whole(file, json.dumps(content, indent=2).encode(), noted=False)


class StoreWriter:
    """Writes blocks into a store made by :func:`create_store`; ``axes`` are those of the blocks.

    ``low`` and ``high`` are the smallest and the largest finite value so far, ``None`` before there is one. Raises
    :class:`OutputError` where the store is not there or cannot be written.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path, axes: str) -> None:
        import zarr

        self.path = folder
        self._order = tuple(axes.index(letter) for letter in stored_axes(axes))
        self.low: float | None = None
        self.high: float | None = None
        # every chunk is stored, so that one that is all zero is told from one that is missing
        with _explained(folder), zarr.config.set({"array.write_empty_chunks": True}):
            (folder / _ARRAY).stat()  # older zarr makes the folders of a store that is not there
            self._array = zarr.open_array(folder / _ARRAY, mode="r+")

    def write(self, region: Region, block: NDArray[np.generic]) -> None:
        """Write a block to a region: one slice of step 1 per axis. Each chunk must have one writer only."""
        # removed while we computed, so that zarr would make the folder anew; or replaced by a link to another one
        if self.path.is_symlink() or not (self.path / "zarr.json").exists():
            raise OutputError(f"The output {self.path} has been removed while it was being written. Predict again.")
        with _explained(self.path):
            self._array[tuple(region[axis] for axis in self._order)] = block.transpose(self._order)
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = finite.min().item(), finite.max().item()
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def flush(self) -> None:
        """Every chunk is a file that is complete when :meth:`write` returns."""

    def commit(self) -> None:
        """The store is named by its :class:`PartialStore`."""

    def abort(self) -> None:
        """The store is removed by its :class:`PartialStore`."""


class PartialStore:
    """A folder ``.{final name}.{mark}.partial`` that becomes ``path`` by :meth:`commit`.

    What killed runs left behind of the same store is removed, see :mod:`bioimage_inference.files.temporary_names`.
    Raises :class:`OutputError` where the place cannot be written, or ``path`` is something other than an OME-Zarr.
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
        """Give the store its final name, replacing an OME-Zarr that had it, or a link to one."""
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
        """Remove what was written; does nothing after :meth:`commit` or a first call."""
        if not self._unfinished:
            return
        self._close()
        with _explained(self.path):
            (self.folder / "zarr.json").unlink(missing_ok=True)  # tells writers that are still at work
            remove_folder(self.folder)

    def _close(self) -> None:
        self._unfinished = False
        finished(self.folder)


def stored_bytes(folder: Path) -> int:
    """Bytes of all files of a store."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(path, path.parent, None, error) from error
