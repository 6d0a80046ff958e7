"""What reading OME-Zarr promises: folders and zips, every format, chunk by chunk, and no code in it ever runs."""

import json
import pickle
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bioimage_inference.errors import ImageError
from bioimage_inference.image.image import Image, PixelSize
from bioimage_inference.image.readers.reading import open_image
from tests.machine import open_files
from tests.reading_data import described

Array = NDArray[Any]
RNG = np.random.default_rng(21)
AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
SCALE = [{"type": "scale", "scale": [2.5, 1, 0.2, 0.1]}]


def pixels(*shape: int, dtype: str = "uint16") -> Array:
    return RNG.integers(0, 250, shape).astype(dtype)


def ome_zarr(folder: Path, array: Array, version: str = "0.5", axes: Any = None, **multiscale: Any) -> Path:
    """An OME-Zarr of two resolutions, its metadata written by hand."""
    path = folder / "cells.zarr"
    form = 3 if version == "0.5" else 2
    group = zarr.open_group(path, mode="w", zarr_format=form)
    for name, level in (("0", array), ("1", array[..., ::2, ::2])):
        chunks = tuple(min(size, 8) for size in level.shape)
        group.create_array(name, shape=level.shape, chunks=chunks, dtype=level.dtype)[...] = level
    datasets = [{"path": "0", "coordinateTransformations": SCALE}, {"path": "1"}]
    multiscales = [{"axes": AXES if axes is None else axes, "datasets": datasets, **multiscale}]
    ome = {"multiscales": multiscales, "omero": {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", **ome}
    else:
        group.attrs.update({**ome, "multiscales": [{"version": version, **multiscales[0]}]})
    return path


def zipped(folder: Path, inside: str = "") -> Path:
    """The zip of a folder, its content at the top or one folder deep."""
    path = folder.parent / "dataset_3.dat"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, Path(inside) / file.relative_to(folder))
    return path


def opened(path: Path, axes: str | None = None) -> tuple[Image, Array]:
    image = open_image(path, axes)
    try:
        return image, image.read(tuple(slice(0, size) for size in image.shape))
    finally:
        image.close()


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as raised:
        opened(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", ["folder", "zip", "zip one folder deep", "folder one folder deep"])
def test_ome_zarr_is_read_with_all_that_it_says(tmp_path: Path, version: str, kind: str) -> None:
    array = pixels(3, 2, 20, 30)
    path = ome_zarr(tmp_path, array, version)
    if kind.startswith("zip"):
        path = zipped(path, "cells.ome.zarr" if "deep" in kind else "")
    elif "deep" in kind:
        (tmp_path / "dataset_files").mkdir()
        path = shutil.move(path, tmp_path / "dataset_files" / "cells.zarr").parent
    image, got = opened(path)
    np.testing.assert_array_equal(got, array)
    assert (image.axes, image.axes_source, image.shape) == ("tcyx", "file", array.shape)
    assert image.channel_names == ("DAPI", "GFP")
    assert image.pixel_size == {"t": PixelSize(2.5, "s"), "y": PixelSize(0.2, "µm"), "x": PixelSize(0.1, "µm")}
    assert not image.notes
    shape = "axes TCYX (3,2,20,30) uint16"
    assert described(image) == f"[{path.name}] {shape}, x 0.1 µm, y 0.2 µm, t 2.5 s"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_zarr_array_equals_slicing_it(tmp_path: Path, data: st.DataObject) -> None:
    draw = data.draw
    shape = tuple(draw(st.lists(st.integers(1, 20), min_size=2, max_size=4)))
    form = draw(st.sampled_from([2, 3]))
    array = pixels(*shape, dtype="uint8").astype(draw(st.sampled_from(["?", "u1", "<u2", ">u2", "<f4", ">f8", "<i8"])))
    chunks = tuple(draw(st.integers(1, size)) for size in shape)
    path = tmp_path / "array.zarr"
    layout: Any = {"order": draw(st.sampled_from("CF"))} if form == 2 else {}
    made = zarr.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype=array.dtype,
        zarr_format=form,
        overwrite=True,
        config={"write_empty_chunks": True},
        **layout,
    )
    made[...] = array
    image = open_image(path)
    try:
        assert image.axes_source == "guess"
        for _ in range(3):
            region = tuple(slice(*sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
            got = image.read(region)
            assert got.dtype == image.dtype
            assert got.dtype.isnative
            np.testing.assert_array_equal(got, array[region])
    finally:
        image.close()


def test_sharded_arrays_are_read(tmp_path: Path) -> None:
    array = pixels(16, 32)
    made = zarr.create_array(tmp_path / "sharded.zarr", shape=(16, 32), chunks=(4, 4), shards=(8, 16), dtype="uint16")
    made[...] = array
    np.testing.assert_array_equal(opened(tmp_path / "sharded.zarr")[1], array)


def test_only_the_chunks_that_a_region_meets_are_needed(tmp_path: Path) -> None:
    array = pixels(1, 1, 20, 30)
    path = ome_zarr(tmp_path, array)
    damaged = path / "0" / "c" / "0" / "0" / "2" / "3"
    damaged.write_bytes(b"no chunk")
    image = open_image(path)
    region = (slice(0, 1), slice(0, 1), slice(0, 16), slice(0, 24))
    np.testing.assert_array_equal(image.read(region), array[region])
    with pytest.raises(ImageError, match=r"cells\.zarr cannot be read"):
        image.read((slice(0, 1), slice(0, 1), slice(16, 20), slice(24, 30)))
    image.close()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_many_threads_read_one_zarr_and_closing_releases_it(tmp_path: Path, kind: str) -> None:
    array = pixels(3, 2, 20, 30)
    path = ome_zarr(tmp_path, array)
    path = zipped(path) if kind == "zip" else path
    opened(path)  # zarr's own thread keeps what it needs for all arrays
    before = open_files()
    image = open_image(path)
    regions = [(slice(n % 3, 3), slice(0, 2), slice(n, n + 5), slice(n, 30)) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        for region, got in zip(regions, pool.map(image.read, regions), strict=True):
            np.testing.assert_array_equal(got, array[region])
    image.close()
    assert open_files() == before


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (["t", "c", "y", "x"], "tcyx"),
        (None, "tcyx"),
        ([{"name": "time"}, {"name": "Channel"}, {"name": "height"}, {"name": "width"}], "tcyx"),
        ([{"name": "lambda", "type": "channel"}, {"name": "z"}, {"name": "y"}, {"name": "x"}], "czyx"),
        ([{"name": "angle", "type": "a"}, {"name": "z"}, {"name": "y"}, {"name": "x"}], "?zyx"),
    ],
)
def test_axes_are_understood_in_every_format(tmp_path: Path, axes: Any, expected: str) -> None:
    path = ome_zarr(tmp_path, pixels(3, 2, 20, 30), "0.4", axes)
    assert opened(path)[0].axes == expected


def test_ome_zarr_before_axes_were_named_is_tczyx(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path, pixels(2, 1, 3, 20, 30), "0.2", axes=[])
    image, _ = opened(path)
    assert (image.axes, image.pixel_size) == ("tczyx", {})


def test_the_scale_of_all_resolutions_multiplies_that_of_the_first(tmp_path: Path) -> None:
    whole = [{"type": "scale", "scale": [1, 1, 10, 10]}]
    path = ome_zarr(tmp_path, pixels(3, 2, 20, 30), coordinateTransformations=whole)
    assert opened(path)[0].pixel_size["x"] == PixelSize(1.0, "µm")


def test_the_user_names_axes_of_a_zarr_too(tmp_path: Path) -> None:
    image, _ = opened(ome_zarr(tmp_path, pixels(3, 2, 20, 30)), "zcyx")
    assert (image.axes, image.axes_source, image.channel_names) == ("zcyx", "user", ("DAPI", "GFP"))
    assert "z" not in image.pixel_size, "an interval is no spacing"


@pytest.mark.parametrize(
    ("form", "extra", "axes"),
    [
        (3, {"dimension_names": ["z", "y", "x"]}, "zyx"),
        (3, {"dimension_names": ["time", "height", "width"]}, "tyx"),
        (3, {"dimension_names": [None, "y", "x"]}, "?yx"),
        (2, {"attributes": {"_ARRAY_DIMENSIONS": ["z", "y", "x"]}}, "zyx"),
        (2, {}, "?yx"),
    ],
)
def test_a_plain_array_names_its_dimensions_or_they_are_guessed(
    tmp_path: Path, form: Any, extra: dict[str, Any], axes: str
) -> None:
    array = pixels(4, 20, 30)
    made = zarr.create_array(tmp_path / "a", shape=array.shape, dtype=array.dtype, zarr_format=form, **extra)
    made[...] = array
    image, got = opened(tmp_path / "a")
    assert (image.axes, image.axes_source) == (axes, "guess" if "?" in axes else "file")
    np.testing.assert_array_equal(got, array)


def test_of_converted_microscope_files_the_first_image_is_read_and_said(tmp_path: Path) -> None:
    array = pixels(3, 2, 20, 30)
    inner = ome_zarr(tmp_path, array, "0.4")
    outer = tmp_path / "converted.zarr"
    zarr.open_group(outer, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    shutil.copytree(inner, outer / "0")
    assert not opened(outer)[0].notes
    shutil.copytree(inner, outer / "1")
    image, got = opened(outer)
    np.testing.assert_array_equal(got, array)
    assert "holds 2 images" in image.notes[0]


def test_a_plate_and_a_group_without_image_say_what_to_give(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    assert "without an image" in refusal(tmp_path / "plate.zarr")
    group.attrs["plate"] = {"wells": []}
    assert "lists no wells" in refusal(tmp_path / "plate.zarr")


def metadata_of(path: Path) -> Path:
    """The file with the metadata of the first resolution."""
    return next(file for file in (path / "0" / "zarr.json", path / "0" / ".zarray") if file.is_file())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_codec_that_unpickles_is_refused_and_never_called(tmp_path: Path, version: str) -> None:
    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self) -> Any:
            return marker.touch, ()

    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8), version)
    metadata = json.loads(metadata_of(path).read_text())
    if version == "0.4":
        metadata |= {"filters": [{"id": "pickle", "protocol": 4}], "compressor": None}
    else:
        metadata["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}, *metadata["codecs"]]
    metadata_of(path).write_text(json.dumps(metadata))
    for chunk in (path / "0").rglob("*"):
        if chunk.is_file() and not chunk.name.startswith((".", "zarr")):
            chunk.write_bytes(pickle.dumps(Evil()))
    assert "pickle" in refusal(path)
    assert not marker.exists()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_absurd_chunks_are_refused_before_anything_is_decoded(tmp_path: Path, version: str) -> None:
    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8), version)
    metadata = json.loads(metadata_of(path).read_text())
    metadata["shape"] = [1, 1, 10**6, 10**6]
    if version == "0.4":
        metadata["chunks"] = [1, 1, 10**6, 10**6]
    else:
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 10**6, 10**6]
    metadata_of(path).write_text(json.dumps(metadata))
    assert "chunks of 1,862.6 GiB" in refusal(path)


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_that_are_not_stored_are_the_fill_value_and_counted(tmp_path: Path, version: str, kind: str) -> None:
    array = pixels(1, 2, 20, 30)
    array[..., 8:16, :8] = 0
    array[..., 16:, :] = 0
    path = ome_zarr(tmp_path, array, version)
    (path / "0" / ".DS_Store").write_bytes(b"no chunk")
    image, got = opened(zipped(path) if kind == "zip" else path)
    np.testing.assert_array_equal(got, array)
    # Chunks hold 8×8 pixels of both channels: of 3 rows of 4 chunks, zarr leaves out one chunk and the last row.
    assert "has 12 chunks, of which 5 are not stored" in image.notes[0]
    assert "fill value 0" in image.notes[0]


