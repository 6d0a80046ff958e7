"""What reading promises of wrong, damaged and hostile files: a paragraph that says why, and no harm."""

import io
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from bioimage_inference.errors import ImageError, UsageError
from bioimage_inference.image.readers.reading import open_image
from tests.reading_data import (
    GREY8,
    GREY16,
    MINISBLACK,
    RGB8,
    RGB16,
    Array,
    failure,
    pixels,
    png,
    saved,
    tiff,
    whole,
)


def cut(share: float, **options: Any) -> Callable[[], bytes]:
    """A TIFF that ends after that share of it."""

    def content() -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, pixels(8, 60, 70), **options)
        return buffer.getvalue()[: int(buffer.tell() * share)]

    return content


def object_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def npy_of(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, image=GREY8, mask=GREY8)
    return buffer.getvalue()


def complex_tiff() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((20, 30), np.complex64))
    return buffer.getvalue()


WRONG: dict[str, tuple[Callable[[], bytes] | bytes, str]] = {
    "truncated contiguous TIFF": (cut(0.7, **MINISBLACK), "truncated"),
    "truncated ImageJ TIFF": (cut(0.7, imagej=True), "truncated"),
    "truncated ImageJ TIFF of one page": (cut(0.7, imagej=True, truncate=True), "truncated"),
    "truncated OME-TIFF": (cut(0.7, ome=True, **MINISBLACK), "truncated"),
    "truncated pages": (cut(0.7, metadata=None, **MINISBLACK), "truncated"),
    "truncated tiles": (cut(0.6, tile=(16, 16), compression="zlib", **MINISBLACK), "truncated"),
    "TIFF header only": (b"II*\0\x08\0\0\0", "truncated"),
    "TIFF without pages": (b"II*\0\0\0\0\0", "without any page"),
    "complex TIFF": (complex_tiff, "complex numbers"),
    "truncated PNG": (png(RGB8)[:900], "damaged"),
    "truncated deep PNG": (png(RGB16)[:1900], "damaged"),
    "truncated JPEG": (saved(Pillow.fromarray(RGB8), "JPEG")[:500], "damaged"),
    "truncated npy": (npy_of(GREY16)[:-1], "truncated"),
    "npy header cut": (npy_of(GREY16)[:40], "damaged"),
    "npy of objects": (object_npy, "Python objects"),
    "npy of complex numbers": (npy_of(np.zeros((3, 3), complex)), "complex numbers"),
    "npy of text": (npy_of(np.array(["a", "b"])), "values of type"),
    "npy of a number": (npy_of(np.array(3.0)), "no pixels"),
    "npy without pixels": (npy_of(np.zeros((0, 5))), "no pixels"),
    "npz": (npz, "numpy.save"),
    "text": (b"Image,Area\ncells.tif,12\n", "text file"),
    "latin text": ("Größe".encode("latin-1"), "no image of a known kind"),
    "web page": (b"\n<!DOCTYPE html><html><body>Login</body></html>", "web page"),
    "companion": (b'<?xml version="1.0"?><OME xmlns="x"></OME>', "OME-TIFF file itself"),
    "empty": (b"", "empty"),
    "noise": (bytes(range(256)) * 5, "Bio-Formats"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "Zeiss": (b"ZISRAWFILE" + bytes(100), "Zeiss CZI"),
    "Nikon": (b"\xda\xce\xbe\x0a" + bytes(100), "Nikon ND2"),
    "Leica": (b"p\0\0\0\x46\1\0\0\x2a" + bytes(100), "Leica LIF"),
    "DICOM": (bytes(128) + b"DICM" + bytes(100), "DICOM"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "without an OME-Zarr"),
    "broken zip": (b"PK\x03\x04" + bytes(100), "damaged"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_whole_image_is_refused_in_one_paragraph_that_says_why(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content, hint = WRONG[kind]
    path = tmp_path / "dataset_9.dat"
    path.write_bytes(content if isinstance(content, bytes) else content())
    error = failure(path)
    assert isinstance(error, ImageError)
    assert hint in str(error)
    assert path.name in str(error)
    assert capfd.readouterr() == ("", ""), "libraries print nothing"


def test_the_command_prints_nothing_that_libraries_log_of_a_damaged_file(test_data: Path, tmp_path: Path) -> None:
    damaged = {
        "imagej": cut(0.7, imagej=True, truncate=True)(),
        "tiles": cut(0.6, tile=(16, 16), compression="zlib", **MINISBLACK)(),
    }
    command = [sys.executable, "-m", "bioimage_inference", "predict", test_data / "demo-model.zip"]
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        done = subprocess.run([*command, tmp_path / name, "-o", tmp_path], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (5, "")
        assert len(done.stderr.splitlines()) == 1
        assert "tifffile" not in done.stderr


def test_a_missing_file_is_wrong_usage_and_a_plain_folder_no_image(tmp_path: Path) -> None:
    assert isinstance(failure(tmp_path / "nothing.tif"), UsageError)
    assert "folder without an OME-Zarr" in str(failure(tmp_path))


@pytest.mark.parametrize("options", [{"metadata": None}, {"imagej": True}, {"compression": "zlib"}])
def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tiff(tmp_path, pixels(64, 300), **options)
    image = open_image(path)
    with path.open("r+b") as file:
        file.truncate(600)
    with pytest.raises(ImageError, match="truncated"):
        whole(image)
    image.close()


def test_a_strip_with_garbage_in_it_is_an_error(tmp_path: Path) -> None:
    path = tiff(tmp_path, pixels(64, 300), compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[2]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    image = open_image(path)
    image.read((slice(0, 16), slice(0, 300)))
    with pytest.raises(ImageError, match="damaged"):
        image.read((slice(32, 48), slice(0, 300)))
    image.close()


def tiff_claiming(width: int, height: int, compression: int, rows: int) -> bytes:
    """A classic TIFF of one page of 8 bits whose only strip is stored in 100 bytes."""
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, rows),
        (279, 100),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)).ljust(4096, b"\0")


def png_claiming(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = struct.pack(">I", 13) + body + struct.pack(">I", imagecodecs.zlib_crc32(body))
    return b"\x89PNG\r\n\x1a\n" + content + png(np.zeros((3, 3), np.uint8))[33:]


def npy_claiming(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


ROOT = Path(__file__).parents[2]
LEAST_CLAIMED = 400_000_000
"""Bytes that the most modest of these files would take."""
BOMBS = {
    "plain TIFF of 1 TB": tiff_claiming(10**6, 10**6, 1, 10**6),
    "deflated TIFF of 1 TB": tiff_claiming(10**6, 10**6, 8, 10**6),
    "deflated strip of 1 GB": tiff_claiming(10**5, 10**4, 8, 10**4),
    "PNG of 2.5 gigapixels": png_claiming(50_000, 50_000),
    "PNG of 400 megapixels": png_claiming(20_000, 20_000),
    "npy of 1 TB": npy_claiming((500_000, 500_000)),
    "npy of 10^40 pixels": npy_claiming((10**20, 10**20)),
    "npy of negative size": npy_claiming((-5, 10)),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_that_claims_more_than_the_file_holds_allocates_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bomb.dat"
    path.write_bytes(BOMBS[kind])
    whole_error = failure(path)
    tracemalloc.start()
    try:
        assert isinstance(failure(path), ImageError)
        assert tracemalloc.get_traced_memory()[1] < LEAST_CLAIMED / 100, whole_error
    finally:
        tracemalloc.stop()


def test_a_truly_large_picture_is_read_without_a_warning(tmp_path: Path) -> None:
    path, limit = tmp_path / "large.png", Pillow.MAX_IMAGE_PIXELS
    assert limit is not None
    path.write_bytes(saved(Pillow.new("1", (20_000, 10_000), 1), "PNG"))
    image = open_image(path)
    assert image.shape == (10_000, 20_000)
    assert image.read((slice(9_000, 9_010), slice(0, 10))).all()
    image.close()
    assert limit == Pillow.MAX_IMAGE_PIXELS


def test_a_chain_of_pages_that_bites_its_tail_ends(tmp_path: Path) -> None:
    path = tiff(tmp_path, pixels(150, 4, 4, dtype="uint8"), metadata=None, **MINISBLACK)
    with tifffile.TiffFile(path) as tif:
        last, earlier = tif.pages[-1], tif.pages[120].offset
        tail = last.offset + tif.tiff.tagnosize + len(last.tags) * tif.tiff.tagsize
    content = bytearray(path.read_bytes())
    content[tail : tail + 4] = struct.pack("<I", earlier)
    path.write_bytes(content)
    assert "does not end" in str(failure(path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    draw, seeds = data.draw, []
    for options in (
        {"imagej": True},
        {"ome": True, **MINISBLACK},
        {"compression": "lzw", "tile": (16, 16)},
        {"bigtiff": True},
    ):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, GREY16, **options)
        seeds.append(buffer.getvalue())
    content = bytearray(draw(st.sampled_from([*seeds, png(RGB8), png(RGB16), npy_of(GREY16)])))
    for _ in range(draw(st.integers(1, 5))):
        content[draw(st.integers(0, min(len(content), 400) - 1))] = draw(st.integers(0, 255))
    path = tmp_path / "mutant.dat"
    path.write_bytes(content[: draw(st.integers(1, len(content)))] if draw(st.booleans()) else content)
    refusals = []
    try:
        image = open_image(path)
        try:
            image.read(tuple(slice(max(0, size - 40), size) for size in image.shape))
        finally:
            image.close()
    except ImageError as error:
        refusals.append(str(error))
    assert all("mutant.dat" in refusal for refusal in refusals)
