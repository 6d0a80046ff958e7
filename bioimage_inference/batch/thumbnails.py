"""Small pictures of an image, its prediction and its objects. Large images are read a few rows at a time."""

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, UsageError
from ..report.colours import Kind, contrast, kind_of, palette, shades
from ..report.planes import Planes, open_output, open_planes

SIDE = 160
_READ_PIXELS = (4 * SIDE) ** 2  # a plane is read thinned out to this size, then averaged
_MOST_CHANNELS = 2


@dataclass(frozen=True)
class Picture:
    """A WebP file of at most ``SIDE`` pixels on a side. Without ``webp``, ``title`` gives the reason."""

    title: str
    webp: bytes | None
    width: int = 0
    height: int = 0


def thumbnails(record: Mapping[str, Any], image: Path) -> tuple[Picture, ...]:
    """Return pictures of the image, of the first channels of the first output, and of the objects.

    A picture shows the middle plane of a stack and the first image of a series.
    """
    return tuple(_pictures(record, image))


def _pictures(record: Mapping[str, Any], image: Path) -> Iterator[Picture]:
    facts, output = record["inputs"][0], record["outputs"][0]
    try:
        with closing(open_planes(image, facts["axes"])) as planes:
            yield _image(planes, facts["channels"])
        with closing(open_output(output, record["inputs"], Path())) as planes:
            yield from _output(planes, output["id"])
        if "objects" in record:
            with closing(open_planes(Path(record["objects"]["labels"]))) as planes:
                count = record["objects"]["count"]
                yield _picture(planes, 0, f"{count} object{'s' * (count != 1)}", "labels")
    except (ImageError, UsageError) as error:
        yield Picture(f"No picture: {error}", None)


def _image(planes: Planes, channels: list[int] | None) -> Picture:
    """Return the first channel of the model's input in grey, or three channels of 8 bits in colour."""
    chosen = channels or range(planes.channels)
    if len(chosen) == 3 and planes.image.dtype == np.uint8 and planes.flat:
        pixels = np.stack([planes.plane(_where(planes, channel), _READ_PIXELS) for channel in chosen], axis=-1)
        return _small("image", pixels)
    return _picture(planes, chosen[0], "image", "image")


def _output(planes: Planes, name: str) -> Iterator[Picture]:
    for channel in range(min(planes.channels, _MOST_CHANNELS)):
        title = planes.channel_names[channel] if planes.channel_names else f"{name} {channel}"
        yield _picture(planes, channel, title if planes.channels > 1 else name)


def _picture(planes: Planes, channel: int, title: str, kind: Kind | None = None) -> Picture:
    if not planes.flat:
        return Picture(f"No picture: {title} has no axes y and x", None)
    plane = planes.plane(_where(planes, channel), _READ_PIXELS)
    kind = kind or kind_of([plane])
    colours = np.array(palette(kind), np.uint8)
    return _small(title, colours[shades(plane, contrast(plane, kind))], averaged=kind != "labels")


def _where(planes: Planes, channel: int) -> dict[str, int]:
    return {"c": channel, "z": planes.depth // 2}


def _small(title: str, pixels: NDArray[np.uint8], averaged: bool = True) -> Picture:
    """Return a picture of ``pixels`` (axes yxc). Labels must not be ``averaged``."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX if averaged else Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=60)  # half the size of a JPEG that looks the same
    return Picture(title, stream.getvalue(), picture.width, picture.height)
