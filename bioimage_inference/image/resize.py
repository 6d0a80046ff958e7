"""Resampling of images and predictions, for users who ask for it (``--fit resize``, ``--rescale``).

Regions are resampled one by one. Their values do not depend on how the image is cut into regions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import floor, prod
from types import MappingProxyType

import numpy as np

from ..array_types import Array
from .image import Image, Region

# Pixels of the source that are resampled at once: 16 MiB as float32, and as much while smoothed.
_PIECE_PIXELS = 1 << 22
_SIGMAS = 4  # width of the smoothing kernel, as in scipy.ndimage.gaussian_filter


def resized(image: Image, sizes: Mapping[str, int]) -> Image:
    """Return the image as float32 with ``sizes`` pixels along the axes of these letters.

    Interpolation is linear, with smoothing before downsampling. Intensities keep their range, and pixel sizes follow.
    Reading a region of the result reads the part of ``image`` that the region shows.
    """
    sizes = {letter: size for letter, size in sizes.items() if letter in image.axes and image.size(letter) != size}
    if not sizes:
        return image
    shape = tuple(sizes.get(letter, size) for letter, size in zip(image.axes, image.shape, strict=True))

    def read(region: Region) -> Array:
        return resample(image.read, image.shape, shape, region)

    pixel_size = {
        letter: old.resampled(sizes[letter] / image.size(letter)) if letter in sizes else old
        for letter, old in image.pixel_size.items()
    }
    return replace(image, shape=shape, dtype=np.dtype(np.float32), read=read, pixel_size=MappingProxyType(pixel_size))


def resample(
    read: Callable[[Region], Array],
    source: Sequence[int],
    target: Sequence[int],
    region: Region,
    *,
    nearest: bool = False,
) -> Array:
    """Return a region of an array after resampling it from the shape ``source`` to the shape ``target``.

    Parameters
    ----------
    read
        Returns a region of the source.
    region
        One slice (step 1) along each axis of the target.
    nearest
        Take the value of the nearest pixel and keep the dtype, for labels. Otherwise interpolate linearly in float32,
        after smoothing along axes that become shorter, as :func:`skimage.transform.resize` does with ``order=1`` and
        ``anti_aliasing=True``: a Gaussian of (factor - 1) / 2 pixels, mirrored at the borders. The first and the last
        edge of source and target coincide.
    """
    spans = [part.indices(size)[:2] for part, size in zip(region, target, strict=True)]
    axes = [_Axis(before, after, *span, nearest) for before, after, span in zip(source, target, spans, strict=True)]
    extents = [axis.stop - axis.start for axis in axes]
    longest = max(range(len(axes)), key=extents.__getitem__)
    if prod(axis.last - axis.first for axis in axes) > _PIECE_PIXELS and extents[longest] > 1:
        start, stop = spans[longest]
        middle = (start + stop) // 2
        halves = (
            (*region[:longest], slice(*half), *region[longest + 1 :]) for half in ((start, middle), (middle, stop))
        )
        return np.concatenate([resample(read, source, target, half, nearest=nearest) for half in halves], longest)
    block = read(tuple(slice(axis.first, axis.last) for axis in axes))
    return _nearest(block, axes) if nearest else _linear(block, axes)


class _Axis:
    """One axis of a region: ``start`` to ``stop`` in the target, which shows ``first`` to ``last`` of the source."""

    def __init__(self, source: int, target: int, start: int, stop: int, nearest: bool) -> None:
        self.source, self.target, self.start, self.stop = source, target, start, stop
        self.factor = source / target
        self.sigma = max(0.0, (self.factor - 1) / 2)
        if source == target or nearest:
            self.first, self.last = self.nearest(start), self.nearest(stop - 1) + 1
        else:
            margin = int(_SIGMAS * self.sigma + 0.5) + 1
            self.first = max(0, floor(self.position(start)) - margin)
            self.last = min(source, floor(self.position(stop - 1)) + 2 + margin)

    def position(self, pixel: int) -> float:
        """Return the place of the centre of a target pixel, in pixels of the source."""
        return (pixel + 0.5) * self.factor - 0.5

    def nearest(self, pixel: int) -> int:
        """Return the source pixel that holds the centre of a target pixel."""
        return (2 * pixel + 1) * self.source // (2 * self.target)


def _nearest(block: Array, axes: Sequence[_Axis]) -> Array:
    for number, axis in enumerate(axes):
        if axis.source != axis.target:
            taken = [axis.nearest(pixel) - axis.first for pixel in range(axis.start, axis.stop)]
            block = block.take(taken, axis=number)
    return block


def _linear(block: Array, axes: Sequence[_Axis]) -> Array:
    from scipy.ndimage import gaussian_filter

    block = block.astype(np.float32)
    if any(axis.sigma for axis in axes):
        block = gaussian_filter(block, [axis.sigma for axis in axes], mode="mirror", truncate=_SIGMAS)
    for number, axis in enumerate(axes):
        if axis.source != axis.target:
            block = _interpolated(block, number, axis)
    return block


def _interpolated(block: Array, number: int, axis: _Axis) -> Array:
    """Interpolate along one axis of a block. Positions before the first and behind the last pixel are mirrored."""
    positions = (np.arange(axis.start, axis.stop) + 0.5) * axis.factor - 0.5
    before = np.floor(positions).astype(np.int64)
    weights = (positions - before).astype(np.float32).reshape([-1 if at == number else 1 for at in range(block.ndim)])
    last = axis.source - 1
    low, high = np.abs(before), last - np.abs(last - before - 1)
    first, second = (block.take(np.clip(index, 0, last) - axis.first, axis=number) for index in (low, high))
    found: Array = first + (second - first) * weights  # equal pixels stay exactly what they are
    return found
