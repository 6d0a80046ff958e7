"""The objects of a prediction as Python knows them: a label map and a table as arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..files.typed_path import Address
from ..image.array_images import array_image
from ..image.array_likes import image_like
from ..image.axes import parse_axes, with_user_axes
from ..image.image import Image, PixelSize
from ..image.readers.reading import open_image
from ..prediction import Layer, Output, Prediction
from ..text import counted, times
from .object_files import table_columns
from .prediction_image import BY_PLANE
from .prediction_maps import NO_BOUNDARY
from .segmenting import SegmentOptions, segmentation_notes, segmented

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, repr=False)
class Segmentation:
    """The objects of a prediction.

    ``labels`` has the axes ``axes``; 0 is background, and object n has the label n. ``table`` has an array for each
    column of the table that ``bioimage-inference segment`` writes, with a row for each object. ``pixel_size`` has the
    value, unit and position of the first pixel by axis, where they are known. ``notes`` are remarks for the user.
    """

    labels: NDArray[np.unsignedinteger[Any]]
    axes: str
    table: Mapping[str, NDArray[Any]]
    pixel_size: Mapping[str, PixelSize]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Segmentation: {counted(self.count, 'object')}, labels {self._output.in_words}>"

    def _repr_html_(self) -> str:
        """Return the view of the objects in a notebook: their number and the label map."""
        from ..report.notebook_view import view

        labels = f"{self.axes} {times(self.labels.shape)} {self.labels.dtype}"
        facts = [("Labels", labels), ("Table", f"{counted(self.count, 'row')}: {', '.join(self.table)}")]
        return view(counted(self.count, "object"), facts, [self._output.to_image()], self.notes)

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.table["label"])

    def to_xarray(self) -> "xarray.DataArray":
        """Return the label map as an xarray DataArray, as :meth:`~bioimage_inference.Output.to_xarray` does."""
        return self._output.to_xarray()

    def to_layers(self) -> list[Layer]:
        """Return napari's layer data of the label map, as :meth:`~bioimage_inference.Output.to_layers` does."""
        return self._output.to_layers()

    @property
    def _output(self) -> Output:
        labels = self.labels
        shape = labels.shape
        return Output("objects", self.axes, labels.dtype, shape, labels, (), self.axes, shape, self.pixel_size)


def object_options(
    foreground: int | str,
    boundary: int | str | None,
    threshold: float,
    min_size: int | None,
    max_size: int | None,
    exclude_border: bool,
    fill_holes: bool,
    stitch: float | None,
    axes: str | None,
    image_axes: str | None,
) -> SegmentOptions:
    """Return the options of segmentation for the arguments of Python. Raises :class:`UsageError` for other types."""
    for name, channel in (("foreground", foreground), ("boundary", boundary)):
        known = isinstance(channel, Integral | str) or (name == "boundary" and channel is None)
        if not known or isinstance(channel, bool):
            raise UsageError(f"{name}={channel!r} is not understood: give the number of a channel from 0, or its name.")
    if not _is_number(threshold):
        raise UsageError(f"threshold={threshold!r} is not understood: give a number such as 0.6.")
    for name, size in (("min_size", min_size), ("max_size", max_size)):
        if size is not None and (not isinstance(size, Integral) or isinstance(size, bool) or size < 1):
            raise UsageError(f"{name}={size!r} is not understood: give a number of pixels above 0, or None.")
    for name, switch in (("exclude_border", exclude_border), ("fill_holes", fill_holes)):
        if not isinstance(switch, bool):
            raise UsageError(f"{name}={switch!r} is not understood: give True or False.")
    if stitch is not None and not (_is_number(stitch) and 0 < stitch <= 1):
        raise UsageError(f"stitch={stitch!r} is not understood: give a number above 0 and up to 1, or None.")
    return SegmentOptions(
        foreground=str(foreground),
        boundary=NO_BOUNDARY if boundary is None else str(boundary),
        threshold=float(threshold),
        min_size=None if min_size is None else int(min_size),
        max_size=None if max_size is None else int(max_size),
        exclude_border=exclude_border,
        fill_holes=fill_holes,
        stitch=None if stitch is None else float(stitch),
        axes=axes,
        image_axes=image_axes,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def find_objects(prediction: object, image: object | None, options: SegmentOptions) -> Segmentation:
    """Return the objects of a prediction in memory. The parameters are those of :func:`~bioimage_inference.segment`."""
    if isinstance(prediction, Prediction):
        prediction = next(iter(prediction.outputs.values()))
    axes = prediction.picture_axes if isinstance(prediction, Output) else ""
    by_plane = -1 < axes.find("z") < axes.find("c")  # planes are stacked in front of the network's own axes
    given = _opened(prediction, options.axes)
    light = None if image is None else _opened(image, options.image_axes)
    with segmented(given, options, light) as (objects, grid, min_size):
        samples = objects.maps.samples
        axes, shape = samples.axes + samples.spatial, (*samples.counts, *samples.shape)
        labels = objects.labels(tuple(slice(0, size) for size in shape))
        sizes = {letter: size for letter, size in objects.pixel_size.items() if letter in axes}
        notes = segmentation_notes(objects, grid, options, min_size)
        noted = (*((BY_PLANE,) if by_plane and options.stitch is None else ()), *notes)
        return Segmentation(labels, axes, MappingProxyType(table_columns(objects)), MappingProxyType(sizes), noted)


def _opened(given: object, axes: str | None) -> Path | Image:
    """Return a file as its path, and an array or output as an image. ``axes`` overrides the names of its axes."""
    if isinstance(given, Output):
        if given.array is None and given.tiff is not None:
            return given.tiff
        image = given.to_image()
        return image if axes is None else with_user_axes(image, parse_axes(axes))
    found = image_like(given, axes)
    if isinstance(found, Address):
        return open_image(found, axes)
    return array_image(found, axes) if isinstance(found, np.ndarray) else found
