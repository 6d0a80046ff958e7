"""Chooses the writer of a TIFF: plain pages or labelled, a pyramid for large images, none for an empty output."""

from pathlib import Path

from ...array_types import Array
from ...files.partial_file import output_error
from ...options import Options
from ..image import Region
from .base import Layout, Writer
from .pyramid_tiff import PyramidTiffWriter
from .tiff_writer import TiffWriter, arrange, needs_bigtiff


def open_tiff_writer(path: Path, layout: Layout, options: Options) -> Writer:
    """Return the writer of a TIFF; for an output without entries, a writer that removes an earlier file.

    A labelled TIFF over 4 GiB is a pyramid, because no viewer draws such a file at once without smaller levels.
    """
    if not layout.nbytes:
        return NoTiffWriter(path)
    if options.tiff_layout == "pages":
        return TiffWriter(path, layout, "pages")
    is_large = needs_bigtiff(arrange(path, layout, "labelled"), layout.channel_names)
    if layout.is_image and (is_large or options.tiff_layout == "pyramid"):
        return PyramidTiffWriter(path, layout)
    return TiffWriter(path, layout, "labelled")


class NoTiffWriter(Writer):
    """Stands for the TIFF of an output without entries, which no TIFF can hold; removes an earlier file of its name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = (f"{path.name} was not written, because a TIFF cannot be without pixels.",)

    def write(self, region: Region, block: Array) -> None:
        """Do nothing: there are no pixels."""

    def commit(self) -> None:
        """Remove the file of an earlier run."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(self.path, self.path.parent, None, error) from error
