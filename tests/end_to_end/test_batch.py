"""Many images in one run: each gets its files, a failed one stops no other, and all are in the table."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_inference.batch.output_files import name_files
from bioimage_inference.batch.sample_sheet import read_samples
from bioimage_inference.cli import main
from bioimage_inference.errors import UsageError
from bioimage_inference.network import loading
from tests import models
from tests.machine import open_files

ROOT = Path(__file__).parents[2]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(test_data: Path) -> str:
    return str(test_data / "demo-model.zip")


@pytest.fixture
def images(tmp_path: Path, test_data: Path) -> Path:
    """A folder with two images of nuclei, and a text file between them that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    nuclei = tifffile.imread(test_data / "nuclei.tif")
    tifffile.imwrite(folder / "a.tif", nuclei[:96, :112])
    (folder / "bad.tif").write_text("no image\n")
    np.save(folder / "c.npy", nuclei[-64:, -80:])
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# What a run yields


def test_channels_of_objects_are_checked_before_anything_is_computed(
    test_data: Path, tmp_path: Path, capsys: Output
) -> None:
    stack, out = str(test_data / "nuclei_3d.tif"), tmp_path / "out"
    assert main(["predict", str(test_data / "demo-model-3d.zip"), stack, "-o", str(out), "--segment"]) == 2
    message = capsys.readouterr().err
    assert "--object-boundary 1 is no channel of the model's output" in message
    assert "--object-boundary none" in message
    assert not out.exists()


def test_a_prediction_is_kept_where_its_objects_cannot_be_found(
    images: Path, tmp_path: Path, test_data: Path, capsys: Output
) -> None:
    model = models.write_model(tmp_path / "model", models.Identity(), *models.simple_tensors())
    values = np.zeros((40, 50), "float32")
    values[3, 4] = np.nan
    np.save(images / "holes.npy", values)
    command = ["predict", str(model), str(images / "holes.npy"), "-o", str(tmp_path / "out"), "--report"]
    assert main([*command, "--segment", "--boundary", "none"]) == 5
    assert "holds NaN or infinite values" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "holes_out.npy", "holes_out.tif", "holes_provenance.json",
    }  # fmt: skip
    assert main([*command, "--resume"]) == 0
    assert "no complete result" not in capsys.readouterr().out
    assert (tmp_path / "out/holes_report.html").is_file()


def test_objects_of_a_resized_image_have_no_intensities(model: str, images: Path, tmp_path: Path) -> None:
    np.save(images / "odd.npy", np.load(images / "c.npy")[:61, :79])
    command = ["predict", model, str(images / "odd.npy"), "-o", str(tmp_path / "out"), "--fit", "resize", "--segment"]
    assert main(command) == 0
    record = json.loads((tmp_path / "out/odd_provenance.json").read_text())
    assert record["objects"]["count"] > 0
    assert "differ in size" in record["objects"]["notes"][-1]
    assert not any("intensity" in name for name in table(tmp_path / "out/odd_objects.csv")[0])


