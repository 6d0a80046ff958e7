"""The operations of pre- and postprocessing: all that the format has, each with its words, its code and its limits."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from bioimageio.spec.model import v0_5

import bioimage_inference
from bioimage_inference.array_types import Array
from bioimage_inference.cli import main
from bioimage_inference.errors import ModelError
from bioimage_inference.inference.operations import registry
from bioimage_inference.inference.operations.dtype_conversion import target_dtype
from bioimage_inference.inference.operations.registry import (
    OPERATIONS,
    check_packages,
    measures_of,
    needs_sample,
    operation_of,
    step_in_words,
)
from bioimage_inference.inference.processing import apply
from bioimage_inference.model.spec import Axis, FixedSize, Operation, TensorSpec
from tests.models import Identity, detector, sha256, simple_tensors, write_model

WORDS = {
    "binarize": ({"threshold": 0.5}, "above 0.5, yes or no"),
    "cellpose_flow_dynamics": ({}, "objects, found along Cellpose's flows"),
    "clip": (
        {"min": 0.0, "max_percentile": 99.0, "axes": None},
        "limited to 0 … percentile 99, of all samples together",
    ),
    "custom": ({"callable": "Own"}, "the model's own Python function Own"),
    "ensure_dtype": ({"dtype": "uint8"}, "whole numbers (uint8)"),
    "fixed_zero_mean_unit_variance": (
        {"mean": [1.0, 2.0], "std": [3.0, 3.0], "axis": "c"},
        "minus a fixed mean of 1, 2, divided by 3",
    ),
    "scale_linear": ({"gain": 2.0, "offset": 1.0}, "times 2 plus 1"),
    "scale_mean_variance": (
        {"reference_tensor": "raw", "axes": "yx"},
        "brought to the mean and variance of raw, each channel on its own",
    ),
    "scale_range": (
        {"min_percentile": 1.0, "axes": "cyx", "reference_tensor": "raw"},
        "percentile 1 of raw becomes 0 and the largest 1",
    ),
    "sigmoid": ({}, "sigmoid (between 0 and 1)"),
    "softmax": ({"axis": "c"}, "softmax (each channel's share, between 0 and 1)"),
    "stardist_postprocessing": ({}, "objects, assembled from StarDist's star-convex shapes"),
    "zero_mean_unit_variance": ({"axes": "cyx"}, "zero mean, unit variance"),
}
TENSOR = TensorSpec("out", tuple(Axis(letter, letter, FixedSize(4)) for letter in "cyx"))


def test_every_operation_of_the_format_is_known() -> None:
    described = {
        kind.implemented_id
        for union in (v0_5.PreprocessingDescr, v0_5.PostprocessingDescr)
        for kind in get_args(get_args(union)[0])
    }
    assert OPERATIONS.keys() == described == WORDS.keys()


@pytest.mark.parametrize("name", WORDS)
def test_every_operation_has_words(name: str) -> None:
    kwargs, words = WORDS[name]
    assert step_in_words(Operation(name, kwargs), TENSOR) == words


def test_a_conversion_to_floating_point_is_no_news() -> None:
    assert step_in_words(Operation("ensure_dtype", {"dtype": "float32"}), TENSOR) == ""
    assert step_in_words(Operation("ensure_dtype", {"dtype": "bool"}), TENSOR) == "yes or no (bool)"


def test_an_operation_of_a_later_format_is_refused() -> None:
    with pytest.raises(ModelError, match="step 'sharpen' is not supported"):
        operation_of(Operation("sharpen"))
    with pytest.raises(ModelError, match="step 'sharpen' is not supported"):
        check_packages([Operation("sigmoid"), Operation("sharpen")])


def test_which_steps_need_a_whole_sample() -> None:
    whole = {name for name, (kwargs, _) in WORDS.items() if needs_sample(Operation(name, kwargs), "zyx")}
    assert whole == {"cellpose_flow_dynamics", "custom", "stardist_postprocessing"}
    assert needs_sample(Operation("softmax", {"axis": "y"}), "zyx")
    assert not needs_sample(Operation("softmax", {"axis": "y"}), "x")


def test_which_steps_measure_what() -> None:
    measuring = {name for name, (kwargs, _) in WORDS.items() if measures_of(Operation(name, kwargs), "out")}
    assert measuring == {"clip", "scale_mean_variance", "scale_range", "zero_mean_unit_variance"}
    measured = {name for name, operation in OPERATIONS.items() if operation.scaling == "measured"}
    assert measured == measuring - {"clip"}
    own, other = measures_of(Operation(*("scale_mean_variance", WORDS["scale_mean_variance"][0])), "out")
    assert (own.tensor, other.tensor, own.axes, own.pooled) == ("out", "raw", "yx", False)
    assert all(one.pooled for one in measures_of(Operation("clip", WORDS["clip"][0]), "out"))


def test_the_type_that_a_step_converts_to() -> None:
    assert target_dtype(Operation("ensure_dtype", {"dtype": "int16"})) == np.int16
    assert target_dtype(Operation("sigmoid")) is None


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64"])
def test_conversions_in_front_of_other_steps_change_no_values(dtype: str) -> None:
    array = np.array([[-3.7, 0.5, 70000.2]])
    cast, double = Operation("ensure_dtype", {"dtype": "uint8"}), Operation("scale_linear", {"gain": 2.0})
    np.testing.assert_allclose(apply([cast, double], "raw", array, "yx", {}), 2 * array)
    np.testing.assert_array_equal(apply([double, cast], "raw", array, "yx", {}), [[0, 1, 255]])
    last = Operation("ensure_dtype", {"dtype": dtype})
    assert apply([cast, last], "raw", array, "yx", {}).dtype == dtype


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("name", ["scale_mean_variance", "scale_range"])
def test_an_output_is_scaled_by_statistics_of_the_input(
    tmp_path: Path, name: str, tile: tuple[int, int] | None
) -> None:
    """They are those of the image before its own processing."""
    before = [{"id": "scale_linear", "kwargs": {"gain": 3.0, "offset": 5.0}}]
    after = [{"id": name, "kwargs": {"reference_tensor": "raw", "axes": ["channel", "y", "x"]}}]
    model = write_model(tmp_path, Identity(), *simple_tensors(preprocessing=before, postprocessing=after))
    array = np.random.default_rng(0).normal(100, 30, (80, 96)).astype("float32")
    got = bioimage_inference.predict(model, array, axes="yx", tile=tile).outputs["out"].array
    exact = array.astype("float64")
    expected = {
        "scale_mean_variance": exact,  # back to the mean and deviation of the image
        "scale_range": (3 * exact + 5 - exact.min()) / (np.ptp(exact) + 1e-6),
    }
    np.testing.assert_allclose(got[0, 0], expected[name], rtol=1e-5, atol=1e-4)  # type: ignore[index]


# Steps that need the whole sample


STARDIST = """
import numpy as np

