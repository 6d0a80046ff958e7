"""Outputs are whole or absent, and other programs read them with the right axes, names and pixel sizes."""

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import imageio.v3
import numpy as np
import ome_types
import pytest
import skimage.io
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bioimage_inference.api import Target
from bioimage_inference.errors import OutputError
from bioimage_inference.files import partial_file
from bioimage_inference.files.partial_file import PartialFile, partial_pattern, remove_unfinished
from bioimage_inference.image.axes import OUTPUT_LETTERS
from bioimage_inference.image.image import PixelSize, runs
from bioimage_inference.image.writers.base import Layout, Writer, commit_all
from bioimage_inference.image.writers.npy_writer import NpyWriter
from bioimage_inference.image.writers.output_formats import FORMATS, OutputTexts
from bioimage_inference.image.writers.tiff_writer import PlainTiffLayout, TiffWriter, arrange, needs_bigtiff
from bioimage_inference.options import FORMAT_TITLES, Options
from bioimage_inference.text import byte_size
from tests.machine import small_disk, wait_until


@contextmanager
def writing(writers: Iterable[Writer]) -> Iterator[list[Writer]]:
    """The outputs of a run: all are committed when the block ends, all removed when anything ends it early."""
    with ExitStack() as stack:
        opened: list[Writer] = []
        for writer in writers:
            stack.callback(writer.abort)  # does nothing after a commit
            opened.append(writer)
        yield opened
        commit_all(opened)


SIZES = MappingProxyType(
    {
        "x": PixelSize(108, "nm"),
        "y": PixelSize(0.2, "micrometer"),
        "z": PixelSize(0.3, "µm"),
        "t": PixelSize(500, "ms"),
    }
)
NAMES = ("foreground", "boundary µ")
DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
]


def layout(axes: str, shape: tuple[int, ...], dtype: str = "float32", names: tuple[str, ...] = ()) -> Layout:
    return Layout(axes, shape, np.dtype(dtype), {letter: SIZES[letter] for letter in axes if letter in SIZES}, names)


def counting(facts: Layout) -> NDArray[np.generic]:
    return (np.arange(np.prod(facts.shape, dtype=int)) % 101).reshape(facts.shape).astype(facts.dtype)


def write_tiff(path: Path, facts: Layout, how: PlainTiffLayout) -> tuple[NDArray[np.generic], TiffWriter]:
    array = counting(facts)
    with writing([TiffWriter(path, facts, how)]) as (writer,):
        writer.write(tuple(slice(0, size) for size in facts.shape), array)
    assert isinstance(writer, TiffWriter)
    return array, writer


def opened(path: Path) -> Any:
    return tifffile.TiffFile(path)


def pixels_per(page: Any, unit: str) -> tuple[float, float]:
    """The resolution tags along x and y, after a look at their unit."""
    assert page.resolutionunit.name == unit
    x, y = page.resolution
    return x, y


# What other programs find in pages.


def test_pages_have_axes_qyx_names_and_pixels_per_cm(tmp_path: Path) -> None:
    array, writer = write_tiff(tmp_path / "p.tif", layout("bcyx", (1, 2, 30, 40), names=NAMES), "pages")
    with opened(tmp_path / "p.tif") as tiff:
        (series,) = tiff.series
        assert (series.axes, series.shape, series.dtype) == ("QYX", (2, 30, 40), np.float32)
        assert len(tiff.pages) == 2
        assert not tiff.is_bigtiff
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert pixels_per(tiff.pages[0], "CENTIMETER") == pytest.approx((1e4 / 0.108, 1e4 / 0.2), rel=1e-9)
        description = json.loads(tiff.pages[0].description)
        np.testing.assert_array_equal(series.asarray(), array[0])
    assert (description["original_axes"], description["original_shape"]) == ("bcyx", [1, 2, 30, 40])
    assert tuple(description["channel_names"]) == NAMES
    assert writer.notes == ()


