"""Writer of OME-Zarr, chunk by chunk, from one process or from many at once.

:func:`create_store` makes the arrays of all levels. Any number of processes may write the full resolution, but no two
of them to the same chunk (or shard). :func:`complete_store` then computes the smaller levels and the windows of
channels.
"""

import contextlib
import os
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
)
from ...files.replaced_folder import replaced, settle_replaced
from ...files.system_calls import give_name
from ...files.temporary_names import keep_folder, make_folder, remove_folder
from ...options import ZarrVersion
from ..image import Region
from .base import Layout, Writer
from .pyramid import Read, pyramid, reduced, regions
from .zarr_additions import addition_group
from .zarr_metadata import (
    GROUP_FILES,
    ZarrGrid,
    axes_of,
    chosen_grid,
    image_attributes,
    set_windows,
    stored_axes,
    stored_layout,
    version_of,
)

_FULL = "0"


def create_store(
    folder: Path,
    layout: Layout,
    chunks: Mapping[str, int] | None = None,
    shards: Mapping[str, int] | None = None,
    *,
    name: str | None = None,
    version: ZarrVersion = "0.5",
    label: bool = False,
) -> None:
    """Make an OME-Zarr without pixels in ``folder``; it replaces an earlier one.

    Raises :class:`OutputError` if the place cannot be written.

    Parameters
    ----------
    chunks, shards
        Pixels per axis letter in the full resolution. The default for an axis is a chunk of one pixel, and a shard of
        one chunk. Without ``chunks``, the grid is chosen.
    name
        Name of the image in its metadata, by default the name of the folder.
    label
        Whether the image is a label map of the image two folders above it.
    """
    import zarr

    stored = stored_layout(layout)
    with _explained(folder):
        group = zarr.open_group(folder, mode="a", zarr_format=2 if version == "0.4" else 3)
        for number, level in enumerate(pyramid(stored)):
            given = chunks is not None and not number
            grid = _given_grid(stored, chunks or {}, shards) if given else chosen_grid(level, version)
            _create_array(group, str(number), level, grid, version)
        group.attrs.update(image_attributes(name or folder.name, stored, version, label=label))


def _given_grid(layout: Layout, chunks: Mapping[str, int], shards: Mapping[str, int] | None) -> ZarrGrid:
    return ZarrGrid(
        tuple(max(1, min(chunks.get(axis, 1), size)) for axis, size in zip(layout.axes, layout.shape, strict=True)),
        None if shards is None else tuple(shards.get(axis, chunks.get(axis, 1)) for axis in layout.axes),
    )


