"""Pictures of images and outputs: each channel, of stacks the middle plane and the largest value along z."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..array_types import Array
from .colours import Kind, colour_png, contrast, finite_of, kind_of, number, palette, png, shades
from .planes import Planes, Where, open_output, open_planes

MOST_PICTURES = 24  # of one image or output
FEW = 6  # pictures of one image or output that are shown large
_SAMPLED = 2_000_000  # values of an output that are looked at


@dataclass(frozen=True)
class Picture:
    """A picture as PNG. ``name`` is that of its file without suffix; ``size`` is (width, height) in pixels.

    ``kind`` names its colours where a colour bar belongs to it, ``limits`` are the bar's ends. ``key`` explains
    colours that are drawn into it: pairs of a colour (red, green, blue) and what it stands for.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    size: tuple[int, int]
    kind: Kind | None = None
    limits: tuple[str, str] = ("", "")
    key: tuple[tuple[tuple[int, int, int], str], ...] = ()


@dataclass(frozen=True)
class View:
    """One plane that is shown: ``where`` along the axes beside y and x; the largest value along z if ``projected``."""

    where: Where
    projected: bool
    words: str

    def read(self, planes: Planes, pixels: int) -> Array:
        """The plane, thinned out to about ``pixels``."""
        return planes.projection(self.where, pixels) if self.projected else planes.plane(self.where, pixels)


def middle(planes: Planes) -> View:
    """The middle of a stack, the only plane of others; the first of a series."""
    if planes.depth == 1:
        return View({}, False, "")
    z = planes.depth // 2
    return View({"z": z}, False, f"plane {z + 1} of {planes.depth} along z")


def views(planes: Planes) -> list[View]:
    """The planes that are shown of each channel."""
    found = [middle(planes)]
    if planes.depth > 1:
        found.append(View({}, True, "largest value along z"))
    return found


def channel_title(planes: Planes, channel: int) -> str:
    """The channel's name, or its number where it has none; the tensor's or file's name where there is one channel."""
    if len(planes.channel_names) == planes.channels:
        return planes.channel_names[channel]
    return planes.name if planes.channels == 1 else f"channel {channel}"


def shown_channels(planes: Planes, wanted: Sequence[int] | None) -> list[int]:
    """The channels that there is room for, of those ``wanted`` (``None``: all)."""
    channels = list(range(planes.channels) if wanted is None else wanted)
    return channels[: MOST_PICTURES // len(views(planes))]


def image_pictures(planes: Planes, name: str, pixels: int, wanted: Sequence[int] | None = None) -> Iterator[Picture]:
    """Pictures of an image, in grey or in its own colours; ``pixels`` is about how large each may be."""
    for view in views(planes):
        if planes.coloured and (wanted is None or list(wanted) == [0, 1, 2]):
            yield _coloured(planes, view, f"{name}{_suffix(view)}", pixels)
            continue
        for channel in shown_channels(planes, wanted):
            yield _picture(planes, view, channel, "image", name, pixels)


def output_pictures(planes: Planes, name: str, pixels: int) -> Iterator[Picture]:
    """Pictures of every channel of an output; which colours it is given depends on all of its values."""
    channels = shown_channels(planes, None)
    kind = kind_of([planes.values(channel, _SAMPLED // len(channels)) for channel in channels])
    for view in views(planes):
        for channel in channels:
            yield _picture(planes, view, channel, kind, name, pixels)


def image_picture(path: Path, axes: str | None = None, pixels: int = 65536) -> Picture:
    """One small picture of an image file: its first channel or its colours, the middle plane, the first of a series.

    Raises :class:`ImageError` or :class:`UsageError` where it cannot be read.
    """
    planes = open_planes(path, axes)
    try:
        return next(image_pictures(planes, "image", pixels))
    finally:
        planes.close()


def output_picture(
    output: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], folder: Path, pixels: int = 65536
) -> Picture | None:
    """One small picture of an output: its first channel; ``None`` for one that is no image.

    ``output`` and ``inputs`` are as the record has them. Raises :class:`ImageError` where its file cannot be read.
    """
    planes = open_output(output, inputs, folder)
    try:
        return next(output_pictures(planes, "output", pixels)) if planes.flat else None
    finally:
        planes.close()


def _picture(planes: Planes, view: View, channel: int, kind: Kind, name: str, pixels: int) -> Picture:
    view = replace(view, where={**view.where, "c": channel})
    plane = view.read(planes, pixels)
    how = contrast(plane, kind)
    title = channel_title(planes, channel)
    remarks = [series_in_words(planes), _thinned(planes, pixels), _not_numbers(plane)]
    about = f"{title}, {view.words}" if view.words else title
    return Picture(
        name=f"{name}{f'_channel{channel}' if planes.channels > 1 else ''}{_suffix(view)}",
        title=about,
        caption=joined(how.words, *remarks),
        alt=joined(about, how.words, *remarks),
        png=png(shades(plane, how), palette(kind)),
        size=(plane.shape[1], plane.shape[0]),
        kind=None if kind == "labels" else kind,
        limits=(number(how.low), number(how.high)),
    )


def _coloured(planes: Planes, view: View, name: str, pixels: int) -> Picture:
    """Red, green and blue together: bytes as they are, others between the percentiles of all three."""
    stack = [replace(view, where={**view.where, "c": channel}).read(planes, pixels // 3) for channel in range(3)]
    pixel = np.stack(stack, axis=-1)
    how = contrast(pixel, "image")
    eight_bit = pixel.dtype == np.uint8
    shown = pixel if eight_bit else shades(pixel, how)
    colours = "its own colours" if eight_bit else f"red, green and blue {how.words}"
    about = f"{planes.name}, {view.words}" if view.words else planes.name
    return Picture(
        name=name,
        title=about,
        caption=joined(colours, series_in_words(planes), _thinned(planes, pixels // 3)),
        alt=f"{about}, in colours",
        png=colour_png(shown),
        size=(pixel.shape[1], pixel.shape[0]),
    )


def _suffix(view: View) -> str:
    if view.projected:
        return "_projection"
    return "_middle" if view.words else ""


def series_in_words(planes: Planes) -> str:
    """That a series is shown by its first image only."""
    if not planes.series:
        return ""
    return f"the first of {' × '.join(f'{size} along {letter}' for letter, size in planes.series.items())}"


def joined(*words: str) -> str:
    """Those of the words that there are, as one line."""
    return "; ".join(word for word in words if word)


def _thinned(planes: Planes, pixels: int) -> str:
    """That a large plane is shown by some of its pixels only."""
    step = planes.step(pixels)
    return f"one pixel of {step}×{step} is shown and looked at" if step > 1 else ""


def _not_numbers(plane: Array) -> str:
    missing = plane.size - finite_of(plane).size
    if not missing:
        return ""
    share = 100 * missing / plane.size
    return f"orange red: not a number or infinite ({share:.2g} % of the pixels shown)"
