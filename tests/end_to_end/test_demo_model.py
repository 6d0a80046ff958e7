"""The demo models in test-data: they segment, their packages are valid, and the sample images say what they are."""

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEST_DATA = ROOT / "test-data"
PACKAGES = ("demo-model", "demo-model-3d")
DESCRIPTIONS = (
    "demo-model/rdf.yaml",
    "demo-model/rdf_v0_4.yaml",
    "demo-model.zip",
    "demo-model-3d/rdf.yaml",
    "demo-model-3d.zip",
)

# What `bioimageio test` does, once for every description and weights format.
REFERENCE_TEST = """
import json, sys
from pathlib import Path
from bioimageio.core import test_model

folder, report, *cases = sys.argv[1:]
failures = {}
for case in cases:
    description, weights = case.split()
    summary = test_model(Path(folder, description), weight_format=weights)
    failures[case] = "" if summary.status == "passed" else summary.format()
Path(report).write_text(json.dumps(failures))
"""
REFERENCE_CASES = [f"{description} torchscript" for description in DESCRIPTIONS] + [
    f"{description} pytorch_state_dict" for description in DESCRIPTIONS if "3d" not in description
]


@pytest.fixture
def script(monkeypatch):
    """Import a module of scripts/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def read_description(name):
    return yaml.safe_load((TEST_DATA / name).read_text())


def load_network(package):
    return torch.jit.load(TEST_DATA / package / "weights.pt")


@pytest.mark.parametrize(("package", "dimensions"), [("demo-model", 2), ("demo-model-3d", 3)])
def test_finds_nuclei_in_images_it_was_not_trained_on(script, package, dimensions):
    evaluation = script("evaluate_demo_model")
    scores = evaluation.evaluate(load_network(package), evaluation.held_out_images(dimensions, 3))
    assert scores.foreground_iou >= 0.85
    assert scores.passed, scores


@pytest.mark.parametrize(
    ("scores", "passed"),
    [
        ((0.86, 0.91, 97, 100), True),
        ((0.86, None, None, None), True),
        ((0.84, 0.91, 97, 100), False),
        ((0.86, 0.89, 97, 100), False),
        ((0.86, 0.91, 94, 100), False),
        ((0.86, 0.91, 106, 100), False),
    ],
)
def test_poor_scores_do_not_pass(script, scores, passed):
    assert script("evaluate_demo_model").Scores(*scores).passed is passed


def test_finds_nothing_in_an_empty_field_of_view(script):
    image = script("synthetic_nuclei").render_empty(7, (128, 128)).image
    foreground, _ = script("evaluate_demo_model").predict(load_network("demo-model"), image)
    assert (foreground > 0.5).mean() < 0.01


@pytest.fixture(scope="module")
def reference_failures(tmp_path_factory):
    """The reference's complaints about each case, in a process of its own because it leaves files open."""
    report = tmp_path_factory.mktemp("reference") / "report.json"
    command = [sys.executable, "-c", REFERENCE_TEST, str(TEST_DATA), str(report), *REFERENCE_CASES]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(report.read_text())


@pytest.mark.parametrize("case", REFERENCE_CASES)
def test_reference_finds_the_description_valid_and_reproduces_the_test_tensors(reference_failures, case):
    assert not reference_failures[case], reference_failures[case]


def test_both_formats_describe_the_same_model():
    new, old = (read_description(f"demo-model/{name}") for name in ("rdf.yaml", "rdf_v0_4.yaml"))
    for field in ("name", "description", "version", "authors", "license", "cite", "tags"):
        assert new[field] == old[field]
    spatial_input = [axis["size"] for axis in new["inputs"][0]["axes"][2:]]
    assert old["inputs"][0]["shape"]["min"][2:] == [size["min"] for size in spatial_input]
    assert old["inputs"][0]["shape"]["step"][2:] == [size["step"] for size in spatial_input]
    assert old["outputs"][0]["halo"][2:] == [axis["halo"] for axis in new["outputs"][0]["axes"][2:]]
    for weights in ("torchscript", "pytorch_state_dict"):
        assert old["weights"][weights]["sha256"] == new["weights"][weights]["sha256"]
    architecture = new["weights"]["pytorch_state_dict"]["architecture"]
    assert old["weights"]["pytorch_state_dict"]["architecture_sha256"] == architecture["sha256"]
    assert old["weights"]["pytorch_state_dict"]["kwargs"] == architecture["kwargs"]


