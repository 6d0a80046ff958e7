"""Tiled equals whole to 1e-5 where the halo covers the receptive field, for images of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_inference
from tests import models

SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Array = np.ndarray[Any, Any]


def predict(path: Path, image: Array, axes: str, **options: Any) -> tuple[Array, dict[str, Any]]:
    prediction = bioimage_inference.predict(path, image, axes=axes, **options)
    array = prediction.outputs["out"].array
    assert array is not None
    return array, dict(prediction.record)


def image_of(*shape: int) -> Array:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def pooled_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 2}, halo=4)
    return models.write_model(tmp_path_factory.mktemp("pooled"), models.Pooled((3, 3)), inputs, outputs)


@SETTINGS
@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.tuples(st.integers(16, 40), st.integers(16, 40)))
def test_for_any_image_and_tile_size(pooled_model: Path, shape: tuple[int, int], tile: tuple[int, int]) -> None:
    image = image_of(*shape)
    whole, _ = predict(pooled_model, image, "yx", tile=(92, 92))
    tiled, _ = predict(pooled_model, image, "yx", tile=tile)
    assert whole.shape == (1, 1, *shape)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(17, 53), (97, 61), (5, 5), (1, 40)])
def test_padding_reaches_only_the_next_legal_size_and_is_cropped_again(
    pooled_model: Path, shape: tuple[int, int]
) -> None:
    """The whole image in one call is the image mirrored at its end up to the next legal size."""
    image = image_of(*shape)
    legal = [max(16, size + size % 2) for size in shape]
    padded = np.pad(image, [(0, after - before) for after, before in zip(legal, shape, strict=True)], mode="symmetric")
    network = torch.jit.load(str(pooled_model.parent / "weights.pt"))
    expected = network(torch.from_numpy(padded[None, None])).detach().numpy()[..., : shape[0], : shape[1]]
    result, record = predict(pooled_model, image, "yx")
    assert record["plan"]["tiles"] == 1
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_in_3d_with_halos_that_differ(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors("zyx", {"min": 4, "step": 1}, halo={"z": 1, "y": 2, "x": 3})
    path = models.write_model(tmp_path, models.Blur((1, 2, 3)), inputs, outputs)
    image = image_of(11, 23, 31)
    whole, _ = predict(path, image, "zyx")
    tiled, record = predict(path, image, "zyx", tile=(5, 9, 10))
    assert record["plan"]["tiles"] > 20
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(("network", "scale"), [(models.Scaled(up=4), 0.25), (models.Scaled(down=2), 2.0)])
def test_where_the_output_has_another_resolution(tmp_path: Path, network: torch.nn.Module, scale: float) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 8, "step": 4}, halo=2)
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = scale
    path = models.write_model(tmp_path, network, inputs, outputs)
    image = image_of(33, 47)
    whole, _ = predict(path, image, "yx")
    tiled, record = predict(path, image, "yx", tile=(16, 20))
    assert whole.shape == (1, 1, int(33 / scale), int(47 / scale))
    assert record["plan"]["tiles"] > 1
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_where_the_network_crops_its_own_border(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 1})
    for letter, axis in zip("yx", outputs[0]["axes"][2:], strict=True):
        axis["size"] = models.reference(letter, offset=-6)
    path = models.write_model(tmp_path, models.Valid(3), inputs, outputs)
    image = image_of(40, 51)
    whole, _ = predict(path, image, "yx")
    tiled, record = predict(path, image, "yx", tile=(20, 24))
    assert whole.shape == (1, 1, 34, 45)
    assert record["plan"]["tiles"] > 1
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_fixed_size_is_tiled_flush_with_the_border(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"y": 32, "x": 48}, halo=3)
    path = models.write_model(tmp_path, models.Blur((3, 3)), inputs, outputs)
    image = image_of(71, 113)
    result, record = predict(path, image, "yx")
    assert record["plan"]["tile"] == {"y": 32, "x": 48}
    assert not record["plan"]["padding"]
    network = torch.jit.load(str(path.parent / "weights.pt"))
    np.testing.assert_allclose(result, network(torch.from_numpy(image[None, None])).detach().numpy(), atol=1e-5)


def test_an_overlap_is_chosen_and_told_where_the_description_has_no_halo(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"y": 32, "x": 32})
    path = models.write_model(tmp_path, models.Blur((5, 5)), inputs, outputs)
    image = image_of(60, 60)
    result, record = predict(path, image, "yx")
    assert any("declares no halo" in note and "12 along y" in note for note in record["notes"])
    network = torch.jit.load(str(path.parent / "weights.pt"))
    np.testing.assert_allclose(result, network(torch.from_numpy(image[None, None])).detach().numpy(), atol=1e-5)


def test_steps_that_need_the_whole_output_are_done_on_the_whole_output(tmp_path: Path) -> None:
    steps = [
        {"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"], "min_percentile": 1.0, "max_percentile": 99.0}}
    ]
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 1}, halo=3, postprocessing=steps)
    path = models.write_model(tmp_path, models.Blur((3, 3)), inputs, outputs)
    image = image_of(50, 41)
    network = torch.jit.load(str(path.parent / "weights.pt"))
    raw = network(torch.from_numpy(image[None, None])).detach().numpy()
    low, high = np.quantile(raw, [0.01, 0.99])
    for tile in (None, (20, 20)):
        result, _ = predict(path, image, "yx", tile=tile)
        np.testing.assert_allclose(result, (raw - low) / (high - low + 1e-6), atol=1e-5)
