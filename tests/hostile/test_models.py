"""Hostile models end in exit 3 or 4 with a sentence; their code never runs, and nothing of them is left anywhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioimage_inference.cli import main
from bioimage_inference.model.trust import HASHES_VARIABLE, TRUST_VARIABLE
from tests.models import sha256
from tests.module.test_weights import Bomb

from .conftest import Refused
from .corpus import (
    ARCHIVES,
    PICKLED_WEIGHTS,
    object_array,
    one_bit_flipped,
    sound_model,
    with_weights,
    zipped,
)


@pytest.mark.parametrize("kind", ["torchscript", "pytorch_state_dict"])
@pytest.mark.parametrize("build", PICKLED_WEIGHTS)
def test_pickles_in_weights_never_execute(
    tmp_path: Path, marker: Path, image: Path, refused: Refused, build: Any, kind: str
) -> None:
    description = with_weights(tmp_path / "model", build, marker, kind)
    for model in (description, zipped(description.parent, tmp_path / "model.zip")):
        assert refused("predict", model, image, "--trust-model-code") in (3, 4)
        assert refused("validate", model, "--trust-model-code") in (3, 4)


@pytest.mark.parametrize("build", PICKLED_WEIGHTS)
def test_bare_weights_with_pickles_never_execute(
    tmp_path: Path, marker: Path, image: Path, refused: Refused, build: Any
) -> None:
    weights = tmp_path / "dataset_1.dat"
    build(weights, Bomb(marker))
    described = sound_model(tmp_path / "model")
    main(["inspect", str(weights)])  # loads nothing, and may say what the file claims to be
    assert refused("predict", weights, image) in (2, 3, 4)  # 2: TorchScript by its looks, of which nothing is known
    known = ("--model-axes", "bcyx", "--model-size", "16,16,1,1")
    assert refused("predict", weights, image, *known, "--trust-model-code") in (3, 4)
    assert refused("predict", weights, image, "--description", described, "--trust-model-code") in (3, 4)


def test_pickles_in_test_tensors_never_execute(tmp_path: Path, marker: Path, refused: Refused) -> None:
    description = sound_model(tmp_path / "model")
    (tmp_path / "model" / "test0.npy").write_bytes(object_array(marker))
    assert refused("validate", description) == 4


@pytest.mark.parametrize("kind", ARCHIVES)
def test_hostile_archives_are_refused(tmp_path: Path, image: Path, refused: Refused, kind: str) -> None:
    model = tmp_path / "model.zip"
    ARCHIVES[kind](model)
    before = sorted(tmp_path.iterdir())
    assert refused("predict", model, image) == 4
    assert refused("inspect", model) == 4
    assert sorted(tmp_path.iterdir()) in (before, [*before[:2], tmp_path / "out", *before[2:]])


@pytest.mark.parametrize("file", ["weights.pt", "net.py", "test0.npy", "step.py"])
def test_one_flipped_bit_in_any_file_that_is_used_is_noticed(
    tmp_path: Path, image: Path, refused: Refused, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    description = hashed_model(tmp_path / "model", file)
    command = ["validate", str(description)] if file == "test0.npy" else ["predict", str(description), str(image)]
    trusting = [*command, "--trust-model-code"]
    assert main([*trusting, "-o", str(tmp_path / "sound")]) == 0
    with one_bit_flipped(description.with_name(file)):
        assert refused(*trusting) == 4


def hashed_model(folder: Path, file: str) -> Path:
    """A model that uses the file, and declares its hash."""
    description = sound_model(folder)
    content = yaml.safe_load(description.read_text())
    (folder / "net.py").write_text("import torch\n\n\nclass Net(torch.nn.Identity):\n    pass\n")
    (folder / "step.py").write_text("def make():\n    return lambda array: array\n")
    if file == "net.py":
        import torch

        torch.save({}, folder / "state.pt")
        architecture = {"source": "net.py", "sha256": sha256(folder / "net.py"), "callable": "Net"}
        state = {"source": "state.pt", "sha256": sha256(folder / "state.pt"), "pytorch_version": "2.6"}
        content["weights"] = {"pytorch_state_dict": state | {"architecture": architecture}}
    for tensor in (content["inputs"][0], content["outputs"][0]):
        tensor["test_tensor"]["sha256"] = sha256(folder / tensor["test_tensor"]["source"])
    if file == "step.py":
        step = {"source": "step.py", "sha256": sha256(folder / "step.py"), "callable": "make", "kwargs": {}}
        content["outputs"][0]["postprocessing"] = [{"id": "custom", **step}]
    description.write_text(yaml.safe_dump(content))
    return description


@pytest.mark.parametrize("file", ["weights.pt", "net.py", "step.py"])
def test_known_only_refuses_every_file_that_nobody_vouched_for(
    tmp_path: Path, image: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    description = hashed_model(tmp_path / "model", file)
    files = ["state.pt", "net.py"] if file == "net.py" else ["weights.pt", *({"step.py"} & {file})]
    hashes = {name: sha256(description.with_name(name)) for name in files}
    listed = tmp_path / "trusted.txt"
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    monkeypatch.setenv(HASHES_VARIABLE, str(listed))
    for missing in files:
        listed.write_text("\n".join(value for name, value in hashes.items() if name != missing))
        assert refused("predict", description, image, "--trust-model-code") == 3
    listed.write_text("\n".join(hashes.values()))
    assert main(["predict", str(description), str(image), "-o", str(tmp_path / "known")]) == 0


def test_a_package_may_hold_links_only_to_itself(tmp_path: Path, image: Path, refused: Refused) -> None:
    description = sound_model(tmp_path / "model")
    shutil.move(tmp_path / "model" / "weights.pt", tmp_path / "weights.pt")
    (tmp_path / "model" / "weights.pt").symlink_to(tmp_path / "weights.pt")
    assert refused("predict", description, image) == 4
