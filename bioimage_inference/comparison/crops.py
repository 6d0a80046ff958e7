"""The part of an image that models are compared on: chosen where the image has most structure, and read once."""

from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Literal

import numpy as np

from ..array_types import Array
from ..errors import ImageError
from ..image.array_images import array_image
from ..image.image import Image, Region
from ..text import times

EDGE = {2: 512, 3: 256}
"""Edge of the crop along y and x in pixels, by the number of dimensions."""
DEPTH = 64
"""Planes of the crop of a stack."""
_WINDOWS = {"z": 4, "y": 8, "x": 8}  # most places that are tried along each axis
_BLOCK = 16  # pixels along y and x over which structure is measured: smaller than most objects
_BRIGHTEST = 99.8  # percentile above which pixels count no more: a speck of dust is no structure
CropSize = int | Literal["whole"] | None


@dataclass(frozen=True)
class Crop:
    """A part of an image. ``pixels`` have the axes of the image; axes that models iterate have the size 1.

    ``start`` and ``shape`` are its place along z (if the image has planes), y and x, in pixels of the image.
    """

    image: Image
    pixels: Array
    axes: str
    start: tuple[int, ...]
    shape: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def spatial(self) -> str:
        """The axes of ``start`` and ``shape``: ``yx`` or ``zyx``."""
        return "zyx"[-len(self.shape) :]

    @property
    def in_words(self) -> str:
        """The size and place of the crop, such as ``512×512 pixels from y 100, x 0``."""
        whole = all(self.image.size(letter) == size for letter, size in zip(self.spatial, self.shape, strict=True))
        if whole and not any(self.start):
            return f"the whole image of {times(self.shape)} pixels"
        place = ", ".join(f"{letter} {at}" for letter, at in zip(self.spatial, self.start, strict=True))
        return f"{times(self.shape)} pixels from {place}"

    def as_image(self, pixels: Array | None = None) -> Image:
        """Return the crop, or changed ``pixels`` in its place, as an image with the metadata of the file."""
        made = array_image(self.pixels if pixels is None else pixels, self.axes, self.image.name)
        source = self.image
        sizes = MappingProxyType({letter: size for letter, size in source.pixel_size.items() if letter in self.axes})
        return replace(made, axes_source="file", pixel_size=sizes, channel_names=source.channel_names)


def choose_crop(image: Image, size: CropSize, *, deep: bool) -> Crop:
    """Return the crop of an opened image where it has most structure.

    ``size`` is the edge along y and x in pixels; ``None`` is 512 pixels, or 256 in a stack. ``deep`` keeps planes along
    z; otherwise the crop of a stack is one plane. Of a time series or positions the first image is taken.

    Raises :class:`ImageError` for an image without the axes y and x.
    """
    if not {"y", "x"} <= set(image.axes):
        raise ImageError(
            f"{image.name} has the axes {image.axes.upper()}, but a comparison needs the axes y and x. Name the axes "
            "with --axes."
        )
    spatial = "zyx" if image.size("z") > 1 else "yx"
    full = [image.size(letter) for letter in spatial]
    if size == "whole":
        shape = full
    else:
        edge = size or EDGE[3 if deep and len(spatial) == 3 else 2]
        shape = [min(edge, one) for one in full]
        if len(spatial) == 3:
            shape[0] = min(DEPTH, full[0]) if deep else 1
    start = _start(image, spatial, full, shape)
    kept = "".join(letter for letter in image.axes if letter in "cs" + spatial)
    block = _read(image, dict(zip(spatial, _slices(start, shape), strict=True)))
    block = block.reshape([one for letter, one in zip(image.axes, block.shape, strict=True) if letter in kept])
    if len(spatial) == 3 and shape[0] == 1:
        block = block.squeeze(kept.index("z"))
        kept = kept.replace("z", "")
    others = [letter for letter in image.axes if letter not in "cszyx" and image.size(letter) > 1]
    notes = [
        f"{image.name}: the comparison takes the first of {image.size(one)} along {one.upper()}." for one in others
    ]
    if len(spatial) == 3 and shape[0] == 1:
        notes.append(
            f"{image.name}: no model takes volumes, so the comparison takes plane {start[0]} (from 0) of {full[0]}."
        )
    return Crop(image, block, kept, tuple(start), tuple(shape), tuple(notes))


