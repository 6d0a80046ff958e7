"""Which pixels of the image stand for those beyond its border."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

OUTSIDE = -1


def border_indices(
    start: int, stop: int, size: int, mode: Literal["constant", "edge", "reflect", "symmetric"]
) -> NDArray[Any]:
    """Indices into an axis of ``size`` pixels for the places ``start`` … ``stop``, which may lie beyond it.

    ``symmetric`` mirrors at the border (…, 1, 0 | 0, 1, …), ``reflect`` at the outermost pixel (…, 2, 1 | 0, 1, …),
    again and again where the place is farther away than the image is long; ``edge`` repeats the outermost pixel;
    ``constant`` gives :data:`OUTSIDE`. The same as :func:`numpy.pad` of the whole axis.
    """
    places = np.arange(start, stop)
    if mode == "constant":
        return np.where((places >= 0) & (places < size), places, OUTSIDE)
    if mode == "edge" or size == 1:
        return places.clip(0, size - 1)
    period = 2 * size if mode == "symmetric" else 2 * size - 2
    places = places % period
    return np.minimum(places, period - places - (mode == "symmetric"))
