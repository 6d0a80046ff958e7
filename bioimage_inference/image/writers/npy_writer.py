"""Writing an output as a ``.npy`` file, in the layout's own order of axes and its own dtype."""

from pathlib import Path
from typing import IO

import numpy as np

from bioimage_inference.image.writers.base import ArraySink, Layout


class NpySink(ArraySink):
    """A ``.npy`` file in native byte order; every dtype is kept as it is.

    Raises :class:`~bioimage_inference.errors.OutputError` when the place cannot be written or lacks room.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        dtype = layout.dtype.newbyteorder("=")

        def write_header(stream: IO[bytes]) -> int:
            facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": layout.shape}
            np.lib.format.write_array_header_1_0(stream, facts)
            return stream.tell()

        super().__init__(path, layout, layout.axes, dtype, write_header)
