"""Every published description is read, planned and run with a network that stands in for the real one."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bioimage_inference
from bioimage_inference.api import Target
from bioimage_inference.errors import ImageError
from bioimage_inference.image.array_images import array_image
from bioimage_inference.image.image import Image, PixelSize
from bioimage_inference.inference.planning import close, prepare
from bioimage_inference.model.description import read_description
from bioimage_inference.model.safe_yaml import load_yaml
from bioimage_inference.options import Options
from bioimage_inference.prediction import Prediction
from bioimage_inference.zoo.index import load_index
from tests import stand_ins
from tests.stand_ins import Declared, Tensor

DATA = Path(__file__).parents[3] / "shared" / "bioimageio-data"
# not a model, and one that must be refused
LEFT_OUT = ("environment.yaml", "invalid_v0_4_0_duplicate_tensor_names.bioimageio.yaml")
NO_NETWORK = "UNet2DNucleiBroad-5744490"
"""Its description names no file with the network of its weights."""
# A light field becomes a volume; a detector's boxes and a classifier's classes are those of a whole image.
FIXED = ("ambitious-sloth", "modest-spider", "straightforward-crocodile")
# Its output has whole numbers, as label maps have: labels of tiles cannot be put together.
LABELS = ("patient-swan",)


INDEX = "index"
"""Folder name of the models that have no description in the folder: the facts of the index describe them."""


def _descriptions() -> list[str]:
    """Descriptions of the models in the bundled index, and of examples, as paths in the folder.

    Without the folder, the facts of the index describe all models.
    """
    names = []
    for model in sorted(load_index().current().keys() - {NO_NETWORK}):
        folders = [DATA / folder / model for folder in ("zoo", "seed-models")]
        files = [file for folder in folders for file in sorted(folder.rglob("*.yaml")) if file.name not in LEFT_OUT]
        names += [file.relative_to(DATA).as_posix() for file in files] or [f"{INDEX}/{model}/facts"]
    examples = sorted(file for file in (DATA / "examples").rglob("*.yaml") if file.name not in LEFT_OUT)
    return [*names, *(file.relative_to(DATA).as_posix() for file in examples)]


@pytest.fixture(params=_descriptions())
def name(request: pytest.FixtureRequest) -> str:
    """A description, as a path in the folder of them all."""
    return str(request.param)


@pytest.fixture
def content(name: str) -> dict[str, Any]:
    """The content of a description, its lists of channels cut."""
    folder, model, *_ = Path(name).parts
    if folder == INDEX:
        facts = json.loads(json.dumps(load_index().current()[model].description))
        return stand_ins.shortened(facts)
    path = DATA / name
    return stand_ins.shortened(load_yaml(path.read_bytes(), path.name))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone at once: the outputs of all models are gigabytes together."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def model(content: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of a description and its stand-in, whose code is known to the administrator."""
    code = stand_ins.write_package(content, folder / "model")
    if code is not None:
        (folder / "known.txt").write_text(f"{code}\n")
        monkeypatch.setenv("BIOIMAGE_INFERENCE_TRUSTED_HASHES", str(folder / "known.txt"))
    return folder / "model"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What bioimageio.spec says through loguru, which prints on standard error unless it is told otherwise."""
    from loguru import logger

    messages: list[str] = []
    sink = logger.add(messages.append, level=0, format="{message}")
    yield messages
    logger.remove(sink)


@pytest.mark.usefixtures("shared")
def test_there_are_descriptions_of_most_models_in_the_index_and_of_examples() -> None:
    names = {Path(name).parts[:2] for name in _descriptions()}
    described = {model for folder, model in names if folder in ("zoo", "seed-models")}
    assert len(described) >= 116
    facts = {model for folder, model in names if folder == INDEX}
    assert facts == load_index().current().keys() - described - {NO_NETWORK}
    assert len({model for folder, model in names if folder == "examples"}) >= 6


def test_it_is_read_without_a_word_on_standard_error(content: dict[str, Any], logged: list[str]) -> None:
    spec, tensors = read_description(content, Path()), stand_ins.declared(content)
    assert [tensor.letters for tensor in spec.inputs] == [tensor.letters for tensor in tensors.inputs]
    assert [tensor.letters for tensor in spec.outputs] == [tensor.letters for tensor in tensors.outputs]
    assert spec.weights
    assert logged == []


def test_an_image_that_it_accepts_is_planned_as_one_tile(content: dict[str, Any]) -> None:
    spec, tensors = read_description(content, Path()), stand_ins.declared(content)
    image, *others = [_image(tensor) for tensor in tensors.inputs]
    names = [tensor.name for tensor in tensors.inputs[1:]]
    prepared = prepare(spec, image, dict(zip(names, others, strict=True)), Options())
    assert len(prepared.plan) == 1
    assert prepared.plan.computed == 1
    close(prepared)


def test_it_runs(model: Path, content: dict[str, Any], folder: Path) -> None:
    tensors = stand_ins.declared(content)
    images = {tensor.name: _image(tensor) for tensor in tensors.inputs}
    _check(content, _predict(model, images, folder), tensors, images)


@pytest.mark.slow
def test_a_larger_image_is_tiled_or_refused_for_a_reason(
    name: str, model: Path, content: dict[str, Any], folder: Path
) -> None:
    tensors = stand_ins.declared(content)
    images = {tensor.name: _image(tensor, more=21) for tensor in tensors.inputs if not tensor.optional}
    for models, reason in (
        (FIXED, r"its output does not follow the image.*--fit resize"),
        (LABELS, "Labels of tiles cannot be put together"),
    ):
        if Path(name).parent.name in models:
            with pytest.raises(ImageError, match=reason):
                _predict(model, images, folder)
            return
    _check(content, _predict(model, images, folder), tensors, images)


@pytest.mark.slow
def test_a_smaller_image_is_padded_and_its_output_cropped(model: Path, content: dict[str, Any], folder: Path) -> None:
    tensors = stand_ins.declared(content)
    images = {tensor.name: _image(tensor, more=-1) for tensor in tensors.inputs if not tensor.optional}
    _check(content, _predict(model, images, folder), tensors, images)


def _predict(model: Path, images: dict[str, Image], folder: Path) -> Prediction:
    image, *_ = images.values()
    others = {name: other for name, other in images.items() if other is not image}
    with bioimage_inference.open_model(model) as opened:
        targets = {
            output.id: Target(folder / f"{output.id}.tif", folder / f"{output.id}.npy")
            for output in opened.spec.outputs
        }
        return bioimage_inference.predict(opened, image, inputs=others, targets=targets, threads=1)


def _check(content: dict[str, Any], prediction: Prediction, tensors: Declared, images: dict[str, Image]) -> None:
    unchanged = set(_steps(content)) <= {"ensure_dtype"}
    shapes = {name: image.shape for name, image in images.items()}
    first = next(iter(images.values()))
    values = first.read(tuple(map(slice, first.shape)))
    for output, own, record in zip(
        prediction.outputs.values(), tensors.outputs, prediction.record["outputs"], strict=True
    ):
        assert output.axes == own.letters
        assert output.shape == tensors.output_shape(own, shapes)
        assert output.dtype == np.dtype(own.dtype)
        for letter, scale in stand_ins.pixel_scales(own, tensors.inputs[0]).items():
            assert record["pixel_size"][letter] == {"value": pytest.approx(0.5 / scale), "unit": "µm"}
        if unchanged:
            assert output.array is not None
            made = stand_ins.expected(values, tensors, own, output.shape)
            np.testing.assert_array_equal(output.array, made.astype(output.dtype))


def _steps(content: dict[str, Any]) -> Iterator[str]:
    for tensor in (*content["inputs"], *content["outputs"]):
        for step in (*tensor.get("preprocessing", ()), *tensor.get("postprocessing", ())):
            yield step["id"] if "id" in step else step["name"]


def _image(tensor: Tensor, more: int = 0) -> Image:
    """An image that a tensor takes, or with ``more`` pixels along all axes of space."""
    shape = [
        size + more if letter in "zyx" else size
        for letter, size in zip(tensor.letters, tensor.shape(larger=1), strict=True)
    ]
    values = np.random.default_rng(0).integers(0, 100, shape).astype(tensor.dtype)
    pixel_size = {letter: PixelSize(0.5, "µm") for letter in tensor.letters if letter in "zyx"}
    return replace(array_image(values, tensor.letters), pixel_size=pixel_size)
