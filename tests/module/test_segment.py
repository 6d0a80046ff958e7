"""``segment``: from the files of a prediction to labels, table and overlay."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Picture

from bioimage_inference.api import Target, predict
from bioimage_inference.cli import main
from bioimage_inference.errors import ImageError, OutputError, UsageError
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.provenance.record_parts import MedianSizeRecord
from bioimage_inference.segmentation.segmenting import SegmentFiles, SegmentOptions, segment_file

ROOT = Path(__file__).parents[2]
TEST_DATA = ROOT / "test-data"


def files_in(folder):
    folder.mkdir(exist_ok=True)
    return SegmentFiles(folder / "labels.tif", folder / "objects.csv", folder / "overlay.png")


def segment(prediction, folder, image=None, overwrite=False, **options):
    return segment_file(prediction, files_in(folder), SegmentOptions(**options), image, overwrite=overwrite)


def rows(path, delimiter=","):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def overlay_of(folder):
    with Picture.open(folder / "overlay.png") as picture:
        return np.asarray(picture)


def labels_of(folder):
    return tifffile.imread(folder / "labels.tif")


def predicted(folder, image, layout="pages", model="demo-model.zip"):
    """Files of the demo model's prediction, with the record beside them."""
    stem = Path(image).stem
    target = Target(folder / f"{stem}_prediction.tif", folder / f"{stem}_prediction.npy")
    predict(
        TEST_DATA / model,
        TEST_DATA / image,
        targets={"prediction": target},
        record=folder / f"{stem}_provenance.json",
        tiff_layout=layout,
    )
    return target


@pytest.fixture(scope="module")
def nuclei(tmp_path_factory):
    return predicted(tmp_path_factory.mktemp("nuclei"), "nuclei.tif")


@pytest.fixture
def squares(tmp_path):
    """A prediction (CYX, .npy without record) of three touching or lone squares of known places, and one speck."""
    channels = np.zeros((2, 40, 60), np.float32)
    channels[0, 10:20, 5:15] = 0.9
    channels[0, 12:20, 15:25] = 0.9  # touches the first one
    channels[1, 10:20, 14:16] = 0.8  # the boundary between them
    channels[0, 2:8, 40:50] = 0.9  # first in scan order
    channels[0, 30:32, 30:32] = 0.9  # too small
    np.save(tmp_path / "squares.npy", channels)
    return tmp_path / "squares.npy"


def test_boundary_separates_what_touches_and_labels_come_in_scan_order(squares, tmp_path):
    objects = segment(squares, tmp_path / "out")
    expected = np.zeros((40, 60), int)
    expected[2:8, 40:50] = 1
    expected[10:20, 5:15] = 2
    expected[12:20, 15:25] = 3
    labels = labels_of(tmp_path / "out")
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.uint16
    assert objects.count == 3
    assert objects.median_size == MedianSizeRecord(px=80.0, um=None)
    assert any("1 region has fewer than 10 pixels" in note for note in objects.notes)


def test_without_the_boundary_they_are_one(squares, tmp_path):
    assert segment(squares, tmp_path / "out", boundary="none").count == 2