@pytest.mark.parametrize(
    ("package", "shape", "tile"),
    [
        ("demo-model", (176, 168), (slice(40, 136), slice(48, 120))),
        ("demo-model-3d", (12, 128, 136), (slice(3, 9), slice(32, 96), slice(40, 104))),
    ],
)
def test_halo_covers_all_that_the_network_sees(package, shape, tile):
    output = read_description(f"{package}/rdf.yaml")["outputs"][0]
    inside = tuple(slice(axis["halo"], -axis["halo"]) for axis in output["axes"][2:])
    network = load_network(package)
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32))
    with torch.inference_mode():
        whole = network(image)[:, :, *tile][:, :, *inside].sigmoid()
        tiled = network(image[:, :, *tile])[:, :, *inside].sigmoid()
    assert whole.numel() > 0
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("package", PACKAGES)
def test_zip_holds_the_folder_with_the_description_at_its_root(package):
    with zipfile.ZipFile(TEST_DATA / f"{package}.zip") as archive:
        zipped = {name: archive.read(name) for name in archive.namelist()}
    assert zipped == {path.name: path.read_bytes() for path in (TEST_DATA / package).iterdir() if path.is_file()}
    assert "rdf.yaml" in zipped


@pytest.mark.parametrize("package", PACKAGES)
def test_same_folder_gives_the_same_zip(script, tmp_path, package):
    copy = tmp_path / package
    copy.mkdir()
    for path in sorted((TEST_DATA / package).iterdir(), reverse=True):
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    write_zip = script("package_demo_model").write_zip
    write_zip(TEST_DATA / package, tmp_path / "first.zip")
    write_zip(copy, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_files_are_small():
    sizes = {path.name: path.stat().st_size for path in TEST_DATA.rglob("*") if path.is_file()}
    assert max(sizes.values()) <= 1_000_000, sizes


@pytest.mark.parametrize(
    ("name", "axes", "shape"),
    [
        ("nuclei.tif", "YX", (300, 380)),
        ("nuclei_timeseries.tif", "TYX", (3, 112, 136)),
        ("nuclei_3d.tif", "ZYX", (24, 96, 96)),
    ],
)
def test_sample_image_states_axes_and_pixel_size(name, axes, shape):
    with tifffile.TiffFile(TEST_DATA / name) as tif:
        assert (tif.series[0].axes, tif.series[0].shape, tif.series[0].dtype) == (axes, shape, np.uint16)
        pixels, micrometres = tif.pages[0].tags["XResolution"].value
        assert micrometres / pixels == 0.325
        assert tif.imagej_metadata["unit"] == "um"
        assert tif.imagej_metadata.get("spacing") == (1.0 if "Z" in axes else None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("shape", "pixel_size"), [((96, 80), (0.325, 0.325)), ((10, 64, 48), (1.0, 0.325, 0.325))])
def test_same_seed_renders_the_same_image(script, shape, pixel_size, dtype):
    render = script("synthetic_nuclei").render_nuclei
    first, again, other = (render(seed, shape, pixel_size, dtype) for seed in (1, 1, 2))
    assert first.image.shape == first.labels.shape == shape
    assert first.image.dtype == dtype
    assert (first.image == again.image).all()
    assert (first.labels == again.labels).all()
    assert (first.image != other.image).any()


def test_boundary_runs_around_nuclei_and_between_touching_ones(script):
    synthetic = script("synthetic_nuclei")
    labels = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2]] * 5, np.int32)
    assert synthetic.foreground_mask(labels)[2].tolist() == [False] * 3 + [True] * 6
    assert synthetic.boundary_mask(labels)[2].nonzero()[0].tolist() == [2, 3, 5, 6]
    assert synthetic.touching_mask(labels)[2].nonzero()[0].tolist() == [5, 6]
