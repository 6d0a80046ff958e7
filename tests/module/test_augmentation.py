"""Test-time augmentation: mean and standard deviation over flips and quarter turns, compared with whole predictions."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from bioimage_inference import predict
from bioimage_inference.cli import main
from bioimage_inference.errors import UsageError
from bioimage_inference.inference.augmentation import Average

from ..models import simple_tensors, write_model

Output = pytest.CaptureFixture[str]
Array = np.ndarray[Any, Any]


class Leaning(torch.nn.Module):
    """Convolutions without any symmetry: each copy of an image has another prediction."""

    def __init__(self, dimensions: int = 2, channels: int = 2) -> None:
        super().__init__()
        torch.manual_seed(3)
        kind = torch.nn.Conv2d if dimensions == 2 else torch.nn.Conv3d
        self.first, self.second = kind(1, 4, 3, padding=1), kind(4, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class Labels(torch.nn.Module):
    """Whole numbers in float32, as a network that returns label maps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 5).round()


STEPS = [{"id": "sigmoid"}]
NORMALISE = {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}


def model_of(folder: Path, network: torch.nn.Module | None = None, **words: Any) -> Path:
    return write_model(folder, network or Leaning(), *tensors(**words))


def tensors(**words: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    options: dict[str, Any] = {"halo": 2, "outputs": 2, "preprocessing": [NORMALISE], "postprocessing": STEPS}
    options |= words
    return simple_tensors(**options)


def image_of(*shape: int) -> Array:
    return np.random.default_rng(1).normal(100, 20, shape).astype("float32")


def by_hand(model: Path, image: Array, axes: str, *, turns: bool) -> tuple[Array, Array]:
    """Mean and standard deviation of whole predictions of the copies of an image, in float64."""
    found = []
    for turn, *flips in product((0, 1) if turns else (0,), *[(False, True)] * image.ndim):
        mirrored = tuple(axis for axis, flip in enumerate(flips) if flip)
        copy = np.flip(np.rot90(image, turn, (image.ndim - 2, image.ndim - 1)), mirrored)
        array = predict(model, np.ascontiguousarray(copy), axes=axes).outputs["out"].array
        assert array is not None
        back = np.flip(array, tuple(2 + axis for axis in mirrored))
        found.append(np.rot90(back, -turn, (array.ndim - 2, array.ndim - 1)).astype("float64"))
    return np.mean(found, axis=0), np.std(found, axis=0)


@pytest.mark.parametrize("kind", ["flips", "rotations"])
@pytest.mark.parametrize("tile", [None, 32])
def test_the_mean_is_that_of_whole_predictions_of_all_copies(kind: Any, tile: int | None, tmp_path: Path) -> None:
    model, image = model_of(tmp_path / "model"), image_of(64, 48)
    mean, deviation = by_hand(model, image, "yx", turns=kind == "rotations")
    outputs = predict(model, image, axes="yx", augment=kind, uncertainty=True, tile=tile).outputs
    np.testing.assert_allclose(outputs["out"].array, mean, rtol=0, atol=2e-6)
    np.testing.assert_allclose(outputs["out_uncertainty"].array, deviation, rtol=0, atol=2e-6)
    plain = predict(model, image, axes="yx").outputs["out"].array
    assert plain is not None
    assert np.abs(plain - mean).max() > 0.01  # the network has no symmetry of its own
    assert deviation.max() > 0.01


def test_a_volume_is_flipped_along_z_as_well(tmp_path: Path) -> None:
    normalise = NORMALISE | {"kwargs": {"axes": ["channel", "z", "y", "x"]}}
    model = model_of(tmp_path / "model", Leaning(3), letters="zyx", preprocessing=[normalise])
    image = image_of(16, 16, 24)
    mean, deviation = by_hand(model, image, "zyx", turns=False)
    found = predict(model, image, axes="zyx", augment="flips", uncertainty=True)
    np.testing.assert_allclose(found.outputs["out"].array, mean, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.outputs["out_uncertainty"].array, deviation, rtol=0, atol=2e-6)
    assert any("mean of 8 predictions" in note for note in found.record["notes"])


def test_samples_of_a_stack_are_averaged_each_on_its_own(tmp_path: Path) -> None:
    model, image = model_of(tmp_path / "model"), image_of(3, 32, 48)
    found = predict(model, image, axes="tyx", augment="rotations").outputs["out"].array
    assert found is not None
    for number, plane in enumerate(image):
        mean, _ = by_hand(model, plane, "yx", turns=True)
        np.testing.assert_allclose(found[number], mean[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_average_grows_array_by_array(dtype: str) -> None:
    arrays = image_of(16, 5, 7).astype(dtype)
    average = Average(deviation=True)
    for array in arrays:
        average.add(array)
    np.testing.assert_allclose(average.mean, arrays.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(average.deviation, arrays.std(axis=0), rtol=1e-5)
    assert (average.mean.dtype, average.deviation.dtype) == (np.dtype(dtype), np.dtype("float32"))


def named(output: dict[str, Any], *names: str) -> None:
    """Give the channels of an output these names."""
    next(axis for axis in output["axes"] if axis["type"] == "channel")["channel_names"] = list(names)


def changed(case: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
    """Change a description in the way of a case."""
    (output,) = outputs
    match case:
        case "channels":
            named(output, "flow_y", "probability")
        case "camel":
            named(output, "cell", "xOffset")
        case "id":
            output["id"] = "star_rays"
        case "dtype":
            output["data"] = {"type": "uint16"}
        case "classes":
            output["data"] = {"values": [0.0, 1.0, 2.0]}
        case "step":
            output["postprocessing"] = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["y", "x"]}}]
        case "sizes":
            for axis in inputs[0]["axes"]:
                if axis.get("id") == "y":
                    axis["size"] = {"min": 16, "step": 8}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("channels", r"by the name 'flow_y' its values are directions, which turn with the image"),
        ("camel", r"by the name 'xOffset' its values are directions"),
        ("id", r"by the name 'star_rays' its values are directions"),
        ("dtype", r"declares whole numbers \(uint16\)"),
        ("classes", r"or classes for it"),
        ("step", r"a step of the output 'out' needs the whole output"),
        (
            "sizes",
            r"at least 16 in steps of 8 along y and .* along x, so that it cannot be turned\. Use --augment flips",
        ),
    ],
)
def test_what_cannot_be_averaged_is_refused(case: str, reason: str, tmp_path: Path) -> None:
    inputs, outputs = tensors()
    changed(case, inputs, outputs)
    model = write_model(tmp_path / "model", Leaning(), inputs, outputs)
    with pytest.raises(UsageError, match=reason):
        predict(model, image_of(32, 32), axes="yx", augment="rotations")