def same_part(labels: Image, crop: Crop) -> Array:
    """Return the part of a label map where the crop of its image lies, with the axes of the crop without channels.

    Raises :class:`ImageError` if the label map has another size than the image, or holds no whole numbers.
    """
    spatial, size = crop.spatial, crop.image.size
    wrong = [letter for letter in spatial if labels.size(letter) != size(letter)]
    if wrong or (labels.size("z") > 1 and "z" not in spatial) or labels.size("c") > 1 or labels.size("s") > 1:
        raise ImageError(
            f"The true objects {labels.name} have the axes {labels.axes.upper()} and the shape {labels.shape}, but the "
            f"image {crop.image.name} has {crop.image.axes.upper()} and {crop.image.shape}. Give a label map of the "
            "whole image: one channel, 0 outside objects, and a number for each object."
        )
    block = _read(labels, dict(zip(spatial, _slices(crop.start, crop.shape), strict=True)))
    order = [letter for letter in labels.axes if letter in spatial]
    block = block.reshape([one for letter, one in zip(labels.axes, block.shape, strict=True) if letter in spatial])
    block = block.transpose([order.index(letter) for letter in spatial])
    whole = np.nan_to_num(block).astype(np.int64)
    if not np.array_equal(whole, block):
        raise ImageError(
            f"The true objects {labels.name} hold numbers that are not whole. Give a label map: 0 outside objects, and "
            "a number for each object."
        )
    return whole.squeeze(0) if len(spatial) == 3 and crop.shape[0] == 1 else whole


def _start(image: Image, spatial: str, full: list[int], shape: list[int]) -> list[int]:
    """Return the corner of the window with most structure, among windows that are spread evenly."""
    places = []
    for letter, whole, part in zip(spatial, full, shape, strict=True):
        count = min(_WINDOWS[letter], 1 + 2 * (whole - part) // max(part, 1) + (whole > part))
        places.append(np.unique(np.linspace(0, whole - part, max(count, 1)).round().astype(int)).tolist())
    corners = [list(corner) for corner in product(*places)]
    if len(corners) == 1:
        return corners[0]
    found = []
    for corner in corners:
        window = dict(zip(spatial, _slices(corner, shape), strict=True))
        if "z" in window:  # the middle plane stands for all
            middle = (window["z"].start + window["z"].stop) // 2
            window["z"] = slice(middle, middle + 1)
        found.append(structure(_plane(image, _read(image, window))))
    return corners[int(np.argmax(found))]


def structure(plane: Array) -> float:
    """Return the mean standard deviation of small blocks of a plane (axes yx)."""
    values = np.nan_to_num(plane.astype(np.float32))
    values = np.minimum(values, np.percentile(values, _BRIGHTEST))
    edge = min(_BLOCK, *values.shape)
    rows, columns = (size // edge for size in values.shape)
    blocks = values[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge)
    return float(blocks.std(axis=(1, 3)).mean())


def _plane(image: Image, block: Array) -> Array:
    """Return the mean of the channels of a block with the axes of the image and one pixel along z."""
    others = tuple(number for number, letter in enumerate(image.axes) if letter not in "yx")
    plane = block.astype(np.float32).mean(axis=others)
    turned: Array = plane if image.axes.index("y") < image.axes.index("x") else plane.T
    return turned


def _read(image: Image, window: dict[str, slice]) -> Array:
    """Return a region of all channels, at the first place along the axes that ``window`` does not name."""
    region: list[slice] = []
    for letter, size in zip(image.axes, image.shape, strict=True):
        region.append(window.get(letter, slice(0, size if letter in "cs" else 1)))
    chosen: Region = tuple(region)
    return image.read(chosen)


def _slices(start: tuple[int, ...] | list[int], shape: tuple[int, ...] | list[int]) -> list[slice]:
    return [slice(at, at + size) for at, size in zip(start, shape, strict=True)]
