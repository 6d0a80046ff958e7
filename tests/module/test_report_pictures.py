"""Pictures of images and outputs show the right plane in the right colours, and are read in bounded memory."""

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from bioimage_inference.cli import main
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.zarr_writer import create_store
from bioimage_inference.provenance.record import read_record
from bioimage_inference.report.charts import histogram
from bioimage_inference.report.colours import NO_NUMBER, ORANGE, SKY, contrast, kind_of, number, palette, shades
from bioimage_inference.report.pictures import Picture, image_pictures, output_pictures, overlay, tile_grid
from bioimage_inference.report.planes import Planes, open_output, open_planes, spread_evenly
from tests.records import input_record, output_record, plan_record

Array = NDArray[Any]
_OPEN: list[Planes] = []


@pytest.fixture(autouse=True)
def _close_files() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def kept(planes: Planes) -> Planes:
    """Close the file of these planes when the test ends."""
    _OPEN.append(planes)
    return planes


def pixels(picture: Picture) -> Array:
    """Return red, green and blue of a picture (axes yxc)."""
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def saved(array: Array, path: Path, axes: str) -> Planes:
    np.save(path, array)
    return kept(open_planes(path, axes))


def output_of(array: Array, axes: str, path: Path, **more: Any) -> Planes:
    """Open an array as the output of a record, from a ``.npy`` file."""
    np.save(path, array)
    return kept(open_output(output_record(axes, array.shape, npy=str(path), **more), [], path.parent))


def ramp(*shape: int, dtype: str = "uint16") -> Array:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_plane_is_every_nth_pixel(tmp_path: Path, compression: str | None) -> None:
    array = ramp(3, 90, 110)
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression, metadata={"axes": "ZYX"}, ome=True)
    planes = open_planes(tmp_path / "a.tif")
    np.testing.assert_array_equal(planes.plane({"z": 1}, 10**6), array[1])
    np.testing.assert_array_equal(planes.plane({"z": 2}, 1100), array[2, ::3, ::3])
    np.testing.assert_array_equal(planes.projection({}, 1100), array[2, ::3, ::3])
    planes.close()


def test_planes_of_axes_in_another_order(tmp_path: Path) -> None:
    array = ramp(40, 30, 2)
    np.testing.assert_array_equal(saved(array, tmp_path / "a.npy", "xyc").plane({"c": 1}, 300), array[::2, ::2, 1].T)


def test_a_huge_plane_is_not_loaded(tmp_path: Path) -> None:
    huge = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (1, 1, 8192, 16384))  # type: ignore[no-untyped-call]
    huge[0, 0, 16::32, ::2048] = 1
    size = huge.nbytes
    del huge
    described = output_record("bcyx", (1, 1, 8192, 16384), npy=str(tmp_path / "a.npy"))
    tracemalloc.start()
    for planes in (open_planes(tmp_path / "a.npy", "bcyx"), open_output(described, [], tmp_path)):
        assert planes.plane({}, 150_000).shape == (274, 547)
        planes.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 8


@pytest.mark.parametrize("layout", ["pages", "labelled"])
def test_every_file_of_an_output_shows_the_same_planes(test_data: Path, tmp_path: Path, layout: str) -> None:
    image = tmp_path / "series.tif"
    tifffile.imwrite(image, ramp(2, 3, 32, 48), imagej=True, metadata={"axes": "TZYX"})
    command = ["predict", str(test_data / "demo-model.zip"), str(image), "-o", str(tmp_path), "--tiff-layout", layout]
    assert main(command) == 0
    run = read_record(tmp_path / "series_provenance.json")
    (output,) = run.outputs
    assert output.npy is not None
    array = np.load(output.npy).reshape(2, 3, 2, 32, 48)
    for other in ("tiff", "npy"):
        planes = open_output(replace(output, **{other: None}), run.inputs, tmp_path)
        assert dict(planes.sizes) == {"t": 2, "z": 3, "c": 2, "y": 32, "x": 48}
        for t, z, c in ((0, 1, 0), (1, 0, 1), (1, 2, 1)):
            np.testing.assert_array_equal(planes.plane({"t": t, "z": z, "c": c}, 10**6), array[t, z, c])
        pictures = list(output_pictures(planes, "output1", 10**6))
        assert [one.title for one in pictures] == [
            "foreground, plane 2 of 3 along z",
            "boundary, plane 2 of 3 along z",
            "foreground, largest value along z",
            "boundary, largest value along z",
        ]
        assert "the first of 2 along t" in pictures[0].caption
        expected = shades(array[0, 1, 0], contrast(array[0, 1, 0], "probability"))
        np.testing.assert_array_equal(pixels(pictures[0]), np.array(palette("probability"))[expected])
        planes.close()