def test_the_table_holds_sizes_places_and_intensities(squares, tmp_path):
    image = np.arange(2 * 40 * 60, dtype=np.uint16).reshape(2, 40, 60)
    tifffile.imwrite(
        tmp_path / "image.tif",
        image,
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "CYX", "unit": "um", "Labels": ["DAPI", "GFP"]},
    )
    objects = segment(squares, tmp_path / "out", tmp_path / "image.tif")
    first = rows(tmp_path / "out/objects.csv")[0]
    assert (
        {name: float(value) for name, value in first.items()}
        == {
            "label": 1,
            "area_px": 60,
            "area_um2": 15,  # of 0.5 µm × 0.5 µm each
            "centroid_y_px": 4.5,
            "centroid_x_px": 44.5,
            "centroid_y_um": 2.25,
            "centroid_x_um": 22.25,
            "bbox_min_y": 2,
            "bbox_min_x": 40,
            "bbox_max_y": 8,
            "bbox_max_x": 50,
            "mean_intensity_DAPI": image[0, 2:8, 40:50].mean(),
            "mean_intensity_GFP": image[1, 2:8, 40:50].mean(),
            "touches_border": 0,
            "min_intensity_DAPI": 2 * 60 + 40,  # each row has 60 pixels, and the values count them
            "min_intensity_GFP": 2400 + 2 * 60 + 40,
            "max_intensity_DAPI": 7 * 60 + 49,
            "max_intensity_GFP": 2400 + 7 * 60 + 49,
            "integrated_intensity_DAPI": 60 * (4.5 * 60 + 44.5),
            "integrated_intensity_GFP": 60 * (2400 + 4.5 * 60 + 44.5),
            "std_intensity_DAPI": pytest.approx(image[0, 2:8, 40:50].std()),
            "std_intensity_GFP": pytest.approx(image[1, 2:8, 40:50].std()),
            "perimeter_px": 28,  # 5 and 9 steps between the centres of pixels, twice
            "perimeter_um": 14,
            "eccentricity": pytest.approx((1 - 35 / 99) ** 0.5),  # second moments of 6 and 10 pixels: (n² - 1) / 12
            "feret_px": pytest.approx(136**0.5),
            "feret_um": pytest.approx(136**0.5 / 2),
        }
    )
    assert any("The pixel size is from image.tif" in note for note in objects.notes)


def test_an_object_at_any_border_of_the_image_is_marked(tmp_path):
    stack = np.zeros((8, 40, 40), np.float32)
    bodies = {
        "first plane": np.s_[0:3, 2:9, 2:9],
        "last row": np.s_[3:6, 34:40, 12:20],
        "first column": np.s_[3:6, 20:28, 0:6],
        "last column": np.s_[3:6, 10:18, 34:40],
        "inside": np.s_[1:7, 20:28, 20:28],
    }
    for body in bodies.values():
        stack[body] = 0.9
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    segment(tmp_path / "stack.tif", tmp_path / "out", boundary="none")
    labels, table = labels_of(tmp_path / "out"), rows(tmp_path / "out/objects.csv")
    marked = {kind: table[int(labels[body].max()) - 1]["touches_border"] for kind, body in bodies.items()}
    assert marked == dict.fromkeys(bodies, "1") | {"inside": "0"}


