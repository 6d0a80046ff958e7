"""``validate``: a model gives here what was published with it, or does not, or cannot run, or nobody can decide."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import yaml

from bioimage_inference.cli import main
from bioimage_inference.model.spec import ModelSpec, TensorSpec
from bioimage_inference.reproduction.comparison import compare
from bioimage_inference.reproduction.tolerance import Tolerance, tolerance_of

from ..models import Blur, Identity, sha256, simple_tensors, write_model
from .test_inspect import change, state_dict

Output = pytest.CaptureFixture[str]


class Labels(torch.nn.Module):
    """Whole numbers from 0 to 999, as if they were numbers of objects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.floor(1000 * x)


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


def labels_model(folder: Path, *entries: Any) -> Path:
    """A model of format 0.5.14 whose output are labels, with these entries of ``reproducibility_tolerance``."""
    rdf = published_model(folder, Labels(), postprocessing=[{"id": "ensure_dtype", "kwargs": {"dtype": "uint16"}}])
    np.save(folder / "test1.npy", np.load(folder / "test1.npy").astype("uint16"))
    return with_tolerances(change(rdf, outputs__0__data={"type": "uint16"}), *entries)


def with_tolerances(rdf: Path, *entries: Any) -> Path:
    config = {"bioimageio": {"reproducibility_tolerance": list(entries)}} if entries else {}
    return change(rdf, format_version="0.5.14", config=config)


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
    assert [weights["verdict"] for weights in found["weights"]] == ["reproduced", "cannot run"]
    assert [weights["exit_code"] for weights in found["weights"]] == [0, 4]
    assert code == 4
    assert validated(capsys, rdf, tmp_path, "--weights", "torchscript")[0] == 0
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
    assert (code, "cannot be made" in message) == (2, True)
    (tmp_path / "difference_torchscript_out.png").mkdir()
    code, message = refused(capsys, rdf, "-o", tmp_path)
    assert (code, "a folder has that name" in message) == (2, True)


