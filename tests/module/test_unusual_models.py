"""Models whose tensors are not images alone: classes, lists of objects, prompts, volumes made of planes, labels."""

import json
import re
from pathlib import Path
from typing import Any, Literal

import jsonschema
import numpy as np
import pytest
import tifffile
import torch
import yaml
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference.api import Target
from bioimage_inference.cli import main
from bioimage_inference.errors import ImageError, ModelError, UsageError
from bioimage_inference.image.array_images import array_image
from tests import models
from tests.models import BATCH, FACTS, channels, reference, sha256, simple_tensors, space, write_model


class Classes(torch.nn.Module):
    """The mean of the image and its maximum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean(dim=(1, 2, 3)), x.amax(dim=(1, 2, 3))], dim=1)


class Objects(torch.nn.Module):
    """As many objects as the brightest pixel says: a mask for each, and its number."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.arange(1, int(x.max().item()) + 1)
        return (x[0] == numbers[:, None, None]).byte(), numbers


class Prompted(torch.nn.Module):
    """The image times the number of boxes, which it cannot do without."""

    def forward(self, x: torch.Tensor, boxes: torch.Tensor | None = None) -> torch.Tensor:
        assert boxes is not None, "no prompt was given"
        assert boxes.dtype == torch.int64, "boxes are whole numbers"
        return x * boxes.size(1)


class Doubled(torch.nn.Module):
    """The image twice along the batch axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x])


class Either(torch.nn.Module):
    """The image, whether the other one is given or not."""

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        return x


class Deepened(torch.nn.Module):
    """A plane five times over."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(2).repeat(1, 1, 5, 1, 1)


