"""Figures that put things together: outlines of outputs over the image, histograms, the grid of tiles."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from .colours import (
    LINES,
    NO_NUMBER,
    ORANGE,
    SKY,
    Colour,
    Contrast,
    Kind,
    colour_png,
    contrast,
    finite_of,
    kind_of,
    palette,
    png,
    shades,
)
from .pictures import Picture, channel_title, joined, middle, series_in_words, shown_channels
from .planes import Planes

_GREYS = 240
_MOST_OUTLINES = 3
_MOST_LINES = 6  # in a histogram
_SAMPLED = 2_000_000
_PADDING, _FIRST_LINE = 241, 242  # entries of the palette after the greys


def overlay(image: Planes, channel: int, output: Planes, name: str, pixels: int) -> Picture | None:
    """An output over a channel of the image: outlines where it passes 0.5, those of labels, colours for other values.

    ``None`` where the two do not show the same field.
    """
    base = _grey(image, {**middle(image).where, "c": channel}, pixels)
    where = middle(output).where
    channels = shown_channels(output, None)[:_MOST_OUTLINES]
    planes = [output.plane({**where, "c": one}, pixels) for one in channels]
    height, width = planes[0].shape
    if not 0.9 < (base.shape[0] / base.shape[1]) / (height / width) < 1.1:
        return None
    kind = kind_of(planes)
    planes = [_stretched(plane, (base.shape[0], base.shape[1])) for plane in planes]
    titles = [channel_title(output, one) for one in channels]
    if kind == "values":
        title = output.name if output.channels == 1 else f"{output.name}, {titles[0]}"
        return _coloured_overlay(base, planes[0], name, title)
    if kind == "labels":
        masks, words = [_borders(planes[0])], [f"outlines of {titles[0]}"]
    else:
        masks, words = [_outline(plane >= 0.5) for plane in planes], [f"{title} reaches 0.5" for title in titles]
    indices = base.copy()
    for number, mask in reversed(list(enumerate(masks))):
        indices[mask] = _FIRST_LINE + number
    more = output.channels - len(channels)
    caption = f"The first {len(channels)} of {output.channels} channels. " if more and kind == "probability" else ""
    return _palette_picture(
        indices,
        name,
        f"{output.name} over the image",
        f"{caption}{_sentence(joined(middle(output).words, series_in_words(output)))}",
        f"Outlines over the image in grey: {'; '.join(words)}",
        tuple(zip(LINES, words, strict=False)),
    )


def tile_grid(image: Planes, channel: int, plan: Mapping[str, Any], name: str, pixels: int) -> Picture | None:
    """Where the tiles lie: lines where they meet, and one of them as the network sees it; ``None`` for a single one."""
    from PIL import Image, ImageDraw

    if plan["tiles"] < 2:
        return None
    base = _grey(image, {**middle(image).where, "c": channel}, pixels)
    scale = base.shape[1] / image.sizes["x"]
    spans = {letter: _spans(plan, letter, image.sizes[letter]) for letter in "yx"}
    (top, bottom), (left, right) = (_around(plan, letter, image.sizes[letter], scale) for letter in "yx")
    canvas = np.pad(base, ((top, bottom), (left, right)), constant_values=_PADDING)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    thick = max(1, round(max(canvas.shape) / 350))
    for before, after in pairwise(spans["x"]):
        cut = left + (before[1] + after[0]) / 2 * scale
        draw.line((cut, 0, cut, canvas.shape[0]), fill=_FIRST_LINE, width=thick)
    for before, after in pairwise(spans["y"]):
        cut = top + (before[1] + after[0]) / 2 * scale
        draw.line((0, cut, canvas.shape[1], cut), fill=_FIRST_LINE, width=thick)
    (begin_y, end_y), (begin_x, end_x) = (spans[letter][len(spans[letter]) // 2] for letter in "yx")
    corners = (left + begin_x * scale, top + begin_y * scale, left + end_x * scale - 1, top + end_y * scale - 1)
    draw.rectangle(corners, outline=_FIRST_LINE + 1, width=thick + 1)
    words = ("where tiles meet", "one tile as the network sees it, with its halo")
    along = ", ".join(f"{count} along {letter}" for letter, count in plan["grid"].items() if count > 1)
    return _palette_picture(
        np.asarray(picture),
        name,
        "Tiles",
        f"{plan['tiles']} tiles: {along}.",
        f"The image with the grid of tiles: {along}",
        ((ORANGE, words[0]), (SKY, words[1])),
    )


def histogram(output: Planes, name: str) -> Picture:
    """How often each value comes: a line per channel, or one for all where there are many."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    channels = shown_channels(output, None)
    samples = [output.values(channel, _SAMPLED // len(channels)) for channel in channels]
    looked_at = sum(sample.size for sample in samples)
    titles = [channel_title(output, channel) for channel in channels]
    known = [finite_of(sample) for sample in samples]
    if len(known) > _MOST_LINES:
        known, titles = [np.concatenate(known)], [f"{len(channels)} channels together"]
    figure = Figure(figsize=(5.6, 2.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = _edges(known, kind_of(samples))
    for values, colour, title in zip(known, LINES, titles, strict=False):
        share = np.histogram(values, edges)[0] / max(1, values.size)
        axes.stairs(share, edges, color=[part / 255 for part in colour], linewidth=2, label=_shortened(title))
    axes.set_yscale("symlog", linthresh=1e-4)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1e-4, 1e-3, 1e-2, 1e-1, 1], ["0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"])
    axes.set_xlabel("value")
    axes.set_ylabel("share of the pixels")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    every = looked_at == int(np.prod(list(output.sizes.values())))
    caption = "Of all values" if every else f"Of {looked_at:,} values, spread evenly"
    size = (int(figure.bbox.width * 1.5), int(figure.bbox.height * 1.5))
    alt = f"Histogram of {output.name}: {', '.join(titles)}"
    return Picture(name, output.name, f"{caption}; the axis of shares is logarithmic.", alt, stream.getvalue(), size)


def _shortened(title: str) -> str:
    """A title for a legend; matplotlib takes text between dollar signs for mathematics, and hides a leading _."""
    title = title if len(title) <= 40 else f"{title[:39]}…"
    return title.replace("$", r"\$").lstrip("_")


def _edges(samples: Sequence[Array], kind: Kind) -> Array:
    if kind == "probability":
        return np.linspace(0, 1, 65)
    sizes = [sample for sample in samples if sample.size]
    low = min((float(sample.min()) for sample in sizes), default=0.0)
    high = max((float(sample.max()) for sample in sizes), default=1.0)
    return np.linspace(low, high, 65) if high > low else np.linspace(low - 0.5, high + 0.5, 65)


def _grey(image: Planes, where: Mapping[str, int], pixels: int) -> NDArray[np.uint8]:
    """A plane as indices of greys, 0 … 239, of colours the mean."""
    if image.coloured:
        plane = np.mean([image.plane({**where, "c": channel}, pixels) for channel in range(3)], axis=0)
    else:
        plane = image.plane(where, pixels)
    indices = shades(plane, contrast(plane, "image"))
    grey: NDArray[np.uint8] = (indices * ((_GREYS - 1) / 254)).round().astype(np.uint8)
    grey[indices == 255] = 255
    return grey


def _palette_picture(
    indices: NDArray[np.uint8], name: str, title: str, caption: str, alt: str, key: tuple[tuple[Colour, str], ...]
) -> Picture:
    greys = [(round(level * 255 / (_GREYS - 1)),) * 3 for level in range(_GREYS)]
    colours = [*greys, NO_NUMBER, (150, 165, 180), *LINES]
    colours += [NO_NUMBER] * (256 - len(colours))
    size = (indices.shape[1], indices.shape[0])
    return Picture(name, title, caption, alt, png(indices, colours), size, key=key)


def _coloured_overlay(base: NDArray[np.uint8], plane: Array, name: str, title: str) -> Picture:
    """Values over the grey image: the higher, the more of the colour."""
    how: Contrast = contrast(plane, "values")
    indices = shades(plane, how)
    colours = np.array(palette("values"), float)[indices]
    weight = (0.75 * indices / 254).clip(0, 0.75)[..., np.newaxis]
    grey = (base * (255 / (_GREYS - 1))).clip(0, 255)[..., np.newaxis]
    mixed = (grey * (1 - weight) + colours * weight).round().astype(np.uint8)
    mixed[(base == 255) | (indices == 255)] = NO_NUMBER
    alt = f"{title} in colours over the image in grey"
    size = (base.shape[1], base.shape[0])
    return Picture(name, f"{title} over the image", f"In colour where high: {how.words}.", alt, colour_png(mixed), size)


def _stretched(plane: Array, shape: tuple[int, int]) -> Array:
    """The plane with that shape, each pixel that of the nearest place."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(shape, plane.shape, strict=True))
    stretched: Array = plane[rows[:, np.newaxis], columns]
    return stretched


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rim of a mask, inside of it; thicker in large pictures, which are shown smaller."""
    inner = mask
    for _ in range(max(1, round(max(mask.shape) / 450))):
        wide = np.pad(inner, 1, mode="edge")
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def _borders(labels: Array) -> NDArray[np.bool_]:
    """The rims of labels, inside of them."""
    wide = np.pad(labels, 1, mode="edge")
    near = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    different: NDArray[np.bool_] = np.logical_or.reduce([labels != other for other in near])
    rims: NDArray[np.bool_] = different & (labels != 0)
    return rims


def _spans(plan: Mapping[str, Any], letter: str, size: int) -> list[tuple[int, int]]:
    """Start and stop of the tiles along an axis, in pixels of the image."""
    tile = plan["tile"].get(letter, size)
    return [(start, start + tile) for start in plan["starts"].get(letter, [0])]


def _around(plan: Mapping[str, Any], letter: str, size: int, scale: float) -> tuple[int, int]:
    """Pixels of the picture that show padding before and after the image."""
    spans = _spans(plan, letter, size)
    return max(0, round(-spans[0][0] * scale)), max(0, round((spans[-1][1] - size) * scale))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""