def test_pages_of_stacks_have_axes_qzyx_and_a_spacing_in_the_unit_of_the_resolution(tmp_path: Path) -> None:
    array, _ = write_tiff(tmp_path / "p.tif", layout("tzcyx", (3, 4, 2, 30, 40), names=NAMES), "pages")
    with opened(tmp_path / "p.tif") as tiff:
        (series,) = tiff.series
        assert (series.axes, series.shape) == ("QZYX", (6, 4, 30, 40))
        description = json.loads(tiff.pages[0].description)
        np.testing.assert_array_equal(series.asarray(), array.swapaxes(1, 2).reshape(6, 4, 30, 40))
    assert (description["spacing"], description["unit"]) == (pytest.approx(0.3e-4), "cm")
    assert description["finterval"] == 0.5  # seconds


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 1), (3, 1, 4), (1, 1, 1), (2, 4, 3)])
def test_pages_keep_their_axes_at_any_size(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_tiff(tmp_path / "p.tif", layout("cyx", shape), "pages")
    with opened(tmp_path / "p.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape, len(tiff.pages)) == ("QYX", shape, shape[0])
        assert tiff.pages[0].shape == shape[1:]


# What other programs find in labelled files.


def test_labelled_is_an_imagej_hyperstack_with_names_and_pixel_size(tmp_path: Path) -> None:
    array, writer = write_tiff(tmp_path / "l.tif", layout("bctzyx", (1, 2, 3, 4, 30, 40), names=NAMES), "labelled")
    assert writer.notes == ()
    with opened(tmp_path / "l.tif") as tiff:
        (series,) = tiff.series
        assert (series.kind, series.axes, series.shape) == ("imagej", "TZCYX", (3, 4, 2, 30, 40))
        assert tiff.imagej_metadata is not None
        facts = {key: tiff.imagej_metadata[key] for key in ("unit", "spacing", "finterval", "mode", "Labels")}
        assert facts == {
            "unit": "um",
            "spacing": 0.3,
            "finterval": 0.5,
            "mode": "grayscale",
            "Labels": list(NAMES) * 12,
        }
        assert not {"min", "max"} & set(tiff.imagej_metadata)
        assert pixels_per(tiff.pages[0], "NONE") == pytest.approx((1 / 0.108, 5.0), rel=1e-9)
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
        np.testing.assert_array_equal(series.asarray(), array[0].transpose(1, 2, 0, 3, 4))


def test_what_no_hyperstack_can_hold_is_a_valid_ome_tiff(tmp_path: Path) -> None:
    write_tiff(
        tmp_path / "l.tif", layout("tcyx", (3, 2, 30, 40), "float64", ("<nuclei> & \x07", "boundary µ")), "labelled"
    )
    image = ome_types.from_tiff(tmp_path / "l.tif").images[0]
    assert image.name == "l"
    pixels: Any = image.pixels
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (3, 2, 1, 30, 40)
    assert pixels.type.value == "double"
    assert [channel.name for channel in pixels.channels] == ["<nuclei> & ", "boundary µ"]
    assert (pixels.physical_size_x, pixels.physical_size_x_unit.value) == (pytest.approx(0.108), "µm")
    assert (pixels.physical_size_y, pixels.physical_size_z) == (0.2, None)
    assert (pixels.time_increment, pixels.time_increment_unit.value) == (0.5, "s")
    with opened(tmp_path / "l.tif") as tiff:
        assert (tiff.series[0].kind, tiff.series[0].axes) == ("ome", "TCYX")
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert pixels_per(tiff.pages[0], "CENTIMETER") == pytest.approx((1e4 / 0.108, 1e4 / 0.2), rel=1e-9)


def test_a_pixel_size_of_an_axis_that_the_output_lacks_is_left_out(tmp_path: Path) -> None:
    write_tiff(tmp_path / "l.tif", Layout("yx", (30, 40), np.dtype("int32"), SIZES), "labelled")
    pixels = ome_types.from_tiff(tmp_path / "l.tif").images[0].pixels
    assert (pixels.physical_size_y, pixels.physical_size_z, pixels.time_increment) == (0.2, None, None)


@pytest.mark.parametrize("shape", [(3, 5, 1), (3, 1, 4), (2, 4, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_labelled_keeps_its_axes_at_any_size(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    write_tiff(tmp_path / "l.tif", layout("cyx", shape, dtype), "labelled")
    with opened(tmp_path / "l.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape, tiff.pages[0].shape) == ("CYX", shape, shape[1:])


def test_resolution_tags_of_an_ome_stack_are_in_the_unit_of_its_spacing(tmp_path: Path) -> None:
    write_tiff(tmp_path / "l.tif", layout("zyx", (4, 30, 40), "int32"), "labelled")
    assert ome_types.from_tiff(tmp_path / "l.tif").images[0].pixels.physical_size_z == 0.3
    with opened(tmp_path / "l.tif") as tiff:
        assert pixels_per(tiff.pages[0], "NONE") == pytest.approx((1 / 0.108, 5.0), rel=1e-9)


def test_positions_and_times_follow_each_other_along_t(tmp_path: Path) -> None:
    array, writer = write_tiff(tmp_path / "l.tif", layout("ptcyx", (2, 3, 2, 30, 40)), "labelled")
    assert writer.notes == ("l.tif has the axes position, time one after the other along T, the last one fastest.",)
    with opened(tmp_path / "l.tif") as tiff:
        assert (tiff.series[0].axes, tiff.series[0].shape) == ("TCYX", (6, 2, 30, 40))
        assert "finterval" not in tiff.imagej_metadata
        np.testing.assert_array_equal(tiff.series[0].asarray(), array.reshape(6, 2, 30, 40))


@pytest.mark.parametrize("how", ["pages", "labelled"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16"])
def test_three_channels_are_never_rgb(tmp_path: Path, how: PlainTiffLayout, dtype: str) -> None:
    array, _ = write_tiff(tmp_path / "o.tif", layout("cyx", (3, 30, 40), dtype), how)
    with opened(tmp_path / "o.tif") as tiff:
        assert [page.photometric.name for page in tiff.pages] == ["MINISBLACK"] * 3
    np.testing.assert_array_equal(imageio.v3.imread(tmp_path / "o.tif"), array)


@pytest.mark.parametrize("how", ["pages", "labelled"])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"x": PixelSize(1.0, "pixel"), "y": PixelSize(1.0, "pixel"), "z": PixelSize(2.0, "µm")},
        {"x": PixelSize(0.1, "µm")},
        {"x": PixelSize(float("nan"), "µm"), "y": PixelSize(0.0, "µm")},
        {"x": PixelSize(1e-9, "nm"), "y": PixelSize(1e-9, "nm")},
    ],
    ids=["none", "pixels", "only x", "not a number", "beyond a rational"],
)
def test_no_resolution_is_invented(tmp_path: Path, how: PlainTiffLayout, sizes: dict[str, PixelSize]) -> None:
    write_tiff(tmp_path / "o.tif", Layout("zyx", (2, 30, 40), np.dtype("float32"), sizes), how)
    with opened(tmp_path / "o.tif") as tiff:
        assert pixels_per(tiff.pages[0], "NONE") == (1.0, 1.0)
        assert how == "pages" or tiff.imagej_metadata["unit"] == "pixel"


@pytest.mark.parametrize("how", ["pages", "labelled"])
@pytest.mark.parametrize(
    ("axes", "shape", "page"),
    [
        ("bc", (4, 10), (4, 10)),
        ("c", (10,), (1, 10)),
        ("b", (4,), (4, 1)),
        ("btc", (2, 3, 5), (6, 5)),
        ("", (), (1, 1)),
    ],
)
def test_an_output_without_y_and_x_is_one_page_with_a_row_per_batch(
    tmp_path: Path, how: PlainTiffLayout, axes: str, shape: tuple[int, ...], page: tuple[int, int]
) -> None:
    array, _ = write_tiff(tmp_path / "o.tif", layout(axes, shape, names=("a",) * shape[-1] if "c" in axes else ()), how)
    with opened(tmp_path / "o.tif") as tiff:
        assert len(tiff.pages) == 1
        np.testing.assert_array_equal(tiff.pages[0].asarray(), array.reshape(page))
        assert how == "labelled" or tiff.series[0].axes == "QYX"


@pytest.mark.parametrize("how", ["pages", "labelled"])
def test_scikit_image_and_imageio_read_the_same_array(tmp_path: Path, how: PlainTiffLayout) -> None:
    array, _ = write_tiff(tmp_path / "o.tif", layout("cyx", (2, 30, 40)), how)
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "o.tif"), array)
    np.testing.assert_array_equal(imageio.v3.imread(tmp_path / "o.tif"), array)


# Numbers.


@pytest.mark.parametrize("how", ["pages", "labelled"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_keep_their_value_and_a_changed_type_is_told(tmp_path: Path, how: PlainTiffLayout, dtype: str) -> None:
    array, writer = write_tiff(tmp_path / "o.tif", layout("cyx", (2, 30, 40), dtype), how)
    stored = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}.get(dtype, dtype)
    found = tifffile.imread(tmp_path / "o.tif")
    assert found.dtype == stored
    np.testing.assert_array_equal(found, array)
    assert len(writer.notes) == (stored != dtype)


@pytest.mark.parametrize(("dtype", "value"), [("int64", 2**31), ("int64", -(2**31) - 1), ("uint64", 2**32)])
def test_a_number_too_large_for_tiff_is_refused_rather_than_wrapped(tmp_path: Path, dtype: str, value: int) -> None:
    facts = layout("yx", (2, 2), dtype)
    with (
        pytest.raises(OutputError, match=rf"{value}.*\.npy"),
        writing([TiffWriter(tmp_path / "o.tif", facts, "pages")]) as (s,),
    ):
        s.write((slice(0, 2), slice(1, 2)), np.full((2, 1), value, facts.dtype))
    assert not list(tmp_path.iterdir())


def test_complex_numbers_are_refused_in_tiff(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"complex64.*\.npy"):
        TiffWriter(tmp_path / "o.tif", layout("yx", (2, 2), "complex64"), "pages")


@pytest.mark.parametrize("dtype", [*DTYPES, ">f4", "complex64"])
def test_npy_keeps_axes_order_and_type(tmp_path: Path, dtype: str) -> None:
    facts = layout("bxcy", (1, 5, 2, 3), dtype)
    with writing([NpyWriter(tmp_path / "o.npy", facts)]) as (writer,):
        writer.write((slice(None),) * 4, counting(facts))
    found = np.load(tmp_path / "o.npy", mmap_mode="r")
    assert (found.shape, found.dtype) == (facts.shape, facts.dtype.newbyteorder("="))
    np.testing.assert_array_equal(found, counting(facts))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    axes = "".join(draw(st.permutations(OUTPUT_LETTERS))[: draw(st.integers(0, 6))])
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=len(axes), max_size=len(axes))))
    return layout(axes, shape, draw(st.sampled_from(DTYPES)))


@st.composite
def tilings(draw: st.DrawFn, facts: Layout) -> list[tuple[slice, ...]]:
    """Disjoint regions that cover the output, in any order."""
    regions: list[tuple[slice, ...]] = [()]
    for size in facts.shape:
        cuts = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))})
        spans = [slice(start, stop) for start, stop in pairwise(cuts)]
        regions = [(*region, span) for region in regions for span in spans]
    return draw(st.permutations(regions))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["npy", "pages", "labelled"]))
