"""``--resume``: what is complete is not computed again, and whatever differs makes an image incomplete."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bioimage_inference.cli import main
from tests.end_to_end.test_batch import ROOT, table
from tests.machine import wait_until

Output = pytest.CaptureFixture[str]


@pytest.fixture
def model(test_data: Path) -> str:
    return str(test_data / "demo-model.zip")


@pytest.fixture
def folder(tmp_path: Path, test_data: Path) -> Path:
    """Two images and a sample sheet that lists them."""
    nuclei = tifffile.imread(test_data / "nuclei.tif")
    tifffile.imwrite(tmp_path / "a.tif", nuclei[:96, :112])
    np.save(tmp_path / "b.npy", nuclei[-64:, -80:])
    (tmp_path / "plate.csv").write_text("image,condition\na.tif,drug\nb.npy,control\n", encoding="utf-8")
    return tmp_path


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in table(folder / "out" / "summary.csv")]


def predict(model: str, folder: Path, *options: str) -> int:
    return main(["predict", model, str(folder / "plate.csv"), "-o", str(folder / "out"), *options])


@pytest.fixture
def complete(model: str, folder: Path) -> Path:
    """The folder after a whole run."""
    assert predict(model, folder) == 0
    return folder


def times(folder: Path) -> dict[str, int]:
    tables = ("summary.csv", "index.html")  # written by every run
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out").iterdir() if path.name not in tables}


def test_what_is_complete_is_skipped_and_listed(model: str, complete: Path, capsys: Output) -> None:
    before = times(complete)
    assert predict(model, complete, "--resume", "--threads", "1", "--memory", "3GiB") == 0
    assert times(complete) == before
    assert "[a.tif] is complete already" in capsys.readouterr().out
    a, b = table(complete / "out" / "summary.csv")
    assert (a["status"], b["status"]) == ("skipped", "skipped")
    assert (a["shape"], a["condition"], a["outputs"]) == ("96x112", "drug", "a_prediction.tif; a_prediction.npy")
    assert "complete already" in (complete / "out" / "index.html").read_text(encoding="utf-8")


def test_without_resume_everything_is_computed_anew(model: str, complete: Path) -> None:
    before = times(complete)
    assert predict(model, complete) == 0
    assert not set(times(complete).values()) & set(before.values())


def test_a_moved_folder_is_still_complete(
    model: str, complete: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Output
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(complete, elsewhere)
    shutil.rmtree(complete)
    assert predict(model, elsewhere, "--resume", "--report", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert records[0]["outputs"][0]["tiff"] == str(elsewhere / "out" / "a_prediction.tif")
    assert records[0]["inputs"][0]["file"] == str(elsewhere / "a.tif")


def change_image(folder: Path) -> None:
    image = tifffile.imread(folder / "a.tif")
    image[0, 0] += 1
    tifffile.imwrite(folder / "a.tif", image)


def remove_output(folder: Path) -> None:
    (folder / "out" / "a_prediction.npy").unlink()


def damage_output(folder: Path) -> None:
    path = folder / "out" / "a_prediction.tif"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def remove_record(folder: Path) -> None:
    (folder / "out" / "a_provenance.json").unlink()


def damage_record(folder: Path) -> None:
    (folder / "out" / "a_provenance.json").write_text('{"schema": ', encoding="utf-8")


def old_record(folder: Path) -> None:
    (folder / "out" / "a_provenance.json").write_text('{"model": {}}', encoding="utf-8")


def record_without_keys(folder: Path) -> None:
    path = folder / "out" / "a_provenance.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({key: record[key] for key in ("schema", "model")}), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_image, "a.tif has changed"),
        (remove_output, "a_prediction.npy is not there"),
        (damage_output, "a_prediction.tif has changed"),
        (remove_record, "there is no record of it"),
        (damage_record, "its record cannot be read"),
        (old_record, "its record cannot be read (it names no schema)"),
        (record_without_keys, "its record cannot be read (it is incomplete or damaged: started is missing)"),
    ],
)
def test_what_is_not_complete_is_computed_and_why(
    model: str, complete: Path, change: object, reason: str, capsys: Output
) -> None:
    change(complete)  # type: ignore[operator]
    capsys.readouterr()
    assert predict(model, complete, "--resume") == 0
    assert statuses(complete) == ["done", "skipped"]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "no complete result" in line]
    assert line.startswith("[a.tif] has no complete result: ")
    assert reason in line
    assert predict(model, complete, "--resume") == 0
    assert statuses(complete) == ["skipped", "skipped"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [(["--border", "mirror"], "another --image-border"), (["--tiff-layout", "pages"], "another --tiff-layout")],
)
def test_other_options_give_other_results(
    model: str, complete: Path, options: list[str], reason: str, capsys: Output
) -> None:
    assert predict(model, complete, "--resume", *options) == 0
    assert statuses(complete) == ["done", "done"]
    assert reason in capsys.readouterr().out


def test_another_model_gives_other_results(test_data: Path, complete: Path, capsys: Output) -> None:
    twin = str(test_data / "demo-model" / "rdf_v0_4.yaml")
    assert predict(twin, complete, "--resume") == 0
    assert statuses(complete) == ["done", "done"]
    assert "computed with another model" in capsys.readouterr().out


def test_only_what_is_lacking_is_done(model: str, complete: Path) -> None:
    """Objects and reports are added to a prediction that is there, and metadata corrected in the sheet are taken."""
    prediction = times(complete)["a_prediction.tif"]
    assert predict(model, complete, "--resume", "--segment", "--report") == 0
    assert statuses(complete) == ["done", "done"]
    assert predict(model, complete, "--resume", "--segment", "--report") == 0
    assert statuses(complete) == ["skipped", "skipped"]
    labels = times(complete)["a_labels.tif"]
    (complete / "plate.csv").write_text("image,condition\na.tif,drug B\nb.npy,control\n", encoding="utf-8")
    assert predict(model, complete, "--resume", "--segment", "--report") == 0
    assert statuses(complete) == ["done", "skipped"]
    assert "drug B" in (complete / "out" / "a_report.html").read_text(encoding="utf-8")
    assert json.loads((complete / "out" / "a_provenance.json").read_text(encoding="utf-8"))["sample"] == {
        "condition": "drug B"
    }
    assert times(complete)["a_labels.tif"] == labels
    assert predict(model, complete, "--resume", "--segment", "--threshold", "0.7") == 0
    assert statuses(complete) == ["done", "done"]
    assert times(complete)["a_labels.tif"] != labels
    assert times(complete)["a_prediction.tif"] == prediction


def test_an_interrupted_run_says_how_far_it_came_and_goes_on(model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 255, (64, 64), "uint8"))
    np.save(tmp_path / "b.npy", np.random.default_rng(0).integers(0, 255, (6000, 6000), "uint8"))
    command = [sys.executable, "-m", "bioimage_inference", "predict", model, str(tmp_path / "a.npy")]
    command += [str(tmp_path / "b.npy"), "-o", str(out), "--axes", "yx", "--threads", "1"]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: any(out.glob(".b_prediction*partial")), "the second image is being predicted")
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130, message
    assert "Interrupted after 1 of 2 images" in message
    assert [row["status"] for row in table(out / "summary.csv")] == ["done"]
    assert "1 not reached" in (out / "index.html").read_text(encoding="utf-8")
    assert not list(out.glob("*b_*")) + list(out.glob(".*partial"))
    np.save(tmp_path / "b.npy", np.zeros((64, 64), "uint8"))
    assert main([*command[3:], "--resume"]) == 0
    assert [row["status"] for row in table(out / "summary.csv")] == ["skipped", "done"]


def test_a_single_image_resumes_as_well(model: str, folder: Path, capsys: Output) -> None:
    arguments = ["predict", model, str(folder / "a.tif"), "-o", str(folder / "out"), "--resume"]
    assert main(arguments) == 0
    before = times(folder)
    capsys.readouterr()
    assert main(arguments) == 0
    assert times(folder) == before
    assert "[a.tif] is complete already" in capsys.readouterr().out
