"""An output that stays in memory, for callers who want an array and no file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image import Region
from .base import Layout


class MemorySink:
    """Collects an output in ``array``, with the axes and dtype of the layout."""

    path = Path()
    notes: tuple[str, ...] = ()

    def __init__(self, layout: Layout) -> None:
        self.array: NDArray[Any] = np.zeros(layout.shape, layout.dtype)

    def write(self, region: Region, block: NDArray[Any]) -> None:
        """Put a block at a region of the output."""
        self.array[region] = block

    def flush(self) -> None:
        """Nothing to wait for."""

    def commit(self) -> None:
        """Nothing to name."""

    def abort(self) -> None:
        """Nothing to remove."""