def test_sums_of_whole_numbers_have_all_digits(squares, tmp_path):
    image = np.full((40, 60), 65533, np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", image)
    segment(squares, tmp_path / "out", tmp_path / "image.tif")
    assert rows(tmp_path / "out/objects.csv")[1]["integrated_intensity"] == str(100 * 65533)


def test_label_maps_have_colours_that_imagej_shows(squares, tmp_path):
    """ImageJ takes the colours of one channel from the tag ColorMap, and the display range from its description."""
    segment(squares, tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out/labels.tif") as tiff:
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0, 255)
        assert tiff.pages.first.photometric.name == "MINISBLACK"  # programs for TIFF show numbers, not a palette
        colours = np.reshape(tiff.pages.first.tags["ColorMap"].value, (3, 256)).T
    assert not colours[0].any(), "the background is black"
    assert len(np.unique(colours, axis=0)) == 256
    assert not (colours % 257).any(), "16 bits of a colour are its 8 bits twice"


def test_columns_in_micrometres_are_left_out_where_the_pixel_size_is_unknown(squares, tmp_path):
    objects = segment(squares, tmp_path / "out")
    assert not [name for name in rows(tmp_path / "out/objects.csv")[0] if name.endswith(("um", "um2"))]
    assert any("no columns in µm" in note for note in objects.notes)


def test_a_tsv_has_tabs(squares, tmp_path):
    segment_file(squares, SegmentFiles(table=tmp_path / "objects.tsv"), SegmentOptions())
    assert [row["area_px"] for row in rows(tmp_path / "objects.tsv", "\t")] == ["60", "100", "80"]


def test_a_volume_is_measured_in_a_stack(tmp_path):
    stack = np.zeros((2, 8, 20, 20), np.float32)
    stack[0, 2:6, 5:15, 4:14] = 0.9
    tifffile.imwrite(
        tmp_path / "stack.tif",
        stack.transpose(1, 0, 2, 3),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZCYX", "unit": "um", "spacing": 3},
    )
    segment(tmp_path / "stack.tif", tmp_path / "out")
    (row,) = rows(tmp_path / "out/objects.csv")
    assert (row["volume_px"], float(row["volume_um3"])) == ("400", 400 * 0.5 * 0.5 * 3)
    assert [float(row[f"centroid_{axis}_px"]) for axis in "zyx"] == [3.5, 9.5, 8.5]
    label_image = open_image(tmp_path / "out/labels.tif")
    assert (label_image.axes, label_image.pixel_size["z"]) == ("zyx", PixelSize(3.0, "µm"))
    label_image.close()


def test_every_file_of_a_prediction_gives_the_same_objects(nuclei, tmp_path):
    labelled = predicted(tmp_path, "nuclei.tif", "labelled").tiff
    alone = tmp_path / "alone.npy"
    alone.write_bytes(nuclei.npy.read_bytes())
    counts = {}
    for name, path in {"pages": nuclei.tiff, "npy": nuclei.npy, "labelled": labelled, "alone": alone}.items():
        counts[name] = segment(path, tmp_path / name, TEST_DATA / "nuclei.tif").count
        np.testing.assert_array_equal(labels_of(tmp_path / name), labels_of(tmp_path / "pages"))
    assert set(counts.values()) == {72}
    table = (tmp_path / "pages/objects.csv").read_text()
    assert all((tmp_path / name / "objects.csv").read_text() == table for name in counts)


def test_an_ome_zarr_gives_the_same_objects(nuclei, tmp_path):
    group = zarr.open_group(tmp_path / "nuclei.ome.zarr", mode="w", zarr_format=2)
    group["0"] = np.load(nuclei.npy)[0]
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": [{"name": "c", "type": "channel"}, *({"name": one, "type": "space"} for one in "yx")],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}],
        }
    ]
    segment(nuclei.tiff, tmp_path / "tiff")
    segment(tmp_path / "nuclei.ome.zarr", tmp_path / "zarr")
    np.testing.assert_array_equal(labels_of(tmp_path / "zarr"), labels_of(tmp_path / "tiff"))


@pytest.mark.parametrize("layout", ["pages", "labelled"])
def test_time_points_are_segmented_by_themselves_and_labels_run_on(layout, tmp_path):
    target = predicted(tmp_path, "nuclei_timeseries.tif", layout)
    image = TEST_DATA / "nuclei_timeseries.tif"
    objects = segment(target.tiff, tmp_path / "tiff", image)
    assert objects.samples == 3
    labels = labels_of(tmp_path / "tiff")
    assert labels.shape == (3, 112, 136)
    table = rows(tmp_path / "tiff/objects.csv")
    assert [int(row["label"]) for row in table] == list(range(1, objects.count + 1))
    for time in range(3):
        own = [int(row["label"]) for row in table if row["t"] == str(time)]
        assert own == np.unique(labels[time])[1:].tolist()
        frame = tifffile.imread(image)[time]
        row = table[own[0] - 1]
        assert float(row["mean_intensity"]) == pytest.approx(frame[labels[time] == own[0]].mean(), rel=1e-6)
    objects = segment(target.npy, tmp_path / "npy", image)  # its axes are those of the record beside it
    assert objects.notes == ()
    np.testing.assert_array_equal(labels_of(tmp_path / "npy"), labels)


