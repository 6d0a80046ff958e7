"""Turns a layer of napari into an image of ours, and puts the layers of a prediction where that layer lies.

Nothing here imports napari or Qt.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array_types import Array
from ..image.array_images import array_image
from ..image.array_likes import image_like
from ..image.axes import SCALED, letter_of, parse_axes, with_user_axes
from ..image.image import Image, PixelSize
from ..image.units import pixel_size
from ..prediction import Layer

if TYPE_CHECKING:
    import napari.layers

_UNKNOWN_UNIT = "pixel"
# The axis of colours of an rgb layer is the last one, and not among the layer's dimensions.
_COLOURS = ("red", "green", "blue", "alpha")


@dataclass(frozen=True)
class LayerState:
    """The pixels and the metadata of an image layer for a prediction, also in another thread.

    ``data`` is the full resolution. The other entries have a value for each dimension of the layer; the colours of an
    rgb layer are no dimension. ``affine``, ``rotate`` and ``shear`` are napari's matrices, the last one as its upper
    triangle.
    """

    name: str
    data: Any
    is_rgb: bool
    labels: tuple[str, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]
    affine: Array
    rotate: Array
    shear: Array

    @property
    def ndim(self) -> int:
        """Number of the layer's dimensions."""
        return len(self.scale)


def layer_state(layer: "napari.layers.Image") -> LayerState:
    """Return the present state of an image layer. No pixel is read or copied."""
    return LayerState(
        name=layer.name,
        data=layer.data[0] if layer.multiscale else layer.data,
        is_rgb=bool(layer.rgb),
        labels=tuple(layer.axis_labels),
        scale=tuple(map(float, layer.scale)),
        translate=tuple(map(float, layer.translate)),
        units=tuple(map(str, layer.units)),
        affine=np.array(layer.affine.affine_matrix),
        rotate=np.array(layer.rotate),
        shear=np.array(layer.shear),
    )


def likely_axes(state: LayerState) -> str:
    """Return the axes of a layer from its labels or its two dimensions; an empty text if only the model can tell."""
    letters = [letter_of(label) or "" for label in state.labels]
    if len(set(letters)) < len(letters) or not all(letters):
        if state.ndim != 2:
            return ""
        letters = ["y", "x"]
    return "".join(letters) + ("c" if state.is_rgb and "c" not in letters else "")


def layer_image(state: LayerState, axes: str | None) -> Image:
    """Return a layer as an image with the layer's scale as its pixel size. Arrays of zarr and dask stay lazy.

    ``axes`` has a letter for each dimension, and one for colours; ``None`` leaves the choice to the model. Scales
    without a unit of length or time have the unit ``pixel``: the outputs inherit them, and nothing else uses them.

    Raises :class:`UsageError` if the axes do not fit, :class:`ImageError` if the array does not hold real numbers.
    """
    found = image_like(state.data)
    image = replace(found if isinstance(found, Image) else array_image(np.asarray(found)), name=state.name)
    if axes is not None:
        image = with_user_axes(replace(image, notes=()), parse_axes(axes))
    sizes = {
        letter: _pixel_size(letter, scale, unit, translate)
        for letter, scale, unit, translate in zip(image.axes, state.scale, state.units, state.translate, strict=False)
        if letter in SCALED
    }
    is_coloured = state.is_rgb and image.axes.endswith("c")
    names = _COLOURS[: image.shape[-1]] if is_coloured else image.channel_names
    return replace(image, pixel_size=sizes, channel_names=names)


def placed(layer: Layer, state: LayerState, image: Image, image_axes: str) -> Layer:
    """Return a layer of a prediction in the place of the layer that was predicted.

    The dimensions get the order, the labels and the units of the predicted layer, and its rotation. Dimensions that
    the network used up, such as channels, are repeated, except in front, where napari does it.

    Parameters
    ----------
    layer
        A layer of :meth:`~bioimage_inference.Prediction.to_layers`.
    state, image
        The layer that was predicted, and its image from :func:`layer_image`.
    image_axes
        The axes of the image as they were predicted, without unknown axes.
    """
    array, arguments, kind = layer
    given = arguments["axis_labels"]
    own = image_axes[: state.ndim]
    new = [letter for letter in given if letter not in own]
    first = min((own.index(letter) for letter in given if letter in own), default=state.ndim)
    order = [*new, *own[first:]]
    array = array.transpose([given.index(letter) for letter in order if letter in given])
    array = np.expand_dims(array, [number for number, letter in enumerate(order) if letter not in given])
    shape = tuple(
        size if letter in given else image.shape[own.index(letter)]
        for letter, size in zip(order, array.shape, strict=True)
    )
    extents = {
        letter: _Extent(letter, *(arguments[word][number] for word in ("scale", "translate", "units")))
        for number, letter in enumerate(given)
    }
    extents |= {
        letter: _own_extent(state, image, own.index(letter), letter, size, extents.get(letter))
        for letter, size in zip(order, shape, strict=True)
        if letter in own
    }
    dimensions = [extents[letter] for letter in order]
    moved = {
        **arguments,
        "axis_labels": tuple(one.label for one in dimensions),
        "scale": tuple(one.scale for one in dimensions),
        "translate": tuple(one.translate for one in dimensions),
        "units": tuple(one.unit for one in dimensions),
    }
    if not new:
        moved |= _rotation(state, len(order))
    return np.broadcast_to(array, shape) if array.shape != shape else array, moved, kind


@dataclass(frozen=True)
class _Extent:
    """Label, scale, position and unit along a dimension of a layer."""

    label: str
    scale: float
    translate: float
    unit: str


def _pixel_size(letter: str, scale: float, unit: str, translate: float) -> PixelSize:
    return pixel_size(letter, scale, unit, translate) or PixelSize(scale, _UNKNOWN_UNIT, translate)


def _own_extent(state: LayerState, image: Image, number: int, letter: str, size: int, found: _Extent | None) -> _Extent:
    """Return the extent along a dimension of the predicted layer, in its unit.

    ``found`` is the extent in the prediction, which may have other pixels than the image.
    """
    before = _Extent(state.labels[number], state.scale[number], state.translate[number], state.units[number])
    known = image.pixel_size.get(letter)
    if found is None or (known is None and size == image.shape[number]):
        return before
    if known is not None and (found.scale, found.translate) == (known.value, known.origin):
        return before
    factor = 1.0 if known is None else before.scale / known.value
    return replace(before, scale=found.scale * factor, translate=found.translate * factor)


def _rotation(state: LayerState, ndim: int) -> dict[str, Array]:
    """Return what turns the last ``ndim`` dimensions of the predicted layer, as arguments of a layer."""
    shear = np.zeros((state.ndim, state.ndim))
    shear[np.triu_indices(state.ndim, 1)] = state.shear
    return {
        "affine": state.affine[-ndim - 1 :, -ndim - 1 :],
        "rotate": state.rotate[-ndim:, -ndim:],
        "shear": shear[-ndim:, -ndim:][np.triu_indices(ndim, 1)],
    }