def test_regions_in_any_order_add_up_to_the_array(data: st.DataObject, kind: str) -> None:
    facts = data.draw(layouts())
    array = counting(facts)
    with TemporaryDirectory() as folder:
        path = Path(folder, "o")
        writer = (
            NpyWriter(path, facts)
            if kind == "npy"
            else TiffWriter(path, facts, "pages" if kind == "pages" else "labelled")
        )
        with writing([writer]):
            for region in data.draw(tilings(facts)):
                writer.write(region, array[region])
        if kind == "npy":
            np.testing.assert_array_equal(np.load(path), array)
        else:
            assert isinstance(writer, TiffWriter)
            order = writer.arrangement.order
            found = tifffile.imread(path).reshape([facts.size(letter) for letter in order])
            np.testing.assert_array_equal(found, array.transpose([facts.axes.index(letter) for letter in order]))


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    facts = layout("cyx", (2, 300, 200))
    array = counting(facts)
    with writing([NpyWriter(tmp_path / "o.npy", facts)]) as (writer,), ThreadPoolExecutor(4) as pool:
        regions = [
            np.s_[c : c + 1, y : y + 20, x : x + 20]
            for c in range(2)
            for y in range(0, 300, 20)
            for x in range(0, 200, 20)
        ]
        list(pool.map(lambda region: writer.write(region, array[region]), regions))
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), array)


