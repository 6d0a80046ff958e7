"""``inspect`` shows inputs, outputs and needs of a model in plain words, as JSON and as a page, and runs none of it."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bioimage_inference.cli import main
from bioimage_inference.model.trust import HASHES_VARIABLE, TRUST_VARIABLE

from ..models import BATCH, Blur, Identity, channels, simple_tensors, space, write_model

Output = pytest.CaptureFixture[str]
SIZE = {"min": 16, "step": 8}


def facts(capsys: Output, model: Path, *arguments: str | Path) -> dict[str, Any]:
    """Return the facts that ``inspect --json`` prints."""
    capsys.readouterr()
    assert main(["inspect", str(model), "--json", *map(str, arguments)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def small_model(folder: Path, **more: Any) -> Path:
    inputs, outputs = simple_tensors(halo=4)
    return write_model(folder, Identity(), inputs, outputs, **more)


def change(rdf: Path, **values: Any) -> Path:
    """Replace values of a description; ``__`` in a key leads to a nested value, and ``None`` removes the value."""
    content = yaml.safe_load(rdf.read_text())
    for key, value in values.items():
        *parents, last = key.split("__")
        place = content
        for parent in parents:
            place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    rdf.write_text(yaml.safe_dump(content))
    return rdf


def state_dict(folder: Path, source: str, **architecture: Any) -> Path:
    """A model whose only weights are a state dict, with this Python file as architecture."""
    rdf = small_model(folder)
    (folder / "network.py").write_text(source)
    (folder / "state.pt").write_bytes(b"\x80\x02}q\x00.")
    entry = {"source": "state.pt", "architecture": {"callable": "Net", "source": "network.py", **architecture}}
    return change(rdf, weights={"pytorch_state_dict": entry})


# A short start


def test_inspect_imports_nothing_that_takes_time_and_that_it_does_not_need(test_data: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from bioimage_inference.cli import main; "
        f"code = main(['inspect', {str(test_data / 'demo-model.zip')!r}, '--html', 'card.html']); "
        "slow = {'torch', 'bioimageio.core', 'matplotlib', 'scipy', 'skimage', 'tifffile', 'xarray', 'zarr'}; "
        "sys.exit(code or slow & sys.modules.keys() or None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(test_data.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "card.html").is_file()


# In plain words


def test_the_demo_model_in_lines(test_data: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(["inspect", str(test_data / "demo-model.zip")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Demo U-Net for nuclei (version 1.0.0)"
    assert (
        "  image     raw: one channel (nuclei), 2-D, any size of at least 64×64 in steps of 8; intensities are "
        "normalised for you: zero mean, unit variance"
    ) in lines
    assert (
        "  output    prediction: 2 channels (foreground, boundary), 2-D, as large as raw; values go through: sigmoid "
        "(between 0 and 1); float32"
    ) in lines
    assert "  licence   MIT" in lines
    assert any(line.startswith("  cite      Ronneberger") for line in lines)
    assert any(line.startswith("  runs here yes. It runs here with its TorchScript weights") for line in lines)


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({"size": {"min": 16, "step": 1}}, "one channel, 2-D, any size of at least 16×16; "),
        ({"size": {"min": 1, "step": 1}}, "one channel, 2-D, any size; "),
        ({"size": {"y": 32, "x": 48}, "inputs": 3}, "3 channels, 2-D, exactly 32×48 pixels; "),
        (
            {"letters": "zyx", "size": {"z": {"min": 4, "step": 1}, "y": SIZE, "x": SIZE}},
            "one channel, 3-D, any size of at least 4×16×16 in steps of 1×8×8 (z×y×x); ",
        ),
        (
            {"letters": "zyx", "size": {"z": 4, "y": SIZE, "x": SIZE}},
            "one channel, 3-D, z exactly 4, y at least 16 in steps of 8, x at least 16 in steps of 8; ",
        ),
    ],
)
def test_the_image_that_a_model_expects(tmp_path: Path, capsys: Output, tensors: Any, found: str) -> None:
    inputs, outputs = simple_tensors(**tensors)
    network = Blur((1,) * len(tensors.get("letters", "yx")), inputs=tensors.get("inputs", 1))
    words = facts(capsys, write_model(tmp_path, network, inputs, outputs))["inputs"][0]["in_words"]
    assert words == found + "intensities are handed to the network as they are"


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        (
            [{"id": "scale_range", "kwargs": {"axes": ["y", "x"], "min_percentile": 1, "max_percentile": 99.8}}],
            "normalised for you: percentile 1 becomes 0 and percentile 99.8 1",
        ),
        (
            [
                {"id": "clip", "kwargs": {"min": 0, "max": 1000}},
                {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["batch", "channel", "y", "x"]}},
            ],
            "normalised for you: limited to 0 … 1000, then zero mean, unit variance, of all samples together",
        ),
        (
            [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 100, "std": 20}}],
            "normalised for you: minus a fixed mean of 100, divided by 20",
        ),
        ([{"id": "scale_linear", "kwargs": {"gain": 0.5, "offset": 1}}], "normalised for you: times 0.5 plus 1"),
        ([{"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}], "prepared for you: whole numbers (uint8)"),
    ],
)
def test_what_is_done_to_the_intensities(tmp_path: Path, capsys: Output, steps: Any, found: str) -> None:
    inputs, outputs = simple_tensors(preprocessing=steps)
    words = facts(capsys, write_model(tmp_path, Identity(), inputs, outputs))["inputs"][0]["in_words"]
    assert words.endswith(f"; intensities are {found}")


def test_statistics_of_each_channel_or_plane_are_named(tmp_path: Path, capsys: Output) -> None:
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}]
    inputs, outputs = simple_tensors("zyx", {"min": 8, "step": 4}, inputs=2, preprocessing=steps)
    words = facts(capsys, write_model(tmp_path, Blur((1, 1, 1), inputs=2), inputs, outputs))["inputs"][0]["in_words"]
    assert words.endswith("zero mean, unit variance, each channel and plane on its own")


def test_further_inputs_and_how_to_give_them(tmp_path: Path, capsys: Output) -> None:
    inputs, outputs = simple_tensors()
    mask = {"id": "mask", "axes": [BATCH, channels(1), *(space(a, {"min": 16, "step": 4}) for a in "yx")]}
    seeds = {"id": "seeds", "optional": True, "axes": [BATCH, {"type": "index", "size": {"min": 1, "step": 1}}]}
    inputs += [mask, seeds]
    found = facts(capsys, write_model(tmp_path, Identity(), inputs, outputs))["inputs"]
    assert [one["give_as"] for one in found] == ["IMAGE", "--input mask=FILE", "--input seeds=FILE"]
    assert [one["optional"] for one in found] == [False, False, True]
    assert "one entry per object" in found[2]["in_words"]


def test_json_has_the_keys_that_programs_rely_on(test_data: Path, capsys: Output) -> None:
    found = facts(capsys, test_data / "demo-model.zip")
    assert " ".join(found) == (
        "name id version format_version sha256 description licence authors tags takes citations documentation "
        "inputs outputs weights other_weights runs_here verdict missing_packages traps notes"
    )
    assert found["sha256"] == hashlib.sha256((test_data / "demo-model.zip").read_bytes()).hexdigest()
    assert found["takes"] == "2-D, one channel"
    raw, prediction = found["inputs"][0], found["outputs"][0]
    assert (raw["axes"], raw["channels"], raw["channel_names"]) == ("bcyx", 1, ["nuclei"])
    assert raw["sizes"] == {"y": {"minimum": 64, "step": 8}, "x": {"minimum": 64, "step": 8}}
    assert prediction["sizes"]["x"] == {"tensor": "raw", "axis": "x", "scale": 1, "offset": 0}
    assert (prediction["halo"], prediction["data_range"]) == ({"y": 24, "x": 24}, [0.0, 1.0])
    assert found["citations"][0]["url"] == "https://doi.org/10.1007/978-3-319-24574-4_28"


# Traps


@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        ({"data": {"type": "float32", "range": [0, 1]}}, "expects values from 0 to 1, but nothing scales"),
        (
            {"preprocessing": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 0.48, "std": 0.23}}]},
            "meant for values from 0 to 1 .* divide an 8-bit image by 255",
        ),
        (
            {"preprocessing": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 3000, "std": 500}}]},
            "fixed mean of 3000 .* another brightness",
        ),
        ({"preprocessing": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0}}]}, "meant for 8-bit"),
        ({"data": {"type": "uint8"}}, r"declares uint8 \(whole numbers from 0 to 255\)"),
        ({}, "neither scales the intensities of raw nor says in what range"),
        (
            {
                "data": {"type": "uint8"},
                "preprocessing": [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}],
            },
            "declares uint8. Other images can be given as well",
        ),
        (
            {"preprocessing": [{"id": "zero_mean_unit_variance", "kwargs": {}}]},
            "statistics over all samples .* depends on the others",
        ),
    ],
)
def test_traps_of_intensities(tmp_path: Path, capsys: Output, tensor: Any, found: str) -> None:
    inputs, outputs = simple_tensors(halo=4)
    inputs[0] |= tensor
    traps = facts(capsys, write_model(tmp_path, Identity(), inputs, outputs))["traps"]
    assert len([trap for trap in traps if re.search(found, trap)]) == 1, traps


@pytest.mark.parametrize(
    ("size", "halo", "found"),
    [
        ({"y": 32, "x": 48}, 4, ["takes exactly 32×48 pixels: larger images are computed in overlapping tiles"]),
        ({"min": 16, "step": 4}, 0, ["No halo is declared"]),
        ({"min": 16, "step": 4}, 4, []),
    ],
)
def test_traps_of_sizes(tmp_path: Path, capsys: Output, size: Any, halo: int, found: list[str]) -> None:
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}]
    inputs, outputs = simple_tensors(size=size, halo=halo, preprocessing=steps)
    traps = facts(capsys, write_model(tmp_path, Identity(), inputs, outputs))["traps"]
    assert len(traps) == len(found)
    assert all(text in trap for text, trap in zip(found, traps, strict=True))


def test_an_image_that_cannot_be_tiled_is_a_trap(tmp_path: Path, capsys: Output) -> None:
    inputs, outputs = simple_tensors(size={"y": 32, "x": 32})
    outputs[0]["axes"] = [BATCH, channels(5)]  # a classifier
    traps = facts(capsys, write_model(tmp_path, Identity(), inputs, outputs))["traps"]
    assert any("do not follow the image along y and x" in trap and "--fit resize" in trap for trap in traps)


# Weights, trust, packages


def test_torchscript_is_used_before_a_state_dict(test_data: Path, capsys: Output) -> None:
    found = facts(capsys, test_data / "demo-model.zip")
    assert [(one["format"], one["used"]) for one in found["weights"]] == [
        ("torchscript", True),
        ("pytorch_state_dict", False),
    ]
    assert found["runs_here"]


def test_code_is_judged_by_its_hash_and_never_run(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: pass\n"
    rdf = state_dict(tmp_path / "model", source)
    sha256 = hashlib.sha256(source.encode()).hexdigest()
    found = facts(capsys, rdf)
    assert not found["runs_here"]
    assert not found["weights"][0]["trust"]["allowed"]
    assert sha256 in found["verdict"]
    assert "--trust-model-code" in found["verdict"]

    listed = tmp_path / "trusted.txt"
    listed.write_text(sha256)
    monkeypatch.setenv(HASHES_VARIABLE, str(listed))
    found = facts(capsys, rdf)
    assert found["runs_here"]
    assert "administrator" in found["weights"][0]["trust"]["reason"]
    assert not (tmp_path / "ran").exists()


def test_the_administrators_restriction_covers_torchscript(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    found = facts(capsys, small_model(tmp_path))
    assert (found["runs_here"], found["weights"][0]["trust"]["allowed"]) == (False, False)
    assert "administrator" in found["verdict"]


def test_packages_that_the_architecture_imports_and_that_lack(tmp_path: Path, capsys: Output) -> None:
    source = "import os\nimport numpy\nfrom no_such_package.nets import Net\n"
    found = facts(capsys, state_dict(tmp_path, source))
    assert [one["package"] for one in found["missing_packages"]] == ["no_such_package"]
    assert "no_such_package, which is not installed here" in found["verdict"]


def test_a_library_that_lacks(tmp_path: Path, capsys: Output) -> None:
    rdf = change(
        state_dict(tmp_path, ""),
        weights__pytorch_state_dict__architecture={"callable": "Net", "import_from": "no_such_package.nets"},
    )
    found = facts(capsys, rdf)
    assert [one["package"] for one in found["missing_packages"]] == ["no_such_package"]
    assert not found["runs_here"]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda folder: (folder / "weights.pt").unlink(), "missing in the package"),
        (lambda folder: (folder / "weights.pt").write_bytes(b"damaged"), "not the file that the description means"),
    ],
)
def test_weights_that_are_missing_or_damaged_are_found(tmp_path: Path, capsys: Output, damage: Any, found: str) -> None:
    rdf = small_model(tmp_path)
    damage(tmp_path)
    inspected = facts(capsys, rdf)
    assert not inspected["runs_here"]
    assert found in inspected["weights"][0]["reason"]


def test_a_model_for_other_programs_is_inspected_all_the_same(tmp_path: Path, capsys: Output) -> None:
    rdf = change(small_model(tmp_path), weights={"keras_hdf5": {"source": "weights.h5"}})
    found = facts(capsys, rdf)
    assert (found["runs_here"], found["other_weights"], found["weights"]) == (False, ["keras_hdf5"], [])
    assert "only keras_hdf5 weights" in found["verdict"]


# Whatever the model is given as


def test_bare_weights_say_what_is_not_known_of_them(tmp_path: Path, capsys: Output) -> None:
    small_model(tmp_path)
    weights = (tmp_path / "weights.pt").rename(tmp_path / "dataset_1.dat")
    found = facts(capsys, weights)
    assert (found["runs_here"], found["inputs"], found["format_version"]) == (False, [], "")
    assert "--model-axes" in found["notes"][0]
    found = facts(capsys, weights, "--model-axes", "bcyx", "--model-size", "64,64,1,1")
    assert found["inputs"][0]["in_words"].startswith("one channel, 2-D, exactly 64×64 pixels")
    found = facts(capsys, weights, "--description", tmp_path / "rdf.yaml")
    assert (found["runs_here"], found["inputs"][0]["id"]) == (True, "raw")


def test_a_folder_and_a_zip_give_the_same_facts(tmp_path: Path, capsys: Output) -> None:
    small_model(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for path in (tmp_path / "model").iterdir():
            archive.write(path, path.name)
    of_folder, of_zip = facts(capsys, tmp_path / "model"), facts(capsys, tmp_path / "model.zip")
    assert {**of_folder, "sha256": None} == {**of_zip, "sha256": None}


def test_what_is_no_model_fails_in_one_paragraph(tmp_path: Path, capsys: Output) -> None:
    np.save(tmp_path / "image.npy", np.zeros(3))
    assert main(["inspect", str(tmp_path / "image.npy")]) == 4
    captured = capsys.readouterr()
    assert (captured.out, captured.err.strip().count("\n")) == ("", 0)
    assert main(["inspect", str(tmp_path / "absent.zip")]) == 2


def test_every_published_description_is_inspected(shared: Path, capsys: Output) -> None:
    descriptions = sorted(shared.glob("*/*/rdf*.yaml"))
    assert len(descriptions) > 90
    for rdf in descriptions:
        found = facts(capsys, rdf)
        assert found["licence"] is not None, rdf
        assert all(re.match(r"(one|\d+|any|as many|channels)\b", one["in_words"]) for one in found["inputs"]), rdf
        if rdf.parts[-3] == "zoo-other-weights":
            assert "this program runs torchscript, pytorch_state_dict and onnx" in found["verdict"]
        else:
            assert found["weights"], rdf


def test_the_traps_of_published_models(shared: Path, capsys: Output) -> None:
    traps = facts(capsys, shared / "seed-models" / "loyal-parrot")["traps"]
    assert "input0 is meant for values from 0 to 1" in traps[0]
