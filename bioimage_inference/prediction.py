"""Predictions as Python knows them: arrays with their axes, xarray's DataArray, layers of napari, views in notebooks.

None of these libraries is imported here; xarray is imported when a prediction is turned into its arrays.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError
from .image.array_images import array_image
from .image.image import Image, PixelSize
from .provenance.record import RunRecord, to_json
from .text import times

if TYPE_CHECKING:
    import xarray

Layer = tuple[NDArray[Any], dict[str, Any], str]
"""napari's layer data: the array, the arguments of the layer, and the type of the layer."""


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<Output {self.id!r}: {self.in_words}>"

    def _repr_html_(self) -> str:
        """Return the view of the output in a notebook: its facts, and pictures of its channels."""
        from .report.notebook_view import view

        return view(self.id, [("Array", self.in_words)], _shown([self]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return ``array`` for ``numpy.asarray(output)``. Raises :class:`UsageError` if it was not kept."""
        return np.array(self.kept_array(), dtype, copy=copy)

    @property
    def in_words(self) -> str:
        """Axes, shape, type, channels and files in one line."""
        names = f", channels {', '.join(self.channel_names)}" if self.channel_names else ""
        files = "".join(f", {path}" for path in (self.tiff, self.npy, self.zarr) if path is not None)
        return f"{self.axes} {times(self.shape)} {self.dtype}{names}{files}"

    def kept_array(self) -> NDArray[Any]:
        """Return ``array``. Raises :class:`UsageError` if the output was written without ``.npy``."""
        if self.array is None:
            raise UsageError(
                f"The array of output {self.id!r} was not kept: it was written without .npy. Open its TIFF or "
                "OME-Zarr, or give the output no target, or one with .npy."
            )
        return self.array

    def to_layers(self) -> list[Layer]:
        """Return napari's layer data for each channel, see :meth:`Prediction.to_layers`; none without image axes."""
        return [*_layers(self)] if {"y", "x"} <= set(self.axes) else []

    def to_image(self) -> Image:
        """Return the output as an image with the axes ``picture_axes``, for another model or for segmentation.

        Raises :class:`UsageError` if the output was written without ``.npy``.
        """
        image = array_image(picture(self), self.picture_axes, self.id)
        names = self.channel_names if len(self.channel_names) == image.size("c") else ()
        return replace(image, axes_source="file", pixel_size=self.pixel_size, channel_names=names)

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


@dataclass(frozen=True, repr=False)
class Prediction:
    """The outputs by their ids, and the record of the run."""

    outputs: Mapping[str, Output]
    provenance: RunRecord

    def __repr__(self) -> str:
        images = ", ".join(one.name for one in self.provenance.inputs)
        outputs = "; ".join(f"{output.id} {output.in_words}" for output in self.outputs.values())
        return f"<Prediction of {images} with {self.provenance.model.name!r}: {outputs}>"

    def _repr_html_(self) -> str:
        """Return the view of the prediction in a notebook: the facts of the run, and pictures of its outputs."""
        from .report.notebook_view import run_facts, view

        facts = [*run_facts(self.provenance), *((f"Output {one.id}", one.in_words) for one in self.outputs.values())]
        return view(self.provenance.model.name, facts, _shown(self.outputs.values()), self.provenance.notes)

    @property
    def has_size_of_image(self) -> bool:
        """Whether the first output and the image have the same number of pixels along y and x."""
        image, output = self.provenance.inputs[0], self.provenance.outputs[0]
        sizes = [dict(zip(one.axes, one.shape, strict=True)) for one in (image, output)]
        return all(sizes[0].get(letter, 1) == sizes[1].get(letter, 1) for letter in "yx")

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
        return [layer for output in self.outputs.values() for layer in output.to_layers()]


def picture(output: Output) -> NDArray[Any]:
    """Return the output with the axes ``picture_axes``: samples lie along the axes of the image.

    Raises :class:`UsageError` if the output was written without ``.npy``.
    """
    array = output.kept_array()
    if output.axes == output.picture_axes:
        return array
    return np.moveaxis(array, output.axes.index("b"), 0).reshape(output.picture_shape)


def _shown(outputs: Iterable[Output]) -> list[Image]:
    """Return the outputs that a notebook can show: arrays with image axes."""
    kept = (one for one in outputs if one.array is not None and one.array.size)
    return [one.to_image() for one in kept if {"y", "x"} <= set(one.axes)]


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
