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
"""napari's layer data: the array, the arguments of the layer, and the type of the layer."""


@dataclass(frozen=True)
class Output:
    """One predicted tensor.

    ``array`` has the model's axes ``axes``, batch and channel included, and the network's dtype, mostly float32. The
    samples of a stack lie along the batch axis, or before the other axes if the output has no batch axis. The array is
    mapped from the file ``npy`` if that was written. It is ``None`` if no ``.npy`` was written, or if a limit of the
    address space leaves no room to map the file.

    ``picture_axes`` are the axes of the image that the model lacks, then the model's axes without the batch axis.
    ``pixel_size`` has the value, the unit and the position of the first pixel, for the axes where they are known.
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
    zarr: Path | None = None

    def to_xarray(self) -> "xarray.DataArray":
        """Return the output as an xarray DataArray with the dimensions ``picture_axes``.

        Returns
        -------
        xarray.DataArray
            Coordinates are channel names along ``c``. Along other axes they are the positions of the pixels' centres,
            counted from the first pixel of the image or from the image's own coordinates; the attribute ``units`` has
            their unit. An axis without a pixel size has no coordinates.

        Raises
        ------
        UsageError
            If the output was written without ``.npy``.
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
        """Return napari's layer data for each channel of each output with image axes.

        Returns
        -------
        list of (array, arguments, type)
            The type is ``labels`` for whole numbers, else ``image``. ``scale``, ``translate``, ``units`` (``pixel`` if
            the pixel size is not known) and ``axis_labels`` have one entry for each dimension. ``translate`` is the
            position of the first pixel in the image.

        Raises
        ------
        UsageError
            For an output that was written without ``.npy``.
        """
        pictures = (output for output in self.outputs.values() if {"y", "x"} <= set(output.axes))
        return [layer for output in pictures for layer in _layers(output)]


def picture(output: Output) -> NDArray[Any]:
    """Return the output with the axes ``picture_axes``: samples lie along the axes of the image.

    Raises :class:`UsageError` if the output was written without ``.npy``.
    """
    if output.array is None:
        raise UsageError(
            f"The array of output {output.id!r} was not kept: it was written without .npy. Open its TIFF or "
            "OME-Zarr, or give the output no target, or one with .npy."
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
            layer["blending"] = "additive"  # as napari shows channels, so that none hides another
        yield channel, layer, kind
