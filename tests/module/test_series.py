"""Which image of a file is read: previews, pyramids, several series, plates and wells."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_inference import Options, load_model
from bioimage_inference.cli import main
from bioimage_inference.errors import ImageError, UsageError
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import list_series, open_image, selected_series
from bioimage_inference.image.series import MAIN, Selection
from tests.reading_data import MINISBLACK, RGB8, pixels, whole
from tests.reading_plates import Array, write_group, write_image, write_plate


def read(path: Path, selection: Selection = MAIN) -> Array:
    image = open_image(path, None, selection)
    try:
        return whole(image)
    finally:
        image.close()


@pytest.fixture
def several(tmp_path: Path) -> tuple[Path, list[Array]]:
    """An OME-TIFF of three images of the same size, with names and pixel sizes of their own."""
    path, images = tmp_path / "run.ome.tif", [pixels(2, 20, 30), pixels(2, 20, 30), pixels(20, 30)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, (name, array) in enumerate(zip(("left", "right", "0,1"), images, strict=True)):
            size = 0.1 * (number + 1)
            facts = {"axes": "CYX"[-array.ndim :], "Name": name, "PhysicalSizeX": size, "PhysicalSizeY": size}
            writer.write(array, metadata=facts, **MINISBLACK)
    return path, images


@pytest.mark.parametrize(("choice", "number"), [(None, 0), (0, 0), ("1", 1), ("right", 1), (2, 2), ("0,1", 2)], ids=str)
def test_a_series_is_chosen_by_number_or_name_with_its_own_metadata(
    several: tuple[Path, list[Array]], choice: int | str | None, number: int
) -> None:
    path, images = several
    image = open_image(path, None, Selection(series=choice))
    np.testing.assert_array_equal(whole(image), images[number])
    assert image.pixel_size["x"] == PixelSize(pytest.approx(0.1 * (number + 1)), "µm")
    assert image.series is not None
    assert image.series.number == number
    image.close()
    np.testing.assert_array_equal(read(path, image.selection), images[number])


def test_a_series_written_by_tifffile_has_the_pixel_size_and_interval_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    facts: list[dict[str, object]] = [
        {"axes": "ZYX", "unit": "um", "spacing": 2},
        {"axes": "TYX", "unit": "nm", "finterval": 7},
    ]
    with tifffile.TiffWriter(path) as writer:
        for text, size in zip(facts, (40, 30), strict=True):
            writer.write(pixels(3, 20, size), metadata=text, resolution=(0.5, 0.5), **MINISBLACK)
    sizes = []
    for number in (0, 1):
        image = open_image(path, None, Selection(series=number))
        sizes.append(image.pixel_size)
        image.close()
    micrometres, nanometres = PixelSize(2, "µm"), PixelSize(2, "nm")
    assert sizes == [
        {"z": micrometres, "y": micrometres, "x": micrometres},
        {"t": PixelSize(7, "s"), "y": nanometres, "x": nanometres},
    ]


@pytest.mark.parametrize(
    "selection", [Selection(series=3), Selection(series="middle"), Selection(series="0,7"), Selection(level=1)]
)
def test_an_image_that_is_not_there_is_refused_with_a_list(
    several: tuple[Path, list[Array]], selection: Selection
) -> None:
    with pytest.raises(UsageError, match=r"'left'|20×30"):
        open_image(several[0], None, selection)


def test_one_image_is_opened_and_many_are_listed(several: tuple[Path, list[Array]]) -> None:
    path = several[0]
    with pytest.raises(UsageError, match="3 images"):
        open_image(path, None, Selection(series="all"))
    assert [one.name for one in selected_series(path, Selection(series="all"))] == ["left", "right", "0,1"]
    assert [one.number for one in selected_series(path, Selection(series="2,left"))] == [0, 2]
    assert selected_series(path, MAIN) == []


def test_a_small_picture_in_front_without_a_mark_never_hides_the_image(tmp_path: Path) -> None:
    path, image = tmp_path / "a.tif", pixels(120, 160)
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB8[:10, :12], photometric="rgb", metadata=None)
        writer.write(image, metadata=None, **MINISBLACK)
    np.testing.assert_array_equal(read(path), image)
    np.testing.assert_array_equal(read(path, Selection(series=0)), RGB8[:10, :12])


def test_of_images_of_similar_size_the_first_is_read(tmp_path: Path) -> None:
    path, first = tmp_path / "a.tif", pixels(40, 50)
    with tifffile.TiffWriter(path) as writer:
        writer.write(first, metadata=None, **MINISBLACK)
        writer.write(pixels(90, 110), metadata=None, **MINISBLACK)
    np.testing.assert_array_equal(read(path), first)


@pytest.mark.parametrize(("ome", "planes"), [(False, ()), (True, ()), (True, (3,))], ids=["plain", "ome", "stack"])
def test_levels_of_a_tiff_pyramid_keep_their_place(tmp_path: Path, ome: bool, planes: tuple[int, ...]) -> None:
    path, full = tmp_path / "a.ome.tif", pixels(*planes, 64, 96)
    with tifffile.TiffWriter(path, ome=ome) as writer:
        facts = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5} if ome else None
        writer.write(full, subifds=2, tile=(16, 16), metadata=facts, **MINISBLACK)
        for step in (2, 4):
            writer.write(full[..., ::step, ::step], subfiletype=1, tile=(16, 16), metadata=None, **MINISBLACK)
    np.testing.assert_array_equal(read(path), full)
    for level, step in enumerate((1, 2, 4)):
        image = open_image(path, None, Selection(level=level))
        np.testing.assert_array_equal(whole(image), full[..., ::step, ::step])
        # The edge of the first pixel stays where it is, so its centre moves.
        expected = {"x": PixelSize(0.5 * step, "µm", 0.25 * (step - 1))} if ome else {}
        assert {axis: size for axis, size in image.pixel_size.items() if axis == "x"} == expected
        image.close()
    with pytest.raises(UsageError, match=r"2: (3×)?16×24"):
        open_image(path, None, Selection(level=3))


def test_a_level_of_an_ome_zarr_has_its_own_pixel_size(tmp_path: Path) -> None:
    array = pixels(40, 60)
    path = write_image(tmp_path / "a.zarr", array)
    np.testing.assert_array_equal(read(path, Selection(level=1)), array[::2, ::2])
    image = open_image(path, None, Selection(level=1))
    image.close()
    assert image.pixel_size["x"] == PixelSize(1.0, "µm")
    with pytest.raises(UsageError, match="no level 2"):
        open_image(path, None, Selection(level=2))


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_a_field_of_a_plate_has_levels(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "plate.ome.zarr"
    written = write_plate(path, {"B/03": ["0", "1"]})
    if zipped:
        path = Path(shutil.make_archive(str(tmp_path / "plate.ome.zarr"), "zip", path))
    field = Selection(well="B3", field="1", level=1)
    np.testing.assert_array_equal(read(path, field), written["B/03/1"][::2, ::2])
    image = open_image(path, None, field)
    image.close()
    assert not image.notes
    with pytest.raises(UsageError, match="0: 48×48; 1: 24×24"):
        open_image(path, None, replace(field, level=2))


@pytest.mark.parametrize("name", ["a.npy", "a.png"])
def test_a_format_of_single_images_takes_no_other_image(tmp_path: Path, name: str) -> None:
    path, array = tmp_path / name, pixels(20, 30, dtype="uint8")
    if name.endswith("npy"):
        np.save(path, array)
    else:
        from PIL import Image

        Image.fromarray(array).save(path)
    np.testing.assert_array_equal(read(path, Selection(series=0)), array)
    for wrong in (Selection(series=1), Selection(level=1), Selection(well="A1"), Selection(field=0)):
        with pytest.raises(UsageError):
            open_image(path, None, wrong)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_field_of_a_plate_is_chosen_by_well_and_field(tmp_path: Path, version: str) -> None:
    plate = tmp_path / "plate.zarr"
    written = write_plate(plate, {"B/03": ["0", "1"], "C/11": ["1", "2"]}, version)  # type: ignore[arg-type]
    assert [(one.well, one.field) for one in list_series(plate)] == [
        ("B03", "0"), ("B03", "1"), ("C11", "1"), ("C11", "2")
    ]  # fmt: skip
    for well in ("B03", "b3", "B/3", "B-03"):
        np.testing.assert_array_equal(read(plate, Selection(well=well, field=1)), written["B/03/1"])
    # A field has its name first: 1 is the first field of the second well.
    np.testing.assert_array_equal(read(plate, Selection(well="C11", field="1")), written["C/11/1"])
    image = open_image(plate, None, Selection(well="C11", field=2))
    image.close()
    assert image.name == "plate.zarr/C/11/2"
    assert Path(image.path) == plate / "C" / "11" / "2"
    np.testing.assert_array_equal(read(plate / "B" / "03", Selection(field=0)), written["B/03/0"])
    field = open_image(plate / "B" / "03" / "0", None, Selection(well="B03"))
    field.close()
    assert field.series is not None
    assert (field.series.well, field.series.field) == ("B03", "0")


def test_a_plate_without_a_choice_lists_its_fields(tmp_path: Path) -> None:
    plate = tmp_path / "plate.zarr"
    write_plate(plate, {"A/1": ["0"], "A/2": ["0"]})
    with pytest.raises(UsageError, match="--well A1 --field 0"):
        open_image(plate)
    with pytest.raises(UsageError, match=r"no well 'D4'\. It has A1, A2"):
        open_image(plate, None, Selection(well="D4", field=0))
    with pytest.raises(UsageError, match="no field '5'"):
        open_image(plate, None, Selection(well="A1", field=5))
    assert len(selected_series(plate, MAIN)) == 2
    assert len(selected_series(plate / "A" / "1", MAIN)) == 1


def test_a_zipped_plate_is_read(tmp_path: Path) -> None:
    written = write_plate(tmp_path / "plate.zarr", {"A/1": ["0", "1"]})
    path = Path(shutil.make_archive(str(tmp_path / "plate"), "zip", tmp_path / "plate.zarr"))
    np.testing.assert_array_equal(read(path, Selection(well="A1", field=1)), written["A/1/1"])
    assert [one.field for one in selected_series(path, MAIN)] == ["0", "1"]


def test_a_well_that_the_plate_lists_but_does_not_hold_is_named(tmp_path: Path) -> None:
    plate = tmp_path / "plate.zarr"
    write_plate(plate, {"A/1": ["0"], "A/2": ["0"]})
    shutil.rmtree(plate / "A" / "2")
    assert [one.well for one in list_series(plate)] == ["A1", "A2"]
    with pytest.raises(ImageError, match=r"plate\.zarr"):
        open_image(plate, None, Selection(well="A2"))


def test_images_of_a_converted_file_have_their_names(tmp_path: Path) -> None:
    path, images = tmp_path / "run.zarr", [pixels(20, 30), pixels(24, 36)]
    write_group(path, {"bioformats2raw.layout": 3}, "0.4")
    write_group(path / "OME", {"series": ["0", "1"]}, "0.4")
    (path / "OME" / "METADATA.ome.xml").write_text('<OME><Image Name="left"/><Image Name="right"/></OME>')
    for number, array in enumerate(images):
        write_image(path / str(number), array, "0.4")
    np.testing.assert_array_equal(read(path), images[0])
    np.testing.assert_array_equal(read(path, Selection(series="right")), images[1])
    image = open_image(path / "1")
    image.close()
    assert image.name == "run.zarr/1"
    assert image.series is not None
    assert image.series.name == "right"


@pytest.fixture
def two_predictions(tmp_path: Path) -> Path:
    """An OME-TIFF of two predictions: a single object, and none."""
    path, maps = tmp_path / "maps.ome.tif", np.zeros((2, 2, 20, 30), np.float32)
    maps[0, 0, 5:15, 5:15] = 1
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, one in zip(("full", "empty"), maps, strict=True):
            writer.write(one, metadata={"axes": "CYX", "Name": name}, **MINISBLACK)
    return path


@pytest.mark.parametrize(("choice", "count"), [((), 1), (("--series", "empty"), 0), (("--series", "0"), 1)])
def test_segment_finds_the_objects_of_the_chosen_prediction(
    two_predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], choice: tuple[str, ...], count: int
) -> None:
    assert main(["segment", str(two_predictions), "-o", str(tmp_path / "out"), "--json", *choice]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == count


def test_segment_refuses_a_prediction_that_is_not_there(two_predictions: Path, tmp_path: Path) -> None:
    assert main(["segment", str(two_predictions), "-o", str(tmp_path / "out"), "--series", "77"]) == 2


def test_objects_are_measured_on_the_image_that_was_predicted(test_data: Path, tmp_path: Path) -> None:
    path, image = tmp_path / "two.ome.tif", tifffile.imread(test_data / "nuclei.tif")
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number in (1, 3):
            writer.write(image // 2 * number, metadata={"axes": "YX", "Name": f"times {number}"}, **MINISBLACK)
    with load_model(test_data / "demo-model.zip") as model:
        alone = model.segment(image // 2 * 3, axes="yx").table["mean_intensity"]
        np.testing.assert_allclose(model.segment(path, series=1).table["mean_intensity"], alone)
        options = Options(series="times 3")
        np.testing.assert_allclose(model.segment(path, options=options).table["mean_intensity"], alone)
