"""The overlay picture: a plane of the image in grey, with the outlines of the objects found in it."""

from collections.abc import Callable
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..image.image import Region

LONGEST = 1600
"""Pixels of the longer side of a picture, at most."""
_SHORT = 800
_OUTLINE = (255, 176, 0)
"""Amber: told from every grey, and by every kind of colour blindness."""
_STRETCH = (0.5, 99.8)

Plane = Callable[[Region], NDArray[Any]]
"""Reads a region (slices along y and x) of a plane."""


def write_overlay(stream: IO[bytes], image: Plane, labels: Plane, shape: tuple[int, int]) -> None:
    """Write a PNG of planes of ``shape`` to ``stream``: every n-th pixel of large ones, small ones enlarged."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    step = -(-max(shape) // LONGEST)
    grey = _stretched(_sampled(image, shape, step))
    objects = _sampled(labels, shape, step)
    enlarged = max(1, _SHORT // max(grey.shape))
    grey, objects = _enlarged(grey, enlarged), _enlarged(objects, enlarged)
    picture = np.stack([grey] * 3, axis=-1)
    picture[find_boundaries(objects, mode="inner")] = _OUTLINE
    Image.fromarray(picture).save(stream, format="PNG")


def _sampled(plane: Plane, shape: tuple[int, int], step: int) -> NDArray[Any]:
    """Every ``step``-th pixel of every ``step``-th row, read row by row."""
    rows, columns = shape
    return np.concatenate(
        [plane((slice(row, row + 1), slice(0, columns)))[:, ::step] for row in range(0, rows, step)], axis=0
    )


def _stretched(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values that span all but the extremes of the plane."""
    values = np.nan_to_num(plane.astype(np.float32))
    low, high = np.percentile(values, _STRETCH)
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)


def _enlarged(plane: NDArray[Any], factor: int) -> NDArray[Any]:
    return plane.repeat(factor, axis=0).repeat(factor, axis=1)
