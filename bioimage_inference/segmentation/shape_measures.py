"""Measures of shape, which need all pixels of an object at once: perimeter, eccentricity, Feret diameter."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def perimeter_and_eccentricity(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the perimeter in pixels and the eccentricity of an object (mask with axes yx).

    They are those of :func:`skimage.measure.regionprops`: the length of the line through the centres of the border
    pixels, and the eccentricity of the ellipse with the same second moments (0 for a circle, towards 1 for a line).
    """
    from skimage.measure import regionprops

    (found,) = regionprops(mask.astype(np.uint8))
    return float(found.perimeter), float(found.eccentricity)


def feret_diameters(mask: NDArray[np.bool_], scales: Iterable[Sequence[float]]) -> list[float]:
    """Return the largest distance between two corners of pixels of an object, as ImageJ measures it in 2-D.

    Each of ``scales`` gives the extent of a pixel along each axis of the mask, and the distance in its unit.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    lines = mask.reshape(-1, mask.shape[-1])
    filled = np.flatnonzero(lines.any(axis=1))
    first = lines[filled].argmax(axis=1)
    last = lines.shape[1] - lines[filled, ::-1].argmax(axis=1)
    places = np.stack(np.unravel_index(filled, mask.shape[:-1]), axis=1)
    corners = np.concatenate(
        [
            np.column_stack([places + offset, ends])
            for offset in np.ndindex(*(2,) * places.shape[1])
            for ends in (first, last)
        ]
    )
    outermost = corners[ConvexHull(corners).vertices]  # whatever the scale
    return [float(pdist(outermost * np.asarray(scale, float)).max()) for scale in scales]