def test_labels_that_the_description_hides_are_found_in_the_values(tmp_path: Path) -> None:
    model = model_of(tmp_path / "model", Labels(), outputs=1, halo=0, postprocessing=[], preprocessing=[])
    with pytest.raises(UsageError, match="whole numbers, as labels and classes have"):
        predict(model, image_of(32, 32), axes="yx", augment="flips")
    assert predict(model, np.zeros((32, 32), "float32"), axes="yx", augment="flips")  # a mask of zeros and ones


def test_uncertainty_needs_copies() -> None:
    with pytest.raises(UsageError, match="Give --augment flips or --augment rotations with it"):
        predict("model", np.zeros((4, 4)), uncertainty=True)
    with pytest.raises(UsageError, match="augment='turns' is not known"):
        predict("model", np.zeros((4, 4)), augment="turns")  # type: ignore[arg-type]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with a model, an image and the files of its averaged prediction."""
    model_of(tmp_path / "model")
    tifffile.imwrite(tmp_path / "cells.tif", image_of(64, 48), metadata={"axes": "YX"})
    arguments = ["predict", str(tmp_path / "model"), str(tmp_path / "cells.tif"), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--augment", "rotations", "--uncertainty", "--report", "--tile", "32x32"]) == 0
    return tmp_path


def test_the_uncertainty_is_a_map_of_its_own_in_files_record_and_report(written: Path) -> None:
    names = {path.name for path in (written / "out").iterdir()}
    assert {"cells_out.tif", "cells_out_uncertainty.tif", "cells_out_uncertainty.npy"} <= names
    record = json.loads((written / "out" / "cells_provenance.json").read_text())
    assert (record["options"]["augment"], record["options"]["uncertainty"]) == ("rotations", True)
    assert [one["id"] for one in record["outputs"]] == ["out", "out_uncertainty"]
    assert record["outputs"][1]["shape"] == record["outputs"][0]["shape"]
    page = (written / "out" / "cells_report.html").read_text()
    for words in ("out_uncertainty", "mean of 8 predictions", "standard deviation of these predictions"):
        assert words in page
    with tifffile.TiffFile(written / "out" / "cells_out.tif") as file:
        assert file.imagej_metadata is not None
        assert "mean over: rotations" in file.imagej_metadata["Info"]


def test_a_run_is_repeated_from_its_record_and_resumed(written: Path, capsys: Output) -> None:
    record = written / "out" / "cells_provenance.json"
    assert main(["rerun", str(record), "-o", str(written / "again")]) == 0
    again = capsys.readouterr().out
    assert again.count("identical") >= 4
    for name in ("cells_out.npy", "cells_out_uncertainty.npy"):
        assert (written / "again" / name).read_bytes() == (written / "out" / name).read_bytes()
    arguments = ["predict", str(written / "model"), str(written / "cells.tif"), "-o", str(written / "out"), "--resume"]
    same = [*arguments, "--augment", "rotations", "--uncertainty", "--tile", "32x32"]
    before = record.read_bytes()
    assert main(same) == 0
    assert record.read_bytes() == before  # nothing was computed again


def test_a_dry_run_lists_the_uncertainty_and_named_files_refuse_it(written: Path, capsys: Output) -> None:
    capsys.readouterr()
    arguments = ["predict", str(written / "model"), str(written / "cells.tif")]
    more = ["--augment", "flips", "--uncertainty"]
    assert main([*arguments, *more, "--dry-run", "-o", str(written / "dry")]) == 0
    told = capsys.readouterr().out
    assert "output  out_uncertainty" in told
    assert "mean of 4 predictions" in told
    assert main([*arguments, *more, "--npy", str(written / "a.npy")]) == 2
    assert "Give -o DIR instead" in capsys.readouterr().err
    assert main([*arguments, "--uncertainty", "-o", str(written / "dry")]) == 2


def test_tiles_stay_within_the_memory(test_data: Path, tmp_path: Path) -> None:
    """A large image in a small budget: memory does not grow with the number of copies."""
    image = np.random.default_rng(0).integers(0, 4000, (2048, 2048), "uint16")
    tifffile.imwrite(tmp_path / "large.tif", image, metadata={"axes": "YX"})
    command = [sys.executable, "-m", "bioimage_inference", "predict", str(test_data / "demo-model.zip")]
    command += [str(tmp_path / "large.tif"), "-o", str(tmp_path / "out"), "--memory", "700MiB", "--threads", "1"]
    command += ["--augment", "flips", "--uncertainty", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["plan"]["tiles"] > 1
    assert record["memory"]["peak_bytes"] < 700 << 20