class Labels(torch.nn.Module):
    """The image as it is, in whole numbers if so wanted."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.long() if self.whole else x


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    inputs, _ = simple_tensors()
    return write_model(tmp_path / "model", Classes(), inputs, [{"id": "out", "axes": [BATCH, channels(2)]}])


def _image(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_classes_are_those_of_the_whole_image(classifier: Path) -> None:
    image = _image(80, 64)
    out = bioimage_inference.predict(classifier, image, axes="yx").outputs["out"]
    assert (out.axes, out.shape) == ("bc", (1, 2))
    assert out.array is not None
    np.testing.assert_allclose(out.array, [[image.mean(), image.max()]], rtol=1e-6)


def test_classes_of_a_stack_are_a_row_for_each_plane(classifier: Path) -> None:
    image = _image(3, 64, 64)
    out = bioimage_inference.predict(classifier, image, axes="tyx").outputs["out"]
    assert out.array is not None
    np.testing.assert_allclose(out.array, np.stack([image.mean((1, 2)), image.max((1, 2))], 1), rtol=1e-6)


def test_classes_of_a_padded_image_come_with_a_remark(classifier: Path) -> None:
    notes = bioimage_inference.predict(classifier, _image(70, 64), axes="yx").record["notes"]
    assert any("was padded along y to a size that the model takes. Its output 'out'" in note for note in notes)
    assert not bioimage_inference.predict(classifier, _image(80, 64), axes="yx").record["notes"]


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """Without batch and channel axes; the number of objects is left to the data."""
    objects = {"type": "index", "id": "object", "size": {}}
    follows = [space(letter, reference(letter)) for letter in "yx"]
    raw = {"id": "raw", "axes": [channels(1), space("y", {"min": 16, "step": 1}), space("x", {"min": 16, "step": 1})]}
    masks = {"id": "masks", "axes": [objects, *follows], "data": {"type": "uint8"}}
    numbers = {"id": "numbers", "axes": [objects], "data": {"type": "int64"}}
    return write_model(tmp_path / "model", Objects(), [raw], [masks, numbers])


def test_objects_are_a_list_of_any_length(detector: Path) -> None:
    image = np.random.default_rng(0).integers(0, 8, (700, 900)).astype(np.float32)
    prediction = bioimage_inference.predict(detector, image, axes="yx")
    masks, numbers = prediction.outputs["masks"], prediction.outputs["numbers"]
    assert (masks.axes, masks.shape, masks.dtype.name) == ("iyx", (7, 700, 900), "uint8")
    np.testing.assert_array_equal(numbers.array, np.arange(1, 8))
    np.testing.assert_array_equal(masks.array, image == np.arange(1, 8)[:, None, None])


def test_objects_of_tiles_cannot_be_joined_so_there_is_one_tile(detector: Path) -> None:
    image = np.full((64, 64), 3, np.float32)
    prediction = bioimage_inference.predict(detector, image, axes="yx", tile=(32, 32))
    assert prediction.outputs["masks"].shape == (3, 64, 64)
    assert "A tile of 32 pixels along y is not possible here; 64 is used." in prediction.record["notes"]


def test_objects_of_a_stack_are_refused_where_their_numbers_differ(detector: Path) -> None:
    image = np.stack([np.full((32, 32), number, np.float32) for number in (3, 3, 2)])
    assert bioimage_inference.predict(detector, image[:2], axes="tyx").outputs["masks"].axes == "tiyx"
    with pytest.raises(ImageError, match="3 entries along i for the first plane or volume of the image, but 2"):
        bioimage_inference.predict(detector, image, axes="tyx")


SCHEMA = json.loads(
    (Path(bioimage_inference.__file__).parent / "provenance" / "provenance.schema.json").read_text(encoding="utf-8")
)
EMPTY = np.zeros((40, 50), np.float32)


@pytest.mark.parametrize(
    "step",
    [
        {"id": "sigmoid"},
        {"id": "binarize", "kwargs": {"threshold": 0.5}},
        {"id": "clip", "kwargs": {"min_percentile": 1.0, "max_percentile": 99.0}},
        {"id": "ensure_dtype", "kwargs": {"dtype": "uint16"}},
        {"id": "scale_linear", "kwargs": {"gain": 2.0, "offset": 1.0}},
        {"id": "scale_mean_variance", "kwargs": {"reference_tensor": "raw"}},
        {"id": "scale_range", "kwargs": {"max_percentile": 99.0}},
        {"id": "scale_range", "kwargs": {"reference_tensor": "raw"}},
        {"id": "softmax", "kwargs": {"axis": "object"}},
        {"id": "zero_mean_unit_variance", "kwargs": {}},
    ],
    ids=lambda step: "-".join([step["id"], *step.get("kwargs", {})]),
)
def test_an_image_without_objects_gives_outputs_without_entries(tmp_path: Path, step: dict[str, Any]) -> None:
    prediction = bioimage_inference.predict(models.detector(tmp_path, [step]), EMPTY, axes="yx")
    boxes, scores = prediction.outputs["boxes"], prediction.outputs["scores"]
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    assert boxes.array is not None
    assert boxes.array.shape == (0, 4)
    assert sum("found nothing in this image" in note for note in prediction.record["notes"]) == 2
    assert not any("not numbers" in note for note in prediction.record["notes"])


def test_frames_without_objects_are_stacked(tmp_path: Path) -> None:
    boxes = bioimage_inference.predict(models.detector(tmp_path), np.stack([EMPTY] * 3), axes="tyx").outputs["boxes"]
    assert (boxes.axes, boxes.shape) == ("tic", (3, 0, 4))


@pytest.mark.parametrize("layout", ["pages", "labelled"])
def test_outputs_without_entries_are_written_as_npy_only(
    tmp_path: Path, detector: Path, layout: Literal["pages", "labelled"], capsys: pytest.CaptureFixture[str]
) -> None:
    """The TIFF of an earlier image of that name must not stay: it would pass for the result."""
    image, out = tmp_path / "cells.tif", tmp_path / "out"
    predict = ["predict", str(detector), str(image), "-o", str(out), "--tiff-layout", layout]
    tifffile.imwrite(image, np.full((40, 50), 2, np.float32))
    assert main(predict) == 0
    assert {path.name for path in out.glob("cells_*.tif*")} == {"cells_masks.tif", "cells_numbers.tif"}
    tifffile.imwrite(image, EMPTY)
    assert main([*predict, "--report"]) == 0
    assert "found nothing in this image" in capsys.readouterr().out
    assert not list(out.glob("*.tif*"))
    assert np.load(out / "cells_masks.npy").shape == (0, 40, 50)
    assert np.load(out / "cells_masks.npy").dtype == np.uint8
    record = json.loads((out / "cells_provenance.json").read_text(encoding="utf-8"))
    assert [one["tiff"] for one in record["outputs"]] == [None, None]
    page = (out / "cells_report.html").read_text(encoding="utf-8")
    assert "It has no entries, because the network found nothing in the image." in page
    assert "Check how it was written" not in page
    jsonschema.validate(record, SCHEMA)
    capsys.readouterr()
    assert main([*predict, "--report", "--resume"]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["rerun", str(out / "cells_provenance.json"), "-o", str(tmp_path / "again")]) == 0


def test_a_tiff_alone_of_an_output_without_entries_is_no_file(tmp_path: Path, detector: Path) -> None:
    path = tmp_path / "masks.tif"
    targets = {"masks": Target(tiff=path), "numbers": Target()}
    masks = bioimage_inference.predict(detector, EMPTY, axes="yx", targets=targets).outputs["masks"]
    assert masks.tiff is None
    assert masks.array is not None
    assert not path.exists()


def test_objects_cannot_be_found_in_an_output_without_entries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, model = tmp_path / "cells.tif", models.detector(tmp_path)
    tifffile.imwrite(image, EMPTY)
    assert main(["predict", str(model), str(image), "-o", str(tmp_path / "out"), "--segment"]) == 5
    assert "'boxes' has no entries" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [[], [{"id": "zero_mean_unit_variance", "kwargs": {}}]])
def test_two_results_for_one_sample_are_refused(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    model = write_model(tmp_path / "model", Doubled(), *simple_tensors(postprocessing=steps))
    with pytest.raises(
        ModelError, match=r"returned 2×1×20×20 for output 'out', but its description promises 1×1×20×20"
    ):
        bioimage_inference.predict(model, _image(20, 20), axes="yx")


@pytest.mark.parametrize("optional", [True, False])
def test_a_prompt_is_given_as_a_further_input_or_asked_for(tmp_path: Path, optional: bool) -> None:
    (raw,), outputs = simple_tensors()
    objects = {"type": "index", "id": "object", "size": {"min": 1, "step": 1}}
    boxes = {"id": "boxes", "axes": [BATCH, objects, channels(4)], "data": {"type": "int64"}, "optional": optional}
    model = write_model(tmp_path / "model", Prompted(), [raw, boxes], outputs)
    image = _image(64, 64)
    with pytest.raises(ModelError if optional else UsageError, match="--input boxes=FILE"):
        bioimage_inference.predict(model, image, axes="yx")
    out = bioimage_inference.predict(
        model, image, axes="yx", inputs={"boxes": array_image(np.zeros((1, 2, 4), np.int64), "bic")}
    ).outputs["out"]
    np.testing.assert_array_equal(out.array, 2 * image[None, None])


@pytest.mark.parametrize("name", ["scale_range", "scale_mean_variance"])
def test_an_optional_input_whose_values_scale_the_output_is_asked_for(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = {"id": name, "kwargs": {"reference_tensor": "other"}}
    (raw,), outputs = simple_tensors(postprocessing=[step])
    other = {"id": "other", "axes": [BATCH, *(space(letter, reference(letter)) for letter in "yx")], "optional": True}
    model = write_model(tmp_path / "model", Either(), [raw, other], outputs)
    image, path = _image(20, 20), tmp_path / "cells.npy"
    np.save(path, image)
    assert main(["predict", str(model), str(path), "--axes", "yx", "-o", str(tmp_path / "out")]) == 2
    asked = f"step {name} of 'out' uses the values of the optional input 'other'.* Give --input other=FILE"
    assert re.search(asked, " ".join(capsys.readouterr().err.split()))
    with pytest.raises(UsageError, match=asked):
        bioimage_inference.predict(model, image, axes="yx")
    array = bioimage_inference.predict(model, image, axes="yx", inputs={"other": 2 * image + 3}).outputs["out"].array
    expected = {
        "scale_range": (image - 2 * image.min() - 3) / (2 * np.ptp(image) + 1e-6),
        "scale_mean_variance": 2 * image + 3,
    }
    np.testing.assert_allclose(array, expected[name][None, None], rtol=1e-4)


def test_what_a_network_in_torchscript_complains_of_is_told_in_a_line(tmp_path: Path) -> None:
    (raw,), outputs = simple_tensors()
    model = write_model(tmp_path / "model", Prompted(), [raw], outputs)
    with pytest.raises(ModelError, match=r"failed on an input of 1×1×64×64: .*no prompt was given\. The description"):
        bioimage_inference.predict(model, _image(64, 64), axes="yx")


def test_a_plane_becomes_a_volume_of_the_declared_depth_and_scale(tmp_path: Path) -> None:
    inputs, (out,) = simple_tensors()
    out["axes"].insert(2, space("z", 5, scale=1.5, unit="micrometer"))
    model = write_model(tmp_path / "model", Deepened(), inputs, [out])
    prediction = bioimage_inference.predict(model, _image(70, 90), axes="yx", tile=(64, 64))
    assert prediction.outputs["out"].shape == (1, 1, 5, 70, 90)
    assert prediction.record["outputs"][0]["pixel_size"] == {"z": {"value": 1.5, "unit": "µm"}}


@pytest.mark.parametrize(
    ("declared", "whole", "steps", "expected"),
    [
        ("float32", True, [], "float32"),
        ("float64", False, [], "float64"),
        ("uint16", True, [], "uint16"),
        ("uint8", False, [], "float32"),
        ("uint8", False, [{"name": "binarize", "kwargs": {"threshold": 0.5}}], "uint8"),
    ],
)
def test_outputs_of_format_0_4_have_their_type_unless_that_cuts_off_decimals(
    tmp_path: Path, declared: str, whole: bool, steps: list[Any], expected: str
) -> None:
    model = _write_v0_4(tmp_path, declared, whole, steps)
    out = bioimage_inference.predict(model, 2 * _image(32, 32), axes="yx").outputs["out"]
    assert out.dtype == np.dtype(expected)
    assert out.array is not None
    assert out.array.max() >= 1


def test_labels_of_format_0_4_that_their_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    model = _write_v0_4(tmp_path, "uint8", True, [])
    with pytest.raises(ModelError, match="from 0 to 300 for output 'out', but its description declares uint8"):
        bioimage_inference.predict(model, np.linspace(0, 300, 1024, dtype=np.float32).reshape(32, 32), axes="yx")


def _write_v0_4(folder: Path, dtype: str, whole: bool, steps: list[Any]) -> Path:
    network: Any = torch.jit.script(Labels(whole))
    network.save(folder / "weights.pt")
    raw = {"name": "raw", "axes": "bcyx", "shape": [1, 1, 32, 32], "data_type": "float32"}
    out = {"name": "out", "axes": "bcyx", "shape": [1, 1, 32, 32], "data_type": dtype, "postprocessing": steps}
    weights = {"torchscript": {"source": "weights.pt", "sha256": sha256(folder / "weights.pt")}}
    content = {**FACTS, "format_version": "0.4.10", "inputs": [raw], "outputs": [out], "weights": weights}
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content))
    return folder