def test_planes_of_a_stack_that_a_2d_model_saw_are_one_stack(tmp_path):
    target = predicted(tmp_path, "nuclei_3d.tif")
    for name, path in {"tiff": target.tiff, "npy": target.npy}.items():
        objects = segment(path, tmp_path / name)
        assert objects.spatial == "zyx"
        assert any("computed each plane of the stack separately" in note for note in objects.notes)
    np.testing.assert_array_equal(labels_of(tmp_path / "tiff"), labels_of(tmp_path / "npy"))


def test_channels_have_names_and_axes_can_be_given(nuclei, tmp_path):
    by_name = segment(nuclei.tiff, tmp_path / "a", foreground="Foreground", boundary="boundary")
    assert by_name.count == 72
    assert segment(nuclei.npy, tmp_path / "b", axes="bcyx").count == 72


def test_a_number_type_that_holds_all_labels_is_chosen(tmp_path):
    channels = np.zeros((2, 520, 520), np.float32)
    channels[0, ::2, ::2] = 1
    np.save(tmp_path / "dots.npy", channels)
    only_labels = SegmentFiles(tmp_path / "labels.tif")
    objects = segment_file(tmp_path / "dots.npy", only_labels, SegmentOptions(min_size=1))
    labels = labels_of(tmp_path)
    assert objects.count == 260 * 260 == labels.max()
    assert labels.dtype == np.uint32


def test_a_large_image_is_worked_on_in_blocks(tmp_path):
    channels = np.zeros((2, 2900, 3000), np.float32)
    corners = [(y, x) for y in range(20, 2800, 190) for x in range(20, 2900, 190)]
    for y, x in corners:
        channels[0, y : y + 60, x : x + 60] = 0.9
    channels[0, 100:110, 10:2900] = 0.9  # longer than the overlap of blocks
    np.save(tmp_path / "large.npy", channels)
    objects = segment(tmp_path / "large.npy", tmp_path / "out")
    assert objects.count == len(corners) + 1
    assert sorted(set(np.bincount(labels_of(tmp_path / "out").ravel())[1:])) == [3600, 28900]
    assert any("1 object is longer" in note for note in objects.notes)
    assert overlay_of(tmp_path / "out").shape == (1450, 1500, 3)


def test_nothing_found_is_a_result(tmp_path, capsys):
    np.save(tmp_path / "nothing.npy", np.zeros((2, 30, 40), np.float32))
    assert main(["segment", str(tmp_path / "nothing.npy"), "-o", str(tmp_path / "out")]) == 0
    assert "No object was found" in capsys.readouterr().out
    assert (tmp_path / "out/nothing_objects.csv").read_text().startswith("label,area_px,centroid_y_px")
    assert len((tmp_path / "out/nothing_objects.csv").read_text().splitlines()) == 1
    assert not tifffile.imread(tmp_path / "out/nothing_labels.tif").any()


def test_values_that_are_no_probabilities_are_said(tmp_path):
    np.save(tmp_path / "logits.npy", np.linspace(-7, 9, 2 * 30 * 40, dtype=np.float32).reshape(2, 30, 40))
    objects = segment(tmp_path / "logits.npy", tmp_path / "out")
    assert any("values from -7 to 9, which are no probabilities" in note for note in objects.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_an_error(value, squares, tmp_path):
    channels = np.load(squares)
    channels[1, 3, 4] = value
    np.save(squares, channels)
    with pytest.raises(ImageError, match="NaN or infinite values in channel 1"):
        segment(squares, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"foreground": "2"}, "--object-foreground 2 is no channel of squares.npy, which has 2"),
        ({"boundary": "edges"}, "--object-boundary none finds objects in the foreground alone"),
        ({"boundary": "0"}, "are both channel 0"),
        ({"axes": "yx"}, "name 2 dimensions"),
    ],
)
def test_wrong_options_are_explained(options, words, squares, tmp_path):
    with pytest.raises(UsageError, match=words):
        segment(squares, tmp_path / "out", **options)


