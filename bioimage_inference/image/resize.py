"""Resampling of an image to another size, for users who ask for it (``--fit resize``)."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..array_types import Array
from .image import Image, Region


def resized(image: Image, sizes: Mapping[str, int]) -> Image:
    """Return the image as float32 with ``sizes`` pixels along the axes of these letters.

    Interpolation is linear, with smoothing before downsampling (:func:`skimage.transform.resize`). Intensities keep
    their range, and pixel sizes follow. One whole plane (or volume) at a time is read and cached.
    """
    sizes = {letter: size for letter, size in sizes.items() if letter in image.axes and image.size(letter) != size}
    if not sizes:
        return image
    shape = tuple(sizes.get(letter, size) for letter, size in zip(image.axes, image.shape, strict=True))
    cached: dict[tuple[tuple[int, int], ...], Array] = {}

    def read(region: Region) -> Array:
        spans = [part.indices(size)[:2] for part, size in zip(region, shape, strict=True)]
        named = list(zip(image.axes, spans, strict=True))
        source = tuple((0, image.size(letter)) if letter in sizes else span for letter, span in named)
        if source not in cached:
            cached.clear()
            cached[source] = _resize(image, tuple(slice(*span) for span in source), sizes)
        return cached[source][tuple(slice(*span) if letter in sizes else slice(None) for letter, span in named)]

    pixel_size = {
        letter: old.resampled(sizes[letter] / image.size(letter)) if letter in sizes else old
        for letter, old in image.pixel_size.items()
    }
    changes = ", ".join(f"{letter} from {image.size(letter)} to {size}" for letter, size in sizes.items())
    return replace(
        image,
        shape=shape,
        dtype=np.dtype(np.float32),
        read=read,
        pixel_size=MappingProxyType(pixel_size),
        notes=(*image.notes, f"{image.name} was resized as asked: {changes} pixels; the outputs have the new size."),
    )


def _resize(image: Image, source: Region, sizes: Mapping[str, int]) -> Array:
    from skimage.transform import resize

    block = image.read(source).astype(np.float32)
    target = tuple(sizes.get(letter, size) for letter, size in zip(image.axes, block.shape, strict=True))
    smaller = any(after < before for after, before in zip(target, block.shape, strict=True))
    return np.asarray(resize(block, target, order=1, preserve_range=True, anti_aliasing=smaller), dtype=np.float32)
