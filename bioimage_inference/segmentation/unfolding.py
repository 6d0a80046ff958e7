"""An image seen under its true axes, where its file has several of them folded into one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..image.image import Image, Region


def unfold(image: Image, axis: int, letters: str, sizes: Sequence[int]) -> Image:
    """The image with its dimension ``axis`` split into ``letters`` of ``sizes``, the last one fastest.

    Raises ValueError where these do not make up the dimension.
    """
    if len(letters) != len(sizes) or prod(sizes) != image.shape[axis]:
        raise ValueError(f"{letters} {tuple(sizes)} do not make up {image.shape[axis]} of {image.name}")
    shape = (*image.shape[:axis], *sizes, *image.shape[axis + 1 :])

    def read(region: Region) -> NDArray[Any]:
        spans = [part.indices(size)[:2] for part, size in zip(region, shape, strict=True)]
        whole: tuple[slice, ...] = (slice(None),) * axis
        found = np.empty([stop - start for start, stop in spans], image.dtype)
        before, folded, after = spans[:axis], spans[axis : axis + len(sizes)], spans[axis + len(sizes) :]
        for index in product(*(range(*span) for span in folded)):
            number = int(np.ravel_multi_index(index, tuple(sizes))) if index else 0
            at = tuple(place - start for place, (start, _) in zip(index, folded, strict=True))
            part = image.read((*_slices(before), slice(number, number + 1), *_slices(after)))
            found[whole + at] = part.squeeze(axis)
        return found

    axes = image.axes[:axis] + letters + image.axes[axis + 1 :]
    return replace(image, axes=axes, shape=shape, read=read)


def _slices(spans: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in spans)
