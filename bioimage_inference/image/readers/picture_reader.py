"""Reader of pictures (PNG, JPEG and others): recognised by their first bytes, decoded once, on the first read.

Pillow is used directly and not through imageio: imageio opens a file with every decoder of Pillow, and this reader
allows only those that change no values and start no other program. ``Image.MAX_IMAGE_PIXELS`` is the only global of
Pillow that is touched (tested with 13.0).
"""

import io
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...array_types import Array
from ...errors import ImageError
from ..image import Image, Region
from .file_bytes import LARGEST_PIECE, PIECE_RATIO, check_plausible

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# Formats that Pillow decodes itself and without changing any value; it rescales PGM, for example.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "JPEG2000")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")
_MARKS = (_PNG, b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", *_JPEG_2000)
_MOST_PIXELS = 1 << 31  # of a picture, which is decoded as a whole
_PILLOW_LIMIT = threading.Lock()

_GREY = {"1": "u1", "L": "u1", "I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
_COLOURS = {"LA": 2, "RGB": 3, "RGBA": 4, "RGBX": 4}
# Samples per pixel by the colour type of a PNG with 16 bits per sample.
_DEEP_COLOURS = {2: 3, 4: 2, 6: 4}
# Pillow stretches grey values of 2 and 4 bits to 0…255 by these factors.
_STRETCHED = {2: 85, 4: 17}


@dataclass(frozen=True)
class _Header:
    """Facts about a picture before it is decoded; ``depth`` is the number of bits per value of a PNG, else 8."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    mode: str
    depth: int
    table: NDArray[np.uint8] | None
    notes: tuple[str, ...]


def is_picture(start: bytes) -> bool:
    """Return whether a file is a picture, by its first bytes."""
    return start.startswith(_MARKS) or (start.startswith(b"RIFF") and start[8:15] == b"WEBPVP8")


def open_picture(path: Path) -> Image | None:
    """Open a picture with axes ``yx`` (grey) or ``yxs`` (colours); None if Pillow does not recognise it.

    The values are the stored ones, from 0 to 1 for a 1-bit and 0 to 65535 for a 16-bit picture. A palette is replaced
    by its colours. Raises ImageError for pictures that are damaged, or larger than their file can hold.
    """
    from PIL import UnidentifiedImageError

    if path.stat().st_size > LARGEST_PIECE:
        raise ImageError(
            f"{path.name} takes {path.stat().st_size / 2**30:.1f} GiB, more than a picture may take here (2 GiB), "
            "because it is read as a whole. Save it as a tiled TIFF or OME-Zarr, which are read piece by piece."
        )
    data = path.read_bytes()
    try:
        header = _read_header(path.name, data)
    except UnidentifiedImageError:
        return None
    lock, undecoded, decoded = threading.Lock(), [data], list[Array]()

    def read(region: Region) -> Array:
        with lock:
            if not decoded:
                decoded.append(_decode(undecoded[0], header))
                undecoded.clear()
            return decoded[0][region]

    def close() -> None:
        with lock:
            undecoded.clear()
            decoded.clear()

    return Image(
        name=path.name,
        path=str(path),
        axes="yxs" if len(header.shape) == 3 else "yx",
        axes_source="file",
        shape=header.shape,
        dtype=header.dtype,
        read=read,
        close=close,
        notes=header.notes,
        # While Pillow hands its pixels over, they are in memory twice.
        piece=len(data) + 2 * math.prod(header.shape) * header.dtype.itemsize,
    )


def _open_pillow(data: bytes) -> "Picture":
    """Return Pillow's picture with its header read, also if it has more pixels than Pillow's default limit."""
    from PIL import Image as Pillow

    with _PILLOW_LIMIT:
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            # From memory, so that a chunk with a huge size in its header allocates nothing.
            return Pillow.open(io.BytesIO(data), formats=_FORMATS)
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def _read_header(name: str, data: bytes) -> _Header:
    depth, colour_type = (data[24], data[25]) if data.startswith(_PNG) and len(data) > 25 else (8, 0)
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
        check_plausible(name, height * width * (samples or 1) * dtype.itemsize, len(data), PIECE_RATIO)
        return _Header(shape, dtype, picture.mode, depth, table, tuple(notes))


def _colours(picture: "Picture") -> tuple[int | None, NDArray[np.uint8] | None, list[str]]:
    """Return samples per pixel (None for grey), the palette if there is one, and notes."""
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


def _decode(data: bytes, header: _Header) -> Array:
    """Return all pixels, in the shape and dtype of the header."""
    if header.dtype == np.uint16 and len(header.shape) == 3:
        import imagecodecs

        # Pillow would keep 8 of the 16 bits.
        return np.asarray(imagecodecs.png_decode(data))
    with _open_pillow(data) as picture:
        if header.table is not None:
            indices = np.asarray(picture)
            coloured: Array = header.table[indices if indices.ndim == 2 else indices[..., 0]]
            return coloured if len(header.shape) == 3 else coloured[..., 0]
        known = header.mode in _GREY or header.mode in _COLOURS
        pixels = np.asarray(picture if known else picture.convert("RGB"))
    if header.mode == "L" and header.depth in _STRETCHED:
        pixels = pixels // np.uint8(_STRETCHED[header.depth])
    return pixels.astype(header.dtype, copy=False)
