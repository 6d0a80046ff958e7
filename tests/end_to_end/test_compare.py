"""``compare``: several models on an image, with and without true objects; models that fail or prove nothing."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from bioimage_inference import segment
from bioimage_inference.cli import main

from ..models import Identity, simple_tensors, write_model

Output = pytest.CaptureFixture[str]


class Nothing(torch.nn.Module):
    """A foreground of zeros."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x


class Everything(torch.nn.Module):
    """A foreground of ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x + 1


class Bright(torch.nn.Module):
    """Numbers of objects: vertical stripes, 8 pixels wide, where the image is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(x.shape[-1], device=x.device).div(8, rounding_mode="floor") + 1
        return (x > x.mean()) * columns.to(x.dtype)


def _model(folder: Path, network: torch.nn.Module) -> str:
    folder.mkdir()
    return str(write_model(folder, network, *simple_tensors("yx")))


@pytest.fixture(scope="module")
def models(test_data: Path) -> list[str]:
    return [str(test_data / name) for name in ("demo-model.zip", "threshold-model.zip")]


@pytest.fixture
def small(test_data: Path, tmp_path: Path) -> Path:
    """A part of the sample image, so that tests are quick."""
    path = tmp_path / "small.tif"
    tifffile.imwrite(path, tifffile.imread(test_data / "nuclei.tif")[:128, :160], metadata={"axes": "YX"})
    return path


