"""An array in memory as an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .axes import guess_axes, parse_axes, with_user_axes
from .image import Image


def array_image(array: NDArray[Any], axes: str | None = None, name: str = "array") -> Image:
    """Wrap an array; ``axes`` has a letter per dimension, without it they are guessed from the model.

    Raises :class:`UsageError` where the axes do not fit, :class:`ImageError` where the array holds no numbers.
    """
    from .readers.array_readers import check_numeric

    check_numeric(name, array.dtype)
    image = Image(
        name=name,
        path="",
        axes=guess_axes(array.shape),
        axes_source="guess",
        shape=array.shape,
        dtype=array.dtype.newbyteorder("="),
        read=lambda region: np.asarray(array[region], dtype=array.dtype.newbyteorder("=")),
        close=lambda: None,
    )
    return image if axes is None else with_user_axes(image, parse_axes(axes))
