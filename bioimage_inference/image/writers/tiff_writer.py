"""Writer of TIFF: plain pages for Galaxy's tools, or labelled for viewers (ImageJ hyperstack, OME-TIFF)."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from ...errors import OutputError
from ..axes import AXES, spatial
from .base import ArrayWriter, Layout
from .tiff_descriptions import Arrangement, describe, write_facts

PlainTiffLayout = Literal["pages", "labelled"]
"""The layouts of uncompressed TIFF."""

# Programs that read TIFF open whole numbers of up to 32 bits and floats of 32 and 64 bits.
_STORED_AS = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}
_STORABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
_CLASSIC_LIMIT = 2**32 - 2**25  # the room that tifffile leaves for everything but pixels
_FOLDED = "bipt"
"""Axes that a labelled TIFF folds into T."""


class TiffWriter(ArrayWriter):
    """An uncompressed TIFF, never tagged RGB; a BigTIFF if the file would pass 4 GiB.

    ``how="pages"``: axes ``QYX`` or ``QZYX``. Every axis that is not spatial is folded into Q, in the layout's order,
    the last one fastest; a JSON description holds the original axes and the channel names. The resolution is in pixels
    per cm.

    ``how="labelled"``: those of the axes ``TZCYX`` that exist, with channel names and pixel sizes. Batch, index,
    position and time are folded into T, in the layout's order, because Fiji, napari, QuPath and bioio have a slider
    for T and none for the others; ``notes`` has a remark. The file is an ImageJ hyperstack (pixel sizes in µm) for
    uint8, uint16 and float32 under 4 GiB, else an OME-TIFF.

    An output without y and x, such as the classes of a classifier, is a single page: its last axis of c, z, y, x along
    X, everything else along Y, so that batches are rows.

    Numbers keep their type, but bool becomes uint8, float16 becomes float32, and int64 and uint64 become int32 and
    uint32, with a note. A value beyond these raises :class:`~bioimage_inference.errors.OutputError`, because it must
    not wrap. Complex numbers raise it at once.
    """

    def __init__(self, path: Path, layout: Layout, how: PlainTiffLayout) -> None:
        arrangement = arrange(path, layout, how)

        def write_header(stream: IO[bytes]) -> int:
            return _write_header(stream, path, layout, arrangement)

        super().__init__(path, layout, arrangement.order, arrangement.dtype, write_header, arrangement.notes)
        self.arrangement = arrangement

    def annotate(self, facts: Mapping[str, str]) -> None:
        """Write facts about the run into a labelled TIFF; plain pages stay as they are.

        ImageJ shows them under Image › Show Info, OMERO as key-value pairs. Raises :class:`OutputError` if the disk
        refuses them, and :class:`ValueError` after :meth:`commit` or :meth:`abort`.
        """
        if self.arrangement.dialect == "pages":
            return
        with self._file.stream() as stream:
            write_facts(stream, self.path, self.layout, self.arrangement, facts)


def arrange(path: Path, layout: Layout, how: PlainTiffLayout) -> Arrangement:
    """Return order, axes, dtype and dialect for an output; ``path`` only names it in notes and errors.

    Raises :class:`OutputError` for a dtype that programs for TIFF do not open.
    """
    stored, notes = _STORED_AS.get(layout.dtype.name, layout.dtype.name), []
    if stored not in _STORABLE:
        raise OutputError(
            f"The output {path} has numbers of type {layout.dtype.name}, which programs that read TIFF do not open. "
            "Write this output as .npy instead."
        )
    if stored != layout.dtype.name:
        notes.append(f"{path.name} stores {layout.dtype.name} as {stored}, which programs that read TIFF can open.")
    dtype = np.dtype(stored)
    if how == "pages":
        return Arrangement("pages", *_pages_axes(layout), dtype, tuple(notes))
    order, axes, shape = _labelled_axes(layout)
    folded = [AXES[letter].name for letter in order if letter in _FOLDED and layout.size(letter) > 1]
    if "T" in axes and folded not in ([], ["time"]):
        notes.append(f"{path.name} has the axes {', '.join(folded)} one after the other along T, the last one fastest.")
    imagej = Arrangement("imagej", order, axes, shape, dtype, tuple(notes))
    # tifffile drops a width of 1 from ImageJ's shape.
    if dtype.name in _IMAGEJ_DTYPES and shape[-1] > 1 and not needs_bigtiff(imagej, layout.channel_names):
        return imagej
    return Arrangement("ome", order, axes, shape, dtype, tuple(notes))


def needs_bigtiff(arrangement: Arrangement, channel_names: tuple[str, ...] = ()) -> bool:
    """Return whether pixels, headers of pages and labels may pass the 4 GiB of a classic TIFF."""
    strips = math.ceil(arrangement.shape[-2] / arrangement.rows_per_strip)
    label = 8 + 2 * max((len(name) for name in channel_names), default=0)
    per_page = 512 + 8 * strips + 2 * label  # labels are written again with the facts of the run
    return math.prod(arrangement.shape) * arrangement.dtype.itemsize + arrangement.pages * per_page > _CLASSIC_LIMIT


def _pages_axes(layout: Layout) -> tuple[str, str, tuple[int, ...]]:
    """Return the order of the layout's axes in the file, the axes of the TIFF, and its shape."""
    if not layout.is_image:
        rows, columns = _table(layout)
        return rows + columns, "QYX", (1, layout.size(rows), layout.size(columns))
    space = spatial(layout.axes)
    stacked = "".join(letter for letter in layout.axes if letter not in space)
    return stacked + space, "Q" + space.upper(), (layout.size(stacked), *map(layout.size, space))


def _labelled_axes(layout: Layout) -> tuple[str, str, tuple[int, ...]]:
    """Return the order of the layout's axes in the file, the axes of the TIFF, and its shape."""
    if not layout.is_image:
        rows, columns = _table(layout)
        return rows + columns, "YX", (layout.size(rows), layout.size(columns))
    series = "".join(letter for letter in layout.axes if letter in _FOLDED)
    rest = "".join(letter for letter in "zcyx" if letter in layout.axes)
    shape = tuple(map(layout.size, rest))
    return (series + rest, "T" + rest.upper(), (layout.size(series), *shape)) if series else (rest, rest.upper(), shape)


def _table(layout: Layout) -> tuple[str, str]:
    """Return the axes along the rows and along the columns of an output that is no image."""
    columns = next((letter for letter in reversed(layout.axes) if letter in "czyx"), "")
    return "".join(letter for letter in layout.axes if letter != columns), columns


def _write_header(stream: IO[bytes], path: Path, layout: Layout, arrangement: Arrangement) -> int:
    """Write everything but the pixels; return the position of the first pixel."""
    import tifffile

    with tifffile.TiffWriter(
        stream,
        bigtiff=needs_bigtiff(arrangement, layout.channel_names),
        imagej=arrangement.dialect == "imagej",
        ome=arrangement.dialect == "ome",
    ) as tiff:
        # Without data, tifffile leaves a hole for the pixels of all pages, one after another.
        place = tiff.write(
            shape=arrangement.shape,
            dtype=arrangement.dtype,
            photometric="minisblack",
            rowsperstrip=arrangement.rows_per_strip,
            software="bioimage_inference",
            returnoffset=True,
            **describe(path, layout, arrangement),
        )
    offset, _ = cast(tuple[int, int], place)
    return offset