def test_pages_that_may_be_samples_or_channels_are_not_guessed(tmp_path):
    tifffile.imwrite(tmp_path / "pages.tif", np.zeros((6, 20, 30), np.float32), metadata=None)
    with pytest.raises(ImageError, match=r"6 pages .* --axes cyx"):
        segment(tmp_path / "pages.tif", tmp_path / "out")
    assert segment(tmp_path / "pages.tif", tmp_path / "out", axes="cyx").count == 0


def test_a_damaged_record_is_no_reason_to_guess(nuclei, tmp_path):
    prediction = tmp_path / "nuclei_prediction.npy"
    prediction.write_bytes(nuclei.npy.read_bytes())
    (tmp_path / "nuclei_provenance.json").write_text("{")
    with pytest.raises(ImageError, match=r"record nuclei_provenance.json .* cannot be read"):
        segment(prediction, tmp_path / "out")
    assert segment(prediction, tmp_path / "out", axes="bcyx").count == 72


def test_a_file_that_is_not_what_its_record_says_is_refused(nuclei, tmp_path):
    prediction = tmp_path / nuclei.npy.name
    np.save(prediction, np.load(nuclei.npy)[[0, 0]])
    record = nuclei.npy.with_name("nuclei_provenance.json")
    (tmp_path / record.name).write_text(record.read_text())
    with pytest.raises(ImageError, match="the file changed since"):
        segment(prediction, tmp_path / "out")


def test_pages_of_another_program_are_channels_where_they_are_as_many(squares, tmp_path):
    tifffile.imwrite(tmp_path / "two.tif", np.load(squares), metadata=None)
    objects = segment(tmp_path / "two.tif", tmp_path / "out")
    assert objects.count == 3
    assert any("Its pages were read as channels" in note for note in objects.notes)


def test_an_image_of_another_size_is_refused(squares, tmp_path):
    with pytest.raises(ImageError, match="same pixels along x, y and z"):
        segment(squares, tmp_path / "out", TEST_DATA / "nuclei.tif")


def test_pictures_and_unnamed_stacks_are_measured(squares, tmp_path):
    colours = np.zeros((40, 60, 3), np.uint8)
    colours[..., 1] = 7
    Picture.fromarray(colours).save(tmp_path / "colours.png")
    segment(squares, tmp_path / "out", tmp_path / "colours.png")
    row = rows(tmp_path / "out/objects.csv")[0]
    assert [float(row[f"mean_intensity_channel_{channel}"]) for channel in range(3)] == [0, 7, 0]


def test_what_is_given_is_not_overwritten_by_way_of_a_link(squares, tmp_path):
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, np.zeros((40, 60), np.uint8))
    (tmp_path / "overlay.png").symlink_to(image)
    for given in (image, tmp_path / "overlay.png"):
        with pytest.raises(UsageError, match=f"{given.name} cannot be written, because this run reads"):
            segment_file(squares, SegmentFiles(overlay=given), SegmentOptions(), image)


def test_the_overlay_shows_the_channel_that_was_predicted(tmp_path):
    nuclei = tifffile.imread(TEST_DATA / "nuclei.tif")[:128, :128]
    channels = np.stack([np.zeros_like(nuclei), nuclei])
    tifffile.imwrite(tmp_path / "cells.tif", channels, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "alone.tif", nuclei, imagej=True, metadata={"axes": "YX"})
    shown = []
    for name, options in (("cells", ["--channels", "1"]), ("alone", [])):
        arguments = [str(TEST_DATA / "demo-model.zip"), str(tmp_path / f"{name}.tif"), "-o", str(tmp_path)]
        assert main(["predict", *arguments, *options, "--segment"]) == 0
        shown.append((tmp_path / f"{name}_overlay.png").read_bytes())
    assert shown[0] == shown[1]


