"""Writer of ``.npy`` files, with the axes and dtype of the layout."""

from pathlib import Path
from typing import IO

import numpy as np

from .base import ArrayWriter, Layout, Writer


def open_npy_writer(path: Path, layout: Layout, _: object) -> Writer:
    """Return the writer of an ``.npy`` file, for which there are no options."""
    return NpyWriter(path, layout)


class NpyWriter(ArrayWriter):
    """A ``.npy`` file in native byte order; every dtype is kept.

    Raises :class:`~bioimage_inference.errors.OutputError` if the place cannot be written or lacks room.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        dtype = layout.dtype.newbyteorder("=")

        def write_header(stream: IO[bytes]) -> int:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": layout.shape}
            np.lib.format.write_array_header_1_0(stream, header)
            return stream.tell()

        super().__init__(path, layout, layout.axes, dtype, write_header)