def _create_array(group: Any, name: str, layout: Layout, grid: ZarrGrid, version: ZarrVersion) -> None:
    settings: dict[str, Any] = {"shards": grid.shards, "dimension_names": list(layout.axes)}
    if version == "0.4":
        import numcodecs

        # Readers of zarr 2 know Blosc at least; OME-Zarr 0.4 recommends nested folders of chunks.
        settings = {
            "compressors": numcodecs.Blosc(cname="zstd", clevel=3, shuffle=numcodecs.Blosc.SHUFFLE),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    shape, dtype = layout.shape, layout.dtype.newbyteorder("=")
    group.create_array(name, shape=shape, dtype=dtype, chunks=grid.chunks, overwrite=True, **settings)


def _open_array(folder: Path, name: str) -> Any:
    """Return an array of a store for writing. Raises :class:`OSError` where it is missing."""
    import zarr

    (folder / name).stat()  # older zarr makes the folders of a missing store
    # Chunks of zeros are stored too, so that a missing chunk is recognised.
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(folder / name, mode="r+")


class ZarrWriter(Writer):
    """Writes blocks to the full resolution of a store made by :func:`create_store`; ``axes`` are those of the blocks.

    :class:`PartialZarr` names or removes the store, which several writers share. Raises :class:`OutputError` if the
    store is missing or cannot be written.
    """

    def __init__(self, folder: Path, axes: str) -> None:
        self.path = folder
        stored = stored_axes(axes)
        self._order = tuple(axes.index(letter) for letter in stored if letter in axes)
        self._added = tuple(place for place, letter in enumerate(stored) if letter not in axes)
        with _explained(folder):
            self._array = _open_array(folder, _FULL)

    def write(self, region: Region, block: Array) -> None:
        """Write a block to a region: one slice of step 1 per axis. Each chunk must have one writer only."""
        # Somebody may have removed the store during the run: zarr would make it anew. Or a link may have replaced it.
        if self.path.is_symlink() or version_of(self.path) is None:
            raise OutputError(f"The output {self.path} has been removed while it was being written. Predict again.")
        spans = [region[axis] for axis in self._order]
        for place in self._added:
            spans.insert(place, slice(0, 1))
        with _explained(self.path):
            self._array[tuple(spans)] = np.expand_dims(block.transpose(self._order), self._added)


def complete_store(folder: Path, read: Read | None = None) -> None:
    """Compute the smaller levels of a store, and write the windows of its channels.

    ``read`` returns a region of the full resolution in the order of the store, which is then written as well; without
    it, the full resolution is there. Memory holds a shard of one level and the pixels for a chunk of it. Raises
    :class:`OutputError`.
    """
    with _explained(folder):
        version = version_of(folder)
        if version is None:
            raise OutputError(f"The output {folder} has been removed while it was being written. Predict again.")
        array, number = _open_array(folder, _FULL), 0
        axes = axes_of(folder, version)
        ranges = _ChannelRanges(axes.index("c") if "c" in axes else None)
        for region in regions(array.shape, array.shards or array.chunks):
            block = array[region] if read is None else read(region)
            if read is not None:
                array[region] = block
            ranges.add(region, block)
        while (folder / str(number + 1)).is_dir():
            number += 1
            finer, array = array, _open_array(folder, str(number))
            for region in regions(array.shape, array.shards or array.chunks):
                array[region] = _reduced_by_chunks(finer, array, region)
        set_windows(folder, version, ranges.found())


class _ChannelRanges:
    """The smallest and the largest finite value of each channel, along ``axis`` of blocks."""

    def __init__(self, axis: int | None) -> None:
        self._axis = axis
        self._seen: dict[int, tuple[float, float]] = {}

    def add(self, region: Region, block: Array) -> None:
        """Look at a block."""
        if block.dtype.kind == "c":
            return
        first = 0 if self._axis is None else region[self._axis].start
        channels = block[np.newaxis] if self._axis is None else np.moveaxis(block, self._axis, 0)
        for number, values in enumerate(channels, first):
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = finite.min().item(), finite.max().item()
                known = self._seen.get(number, (low, high))
                self._seen[number] = min(known[0], low), max(known[1], high)

    def found(self) -> list[tuple[float, float] | None]:
        """Return the ranges in the order of channels; booleans are 0 and 1."""
        return [self._seen.get(number) for number in range(max(self._seen, default=-1) + 1)]


def _reduced_by_chunks(finer: Any, coarser: Any, region: Region) -> Array:
    """Return a region of a level. Each chunk of it is computed alone, because it takes eight times its memory."""
    shape = tuple(span.stop - span.start for span in region)
    found = np.empty(shape, coarser.dtype)
    starts = [span.start for span in region]
    inside = regions(shape, coarser.chunks)
    for part, place in zip(regions(shape, coarser.chunks, starts), inside, strict=True):
        found[place] = reduced(lambda source: np.asarray(finer[source]), finer.shape, coarser.shape, part)
    return found


class PartialZarr:
    """A folder ``.{final name}.{mark}.partial`` that becomes ``path`` by :meth:`commit`.

    For a ``path`` in ``labels/`` or ``predictions/`` of an image, that folder is made too, see
    :mod:`bioimage_inference.image.writers.zarr_additions`.

    Remains of killed runs of the same store are removed, see :mod:`bioimage_inference.files.temporary_names`. A store
    that a killed run was replacing is kept, see :mod:`bioimage_inference.files.replaced_folder`.
    Raises :class:`OutputError` if the place cannot be written, or ``path`` is something other than an OME-Zarr.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._final = final_place(path)
        if os.path.lexists(path) and version_of(path) is None:
            raise OutputError(
                f"The output {path} cannot be written: something else than an OME-Zarr has that name. Move it away, or "
                "name another folder."
            )
        self._group = addition_group(path)
        if self._group is not None:
            self._group.make()
        try:
            with _explained(path):
                settle_replaced(self._final)
                with beginning(path, self._final) as self.folder:
                    make_folder(self.folder, 0o777)
        except BaseException:
            self._remove_empty_group()
            raise
        self._unfinished = True

    def commit(self) -> None:
        """Give the store its final name; it replaces an OME-Zarr of this name, or a link to one."""
        with _explained(self.path), replaced(self._final):
            give_name(self.folder, self._final)
            self._close()
            keep_folder(self._final, self.folder.name)
            note_committed(self.path)
        if self._group is not None:
            self._group.add(self.path.name)

    def abort(self) -> None:
        """Remove the incomplete store; does nothing after :meth:`commit` or a first call."""
        if not self._unfinished:
            return
        self._close()
        with _explained(self.path):
            for name in GROUP_FILES.values():  # running writers stop when they are gone
                (self.folder / name).unlink(missing_ok=True)
            remove_folder(self.folder)
        self._remove_empty_group()

    def _remove_empty_group(self) -> None:
        if self._group is not None:
            self._group.remove_empty()

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