@pytest.mark.parametrize("shards", [None, (8, 8)])
def test_an_array_of_zeros_is_an_image(tmp_path: Path, shards: Any) -> None:
    made = zarr.create_array(tmp_path / "a", shape=(16, 16), chunks=(4, 4), shards=shards, dtype="uint8", fill_value=7)
    made[...] = np.full((16, 16), 7)
    image, got = opened(tmp_path / "a")
    assert (got == 7).all()
    count = 16 if shards is None else 4
    assert f"of which {count} {'is' if count == 1 else 'are'} not stored" in image.notes[0]
    assert "fill value 7" in image.notes[0]


def test_an_array_that_is_announced_but_not_there_is_an_incomplete_copy(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8))
    shutil.rmtree(path / "0")
    assert "copy is incomplete" in refusal(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("inside", ["0", "resolutions/full"])
def test_the_array_inside_takes_axes_and_scale_from_the_image_around_it(
    tmp_path: Path, version: str, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = pixels(3, 2, 20, 30)
    path = ome_zarr(tmp_path, array, version)
    scales = [{"type": "scale", "scale": [2.5, 1, 0.4, 0.3]}]
    datasets = [{"path": "1"}, {"path": inside, "coordinateTransformations": scales}]
    described = path / ("zarr.json" if version == "0.5" else ".zattrs")
    metadata = json.loads(described.read_text())
    ome = metadata["attributes"]["ome"] if version == "0.5" else metadata
    ome["multiscales"][0]["datasets"] = datasets
    described.write_text(json.dumps(metadata))
    if inside != "0":
        (path / inside).parent.mkdir()
        shutil.move(path / "0", path / inside)
    monkeypatch.chdir(path)
    for name in (path / inside, Path(inside)):
        image, got = opened(name)
        np.testing.assert_array_equal(got, array)
        assert (image.axes, image.axes_source, image.channel_names) == ("tcyx", "file", ("DAPI", "GFP"))
        assert image.pixel_size == {"t": PixelSize(2.5, "s"), "y": PixelSize(0.4, "µm"), "x": PixelSize(0.3, "µm")}


def test_an_array_that_no_image_around_it_describes_stands_for_itself(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path, pixels(3, 2, 20, 30))
    zarr.create_array(path / "other", shape=(4, 20, 30), dtype="uint8")[...] = 1
    assert opened(path / "other")[0].axes == "?yx"


@pytest.mark.parametrize("where", ["../other.zarr", "/etc", "0/../../other", "a\\b", ""])
def test_an_array_outside_the_image_is_refused(tmp_path: Path, where: str) -> None:
    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8), datasets=[{"path": where}])
    assert "outside itself" in refusal(path)


