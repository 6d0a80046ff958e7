"""What reading an image promises: every kind of TIFF, region by region, in bounded memory, and a fast start."""

import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioimage_inference.errors import BioimageInferenceError, ImageError, UsageError
from bioimage_inference.image.axes import AXES, LETTERS, letter_of
from bioimage_inference.image.image import Image, PixelSize
from bioimage_inference.image.readers import file_bytes
from bioimage_inference.image.readers.reading import READERS, open_image
from tests.machine import open_files
from tests.reading_data import (
    GREY8,
    MINISBLACK,
    Array,
    described,
    failure,
    opened,
    pixels,
    png,
    tiff,
    whole,
)

TYX = {"axes": "TYX"}
KINDS: list[tuple[str, tuple[int, ...], str, str, dict[str, Any]]] = [
    ("ImageJ hyperstack", (3, 4, 2, 20, 30), "uint16", "tzcyx", {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    ("big-endian ImageJ", (4, 20, 30), "float32", "zyx", {"imagej": True, "metadata": {"axes": "ZYX"}}),
    ("ImageJ, z only", (1, 4, 1, 20, 30), "uint8", "zyx", {"imagej": True, "metadata": {"axes": "TZCYX"}}),
    (
        "ImageJ, one page for all",
        (3, 20, 30),
        "uint8",
        "tyx",
        {"imagej": True, "truncate": True, "metadata": TYX},
    ),
    ("OME-TIFF", (3, 2, 20, 30), "uint16", "tcyx", {"ome": True, "metadata": {"axes": "TCYX"}}),
    ("OME-TIFF, tiled", (2, 40, 50), "int16", "zyx", {"ome": True, "tile": (16, 32), "metadata": {"axes": "ZYX"}}),
    (
        "OME-TIFF, RGB",
        (2, 20, 30, 3),
        "uint8",
        "zyxs",
        {"ome": True, "photometric": "rgb", "metadata": {"axes": "ZYXS"}},
    ),
    ("BigTIFF", (5, 20, 30), "float32", "?yx", {"bigtiff": True, **MINISBLACK}),
    ("pages without metadata", (6, 20, 30), "int16", "?yx", {"metadata": None, **MINISBLACK}),
    ("one page without metadata", (20, 30), "uint32", "yx", {"metadata": None}),
    ("tifffile's JSON", (1, 2, 5, 20, 30), "float32", "btzyx", {"metadata": {"axes": "BTZYX"}}),
    ("tifffile's JSON without axes", (7, 5, 20, 30), "uint8", "??yx", MINISBLACK),
    ("positions", (7, 20, 30), "uint8", "pyx", {"metadata": {"axes": "RYX"}, **MINISBLACK}),
    ("zlib strips", (2, 20, 30), "uint32", "?yx", {"compression": "zlib", "rowsperstrip": 7}),
    ("LZW tiles with predictor", (70, 90), "uint16", "yx", {"compression": "lzw", "predictor": True, "tile": (16, 32)}),
    ("zstd, float predictor", (70, 90), "float32", "yx", {"compression": "zstd", "predictor": 3}),
    ("JPEG colours", (70, 90, 3), "uint8", "yxs", {"compression": "jpeg", "photometric": "rgb", "tile": (16, 16)}),
    ("RGBA", (20, 30, 4), "uint8", "yxs", {"photometric": "rgb"}),
    ("planar RGB", (3, 20, 30), "uint16", "syx", {"photometric": "rgb", "planarconfig": "separate"}),
    ("volumetric tiles", (20, 40, 30), "uint8", "zyx", {"volumetric": True, "tile": (16, 16, 16), **MINISBLACK}),
    ("half floats", (20, 30), "float16", "yx", {}),
    ("64 bits", (20, 30), "uint64", "yx", {}),
]


@pytest.mark.parametrize(("shape", "dtype", "axes", "options"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_kind_of_tiff_is_read_whatever_its_suffix(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, axes: str, options: dict[str, Any], byteorder: str
) -> None:
    path = tiff(
        tmp_path, pixels(*shape, dtype=dtype), **({} if "imagej" in options else {"byteorder": byteorder}), **options
    )
    image, got = opened(path)
    expected = tifffile.imread(path)
    assert image.axes == axes
    assert image.axes_source == ("guess" if "?" in axes else "file")
    assert image.shape == got.shape == (shape if "imagej" not in options else expected.shape)
    assert image.dtype == got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, expected.reshape(got.shape))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_tiff_equals_slicing_the_array(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    shape = (*draw(st.lists(st.integers(1, 3), max_size=2)), draw(st.integers(1, 40)), draw(st.integers(1, 50)))
    array = pixels(*shape, dtype=draw(st.sampled_from(["uint8", "int16", "uint16", "float32", "float64"])))
    options: dict[str, Any] = {
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "compression": draw(st.sampled_from([None, "zlib", "lzw", "packbits", "zstd"])),
        "metadata": draw(st.sampled_from([None, {}])),
        **MINISBLACK,
    }
    tiled = draw(st.booleans())
    options |= {"tile": (16, 32)} if tiled else {"rowsperstrip": draw(st.integers(1, 50))}
    image = open_image(tiff(tmp_path, array, **options))
    try:
        full = array.reshape(image.shape)
        for _ in range(4):
            region = tuple(slice(*sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in image.shape)
            np.testing.assert_array_equal(image.read(region), full[region])
    finally:
        image.close()


def test_only_the_tiles_that_a_region_meets_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_image(tiff(tmp_path, pixels(128, 128), tile=(32, 32), compression="zlib"))
    asked: list[int] = []
    read = file_bytes.FileBytes.read

    def counted(self: Any, offset: int, count: int) -> bytes:
        asked.append(offset)
        return read(self, offset, count)

    monkeypatch.setattr(file_bytes.FileBytes, "read", counted)
    image.read((slice(30, 40), slice(0, 10)))
    assert len(set(asked)) == len(asked) == 2
    image.read((slice(30, 40), slice(0, 10)))
    assert len(asked) == 2, "what was just decoded is not decoded again"
    image.close()


@pytest.mark.parametrize("options", [{"compression": "zlib", "tile": (256, 256)}, {"compression": "zlib"}, {}])
def test_a_large_image_is_never_in_memory_as_a_whole(tmp_path: Path, options: dict[str, Any]) -> None:
    array = np.zeros((8192, 8192), np.uint8)
    path = tiff(tmp_path, array, **options)
    tracemalloc.start()
    try:
        image = open_image(path)
        image.read((slice(4000, 4512), slice(4000, 4512)))
        image.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes / 4


def test_many_threads_read_one_image(tmp_path: Path) -> None:
    array = pixels(6, 100, 120)
    for options in ({"compression": "lzw", "rowsperstrip": 9}, {"metadata": None}):
        image = open_image(tiff(tmp_path, array, **MINISBLACK, **options))
        regions = [(slice(n % 6, n % 6 + 1), slice(n, n + 40), slice(n // 2, n // 2 + 50)) for n in range(60)]
        wrong: list[int] = []

        def look(numbers: range, image: Image = image, wrong: list[int] = wrong, regions: Any = regions) -> None:
            wrong.extend(n for n in numbers if not np.array_equal(image.read(regions[n]), array[regions[n]]))

        threads = [threading.Thread(target=look, args=(range(start, 60, 8),)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        image.close()
        assert not wrong


def test_pages_stored_out_of_order_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    array = pixels(3, 20, 30)
    with tifffile.TiffWriter(path) as writer:
        for page in array:
            writer.write(page, metadata=None, rowsperstrip=5)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tags = [page.tags["StripOffsets"] for page in tif.pages]
        offsets = [tag.value for tag in tags]
        tags[1].overwrite(offsets[2])
        tags[2].overwrite(offsets[1])
    np.testing.assert_array_equal(opened(path)[1], array[[0, 2, 1]])


def test_strips_scattered_over_the_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "scattered.tif"
    array = pixels(2, 20, 30)
    with tifffile.TiffWriter(path) as writer:
        for page in array:
            writer.write(page, metadata=None, rowsperstrip=10)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tag = tif.pages[1].tags["StripOffsets"]
        tag.overwrite(tag.value[::-1])
    expected = np.stack([array[0], np.roll(array[1], 10, axis=0)])
    np.testing.assert_array_equal(opened(path)[1], expected)


IMAGEJ = "ImageJ=1.53t\nimages={0}\nslices={0}\n"


@pytest.mark.parametrize("description", [None, IMAGEJ], ids=["plain", "ImageJ"])
@pytest.mark.parametrize("options", [{}, {"rowsperstrip": 16}, {"compression": "lzw"}, {"tile": (64, 64)}], ids=str)
@pytest.mark.parametrize(("pages", "empty"), [(1, 0), (4, 0), (4, 2), (10, 0), (10, 5)])
def test_a_page_that_was_never_written_is_zeros_with_a_note(
    tmp_path: Path, pages: int, empty: int, options: dict[str, Any], description: str | None
) -> None:
    path, stack = tmp_path / "sparse.tif", pixels(pages, 64, 64) + 1
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(stack):
            text = description.format(pages) if description and number == 0 else None
            writer.write(page, contiguous=False, metadata=None, description=text, **MINISBLACK, **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        page_tags = file.pages[empty].aspage().tags
        for code in (273, 279, 324, 325):
            if code in page_tags:
                page_tags[code].overwrite([0] * page_tags[code].count)
    stack[empty] = 0
    image, got = opened(path)
    np.testing.assert_array_equal(got.reshape(stack.shape), stack)
    assert any("Empty ones are read as the fill value" in note for note in image.notes)


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'DimensionOrder="XYZCT" Type="uint16" SizeX="64" SizeY="64" SizeZ="{0}" SizeC="1" SizeT="1"><TiffData/>'
    "</Pixels></Image></OME>"
)


def with_odd_page(path: Path, stack: Array, odd: Array, description: str | None, **options: Any) -> Path:
    """A TIFF whose page 3 of 10 is ``odd`` and written with other options."""
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(stack):
            text = description.format(len(stack)) if description and number == 0 else None
            here = {**MINISBLACK, **options} if number == 2 else MINISBLACK
            writer.write(odd if number == 2 else page, contiguous=False, metadata=None, description=text, **here)
    return path


@pytest.mark.parametrize("description", [None, IMAGEJ, OME], ids=["plain", "ImageJ", "OME"])
@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"tile": (64, 64)},
        {"photometric": "miniswhite"},
    ],
    ids=str,
)
def test_a_page_that_is_stored_otherwise_than_the_first_is_read_as_it_is(
    tmp_path: Path, options: dict[str, Any], description: str | None
) -> None:
    stack = pixels(10, 64, 64)
    image, got = opened(with_odd_page(tmp_path / "odd.tif", stack, stack[2], description, **options))
    np.testing.assert_array_equal(got, stack)
    assert image.shape == stack.shape
    assert image.notes == ()


@pytest.mark.parametrize("description", [None, IMAGEJ, OME], ids=["plain", "ImageJ", "OME"])
@pytest.mark.parametrize(
    ("dtype", "options", "message"),
    [
        ("float32", {}, "its page 3 has 64×64 pixels of float32, but 64×64 pixels of uint16 belong into the stack"),
        ("int16", {}, "its page 3 has 64×64 pixels of int16, but"),
        ("uint16", {"rowsperstrip": 16}, "stores its page 3 in other strips or tiles than its first page"),
    ],
)
def test_a_page_that_belongs_into_no_stack_is_named(
    tmp_path: Path, dtype: str, options: dict[str, Any], message: str, description: str | None
) -> None:
    odd = pixels(64, 64, dtype=dtype)
    assert message in str(failure(with_odd_page(tmp_path / "odd.tif", pixels(10, 64, 64), odd, description, **options)))


def test_axes_of_the_user_overrule_the_file(tmp_path: Path) -> None:
    path = tiff(
        tmp_path,
        pixels(5, 20, 30),
        imagej=True,
        metadata={"axes": "ZYX", "unit": "um", "spacing": 2},
        resolution=(2, 4),
    )
    image, _ = opened(path, "TYX")
    assert (image.axes, image.axes_source) == ("tyx", "user")
    assert image.pixel_size == {"x": PixelSize(0.5, "µm"), "y": PixelSize(0.25, "µm")}, (
        "a z spacing is no frame interval"
    )
    image, _ = opened(path, "zxy")
    assert image.pixel_size == {"y": PixelSize(0.5, "µm"), "x": PixelSize(0.25, "µm"), "z": PixelSize(2, "µm")}


def test_axes_of_the_user_may_leave_out_dimensions_of_one(tmp_path: Path) -> None:
    np.save(tmp_path / "tensor.npy", pixels(1, 1, 5, 20, 30))
    assert opened(tmp_path / "tensor.npy", "zyx")[0].axes == "??zyx"
    assert opened(tmp_path / "tensor.npy", "BCZYX")[0].axes == "bczyx"
    path = tiff(tmp_path, pixels(1, 5, 20, 30), metadata={"axes": "CZYX"}, **MINISBLACK)
    assert opened(path, "tyx")[0].axes == "ctyx"
    assert opened(path, "cyx")[0].axes == "?cyx"


@pytest.mark.parametrize("axes", ["", "yy", "yxw", "y,x", "tzcyx", "x", "zyx "])
def test_axes_that_cannot_be_are_wrong_usage(tmp_path: Path, axes: str) -> None:
    path = tiff(tmp_path, pixels(20, 30))
    if axes.strip() == "zyx":
        assert "2 letters" in str(failure(path, axes))
    error = failure(path, axes)
    assert isinstance(error, UsageError)


def test_a_guess_is_called_a_guess(tmp_path: Path) -> None:
    np.save(tmp_path / "cells.npy", pixels(1, 1, 20, 30, dtype="float32"))
    image, _ = opened(tmp_path / "cells.npy")
    assert described(image) == "[cells.npy] axes ??YX (1,1,20,30) float32"
    assert image.axes_source == "guess"


def test_closing_releases_the_file(tmp_path: Path) -> None:
    path = tiff(tmp_path, pixels(40, 50), compression="zlib")
    np.save(tmp_path / "a.npy", pixels(4, 4))
    (tmp_path / "a.png").write_bytes(png(GREY8))
    before = open_files()
    for name in (path, tmp_path / "a.npy", tmp_path / "a.png"):
        image = open_image(name)
        whole(image)
        image.close()
        with pytest.raises(ImageError):
            image.read((slice(0, 1), slice(0, 1)))
    with pytest.raises(BioimageInferenceError):
        open_image(path, "tzyx")
    assert open_files() == before


def modules_after(code: str) -> set[str]:
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_reader_imports_no_image_library() -> None:
    heavy = {"tifffile", "zarr", "imageio", "PIL", "imagecodecs", "torch"}
    assert not heavy & modules_after("import bioimage_inference.image.readers.reading")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (16, 16)}])
def test_reading_a_tiff_does_not_import_zarr(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tiff(tmp_path, pixels(40, 50), **options)
    code = (
        "from pathlib import Path; from bioimage_inference.image.readers.reading import open_image; "
        f"image = open_image(Path({str(path)!r})); image.read((slice(0, 9), slice(0, 9)))"
    )
    assert not {"zarr", "imageio", "torch"} & modules_after(code)


STARTS = [
    *(b"II*\0", b"MM\0*", b"II+\0", b"\x93NUMPY", b"PK\x03\x04", b"\xef\xbb\xbf <OME", b"\x89PNG\r\n\x1a\n"),
    *(b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF0000WEBPVP8L", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n", b""),
    *(b"\xda\xce\xbe\x0a", b"p\0\0\0\x46\1\0\0\x2a", b"ZISRAWFILE"),
]


@pytest.mark.parametrize("start", STARTS)
def test_every_format_has_one_reader(start: bytes) -> None:
    assert [reader.recognises(start) for reader in READERS].count(True) == 1


def test_the_table_of_axes_is_in_the_order_of_ome_zarr_and_every_word_has_one_meaning() -> None:
    kinds = [axis.zarr_type for axis in AXES.values()]
    assert kinds == ["time", *[kind for kind in kinds if kind not in ("time", "space")], *["space"] * 3]
    words = [word for axis in AXES.values() for word in (axis.letter, axis.name, *axis.aliases)]
    assert len(set(words)) == len(words)
    assert [letter_of(word) for word in words] == [letter_of(word.upper()) for word in words]
    assert {letter_of(word) for word in words} == set(LETTERS)
