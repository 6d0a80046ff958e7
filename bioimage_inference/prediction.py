"""Predictions as Python knows them: arrays with their axes, xarray's DataArray, and layers of napari.

Neither library is imported here; xarray is imported when a prediction is turned into its arrays.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .image.image import PixelSize
from .provenance.record import RunRecord, to_json

if TYPE_CHECKING:
    import xarray

Layer = tuple[NDArray[Any], dict[str, Any], str]
"""napari's layer data: the array, what its layer is made with, and the type of the layer."""


@dataclass(frozen=True)
class Output:
    """One predicted tensor.

    ``array`` has the model's own axes ``axes``, batch and channel included; the samples of a stack lie along the batch
    axis (before the others where the output has none). It is mapped from ``npy`` where that was written, and ``None``
    where only a TIFF was, or a limit of address space leaves no room to map it. ``picture_axes`` are the axes of the
    image that the model lacks, then the model's own without the batch axis; ``pixel_size`` is known for some of them.
    """

    id: str
    axes: str
    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    array: NDArray[Any] | None
    channel_names: tuple[str, ...]
    picture_axes: str
    picture_shape: tuple[int, ...]
    pixel_size: Mapping[str, PixelSize]
    tiff: Path | None = None
    npy: Path | None = None

    def to_xarray(self) -> "xarray.DataArray":
        """The output with named dimensions, channel names along ``c`` and the place of each pixel along the others.

        Coordinates are the positions of the pixels' centres in the image: its first pixel is at 0, or where the image's
        own coordinates begin. The attribute ``units`` has their unit. An axis without a pixel size has no coordinates.
        Raises :class:`UsageError` where the output was written to a TIFF alone.
        """
        import xarray

        array, axes = picture(self), self.picture_axes
        coordinates: dict[str, Any] = {}
        for letter, length in zip(axes, array.shape, strict=True):
            size = self.pixel_size.get(letter)
            if letter == "c" and len(self.channel_names) == length:
                coordinates[letter] = list(self.channel_names)
            elif size is not None:
                coordinates[letter] = (letter, size.origin + np.arange(length) * size.value, {"units": size.unit})
        return xarray.DataArray(array, dims=tuple(axes), coords=coordinates, name=self.id)


@dataclass(frozen=True)
class Prediction:
    """The outputs by their ids, and the record of the run."""

    outputs: Mapping[str, Output]
    provenance: RunRecord

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The record as the command line prints it with ``--json``."""
        record: Mapping[str, Any] = to_json(self.provenance)
        return record

    def to_layers(self) -> list[Layer]:
        """One layer for each channel of each output that has image axes: labels of whole numbers, else an image.

        ``scale``, ``translate``, ``units`` (``pixel`` where nothing is known) and ``axis_labels`` have one entry per
        dimension. ``translate`` is the position of the first pixel in the image.
        Raises :class:`UsageError` for an output that was written to a TIFF alone.
        """
        pictures = (output for output in self.outputs.values() if {"y", "x"} <= set(output.axes))
        return [layer for output in pictures for layer in _layers(output)]


def picture(output: Output) -> NDArray[Any]:
    """The output with the axes ``picture_axes``: samples lie along the axes of the image that they come from.

    Raises :class:`UsageError` where the output was written to a TIFF alone.
    """
    if output.array is None:
        raise UsageError(
            f"The array of output {output.id!r} was not kept: it was written to a TIFF only. Open that file, or give "
            "the output no target, or one with .npy."
        )
    if output.axes == output.picture_axes:
        return output.array
    return np.moveaxis(output.array, output.axes.index("b"), 0).reshape(output.picture_shape)


def _layers(output: Output) -> Iterator[Layer]:
    array, axes = picture(output), output.picture_axes
    kind = "labels" if array.dtype.kind in "iub" else "image"
    kept = axes.replace("c", "")
    sizes = [output.pixel_size.get(letter, PixelSize(1.0, "pixel")) for letter in kept]
    channels = np.moveaxis(array, axes.index("c"), 0) if "c" in axes else array[np.newaxis]
    for number, channel in enumerate(channels):
        name = output.channel_names[number] if number < len(output.channel_names) else f"channel {number}"
        layer: dict[str, Any] = {
            "name": f"{output.id}: {name}" if len(channels) > 1 else output.id,
            "scale": tuple(size.value for size in sizes),
            "translate": tuple(size.origin for size in sizes),
            "units": tuple(size.unit for size in sizes),
            "axis_labels": tuple(kept),
        }
        if kind == "image" and len(channels) > 1:
            layer["blending"] = "additive"  # as napari shows channels: none hides another
        yield channel, layer, kind
