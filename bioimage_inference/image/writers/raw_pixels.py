"""Pixels of an output in a temporary file, from which a writer encodes its chunks or tiles in their own order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...array_types import Array
from ..image import Region, runs
from .base import ArrayWriter, Layout


class RawPixels(ArrayWriter):
    """An uncompressed file beside the output ``path``: it takes blocks in any order, and gives back any region.

    ``order`` are the layout's axes in the file, slowest first; ``dtype`` is the type of the stored numbers. The file is
    never committed: :meth:`abort` removes it. ``number`` distinguishes several files of one output.
    """

    def __init__(self, path: Path, layout: Layout, order: str, dtype: "np.dtype[np.generic]", number: int = 0) -> None:
        place = path.with_name(f"{path.name}.pixels{number}")
        super().__init__(path, layout, order, dtype, lambda stream: stream.tell(), place=place)

    def read(self, region: Region, shape: Sequence[int] | None = None) -> Array:
        """Return a region, which has one slice of step 1 for each axis of ``order``.

        ``shape`` joins neighbouring axes of the file to one, and then the region has a slice for each of its entries.
        """
        starts = [span.start for span in region]
        block = np.empty([span.stop - span.start for span in region], self.dtype)
        positions = runs(shape or self._shape, starts, block.shape) * self.dtype.itemsize
        self._file.read(positions.tolist(), block.reshape(-1).view(np.uint8).data)
        return block