@pytest.mark.parametrize(
    "block", [np.zeros((2, 3), "float32"), np.zeros((2, 2), "float64"), np.zeros((3, 2), "float32")], ids=str
)
def test_a_block_that_does_not_fit_its_region_is_refused(tmp_path: Path, block: NDArray[np.generic]) -> None:
    with (
        pytest.raises(ValueError, match="for the region"),
        writing([NpyWriter(tmp_path / "o.npy", layout("yx", (4, 4)))]) as (s,),
    ):
        s.write(np.s_[0:2, 1:3], block)


@pytest.mark.parametrize(
    ("axes", "shape", "dtype", "names"),
    [
        ("yx", (3,), "uint8", ()),
        ("yy", (3, 3), "uint8", ()),
        ("sx", (3, 3), "uint8", ()),
        ("yx", (3, -1), "uint8", ()),
        ("yx", (3, 3), "U4", ()),
        ("cyx", (2, 3, 3), "uint8", ("nuclei",)),
    ],
)
def test_a_layout_agrees_with_itself(axes: str, shape: tuple[int, ...], dtype: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"axes|shape|names"):
        layout(axes, shape, dtype, names)


def test_a_region_is_written_in_as_few_pieces_as_possible() -> None:
    found = []
    for starts, sizes in (((1, 2), (2, 3)), ((1, 0), (2, 10))):
        positions = runs((4, 10), starts, sizes).tolist()
        found.append((positions, math.prod(sizes) // len(positions)))
    assert found == [([12, 22], 3), ([10], 20)]


# Size.


@pytest.mark.parametrize(
    ("axes", "shape", "dtype", "how", "dialect", "big"),
    [
        ("cyx", (1, 32768, 32500), "float32", "labelled", "imagej", False),
        ("cyx", (1, 32768, 32768), "float32", "labelled", "ome", True),
        ("cyx", (2, 32768, 32768), "float32", "pages", "pages", True),
        ("cyx", (2, 32768, 32768), "uint8", "labelled", "imagej", False),
        ("tyx", (4_000_000, 32, 32), "uint8", "labelled", "ome", True),
        ("yx", (10, 10), "int32", "labelled", "ome", False),
    ],
)
def test_over_four_gib_with_all_page_headers_it_is_a_bigtiff_and_no_hyperstack(
    axes: str, shape: tuple[int, ...], dtype: str, how: PlainTiffLayout, dialect: str, big: bool
) -> None:
    arrangement = arrange(Path("o.tif"), layout(axes, shape, dtype), how)
    assert (arrangement.dialect, needs_bigtiff(arrangement)) == (dialect, big)


@pytest.mark.parametrize("how", ["pages", "labelled"])
def test_five_gib_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: PlainTiffLayout) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # leave a hole instead of five GiB of room
    facts = layout("cyx", (5, 16384, 65536), "uint8")
    corner = np.arange(1, 7, dtype="uint8").reshape(1, 2, 3)
    with writing([TiffWriter(tmp_path / "o.tif", facts, how)]) as (writer,):
        writer.write(np.s_[4:5, 16382:16384, 65533:65536], corner)
    with opened(tmp_path / "o.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.series[0].shape == facts.shape
        assert tiff.pages[0].rowsperstrip == 16
    np.testing.assert_array_equal(tifffile.memmap(tmp_path / "o.tif")[4:, -2:, -3:], corner)


def test_memory_does_not_grow_with_the_output(tmp_path: Path) -> None:
    script = """
        import sys, numpy as np
        from pathlib import Path
        from bioimage_inference.image.writers.base import Layout, commit_all
        from bioimage_inference.image.writers.tiff_writer import TiffWriter
        from bioimage_inference.machine.memory import peak_memory
        block = np.ones((1, 512, 512), "float32")
        writer = TiffWriter(Path(sys.argv[1]), Layout("cyx", (1, 8192, 8192), block.dtype), "pages")
        before = peak_memory()
        for y in range(0, 8192, 512):
            for x in range(0, 8192, 512):
                writer.write((slice(0, 1), slice(y, y + 512), slice(x, x + 512)), block)
        commit_all([writer])
        print(peak_memory() - before)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "o.tif")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(run.stdout) < (tmp_path / "o.tif").stat().st_size / 8


def test_the_same_output_gives_the_same_bytes(tmp_path: Path) -> None:
    for how in ("pages", "labelled"):
        for dtype in ("float32", "float64"):
            contents = set()
            for folder in ("one", "two"):
                (tmp_path / folder).mkdir(exist_ok=True)
                write_tiff(tmp_path / folder / "o.tif", layout("cyx", (2, 30, 40), dtype, NAMES), how)
                contents.add((tmp_path / folder / "o.tif").read_bytes())
            assert len(contents) == 1


# Whole or absent.


def npy(path: Path) -> NpyWriter:
    return NpyWriter(path, layout("yx", (4, 4)))


WHOLE = (slice(0, 4), slice(0, 4))
ONES = np.ones((4, 4), "float32")


def test_an_output_has_its_name_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "o.npy"
    path.write_text("of an earlier run")
    writer = npy(path)
    writer.write(WHOLE, ONES)
    assert path.read_text() == "of an earlier run"
    partial, final = sorted(tmp_path.iterdir())
    assert partial_pattern(path).fullmatch(partial.name)
    assert final == path
    commit_all([writer])
    np.testing.assert_array_equal(np.load(path), ONES)
    assert list(tmp_path.iterdir()) == [path]
    writer.abort()
    assert path.exists()


def test_outputs_are_as_readable_as_other_new_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    commit_all([npy(tmp_path / "o.npy")])
    assert (tmp_path / "o.npy").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    writer = npy(tmp_path / "o.npy")
    writer.write(WHOLE, ONES)
    writer.abort()
    writer.abort()
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no longer"):
        writer.commit()


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_fails_leaves_no_output(tmp_path: Path, failure: type[BaseException]) -> None:
    def run() -> None:
        with writing([npy(tmp_path / "a.npy"), npy(tmp_path / "b.npy")]) as writers:
            for writer in writers:
                writer.write(WHOLE, ONES)
            raise failure

    with pytest.raises(failure):
        run()
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_opened_takes_the_others_with_it(tmp_path: Path) -> None:
    def outputs() -> Iterator[Writer]:
        yield npy(tmp_path / "a.npy")
        yield npy(tmp_path / "missing" / "b.npy")

    with pytest.raises(OutputError, match="there is no folder"), writing(outputs()):
        pytest.fail("the second output was opened")
    assert not list(tmp_path.iterdir())


def test_no_output_is_renamed_before_all_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [None, OSError(errno.EIO, os.strerror(errno.EIO))]

    def second_fails(_descriptor: int) -> None:
        if answer := answers.pop(0):
            raise answer

    monkeypatch.setattr(os, "fsync", second_fails)
    writers = [npy(tmp_path / "a.npy"), npy(tmp_path / "b.npy")]
    with pytest.raises(OutputError, match=rf"b\.npy.*{os.strerror(errno.EIO)}"), writing(writers):
        pass
    assert not answers
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_the_name_meanwhile_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=os.strerror(errno.EISDIR)), writing([npy(tmp_path / "o.npy")]):
        (tmp_path / "o.npy").mkdir()
    assert list(tmp_path.iterdir()) == [tmp_path / "o.npy"]


def test_a_link_is_replaced_and_a_folder_may_be_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "real.npy").write_text("of somebody else")
    (tmp_path / "elsewhere" / "o.npy").symlink_to(tmp_path / "elsewhere" / "real.npy")
    commit_all([npy(tmp_path / "folder" / "o.npy")])
    assert not (tmp_path / "elsewhere" / "o.npy").is_symlink()
    assert np.load(tmp_path / "elsewhere" / "o.npy").shape == (4, 4)
    assert (tmp_path / "elsewhere" / "real.npy").read_text() == "of somebody else"


# Places that cannot be written.


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/o.npy", "there is no folder"),
        ("file/o.npy", "there is no folder"),
        ("folder", "a folder has that name"),
        ("pipe", "not a file"),
        ("n" * 256, os.strerror(errno.ENAMETOOLONG)),
    ],
)
def test_a_wrong_place_is_told_at_once(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match=words) as failure:
        npy(tmp_path / name)
    assert str(tmp_path) in str(failure.value)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.fixture
def protected(tmp_path: Path) -> Path:
    """A file that nobody may write to."""
    path = tmp_path / "o.npy"
    path.touch(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("permissions do not bind the user of these tests (root)")
    return path


def test_a_write_protected_output_is_kept(protected: Path) -> None:
    with pytest.raises(OutputError, match="write-protected"):
        npy(protected)
    assert protected.read_bytes() == b""


def test_a_folder_without_permission_is_told(protected: Path) -> None:
    protected.parent.chmod(0o555)
    with pytest.raises(OutputError, match=rf"does not allow it \({os.strerror(errno.EACCES)}\)"):
        npy(protected.with_name("other.npy"))
    protected.parent.chmod(0o755)


@pytest.fixture
def file_limit() -> Iterator[None]:
    """No file may grow over a MiB: the kernel answers as a file system does whose files are full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("file_limit")
@pytest.mark.parametrize("kind", ["npy", "pages", "labelled"])
def test_an_output_too_large_for_the_disk_is_told_before_anything_is_computed(tmp_path: Path, kind: str) -> None:
    facts = layout("cyx", (2, 600, 600))
    with pytest.raises(OutputError, match=r"o\.out of 2\.7 MiB is too large for the folder"):
        NpyWriter(tmp_path / "o.out", facts) if kind == "npy" else TiffWriter(tmp_path / "o.out", facts, kind)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.parametrize("kind", ["npy", "pages", "labelled"])
def test_a_full_disk_is_told_before_anything_is_computed(disk: Path, kind: str) -> None:
    facts = layout("cyx", (2, 600, 600))
    with pytest.raises(
        OutputError, match=r"no room for the output .*o\.out of 2\.7 MiB: 1\.0 MiB are free in the folder"
    ):
        NpyWriter(disk / "o.out", facts) if kind == "npy" else TiffWriter(disk / "o.out", facts, kind)  # type: ignore[arg-type]
    assert not list(disk.iterdir())


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "no room"), (errno.EDQUOT, "the quota is used up")])
def test_no_room_is_told_with_what_is_needed_and_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def full(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=words) as failure:
        npy(tmp_path / "o.npy")
    assert f"of {128 + 64} bytes" in str(failure.value)
    assert str(tmp_path) in str(failure.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_room_cannot_be_reserved_a_full_disk_is_told_while_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unable(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(number, os.strerror(number))

    def full(_descriptor: int, _data: memoryview, _position: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", unable)
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError, match="no room"), writing([npy(tmp_path / "o.npy")]) as (writer,):
        writer.write(WHOLE, ONES)
    assert not list(tmp_path.iterdir())


def test_what_the_system_writes_in_pieces_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, position: whole(descriptor, data[:7], position))
    with writing([npy(tmp_path / "o.npy")]) as (writer,):
        writer.write(WHOLE, ONES)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), ONES)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 50, "5120.0 TiB")]
)
def test_sizes_are_told_in_units_that_one_can_read(count: int, text: str) -> None:
    assert byte_size(count) == text


