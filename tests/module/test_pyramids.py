"""OME-Zarr and OME-TIFF with a pyramid: what independent readers and a validator find in them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import yaozarrs
import zarr
from numpy.typing import NDArray
from yaozarrs import v04, v05

from bioimage_inference.errors import DiskFullError
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.image.writers.base import Layout, Writer, commit_all
from bioimage_inference.image.writers.ome_zarr_writer import OmeZarrWriter
from bioimage_inference.image.writers.output_formats import FORMATS
from bioimage_inference.image.writers.pyramid import pyramid
from bioimage_inference.image.writers.pyramid_tiff import PyramidTiffWriter
from bioimage_inference.image.writers.raw_pixels import RawPixels
from bioimage_inference.image.writers.tiff_writer import TiffWriter
from bioimage_inference.options import Options, ZarrVersion
from tests.machine import small_disk

Array = NDArray[Any]
SIZES = {"y": PixelSize(0.2, "µm"), "x": PixelSize(0.2, "µm"), "z": PixelSize(0.3, "µm"), "t": PixelSize(2.0, "s")}


def layout(axes: str, shape: tuple[int, ...], dtype: str = "float32", names: tuple[str, ...] = ()) -> Layout:
    return Layout(axes, shape, np.dtype(dtype), {letter: SIZES[letter] for letter in axes if letter in SIZES}, names)


def pixels(facts: Layout) -> Array:
    values = np.random.default_rng(3).random(facts.shape) * 200
    return values.astype(facts.dtype)


def write(writer: Writer, facts: Layout, notes: Mapping[str, str] | None = None) -> Array:
    """Write pieces of 300 columns, the last one first; no chunk or tile ends where they do."""
    array = pixels(facts)
    for start in reversed(range(0, facts.shape[-1], 300)):
        region = (*(slice(0, size) for size in facts.shape[:-1]), slice(start, min(start + 300, facts.shape[-1])))
        writer.write(region, array[region])
    writer.annotate(notes or {})
    commit_all([writer])
    return array


def means(array: Array, halved: tuple[int, ...]) -> Array:
    """The means of blocks of 2 along the axes ``halved``, a last odd pixel for itself: pixel by pixel, in float64."""
    for axis in halved:
        ends = [np.take(array, range(first, array.shape[axis], 2), axis) for first in (0, 1)]
        pairs = np.array(ends[0], "float64")
        inside = [slice(None)] * array.ndim
        inside[axis] = slice(0, ends[1].shape[axis])
        pairs[tuple(inside)] = (pairs[tuple(inside)] + ends[1]) / 2
        array = pairs
    return array


def levels_of(path: Path) -> list[Array]:
    """All levels of an OME-Zarr, as zarr reads them."""
    group = zarr.open_group(path, mode="r")
    return [np.asarray(group[name][:]) for name in sorted(group.array_keys())]  # type: ignore[index]


def ome_of(path: Path, version: ZarrVersion) -> dict[str, Any]:
    if version == "0.4":
        return dict(json.loads((path / ".zattrs").read_text()))
    return dict(json.loads((path / "zarr.json").read_text())["attributes"]["ome"])


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_validator_and_zarr_find_levels_names_windows_and_positions(tmp_path: Path, version: ZarrVersion) -> None:
    facts = layout("tcyx", (2, 2, 601, 1100), names=("foreground", "boundary µ"))
    array = write(OmeZarrWriter(tmp_path / "o.ome.zarr", facts, version), facts)
    assert [path.name for path in tmp_path.iterdir()] == ["o.ome.zarr"]
    yaozarrs.validate_zarr_store(tmp_path / "o.ome.zarr")
    ome = yaozarrs.open_group(tmp_path / "o.ome.zarr").ome_metadata()
    assert isinstance(ome, v04.Image if version == "0.4" else v05.Image)
    transformations = [one.coordinateTransformations for one in ome.multiscales[0].datasets]
    for by, (scale, *_) in zip((1, 2, 4), transformations, strict=True):
        assert scale.scale == pytest.approx([2.0, 1.0, 0.2 * by, 0.2 * by])
    shifts = [found[1].translation[-1] if len(found) > 1 else 0 for found in transformations]
    assert shifts == pytest.approx([0, 0.1, 0.3])  # centres of the first 1, 2 and 4 pixels
    levels = levels_of(tmp_path / "o.ome.zarr")
    np.testing.assert_array_equal(levels[0], array)
    np.testing.assert_allclose(levels[1], means(array, (2, 3)), rtol=1e-6)
    np.testing.assert_allclose(levels[2], means(means(array, (2, 3)), (2, 3)), rtol=1e-6)
    channels = ome_of(tmp_path / "o.ome.zarr", version)["omero"]["channels"]
    assert [one["label"] for one in channels] == ["foreground", "boundary µ"]
    for number, one in enumerate(channels):
        low, high = array[:, number].min().item(), array[:, number].max().item()
        assert one["window"] == {"min": low, "max": high, "start": low, "end": high}


def test_our_reader_gets_back_the_full_resolution(tmp_path: Path) -> None:
    facts = layout("zcyx", (3, 2, 40, 600), "uint16", ("a", "b"))
    array = write(OmeZarrWriter(tmp_path / "o.ome.zarr", facts, "0.4"), facts)
    image = open_image(tmp_path / "o.ome.zarr")
    np.testing.assert_array_equal(image.read(tuple(slice(0, size) for size in image.shape)), array.swapaxes(0, 1))
    assert (image.axes, image.channel_names, image.notes) == ("czyx", ("a", "b"), ())
    assert image.pixel_size == {letter: SIZES[letter] for letter in "zyx"}
    image.close()


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool"])
def test_whole_numbers_may_be_labels_and_are_never_averaged(tmp_path: Path, dtype: str) -> None:
    facts = layout("yx", (520, 700), dtype)
    array = write(OmeZarrWriter(tmp_path / "o.ome.zarr", facts, "0.5"), facts)
    levels = levels_of(tmp_path / "o.ome.zarr")
    np.testing.assert_array_equal(levels[1], array[::2, ::2])
    assert levels[1].dtype == array.dtype


def test_nan_stays_where_it_is(tmp_path: Path) -> None:
    facts = layout("yx", (8, 1024), "float16")
    writer, array = OmeZarrWriter(tmp_path / "o.ome.zarr", facts, "0.5"), np.ones(facts.shape, "float16")
    array[2, 4], array[:, 10] = np.nan, 6e4  # whose sum no float16 holds
    writer.write((slice(0, 8), slice(0, 1024)), array)
    commit_all([writer])
    small = levels_of(tmp_path / "o.ome.zarr")[1]
    assert np.argwhere(np.isnan(small)).tolist() == [[1, 2]]
    assert small[0, 5] == np.float16(30000.5)


@pytest.mark.parametrize(
    ("z", "shapes"),
    [
        (0.2, [(40, 900, 1200), (20, 450, 600), (10, 225, 300)]),  # cubes
        (0.5, [(40, 900, 1200), (40, 450, 600), (20, 225, 300)]),  # planes further apart than pixels
        (5.0, [(40, 900, 1200), (40, 450, 600), (40, 225, 300)]),
        (None, [(40, 900, 1200), (40, 450, 600), (40, 225, 300)]),
    ],
)
def test_z_is_halved_where_that_brings_voxels_nearer_to_cubes(z: float | None, shapes: list[tuple[int, ...]]) -> None:
    sizes = {letter: PixelSize(200, "nm") for letter in "yx"} | ({} if z is None else {"z": PixelSize(z, "µm")})
    facts = Layout("zyx", (40, 900, 1200), np.dtype("uint8"), sizes)
    assert [one.shape for one in pyramid(facts)] == shapes


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_chunks_are_small_and_files_are_few(tmp_path: Path, version: ZarrVersion) -> None:
    facts = layout("cyx", (1, 1100, 1500), "uint8")
    write(OmeZarrWriter(tmp_path / "o.ome.zarr", facts, version), facts)
    array = zarr.open_array(tmp_path / "o.ome.zarr" / "0", mode="r")
    assert array.chunks == (1, 512, 512)
    files = [path for path in (tmp_path / "o.ome.zarr" / "0").rglob("*") if path.is_file() and path.name.isdecimal()]
    assert len(files) == (1 if version == "0.5" else 9)


def test_equal_outputs_have_equal_bytes_under_the_name_of_the_output(tmp_path: Path) -> None:
    facts, found = layout("cyx", (2, 30, 40)), []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "o.ome.zarr"
        write(OmeZarrWriter(path, facts, "0.5"), facts)
        found.append({file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()})
    assert found[0] == found[1]
    assert ome_of(path, "0.5")["multiscales"][0]["name"] == "o.ome.zarr"


def test_an_output_that_is_no_image_is_valid_and_more_axes_are_noted(tmp_path: Path) -> None:
    facts = layout("tc", (3, 4))
    array = write(OmeZarrWriter(tmp_path / "classes.ome.zarr", facts, "0.5"), facts)
    yaozarrs.validate_zarr_store(tmp_path / "classes.ome.zarr")
    np.testing.assert_array_equal(levels_of(tmp_path / "classes.ome.zarr")[0][:, :, 0, 0], array)
    writer = OmeZarrWriter(tmp_path / "many.ome.zarr", layout("picyx", (2, 3, 2, 4, 4)), "0.5")
    writer.abort()
    assert "position, index, channel" in " ".join(writer.notes)
    assert [path.name for path in tmp_path.iterdir()] == ["classes.ome.zarr"]


# Pyramidal OME-TIFF


@pytest.mark.parametrize(("axes", "shape"), [("tcyx", (2, 3, 601, 1100)), ("yx", (1030, 520))])
def test_tifffile_finds_tiles_subifds_axes_and_sizes(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    names = ("a", "b", "c") if "c" in axes else ()
    facts = layout(axes, shape, names=names)
    array = write(PyramidTiffWriter(tmp_path / "o.tif", facts), facts, {"model": "U-Net <µ>"})
    assert [path.name for path in tmp_path.iterdir()] == ["o.tif"]
    with tifffile.TiffFile(tmp_path / "o.tif") as tiff:
        (series,) = tiff.series
        page = tiff.pages.first
        assert tiff.is_bigtiff
        assert tiff.is_ome
        assert (page.tilewidth, page.compression.name, len(page.subifds)) == (512, "ADOBE_DEFLATE", 2)
        assert (series.axes, series.shape) == (axes.upper(), shape)
        last = array.ndim - 2, array.ndim - 1
        np.testing.assert_array_equal(series.asarray(), array)
        np.testing.assert_allclose(series.levels[1].asarray(), means(array, last), rtol=1e-6)
        assert page.resolution == pytest.approx((5e4, 5e4))  # pixels of 0.2 µm per cm
        ome = ome_types.from_xml(tiff.ome_metadata or "")
    planes = ome.images[0].pixels
    assert (planes.physical_size_x, planes.physical_size_x_unit.value) == (0.2, "µm")
    assert tuple(one.name for one in planes.channels) == names or not names
    assert "U-Net <µ>" in [pair.value for pair in ome.structured_annotations[0].value.ms]


def test_labels_of_a_pyramid_are_not_averaged_and_our_reader_reads_the_full_resolution(tmp_path: Path) -> None:
    facts = layout("zyx", (3, 40, 700), "uint64")
    array = write(PyramidTiffWriter(tmp_path / "o.tif", facts), facts)
    with tifffile.TiffFile(tmp_path / "o.tif") as tiff:
        np.testing.assert_array_equal(tiff.series[0].levels[1].asarray(), array[:, ::2, ::2])
    image = open_image(tmp_path / "o.tif")
    np.testing.assert_array_equal(image.read(tuple(slice(0, size) for size in image.shape)), array)
    assert (image.axes, image.pixel_size) == ("zyx", {letter: SIZES[letter] for letter in "zyx"})
    image.close()


def test_large_labelled_tiffs_are_pyramids_and_pages_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.posix_fallocate")  # leave a hole instead of five GiB of room
    large, small = layout("cyx", (5, 16384, 65536), "uint8"), layout("cyx", (2, 30, 40))
    for facts, how, kind in (
        (large, "labelled", PyramidTiffWriter),
        (large, "pages", TiffWriter),
        (small, "pyramid", PyramidTiffWriter),
        (small, "labelled", TiffWriter),
        (layout("bc", (2, 3)), "pyramid", TiffWriter),
    ):
        writer = FORMATS["tiff"].open(tmp_path / "o.tif", facts, Options(tiff_layout=how))  # type: ignore[arg-type]
        writer.abort()
        assert type(writer) is kind
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("key", ["tiff", "zarr"])
def test_a_full_disk_is_told_before_anything_is_computed_or_leaves_nothing(tmp_path: Path, key: str) -> None:
    options = Options(tiff_layout="pyramid")
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(DiskFullError, match=r"no room for the output \S+/o\.out of 2\.7 MiB"):
            FORMATS[key].open(disk / "o.out", layout("cyx", (2, 600, 600)), options)
        facts = layout("yx", (400, 500))  # whose compressed pixels find no room beside the raw ones
        writer = FORMATS[key].open(disk / "o.out", facts, options)
        with pytest.raises(DiskFullError, match=r"no room for the output"):
            write(writer, facts)
        writer.abort()
        assert [*disk.iterdir()] == []


def test_raw_pixels_give_back_regions_of_joined_axes(tmp_path: Path) -> None:
    facts = layout("cyzx", (2, 5, 3, 7))
    raw, array = RawPixels(tmp_path / "o", facts, "czyx", facts.dtype), pixels(facts)
    raw.write(tuple(slice(0, size) for size in facts.shape), array)
    stored = array.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(raw.read(np.s_[1:2, 0:3, 2:5, 1:4]), stored[1:2, :, 2:5, 1:4])
    np.testing.assert_array_equal(raw.read(np.s_[4:6, 0:5, 3:7], (6, 5, 7)), stored.reshape(6, 5, 7)[4:6, :, 3:7])
    raw.abort()
    assert [*tmp_path.iterdir()] == []