def test_output_that_moved_with_its_report(tmp_path: Path) -> None:
    np.save(tmp_path / "out.npy", np.ones((1, 1, 4, 4), np.float32))
    described = output_record("bcyx", (1, 1, 4, 4), npy="/gone/out.npy")
    (picture,) = output_pictures(kept(open_output(described, [], tmp_path)), "output1", 10**6)
    assert picture.size == (4, 4)


def test_sixteen_bits_and_floats_have_their_contrast(tmp_path: Path) -> None:
    low, high = 1000.0, 3000.0
    for dtype, factor in (("uint16", 1.0), ("float32", 1e-4)):
        array = (np.linspace(low, high, 10_000).reshape(100, 100) * factor).astype(dtype)
        (picture,) = image_pictures(saved(array, tmp_path / "a.npy", "yx"), "input1", 10**6)
        shown = pixels(picture)[..., 0]
        assert shown.min() == 0
        assert shown.max() == 255
        assert abs(int(np.median(shown)) - 127) <= 2
        inner = np.percentile(array.astype(float), [0.5, 99.5])
        assert picture.limits == (number(inner[0]), number(inner[1]))
        assert picture.limits[0] in picture.caption
        assert "percentiles 0.5 and 99.5" in picture.caption


def test_sparse_and_constant_images(tmp_path: Path) -> None:
    array = np.zeros((100, 100), np.uint16)
    array[3, 4] = 500
    (picture,) = image_pictures(saved(array, tmp_path / "a.npy", "yx"), "input1", 10**6)
    assert pixels(picture)[3, 4].tolist() == [255, 255, 255]
    assert "from 0 to 500, the smallest and largest value" in picture.caption
    (picture,) = image_pictures(saved(np.full((9, 9), 7, np.uint8), tmp_path / "a.npy", "yx"), "input1", 10**6)
    assert picture.caption == "the same value everywhere: 7"
    assert set(pixels(picture).ravel().tolist()) == {128}


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_shown_and_said(tmp_path: Path, missing: float) -> None:
    array = np.linspace(0, 1, 400, dtype=np.float32).reshape(1, 1, 20, 20)
    array[0, 0, 5] = missing
    (picture,) = output_pictures(output_of(array, "bcyx", tmp_path / "a.npy"), "output1", 10**6)
    shown = pixels(picture)
    assert (shown[5] == NO_NUMBER).all()
    assert not (shown[np.arange(20) != 5] == NO_NUMBER).all(axis=-1).any()
    assert "not a number or infinite (5 % of the pixels shown)" in picture.caption
    nothing = np.full((1, 1, 4, 4), missing, np.float32)
    planes = output_of(nothing, "bcyx", tmp_path / "a.npy")
    (picture,) = output_pictures(planes, "output1", 10**6)
    assert "no value is a number" in picture.caption
    assert histogram(planes, "h").png.startswith(b"\x89PNG")


def test_colours_of_outputs(tmp_path: Path) -> None:
    assert kind_of([np.array([0.0, np.nan, 1.0])]) == "probability"
    assert kind_of([np.array([0.5]), np.array([1.5])]) == "values"
    assert kind_of([np.array([1, 2])]) == "labels"
    half = np.full((1, 1, 8, 8), 0.5, np.float32)
    (picture,) = output_pictures(output_of(half, "bcyx", tmp_path / "a.npy"), "output1", 10**6)
    viridis = np.round(np.array(colormaps["viridis"](0.5)[:3]) * 255)
    assert np.abs(pixels(picture)[0, 0] - viridis).max() <= 1
    assert picture.limits == ("0", "1")
    labels = np.zeros((1, 1, 4, 6), np.int64)
    labels[0, 0, :, 2:4], labels[0, 0, :, 4:] = 3, 70_000
    (picture,) = output_pictures(output_of(labels, "bcyx", tmp_path / "a.npy"), "output1", 10**6)
    shown = pixels(picture)
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert len({tuple(shown[0, column]) for column in range(6)}) == 3
    assert "2 different labels" in picture.caption


def test_colours_and_channels_of_an_image(tmp_path: Path) -> None:
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[:8], colours[8:] = (200, 30, 60), (10, 20, 240)
    Image.fromarray(colours).save(tmp_path / "a.png")
    (picture,) = image_pictures(kept(open_planes(tmp_path / "a.png")), "input1", 10**6)
    np.testing.assert_array_equal(pixels(picture), colours)
    tifffile.imwrite(tmp_path / "c.tif", ramp(4, 16, 16), imagej=True, metadata={"axes": "CYX"})
    pictures = list(image_pictures(kept(open_planes(tmp_path / "c.tif")), "input1", 10**6, [2, 0]))
    assert [one.title for one in pictures] == ["channel 2", "channel 0"]
    assert [one.name for one in pictures] == ["input1_channel2", "input1_channel0"]
    (picture,) = image_pictures(kept(open_planes(tmp_path / "a.png")), "input1", 64)
    assert picture.size[0] <= 8


