"""Cuts a sample into blocks, and keeps their labels in a file, so memory does not grow with the image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
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

# Largest outer region of a block, in pixels. A block takes about 70 bytes of memory for each of these pixels.
MOST_PIXELS = 1 << 23
# Pixels that a block reads beyond its core, by the number of spatial dimensions.
OVERLAP = {2: 256, 3: 48}


@dataclass(frozen=True)
class Block:
    """One block of a sample: it reads the region ``outer`` and contributes the region ``core``.

    Regions have a slice for each spatial axis. ``index`` is the block's position in the grid.
    """

    index: tuple[int, ...]
    core: Region
    outer: Region

    @property
    def inner(self) -> Region:
        """The core, in pixels from the start of the outer region."""
        return tuple(
            slice(core.start - outer.start, core.stop - outer.start)
            for core, outer in zip(self.core, self.outer, strict=True)
        )


@dataclass(frozen=True)
class Grid:
    """The blocks of a sample of ``shape``: cores of ``size`` pixels (the last ones less), ``overlap`` around."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    overlap: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(-(-whole // part) for whole, part in zip(self.shape, self.size, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        """Yield all blocks, the last axis fastest."""
        for index in product(*map(range, self.counts)):
            starts = [place * part for place, part in zip(index, self.size, strict=True)]
            stops = [min(start + part, whole) for start, part, whole in zip(starts, self.size, self.shape, strict=True)]
            yield Block(
                index,
                tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True)),
                tuple(
                    slice(max(start - self.overlap, 0), min(stop + self.overlap, whole))
                    for start, stop, whole in zip(starts, stops, self.shape, strict=True)
                ),
            )


def cut(shape: Sequence[int], overlap: int, most: int = MOST_PIXELS) -> Grid:
    """Return the grid with the fewest blocks whose outer regions have at most ``most`` pixels.

    Cores stay larger than the overlap, so a large overlap can exceed ``most``.
    """
    counts = [1] * len(shape)
    size = list(shape)
    while prod(min(part + 2 * overlap, whole) for part, whole in zip(size, shape, strict=True)) > most:
        longest = max(range(len(size)), key=lambda axis: size[axis])
        if size[longest] <= overlap:
            break
        counts[longest] += 1
        size[longest] = -(-shape[longest] // counts[longest])
    return Grid(tuple(shape), tuple(size), overlap)


def compact(labels: Labels, count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the numbers above 0 in ``labels``, and the labels as positions among these numbers, from 1.

    ``count`` is the highest possible number. Unlike ``numpy.unique``, this needs no sorting.
    """
    occurs = np.zeros(count + 1, np.bool_)
    occurs[labels] = True
    occurs[0] = False
    return np.flatnonzero(occurs), np.cumsum(occurs, dtype=np.int32)[labels] * (labels > 0)


class LabelFile:
    """A file of labels (uint32): write all regions first, then read any region. The end of ``with`` deletes the file.

    Raises OutputError if the disk is full or refuses the file.
    """

    def __init__(self, path: Path, axes: str, shape: tuple[int, ...]) -> None:
        self.path = path
        self._writer = NpyWriter(path, Layout(axes, shape, np.dtype(np.uint32)))
        self._image: Image | None = None

    def write(self, region: Region, labels: Labels) -> None:
        """Write the labels of a region, which has a slice for each axis."""
        self._writer.write(region, labels)

    def read(self, region: Region) -> Labels:
        """Return the labels of a region. The first read ends writing."""
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
