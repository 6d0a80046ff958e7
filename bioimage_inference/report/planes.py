"""Planes of an image or of an output, thinned out while they are read: a few rows at a time, whatever the size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod, sqrt
from pathlib import Path

import numpy as np

from ..array_types import Array
from ..errors import ImageError
from ..files.typed_path import ImagePath
from ..image.axes import SERIES, SPACE
from ..image.image import Image
from ..image.readers.reading import open_image
from ..image.series import MAIN, Selection
from ..image.writers.output_formats import FORMATS
from ..provenance.record_parts import InputRecord, OutputRecord, PlannedInput

Where = Mapping[str, int]

_BAND_BYTES = 16 << 20  # read at once
_MOST_PLANES = 256  # that a projection reads
_MOST_SAMPLED = 64  # planes that :meth:`Planes.values` reads


@dataclass(frozen=True)
class Planes:
    """An open image or output, from whose file planes along y and x are read.

    ``sizes`` has the extent along every axis by its letter. An axis of the file may hold several of these axes, the
    last one fastest: ``folds`` names them by the letter in the file. The batch axis of a ``.npy`` holds samples so.
    A single row of a ``sparse`` file is read without its neighbours. ``coloured`` images have red, green and blue as
    channels.
    """

    name: str
    sizes: Mapping[str, int]
    image: Image
    folds: Mapping[str, str]
    sparse: bool = False
    coloured: bool = False
    channel_names: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether there are planes at all: both y and x."""
        return "y" in self.sizes and "x" in self.sizes

    @property
    def series(self) -> dict[str, int]:
        """Extents along time, positions and further axes beyond channels, z, y and x."""
        return {letter: size for letter, size in self.sizes.items() if letter not in "czyx" and size > 1}

    @property
    def channels(self) -> int:
        """Number of channels, 1 where there is no channel axis."""
        return self.sizes.get("c", 1)

    @property
    def depth(self) -> int:
        """Number of planes along z, 1 where there is no such axis."""
        return self.sizes.get("z", 1)

    def step(self, pixels: int) -> int:
        """Return n for a plane of about ``pixels`` at most: one pixel of n×n is taken."""
        return max(1, ceil(sqrt(self.sizes["y"] * self.sizes["x"] / pixels)))

    def plane(self, where: Where, pixels: int) -> Array:
        """Return the plane (axes yx) at the indices ``where``, 0 for other axes; of about ``pixels`` at most.

        Every n-th pixel of every n-th row is taken. Raises :class:`ImageError` where the file cannot be read.
        """
        height, width, step = self.sizes["y"], self.sizes["x"], self.step(pixels)
        out = np.empty((ceil(height / step), ceil(width / step)), self.image.dtype)
        for start, stop in self._bands(step):
            band = self._rows(where, start, stop)[::step, ::step]
            out[start // step : start // step + len(band)] = band
        return out

    def projection(self, where: Where, pixels: int) -> Array:
        """Return the largest value along z, of at most 256 planes; NaN counts only where all values are NaN."""
        planes = (self.plane({**where, "z": z}, pixels) for z in spread_evenly(self.depth, _MOST_PLANES))
        largest = next(planes)
        for plane in planes:
            np.fmax(largest, plane, out=largest)
        return largest

    def values(self, channel: int, most: int) -> Array:
        """Return about ``most`` values of a channel at most, spread evenly over samples, z, y and x."""
        sizes = {**self.series, "z": self.depth}
        chosen = spread_evenly(prod(sizes.values()), _MOST_SAMPLED)
        found = []
        for flat in chosen:
            place = np.unravel_index(flat, tuple(sizes.values()))
            where = {letter: int(index) for letter, index in zip(sizes, place, strict=True)}
            found.append(self.plane({**where, "c": channel}, max(1, most // len(chosen))).ravel())
        return np.concatenate(found)

    def close(self) -> None:
        """Close the file."""
        self.image.close()

    def _bands(self, step: int) -> Iterator[tuple[int, int]]:
        height, rows, stride = self.sizes["y"], 1, step
        if not self.sparse or step == 1:
            rows = stride = max(1, _BAND_BYTES // (self.sizes["x"] * self.image.dtype.itemsize * step)) * step
        yield from ((row, min(row + rows, height)) for row in range(0, height, stride))

    def _rows(self, where: Where, start: int, stop: int) -> Array:
        """Return rows ``start`` … ``stop`` - 1 of a plane, axes yx."""
        axes, region = self.image.axes, []
        for letter in axes:
            index = 0
            for one in self.folds.get(letter, letter):
                index = index * self.sizes.get(one, 1) + where.get(one, 0)
            spans = {"y": slice(start, stop), "x": slice(0, self.sizes["x"])}
            region.append(spans.get(letter, slice(index, index + 1)))
        band = self.image.read(tuple(region))
        band = band.reshape([size for letter, size in zip(axes, band.shape, strict=True) if letter in "yx"])
        return band.T if axes.index("x") < axes.index("y") else band


def spread_evenly(count: int, most: int) -> Sequence[int]:
    """Return at most ``most`` of the numbers 0 … ``count`` - 1, spread evenly."""
    return range(count) if count <= most else [round(number * (count - 1) / (most - 1)) for number in range(most)]


def open_input(path: ImagePath, one: PlannedInput) -> Planes:
    """Open the image of an input of the record, which names its axes and which image of the file it is.

    Raises :class:`ImageError` or :class:`UsageError` where it cannot be read.
    """
    return open_planes(path, one.axes, one.series.selection if one.series is not None else MAIN)


def open_planes(path: ImagePath, axes: str | None = None, selection: Selection = MAIN) -> Planes:
    """Open an image file. ``axes`` are its letters as the record has them, by default the file's own.

    Raises :class:`ImageError` or :class:`UsageError` where it cannot be read.
    """
    opened = open_image(path, None, selection)
    letters = opened.axes if "c" in opened.axes else opened.axes.replace("s", "c")  # s: red, green and blue of a pixel
    if axes is not None and len(axes) == len(opened.axes):
        letters = axes
    sizes = dict(zip(letters, opened.shape, strict=True))
    coloured = "s" in opened.axes and sizes.get("c") in (3, 4)
    image = replace(opened, axes=letters)
    return Planes(opened.name, sizes, image, {}, coloured=coloured, channel_names=opened.channel_names)


def open_output(output: OutputRecord, inputs: Sequence[InputRecord], folder: Path) -> Planes:
    """Open the file of an output that is there: ``.npy``, OME-Zarr or TIFF.

    The axes are those of the image that the model iterates, then the output's own without the batch axis. A file that
    has moved is looked for in ``folder``. Raises :class:`ImageError` where there is no file, or the output has no
    entries.
    """
    sizes, samples = _output_sizes(output, inputs)
    if 0 in sizes.values():
        raise ImageError("It has no entries, because the network found nothing in the image.")
    named = {kind: path for kind, path, _ in reversed([*output.files()])}
    for kind, written in named.items():
        path = find_file(written, folder)
        by_tensor = FORMATS[kind].axes == "tensor"
        if path is not None:
            image = open_image(path, output.axes if by_tensor else None)
            folds = {"b": samples} if by_tensor else _folds(image, sizes)
            sparse, names = not FORMATS[kind].chunked, output.channel_names
            return Planes(output.id, sizes, image, folds, sparse=sparse, channel_names=names)
    raise ImageError(
        f"None of its files is here any more ({', '.join(map(str, named.values())) or 'none was written'})."
    )


def find_file(path: Path, folder: Path) -> Path | None:
    """Return the file in its own place or, moved together with its report, in ``folder``; ``None`` without a file."""
    return next((one for one in (path, folder / path.name) if one.exists()), None)


def _output_sizes(output: OutputRecord, inputs: Sequence[InputRecord]) -> tuple[dict[str, int], str]:
    """Return the extent of an output along each axis of its files, and which of these axes count samples."""
    own = dict(zip(output.axes, output.shape, strict=True))
    leading = next((one for one in inputs if one.samples > 1), None)
    if own.pop("b", None) is None or leading is None:
        return own, ""
    extents = dict(zip(leading.axes, leading.shape, strict=True))
    spare = [letter for letter in SERIES if letter not in own and letter not in leading.iterated_axes]
    samples = {(spare.pop(0) if one in own else one): extents[one] for one in leading.iterated_axes}
    return {**samples, **own}, "".join(samples)


def _folds(image: Image, sizes: Mapping[str, int]) -> dict[str, str]:
    """Return which axes each axis of an output's TIFF or OME-Zarr holds."""
    stacked = "".join(letter for letter in sizes if letter not in SPACE)
    target = "t" if image.size("t") > 1 else "b"
    series = "".join(letter for letter in sizes if letter in "bipt" and (letter == target or letter not in image.axes))
    return {"?": stacked, target: series}
