"""Pictures of images and outputs: their channels, outlines of outputs over the image, the grid of tiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..provenance.record_parts import PlanRecord
from ..text import capitalised
from .colours import (
    LINES,
    NO_NUMBER,
    Colour,
    Kind,
    colour_png,
    contrast,
    finite_of,
    kind_of,
    number,
    palette,
    palette_png,
    shades,
)
from .describe_run import along, grid_in_words
from .planes import Planes, Where

MOST_PICTURES = 24  # of one image or output
FEW = 6  # pictures of one image or output that are shown large
SAMPLED = 2_000_000  # values of an output that decide on its colours
_SMALL = 480  # pixels; the page shows smaller pictures pixel by pixel
_MOST_OUTLINES = 3
_GREYS = 240  # shades of the image in a picture with lines
_PADDING, _FIRST_LINE = 241, 242  # entries of the palette after the greys and NO_NUMBER


@dataclass(frozen=True)
class Picture:
    """A picture as PNG. ``name`` is the name of its file without suffix; ``size`` is (width, height) in pixels.

    A picture with a colour bar has a ``kind`` of colours; ``limits`` are the numbers at the ends of the bar. ``key``
    explains the colours of lines: pairs of a colour (red, green, blue) and its meaning.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    size: tuple[int, int]
    kind: Kind | None = None
    limits: tuple[str, str] = ("", "")
    key: tuple[tuple[Colour, str], ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether the page enlarges the picture."""
        return max(self.size) < _SMALL

    @property
    def colour_bar(self) -> bytes:
        """PNG of the colours from low to high, in a row."""
        return palette_png(np.arange(255, dtype=np.uint8)[np.newaxis], palette(self.kind or "image"))


@dataclass(frozen=True)
class View:
    """A plane of each channel: ``where`` along axes other than y and x, or the largest value along z if ``projected``.

    ``suffix`` is for the name of its picture.
    """

    words: str = ""
    suffix: str = ""
    where: Where = field(default_factory=dict)
    projected: bool = False

    def read(self, planes: Planes, channel: int, pixels: int) -> Array:
        """Return the plane of a channel (axes yx), thinned out to about ``pixels``."""
        where = {**self.where, "c": channel}
        return planes.projection(where, pixels) if self.projected else planes.plane(where, pixels)

    def title(self, words: str) -> str:
        """Return the title of a picture whose subject is ``words``."""
        return f"{words}, {self.words}" if self.words else words


def middle(planes: Planes) -> View:
    """Return the middle plane of a stack, the only plane of other images; the first image of a series."""
    z = planes.depth // 2
    return View(f"plane {z + 1} of {planes.depth} along z", "_middle", {"z": z}) if planes.depth > 1 else View()


def views(planes: Planes) -> list[View]:
    """Return the planes that are shown of each channel."""
    projection = View("largest value along z", "_projection", projected=True)
    return [middle(planes), *([projection] if planes.depth > 1 else [])]


def channel_title(planes: Planes, channel: int) -> str:
    """Return the channel's name, else its number; without channels, the name of the tensor or file."""
    if len(planes.channel_names) == planes.channels:
        return planes.channel_names[channel]
    return planes.name if planes.channels == 1 else f"channel {channel}"


def shown_channels(planes: Planes, chosen: Sequence[int] | None = None) -> list[int]:
    """Return the first of the ``chosen`` channels (default: all), as many as a report has room for."""
    channels = list(range(planes.channels) if chosen is None else chosen)
    return channels[: MOST_PICTURES // len(views(planes))]


def image_pictures(planes: Planes, name: str, pixels: int, chosen: Sequence[int] | None = None) -> Iterator[Picture]:
    """Yield pictures of an image's channels in grey, or in its own colours; each of about ``pixels`` at most."""
    for view in views(planes):
        if planes.coloured and (chosen is None or list(chosen) == [0, 1, 2]):
            yield _colour_picture(planes, view, name, pixels)
            continue
        for channel in shown_channels(planes, chosen):
            yield _channel_picture(planes, view, channel, "image", name, pixels)


def output_pictures(planes: Planes, name: str, pixels: int) -> Iterator[Picture]:
    """Yield pictures of an output's channels, in colours that depend on values of all of its planes."""
    channels = shown_channels(planes)
    kind = kind_of([planes.values(channel, SAMPLED // len(channels)) for channel in channels])
    for view in views(planes):
        for channel in channels:
            yield _channel_picture(planes, view, channel, kind, name, pixels)


def overlay(image: Planes, channel: int, output: Planes, name: str, pixels: int) -> Iterator[Picture]:
    """Yield an output over a channel of the image: outlines of objects or of values from 0.5, else values as colours.

    There is no picture where the two do not show the same field of view.
    """
    base = _grey(image, channel, pixels)
    view, channels = middle(output), shown_channels(output)[:_MOST_OUTLINES]
    planes = [view.read(output, one, pixels) for one in channels]
    height, width = planes[0].shape
    if not 0.9 < (base.shape[0] / base.shape[1]) / (height / width) < 1.1:
        return
    kind = kind_of(planes)
    planes = [_resampled(plane, base.shape) for plane in planes]
    titles = [channel_title(output, one) for one in channels]
    if kind == "values":
        title = output.name if output.channels == 1 else f"{output.name}, {titles[0]}"
        yield _heat_picture(base, planes[0], name, title)
        return
    if kind == "labels":
        rims, words = [_label_rims(planes[0])], [f"outlines of {titles[0]}"]
    else:
        rims, words = [_mask_rim(plane >= 0.5) for plane in planes], [f"{title} reaches 0.5" for title in titles]
    for line, rim in reversed(list(enumerate(rims, _FIRST_LINE))):
        base[rim] = line
    left_out = kind == "probability" and output.channels > len(channels)
    caption = f"The first {len(channels)} of {output.channels} channels. " if left_out else ""
    remarks = _joined(view.words, _series(output))
    yield _line_picture(
        base,
        name,
        f"{output.name} over the image",
        f"{caption}{capitalised(remarks)}{'.' if remarks else ''}",
        f"Outlines over the image in grey: {'; '.join(words)}",
        words,
    )


def tile_grid(image: Planes, channel: int, plan: PlanRecord, name: str, pixels: int) -> Iterator[Picture]:
    """Yield the image with lines where tiles meet, and with one tile as the network sees it; nothing for one tile."""
    from PIL import Image, ImageDraw

    if plan.tiles < 2:
        return
    base = _grey(image, channel, pixels)
    scale = base.shape[1] / image.sizes["x"]
    spans = {letter: _tile_spans(plan, letter, image.sizes[letter]) for letter in "yx"}
    before = [max(0, round(-spans[letter][0][0] * scale)) for letter in "yx"]  # padding, in pixels of the picture
    after = [max(0, round((spans[letter][-1][1] - image.sizes[letter]) * scale)) for letter in "yx"]
    canvas = Image.fromarray(np.pad(base, tuple(zip(before, after, strict=True)), constant_values=_PADDING))
    draw, (top, left) = ImageDraw.Draw(canvas), before
    thick = max(1, round(max(canvas.size) / 350))
    for one, other in pairwise(spans["x"]):
        cut = left + (one[1] + other[0]) / 2 * scale
        draw.line((cut, 0, cut, canvas.height), fill=_FIRST_LINE, width=thick)
    for one, other in pairwise(spans["y"]):
        cut = top + (one[1] + other[0]) / 2 * scale
        draw.line((0, cut, canvas.width, cut), fill=_FIRST_LINE, width=thick)
    (begin_y, end_y), (begin_x, end_x) = (spans[letter][len(spans[letter]) // 2] for letter in "yx")
    corners = (left + begin_x * scale, top + begin_y * scale, left + end_x * scale - 1, top + end_y * scale - 1)
    draw.rectangle(corners, outline=_FIRST_LINE + 1, width=thick + 1)
    yield _line_picture(
        np.asarray(canvas),
        name,
        "Tiles",
        f"{plan.tiles} tiles: {grid_in_words(plan)}.",
        f"The image with the grid of tiles: {grid_in_words(plan)}",
        ("where tiles meet", "one tile as the network sees it, with its halo"),
    )


def _channel_picture(planes: Planes, view: View, channel: int, kind: Kind, name: str, pixels: int) -> Picture:
    plane = view.read(planes, channel, pixels)
    how = contrast(plane, kind)
    title = view.title(channel_title(planes, channel))
    remarks = [how.words, _series(planes), _thinning(planes, pixels), _not_numbers(plane)]
    return Picture(
        name=f"{name}{f'_channel{channel}' if planes.channels > 1 else ''}{view.suffix}",
        title=title,
        caption=_joined(*remarks),
        alt=_joined(title, *remarks),
        png=palette_png(shades(plane, how), palette(kind)),
        size=(plane.shape[1], plane.shape[0]),
        kind=None if kind == "labels" else kind,
        limits=(number(how.low), number(how.high)),
    )


def _colour_picture(planes: Planes, view: View, name: str, pixels: int) -> Picture:
    """Return red, green and blue together: bytes as they are, other numbers between the percentiles of all three."""
    pixel = np.stack([view.read(planes, channel, pixels // 3) for channel in range(3)], axis=-1)
    how = contrast(pixel, "image")
    is_bytes = pixel.dtype == np.uint8
    colours = "its own colours" if is_bytes else f"red, green and blue {how.words}"
    title = view.title(planes.name)
    return Picture(
        name=f"{name}{view.suffix}",
        title=title,
        caption=_joined(colours, _series(planes), _thinning(planes, pixels // 3)),
        alt=f"{title}, in colours",
        png=colour_png(pixel if is_bytes else shades(pixel, how)),
        size=(pixel.shape[1], pixel.shape[0]),
    )


def _heat_picture(base: NDArray[np.uint8], plane: Array, name: str, title: str) -> Picture:
    """Return values over the grey image: the higher the value, the more of its colour."""
    how = contrast(plane, "values")
    indices = shades(plane, how)
    weight = (0.75 * indices / 254).clip(0, 0.75)[..., np.newaxis]
    grey = (base * (255 / (_GREYS - 1))).clip(0, 255)[..., np.newaxis]
    mixed = (grey * (1 - weight) + np.array(palette("values"), float)[indices] * weight).round().astype(np.uint8)
    mixed[(base == 255) | (indices == 255)] = NO_NUMBER
    alt = f"{title} in colours over the image in grey"
    size = (base.shape[1], base.shape[0])
    return Picture(name, f"{title} over the image", f"In colour where high: {how.words}.", alt, colour_png(mixed), size)


def _line_picture(
    indices: NDArray[np.uint8], name: str, title: str, caption: str, alt: str, meanings: Sequence[str]
) -> Picture:
    """Return a picture of greys and of lines, with the meaning of each colour of lines."""
    greys = [(round(level * 255 / (_GREYS - 1)),) * 3 for level in range(_GREYS)]
    colours = [*greys, NO_NUMBER, (150, 165, 180), *LINES]
    colours += [NO_NUMBER] * (256 - len(colours))
    size, key = (indices.shape[1], indices.shape[0]), tuple(zip(LINES, meanings, strict=False))
    return Picture(name, title, caption, alt, palette_png(indices, colours), size, key=key)


def _grey(image: Planes, channel: int, pixels: int) -> NDArray[np.uint8]:
    """Return the middle plane of a channel as indices of greys, 0 … 239; of a coloured image the mean of colours."""
    channels = range(3) if image.coloured else [channel]
    planes = [middle(image).read(image, one, pixels) for one in channels]
    plane = np.mean(planes, axis=0) if image.coloured else planes[0]
    indices = shades(plane, contrast(plane, "image"))
    grey: NDArray[np.uint8] = (indices * ((_GREYS - 1) / 254)).round().astype(np.uint8)
    grey[indices == 255] = 255
    return grey


def _resampled(plane: Array, shape: Sequence[int]) -> Array:
    """Return the plane with this shape; every pixel is a copy of the nearest pixel."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(shape, plane.shape, strict=True))
    resampled: Array = plane[rows[:, np.newaxis], columns]
    return resampled


def _mask_rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rim of a mask, inside of it; a thicker rim in a large picture, which the page shows smaller."""
    inner = mask
    for _ in range(max(1, round(max(mask.shape) / 450))):
        inner = np.logical_and.reduce([inner, *_neighbours(inner)])
    return mask & ~inner


def _label_rims(labels: Array) -> NDArray[np.bool_]:
    """Return the rims of labels, inside of them."""
    different = np.logical_or.reduce([labels != other for other in _neighbours(labels)])
    rims: NDArray[np.bool_] = different & (labels != 0)
    return rims


def _neighbours(plane: Array) -> tuple[Array, ...]:
    """Return the four neighbours of every pixel; beyond the border the pixel is its own neighbour."""
    wide = np.pad(plane, 1, mode="edge")
    return wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]


def _tile_spans(plan: PlanRecord, letter: str, size: int) -> list[tuple[int, int]]:
    """Return start and stop of the tiles along an axis, in pixels of the image."""
    tile = plan.tile.get(letter, size)
    return [(start, start + tile) for start in plan.starts.get(letter, (0,))]


def _joined(*words: str) -> str:
    return "; ".join(word for word in words if word)


def _series(planes: Planes) -> str:
    return f"the first of {along(planes.series)}" if planes.series else ""


def _thinning(planes: Planes, pixels: int) -> str:
    step = planes.step(pixels)
    return f"one pixel of {step}×{step} is shown" if step > 1 else ""


def _not_numbers(plane: Array) -> str:
    missing = plane.size - finite_of(plane).size
    share = f"{100 * missing / plane.size:.2g} % of the pixels shown"
    return f"orange red: not a number or infinite ({share})" if missing else ""
