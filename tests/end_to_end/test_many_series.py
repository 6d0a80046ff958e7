"""Files with several images, and plates, as many images of a run: names of outputs, tables, record, resume, rerun."""

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tifffile

from bioimage_inference import UsageError, predict
from bioimage_inference.cli import main
from bioimage_inference.provenance import record_builder
from tests import models
from tests.reading_data import MINISBLACK
from tests.reading_plates import write_image, write_plate

Output = pytest.CaptureFixture[str]
SCHEMA = Path(record_builder.__file__).with_name("provenance.schema.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    return str(models.write_model(folder, models.Identity(), *models.simple_tensors()))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def record(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A TIFF of two named images."""
    path, generator = tmp_path / "run.ome.tif", np.random.default_rng(3)
    images = [generator.integers(0, 999, (32, 40)).astype(np.uint16) for _ in range(2)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, array in zip(("left", "right side"), images, strict=True):
            writer.write(array, metadata={"axes": "YX", "Name": name}, **MINISBLACK)
    return path, images


def test_every_field_of_a_plate_is_an_image_with_its_well_in_names_tables_and_record(
    model: str, tmp_path: Path, capsys: Output
) -> None:
    plate, out = tmp_path / "plate.ome.zarr", tmp_path / "out"
    written = write_plate(plate, {"B/03": ["0", "1"], "C/04": ["0"]})
    assert main(["predict", model, str(plate), "-o", str(out), "--segment", "--object-boundary", "none"]) == 0
    assert "well B03, field 1, level 0 of 0 (48×48), 1 (24×24)" in capsys.readouterr().out
    for path, pixels in written.items():
        well, field = path.replace("/", "", 1).split("/")
        np.testing.assert_array_equal(np.load(out / f"plate_{well}_{field}_out.npy")[0, 0], pixels)
        known = record(out / f"plate_{well}_{field}_provenance.json")
        jsonschema.validate(known, json.loads(SCHEMA.read_text()))
        assert known["sample"] == {"well": well, "field": field}
        (image,) = known["inputs"]  # type: ignore[misc]
        assert (image["file"], image["series"]["well"]) == (str(plate / path), well)
        assert image["sha256"]
    rows = table(out / "summary.csv")
    assert [(row["image"], row["well"], row["field"], row["status"]) for row in rows] == [
        (f"{plate} B03_0", "B03", "0", "done"),
        (f"{plate} B03_1", "B03", "1", "done"),
        (f"{plate} C04_0", "C04", "0", "done"),
    ]
    objects = table(out / "objects.csv")
    assert {(row["well"], row["field"]) for row in objects} == {("B03", "0"), ("B03", "1"), ("C04", "0")}
    assert "plate.ome.zarr B03_1" in (out / "index.html").read_text()


def test_wells_and_fields_choose_and_a_second_run_skips_what_is_done(
    model: str, tmp_path: Path, capsys: Output
) -> None:
    plate, out = tmp_path / "plate.zarr", tmp_path / "out"
    write_plate(plate, {"A/1": ["0", "1"], "A/2": ["0", "1"], "B/1": ["0"]})
    common = ["predict", model, str(plate), "-o", str(out), "--resume"]
    assert main([*common, "--well", "A1,B1", "--field", "0"]) == 0
    assert [row["image"] for row in table(out / "summary.csv")] == [f"{plate} A1_0", f"{plate} B1_0"]
    assert main(common) == 0
    assert [row["status"] for row in table(out / "summary.csv")] == ["skipped", "done", "done", "done", "skipped"]
    assert main([*common, "--well", "H12"]) == 2
    assert "It has A1, A2, B1" in capsys.readouterr().err


def test_a_field_that_fails_stops_no_other(model: str, tmp_path: Path) -> None:
    plate, out = tmp_path / "plate.zarr", tmp_path / "out"
    write_plate(plate, {"A/1": ["0", "1"]})
    (plate / "A" / "1" / "0" / "0" / "zarr.json").write_text("{")
    assert main(["predict", model, str(plate), "-o", str(out)]) == 5
    assert [(row["field"], row["status"]) for row in table(out / "summary.csv")] == [("0", "failed"), ("1", "done")]


def test_all_series_of_a_file_are_images_of_a_run(
    model: str, two: tuple[Path, list[np.ndarray]], tmp_path: Path, capsys: Output
) -> None:
    path, images = two
    out = tmp_path / "out"
    assert main(["predict", model, str(path), "-o", str(out), "--series", "all"]) == 0
    known = record(next(out.glob("run_right*_provenance.json")))
    jsonschema.validate(known, json.loads(SCHEMA.read_text()))
    assert known["options"] == {"series": 1, "tiff_layout": "labelled"}
    for name, pixels in zip(("left", "right_side"), images, strict=True):
        np.testing.assert_array_equal(np.load(next(out.glob(f"run_{name}_out.npy")))[0, 0], pixels)
    assert [row["series"] for row in table(out / "summary.csv")] == ["left", "right side"]
    capsys.readouterr()
    again = next(out.glob("run_right*_provenance.json"))
    assert main(["rerun", str(again), "-o", str(tmp_path / "again")]) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_json_holds_a_record_for_each_series(
    model: str, two: tuple[Path, list[np.ndarray]], tmp_path: Path, capsys: Output, more: tuple[str, ...]
) -> None:
    arguments = ["predict", model, str(two[0]), "-o", str(tmp_path / "out"), "--series", "all", "--json", *more]
    assert main(arguments) == 0
    assert [one["inputs"][0]["series"]["number"] for one in json.loads(capsys.readouterr().out)] == [0, 1]


def test_one_series_is_predicted_and_the_default_is_the_first(
    model: str, two: tuple[Path, list[np.ndarray]], tmp_path: Path, capsys: Output
) -> None:
    path, images = two
    npy = tmp_path / "right.npy"
    assert main(["predict", model, str(path), "--npy", str(npy), "--scene", "right side"]) == 0
    np.testing.assert_array_equal(np.load(npy)[0, 0], images[1])
    assert "series  1 'right side'" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["predict", model, str(path), "-o", str(out), "--report"]) == 0
    np.testing.assert_array_equal(np.load(out / "run_out.npy")[0, 0], images[0])
    assert "not 1 'right side'" in capsys.readouterr().out
    assert "Image of the file: 0 &#39;left&#39;" in (out / "run_report.html").read_text()


def test_python_predicts_the_series_and_level_that_it_is_given(
    model: str, two: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    path, images = two
    found = predict(model, path, series="right side")
    np.testing.assert_array_equal(found.outputs["out"].array[0, 0], images[1])  # type: ignore[index]
    image = write_image(tmp_path / "a.zarr", images[0])
    found = predict(model, image, level=1)
    np.testing.assert_array_equal(found.outputs["out"].array[0, 0], images[0][::2, ::2])  # type: ignore[index]
    assert found.record["inputs"][0]["series"]["level"] == 1
    plate = tmp_path / "plate.zarr"
    written = write_plate(plate, {"A/1": ["0"], "A/2": ["0"]})
    found = predict(model, plate, well="A2", field=0)
    np.testing.assert_array_equal(found.outputs["out"].array[0, 0], written["A/2/0"])  # type: ignore[index]
    with pytest.raises(UsageError, match="2 images"):
        predict(model, plate)
    with pytest.raises(UsageError, match="array is a single image"):
        predict(model, images[0], axes="yx", series=1)


@pytest.mark.parametrize(
    "options", [["--single", "-o", "out"], ["--npy", "a.npy"], ["-o", "out", "--key-values", "a.tsv"]]
)
def test_what_is_for_a_single_image_refuses_a_plate_before_computing(
    model: str, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_plate(tmp_path / "plate.zarr", {"A/1": ["0"], "A/2": ["0"]})
    before = set(tmp_path.rglob("*"))
    assert main(["predict", model, "plate.zarr", *options]) == 2
    error = capsys.readouterr().err
    option = next(one for one in options if one in ("--single", "--npy", "--key-values"))
    assert f"{option} is for a single image, but plate.zarr holds 2." in error
    assert "--well" in error
    assert ("-o DIR" in error) == (option == "--npy")
    assert set(tmp_path.rglob("*")) == before
    assert main(["predict", model, "plate.zarr", *options, "--well", "A2"]) == 0


def test_several_files_are_refused_where_one_is_asked_for(model: str, tmp_path: Path, capsys: Output) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros((32, 32), np.float32))
    files = [str(tmp_path / name) for name in ("a.npy", "b.npy")]
    assert main(["predict", model, *files, "--single", "-o", str(tmp_path / "out")]) == 2
    assert "--single is for a single image, but 2 are given." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sheet_names_plates_and_keeps_its_columns(model: str, tmp_path: Path, capsys: Output) -> None:
    write_plate(tmp_path / "plate.zarr", {"A/1": ["0"], "A/2": ["0"]})
    sheet, out = tmp_path / "sheet.csv", tmp_path / "out"
    sheet.write_text("image,drug\nplate.zarr,none\n")
    assert main(["predict", model, str(sheet), "-o", str(out)]) == 0
    assert [(row["drug"], row["well"]) for row in table(out / "summary.csv")] == [("none", "A1"), ("none", "A2")]
    sheet.write_text("image,well\nplate.zarr,none\n")
    assert main(["predict", model, str(sheet), "-o", str(out)]) == 2
    assert "Rename the column" in capsys.readouterr().err


def test_workers_of_a_cluster_predict_the_fields_of_a_plate(model: str, tmp_path: Path) -> None:
    plate, out = tmp_path / "plate.zarr", tmp_path / "out"
    written = write_plate(plate, {"A/1": ["0"], "A/2": ["0"]})
    assert main(["predict", model, str(plate), "-o", str(out), "--dask", "local:1"]) == 0
    for path, pixels in written.items():
        np.testing.assert_array_equal(np.load(out / f"plate_{path[0]}{path[2]}_0_out.npy")[0, 0], pixels)
