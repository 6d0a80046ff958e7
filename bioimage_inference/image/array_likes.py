"""Images as users of Python have them: a file, nested lists, or an array of one of many libraries.

No library is imported here: whoever has an object of a library has imported it.
"""

import os
import sys
from collections.abc import Callable
from numbers import Number
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from ..array_types import Array
from ..errors import UsageError
from ..files.typed_path import Address, ImagePath, image_path
from .array_images import data_array_image, stored_image
from .image import Image

_ADVICE = "Give a file, an array, or an xarray DataArray."


def image_like(given: Any, axes: str | None = None) -> Image | Array | ImagePath:
    """Return an image of a user as the pipeline takes it: path, address, NumPy array, or an image read by region.

    A list of numbers, or of lists of numbers, is one image. A list of anything else, such as files or arrays, is
    several images, which is an error. Tensors of torch are copied from the GPU. Arrays of zarr and dask, and others
    with ``shape``, ``dtype`` and regions, stay where they are. ``axes`` has one letter per dimension of such arrays.

    Raises :class:`UsageError` for anything else.
    """
    if isinstance(given, str | os.PathLike):
        return image_path(os.fspath(given))
    if isinstance(given, Address):
        return given
    if isinstance(given, Image):
        return given
    if isinstance(given, np.ndarray):
        return _unmasked(given)
    if isinstance(given, list | tuple):
        return _nested(given)
    if _is_of(given, "xarray", "DataArray"):
        return data_array_image(given, axes)
    if _is_of(given, "xarray", "Dataset"):
        names = ", ".join(map(str, given.data_vars))
        raise UsageError(f"The image is an xarray Dataset with the arrays {names}: give one, such as dataset[name].")
    if _is_of(given, "torch", "Tensor"):
        return _of_tensor(given)
    if (
        isinstance(getattr(given, "dtype", None), np.dtype)
        and hasattr(given, "shape")
        and hasattr(given, "__getitem__")
    ):
        return stored_image(given, axes)
    if hasattr(given, "__array__"):
        return _converted(given)
    raise UsageError(f"{short_repr(given)} is no image. {_ADVICE}")


def _is_of(given: Any, library: str, name: str) -> bool:
    module = sys.modules.get(library)
    return module is not None and isinstance(given, getattr(module, name))


def _unmasked(array: Array) -> Array:
    if np.ma.is_masked(array):
        raise UsageError(
            "The image has masked pixels, and no network knows masks: choose their values with .filled(value)."
        )
    return array


def _nested(given: list[Any] | tuple[Any, ...]) -> Array:
    if not all(isinstance(item, list | tuple | Number | np.bool_) for item in given):
        raise UsageError(
            f"The image is a list of {len(given)} images: give them to predict_many, or join arrays of the same shape "
            "with numpy.stack."
        )
    try:
        return np.asarray(given)
    except ValueError as error:
        raise UsageError("The image is a nested list whose rows differ in length: give an array.") from error


def _of_tensor(tensor: Any) -> Array:
    """Return a tensor as an array, in memory of the CPU: a view of it where it lies there already."""
    if tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4 and str(tensor.dtype) != "torch.float16":
        tensor = tensor.float()  # NumPy has no bfloat16 and no float8; float32 holds every value of them
    return _converted(tensor, lambda one: one.numpy(force=True))


def _converted(given: Any, convert: Callable[[Any], Array] = np.asarray) -> Array:
    try:
        array = convert(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"The image of the type {type(given).__name__} does not become a NumPy array ({error}). {_ADVICE}"
        ) from error
    return _unmasked(array)
