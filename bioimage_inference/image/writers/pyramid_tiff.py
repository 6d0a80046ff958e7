"""Writer of pyramidal OME-TIFF: compressed tiles, with smaller levels in SubIFDs, as QuPath and Viv open at once."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...array_types import Array
from ...files.partial_file import PartialFile
from ...machine.processors import available_processors
from ..image import Region
from .base import Layout, Writer
from .pyramid import pyramid, reduced, regions
from .raw_pixels import RawPixels
from .tiff_descriptions import describe, with_facts
from .tiff_writer import arrange

_TILE = 512
_BUFFER = 32 << 20  # bytes of tiles that are compressed at once


class PyramidTiffWriter(Writer):
    """A BigTIFF with the axes and metadata of a labelled OME-TIFF, for outputs with y and x.

    Blocks go to a temporary file first, because tiles are compressed in their own order: :meth:`flush` writes them,
    then one level after the other. Memory holds some tiles. The smaller levels halve y and x only, because a SubIFD
    belongs to one page. Raises :class:`~bioimage_inference.errors.OutputError` as
    :class:`~bioimage_inference.image.writers.tiff_writer.TiffWriter` does.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.arrangement = replace(arrange(path, layout, "labelled"), dialect="ome")
        self.notes = self.arrangement.notes
        self._facts: Mapping[str, str] = {}
        self._file = PartialFile(path)
        try:
            self._pixels = RawPixels(path, layout, self.arrangement.order, self.arrangement.dtype)
        except BaseException:
            self._file.abort()
            raise

    def write(self, region: Region, block: Array) -> None:
        """Write a block, which has the axes and the dtype of the layout, to a region of the output."""
        self._pixels.write(region, block)

    def annotate(self, facts: Mapping[str, str]) -> None:
        """Keep facts about the run for the OME-XML, where OMERO shows them as key-value pairs."""
        self._facts = facts

    def flush(self) -> None:
        """Compress all tiles, and wait until they are on the disk."""
        import tifffile

        dtype, pages = self.arrangement.dtype, self.arrangement.pages
        rows, columns = self.arrangement.shape[-2:]
        levels = pyramid(Layout("pyx", (pages, rows, columns), dtype))
        with (
            ExitStack() as stack,
            self._file.stream() as stream,
            tifffile.TiffWriter(stream, bigtiff=True, ome=True) as tiff,
        ):
            pixels = self._pixels
            for number, level in enumerate(levels):
                if number:
                    pixels = self._smaller(pixels, number, levels[number - 1], level)
                    stack.callback(pixels.abort)
                tiff.write(
                    _tiles(pixels, level),
                    shape=(*self.arrangement.shape[:-2], *level.shape[1:]),
                    dtype=dtype,
                    tile=(_TILE, _TILE),
                    compression="zlib",
                    photometric="minisblack",
                    software="bioimage_inference",
                    maxworkers=available_processors(),
                    buffersize=_BUFFER,
                    **(self._described(len(levels) - 1) if not number else {"subfiletype": 1, "metadata": None}),
                )
        self._file.flush()

    def _described(self, smaller: int) -> dict[str, Any]:
        found = describe(self.path, self.layout, self.arrangement)
        return found | {"metadata": with_facts(found["metadata"], self._facts), "subifds": smaller}

    def _smaller(self, pixels: RawPixels, number: int, finer: Layout, coarser: Layout) -> RawPixels:
        """Return the pixels of a level in a temporary file of its own."""
        found = RawPixels(self.path, coarser, coarser.axes, coarser.dtype, number)
        try:
            for region in regions(coarser.shape, (1, _TILE, _TILE)):
                block = reduced(lambda part: pixels.read(part, finer.shape), finer.shape, coarser.shape, region)
                found.write(region, block)
        except BaseException:
            found.abort()
            raise
        return found

    def commit(self) -> None:
        """Give the file its final name."""
        self._file.commit()
        self._pixels.abort()

    def abort(self) -> None:
        """Remove an incomplete file; does nothing after :meth:`commit`."""
        try:
            self._pixels.abort()
        finally:
            self._file.abort()


def _tiles(pixels: RawPixels, level: Layout) -> Iterator[Array]:
    """Yield the tiles of all pages, which are smaller at the right and the lower border."""
    for region in regions(level.shape, (1, _TILE, _TILE)):
        yield pixels.read(region, level.shape)[0]
