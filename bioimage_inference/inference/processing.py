"""Application of processing steps to a tile or to a whole sample, as bioimageio.core 0.11 defines them.

Values are processed in float32, or in float64 where the data need it. They stay floating point until the last step.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..errors import ModelError
from ..model.spec import Operation
from ..text import counted
from .operations.dtype_conversion import target_dtype
from .operations.processing_operation import Context
from .operations.registry import measures_of, operation_of
from .statistics import Statistic, Statistics

Place = Mapping[str, Mapping[int, NDArray[np.integer[Any]]]]
"""Position of a tile: for each axis that is cut, the size of the whole and which of its pixels the tile holds."""


def apply(
    steps: Sequence[Operation],
    tensor: str,
    array: Array,
    letters: str,
    statistics: Statistics,
    place: Place = MappingProxyType({}),
) -> Array:
    """Apply steps in order to a tile of ``tensor`` with the axes ``letters``, or to a whole sample.

    ``statistics`` hold the measures of the steps, ``place`` the position of the tile. Infinite values stay infinite or
    become NaN, as floating point arithmetic has it. Raises :class:`ModelError` if a step has one value for each pixel
    along an axis and the image has another size there, or no such axis, or if code of the model or of another package
    fails.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for number, step in enumerate(steps):
            operation = operation_of(step)
            cut = partial(_values_of_tile, step, dict(zip(letters, array.shape, strict=True)), place)
            context = Context(
                tensor=tensor,
                letters=letters,
                kwargs=_cut_kwargs(step.kwargs, cut),
                values=[
                    [cut(letters, value) for value in _along_axes(step, letters, statistics[measure])]
                    for measure in measures_of(step, tensor)
                ],
                is_last=all(target_dtype(later) is not None for later in steps[number + 1 :]),
            )
            array = operation.apply(as_floats(array) if operation.needs_floats else array, context)
    return array


def as_floats(array: Array) -> Array:
    """Return the values in float32 if that holds them exactly, else in float64.

    float32 holds integers of up to 16 bits and half floats exactly.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize >= 4:
        return array
    return array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)


def _cut_kwargs(kwargs: Mapping[str, Any], cut: partial[Array]) -> Mapping[str, Any]:
    """Return the arguments of a step with lists along ``axis`` cut to the pixels of a tile."""
    if "axis" not in kwargs:
        return kwargs
    return {
        name: cut(kwargs["axis"], np.asarray(value)) if isinstance(value, list | tuple) else value
        for name, value in kwargs.items()
    }


def _along_axes(step: Operation, letters: str, statistic: Statistic) -> Iterator[Array]:
    """Yield the values of a statistic with the axes ``letters``, which may not be those of the measured tensor."""
    own = statistic.letters
    order = sorted(range(len(own)), key=lambda axis: letters.find(own[axis]))
    for value in statistic.values:
        sizes = dict(zip(own, value.shape, strict=True))
        for letter, size in sizes.items():
            if size > 1 and letter not in letters:
                raise ModelError(
                    f"The description's step {step.name} uses {counted(size, 'value')} of another tensor along "
                    f"{letter}, but this tensor has the axes {letters}. Its authors have to correct the description."
                )
        yield value.transpose(order).reshape([sizes.get(letter, 1) for letter in letters])


def _values_of_tile(step: Operation, shape: Mapping[str, int], place: Place, letters: str, values: Array) -> Array:
    """Return the part of values with axes ``letters`` that belongs to a tile.

    Along each axis there is a value for each pixel of the image, or one value for all pixels.
    """
    for axis, letter in enumerate(letters):
        size, wholes = values.shape[axis], place.get(letter, {})
        if size in wholes:
            values = values.take(wholes[size], axis=axis)
        elif size not in (1, shape[letter]) or (
            size > 1 and wholes and not any(len(np.unique(pixels)) == whole for whole, pixels in wholes.items())
        ):
            raise ModelError(
                f"The description's step {step.name} has {counted(size, 'value')} along {letter}, one for each pixel, "
                f"but the image has {counted(next(iter(wholes), shape[letter]), 'pixel')} there. Give an image of the "
                "size that the description means."
            )
    return values
