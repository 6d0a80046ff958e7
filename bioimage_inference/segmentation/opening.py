"""Opening a prediction and finding the name of each of its axes, whichever of our files it is."""

from dataclasses import replace
from math import prod
from pathlib import Path

from ..errors import ImageError
from ..image.axes import with_user_axes
from ..image.image import Image
from ..image.readers.reading import open_image
from .prediction_metadata import Told, is_tiff, told_by_pages, told_by_record
from .unfolding import unfold

_BY_DIMENSIONS = {2: "yx", 3: "cyx", 4: "bcyx", 5: "bczyx"}
_ADVICE = "Name the axes with --axes, or give the .npy file with its record, or a TIFF of --tiff-layout labelled."


def open_prediction(path: Path, axes: str | None, wanted: int) -> tuple[Image, tuple[str, ...]]:
    """The image under axes that all have a name, and remarks on how they were found.

    ``axes`` overrules what is told of it, in the file, in the record beside it, or by its number of dimensions.
    ``wanted`` is the number of channels that will be read: pages without a name are channels if there are no more of
    them. Raises UsageError or ImageError.
    """
    image = open_image(path, axes)
    try:
        named, notes = (image, ()) if axes is not None else _named(path, image, wanted)
        if "s" in named.axes and "c" not in named.axes:
            named = replace(named, axes=named.axes.replace("s", "c"), channel_names=())
        unnamed = [size for letter, size in zip(named.axes, named.shape, strict=True) if letter == "?" and size > 1]
        if unnamed or not {"y", "x"} <= set(named.axes) or "s" in named.axes:
            raise ImageError(
                f"{path.name} has the axes {named.axes.upper()} ({'×'.join(map(str, named.shape))}), of which "
                f"channels, planes, rows and columns cannot all be told. {_ADVICE}"
            )
    except BaseException:
        image.close()
        raise
    return named, notes


def _named(path: Path, image: Image, wanted: int) -> tuple[Image, tuple[str, ...]]:
    told = told_by_pages(path)
    if told is not None:
        return _as_told(image, told)
    if image.axes_source == "file":
        return image, ()
    told = told_by_record(path)
    if told is not None:
        return _as_told(image, told)
    unnamed = image.axes.count("?")
    if image.axes in ("?yx", "?zyx") and is_tiff(path):
        return _paged(image, wanted)
    count = len(image.shape)
    if unnamed == count - 2 and count in _BY_DIMENSIONS:
        axes = _BY_DIMENSIONS[count]
        note = f"{image.name} does not name its axes; its {count} dimensions were taken as {axes} (--axes names them)."
        return with_user_axes(image, axes), (note,) if count > 2 else ()
    return image, ()


def _as_told(image: Image, told: Told) -> tuple[Image, tuple[str, ...]]:
    found = _unfolded(image, told)
    if not told.by_plane or found.size("z") == 1:
        return found, ()
    return found, (
        "The model saw each plane of the stack by itself, and no boundary between objects above each other: where they "
        "touch, they are one.",
    )


def _paged(image: Image, wanted: int) -> tuple[Image, tuple[str, ...]]:
    """A TIFF of pages that do not say what they are: channels, if there are no more of them than were asked for."""
    pages = image.shape[0]
    if pages > wanted:
        raise ImageError(
            f"{image.name} has {pages} pages along an axis without a name: channels, samples, or both. If all are "
            f"channels, say --axes c{image.axes[1:]}; otherwise give the .npy file of the prediction, or a TIFF of "
            "--tiff-layout labelled."
        )
    axes = "c" + image.axes[1:]
    note = f"{image.name} does not name its axes; its pages were taken as channels (--axes names them)."
    return with_user_axes(image, axes), (note,) if pages > 1 else ()


def _unfolded(image: Image, told: Told) -> Image:
    """The image under the axes that were told. Raises ImageError where they do not fit it."""
    letters, sizes = told.axes, image.shape
    place = letters.index(told.folded) if told.folded else None
    if len(letters) != len(sizes) or (place is not None and sizes[place] != prod(told.sizes)):
        raise ImageError(
            f"{image.name} has the shape {'×'.join(map(str, sizes))}, but was written with the axes "
            f"{told.letters + letters.replace('q', '')} and another shape: the file was changed since. {_ADVICE}"
        )
    found = replace(image, axes=letters, axes_source="file")
    if place is not None:
        found = unfold(found, place, told.letters, told.sizes)
    names = told.channel_names if len(told.channel_names) == found.size("c") else ()
    return replace(found, channel_names=names, pixel_size=told.pixel_size or image.pixel_size)
