"""Measures of shape, which need all pixels of an object at once: perimeter, eccentricity, Feret diameter."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def perimeter(mask: NDArray[np.bool_]) -> float:
    """Return the length in pixels of the line through the centres of an object's border pixels (mask with axes yx).

    :func:`skimage.measure.perimeter` weighs the pixels.
    """
    from skimage import measure

    return float(measure.perimeter(mask))


def eccentricity(mask: NDArray[np.bool_]) -> float:
    """Return the eccentricity of the ellipse with an object's second moments: 0 for a circle, towards 1 for a line.

    The mask has the axes yx. The measure is that of :func:`skimage.measure.regionprops`, which takes ten times as long
    for a nucleus: the square root of 1 - (smaller / larger eigenvalue of the covariance of y and x).
    """
    y, x = (places - places.mean() for places in np.nonzero(mask))
    mean, difference = (y @ y + x @ x) / 2, np.hypot((y @ y - x @ x) / 2, y @ x)
    return float(np.sqrt(1 - (mean - difference) / (mean + difference))) if mean else 0.0


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
