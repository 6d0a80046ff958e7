"""What reading promises of arrays and pictures: every bit of them, and a word where they were changed."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from bioimage_inference.image.readers import file_bytes
from bioimage_inference.image.readers.reading import open_image
from tests.reading_data import (
    GREY8,
    GREY16,
    RGB8,
    RGB16,
    RGBA16,
    Array,
    failure,
    opened,
    pixels,
    png,
    saved,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_npy_equals_slicing_the_array(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    shape = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=4)))
    dtype = draw(st.sampled_from(["?", "i1", "u1", "<u2", ">u2", ">i4", "<f2", ">f4", "<f8", ">i8"]))
    array = np.asarray(pixels(*shape, dtype="uint8").astype(dtype), order=draw(st.sampled_from("CF")))
    path = tmp_path / "array.dat"
    with path.open("wb") as file:
        np.save(file, array)
    image = open_image(path)
    try:
        assert image.axes_source == "guess"
        coloured = len(shape) > 2 and 2 <= shape[-1] <= 5 and min(shape[-3:-1]) >= 4 * shape[-1]
        assert image.axes == ("yxc" if coloured else "yx" if len(shape) > 1 else "?").rjust(len(shape), "?")
        for _ in range(4):
            region = tuple(slice(*sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in image.shape)
            got = image.read(region)
            assert got.dtype == image.dtype
            assert got.dtype.isnative
            np.testing.assert_array_equal(got, array[region])
    finally:
        image.close()


def test_one_channel_of_a_channel_last_array_is_read_in_few_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = pixels(300, 200, 32, dtype="uint8")
    np.save(tmp_path / "last.npy", array)
    image = open_image(tmp_path / "last.npy")
    runs: list[int] = []
    read = file_bytes.FileBytes.read_runs

    def counted(self: Any, positions: list[int], rows: Array) -> None:
        runs.extend(positions)
        read(self, positions, rows)

    monkeypatch.setattr(file_bytes.FileBytes, "read_runs", counted)
    region = (slice(100, 200), slice(20, 180), slice(5, 6))
    np.testing.assert_array_equal(image.read(region), array[region])
    image.close()
    assert len(runs) <= 100


@pytest.mark.parametrize(
    ("array", "content"),
    [
        (GREY8, png(GREY8)),
        (GREY16, png(GREY16)),
        (RGB8, png(RGB8)),
        (RGB16, png(RGB16)),
        (RGBA16, png(RGBA16)),
        (RGB8, saved(Pillow.fromarray(RGB8), "BMP")),
        (RGB8, saved(Pillow.fromarray(RGB8), "WEBP", lossless=True)),
        (RGB8, saved(Pillow.fromarray(RGB8), "JPEG2000", irreversible=False)),
    ],
    ids=["PNG", "PNG 16", "PNG RGB", "PNG RGB 16", "PNG RGBA 16", "BMP", "WebP", "JPEG 2000"],
)
def test_pictures_keep_every_bit(tmp_path: Path, array: Array, content: bytes) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(content)
    image, got = opened(path)
    assert (image.axes, image.axes_source) == ("yx" if array.ndim == 2 else "yxs", "file")
    assert image.dtype == got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


def jpeg_2000(array: Array, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(array, level=0, reversible=True, **options))


@pytest.mark.parametrize("kind", ["jp2", "j2k"])
@pytest.mark.parametrize(
    ("array", "bits"),
    [(GREY8, 8), (GREY8 % 16, 4), (GREY16 % 4096, 12), (GREY16, 16), (RGB16, 16), (RGBA16, 16), (RGB16[..., :2], 16),
     (GREY16.astype(np.int16) - 5000, 16), (GREY8.astype(np.int8), 8), (GREY16.astype(np.uint32) * 50, 20)],
)  # fmt: skip
def test_jpeg_2000_keeps_every_bit_and_sign(tmp_path: Path, array: Array, bits: int, kind: str) -> None:
    path = tmp_path / "picture.dat"
    path.write_bytes(jpeg_2000(np.ascontiguousarray(array), bitspersample=bits, codecformat=kind))
    image, got = opened(path)
    assert image.axes == ("yx" if array.ndim == 2 else "yxs")
    assert image.dtype == got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)
    assert not image.notes


def siz_changed(content: bytes, place: int, value: bytes) -> bytes:
    """The picture with other bytes in its SIZ marker, ``place`` bytes after the start of the codestream."""
    start = content.index(b"\xff\x4f\xff\x51") + place
    return content[:start] + value + content[start + len(value) :]


def test_jpeg_2000_whose_headers_lie_is_refused(tmp_path: Path) -> None:
    path, content = tmp_path / "picture.dat", jpeg_2000(RGB16)
    path.write_bytes(siz_changed(content, 8, struct.pack(">II", 50_000, 50_000)))
    assert "headers are cut, or contradict each other" in str(failure(path))
    path.write_bytes(content.replace(b"jp2c", b"free"))
    assert "headers are cut, or contradict each other" in str(failure(path))
    path.write_bytes(content[:-200])
    assert "cannot be read" in str(failure(path))


def test_jpeg_2000_whose_channels_differ_is_read_only_if_no_bit_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "picture.dat"
    second_channel = 45
    path.write_bytes(siz_changed(jpeg_2000(RGB8), second_channel, b"\x06"))
    assert opened(path)[1].shape == RGB8.shape
    path.write_bytes(siz_changed(jpeg_2000(RGB16), second_channel, b"\x0b"))
    assert "channels differ in bits" in str(failure(path))


def test_jpeg_is_read_like_any_other_program_does(tmp_path: Path) -> None:
    path = tmp_path / "photo.dat"
    path.write_bytes(saved(Pillow.fromarray(RGB8), "JPEG", quality=95))
    image, got = opened(path)
    assert image.axes == "yxs"
    np.testing.assert_array_equal(got, np.asarray(Pillow.open(path)))
    region = (slice(3, 9), slice(4, 20), slice(1, 2))
    reopened = open_image(path)
    np.testing.assert_array_equal(reopened.read(region), got[region])
    reopened.close()


def test_a_palette_becomes_its_colours_or_its_greys(tmp_path: Path) -> None:
    indices = pixels(20, 30, dtype="uint8") % 4
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [1, 2, 3]], np.uint8)
    for table, expected, axes in (
        (colours, colours[indices], "yxs"),
        (np.repeat(colours[:, :1], 3, 1), colours[indices, 0], "yx"),
    ):
        picture = Pillow.fromarray(indices).convert("P")
        picture.putpalette(table.tobytes())
        for kind in ("PNG", "GIF"):
            path = tmp_path / "palette.dat"
            path.write_bytes(saved(picture, kind))
            image, got = opened(path)
            assert (image.axes, got.dtype) == (axes, np.uint8)
            np.testing.assert_array_equal(got, expected)
            assert "palette" in image.notes[0]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", imagecodecs.zlib_crc32(body))


def test_a_transparent_colour_of_a_png_adds_no_channel(tmp_path: Path) -> None:
    path, content = tmp_path / "picture.dat", png(RGB16)
    start = content.index(b"IDAT") - 4
    path.write_bytes(content[:start] + chunk(b"tRNS", struct.pack(">3H", *RGB16[0, 0])) + content[start:])
    image, got = opened(path)
    assert image.shape == got.shape
    np.testing.assert_array_equal(got, RGB16)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pictures_of_few_bits_keep_their_numbers(tmp_path: Path, bits: int) -> None:
    values = pixels(20, 32, dtype="uint8") % 2**bits
    packed = np.packbits(np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(20, -1), axis=-1)
    header = struct.pack(">IIBBBBB", 32, 20, bits, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", imagecodecs.zlib_encode(rows)) + chunk(b"IEND", b"")
    path = tmp_path / "few.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    image, got = opened(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(got, values)


def test_cmyk_and_animations_are_said(tmp_path: Path) -> None:
    path = tmp_path / "odd.dat"
    path.write_bytes(saved(Pillow.fromarray(RGB8).convert("CMYK"), "JPEG"))
    image, _ = opened(path)
    assert image.shape == (20, 30, 3)
    assert "CMYK" in image.notes[0]
    frames = [Pillow.fromarray(frame).convert("P") for frame in (RGB8, 255 - RGB8)]
    path.write_bytes(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    image, _ = opened(path)
    assert "several frames" in image.notes[0]
