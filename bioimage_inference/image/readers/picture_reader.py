"""Reading pictures (PNG, JPEG and their like): recognised by their header, decoded once, when first looked at."""

import io
import math
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from ...errors import ImageError
from ..image import Image, Region
from .file_bytes import check_plausible

# Formats that Pillow decodes itself and without changing any value; PGM, for one, is rescaled.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_MOST_PIXELS = 1 << 31
_LARGEST_FILE = 1 << 31
_PICTURE_RATIO = 4000
_PILLOW_LIMIT = threading.Lock()

_GREY = {"1": "u1", "L": "u1", "I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
_COLOURS = {"LA": 2, "RGB": 3, "RGBA": 4, "RGBX": 4}
# Samples per pixel by the colour type of a PNG with 16 bits per sample.
_DEEP_COLOURS = {2: 3, 4: 2, 6: 4}
# Pillow stretches grey values of few bits to 0…255 by these factors.
_STRETCHED = {2: 85, 4: 17}


@dataclass(frozen=True)
class _Header:
    """What is known of a picture before it is decoded; ``depth`` is the bits per value of a PNG, else 8."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    mode: str
    depth: int
    table: NDArray[np.uint8] | None
    notes: tuple[str, ...]


def open_picture(path: Path) -> Image | None:
    """A picture with axes ``yx`` (grey) or ``yxs`` (colours); None when the file is no picture of a known kind.

    The values are those that are stored, from 0 to 1 for a 1-bit and 0 to 65535 for a 16-bit picture; a palette is
    replaced by its colours. Raises ImageError for pictures that are damaged or larger than their file can hold.
    """
    if not _starts_like_a_picture(path):
        return None
    if path.stat().st_size > _LARGEST_FILE:
        raise ImageError(
            f"{path.name} takes {path.stat().st_size / 2**30:.1f} GiB, more than a picture may take here (2 GiB), "
            "because it is read as a whole. Save it as a tiled TIFF or OME-Zarr, which are read piece by piece."
        )
    data = path.read_bytes()
    try:
        header = _read_header(path.name, data)
    except UnidentifiedImageError:
        return None
    picture = _Picture(data, header)
    return Image(
        name=path.name,
        path=str(path),
        axes="yxs" if len(header.shape) == 3 else "yx",
        axes_source="file",
        shape=header.shape,
        dtype=header.dtype,
        read=picture.read,
        close=picture.close,
        notes=header.notes,
        # Pillow holds the pixels beside our copy of them while it hands them over.
        piece=len(data) + 2 * math.prod(header.shape) * header.dtype.itemsize,
    )


def _starts_like_a_picture(path: Path) -> bool:
    """Whether one of the formats claims the file by its first bytes, before all of it is read."""
    with path.open("rb") as file:
        start = file.read(16)
    Pillow.init()
    accepts = [Pillow.OPEN[kind][1] for kind in _FORMATS]
    return any(accept is not None and accept(start) for accept in accepts)


class _Picture:
    """The content of the file until the first look at it, from then on the decoded pixels, until closed."""

    def __init__(self, data: bytes, header: _Header) -> None:
        self._data: bytes | None = data
        self._header = header
        self._pixels: NDArray[np.generic] | None = None
        self._lock = threading.Lock()

    def read(self, region: Region) -> NDArray[np.generic]:
        with self._lock:
            if self._pixels is None:
                if self._data is None:
                    raise ValueError("the picture is closed")
                self._pixels = _decode(self._data, self._header)
                self._data = None
            return self._pixels[region]

    def close(self) -> None:
        with self._lock:
            self._data = self._pixels = None


def _open_pillow(data: bytes) -> Pillow.Image:
    """The picture in Pillow's hands, header read; its size is checked by us, so that large pictures are let through."""
    Pillow.init()
    with _PILLOW_LIMIT:
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            # From memory, where a chunk that claims to be huge makes nobody allocate for it.
            return Pillow.open(io.BytesIO(data), formats=_FORMATS)
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def _read_header(name: str, data: bytes) -> _Header:
    png = data.startswith(b"\x89PNG")
    depth, colour_type = (data[24], data[25]) if png and len(data) > 25 else (8, 0)
    with _open_pillow(data) as picture:
        width, height = picture.size
        if width * height > _MOST_PIXELS:
            raise ImageError(
                f"{name} announces {width}×{height} pixels, more than a picture may have here (2^31). "
                "Save it as a tiled TIFF or OME-Zarr, which are read piece by piece."
            )
        samples, table, notes = _colours(picture)
        dtype = np.dtype(_GREY.get(picture.mode, "u1"))
        if depth == 16 and colour_type in _DEEP_COLOURS:
            samples, dtype = _DEEP_COLOURS[colour_type], np.dtype("u2")
        shape = (height, width) if samples is None else (height, width, samples)
        check_plausible(name, height * width * (samples or 1) * dtype.itemsize, len(data), _PICTURE_RATIO)
        return _Header(shape, dtype, picture.mode, depth, table, tuple(notes))


def _colours(picture: Pillow.Image) -> tuple[int | None, NDArray[np.uint8] | None, list[str]]:
    """Samples per pixel (None for grey), the palette where it has one, and remarks."""
    notes = []
    if getattr(picture, "is_animated", False):
        notes.append("The file holds several frames; the first was read.")
    if picture.mode in _GREY or picture.mode in _COLOURS:
        return _COLOURS.get(picture.mode), None, notes
    if picture.mode not in ("P", "PA"):
        return 3, None, [*notes, f"The picture's colours were converted from {picture.mode} to RGB."]
    table = np.zeros((256, 3), np.uint8)
    colours = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    table[: len(colours)] = colours
    grey = bool((table[:, :1] == table).all())
    notes.append(f"The picture has a palette; it was replaced by its {'grey values' if grey else 'RGB colours'}.")
    return None if grey else 3, table, notes


def _decode(data: bytes, header: _Header) -> NDArray[np.generic]:
    """All pixels, of the header's shape and dtype."""
    if header.dtype == np.uint16 and len(header.shape) == 3:
        import imagecodecs

        # Pillow would keep 8 of the 16 bits.
        deep: NDArray[np.generic] = imagecodecs.png_decode(data)
        return deep
    with _open_pillow(data) as picture:
        if header.table is not None:
            indices = np.asarray(picture)
            indices = indices if indices.ndim == 2 else indices[..., 0]
            coloured: NDArray[np.generic] = header.table[indices]
            return coloured if len(header.shape) == 3 else coloured[..., 0]
        known = header.mode in _GREY or header.mode in _COLOURS
        pixels = np.asarray(picture if known else picture.convert("RGB"))
    if header.mode == "L" and header.depth in _STRETCHED:
        pixels = pixels // np.uint8(_STRETCHED[header.depth])
    return pixels.astype(header.dtype, copy=False)
