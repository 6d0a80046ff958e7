"""Formats of microscopes' vendors, which the extra ``microscopes`` reads: values, axes, names, sizes, scenes, damage.

The files are written byte by byte in the test. Where the readers' own libraries decode whole images of such a file,
they must see the same values.
"""

import importlib
import importlib.util
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioimage_inference.cli import main
from bioimage_inference.errors import ImageError, UsageError
from bioimage_inference.image.readers.reading import list_series, open_image
from bioimage_inference.image.series import Selection
from tests.machine import missing, open_files
from tests.microscope_files import (
    CziTile,
    LeicaImage,
    czi_xml,
    grid,
    nd2_positions,
    nd2_stack,
    nd2_time,
    write_czi,
    write_lif,
    write_lof,
    write_nd2,
)
from tests.module.test_reading import modules_after
from tests.reading_data import Array, failure, opened, pixels, whole

LIBRARIES = {"nd2": "nd2", "lif": "liffile", "lof": "liffile", "czi": "czifile"}
for _library in {*LIBRARIES.values()}:
    try:
        importlib.import_module(_library)
    except ImportError:
        missing(_library, "pip install -e '.[microscopes]'")

FRAMES = pixels(24, 20, 30, 2)
STACK = pixels(3, 2, 20, 30)
COLOURS = pixels(20, 31, 3, dtype="uint8")
PLANE = pixels(20, 30, dtype="float32")
MICROMETRE = 1e-6


@dataclass(frozen=True)
class Case:
    """A file, the image that is chosen, and what must be read; ``sizes`` in µm (s for t)."""

    write: Callable[[Path], Path]
    right: Array
    axes: str
    sizes: dict[str, float]
    names: tuple[str, ...] = ()
    series: int | str | None = None
    count: int = 1


def _series_of_nd2(path: Path) -> Path:
    loops = [nd2_time(2, 500.0), nd2_positions("A", "B", "C"), nd2_stack(4, 1.5)]
    return write_nd2(path, FRAMES, loops, ("DAPI", "GFP"))


def _lengths(image: Array, axes: str, sizes: dict[str, float]) -> dict[str, float]:
    """Distances from the first to the last element in metres, for pixel sizes in µm."""
    return {a: (n - 1) * sizes[a] * MICROMETRE for a, n in zip(axes, image.shape, strict=True) if a in sizes}


def _two_images(path: Path) -> Path:
    stack = LeicaImage("Stack", STACK, "zcyx", ("Green", "Red"), _lengths(STACK, "zcyx", {"z": 1, "y": 0.1, "x": 0.1}))
    colours = LeicaImage("Slide/Colours", COLOURS, "yxc", ("Blue", "Green", "Red"), tags=(3, 2, 1), row_bytes=96)
    return write_lif(path, stack, colours)


def _by_channel(path: Path) -> Path:
    return write_lof(path, LeicaImage("one", STACK, "czyx", ("a", "b", "c"), _lengths(STACK, "czyx", {"x": 0.2})))


def _mosaic(compression: int) -> Callable[[Path], Path]:
    """Two channels and three planes; each plane has two tiles that overlap, the second one on top."""

    def write(path: Path) -> Path:
        tiles = []
        for at in grid({"C": 2, "Z": 3}):
            plane = STACK[at["Z"], at["C"]]
            hidden = np.concatenate([plane[:, :10], np.full((20, 6), 7, "u2")], axis=1)
            tiles += [
                CziTile(plane[:, 10:], {**at, "X": 110, "Y": 5, "M": 1, "S": 0}, compression),
                CziTile(hidden, {**at, "X": 100, "Y": 5, "M": 0, "S": 0}, compression),
            ]
        tiles.append(CziTile(STACK[0, 0][::2, ::2], {"C": 0, "Z": 0, "X": 100, "Y": 5, "S": 0}, 0, (20, 30)))
        sizes = {"X": 1e-7, "Y": 1e-7, "Z": 5e-7}
        return write_czi(path, tiles, czi_xml(sizes, ("DAPI", "GFP"), scenes=("left",)))

    return write


