"""All that a report shows of a run: opens the image and the outputs that the record names, and makes the pictures."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..errors import ImageError, UsageError
from ..files.typed_path import Address, known_path
from ..provenance.record import RunRecord
from ..provenance.record_parts import InputRecord
from .charts import histogram
from .colours import number as number_in_words
from .pictures import (
    FEW,
    MOST_PICTURES,
    Picture,
    image_pictures,
    output_pictures,
    overlay,
    shown_channels,
    tile_grid,
    views,
)
from .planes import Planes, find_file, open_input, open_output, open_planes

# All pictures of a report together, a picture among few, and a picture among many of an image. A pixel takes at most
# about a byte in a PNG, and four thirds of that in the page, which stays below 3 MB.
_ALL_PIXELS = 1_700_000
_MOST_PIXELS = 500_000
_SMALL_PIXELS = 60_000
_MOST_HISTOGRAMS = 8
_MOST_NUMBERS = 20  # rows and columns of an output that is no image


@dataclass
class ImageSection:
    """A section of the page on an input or output: pictures and remarks, or ``numbers`` for a tensor that is no image.

    ``planes`` are open while the pictures are made; ``None`` where the file cannot be read. ``channels`` are the
    channels that the model was given, by default all. ``numbers`` has the heads of columns, and rows.
    """

    title: str
    planes: Planes | None = None
    channels: Sequence[int] | None = None
    pictures: list[Picture] = field(default_factory=list)
    histograms: list[Picture] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    numbers: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None

    @property
    def count(self) -> int:
        """Number of pictures that there will be."""
        if self.planes is None or not self.planes.flat:
            return 0
        return len(shown_channels(self.planes, self.channels)) * len(views(self.planes))


@dataclass(frozen=True)
class Gallery:
    """All pictures of a report; there is at most one picture of ``tiles`` and of ``objects``."""

    inputs: list[ImageSection]
    outputs: list[ImageSection]
    overlays: list[Picture] = field(default_factory=list)
    tiles: list[Picture] = field(default_factory=list)
    objects: list[Picture] = field(default_factory=list)

    def pictures(self) -> Iterator[Picture]:
        """Yield all pictures."""
        for one in (*self.inputs, *self.outputs):
            yield from (*one.pictures, *one.histograms)
        yield from (*self.overlays, *self.tiles, *self.objects)


def make_gallery(run: RunRecord, folder: Path) -> Gallery:
    """Return the pictures of a run. Files that are not where the record says are looked for in ``folder``.

    An image that cannot be read leaves a remark.
    """
    inputs = [ImageSection(one.tensor, channels=one.channels) for one in run.inputs]
    outputs = [ImageSection(one.id) for one in run.outputs]
    gallery = Gallery(inputs, outputs)
    with ExitStack() as files:

        def opened(planes: Planes) -> Planes:
            files.callback(planes.close)
            return planes

        for section, one in zip(inputs, run.inputs, strict=True):
            with _remark_on_errors(section):
                section.planes = opened(_open_input(one, folder))
        for section, output in zip(outputs, run.outputs, strict=True):
            with _remark_on_errors(section):
                section.planes = opened(open_output(output, run.inputs, folder))
        large, small = _share_pixels([section.count for section in (*inputs, *outputs)])
        for number, section in enumerate(inputs, 1):
            size = large if section.count <= FEW else small
            _add_pictures(section, partial(image_pictures, name=f"input{number}", pixels=size, chosen=section.channels))
        for number, section in enumerate(outputs, 1):
            size = large if section.count <= FEW else small
            _add_pictures(section, partial(output_pictures, name=f"output{number}", pixels=size))
            if section.planes is not None and section.pictures and number <= _MOST_HISTOGRAMS:
                with _remark_on_errors(section):
                    section.histograms.append(histogram(section.planes, f"output{number}_histogram"))
        image, channel = inputs[0].planes, (run.inputs[0].channels or [0])[0]
        if image is None or not inputs[0].pictures:
            return gallery
        for number, section in enumerate(outputs, 1):
            if section.planes is not None and section.pictures:
                gallery.overlays.extend(overlay(image, channel, section.planes, f"overlay{number}", large))
        if not run.inputs[0].resized:  # the tiles of a resized image do not lie in the pixels of the given image
            gallery.tiles.extend(tile_grid(image, channel, run.plan, "tiles", large))
        written = run.objects.labels if run.objects is not None else None
        labels = find_file(Path(written), folder) if written is not None else None
        if labels is not None:
            objects = replace(opened(open_planes(labels)), name="objects")
            gallery.objects.extend(overlay(image, channel, objects, "objects", large))
    return gallery


@contextmanager
def _remark_on_errors(section: ImageSection) -> Iterator[None]:
    """Turn the error of an image that cannot be read into a remark."""
    try:
        yield
    except (ImageError, UsageError) as error:
        section.remarks.append(f"No picture: {error}")


def _open_input(one: InputRecord, folder: Path) -> Planes:
    if one.file is None:
        raise ImageError("the image was an array in memory.")
    place = known_path(one.file)
    path = place if isinstance(place, Address) else find_file(place, folder)
    if path is None:
        raise ImageError(f"there is no file {one.file} any more.")
    return open_input(path, one)


def _share_pixels(counts: Sequence[int]) -> tuple[int, int]:
    """Return the pixels of a large and of a small picture, so that the page can be sent by e-mail.

    ``counts`` has the number of pictures of every image and output; the pictures of many are small.
    """
    many = sum(count for count in counts if count > FEW)
    few = sum(count for count in counts if count <= FEW) + len(counts) + 2  # overlays, tiles, objects
    small = min(_SMALL_PIXELS, _ALL_PIXELS // 2 // max(1, many))
    return min(_MOST_PIXELS, (_ALL_PIXELS - small * many) // few), small


def _add_pictures(section: ImageSection, pictures: Callable[[Planes], Iterator[Picture]]) -> None:
    planes = section.planes
    if planes is None:
        return
    with _remark_on_errors(section):
        if not planes.flat:
            section.numbers = _numbers(planes)
            return
        section.pictures += pictures(planes)
        total = len(section.channels) if section.channels is not None else planes.channels
        more = total - len(shown_channels(planes, section.channels))
        if more:
            section.remarks.append(
                f"{more} more channel{'s are' if more > 1 else ' is'} not shown here (of {total}; a report has up to "
                f"{MOST_PICTURES} pictures of each image)."
            )


def _numbers(planes: Planes) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return heads of columns and rows of numbers, at most 20 of each, of an output without y and x."""
    image = planes.image
    block = image.read(tuple(slice(0, min(size, _MOST_NUMBERS)) for size in image.shape))
    rows = block.reshape(-1, block.shape[-1])[:_MOST_NUMBERS]
    named = len(planes.channel_names) == image.shape[-1]
    heads = planes.channel_names if named else [str(column) for column in range(image.shape[-1])]
    return list(heads[:_MOST_NUMBERS]), [[number_in_words(float(value)) for value in row] for row in rows]
