"""Reader of pictures (PNG, JPEG and others): recognised by their first bytes, decoded once, on the first read.

imagecodecs decodes pictures whose values Pillow would change: PNG in colours of 16 bits, and JPEG 2000.

Pillow is used directly and not through imageio: imageio opens a file with every decoder of Pillow, and this reader
allows only those that change no values and start no other program. ``Image.MAX_IMAGE_PIXELS`` is the only global of
Pillow that is touched (tested with 13.0).
"""

import io
import math
import struct
import threading
from collections.abc import Callable
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
_CODESTREAM = b"\xff\x4f\xff\x51"
_JPEG_2000 = (_CODESTREAM, b"\x00\x00\x00\x0cjP  \r\n\x87\n")
_MARKS = (_PNG, b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", *_JPEG_2000)
_MOST_PIXELS = 1 << 31  # of a picture, which is decoded as a whole
_PILLOW_LIMIT = threading.Lock()

_GREY = {"1": "u1", "L": "u1", "I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
_COLOURS = {"LA": 2, "RGB": 3, "RGBA": 4, "RGBX": 4}
# Samples per pixel by the colour type of a PNG with 16 bits per sample.
_DEEP_COLOURS = {2: 3, 4: 2, 6: 4}
# OpenJPEG decodes all values as 32-bit integers: 5.5 bytes of memory per value of an RGB picture of 16 megapixels.
_OPENJPEG_BYTES = 4
# Pillow stretches grey values of 2 and 4 bits to 0…255 by these factors.
_STRETCHED = {2: 85, 4: 17}


@dataclass(frozen=True)
class _Header:
    """Facts about a picture before it is decoded.

    ``depth`` is the number of bits per value of a PNG, else 8. ``decode`` is the decoder that replaces Pillow's, and
    ``working`` is the number of bytes per value that decoding takes besides the result.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    mode: str
    depth: int
    table: NDArray[np.uint8] | None
    notes: tuple[str, ...]
    decode: Callable[[bytes], Array] | None
    working: int


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
        piece=len(data) + math.prod(header.shape) * (header.dtype.itemsize + header.working),
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
        dtype, decode = np.dtype(_GREY.get(picture.mode, "u1")), None
        if depth == 16 and colour_type in _DEEP_COLOURS:
            samples, dtype, decode = _DEEP_COLOURS[colour_type], np.dtype("u2"), _decode_png
        elif picture.format == "JPEG2000" and (picture.mode in _GREY or picture.mode in _COLOURS):
            stored = _jpeg_2000(name, data, picture.size)
            if stored is not None:
                (samples, dtype), decode = stored, _decode_jpeg_2000
        shape = (height, width) if samples is None else (height, width, samples)
        check_plausible(name, height * width * (samples or 1) * dtype.itemsize, len(data), PIECE_RATIO)
        # While Pillow hands its pixels over, they are in memory twice.
        working = _OPENJPEG_BYTES if picture.format == "JPEG2000" else dtype.itemsize
        return _Header(shape, dtype, picture.mode, depth, table, tuple(notes), decode, working)


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


def _jpeg_2000(name: str, data: bytes, size: tuple[int, int]) -> tuple[int | None, np.dtype[np.generic]] | None:
    """Return samples per pixel (None for grey) and dtype of a JPEG 2000 picture; None if only Pillow can decode it.

    They come from the SIZ marker (ISO 15444-1, A.5.1). ``size`` is the width and height that Pillow found. Only Pillow
    decodes channels that differ in bits or in size. Raises ImageError if these have more than 8 bits, which Pillow
    does not keep, and for damaged pictures.
    """
    try:
        start = _codestream(data)
        *_, right, bottom, left, top, _, _, _, _, count = struct.unpack_from(">4H8IH", data, start)
        # Each channel has its number of bits less one (128 more for signed values), and its steps in x and y.
        channels = list(struct.iter_unpack(">3B", data[start + 42 : start + 42 + 3 * count]))
    except struct.error:
        channels = []
    if not channels or (right - left, bottom - top) != size:
        raise ImageError(
            f"{name} is a damaged JPEG 2000 picture: its headers are cut, or contradict each other. "
            "Copy or export the image again."
        )
    kind = max(channel[0] for channel in channels)
    if set(channels) == {(kind, 1, 1)}:
        bits = kind % 128 + 1
        dtype = np.dtype(f"{'i' if kind & 128 else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}")
        return (None if count == 1 else count), dtype
    if kind >= 8:
        raise ImageError(
            f"{name} is a JPEG 2000 picture whose channels differ in bits or in size, which is read for unsigned "
            "values of up to 8 bits only. Save it as TIFF."
        )
    return None


def _codestream(data: bytes) -> int:
    """Return the position of the SOC marker of a JPEG 2000 picture: the start, or inside the box ``jp2c``.

    Raises struct.error if there is no such box.
    """
    position = 0
    while not data.startswith(_CODESTREAM, position):
        length, kind = struct.unpack_from(">I4s", data, position)
        header = 16 if length == 1 else 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if kind != b"jp2c" and length < header:
            raise struct.error
        position += header if kind == b"jp2c" else length
    return position


def _decode_png(data: bytes) -> Array:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(data))


def _decode_jpeg_2000(data: bytes) -> Array:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(data))


def _decode(data: bytes, header: _Header) -> Array:
    """Return all pixels, in the shape and dtype of the header."""
    if header.decode is not None:
        # imagecodecs adds the opacity to a PNG with a transparent colour.
        exact = header.decode(data)[tuple(map(slice, header.shape))]
        if (exact.shape, exact.dtype) != (header.shape, header.dtype):
            raise ValueError("its pixels do not fit its header")
        return exact
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
