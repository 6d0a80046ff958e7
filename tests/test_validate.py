"""``validate``: a model gives here what was published with it, or does not, or cannot run; these are three verdicts."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import yaml

from bioimage_inference.cli import main
from bioimage_inference.report.reproduction import Tolerance, compare, tolerance_of

from .models import Blur, Identity, sha256, simple_tensors, write_model
from .test_inspect import change, state_dict

Output = pytest.CaptureFixture[str]


class Fails(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 1, 7, 7)


def published_model(
    folder: Path, network: torch.nn.Module, shape: tuple[int, ...] = (1, 1, 64, 64), **tensors: Any
) -> Path:
    """A model whose published output is that of its network on a random image."""
    letters = "zyx"[-len(shape) + 2 :]
    inputs, outputs = simple_tensors(letters, inputs=shape[1], **tensors)
    rdf = write_model(folder, network, inputs, outputs)
    image = np.random.default_rng(0).random(shape).astype("float32")
    np.save(folder / "test0.npy", image)
    with torch.no_grad():
        np.save(folder / "test1.npy", network(torch.from_numpy(image)).numpy())
    return rdf


def alter(path: Path, change: float, *place: int) -> None:
    array = np.load(path)
    array[place] += change
    np.save(path, array)


def validated(capsys: Output, model: Path, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code of ``validate --json``, and what it prints."""
    capsys.readouterr()
    code = main(["validate", str(model), "--json", "-o", str(folder), "--threads", "1", *arguments])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def refused(capsys: Output, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and message where nothing could be run."""
    capsys.readouterr()
    code = main(["validate", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().count("\n") == 0
    return code, captured.err


# Reproduced


def test_the_published_output_is_reproduced(tmp_path: Path, capsys: Output) -> None:
    code, found = validated(capsys, published_model(tmp_path, Blur((2, 2)), halo=4), tmp_path / "out")
    (weights,) = found["weights"]
    (output,) = weights["outputs"]
    assert (code, weights["verdict"], weights["exit_code"], weights["error"]) == (0, "reproduced", 0, None)
    assert (output["reproduced"], output["shape"], output["mismatched_per_million"]) == (True, [1, 1, 64, 64], 0)
    assert output["largest"] < 1e-6
    assert not (tmp_path / "out").exists()


def test_of_each_weights_entry(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    (tmp_path / "other.pt").write_bytes(b"damaged")
    change(rdf, weights__pytorch_state_dict={"source": "other.pt", "architecture": {"callable": "f", "source": "f.py"}})
    code, found = validated(capsys, rdf, tmp_path)
    assert code == 0  # predict uses the first, which reproduces
    assert [weights["verdict"] for weights in found["weights"]] == ["reproduced", "cannot run"]
    code, message = refused(capsys, rdf, "--weights", "pytorch_state_dict")
    assert (code, "'f.py', which is missing" in message) == (4, True)
    (tmp_path / "weights.pt").unlink()
    code, message = refused(capsys, rdf)
    assert (code, "TorchScript: " in message, "PyTorch state dict: " in message) == (4, True, True)


def test_stacks_and_several_samples(tmp_path: Path, capsys: Output) -> None:
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "z", "y", "x"]}}]
    rdf = published_model(tmp_path, Identity(), (2, 1, 16, 20, 24), preprocessing=steps)
    image = np.load(tmp_path / "test0.npy")
    axes = (1, 2, 3, 4)
    normalised = (image - image.mean(axes, keepdims=True)) / (image.std(axes, keepdims=True) + 1e-6)
    np.save(tmp_path / "test1.npy", normalised)
    code, found = validated(capsys, rdf, tmp_path)
    assert (code, found["weights"][0]["outputs"][0]["shape"]) == (0, [2, 1, 16, 20, 24])


def test_bare_weights_with_their_description(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    weights = (tmp_path / "weights.pt").rename(tmp_path / "dataset.dat")
    code, found = validated(capsys, weights, tmp_path, "--description", str(rdf))
    assert (code, found["weights"][0]["format"]) == (0, "torchscript")


@pytest.mark.parametrize(
    ("example", "outputs"),
    [
        ("unet2d_nuclei_broad/bioimageio.yaml", ["probability"]),
        ("unet2d_nuclei_broad/v0_4_9.bioimageio.yaml", ["probability"]),
        ("unet2d_multi_tensor/bioimageio.yaml", ["output0", "output1"]),
    ],
)
def test_published_examples_are_reproduced(
    shared: Path, tmp_path: Path, capsys: Output, example: str, outputs: list[str]
) -> None:
    code, found = validated(capsys, shared / "examples" / example, tmp_path, "--weights", "torchscript")
    assert code == 0
    assert [output["id"] for output in found["weights"][0]["outputs"]] == outputs
    assert all(output["largest"] < 3e-6 for output in found["weights"][0]["outputs"])


# Runs, but does not reproduce


def test_another_output_is_reported_and_shown(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path / "model", Blur((1, 1)))
    alter(tmp_path / "model" / "test1.npy", 0.25, 0, 0, 3, 5)
    folder = tmp_path / "new" / "out"
    code, found = validated(capsys, rdf, folder)
    (output,) = found["weights"][0]["outputs"]
    assert (code, found["weights"][0]["verdict"], output["reproduced"]) == (7, "differs", False)
    assert output["largest"] == pytest.approx(0.25, abs=1e-5)
    assert output["mean"] == pytest.approx(0.25 / 64**2, rel=1e-3)
    assert output["mismatched_per_million"] == pytest.approx(1e6 / 64**2)
    assert output["picture"] == str(folder / "difference_torchscript_out.png")
    picture = imageio.imread(output["picture"])
    assert picture.shape[1] > 1000

    assert main(["validate", str(rdf), "-o", str(folder)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["validate", str(rdf), "-o", str(folder), "--overwrite"]) == 7
    captured = capsys.readouterr()
    assert "out: differs; largest difference 0.25" in captured.out
    assert captured.err.startswith("Small test model runs here with its TorchScript weights, but does not give")
    assert "difference_torchscript_out.png" in captured.err


def test_one_entry_that_differs_is_enough(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    (tmp_path / "network.py").write_text("import torch\n\ndef Net():\n    return torch.nn.Conv2d(1, 1, 3, padding=1)\n")
    torch.save(torch.nn.Conv2d(1, 1, 3, padding=1).state_dict(), tmp_path / "state.pt")
    entry = {"source": "state.pt", "architecture": {"callable": "Net", "source": "network.py"}}
    code, found = validated(capsys, change(rdf, weights__pytorch_state_dict=entry), tmp_path, "--trust-model-code")
    assert (code, [one["verdict"] for one in found["weights"]]) == (7, ["reproduced", "differs"])


def test_another_shape_differs(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    np.save(tmp_path / "test1.npy", np.zeros((1, 1, 64, 32), "float32"))
    code, found = validated(capsys, rdf, tmp_path)
    (output,) = found["weights"][0]["outputs"]
    assert (code, output["expected_shape"], output["largest"]) == (7, [1, 1, 64, 32], None)
    assert main(["validate", str(rdf), "-o", str(tmp_path)]) == 7
    assert "has the shape 1×1×64×64, expected was 1×1×64×32" in capsys.readouterr().out


def test_a_picture_that_cannot_be_written(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    alter(tmp_path / "test1.npy", 1, 0, 0, 0, 0)
    code, message = refused(capsys, rdf, "-o", rdf / "folder")
    assert (code, "cannot be written" in message) == (2, True)


# By which tolerance


def test_the_tolerance_of_the_description_counts(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    alter(tmp_path / "test1.npy", 0.25, 0, 0, 3, 5)
    own = {"absolute_tolerance": 0.3, "output_ids": ["out"], "weights_formats": ["torchscript"]}
    change(rdf, config={"bioimageio": {"reproducibility_tolerance": [own]}})
    code, found = validated(capsys, rdf, tmp_path)
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    assert (code, tolerance["absolute"], tolerance["source"]) == (0, 0.3, "the description")


@pytest.mark.parametrize(
    ("version", "zoo", "expected"),
    [
        ("0.5.4", {}, (1e-3, 1e-3, 100)),
        ("0.4.10", {}, (1e-3, 1e-3, 0)),
        ("0.5.4", {"reproducibility_tolerance": [{"absolute_tolerance": 0.1}]}, (0.1, 1e-3, 100)),
        ("0.5.4", {"reproducibility_tolerance": [{"absolute_tolerance": 0.1, "output_ids": ["b"]}]}, (1e-3, 1e-3, 100)),
        ("0.5.4", {"reproducibility_tolerance": [{"weights_formats": ["onnx"]}]}, (1e-3, 1e-3, 100)),
        (
            "0.5.4",
            {"reproducibility_tolerance": [{"relative_tolerance": "much"}, {"mismatched_elements_per_million": 7}]},
            (1e-3, 1e-3, 7),
        ),
        ("0.4.10", {"test_kwargs": {"torchscript": {"decimals": 2}}}, (0.015, 0, 0)),
        ("0.4.10", {"test_kwargs": {"torchscript": {"relative_tolerance": 0.01}}}, (1e-3, 0.01, 0)),
        ("0.4.10", {"test_kwargs": {"pytorch_state_dict": {"decimals": 2}}}, (1e-3, 1e-3, 0)),
        ("0.4.10", None, (1e-3, 1e-3, 0)),
    ],
)
def test_whose_tolerance_applies(version: str, zoo: Any, expected: tuple[float, float, float]) -> None:
    found = tolerance_of({"config": {"bioimageio": zoo}}, version, "torchscript", "a")
    assert (found.absolute, found.relative, found.per_million) == pytest.approx(expected)


def test_values_that_are_no_numbers_agree_only_with_each_other() -> None:
    nan, inf = np.nan, np.inf
    got, expected = np.array([nan, nan, inf, -inf, 1.0]), np.array([nan, 0.0, inf, inf, 3.0])
    found = compare(got, expected, Tolerance(1e9, 0.1, 0, ""))
    assert (found.mismatched_per_million, found.largest, found.worst) == (400_000, 2, (1,))


def test_so_many_elements_of_a_million_may_differ() -> None:
    got, expected = np.zeros(10_000), np.zeros(10_000)
    got[:3] = 1
    assert compare(got, expected, Tolerance(1e-3, 1e-3, 0, "")).mismatched_per_million == 300
    assert compare(got, expected + 1, Tolerance(0.5, 0.5, 0, "")).mismatched_per_million == 0


# Whole and tiled


@pytest.mark.parametrize(
    ("radius", "halo", "found"),
    [
        (3, 4, "agree with the whole to"),
        (12, 4, "the declared halo of 4 px is too short"),
        (20, 0, "no halo is declared, and "),
    ],
)
def test_tiles_beside_the_whole(tmp_path: Path, capsys: Output, radius: int, halo: int, found: str) -> None:
    rdf = published_model(tmp_path, Blur((radius, radius)), halo=halo)
    code, record = validated(capsys, rdf, tmp_path)
    tiles = record["weights"][0]["tiles"]
    assert code == 0  # the whole decides
    assert (tiles["count"] > 3, tiles["declared"]) == (True, bool(halo))
    assert tiles["agrees"]["out"] == (radius <= halo)
    assert main(["validate", str(rdf), "--threads", "1", "-o", str(tmp_path)]) == 0
    assert found in capsys.readouterr().out


def test_a_fixed_size_has_no_tiles(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)), size={"y": 64, "x": 64})
    _, record = validated(capsys, rdf, tmp_path)
    assert record["weights"][0]["tiles"] is None


# Cannot run


def test_code_that_nobody_vouched_for_is_not_run(tmp_path: Path, capsys: Output) -> None:
    code, message = refused(capsys, state_dict(tmp_path, "class Net: pass\n"))
    assert (code, "--trust-model-code" in message) == (3, True)


def test_a_network_that_fails(tmp_path: Path, capsys: Output) -> None:
    inputs, outputs = simple_tensors()
    code, message = refused(capsys, write_model(tmp_path, Fails(), inputs, outputs))
    assert (code, "The network failed" in message) == (4, True)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda folder: (folder / "test1.npy").unlink(), "'test1.npy', which is missing"),
        (lambda folder: (folder / "test0.npy").write_bytes(b"no array"), "test0.npy cannot be read"),
        (lambda folder: np.save(folder / "test0.npy", np.array([{}], object)), "test0.npy cannot be read"),
        (lambda folder: np.save(folder / "test0.npy", np.zeros((64, 64))), "do not fit its description"),
        (lambda folder: np.save(folder / "test0.npy", np.zeros((1, 1, 63, 64))), "do not fit its description"),
        (lambda folder: (folder / "weights.pt").unlink(), "'weights.pt', which is missing"),
    ],
)
def test_what_is_broken_in_a_package(tmp_path: Path, capsys: Output, damage: Any, found: str) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    damage(tmp_path)
    code, message = refused(capsys, rdf)
    assert (code, found in message) == (4, True), message


def test_a_test_tensor_with_another_hash_is_refused(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    change(rdf, inputs__0__test_tensor__sha256=sha256(tmp_path / "test0.npy"))
    assert validated(capsys, rdf, tmp_path)[0] == 0
    alter(tmp_path / "test0.npy", 1, 0, 0, 0, 0)
    code, message = refused(capsys, rdf)
    assert (code, "test0.npy is not the file that the description means" in message) == (4, True)


def test_what_the_user_got_wrong(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    code, message = refused(capsys, rdf, "--weights", "pytorch_state_dict")
    assert (code, "it offers torchscript" in message) == (2, True)
    code, message = refused(capsys, rdf, "--device", "tpu")
    assert (code, "--device tpu is not known" in message) == (2, True)


def test_a_model_for_other_programs(tmp_path: Path, capsys: Output) -> None:
    rdf = change(published_model(tmp_path, Blur((1, 1))), weights={"onnx": {"source": "weights.onnx"}})
    code, message = refused(capsys, rdf)
    assert (code, "only onnx weights" in message) == (4, True)
    assert yaml.safe_load(rdf.read_text())["weights"].keys() == {"onnx"}
