"""The index of the zoo: how it is made, weights that run without a description, and the list of models."""

import importlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from bioimageio.spec import settings

from bioimage_inference import open_model, predict
from bioimage_inference.cli import main
from bioimage_inference.errors import ModelError
from bioimage_inference.model.description import read_description
from bioimage_inference.model.spec import ExternalData
from bioimage_inference.model.trust import TRUST_VARIABLE
from bioimage_inference.zoo.index import BUNDLED, INDEX_VARIABLE, Index, load_index, read_index

from ..models import Blur, sha256, simple_tensors, write_model

ROOT = Path(__file__).parents[2]
NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x)
"""

Output = pytest.CaptureFixture[str]


@pytest.fixture
def make_index(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that makes the index, as a function of its arguments that returns the index."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    script = importlib.import_module("make_zoo_index")

    def make(*arguments: str | Path, to: Path) -> Index:
        assert script.main([*map(str, arguments), "-o", str(to)]) == 0
        return read_index(to)

    return make


@pytest.fixture
def published(tmp_path: Path, make_index: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model with a normalisation and a halo, which the index knows as ``quiet-newt``."""
    folder = tmp_path / "quiet-newt"
    normalise = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"], "eps": 1e-6}}
    inputs, outputs = simple_tensors(halo=3, preprocessing=[normalise], postprocessing=[{"id": "sigmoid"}])
    write_model(folder, Blur((3, 3)), inputs, outputs, id="quiet-newt", name="Newts", tags=["nuclei", "denoising"])
    add_to_index(make_index, tmp_path, monkeypatch)
    return folder