# What killed runs leave behind.

WRITER = """
    import sys, numpy as np
    from pathlib import Path
    from bioimage_inference.image.writers.base import Layout
    from bioimage_inference.image.writers.npy_writer import NpyWriter
    writer = NpyWriter(Path(sys.argv[1]), Layout("yx", (4, 4), np.dtype("float32")))
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing ``o.npy``."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "o.npy")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def partials(folder: Path) -> list[Path]:
    return sorted(folder.glob(".o.npy.*.partial"))


def test_what_a_killed_run_left_behind_is_removed_by_the_next(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    (left,) = partials(tmp_path)
    commit_all([npy(tmp_path / "other.npy")])
    assert left.exists(), "of another output"
    commit_all([npy(tmp_path / "o.npy")])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["o.npy", "other.npy"]


def test_what_a_killed_run_left_behind_is_removed_before_its_parent_asks_for_it(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    """As in a container whose first process waits for no child."""
    writer.send_signal(signal.SIGKILL)
    wait_until(lambda: b") Z " in Path(f"/proc/{writer.pid}/stat").read_bytes(), "the writer has ended")
    commit_all([npy(tmp_path / "o.npy")])
    assert not partials(tmp_path)


def test_what_a_living_run_writes_stays(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    (living,) = partials(tmp_path)
    commit_all([npy(tmp_path / "o.npy")])
    assert sorted(tmp_path.iterdir()) == [living, tmp_path / "o.npy"]


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="already being written"), writing(npy(tmp_path / "o.npy") for _ in range(2)):
        pytest.fail("both were opened")
    assert not list(tmp_path.iterdir())


def test_importing_the_writers_does_not_import_tifffile() -> None:
    script = "import sys, bioimage_inference.image.writers.tiff_writer; print('tifffile' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_what_an_interruption_left_is_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_file, "_process", partial_file._ProcessOutputs())
    unfinished = [PartialFile(tmp_path / name) for name in ("a.tif", "b.tif", "c.tif")]
    unfinished[0].commit()
    unfinished[1].abort()
    remove_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    unfinished[2].abort()
    with pytest.raises(KeyboardInterrupt):  # by a thread that still runs
        PartialFile(tmp_path / "d.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_the_keys_of_formats_name_the_files_of_a_target_and_suffixes_differ(tmp_path: Path) -> None:
    for one in (Target, OutputTexts):
        assert [field.name for field in fields(one)] == list(FORMATS) == list(FORMAT_TITLES)
    assert len({form.suffix for form in FORMATS.values()}) == len(FORMATS)
    everything = Target(**{key: tmp_path / f"o{form.suffix}" for key, form in FORMATS.items()})
    assert list(everything.files) == list(FORMATS)
    assert Target().files == {}


@pytest.mark.parametrize("key", FORMATS)
@pytest.mark.parametrize("length", [0, 3])
def test_a_format_holds_outputs_without_entries_or_says_so(tmp_path: Path, key: str, length: int) -> None:
    path, form = tmp_path / "o", FORMATS[key]
    if key != "zarr":
        path.write_bytes(b"of an earlier run")
    facts = layout("cyx", (length, 4, 4))
    with writing([form.open(path, facts, Options())]) as (writer,):
        writer.write(tuple(slice(0, size) for size in facts.shape), counting(facts))
        writer.annotate({"model": "x"})
    assert path.exists() == (length > 0 or form.holds_empty)
    assert bool(writer.notes) != path.exists()