def test_a_folder_without_pictures_is_not_kept(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    assert main(["validate", str(rdf), "-o", str(tmp_path / "pictures")]) == 0
    assert not (tmp_path / "pictures").exists()
    alter(tmp_path / "test1.npy", 1, 0, 0, 0, 0)
    assert main(["validate", str(rdf), "-o", str(tmp_path / "pictures")]) == 7
    assert len(list((tmp_path / "pictures").iterdir())) == 1


# By which tolerance


def test_the_tolerance_of_the_description_counts(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    alter(tmp_path / "test1.npy", 0.002, 0, 0, 3, 5)
    assert validated(capsys, rdf, tmp_path)[0] == 7
    own = {"absolute_tolerance": 0.003, "output_ids": ["out"], "weights_formats": ["torchscript"]}
    change(rdf, config={"bioimageio": {"reproducibility_tolerance": [own]}})
    code, found = validated(capsys, rdf, tmp_path, "--overwrite")
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    assert (code, tolerance["absolute"], tolerance["source"]) == (0, 0.003, "the description")


@pytest.mark.parametrize(
    "entries", [(), ({"output_ids": "any_continuous_output"}, {"output_ids": "any_discrete_output"})]
)
@pytest.mark.parametrize(("pixels", "code"), [(4, 0), (5, 7)])
def test_labels_are_the_same_but_for_a_thousandth_of_the_pixels(
    tmp_path: Path, capsys: Output, entries: tuple[Any, ...], pixels: int, code: int
) -> None:
    """Of 4096 pixels; the relative tolerance of other outputs would forgive a label of 999 in place of 1000."""
    rdf = labels_model(tmp_path, *entries)
    labels = np.load(tmp_path / "test1.npy").ravel()
    labels[np.argsort(labels)[-pixels:]] += 1
    np.save(tmp_path / "test1.npy", labels.reshape(1, 1, 64, 64))
    found, record = validated(capsys, rdf, tmp_path)
    (output,) = record["weights"][0]["outputs"]
    assert (found, output["tolerance"]["per_million"], output["tolerance"]["relative"]) == (code, 1000, 0)
    assert output["mismatched_per_million"] == pytest.approx(1e6 * pixels / 64**2)


def test_a_stricter_tolerance_for_all_floats_counts(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    np.save(tmp_path / "test1.npy", np.load(tmp_path / "test1.npy") + np.float32(5e-4))
    assert validated(capsys, rdf, tmp_path)[0] == 0
    strict = {"absolute_tolerance": 1e-5, "relative_tolerance": 0}
    discrete = {"output_ids": "any_discrete_output"}
    with_tolerances(rdf, discrete, {"output_ids": "any_continuous_output", **strict})
    code, found = validated(capsys, rdf, tmp_path)
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    assert (code, tolerance["absolute"], tolerance["relative"], tolerance["per_million"]) == (7, 1e-5, 0, 100)


@pytest.mark.parametrize(
    ("unreadable", "reason"),
    [
        ({"absolute_tolerance": "tiny"}, "absolute_tolerance is 'tiny'; expected is a number of at least 0"),
        ({"absolute_tolerance": -1e-5}, "absolute_tolerance is -1e-05"),
        ({"absolute_tolerance": float("nan")}, "absolute_tolerance is nan"),
        ({"absolute_tolerance": None}, "absolute_tolerance is None"),
        ({"absolute_tolerance": True}, "absolute_tolerance is True"),
        ({"relative_tolerance": 0.02}, "relative_tolerance is 0.02; expected is a number from 0 to 0.01"),
        ({"mismatched_elements_per_million": 30_001}, "expected is a number from 0 to 30000"),
        ({"absolute_tolerence": 1e-5}, "the key 'absolute_tolerence' is not known"),
        ({"output_ids": ["prediction"]}, "output_ids names 'prediction'; known are out, any_discrete_output"),
        ({"output_ids": {"out": 1}}, "output_ids is {'out': 1}; expected is a list"),
        ({"weights_formats": ["pytorch"]}, "weights_formats names 'pytorch'"),
        ({"weights_formats": [["torchscript"]]}, "weights_formats names ['torchscript']"),
        ("strict", "it is 'strict', not a mapping"),
    ],
)
def test_an_entry_that_cannot_be_read_leaves_it_undecided(
    tmp_path: Path, capsys: Output, unreadable: Any, reason: str
) -> None:
    """Its authors may have asked for more than the default does."""
    rdf = with_tolerances(published_model(tmp_path, Blur((1, 1))), unreadable)
    code, found = validated(capsys, rdf, tmp_path)
    (weights,) = found["weights"]
    (output,) = weights["outputs"]
    assert (code, weights["verdict"], weights["exit_code"], weights["error"]) == (4, "undecided", 4, None)
    assert (output["verdict"], output["reproduced"]) == ("undecided", False)
    assert (output["tolerance"]["certain"], output["tolerance"]["absolute"]) == (False, 1e-3)
    (note,) = output["tolerance"]["notes"]
    assert note.startswith("Entry 1 of reproducibility_tolerance cannot be read: ")
    assert reason in note
    assert note.endswith(". It is left out.")

    assert main(["validate", str(rdf), "-o", str(tmp_path)]) == 4
    captured = capsys.readouterr()
    assert "  output    out: undecided; largest difference" in captured.out
    assert f"  note      {note}" in captured.out
    assert captured.err.startswith("Small test model runs here with its TorchScript weights, and its outputs agree")
    assert note in captured.err
    assert not list(tmp_path.glob("*.png"))


def test_tolerances_that_are_no_list(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    change(rdf, config={"bioimageio": {"reproducibility_tolerance": {"absolute_tolerance": 0}}})
    code, found = validated(capsys, rdf, tmp_path)
    (note,) = found["weights"][0]["outputs"][0]["tolerance"]["notes"]
    assert (code, "is not a list. It is left out." in note) == (4, True)


def test_old_keywords_that_cannot_be_read(tmp_path: Path, capsys: Output) -> None:
    rdf = published_model(tmp_path, Blur((1, 1)))
    for kwargs, reason in (
        ({"torchscript": {"decimals": "five"}}, "decimals is 'five'"),
        ({"torchscript": "five"}, "'five' is not a mapping"),
        ("five", "'five' is not a mapping"),
    ):
        change(rdf, config={"bioimageio": {"test_kwargs": kwargs}})
        code, found = validated(capsys, rdf, tmp_path)
        (note,) = found["weights"][0]["outputs"][0]["tolerance"]["notes"]
        assert (code, note) == (4, f"test_kwargs cannot be read: {reason}. It is left out.")


def test_what_differs_does_so_whatever_cannot_be_read(tmp_path: Path, capsys: Output) -> None:
    rdf = with_tolerances(published_model(tmp_path, Blur((1, 1))), {"absolute_tolerance": "tiny"})
    alter(tmp_path / "test1.npy", 0.25, 0, 0, 3, 5)
    assert main(["validate", str(rdf), "-o", str(tmp_path)]) == 7
    captured = capsys.readouterr()
    assert "Entry 1 of reproducibility_tolerance cannot be read" in captured.out
    assert "A tolerance in the description cannot be read." in captured.err


@pytest.mark.parametrize(
    ("entries", "number"),
    [
        (({"absolute_tolerance": 1e-4}, {"absolute_tolerance": "tiny"}), 2),
        (({"absolute_tolerance": "tiny", "weights_formats": ["onnx"]}, {"absolute_tolerance": 1e-4}), 1),
        (({"absolute_tolerance": "tiny", "output_ids": "any_discrete_output"}, {"absolute_tolerance": 1e-4}), 1),
    ],
)
def test_an_entry_that_cannot_be_read_and_does_not_apply_is_only_mentioned(
    tmp_path: Path, capsys: Output, entries: tuple[Any, ...], number: int
) -> None:
    rdf = with_tolerances(published_model(tmp_path, Blur((1, 1))), *entries)
    code, found = validated(capsys, rdf, tmp_path)
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    assert (code, tolerance["absolute"], tolerance["certain"]) == (0, 1e-4, True)
    (note,) = tolerance["notes"]
    assert note.startswith(f"Entry {number} of reproducibility_tolerance cannot be read: absolute_tolerance is 'tiny'")
    assert note.endswith("It does not count for this output.")


def test_no_more_is_forgiven_than_the_format_allows(tmp_path: Path, capsys: Output) -> None:
    """Else a large absolute tolerance would forgive anything, and labels would be compared as if they were amounts."""
    rdf = with_tolerances(published_model(tmp_path / "floats", Blur((1, 1))), {"absolute_tolerance": 1000})
    alter(tmp_path / "floats" / "test1.npy", 0.25, 0, 0, 3, 5)
    code, found = validated(capsys, rdf, tmp_path)
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    largest = float(np.load(tmp_path / "floats" / "test1.npy").max())
    assert (code, tolerance["absolute"]) == (7, pytest.approx(0.01 * largest))
    assert "has the absolute_tolerance 1000. The format allows" in tolerance["notes"][0]

    rdf = labels_model(tmp_path / "labels", {"absolute_tolerance": 1000, "mismatched_elements_per_million": 500})
    code, found = validated(capsys, rdf, tmp_path / "out")
    tolerance = found["weights"][0]["outputs"][0]["tolerance"]
    assert (code, tolerance["absolute"], tolerance["relative"], tolerance["per_million"]) == (0, 0, 0, 500)
    assert tolerance["notes"] == [
        "Entry 1 of reproducibility_tolerance has the absolute_tolerance 1000. The format allows 0 for integers and "
        "booleans; 0 counts."
    ]


@pytest.mark.parametrize(
    ("version", "zoo", "expected"),
    [
        ("0.5.4", {}, (1e-3, 1e-3, 100)),
        ("0.4.10", {}, (1e-3, 1e-3, 0)),
        ("0.5.4", {"reproducibility_tolerance": [{"absolute_tolerance": 0.1}]}, (0.1, 1e-3, 100)),
        ("0.5.4", {"reproducibility_tolerance": [{"absolute_tolerance": "1e-05"}]}, (1e-5, 1e-3, 100)),
        ("0.5.4", {"reproducibility_tolerance": [{"absolute_tolerance": 0.1, "output_ids": ["b"]}]}, (1e-3, 1e-3, 100)),
        ("0.5.4", {"reproducibility_tolerance": [{"weights_formats": ["onnx"]}]}, (1e-3, 1e-3, 100)),
        (
            "0.5.4",
            {"reproducibility_tolerance": [{"relative_tolerance": "much"}, {"mismatched_elements_per_million": 7}]},
            (1e-3, 1e-3, 7),
        ),
        (
            "0.5.4",
            {
                "reproducibility_tolerance": [
                    {"absolute_tolerance": 0.1},
                    {"output_ids": ["a"]},
                ]
            },
            (0.1, 1e-3, 100),
        ),
        ("0.5.4", {"test_kwargs": {"torchscript": {"relative_tolerance": 0.01}}}, (1e-3, 0.01, 100)),
        ("0.4.10", {"test_kwargs": {"torchscript": {"decimals": 2}}}, (0.015, 0, 0)),
        ("0.4.10", {"test_kwargs": {"torchscript": {"relative_tolerance": 0.01}}}, (1e-3, 0.01, 0)),
        ("0.4.10", {"test_kwargs": {"torchscript": {"stop_early": True}}}, (1e-3, 1e-3, 0)),
        ("0.4.10", {"test_kwargs": {"pytorch_state_dict": {"decimals": 2}}}, (1e-3, 1e-3, 0)),
        ("0.4.10", None, (1e-3, 1e-3, 0)),
    ],
)
def test_whose_tolerance_applies(version: str, zoo: Any, expected: tuple[float, float, float]) -> None:
    assert chosen(zoo, version, "a") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, (0, 0, 1000)),
        ({"output_ids": "any_discrete_output"}, (0, 0, 1000)),
        ({"output_ids": ["any_discrete_output"], "mismatched_elements_per_million": 5}, (0, 0, 5)),
        ({"output_ids": "any_continuous_output"}, (0, 0, 1000)),
        ({"output_ids": ["a", "labels"]}, (0, 0, 100)),
        ({"output_ids": "labels"}, (0, 0, 100)),
        ({"mismatched_elements_per_million": 500}, (0, 0, 500)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_which_tolerance_applies_to_whole_numbers(entry: Any, expected: tuple[float, float, float], dtype: str) -> None:
    zoo = {"reproducibility_tolerance": [entry]} if entry is not None else {}
    assert chosen(zoo, "0.5.14", "labels", dtype) == expected


def chosen(zoo: Any, version: str, output: str, dtype: str = "uint8") -> tuple[float, float, float]:
    """The tolerance of one of the outputs ``a``, ``b``, and ``labels``, whose largest published value is 100."""
    outputs = (TensorSpec("a", ()), TensorSpec("b", ()), TensorSpec("labels", (), dtype))
    spec = ModelSpec("model", (), outputs, (), Path(), format_version=version)
    described = {"outputs": [{"id": one.id} for one in outputs], "config": {"bioimageio": zoo}}
    one = spec.tensor(output)
    found = tolerance_of(described, spec, "torchscript", one, np.full(3, 100).astype(one.dtype))
    return found.absolute, found.relative, found.per_million


# What `bioimageio test` does; in a process of its own, because it changes settings of PyTorch.
REFERENCE_TEST = """
import json, sys
from bioimageio.core import test_model

print(json.dumps([test_model(rdf, weight_format="torchscript").status == "passed" for rdf in sys.argv[1:]]))
"""


def test_the_reference_decides_the_same(tmp_path: Path, capsys: Output) -> None:
    strict = {"absolute_tolerance": 1e-5, "relative_tolerance": 0}
    models = []
    for number, entries in enumerate(
        (
            [],
            [{**strict, "weights_formats": ["onnx"]}],
            [{**strict, "output_ids": ["out"], "weights_formats": ["torchscript"]}, {"absolute_tolerance": 2e-3}],
            [{"absolute_tolerance": 2e-3}, {**strict, "output_ids": ["out"]}],
            [{**strict, "mismatched_elements_per_million": 5000}],
        )
    ):
        rdf = published_model(tmp_path / str(number), Blur((1, 1)))
        change(rdf, config={"bioimageio": {"reproducibility_tolerance": entries}})
        published = np.load(rdf.with_name("test1.npy"))
        published[0, 0, 0, :10] += np.float32(9e-4)
        np.save(rdf.with_name("test1.npy"), published)
        models.append(rdf)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REFERENCE_TEST, *map(str, models)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    passed = json.loads(done.stdout.splitlines()[-1])
    assert {*passed} == {True, False}
    assert [validated(capsys, rdf, rdf.parent)[0] for rdf in models] == [0 if one else 7 for one in passed]


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


def test_weights_that_cannot_run_beside_others_that_do(tmp_path: Path, capsys: Output) -> None:
    """A script that looks at the exit code alone learns of them, and how to leave them out."""
    rdf = published_model(tmp_path, Blur((1, 1)))
    (tmp_path / "network.py").write_text("class Net: pass\n")
    (tmp_path / "state.pt").write_bytes(b"\x80\x02}q\x00.")
    change(
        rdf,
        weights__pytorch_state_dict={
            "source": "state.pt",
            "architecture": {"callable": "Net", "source": "network.py"},
        },
    )
    assert main(["validate", str(rdf), "-o", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert "TorchScript (weights.pt): reproduced" in captured.out
    assert "PyTorch state dict (state.pt): cannot run" in captured.out
    assert "  error     The model's Python file network.py is not run" in captured.out
    assert captured.err == (
        "Small test model cannot be run here with its PyTorch state dict weights, for the reason given above. Its "
        "TorchScript weights run; to try them alone, add --weights torchscript.\n"
    )
    assert main(["validate", str(rdf), "-o", str(tmp_path), "--weights", "torchscript"]) == 0

    alter(tmp_path / "test1.npy", 0.25, 0, 0, 3, 5)
    assert main(["validate", str(rdf), "-o", str(tmp_path)]) == 7  # worse than weights that were not tried


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
    assert (code, "'tpu' is not known" in message) == (2, True)


def test_a_model_for_other_programs(tmp_path: Path, capsys: Output) -> None:
    rdf = change(published_model(tmp_path, Blur((1, 1))), weights={"keras_hdf5": {"source": "weights.h5"}})
    code, message = refused(capsys, rdf)
    assert (code, "only keras_hdf5 weights" in message) == (4, True)
    assert yaml.safe_load(rdf.read_text())["weights"].keys() == {"keras_hdf5"}