def test_a_failed_image_stops_no_other_and_the_table_lists_all(
    model: str, images: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out"
    given = [str(images / name) for name in ("a.tif", "bad.tif", "c.npy")]
    assert main(["predict", model, *given, "-o", str(out)]) == 5
    assert sorted(path.name for path in out.iterdir()) == [
        "a_prediction.npy", "a_prediction.tif", "a_provenance.json",
        "c_prediction.npy", "c_prediction.tif", "c_provenance.json",
        "index.html", "summary.csv",
    ]  # fmt: skip
    captured = capsys.readouterr()
    assert "[bad.tif] bad.tif is a text file" in captured.err
    assert "1 image of 3 failed:" in captured.err
    assert str(out / "summary.csv") in captured.out
    a, bad, c = table(out / "summary.csv")
    assert (a["image"], a["status"], a["exit_code"], a["message"]) == (given[0], "done", "0", "")
    assert (a["axes"], a["shape"], a["dtype"], a["tiles"], a["objects"]) == ("yx", "96x112", "uint16", "1", "")
    assert a["outputs"] == "a_prediction.tif; a_prediction.npy"
    assert float(a["seconds"]) > 0
    assert (bad["status"], bad["exit_code"], bad["outputs"]) == ("failed", "5", "")
    assert "text file" in bad["message"]
    assert (c["status"], c["shape"]) == ("done", "64x80")


def test_the_columns_of_a_sample_sheet_are_in_the_table_and_the_records(
    model: str, images: Path, tmp_path: Path, test_data: Path
) -> None:
    sheet = images / "plate.csv"
    sheet.write_text("image,condition,status\na.tif,drug,checked\nnowhere.tif,control,\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["predict", model, str(sheet), str(test_data / "nuclei_timeseries.tif"), "-o", str(out)]) == 5
    rows = table(out / "summary.csv")
    assert list(rows[0])[:6] == ["image", "status", "exit_code", "message", "condition", "sample_status"]
    assert [row["condition"] for row in rows] == ["drug", "control", ""]
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[0]["sample_status"] == "checked"
    assert "Row 3 of" in rows[1]["message"]
    record = json.loads((out / "a_provenance.json").read_text(encoding="utf-8"))
    assert record["sample"] == {"condition": "drug", "status": "checked"}
    assert "sample" not in json.loads((out / "nuclei_timeseries_provenance.json").read_text(encoding="utf-8"))


def test_objects_and_reports_of_all_images(model: str, images: Path, tmp_path: Path) -> None:
    sheet = images / "plate.tsv"
    sheet.write_text("file\tcondition\na.tif\tdrug\nc.npy\tcontrol\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["predict", model, str(sheet), "-o", str(out), "--segment", "--report"]) == 0
    for row, stem in zip(table(out / "summary.csv"), "ac", strict=True):
        labels = tifffile.imread(out / f"{stem}_labels.tif")
        assert int(row["objects"]) == labels.max() > 3
        assert row["outputs"].endswith(f"{stem}_labels.tif; {stem}_objects.csv; {stem}_overlay.png")
        record = json.loads((out / f"{stem}_provenance.json").read_text(encoding="utf-8"))
        assert record["objects"]["count"] == labels.max()
        assert record["objects"]["count"] == len(
            [one for one in table(out / "objects.csv") if one["image"] == row["image"]]
        )
        assert record["sample"]["condition"] in (out / f"{stem}_report.html").read_text(encoding="utf-8")


def test_the_objects_of_all_images_are_one_table(model: str, images: Path, tmp_path: Path, test_data: Path) -> None:
    volume = tifffile.imread(test_data / "nuclei_3d.tif")[8:11]
    tifffile.imwrite(images / "deep.tif", volume, imagej=True, metadata={"axes": "ZYX"})
    sheet = images / "plate.csv"
    sheet.write_text("image,label,sample_label,dose\na.tif,left,L,5\nbad.tif,,,\ndeep.tif,deep,D,7\n", encoding="utf-8")
    out = tmp_path / "out"
    assert main(["predict", model, str(sheet), "-o", str(out), "--segment"]) == 5
    rows = table(out / "objects.csv")
    assert list(rows[0])[:6] == ["image", "sample_sample_label", "sample_label", "dose", "label", "area_px"]
    flat, deep = table(out / "a_objects.csv"), table(out / "deep_objects.csv")
    assert len(rows) == len(flat) + len(deep)
    sample = {"image": "a.tif", "sample_sample_label": "left", "sample_label": "L", "dose": "5"}
    assert rows[0] == {**dict.fromkeys(rows[0], ""), **flat[0], **sample}
    assert {name: rows[-1][name] for name in deep[0]} == deep[-1]
    assert (rows[-1]["dose"], rows[-1]["area_px"]) == ("7", "")


def test_a_crate_of_all_images(model: str, images: Path, tmp_path: Path) -> None:
    given = [str(images / name) for name in ("a.tif", "bad.tif", "c.npy")]
    out = tmp_path / "out"
    assert main(["predict", model, *given, "-o", str(out), "--ro-crate", str(out)]) == 5
    crate = json.loads((out / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert [one["@type"] for one in crate["@graph"]].count("CreateAction") == 2
    assert {"a_prediction.tif", "c_provenance.json"} <= {one["@id"] for one in crate["@graph"]}


def test_json_is_the_list_of_records(model: str, images: Path, tmp_path: Path, capsys: Output) -> None:
    given = [str(images / "a.tif"), str(images / "c.npy")]
    assert main(["predict", model, *given, "-o", str(tmp_path / "out"), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["inputs"][0]["name"] for record in records] == ["a.tif", "c.npy"]
    assert records[0] == json.loads((tmp_path / "out" / "a_provenance.json").read_text(encoding="utf-8"))


def test_a_dry_run_says_what_each_would_do_and_writes_nothing(
    model: str, images: Path, tmp_path: Path, capsys: Output
) -> None:
    given = [str(images / name) for name in ("a.tif", "bad.tif", "c.npy")]
    assert main(["predict", model, *given, "-o", str(tmp_path / "out"), "--dry-run"]) == 5
    captured = capsys.readouterr()
    assert captured.out.count("prediction: BCYX") == 2
    assert "1 image of 3 failed:" in captured.err
    assert not (tmp_path / "out").exists()


# Names


def named(tmp_path: Path, *names: str, ids: tuple[str, ...] = ("prediction",)) -> list[str]:
    samples = read_samples([str(tmp_path / name) for name in names])
    records = [files.record for files in name_files(samples, tmp_path, ids)]
    return [record.name.removesuffix("_provenance.json") for record in records if record is not None]


def test_outputs_are_called_after_the_image_as_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset_1.dat").touch()
    (tmp_path / "cells.tif").symlink_to("dataset_1.dat")
    assert named(tmp_path, "cells.tif", "x/b.ome.tiff", "c.d.png", "e.ome.zarr") == ["cells", "b", "c.d", "e"]


def test_a_mark_at_the_end_of_a_name_stays(tmp_path: Path) -> None:
    assert named(tmp_path, "cells_.tif", "cells_cells.tif", "cells.tif") == ["cells_", "cells_cells", "cells"]
    assert named(tmp_path, "a/cells_.tif", "b/cells_.tif") == ["a_cells_", "b_cells_"]


def test_images_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    assert named(tmp_path, "a/img.tif", "b/img.png", "b/other.tif") == ["a_img", "b_img", "other"]
    assert named(tmp_path, "1/a/img.tif", "1/b/img.tif", "2/b/img.tif") == ["1_a_img", "1_b_img", "2_b_img"]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("a/img.tif", "a/img.png"), ("prediction",)),
        (("a/img.tif", "b/img.tif", "a_img.tif"), ("prediction",)),
        (("a.tif", "a_b.tif"), ("b_c", "c")),
        (("a.tif",), ("x y", "x_y")),
    ],
)
def test_two_files_of_one_name_are_refused(tmp_path: Path, names: tuple[str, ...], ids: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"would both write|would have the same name"):
        named(tmp_path, *names, ids=ids)


@pytest.mark.parametrize("name", ["a_prediction.tif", "summary.csv"])
def test_what_is_given_is_not_overwritten(
    model: str, images: Path, name: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images)
    given = images / name
    given.write_text("image\na.tif\n", encoding="utf-8")
    assert main(["predict", model, *(["a.tif", name] if name.endswith("tif") else [name])]) == 2
    assert "this run reads" in capsys.readouterr().err
    assert given.read_text(encoding="utf-8") == "image\na.tif\n"


@pytest.mark.parametrize("option", ["--resume", "--report", "--segment"])
def test_named_files_and_options_that_need_a_folder(model: str, images: Path, option: str, capsys: Output) -> None:
    assert main(["predict", model, str(images / "a.tif"), "--tiff", "x.tif", option]) == 2
    assert f"{option} needs a folder for its files. Give -o DIR" in capsys.readouterr().err


# Means


def test_the_network_is_loaded_once_and_no_file_stays_open(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        np.save(tmp_path / f"{number:02}.npy", np.random.default_rng(number).integers(0, 999, (64, 64), "uint16"))
    loads = []
    load = loading.load_network

    def counting(*arguments: object) -> object:
        loads.append(arguments)
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_network", counting)
    first, *others = sorted(map(str, tmp_path.glob("*.npy")))
    assert main(["predict", model, first, others[0], "-o", str(tmp_path / "two")]) == 0
    before = open_files()
    assert main(["predict", model, first, *others, "-o", str(tmp_path / "all")]) == 0
    assert len(loads) == 2  # one for each run
    assert open_files() <= before
    assert [row["status"] for row in table(tmp_path / "all" / "summary.csv")] == ["done"] * 12


def test_a_model_that_cannot_be_loaded_is_told_once(
    test_data: Path, images: Path, tmp_path: Path, capsys: Output
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "rdf.yaml").write_bytes((test_data / "demo-model" / "rdf.yaml").read_bytes())
    given = [str(images / "a.tif"), str(images / "c.npy")]
    assert main(["predict", str(folder), *given, "-o", str(tmp_path / "out")]) == 4
    message = capsys.readouterr().err
    assert message.strip().count("\n") == 0
    assert "weights.pt" in message