def add_to_index(make_index: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_index(folder, to=folder / "index.jsonl")
    monkeypatch.setenv(INDEX_VARIABLE, str(folder / "index.jsonl"))


def edit(rdf: Path, **values: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(rdf.read_text()) | values
    rdf.write_text(yaml.safe_dump(content))
    return content


def image(folder: Path) -> Path:
    path = folder / "cells.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 4000, (90, 101), "uint16"))
    return path


def test_the_bundled_index_is_small_and_each_line_is_understood() -> None:
    index = load_index({})
    assert BUNDLED.stat().st_size < 300 * 1024
    assert len(index.current()) >= 123
    assert index.date >= max(entry.description.get("timestamp", "")[:10] for entry in index.entries)
    assert list(index.current()) == sorted(index.current())
    for entry in index.entries:
        spec = read_description(entry.description, Path())
        assert spec.id == entry.id
        assert tuple(tensor.letters for tensor in spec.inputs) == entry.inputs
        assert tuple(tensor.letters for tensor in spec.outputs) == entry.outputs
        assert {one.sha256 for one in spec.weights if one.sha256} <= index.weights_sha256()
        assert {one.architecture.sha256 for one in spec.weights if one.architecture and one.architecture.sha256} <= (
            index.code_sha256()
        )


def test_every_line_of_the_bundled_index_is_what_the_script_makes_of_the_description(
    shared: Path, make_index: Any, tmp_path: Path
) -> None:
    date = load_index({}).date
    make_index(shared / "zoo", shared / "seed-models", "--date", date, to=tmp_path / "index.jsonl")
    bundled, made = (path.read_text().splitlines() for path in (BUNDLED, tmp_path / "index.jsonl"))
    described = {folder.name for name in ("zoo", "seed-models") for folder in (shared / name).iterdir()}
    assert bundled[0] == made[0] == f'{{"date":"{date}"}}'
    assert [line for line in bundled[1:] if json.loads(line)["id"] in described] == made[1:]
    assert len(made) > 116


def test_the_index_keeps_what_inference_needs_and_no_more(tmp_path: Path, make_index: Any) -> None:
    inputs, outputs = simple_tensors(halo=3)
    inputs[0] |= {"description": "long text", "data": {"type": "float32", "range": [0.0, float("inf")]}}
    kwargs = {"depth": 0, "norm": None, "bias": False}
    state = {
        "source": "state.pt",
        "sha256": "AB" * 32,
        "architecture": {"callable": "Net", "source": "n.py", "kwargs": kwargs},
    }
    rdf = write_model(tmp_path / "quiet-newt", Blur((1, 1)), inputs, outputs)
    edit(
        rdf,
        weights={"pytorch_state_dict": state, "keras_hdf5": {"source": "w.h5"}},
        covers=["a.png"],
        maintainers=[{"name": "M"}],
    )
    (entry,) = make_index(tmp_path, to=tmp_path / "index.jsonl").entries
    text = (tmp_path / "index.jsonl").read_text()
    assert entry.id == "quiet-newt"
    for left_out in ("long text", "npy", "a.png", "README", "w.h5", "maintainers", "Infinity"):
        assert left_out not in text
    assert entry.weights["pytorch_state_dict"]["architecture"]["kwargs"] == kwargs
    assert entry.weights["pytorch_state_dict"]["sha256"] == "ab" * 32
    spec = read_description(entry.description, Path())
    assert spec.other_weights == ("keras_hdf5",)
    assert spec.licence == "MIT"
    assert spec.citations[0].doi == "10.1234/abc"
    assert [axis.halo for axis in spec.outputs[0].axes] == [0, 0, 3, 3]
    assert spec.inputs[0].data_range == (0.0, None)


def test_of_an_older_description_the_index_keeps_weights_of_their_own_and_the_doi(
    tmp_path: Path, make_index: Any
) -> None:
    for number, network in enumerate((Blur((1, 1)), Blur((2, 2)), Blur((1, 1)))):
        config = {"bioimageio": {"nickname": "quiet-newt"}, "_conceptdoi": "10.5281/zenodo.1"}
        timestamp = f"202{number}-01-01T00:00:00+00:00"
        identity = {"id": f"10.5281/zenodo.1/1{number}", "config": config, "timestamp": timestamp, "version": number}
        write_model(tmp_path / f"model{number}", network, *simple_tensors(), **identity)
    index = make_index(tmp_path, to=tmp_path / "index.jsonl")
    assert [entry.description["version"] for entry in index.entries] == [2, 1]
    assert index.current()["quiet-newt"].description["version"] == 2
    for doi in ("10.5281/zenodo.1", "10.5281/zenodo.10", "10.5281/ZENODO.11"):
        found = index.with_doi(doi)
        assert found is not None
        assert found.description["version"] == 2
    assert index.with_doi("10.5281/zenodo.2") is None
    older = index.with_weights(sha256(tmp_path / "model1" / "weights.pt"))
    assert [entry.description["version"] for entry in older] == [1]


def test_what_cannot_be_understood_is_named_and_left_out(tmp_path: Path, make_index: Any, capsys: Output) -> None:
    rdf = write_model(tmp_path / "quiet-newt", Blur((1, 1)), *simple_tensors())
    edit(rdf, inputs=[{"id": "raw"}])
    (tmp_path / "environment.yaml").write_text("name: environment\n")
    edit(
        write_model(tmp_path / "keras-newt", Blur((1, 1)), *simple_tensors()),
        weights={"keras_hdf5": {"source": "w.h5"}},
    )
    assert not make_index(tmp_path, to=tmp_path / "index.jsonl").entries
    assert capsys.readouterr().err.startswith("quiet-newt: left out.")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server with the files of a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_index_can_be_made_from_the_zoo_of_today(
    published: Path, tmp_path: Path, make_index: Any, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    listed = [
        {"id": "bioimage-io/quiet-newt", "type": "model"},
        {"id": "bioimage-io/gone-newt", "type": "model"},
        {"id": "bioimage-io/some-data", "type": "dataset"},
        {"id": "bioimage-io/zenodo:12", "type": "model"},
    ]
    (tmp_path / "bioimage.io").mkdir()
    (tmp_path / "bioimage.io" / "children").write_text(json.dumps(listed))
    with served(tmp_path) as address:
        monkeypatch.setattr(settings, "collection_http_pattern", address + "/{bioimageio_id}/rdf.yaml")
        fetched = make_index("--from-bioimage-io", to=tmp_path / "fetched.jsonl")
    assert list(fetched.current()) == ["quiet-newt"]
    assert (tmp_path / "fetched.jsonl").read_bytes() == (tmp_path / "index.jsonl").read_bytes()
    assert "gone-newt: left out, the server answered 404" in capsys.readouterr().err


def test_a_published_weights_file_needs_nothing_but_the_image(published: Path, tmp_path: Path, capsys: Output) -> None:
    picture, alone = image(tmp_path), tmp_path / "galaxy" / "dataset_17.dat"
    alone.parent.mkdir()
    shutil.copy(published / "weights.pt", alone)
    arguments = [str(picture), "--tile", "40x40", "--json", "--npy"]
    assert main(["predict", str(published), *arguments, str(tmp_path / "package.npy")]) == 0
    of_package = json.loads(capsys.readouterr().out)
    assert main(["predict", str(alone), *arguments, str(tmp_path / "alone.npy")]) == 0
    record = json.loads(capsys.readouterr().out)
    np.testing.assert_array_equal(np.load(tmp_path / "alone.npy"), np.load(tmp_path / "package.npy"))
    assert record["plan"] == of_package["plan"]
    assert record["model"]["id"] == "quiet-newt"
    assert any(
        "known by its SHA-256 as weights of the published model quiet-newt (Newts)" in note for note in record["notes"]
    )


def test_the_published_description_counts_before_what_the_user_types(published: Path, tmp_path: Path) -> None:
    with open_model(published / "weights.pt", model_axes="bczyx", model_size="64,64,8,1") as model:
        assert model.spec.inputs[0].letters == "bcyx"
        assert any("--model-axes bczyx is left aside" in note for note in model.spec.notes)
    rdf = tmp_path / "mine.yaml"
    shutil.copy(published / "rdf.yaml", rdf)
    edit(rdf, name="Mine")
    with open_model(published / "weights.pt", description=rdf) as model:
        assert model.spec.name == "Mine"


def test_inspect_and_validate_know_published_weights_too(published: Path, capsys: Output) -> None:
    assert main(["inspect", str(published / "weights.pt"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["id"], facts["licence"], facts["runs_here"]) == ("quiet-newt", "MIT", True)
    assert facts["outputs"][0]["halo"] == {"y": 3, "x": 3}
    assert main(["validate", str(published / "weights.pt")]) == 4
    assert "test tensor" in capsys.readouterr().err


def test_published_tensors_run_where_their_code_lies_beside_them(
    tmp_path: Path, make_index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "quiet-newt"
    rdf = write_model(folder, Blur((1, 1)), *simple_tensors())
    (folder / "net.py").write_text(NETWORK)
    torch.manual_seed(0)
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3)).state_dict(), folder / "other.pt")
    state = {f"conv.{key}": value for key, value in torch.nn.Conv2d(1, 1, 3).state_dict().items()}
    torch.save(state, folder / "state.pt")
    architecture = {"callable": "Net", "source": "net.py", "sha256": sha256(folder / "net.py")}
    weights = {"source": "state.pt", "sha256": sha256(folder / "state.pt"), "architecture": architecture}
    edit(rdf, weights={"pytorch_state_dict": weights})
    add_to_index(make_index, tmp_path, monkeypatch)

    prediction = predict(folder / "state.pt", np.ones((32, 32), "float32"), axes="yx")  # its code is published: trusted
    assert prediction.outputs["out"].shape == (1, 1, 32, 32)
    shutil.copy(folder / "state.pt", tmp_path / "alone.pth")
    with pytest.raises(
        ModelError, match=r"weights of the model quiet-newt .*net\.py, which belongs beside it\. Give quiet-"
    ):
        predict(tmp_path / "alone.pth", np.ones((32, 32), "float32"), axes="yx")
    with pytest.raises(ModelError, match="but not the network"):  # as for all tensors that nobody published
        predict(folder / "other.pt", np.ones((32, 32), "float32"), axes="yx")


def test_weights_of_two_models_with_different_processing_are_no_secret(
    published: Path, tmp_path: Path, make_index: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(published, tmp_path / "same-newt")
    edit(tmp_path / "same-newt" / "rdf.yaml", id="same-newt")
    shutil.copytree(published, tmp_path / "raw-newt")
    raw = edit(tmp_path / "raw-newt" / "rdf.yaml", id="raw-newt")
    raw["inputs"][0]["preprocessing"] = []
    edit(tmp_path / "raw-newt" / "rdf.yaml", inputs=raw["inputs"])
    add_to_index(make_index, tmp_path, monkeypatch)
    with open_model(published / "weights.pt") as model:
        (note,) = [note for note in model.spec.notes if "SHA-256" in note]
    assert "the published model quiet-newt" in note
    assert "The same file serves raw-newt with other tensors or processing" in note
    assert "same-newt" not in note


def test_where_only_known_files_may_run_published_weights_do(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    picture = image(tmp_path)
    assert main(["predict", str(published / "weights.pt"), str(picture), "-o", str(tmp_path / "out")]) == 0
    stranger = write_model(tmp_path / "stranger", Blur((2, 2)), *simple_tensors())
    assert main(["predict", str(stranger), str(picture), "-o", str(tmp_path / "out")]) == 3
    assert "allows only known files" in capsys.readouterr().err


def test_an_index_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv(INDEX_VARIABLE, "/no/such/index.jsonl")
    assert main(["models"]) == 2
    assert "/no/such/index.jsonl" in capsys.readouterr().err


def test_models_lists_the_zoo_for_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    start = lines.index("affable-shark  NucleiSegmentationBoundaryModel")
    assert lines[start + 1 : start + 4] == [
        "    instance-segmentation; bcyx → bcyx; CC-BY-4.0",
        "    fluorescence-light-microscopy, nuclei, unet, 2d",
        "    PyTorch state dict: runs its code unet.py, which is trusted here",
    ]
    index = load_index({})
    assert lines[-3].startswith(f"{len(index.current())} models.")
    assert f"made on {index.date}" in lines[-2]


def test_onnx_networks_and_their_external_data_are_listed(tmp_path: Path, make_index: Any) -> None:
    data = {"source": "w.data", "sha256": "CD" * 32}
    rdf = write_model(tmp_path / "quiet-newt", Blur((1, 1)), *simple_tensors())
    edit(rdf, weights={"onnx": {"source": "w.onnx", "sha256": "AB" * 32, "external_data": data}})
    index = make_index(tmp_path, to=tmp_path / "index.jsonl")
    (entry,) = index.entries
    assert entry.weights["onnx"]["external_data"] == {"source": "w.data", "sha256": "cd" * 32}
    assert index.weights_sha256() == {"ab" * 32, "cd" * 32}
    (weights,) = read_description(entry.description, Path()).weights
    assert weights.external_data == ExternalData("w.data", "cd" * 32)


@pytest.mark.parametrize(
    ("facts", "twin"),
    [
        ({"name": "nucleisegmentationBoundaryModel "}, "affable-shark"),
        ({"id": "affable-shark"}, "affable-shark"),
        ({"id": "10.5281/zenodo.5764892"}, "affable-shark"),
        ({"name": "Nuclei"}, None),
    ],
)
def test_a_model_for_another_framework_names_its_twin(
    tmp_path: Path, capsys: Output, facts: Any, twin: str | None
) -> None:
    rdf = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors())
    edit(rdf, weights={"keras_hdf5": {"source": "w.h5"}}, **facts)
    for command in (["predict", str(rdf), str(image(tmp_path))], ["validate", str(rdf)], ["inspect", str(rdf)]):
        assert main(command) == (0 if command[0] == "inspect" else 4)
        said = " ".join("".join(capsys.readouterr()).split())
        assert "has only keras_hdf5 weights" in said
        assert (f"The model {twin} of the BioImage.IO zoo has the same name" in said) == (twin is not None)


def test_models_can_be_searched(capsys: Output) -> None:
    assert main(["models", "--search", "Nuclei PLANT", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"noisy-fish", "emotional-cricket"} <= {facts["id"] for facts in found}
    assert "affable-shark" not in {facts["id"] for facts in found}
    assert main(["models", "--search", "unicorns"]) == 0
    assert "No model is known here" in capsys.readouterr().out


def listed(capsys: Output, model: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["models", "--search", model, "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    return dict(facts)


def test_models_says_what_each_needs_here(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    facts = listed(capsys, "affable-shark")
    assert (
        facts | {"authors": ["Constantin Pape"], "weights": ["pytorch_state_dict", "torchscript"], "ready": True}
        == facts
    )
    assert (facts["version"], facts["licence"], facts["tasks"]) == ("1.2", "CC-BY-4.0", ["instance-segmentation"])
    assert "10.5281/zenodo.5764892" in facts["dois"]

    code = listed(capsys, "wild-pig")
    assert (code["ready"], code["needs"]) == (
        True,
        ["PyTorch state dict: runs its code seunet.py, which is trusted here"],
    )
    undeclared = listed(capsys, "helpful-whale")
    assert not undeclared["ready"]
    assert "--trust-model-code" in undeclared["needs"][0]
    import bioimage_inference.cli.models as command

    monkeypatch.setattr(command, "find_spec", lambda name: None)
    library = listed(capsys, "humorous-fox")
    assert not library["ready"]
    assert "pip install careamics" in library["needs"][0]
    monkeypatch.setattr(command, "find_spec", lambda name: name)
    assert listed(capsys, "humorous-fox")["ready"]

    monkeypatch.setenv(TRUST_VARIABLE, "known")
    assert listed(capsys, "affable-shark")["ready"]
    assert "does not allow" in listed(capsys, "helpful-whale")["needs"][0]


def test_models_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys; from bioimage_inference.cli import main; code = main(['models']);"
        "slow = {'torch', 'bioimageio', 'httpx', 'pydantic', 'scipy', 'skimage', 'zarr'} & sys.modules.keys();"
        "sys.exit(code or slow or None)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_a_reader_that_has_seen_enough_ends_the_list_in_silence() -> None:
    command = f"{sys.executable} -m bioimage_inference models | true; echo ${{PIPESTATUS[0]}}"
    finished = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("141\n", "")
