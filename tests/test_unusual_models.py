"""Models whose tensors are not images alone: classes, lists of objects, prompts, volumes made of planes, labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference.errors import ImageError, ModelError, UsageError
from bioimage_inference.image.arrays import array_image
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
    assert any("was padded along y to a size that the model takes. What it returns as 'out'" in note for note in notes)
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