def test_two_models_without_truth(models: list[str], small: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["compare", str(small), "--models", *models, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "[small.tif] compared on the whole image of 128×160 pixels" in printed
    assert "Demo U-Net for nuclei: consistency" in printed
    assert re.search(r"Demo U-Net for nuclei is recommended|Too close to call between", printed)
    assert "A consistent model can still be wrong" in printed
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert page.count('src="data:image/png') == 3  # the image, and a panel for each model
    assert "<script" not in page
    rows = list(csv.DictReader((tmp_path / "out" / "comparison.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert {row["licence"] for row in rows} == {"MIT"}
    assert float(rows[0]["consistency"]) >= float(rows[1]["consistency"])
    assert float(rows[0]["consistency_low"]) <= float(rows[0]["consistency"]) <= float(rows[0]["consistency_high"])
    assert all(float(row["crop_seconds"]) > 0 and int(row["memory_bytes"]) > 1e8 for row in rows)


def test_true_objects(models: list[str], small: Path, tmp_path: Path, capsys: Output) -> None:
    """The demo model's own objects as the truth: it is right by definition, and the threshold is not."""
    from bioimage_inference import predict

    labels = segment(predict(models[0], small)).labels
    tifffile.imwrite(tmp_path / "labels.tif", labels.astype(np.uint16), metadata={"axes": "YX"})
    arguments = ["compare", str(small), "--models", *models, "--truth", str(tmp_path / "labels.tif"), "--json"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"] == "Demo U-Net for nuclei"
    best, other = found["models"]
    assert best["average_precision"] == best["iou"] == best["f1_0.9"] == 1
    assert other["f1_0.5"] < 0.9
    assert other["f1_0.9"] <= other["f1_0.5"]
    assert found["kendall_tau"] in (1, -1, None)
    assert "true objects" in (tmp_path / "comparison.html").read_text()
    wrong = ["compare", str(small), str(small), "--models", *models, "--truth", str(tmp_path / "labels.tif")]
    assert main([*wrong, "-o", str(tmp_path / "wrong")]) == 2
    assert "Give one label map for each image" in capsys.readouterr().err


def test_models_that_prove_nothing_never_win(models: list[str], small: Path, tmp_path: Path, capsys: Output) -> None:
    """A model that finds nothing is perfectly consistent; so is a model that takes the whole image for an object."""
    nothing, everything = _model(tmp_path / "nothing", Nothing()), _model(tmp_path / "everything", Everything())
    arguments = ["compare", str(small), "--models", nothing, everything, models[1], "--json", "-o", str(tmp_path)]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["problem"] for one in found["models"]] == [
        None,
        "found no objects",
        "took almost the whole crop for one object",
    ]
    assert found["recommended"] is None
    assert found["verdict"] == "Local threshold has no rival here. Only this model gave objects that can be judged."
    assert main(["compare", str(small), "--models", nothing, "--json", "-o", str(tmp_path), "--overwrite"]) == 0
    assert "No model is recommended" in json.loads(capsys.readouterr().out)["verdict"]


def test_the_same_model_twice_is_too_close_to_call(
    models: list[str], small: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["compare", str(small), "--models", models[0], models[0], "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Too close to call between Demo U-Net for nuclei and Demo U-Net for nuclei (2)." in printed
    assert "F1 of 1.00 at an IoU of 0.5, so it matters little which you take" in printed


def test_a_model_that_fails_stops_no_other(models: list[str], small: Path, tmp_path: Path, capsys: Output) -> None:
    untouched = _model(tmp_path / "image", Identity())
    labels = _model(tmp_path / "labels", Bright())
    missing = str(tmp_path / "missing.zip")
    volumes = str(Path(models[0]).with_name("demo-model-3d.zip"))
    arguments = ["compare", str(small), "--models", missing, untouched, volumes, labels, models[0], "--json"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    found = {
        Path(one["source"]).parent.name or one["source"]: one for one in json.loads(capsys.readouterr().out)["models"]
    }
    problems = {one["source"]: one["problem"] for one in found.values()}
    assert "no file or folder" in problems[missing]
    assert "neither probabilities (0 to 1) nor numbers of objects" in problems[untouched]
    assert found["labels"]["found_in"] == "label map"
    assert found["labels"]["rank"] is not None
    assert "did not run" in (tmp_path / "comparison.html").read_text()


def test_if_no_model_runs_the_exit_code_is_the_first_failure(
    test_data: Path, small: Path, tmp_path: Path, capsys: Output
) -> None:
    untouched = _model(tmp_path / "image", Identity())
    out = tmp_path / "out"
    assert main(["compare", str(small), "--models", untouched, str(tmp_path / "none.zip"), "-o", str(out)]) == 4
    assert "None of the 2 models ran." in capsys.readouterr().err
    assert not out.exists()
    assert main(["compare", str(small), "--models", str(tmp_path / "none.zip"), "-o", str(out)]) == 2
    untrusted = test_data.parent / "tools" / "bioimage_inference" / "test-data" / "with_code.zip"
    assert main(["compare", str(small), "--models", str(untrusted), "-o", str(out)]) == 3


def test_models_are_needed(small: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["compare", str(small)]) == 2
    assert "Name them with --models" in capsys.readouterr().err
    assert main(["compare", str(small), "--search", "nuclei fluorescence", "-o", str(tmp_path)]) == 2
    assert "No model in the cache has all the words 'nuclei fluorescence'" in capsys.readouterr().err


def test_a_stack_in_a_crop(test_data: Path, tmp_path: Path, capsys: Output) -> None:
    """A model of volumes and a model of planes, on a part of a stack."""
    models = [str(test_data / name) for name in ("demo-model-3d.zip", "demo-model.zip")]
    arguments = ["compare", str(test_data / "nuclei_3d.tif"), "--models", *models, "--crop", "64", "--stitch"]
    assert main([*arguments, "--json", "-o", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["crops"][0]["size"] == {"z": 24, "y": 64, "x": 64}
    assert "flip along z" in found["perturbations"]
    assert all(one["objects"] for one in found["models"])
    assert any("For stacks the ranking is weak" in one for one in found["cautions"])


def test_earlier_results_are_not_replaced_unasked(
    models: list[str], small: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "comparison.html").write_text("mine")
    arguments = ["compare", str(small), "--models", models[1], "-o", str(tmp_path)]
    assert main(arguments) == 2
    assert (tmp_path / "comparison.html").read_text() == "mine"
    assert main([*arguments, "--overwrite", "--crop", "64", "--quiet"]) == 0
    assert "64×64 pixels" in (tmp_path / "comparison.html").read_text()


def test_search_finds_models_in_the_cache(
    models: list[str], small: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioimage_inference.zoo.model_cache.is_cached", lambda name: name == "affable-shark")
    search = ["--search", "Nuclei boundary", "--models", models[1], "--offline", "--crop", "64", "--json"]
    assert main(["compare", str(small), *search, "-o", str(tmp_path)]) == 0
    found = {one["source"]: one["problem"] for one in json.loads(capsys.readouterr().out)["models"]}
    assert set(found) == {models[1], "affable-shark"}
    assert found[models[1]] is None
    assert found["affable-shark"]  # the cache of the tests is empty
