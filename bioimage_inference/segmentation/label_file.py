"""Labels that are kept on the disk between two passes, so that memory does not grow with the image."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..image.image import Image, Region
from ..image.readers.reading import open_image
from ..image.writers.base import Layout
from ..image.writers.npy_writer import NpyWriter

Labels = NDArray[np.uint32]


def compact(labels: Labels, count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The numbers above 0 that occur in ``labels``, and the labels as positions among them, counted from 1.

    ``count`` is the highest number there may be. Takes no sorting, unlike ``numpy.unique``.
    """
    occurs = np.zeros(count + 1, np.bool_)
    occurs[labels] = True
    occurs[0] = False
    return np.flatnonzero(occurs), np.cumsum(occurs, dtype=np.int32)[labels] * (labels > 0)


class LabelFile:
    """Labels (uint32) that are first written and then read by region; the file goes when the ``with`` block ends.

    Raises OutputError where the disk does not take it.
    """

    def __init__(self, path: Path, axes: str, shape: tuple[int, ...]) -> None:
        self.path = path
        self._writer = NpyWriter(path, Layout(axes, shape, np.dtype(np.uint32)))
        self._image: Image | None = None

    def write(self, region: Region, labels: Labels) -> None:
        """Write a region: a slice per axis."""
        self._writer.write(region, labels)

    def read(self, region: Region) -> Labels:
        """Read a region; nothing can be written any more."""
        if self._image is None:
            self._writer.commit()
            self._image = open_image(self.path)
        return self._image.read(region).astype(np.uint32, copy=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del kind, error, at
        self._writer.abort()
        if self._image is not None:
            self._image.close()
            self.path.unlink()
