"""Writer of one OME-Zarr by one process: blocks in any order, then chunks, a pyramid, and the windows of channels."""

from pathlib import Path

from ...array_types import Array
from ...errors import OutputError
from ...options import Options, ZarrVersion
from ..axes import AXES
from ..image import Region
from .base import Layout, Writer
from .raw_pixels import RawPixels
from .zarr_additions import addition_group, version_at
from .zarr_metadata import stored_axes
from .zarr_writer import PartialZarr, complete_store, create_store


def open_zarr_writer(path: Path, layout: Layout, options: Options) -> Writer:
    """Return the writer of an OME-Zarr in the version of the options, or of the image that it is added to."""
    return OmeZarrWriter(path, layout, version_at(path, options.zarr_version))


def open_labels_writer(path: Path, layout: Layout) -> Writer:
    """Return the writer of a label map in an image. Raises :class:`OutputError` if ``path`` is not in an image."""
    group = addition_group(path)
    if group is None:
        raise OutputError(f"The label map {path} cannot be written: {path.parents[1]} is not an OME-Zarr any more.")
    return OmeZarrWriter(path, layout, group.version, label=True)


class OmeZarrWriter(Writer):
    """An OME-Zarr image that appears when it is complete; every dtype is kept.

    Blocks go to a temporary file first. :meth:`flush` reads each shard from it once, so each chunk is compressed once
    whatever the tiles were. ``label`` makes the image a label map of the image two folders above it. Raises
    :class:`~bioimage_inference.errors.OutputError` if the place cannot be written or lacks room.
    """

    def __init__(self, path: Path, layout: Layout, version: ZarrVersion, *, label: bool = False) -> None:
        self.path, self.notes = path, tuple(_notes(path, layout))
        self._store = PartialZarr(path)
        try:
            create_store(self._store.folder, layout, name=path.name, version=version, label=label)
            order = "".join(letter for letter in stored_axes(layout.axes) if letter in layout.axes)
            self._added = tuple(place for place, one in enumerate(stored_axes(layout.axes)) if one not in order)
            self._pixels = RawPixels(path, layout, order, layout.dtype.newbyteorder("="))
        except BaseException:
            self._store.abort()
            raise

    def write(self, region: Region, block: Array) -> None:
        """Write a block, which has the axes and the dtype of the layout, to a region of the output."""
        self._pixels.write(region, block)

    def flush(self) -> None:
        """Write all levels. Memory holds a shard of them at a time."""
        complete_store(self._store.folder, self._read)

    def _read(self, region: Region) -> Array:
        spans = tuple(span for place, span in enumerate(region) if place not in self._added)
        return self._pixels.read(spans).reshape([span.stop - span.start for span in region])

    def commit(self) -> None:
        """Give the store its final name."""
        self._store.commit()
        self._pixels.abort()

    def abort(self) -> None:
        """Remove the incomplete store; does nothing after :meth:`commit`."""
        try:
            self._pixels.abort()
        finally:
            self._store.abort()


def _notes(path: Path, layout: Layout) -> list[str]:
    """Return a note where OME-Zarr allows fewer axes than the output has."""
    others = [AXES[letter].name for letter in layout.axes if letter in "bipc"]
    if len(others) < 2:
        return []
    return [
        f"{path.name} has the axes {', '.join(others)}. OME-Zarr allows one axis besides time and space, so that some "
        "programs may not open it."
    ]