def non_maximum_suppression(dist, prob, grid, prob_thresh, nms_thresh, b):
    assert (dist.shape[-1], grid, prob_thresh, nms_thresh, b) == (4, (1, 1), 0.5, 0.4, 2), (grid, b)
    points = np.argwhere(prob > prob_thresh)
    return points, prob[tuple(points.T)], dist[tuple(points.T)]

def polygons_to_label(dist, points, prob, shape):
    labels = np.zeros(shape, np.int32)
    labels[tuple(points.T)] = np.arange(1, len(points) + 1)
    return labels

class Rays_GoldenSpiral:
    def __init__(self, n_rays, anisotropy):
        assert (n_rays, anisotropy) == (4, (2.0, 1.0, 1.0)), (n_rays, anisotropy)

def non_maximum_suppression_3d(dist, prob, rays, **kwargs):
    assert isinstance(rays, Rays_GoldenSpiral)
    return non_maximum_suppression(dist, prob, **kwargs | {"grid": kwargs["grid"][1:]})

def polyhedron_to_label(dist, points, rays, prob, shape, overlap_label):
    assert overlap_label is None
    return polygons_to_label(dist, points, prob, shape)
"""
MATCHING = "def relabel_sequential(labels):\n    return labels, None, None\n"
DYNAMICS = """
import numpy as np

def compute_masks(flows, cellprob, cellprob_threshold, flow_threshold, do_3D):
    assert (flows.shape[0], flow_threshold, do_3D) == (2, 0.4, False)
    return (cellprob > cellprob_threshold) * (flows[0] > flows[1]).astype(int)
"""
UTILS = "def fill_holes_and_remove_small_masks(mask, min_size):\n    assert min_size == 7\n    return 300 * mask\n"
SIZES = {"z": 3, "y": 20, "x": 24}


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages named stardist and cellpose with the functions that bioimageio.core calls."""
    for name, files in {
        "stardist": {"__init__": STARDIST, "matching": MATCHING},
        "cellpose": {"__init__": "", "dynamics": DYNAMICS, "utils": UTILS},
    }.items():
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        for module, source in files.items():
            (folder / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("stardist", "cellpose")]:
        del sys.modules[name]