def _scenes(path: Path) -> Path:
    tiles = [CziTile(FRAMES[t, :, :, 0], {"S": 0, "T": t, "X": 50}) for t in range(2)]
    tiles += [CziTile(FRAMES[t, :9, :, 1], {"S": 1, "T": t, "X": 900, "Y": -40}) for t in range(2)]
    return write_czi(path, tiles, czi_xml({"X": 2e-7}, ("DAPI",), 2.5, ("left", "right")))


OF_ND2 = FRAMES.reshape(2, 3, 4, 20, 30, 2)
MOSAIC = ("czyx", {"x": 0.1, "y": 0.1, "z": 0.5}, ("DAPI", "GFP"))
RED_GREEN_BLUE = ("red", "green", "blue")
ND2_SIZES = {"t": 0.5, "z": 1.5, "y": 0.25, "x": 0.25}
CASES: dict[str, Case] = {
    "nd2": Case(_series_of_nd2, OF_ND2[:, 0].transpose(0, 1, 4, 2, 3), "tzcyx", ND2_SIZES, ("DAPI", "GFP"), count=3),
    "nd2 position": Case(
        _series_of_nd2, OF_ND2[:, 1].transpose(0, 1, 4, 2, 3), "tzcyx", ND2_SIZES, ("DAPI", "GFP"), "B", 3
    ),
    "nd2 packed, rows filled, not calibrated": Case(
        lambda path: write_nd2(path, FRAMES[:1], (), ("DAPI", "GFP"), None, packed=True, row_bytes=128),
        FRAMES[0].transpose(2, 0, 1),
        "cyx",
        {},
        ("DAPI", "GFP"),
    ),
    "nd2 rows filled": Case(
        lambda path: write_nd2(path, FRAMES[:4, ..., :1], [nd2_time(4, 0.0)], row_bytes=64),
        FRAMES[:4, ..., 0],
        "tyx",
        {"y": 0.25, "x": 0.25},
        ("DAPI",),
    ),
    "nd2 colours": Case(
        lambda path: write_nd2(path, COLOURS[None], (), ("Brightfield",)), COLOURS, "yxs", {"y": 0.25, "x": 0.25}
    ),
    "nd2 of real numbers": Case(
        lambda path: write_nd2(path, PLANE[None, ..., None]), PLANE, "yx", {"y": 0.25, "x": 0.25}, ("DAPI",)
    ),
    "lif": Case(_two_images, STACK, "zcyx", {"z": 1, "y": 0.1, "x": 0.1}, ("Green", "Red"), count=2),
    "lif colours": Case(_two_images, COLOURS[..., ::-1], "yxs", {}, ("Red", "Green", "Blue"), "Slide/Colours", 2),
    "lof": Case(_by_channel, STACK.transpose(1, 0, 2, 3), "zcyx", {"x": 0.2}, ("a", "b", "c")),
    "czi": Case(_mosaic(0), STACK.transpose(1, 0, 2, 3), *MOSAIC),
    "czi lzw": Case(_mosaic(2), STACK.transpose(1, 0, 2, 3), *MOSAIC),
    "czi jpeg xr": Case(_mosaic(4), STACK.transpose(1, 0, 2, 3), *MOSAIC),
    "czi zstd": Case(_mosaic(5), STACK.transpose(1, 0, 2, 3), *MOSAIC),
    "czi zstd with header": Case(_mosaic(6), STACK.transpose(1, 0, 2, 3), *MOSAIC),
    "czi scene": Case(_scenes, FRAMES[:2, :9, :, 1], "tyx", {"t": 2.5, "x": 0.2}, ("DAPI",), 1, 2),
    **{
        f"czi colours, method {method}": Case(
            lambda path, method=method: write_czi(path, [CziTile(COLOURS, {"C": 0}, method)], czi_xml({}, ())),
            COLOURS,
            "yxs",
            {},
            RED_GREEN_BLUE,
        )
        for method in (0, 2, 4, 5)
    },
}


def file_of(name: str, folder: Path) -> Path:
    """The file of a case; its suffix tells nothing."""
    return CASES[name].write(folder / "dataset_3.dat")


