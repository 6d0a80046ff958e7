"""All that a report shows of a run: opens the image and the outputs that the record names, and makes the pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ImageError, UsageError
from .colours import number as in_words
from .figures import histogram, overlay, tile_grid
from .pictures import FEW, MOST_PICTURES, Picture, image_pictures, output_pictures, shown_channels, views
from .planes import Planes, find_file, open_output, open_planes

Record = Mapping[str, Any]

# A pixel takes at most about a byte in a PNG, and four thirds of that in the page.
_ALL_PIXELS = 1_700_000
_MOST_PIXELS = 500_000
_SMALL_PIXELS = 60_000
_MOST_HISTOGRAMS = 8
_MOST_NUMBERS = 20  # rows and columns of an output that is no image


@dataclass
class Shown:
    """One input or output: its pictures, what is to be said, and its numbers where it is no image."""

    title: str
    pictures: list[Picture] = field(default_factory=list)
    histogram: Picture | None = None
    remarks: list[str] = field(default_factory=list)
    numbers: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None


@dataclass(frozen=True)
class Overlaid:
    """The image, and its channel, that others are drawn over."""

    image: Planes
    channel: int


@dataclass(frozen=True)
class Gallery:
    """The pictures of a report."""

    inputs: Sequence[Shown]
    outputs: Sequence[Shown]
    overlays: Sequence[Picture]
    tiles: Picture | None
    objects: Picture | None

    def pictures(self) -> Iterator[Picture]:
        """All of them."""
        for one in (*self.inputs, *self.outputs):
            yield from one.pictures
            if one.histogram is not None:
                yield one.histogram
        yield from self.overlays
        yield from (one for one in (self.tiles, self.objects) if one is not None)


def make_gallery(record: Record, folder: Path) -> Gallery:
    """Make the pictures. Files that are not where the record says are looked for in ``folder``.

    What cannot be read any more is said instead of shown.
    """
    given, made = record["inputs"], record["outputs"]
    inputs, outputs = [Shown(str(one["tensor"])) for one in given], [Shown(str(one["id"])) for one in made]
    with ExitStack() as stack:
        images = [
            _opened(stack, shown, partial(_open_input, one, folder)) for shown, one in zip(inputs, given, strict=True)
        ]
        results = [
            _opened(stack, shown, partial(open_output, one, given, folder))
            for shown, one in zip(outputs, made, strict=True)
        ]
        given_counts = [_count(planes, one["channels"]) for planes, one in zip(images, given, strict=True)]
        made_counts = [_count(planes, None) for planes in results]
        pixels, small = _share_pixels([*given_counts, *made_counts])
        for number, (shown, planes, count) in enumerate(zip(inputs, images, given_counts, strict=True)):
            if planes is not None:
                size = pixels if count <= FEW else small
                _show_input(shown, planes, given[number]["channels"], f"input{number + 1}", size)
        for number, (shown, planes, count) in enumerate(zip(outputs, results, made_counts, strict=True), 1):
            if planes is not None:
                size = pixels if count <= FEW else small
                _show_output(shown, planes, f"output{number}", size, number <= _MOST_HISTOGRAMS)
        over = Overlaid(images[0], (given[0]["channels"] or [0])[0]) if inputs[0].pictures and images[0] else None
        usable = [planes if shown.pictures else None for shown, planes in zip(outputs, results, strict=True)]
        return Gallery(
            inputs,
            outputs,
            [] if over is None else _overlays(over, usable, pixels),
            # tiles of a resized image do not lie in the pixels of the one that was given
            None
            if over is None or given[0]["resized"]
            else tile_grid(over.image, over.channel, record["plan"], "tiles", pixels),
            None if over is None else _objects(stack, over, record.get("objects"), folder, pixels),
        )


def _opened(stack: ExitStack, shown: Shown, opening: Callable[[], Planes]) -> Planes | None:
    with _said(shown):
        planes = opening()
        stack.callback(planes.close)
        return planes
    return None


@contextmanager
def _said(shown: Shown) -> Iterator[None]:
    """An image that cannot be read (any more) leaves a remark where it would be shown."""
    try:
        yield
    except (ImageError, UsageError) as error:
        shown.remarks.append(f"It is not shown here: {error}")


def _open_input(one: Record, folder: Path) -> Planes:
    if not one["file"]:
        raise ImageError("the image was an array in memory.")
    path = find_file(one["file"], folder)
    if path is None:
        raise ImageError(f"there is no file {one['file']} any more.")
    return open_planes(path, one["axes"])


def _share_pixels(counts: Sequence[int]) -> tuple[int, int]:
    """How large a picture may be, and how large where an image has many, so that a page can be sent by e-mail.

    ``counts`` has the number of pictures of every image and output.
    """
    many = sum(count for count in counts if count > FEW)
    few = sum(count for count in counts if count <= FEW) + len(counts) + 2  # overlays, tiles, objects
    small = min(_SMALL_PIXELS, _ALL_PIXELS // 2 // max(1, many))
    return min(_MOST_PIXELS, (_ALL_PIXELS - small * many) // few), small


def _count(planes: Planes | None, channels: Sequence[int] | None) -> int:
    """Number of pictures of an image or output."""
    return 0 if planes is None or not planes.flat else len(shown_channels(planes, channels)) * len(views(planes))


def _show_input(shown: Shown, planes: Planes, channels: Sequence[int] | None, name: str, pixels: int) -> None:
    with _said(shown):
        if not planes.flat:
            shown.numbers = _numbers(planes)
            return
        shown.pictures += image_pictures(planes, name, pixels, channels)
        total = len(channels) if channels is not None else planes.channels
        _say_more(shown, total, len(shown_channels(planes, channels)))


def _show_output(shown: Shown, planes: Planes, name: str, pixels: int, with_histogram: bool) -> None:
    with _said(shown):
        if not planes.flat:
            shown.numbers = _numbers(planes)
            return
        shown.pictures += output_pictures(planes, name, pixels)
        _say_more(shown, planes.channels, len(shown_channels(planes, None)))
        if with_histogram:
            shown.histogram = histogram(planes, f"{name}_histogram")


def _say_more(shown: Shown, total: int, pictured: int) -> None:
    if total > pictured:
        more = total - pictured
        shown.remarks.append(
            f"{more} more channel{'s are' if more > 1 else ' is'} not shown here (of {total}; a report has up to "
            f"{MOST_PICTURES} pictures of each image)."
        )


def _overlays(over: Overlaid, results: Sequence[Planes | None], pixels: int) -> list[Picture]:
    made = (
        overlay(over.image, over.channel, planes, f"overlay{count}", pixels)
        for count, planes in enumerate(results, 1)
        if planes is not None
    )
    return [picture for picture in made if picture is not None]


def _objects(stack: ExitStack, over: Overlaid, objects: Record | None, folder: Path, pixels: int) -> Picture | None:
    """The outlines of what the segmentation found."""
    path = find_file(str(objects["labels"] or ""), folder) if objects is not None else None
    if path is None:
        return None
    planes = open_planes(path)
    stack.callback(planes.close)
    return overlay(over.image, over.channel, replace(planes, name="objects"), "objects", pixels)


def _numbers(planes: Planes) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Heads of columns and rows of numbers, at most 20 of each, of an output without y and x."""
    image = planes.image
    block = image.read(tuple(slice(0, min(size, _MOST_NUMBERS)) for size in image.shape))
    rows = block.reshape(-1, block.shape[-1])[:_MOST_NUMBERS]
    named = len(planes.channel_names) == image.shape[-1]
    heads = planes.channel_names if named else [str(column) for column in range(image.shape[-1])]
    return list(heads[:_MOST_NUMBERS]), [[in_words(float(value)) for value in row] for row in rows]