def labelling_model(folder: Path, letters: str, count: int, step: dict[str, Any], dtype: str = "uint16") -> Path:
    sizes = {letter: SIZES[letter] for letter in letters}
    inputs, outputs = simple_tensors(letters, size=sizes, inputs=count, outputs=count, postprocessing=[step])
    outputs[0]["data"] = {"type": dtype}
    return write_model(folder / "model", Identity(), inputs, outputs)


def image(letters: str, count: int) -> Array:
    return np.random.default_rng(0).random((count, *(SIZES[letter] for letter in letters)), "float32")


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("letters", ["yx", "zyx"])
def test_stardist(tmp_path: Path, letters: str) -> None:
    kwargs: dict[str, Any] = {
        "prob_threshold": 0.5,
        "nms_threshold": 0.4,
        "n_rays": 4,
        "b": 2,
        "grid": [1] * len(letters),
    }
    if letters == "zyx":
        kwargs["anisotropy"] = [2.0, 1.0, 1.0]
    model = labelling_model(tmp_path, letters, 5, {"id": "stardist_postprocessing", "kwargs": kwargs}, "int32")
    array = image(letters, 5)
    labels = bioimage_inference.predict(model, array, axes="c" + letters).outputs["out"].array
    assert labels is not None
    assert (labels.shape, labels.dtype) == ((1, 1, *array.shape[1:]), np.int32)
    np.testing.assert_array_equal(labels[0, 0] > 0, array[0] > 0.5)
    assert len(np.unique(labels)) == 1 + (array[0] > 0.5).sum()


CELLPOSE = {
    "id": "cellpose_flow_dynamics",
    "kwargs": {
        "cellprob_threshold": 0.3,
        "flow_threshold": 0.4,
        "do_3D": False,
        "min_size": 7,
        "output_dtype": "uint16",
    },
}


@pytest.mark.usefixtures("stand_ins")
def test_cellpose(tmp_path: Path) -> None:
    array = image("yx", 3)
    labels = bioimage_inference.predict(labelling_model(tmp_path, "yx", 3, CELLPOSE), array, axes="cyx").outputs["out"]
    assert labels.array is not None
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels.array[0, 0], 300 * ((array[2] > 0.3) & (array[0] > array[1])))


@pytest.mark.usefixtures("stand_ins")
def test_what_other_packages_raise_is_a_fault_of_the_model(tmp_path: Path) -> None:
    """Cellpose networks return three channels."""
    with pytest.raises(ModelError, match="step cellpose_flow_dynamics of the model failed: ValueError: Expected 3"):
        bioimage_inference.predict(labelling_model(tmp_path, "yx", 2, CELLPOSE), image("yx", 2), axes="cyx")


def test_packages_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    model = labelling_model(tmp_path, "yx", 3, CELLPOSE)
    with pytest.raises(ModelError, match=r"cellpose_flow_dynamics needs the package cellpose.* pip install cellpose"):
        bioimage_inference.predict(model, image("yx", 3), axes="cyx")
    assert main(["inspect", str(model), "--json"]) == 0
    assert "needs the package cellpose" in json.dumps(json.loads(capsys.readouterr().out))


def custom_model(folder: Path, source: str, **more: Any) -> Path:
    """A model with the step ``custom``, whose function is ``own`` of ``source``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(source)
    step = {"id": "custom", "source": "own.py", "sha256": sha256(folder / "own.py"), "callable": "own", "kwargs": {}}
    inputs, outputs = simple_tensors(postprocessing=[*more.get("before", ()), step, *more.get("after", ())])
    outputs[0]["data"] = {"type": more.get("dtype", "float32")}
    return write_model(folder, more.get("network", Identity()), inputs, outputs)


ABOVE_HALF = "def own():\n    return lambda array: (array > 0.5).astype('uint8')\n"


@pytest.mark.parametrize("size", [64, 1600])
def test_a_custom_function_gets_the_whole_output(tmp_path: Path, size: int) -> None:
    """Outputs of more than two million pixels are written in pieces."""
    array = np.random.default_rng(0).random((size, size), "float32")
    model = custom_model(tmp_path, ABOVE_HALF, dtype="uint8")
    out = bioimage_inference.predict(model, array, axes="yx", tile=(64, 64), trust_model_code=True).outputs["out"]
    assert (out.dtype, out.shape) == (np.uint8, (1, 1, size, size))
    np.testing.assert_array_equal(out.array, (array > 0.5)[None, None])


class Numbered(torch.nn.Module):
    """Whole numbers, most of which float32 does not hold."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.int64) * 1000003