@pytest.mark.parametrize("name", CASES)
def test_pixels_axes_names_and_sizes_are_read(tmp_path: Path, name: str) -> None:
    case, path = CASES[name], file_of(name, tmp_path)
    before = open_files()
    image = open_image(path, None, Selection() if case.series is None else Selection(series=case.series))
    got = whole(image)
    np.testing.assert_array_equal(got, case.right)
    assert got.dtype == image.dtype == case.right.dtype
    assert (image.axes, image.axes_source, image.shape) == (case.axes, "file", case.right.shape)
    assert {axis: round(size.value, 9) for axis, size in image.pixel_size.items()} == case.sizes
    assert {size.unit for axis, size in image.pixel_size.items() if axis != "t"} <= {"µm"}
    assert image.channel_names == case.names
    series = list_series(path)
    assert len(series) == case.count
    assert [note for note in image.notes if f"holds {case.count} images" in note] == list(image.notes)
    assert (image.series is not None) == (case.count > 1)
    image.close()
    assert open_files() == before


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_equals_slicing_the_image(tmp_path: Path, name: str, data: st.DataObject) -> None:
    case = CASES[name]
    image = open_image(file_of(name, tmp_path), None, Selection(series=case.series or 0))
    try:
        region = tuple(slice(*sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in image.shape)
        np.testing.assert_array_equal(image.read(region), case.right[region])
    finally:
        image.close()


def test_the_libraries_see_the_same_files(tmp_path: Path) -> None:
    nd2, liffile, czifile = (importlib.import_module(name) for name in ("nd2", "liffile", "czifile"))
    np.testing.assert_array_equal(nd2.imread(file_of("nd2", tmp_path)), OF_ND2.transpose(0, 1, 2, 5, 3, 4))
    packed = nd2.imread(file_of("nd2 packed, rows filled, not calibrated", tmp_path))
    np.testing.assert_array_equal(packed, FRAMES[0].transpose(2, 0, 1))
    with liffile.LifFile(file_of("lif", tmp_path)) as lif:
        np.testing.assert_array_equal(lif.images[0].asarray(), STACK)
        assert lif.images[1].shape == COLOURS.shape
        np.testing.assert_array_equal(lif.images[1].asarray(), COLOURS[..., ::-1])
    with liffile.LifFile(file_of("lof", tmp_path)) as lof:
        np.testing.assert_array_equal(lof.images[0].asarray(), STACK)
    # The generation of czifile for Python 3.11 does not unpack the other methods.
    for name in ("czi", "czi jpeg xr"):
        np.testing.assert_array_equal(np.squeeze(czifile.imread(file_of(name, tmp_path))).reshape(STACK.shape), STACK)
    np.testing.assert_array_equal(np.squeeze(czifile.imread(file_of("czi colours, method 0", tmp_path))), COLOURS)


def test_jpeg_tiles_are_red_first(tmp_path: Path) -> None:
    smooth = np.zeros((32, 32, 3), "u1") + np.array([200, 100, 30], "u1")
    _, got = opened(write_czi(tmp_path / "a.czi", [CziTile(smooth, {}, 1)]))
    assert np.abs(got.astype(int) - smooth).max() < 4


def test_a_position_or_scene_is_chosen_by_number_or_name(tmp_path: Path) -> None:
    path = file_of("nd2", tmp_path)
    assert [one.name for one in list_series(path)] == ["A", "B", "C"]
    image = open_image(path, None, Selection(series=2))
    np.testing.assert_array_equal(whole(image), OF_ND2[:, 2].transpose(0, 1, 4, 2, 3))
    image.close()
    with pytest.raises(UsageError, match="'D'"):
        open_image(path, None, Selection(series="D"))
    assert [one.name for one in list_series(file_of("czi scene", tmp_path))] == ["left", "right"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="newer Pythons are tested without torch")
def test_all_scenes_of_a_file_are_predicted_region_by_region(tmp_path: Path) -> None:
    from tests import models  # it imports torch

    description = models.write_model(tmp_path / "model", models.Identity(), *models.simple_tensors())
    tiles = [CziTile(FRAMES[s, :, :, 0], {"S": s, "X": 40 * s}) for s in range(2)]
    path = write_czi(
        tmp_path / "slide.czi", tiles, czi_xml({"X": 2e-7, "Y": 2e-7}, ("DAPI",), scenes=("left", "right"))
    )
    out = tmp_path / "out"
    assert main(["predict", str(description), str(path), "--series", "all", "--tile", "16x16", "-o", str(out)]) == 0
    for number, name in enumerate(("left", "right")):
        (written,) = out.glob(f"*{name}*.tif")
        image, got = opened(written)
        np.testing.assert_array_equal(got.squeeze(), FRAMES[number, :, :, 0])
        assert image.pixel_size["x"].value == pytest.approx(0.2)


def test_axes_without_a_letter_are_positions(tmp_path: Path) -> None:
    tiles = [CziTile(FRAMES[n, :, :, 0], {"H": n}) for n in range(3)]
    image, got = opened(write_czi(tmp_path / "a.czi", tiles, czi_xml({}, ())))
    assert image.axes == "pyx"
    assert "PHASE" in image.notes[0]
    np.testing.assert_array_equal(got, FRAMES[:3, :, :, 0])
    mosaic = LeicaImage("tiles", FRAMES[:3, :, :, 0], "myx", ("Gray",))
    image, _ = opened(write_lif(tmp_path / "a.lif", mosaic))
    assert image.axes == "pyx"
    assert "MOSAIC TILE" in image.notes[0]


def test_channels_of_different_numbers_become_one_type_without_loss(tmp_path: Path) -> None:
    tiles = [CziTile(FRAMES[0, :, :, 0], {"C": 0}), CziTile(COLOURS[:20, :30, 0], {"C": 1})]
    image, got = opened(write_czi(tmp_path / "a.czi", tiles, czi_xml({}, ("DAPI", "mask"))))
    assert (image.dtype, image.channel_names) == (np.dtype("u2"), ("DAPI", "mask"))
    np.testing.assert_array_equal(got, np.stack([FRAMES[0, :, :, 0], COLOURS[:20, :30, 0]]))


def test_pixels_that_were_never_recorded_are_zeros_with_a_note(tmp_path: Path) -> None:
    image, got = opened(write_nd2(tmp_path / "a.nd2", FRAMES[:4], [nd2_time(4, 1.0)], ("a", "b"), missing=[2]))
    assert "lacks 1 of the 4 frames" in image.notes[0]
    assert not got[2].any()
    np.testing.assert_array_equal(got[3], FRAMES[3].transpose(2, 0, 1))
    tiles = [CziTile(FRAMES[0, :, :, 0], {"X": x}) for x in (0, 70)]
    image, got = opened(write_czi(tmp_path / "a.czi", tiles, czi_xml({}, ())))
    assert "do not cover" in image.notes[0]
    assert got.shape == (20, 100)
    assert not got[:, 30:70].any()


def test_a_large_image_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    large = np.zeros((2048, 2048), "u2")
    files = (
        write_nd2(tmp_path / "a.nd2", large[None, ..., None]),
        write_lif(tmp_path / "a.lif", LeicaImage("a", large, "yx", ("Gray",))),
        write_czi(tmp_path / "a.czi", [CziTile(large, {})]),
    )
    for path in files:
        open_image(path).close()  # imports
        tracemalloc.start()
        try:
            image = open_image(path)
            image.read((slice(1000, 1064), slice(1000, 1064)))
            image.close()
            assert tracemalloc.get_traced_memory()[1] < large.nbytes / 4, path
        finally:
            tracemalloc.stop()


def test_importing_the_reader_imports_no_vendor_library() -> None:
    assert not {*LIBRARIES.values()} & modules_after("import bioimage_inference.image.readers.reading")


@pytest.mark.parametrize("kind", LIBRARIES)
def test_without_the_library_the_error_names_the_extra(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(kind, tmp_path)
    monkeypatch.setitem(sys.modules, LIBRARIES[kind], None)
    error = failure(path)
    assert isinstance(error, ImageError)
    words = {"nd2": "Nikon ND2", "lif": "Leica LIF", "lof": "LOF", "czi": "Zeiss CZI"}[kind]
    for part in (path.name, words, "pip install 'bioimage_inference[microscopes]'", "Fiji"):
        assert part in str(error)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_truncated_file_is_refused_and_named(tmp_path: Path, kind: str, share: float) -> None:
    path = file_of(kind, tmp_path)
    if kind == "lif":
        write_lif(path, LeicaImage("one", STACK, "zcyx", ("Green", "Red")))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    before = open_files()
    error = failure(path)
    assert isinstance(error, ImageError)
    assert path.name in str(error)
    assert open_files() == before


@pytest.mark.parametrize("start", [b"ZISRAWFILE", b"\xda\xce\xbe\x0a", b"\x70\0\0\0\x46\1\0\0\x2a"])
def test_a_start_without_a_file_is_refused_and_named(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.dat").write_bytes(start + bytes(600))
    assert any(kind in str(failure(tmp_path / "a.dat")) for kind in ("Zeiss CZI", "Nikon ND2", "Leica LIF"))


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    """The file with every ``old`` in it replaced by ``new`` of the same length."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


def _nd2_claiming(folder: Path) -> Path:
    path = file_of("nd2 colours", folder)
    width = "uiWidth\0".encode("utf-16-le")
    path = replaced(path, width + b"\x1f\0\0\0", width + b"\0\0\0\x10")
    row = "uiWidthBytes\0".encode("utf-16-le")
    return replaced(path, row + b"\x5d\0\0\0", row + b"\0\0\0\x30")


def _czi_claiming(folder: Path) -> Path:
    path = write_czi(folder / "a.czi", [CziTile(pixels(12, 345), {}, 5)])
    return replaced(path, b"X\0\0\0" + bytes(4) + b"\x59\1\0\0", b"X\0\0\0" + bytes(4) + b"\0\0\0\x20")


def _lif_claiming(folder: Path) -> Path:
    path = file_of("lif", folder)
    return replaced(path, 'Elements="30"'.encode("utf-16-le"), 'Elements="99"'.encode("utf-16-le"))


@pytest.mark.parametrize("write", [_nd2_claiming, _czi_claiming, _lif_claiming])
def test_a_header_that_claims_more_than_the_file_holds_allocates_nothing(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path)
    failure(path)
    tracemalloc.start()
    try:
        assert isinstance(failure(path), ImageError)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_lif_whose_pixels_are_missing_is_refused_and_closed(tmp_path: Path) -> None:
    path = file_of("lif", tmp_path)
    content, name = path.read_bytes(), "MemBlock_0".encode("utf-16-le")
    path.write_bytes(content.replace(name, "MemBlock_9".encode("utf-16-le"), 1))
    failure(path)  # imports the library
    before = open_files()
    assert "damaged" in str(failure(path))
    assert open_files() == before


_CZI_UPDATE_PENDING = 32 + 68
"""Place of the flag in the header of a CZI file (ZISRAW file format, file header segment)."""


def test_a_czi_that_is_still_being_written_is_read_with_a_note(tmp_path: Path) -> None:
    path = file_of("czi", tmp_path)
    content = bytearray(path.read_bytes())
    content[_CZI_UPDATE_PENDING] = 1
    path.write_bytes(content)
    before = open_files()
    with closing(open_image(path)) as image:
        np.testing.assert_array_equal(whole(image), CASES["czi"].right)
        assert [note for note in image.notes if "unfinished" in note]
    assert open_files() == before


@pytest.mark.parametrize("name", ["nd2", "nd2 packed, rows filled, not calibrated", "lif", "lof", "czi", "czi zstd"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = file_of(name, tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    path.write_bytes(content)
    try:
        image: Any = open_image(path)
    except (ImageError, UsageError):
        return
    try:
        image.read(tuple(slice(0, min(size, 40)) for size in image.shape))
    except ImageError:
        pass
    finally:
        image.close()