def test_an_intensity_that_is_no_number_is_said(squares, tmp_path):
    image = np.ones((40, 60), np.float32)
    image[3, 42] = np.nan
    tifffile.imwrite(tmp_path / "image.tif", image)
    objects = segment(squares, tmp_path / "out", tmp_path / "image.tif")
    assert [row["mean_intensity"] for row in rows(tmp_path / "out/objects.csv")] == ["nan", "1", "1"]
    assert any("1 object has no mean or integrated intensity" in note for note in objects.notes)


def test_the_overlay_outlines_the_objects(squares, tmp_path):
    segment(squares, tmp_path / "out")
    picture = overlay_of(tmp_path / "out")
    enlarged = 800 // 60
    assert picture.shape == (40 * enlarged, 60 * enlarged, 3)
    grey = (picture == picture[..., :1]).all(axis=-1)
    assert not grey[2 * enlarged, 45 * enlarged]  # the upper edge of the first object
    assert grey[5 * enlarged, 45 * enlarged]  # its inside
    assert grey[: 2 * enlarged].all()


def test_outputs_appear_together_or_not_at_all(squares, tmp_path):
    out = tmp_path / "out"
    segment(squares, out)
    assert sorted(path.name for path in out.iterdir()) == ["labels.tif", "objects.csv", "overlay.png"]
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    segment(squares, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    new = tmp_path / "new"
    new.mkdir()
    files = SegmentFiles(new / "labels.tif", new / "objects.csv", tmp_path / "nowhere/overlay.png")
    with pytest.raises(OutputError, match="there is no folder"):
        segment_file(squares, files, SegmentOptions())
    assert not list(new.iterdir())


def test_the_command_prints_what_it_found(nuclei, tmp_path, capsys):
    image = str(TEST_DATA / "nuclei.tif")
    assert main(["segment", str(nuclei.tiff), "--image", image, "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "[nuclei_prediction.tif] axes CYX (2,300,380)",
        "  objects 72, median area 607.5 px (64.17 µm²)",
    ]
    assert f"  table   {tmp_path / 'nuclei_prediction_objects.csv'}" in lines
    assert main(["segment", str(nuclei.tiff), "--labels", str(tmp_path / "a.tif"), "--json"]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert objects["labels"] == str(tmp_path / "a.tif")
    assert objects["table"] is None
    assert objects["min_size"] == 10


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["-o", "out", "--labels", "a.tif"], 2, "give one or the other"),
        (["--labels", "a.tif", "--table", "a.tif"], 2, "name the same file"),
        (["--min-size", "0"], 2, "not a whole number above 0"),
        (["--threshold", "nan"], 2, "not a number that a map can exceed"),
        (["--labels", "squares.npy"], 2, "squares.npy cannot be written, because this run reads"),
        (["--image", "absent.tif"], 2, "There is no file"),
    ],
)
def test_the_command_explains_what_is_wrong(arguments, exit_code, words, squares, capsys, monkeypatch):
    monkeypatch.chdir(squares.parent)
    assert main(["segment", str(squares), *arguments]) == exit_code
    assert words in capsys.readouterr().err


def test_the_published_prediction_gives_the_nuclei_of_the_tutorial(shared, tmp_path):
    """The tutorial's chain of Galaxy tools finds 51 regions; one of them has 3 pixels."""
    folder = shared / "galaxy-test-data"
    prediction, image = folder / "output_nucleisegboundarymodel.tiff", folder / "input_nucleisegboundarymodel.png"
    assert segment(prediction, tmp_path / "all", image, min_size=1).count == 51
    assert segment(prediction, tmp_path / "large", image).count == 50


@pytest.mark.slow
def test_nuclei_that_the_demo_model_never_saw_are_found():
    """At most 5 % too many or too few, F1 of at least 0.9: the script fails otherwise."""
    command = [sys.executable, "scripts/evaluate_segmentation.py", "--images", "4"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(found.stdout.splitlines()) == 4