def test_outlines_over_the_image(tmp_path: Path) -> None:
    image = saved(ramp(60, 80), tmp_path / "a.npy", "yx")
    square = np.zeros((1, 2, 60, 80), np.float32)
    square[0, 0, 10:30, 10:40] = 0.9
    square[0, 1, 40:50, 50:70] = 0.6
    output = output_of(square, "bcyx", tmp_path / "o.npy", channel_names=["in", "edge"])
    (picture,) = overlay(image, 0, output, "overlay1", 10**6)
    shown = pixels(picture)
    assert tuple(shown[10, 20]) == tuple(shown[29, 20]) == tuple(shown[20, 10]) == ORANGE
    assert tuple(shown[40, 60]) == SKY
    assert shown[20, 20].std() == 0  # grey inside
    assert picture.key == ((ORANGE, "in reaches 0.5"), (SKY, "edge reaches 0.5"))
    wide = output_of(np.zeros((1, 1, 60, 20), np.float32), "bcyx", tmp_path / "w.npy")
    assert list(overlay(image, 0, wide, "overlay1", 10**6)) == []


def test_labels_and_values_over_a_coarser_image(tmp_path: Path) -> None:
    image = saved(ramp(30, 40), tmp_path / "a.npy", "yx")
    labels = np.zeros((1, 60, 80), np.int32)
    labels[0, 20:40, 20:40], labels[0, 20:40, 40:60] = 1, 2
    (picture,) = overlay(image, 0, output_of(labels, "byx", tmp_path / "o.npy"), "overlay1", 10**6)
    assert picture.size == (40, 30)
    rims = (pixels(picture) == ORANGE).all(axis=-1)
    assert rims[15, 19]
    assert rims[15, 20]  # where two labels meet, both have a rim
    assert not rims[15, 15]
    ramped = ramp(1, 60, 80, dtype="float32")
    ramped[0, :10] = np.nan
    values = output_of(ramped, "byx", tmp_path / "v.npy")
    (picture,) = overlay(image, 0, values, "overlay1", 10**6)
    assert "In colour where high" in picture.caption
    assert np.abs(pixels(picture)[2].astype(int) - NO_NUMBER).max() <= 8  # of 255 colours, the nearest


def test_the_grid_of_tiles(tmp_path: Path) -> None:
    image = saved(ramp(100, 200), tmp_path / "a.npy", "yx")
    plan = plan_record(
        tiles=6,
        grid={"y": 2, "x": 3},
        starts={"y": [0, 40], "x": [0, 56, 112]},
        tile={"y": 64, "x": 96},
        padding={"y": [0, 4], "x": [0, 8]},
    )
    (picture,) = tile_grid(image, 0, plan, "tiles", 10**6)
    assert picture.size == (208, 104)
    shown = pixels(picture)
    lines = (shown[2] == ORANGE).all(axis=-1).nonzero()[0]
    np.testing.assert_array_equal(lines, [76, 132])  # tiles 0-96, 56-152, 112-208 meet in the middle of what they share
    assert tuple(shown[80, 56]) == SKY  # the middle tile, with its halo
    assert picture.caption == "6 tiles: 2 along y, 3 along x."
    assert list(tile_grid(image, 0, replace(plan, tiles=1), "tiles", 10**6)) == []


def test_spread_evenly() -> None:
    assert list(spread_evenly(3, 5)) == [0, 1, 2]
    assert list(spread_evenly(101, 5)) == [0, 25, 50, 75, 100]


@pytest.mark.parametrize("axes", ["tpcyx", "bcyx"])
def test_outputs_in_ome_zarr(tmp_path: Path, axes: str) -> None:
    array = ramp(2, 3, 2, 16, 20, dtype="float32")
    stored = array if "t" in axes else array.reshape(6, 2, 16, 20)
    create_store(tmp_path / "a.zarr", Layout(axes, stored.shape, stored.dtype), {"y": 16, "x": 20})
    zarr.open_group(tmp_path / "a.zarr")["0"][...] = stored
    inputs = [input_record("tpyx", (2, 3, 16, 20), samples=6, iterated_axes="tp")]
    described = output_record("bcyx", (6, 2, 16, 20), zarr=str(tmp_path / "a.zarr"))
    planes = kept(open_output(described, inputs, tmp_path))
    np.testing.assert_array_equal(planes.plane({"t": 1, "p": 2, "c": 1}, 10**6), array[1, 2, 1])
