"""Opens a prediction and names each of its axes: from the file, from the record beside it, or from its dimensions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..image.axes import SPACE, spatial, with_user_axes
from ..image.image import Image, PixelSize, Region
from ..image.readers.reading import open_image
from ..image.series import MAIN, Selection
from ..image.units import pixel_size
from ..provenance.record import read_record
from ..provenance.record_parts import InputRecord, OutputRecord
from ..text import parse_json

RECORD_ENDING = "_provenance.json"
_BY_DIMENSIONS = {2: "yx", 3: "cyx", 4: "bcyx", 5: "bczyx"}
BY_PLANE = (
    "The model computed each plane of the stack separately, and predicts no boundary between planes. Objects that "
    "touch across planes are one object, unless --object-stitch joins them by their overlap."
)
_ADVICE = "Name the axes with --axes, or give the .npy file with its record, or a labelled TIFF."


@dataclass(frozen=True)
class PredictionMetadata:
    """Metadata of a prediction file, read from the TIFF or from the run's record.

    Attributes
    ----------
    axes
        A letter for each dimension of the array.
    folded
        The letter of the dimension that combines the axes ``letters`` of ``sizes``, the last one fastest. Empty if no
        dimension does.
    by_plane
        Whether the network computed each plane of a stack separately.
    """

    axes: str
    folded: str
    letters: str
    sizes: tuple[int, ...]
    channel_names: tuple[str, ...]
    pixel_size: Mapping[str, PixelSize]
    by_plane: bool


def open_prediction(
    prediction: Path | Image, axes: str | None, channels: int, selection: Selection = MAIN
) -> tuple[Image, tuple[str, ...]]:
    """Return the prediction with a name for each axis, and notes on how the names were found.

    ``axes`` overrides all other sources; an opened image has them already. ``channels`` is the number of channels to
    read: pages without a name are channels if there are at most as many pages. ``selection`` chooses one of several
    images in a file.

    Raises UsageError for axes that do not fit the file, and ImageError if the axes are unknown.
    """
    image = prediction if isinstance(prediction, Image) else open_image(prediction, axes, selection)
    try:
        named, notes = (image, ()) if axes is not None else _named(prediction, image, channels)
        if "s" in named.axes and "c" not in named.axes:
            named = replace(named, axes=named.axes.replace("s", "c"), channel_names=())
        unnamed = [size for letter, size in zip(named.axes, named.shape, strict=True) if letter == "?" and size > 1]
        if unnamed or not {"y", "x"} <= set(named.axes) or "s" in named.axes:
            raise ImageError(
                f"{image.name} has the axes {named.axes.upper()} ({'×'.join(map(str, named.shape))}). They do not tell "
                f"channels, planes, rows and columns apart. {_ADVICE}"
            )
    except BaseException:
        image.close()
        raise
    return named, notes


def _named(prediction: Path | Image, image: Image, channels: int) -> tuple[Image, tuple[str, ...]]:
    if isinstance(prediction, Image):
        return _by_dimensions(image) if image.axes_source == "guess" else (image, ())
    metadata = _metadata_of_pages(prediction)
    if metadata is not None:
        return _with_metadata(image, metadata)
    if image.axes_source == "file":
        return image, ()
    metadata = _metadata_of_record(prediction)
    if metadata is not None:
        return _with_metadata(image, metadata)
    if image.axes in ("?yx", "?zyx") and _is_tiff(prediction):
        return _pages_as_channels(image, channels)
    return _by_dimensions(image)


def _by_dimensions(image: Image) -> tuple[Image, tuple[str, ...]]:
    dimensions = len(image.shape)
    if image.axes.count("?") == dimensions - 2 and dimensions in _BY_DIMENSIONS:
        axes = _BY_DIMENSIONS[dimensions]
        note = (
            f"{image.name} does not name its axes. Its {dimensions} dimensions were read as {axes} (--axes overrides)."
        )
        return with_user_axes(image, axes), (note,) if dimensions > 2 else ()
    return image, ()


def _is_tiff(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


def _metadata_of_pages(path: Path) -> PredictionMetadata | None:
    """Return the metadata of a TIFF that ``predict`` wrote in the layout ``pages``, and None for every other file.

    Raises ImageError for an output without the axes y and x.
    """
    import tifffile

    if not _is_tiff(path):
        return None
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages.first.description
    if '"original_axes"' not in text:
        return None
    found = parse_json(text)
    axes, shape = str(found["original_axes"]), tuple(map(int, found["original_shape"]))
    if "y" not in axes or "x" not in axes:
        raise ImageError(
            f"{path.name} has the axes {axes.upper()} and is no image, so it shows no objects. Give an output of the "
            "model that has the axes y and x."
        )
    stacked = "".join(letter for letter in axes if letter not in SPACE)
    interval = pixel_size("t", found.get("finterval"), "s")
    return PredictionMetadata(
        axes="q" + spatial(axes),
        folded="q",
        letters=stacked,
        sizes=tuple(shape[axes.index(letter)] for letter in stacked),
        channel_names=tuple(map(str, found.get("channel_names", ()))),
        pixel_size=MappingProxyType({} if interval is None else {"t": interval}),
        by_plane=-1 < axes.find("z") < axes.find("c"),  # planes are stacked in front of the network's own axes
    )


def _metadata_of_record(prediction: Path) -> PredictionMetadata | None:
    """Return the metadata of an ``.npy`` file from the record beside it, and None if there is no record.

    The batch axis combines the axes of the image that the model lacks: time, or planes for a 2-D model.

    Raises ImageError for a damaged record.
    """
    from ..inference.sample_layout import Stack

    found = _record_beside(prediction)
    if found is None:
        return None
    image, output = found
    axes, sizes = output.axes, dict(zip(output.axes, output.shape, strict=True))
    extents = dict(zip(image.axes, image.shape, strict=True))
    samples = tuple(extents[letter] for letter in image.iterated_axes)
    stack = Stack(axes, sizes, image.iterated_axes, samples)
    folded = "b" in axes and sizes["b"] == prod(samples)
    return PredictionMetadata(
        axes=axes,
        folded="b" if folded else "",
        letters=stack.picture_axes[: len(samples)] if folded else "",
        sizes=samples if folded else (),
        channel_names=output.channel_names,
        pixel_size=MappingProxyType(
            {
                letter: PixelSize(size.value, size.unit, origin=output.origin.get(letter, 0.0))
                for letter, size in output.pixel_size.items()
            }
        ),
        by_plane="z" in image.iterated_axes,
    )


def _record_beside(prediction: Path) -> tuple[InputRecord, OutputRecord] | None:
    """Return the image and the output in the record of the run that wrote ``prediction``, from the same folder."""
    folder = prediction.absolute().parent
    for path in sorted(folder.glob(f"*{RECORD_ENDING}")):
        if not prediction.name.startswith(path.name.removesuffix(RECORD_ENDING)) or not path.is_file():
            continue
        try:
            record = read_record(path)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"The record {path.name} beside {prediction.name} cannot be read ({error}). Predict again, move the "
                "record away, or name the axes with --axes."
            ) from error
        for output in record.outputs:
            if output.npy is not None and Path(output.npy).name == prediction.name:
                return record.inputs[0], output
    return None


def _with_metadata(image: Image, metadata: PredictionMetadata) -> tuple[Image, tuple[str, ...]]:
    """Return the image under the axes of its metadata, and a note on planes. Raises ImageError if they do not fit."""
    letters, sizes = metadata.axes, image.shape
    place = letters.index(metadata.folded) if metadata.folded else None
    if len(letters) != len(sizes) or (place is not None and sizes[place] != prod(metadata.sizes)):
        raise ImageError(
            f"{image.name} has the shape {'×'.join(map(str, sizes))}, but was written with the axes "
            f"{metadata.letters + letters.replace('q', '')} and another shape: the file changed since. {_ADVICE}"
        )
    named = replace(image, axes=letters, axes_source="file")
    if place is not None:
        named = _unfolded(named, place, metadata.letters, metadata.sizes)
    names = metadata.channel_names if len(metadata.channel_names) == named.size("c") else ()
    named = replace(named, channel_names=names, pixel_size={**image.pixel_size, **metadata.pixel_size})
    if not metadata.by_plane or named.size("z") == 1:
        return named, ()
    return named, (BY_PLANE,)


def _pages_as_channels(image: Image, channels: int) -> tuple[Image, tuple[str, ...]]:
    """Return a TIFF whose pages are channels. Raises ImageError if it has more pages than ``channels``."""
    pages = image.shape[0]
    if pages > channels:
        raise ImageError(
            f"{image.name} has {pages} pages along an axis without a name: channels, samples, or both. If all are "
            f"channels, type --axes c{image.axes[1:]}. Otherwise give the .npy file of the prediction, or a labelled "
            "TIFF."
        )
    note = f"{image.name} does not name its axes. Its pages were read as channels (--axes overrides)."
    return with_user_axes(image, "c" + image.axes[1:]), (note,) if pages > 1 else ()


def _unfolded(image: Image, axis: int, letters: str, sizes: Sequence[int]) -> Image:
    """Return the image with its dimension ``axis`` split into ``letters`` of ``sizes``, the last one fastest."""
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