class Positive(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x > 0


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_a_custom_function_gets_whole_numbers_and_yes_or_no_as_they_are(
    tmp_path: Path, dtype: str, tile: tuple[int, int] | None
) -> None:
    array = np.random.default_rng(0).integers(0, 200, (20, 20)).astype("float32")
    network, source, expected = {
        "int64": (Numbered(), "array % 10", array.astype("int64") * 1000003 % 10),
        "bool": (Positive(), "~array", array == 0),
    }[dtype]
    model = custom_model(tmp_path, f"def own():\n    return lambda array: {source}\n", network=network, dtype=dtype)
    out = bioimage_inference.predict(model, array, axes="yx", tile=tile, trust_model_code=True).outputs["out"]
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.array, expected[None, None])


def test_a_custom_function_gets_yes_or_no_of_the_step_before_it(tmp_path: Path) -> None:
    before = [{"id": "scale_range", "kwargs": {}}, {"id": "binarize", "kwargs": {"threshold": 0.5}}]
    model = custom_model(tmp_path, "def own():\n    return lambda array: ~array\n", before=before, dtype="bool")
    array = np.arange(400, dtype="float32").reshape(20, 20)
    out = bioimage_inference.predict(model, array, axes="yx", tile=(16, 16), trust_model_code=True).outputs["out"]
    np.testing.assert_array_equal(out.array, (array < 200)[None, None])


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_statistics_of_large_whole_numbers_are_exact(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    inputs, outputs = simple_tensors(postprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {}}])
    array = np.arange(400, dtype="float32").reshape(20, 20)
    model = write_model(tmp_path, Numbered(), inputs, outputs)
    out = bioimage_inference.predict(model, array, axes="yx", tile=tile).outputs["out"].array
    np.testing.assert_allclose(out, [[(array - array.mean()) / array.std()]], rtol=1e-6)


def test_steps_before_and_after_a_custom_function(tmp_path: Path) -> None:
    """Whole numbers that a custom step returns are normalised in floating point."""
    axes = ["channel", "y", "x"]
    model = custom_model(
        tmp_path,
        ABOVE_HALF,
        before=[{"id": "scale_range", "kwargs": {"axes": axes}}],
        after=[
            {"id": "zero_mean_unit_variance", "kwargs": {"axes": axes}},
            {"id": "scale_linear", "kwargs": {"gain": 3.0}},
        ],
    )
    array = np.random.default_rng(0).normal(50, 20, (64, 64)).astype("float32")
    out = bioimage_inference.predict(model, array, axes="yx", tile=(32, 32), trust_model_code=True).outputs["out"].array
    above = (array - array.min()) / np.ptp(array) > 0.5
    np.testing.assert_allclose(out[0, 0], 3 * (above - above.mean()) / above.std(), rtol=1e-4)  # type: ignore[index]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def own():\n    return lambda array: array[0]\n", r"ValueError: it returned the shape \(1, 64, 64\) for"),
        ("def own():\n    return lambda array: 1 / 0\n", "ZeroDivisionError: division by zero"),
    ],
)
def test_custom_functions_that_fail(tmp_path: Path, source: str, message: str) -> None:
    model = custom_model(tmp_path, source)
    with pytest.raises(ModelError, match=f"The step custom of the model failed: {message}"):
        bioimage_inference.predict(model, np.zeros((64, 64), "float32"), axes="yx", trust_model_code=True)


def test_lists_of_objects_that_differ_in_length_are_not_stacked_after_statistics(tmp_path: Path) -> None:
    """A step that needs the whole list does not change that."""
    model = detector(tmp_path)
    content = yaml.safe_load(model.read_text())
    for output in content["outputs"]:
        output["postprocessing"] = [{"id": "zero_mean_unit_variance", "kwargs": {}}]
    model.write_text(yaml.safe_dump(content))
    frames = np.zeros((2, 40, 50), "float32")
    frames[0, 3, :4], frames[1, 3, :2] = 1, 1
    with pytest.raises(bioimage_inference.ImageError, match=r"'boxes' has 4 entries along i .* but 2 for another"):
        bioimage_inference.predict(model, frames, axes="tyx")


def test_a_conversion_before_a_softmax_along_an_image_axis_cuts_off_no_decimals(tmp_path: Path) -> None:
    steps = [{"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}}, {"id": "softmax", "kwargs": {"axis": "y"}}]
    inputs, outputs = simple_tensors(preprocessing=steps)
    model = write_model(tmp_path, Identity(), inputs, outputs)
    array = np.random.default_rng(0).random((64, 64), "float32")
    out = bioimage_inference.predict(model, array, axes="yx", tile=(32, 32)).outputs["out"].array
    powers = np.exp(array - array.max(0))
    np.testing.assert_allclose(out[0, 0], powers / powers.sum(0), rtol=1e-4)  # type: ignore[index]
