"""Writing what was found: label image, table and overlay, which appear under their final names together."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..files.partial_file import PartialFile
from ..image.image import PixelSize, Region
from ..image.writers.base import Layout
from ..image.writers.tiff_writer import TiffWriter
from .intensity import Intensities
from .label_blocks import cut
from .label_file import LabelFile
from .maps import Maps
from .numbering import Numbered
from .overlay import write_overlay
from .samples import micrometres
from .table import Columns, write_table


@dataclass(frozen=True)
class Found:
    """All that was found in a prediction; ``raw`` holds the regions that ``numbered`` makes objects of.

    ``shown`` is the channel of the image that the overlay shows.
    """

    maps: Maps
    light: Intensities | None
    raw: LabelFile
    numbered: Numbered
    pixel_size: Mapping[str, PixelSize]
    shown: int

    def labels(self, region: Region) -> NDArray[np.unsignedinteger]:
        """The final labels of a region: slices along the axes of samples, then the spatial ones."""
        return self.numbered.labels[self.raw.read(region)].astype(self.numbered.dtype)

    @property
    def columns(self) -> Columns:
        """What the table is about."""
        samples = self.maps.samples
        return Columns(
            spatial=samples.spatial,
            samples=samples.axes,
            counts=samples.counts,
            micrometres=micrometres(self.pixel_size, samples.spatial),
            channels=() if self.light is None else self.light.names,
        )


def write_files(labels: Path | None, table: Path | None, overlay: Path | None, found: Found) -> None:
    """Write the files that are named; none appears unless all could be written. Raises OutputError."""
    with ExitStack() as stack:
        complete: list[Callable[[], None]] = []

        def write(path: Path, content: Callable[[IO[bytes]], None]) -> None:
            file = PartialFile(path)
            stack.callback(file.abort)
            with file.stream() as stream:
                content(stream)
            file.flush()
            complete.append(file.commit)

        if labels is not None:
            writer = TiffWriter(labels, _layout(found), "labelled")
            stack.callback(writer.abort)
            _write_labels(writer, found)
            complete.append(writer.commit)
        if table is not None:
            write(table, lambda stream: write_table(stream, table, found.numbered.objects, found.columns))
        if overlay is not None:
            write(overlay, lambda stream: _write_overlay(stream, found))
        for commit in complete:
            commit()


def _layout(found: Found) -> Layout:
    samples = found.maps.samples
    axes = samples.axes + samples.spatial
    sizes = {letter: size for letter, size in found.pixel_size.items() if letter in axes}
    return Layout(axes, (*samples.counts, *samples.shape), found.numbered.dtype, sizes)


def _write_labels(writer: TiffWriter, found: Found) -> None:
    samples = found.maps.samples
    for index in samples.indices():
        for block in cut(samples.shape, 0):
            region = (*(slice(place, place + 1) for place in index), *block.core)
            writer.write(region, found.labels(region))
    writer.flush()


def _write_overlay(stream: IO[bytes], found: Found) -> None:
    """The first sample, and of a stack its middle plane; in the image where there is one, else in the foreground."""
    maps, light = found.maps, found.light
    samples = maps.samples
    first = (0,) * len(samples.counts)
    middle = tuple(slice(size // 2, size // 2 + 1) for size in samples.shape[:-2])
    shape = (samples.shape[-2], samples.shape[-1])

    def grey(region: Region) -> NDArray[Any]:
        if light is not None:
            return flat(light.read_channel(first, found.shown, (*middle, *region)))
        return flat(maps.samples.read(first, maps.foreground, (*middle, *region)))

    def objects(region: Region) -> NDArray[Any]:
        return flat(found.labels((*(slice(place, place + 1) for place in first), *middle, *region)))

    def flat(plane: NDArray[Any]) -> NDArray[Any]:
        return plane.reshape(plane.shape[-2:])

    write_overlay(stream, grey, objects, shape)