def test_members_outside_the_zip_are_refused(tmp_path: Path) -> None:
    path = zipped(ome_zarr(tmp_path, pixels(1, 1, 8, 8)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.py", "print('in')")
    assert "lies outside the archive" in refusal(path)
    assert not (tmp_path.parent / "evil.py").exists()


def test_a_chunk_that_unpacks_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    path = zipped(ome_zarr(tmp_path, pixels(1, 1, 8, 8)))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive, archive.open("0/c/0/0/0/9", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert "cannot be stored" in refusal(path)


@pytest.mark.parametrize(
    "edit",
    [
        {"data_type": "complex64", "fill_value": [0, 0]},
        {"data_type": "string"},
        {"shape": [1, 1, 0, 8]},
        {"shape": "many"},
        {"shape": [1, 1, 8]},
        {"codecs": [{"name": "unheard_of"}]},
        {"codecs": []},
        {"zarr_format": 9},
    ],
)
def test_damaged_metadata_are_refused(tmp_path: Path, edit: dict[str, Any]) -> None:
    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8))
    metadata = json.loads(metadata_of(path).read_text())
    metadata_of(path).write_text(json.dumps(metadata | edit))
    assert path.name in refusal(path)


def test_broken_json_is_refused(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path, pixels(1, 1, 8, 8))
    (path / "zarr.json").write_text('{"zarr_format": 3, ')
    assert "no valid JSON" in refusal(path)
