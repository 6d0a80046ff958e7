"""Tiles of models whose tensors differ in resolution, halo or legal sizes: the result is that of the whole image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import bioimage_inference
from tests import models

Array = np.ndarray[Any, Any]


def image_of(*shape: int) -> Array:
    return np.random.default_rng(3).random(shape).astype("float32")


class Sum(torch.nn.Module):
    """The sum of an image and of a coarser or equal one, repeated to the image's size."""

    def forward(self, raw: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return raw + functional.interpolate(other, size=[raw.shape[2], raw.shape[3]], mode="nearest")


class Coarse(torch.nn.Module):
    """The sum of an image and of the averages of another one over blocks of 16 pixels."""

    def forward(self, raw: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return raw + functional.interpolate(functional.avg_pool2d(other, 16), scale_factor=16.0, mode="nearest")


class Strided(torch.nn.Module):
    """A blur, and every second pixel of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 5, stride=2, padding=2)

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        return self.conv(raw)[:, :, : raw.shape[2] // 2, : raw.shape[3] // 2]


class FullAndHalf(torch.nn.Module):
    """The image itself, and at half its resolution."""

    def forward(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return raw * 1.0, functional.avg_pool2d(raw, 2)


def with_second_input(folder: Path, network: torch.nn.Module, size: Any, other: Any, halo: int) -> Path:
    """Write a model of two inputs with these sizes, whose output has the size of the first one."""
    inputs, outputs = models.simple_tensors(size=size, halo=halo)
    axes = [models.space(letter, other(letter)) for letter in "yx"]
    if "tensor_id" in other("y"):
        axes = [{**axis, "scale": 2.0} for axis in axes]
    inputs.append({"id": "other", "axes": [models.BATCH, models.channels(1, "other"), *axes]})
    return models.write_model(folder, network, inputs, outputs)


@pytest.mark.parametrize(("size", "tile"), [({"min": 16, "step": 1}, (33, 32)), ({"y": 64, "x": 64}, None)])
@pytest.mark.parametrize("shape", [(100, 126), (130, 202)])
def test_a_second_input_of_half_the_resolution(
    tmp_path: Path, size: Any, tile: tuple[int, int] | None, shape: tuple[int, int]
) -> None:
    path = with_second_input(tmp_path, Sum(), size, models.reference, halo=4)
    image, other = image_of(*shape), image_of(shape[0] // 2, shape[1] // 2)
    found = bioimage_inference.predict(path, image, axes="yx", inputs={"other": other}, tile=tile)
    assert found.record["plan"]["tiles"] > 1
    np.testing.assert_allclose(found.outputs["out"].array[0, 0], image + other.repeat(2, 0).repeat(2, 1), rtol=0)


@pytest.mark.parametrize(("pixels", "tile", "legal"), [(50, None, 64), (128, (50, 50), 64), (128, (64, 64), 64)])
def test_a_second_input_of_the_same_size_that_takes_fewer_sizes(
    tmp_path: Path, pixels: int, tile: tuple[int, int] | None, legal: int
) -> None:
    path = with_second_input(tmp_path, Coarse(), {"min": 32, "step": 1}, lambda _: {"min": 32, "step": 16}, halo=15)
    image, other = image_of(pixels, pixels), image_of(pixels, pixels)
    found = bioimage_inference.predict(path, image, axes="yx", inputs={"other": other}, tile=tile)
    assert found.record["plan"]["tile"] == {"y": legal, "x": legal}
    end = -pixels % 16
    padded = np.pad(other, ((0, end), (0, end)), mode="symmetric")
    blocks = padded.reshape(len(padded) // 16, 16, -1, 16).mean((1, 3), dtype=np.float64)
    expected = image + blocks.repeat(16, 0).repeat(16, 1)[:pixels, :pixels]
    np.testing.assert_allclose(found.outputs["out"].array[0, 0], expected, rtol=0, atol=1e-6)


def test_inputs_without_a_common_size_are_an_error_of_the_description(tmp_path: Path) -> None:
    path = with_second_input(tmp_path, Coarse(), {"min": 32, "step": 16}, lambda _: {"min": 40, "step": 16}, halo=0)
    image = image_of(64, 64)
    with pytest.raises(bioimage_inference.ModelError, match="no common size along y"):
        bioimage_inference.predict(path, image, axes="yx", inputs={"other": image})


@pytest.mark.parametrize(("size", "scale"), [(24, 3), (48, 3), (96, 3), (96, 6)])
@pytest.mark.parametrize("halo", [0, 1])
def test_a_fixed_size_whose_output_has_a_third_of_the_resolution(
    tmp_path: Path, size: int, scale: int, halo: int
) -> None:
    inputs, outputs = models.simple_tensors(size={"y": size, "x": size}, halo=halo)
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = float(scale)
    path = models.write_model(tmp_path, models.Scaled(down=scale), inputs, outputs)
    image = image_of(2 * size + scale, 3 * size)
    found = bioimage_inference.predict(path, image, axes="yx").outputs["out"].array
    expected = functional.avg_pool2d(torch.from_numpy(image[None, None]), scale).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_an_image_of_a_legal_size_is_not_padded_for_a_coarser_output(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 17, "step": 1}, halo=2)
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = 2.0
    network = Strided()
    path = models.write_model(tmp_path, network, inputs, outputs)
    for shape in ((100, 100), (101, 64)):
        image = image_of(*shape)
        expected = network(torch.from_numpy(image[None, None])).detach().numpy()
        for tile in (None, (33, 40)):
            found = bioimage_inference.predict(path, image, axes="yx", fit="tile" if tile else "exact", tile=tile)
            assert not found.record["plan"]["padding"]
            np.testing.assert_allclose(found.outputs["out"].array, expected, rtol=0, atol=1e-6)


def test_a_pixel_of_a_coarser_output_that_the_image_fills_in_part_is_cut_off(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 17, "step": 1}, halo=2)
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = 2.0
    path = models.write_model(tmp_path, torch.nn.AvgPool2d(2, ceil_mode=True), inputs, outputs)
    image = image_of(101, 64)
    for tile in (None, (33, 40)):
        found = bioimage_inference.predict(path, image, axes="yx", tile=tile).outputs["out"].array
        expected = image[:100].reshape(50, 2, 32, 2).mean((1, 3))
        np.testing.assert_allclose(found[0, 0], expected, rtol=0, atol=1e-6)


def test_a_mirrored_border_where_outputs_differ_in_resolution_and_halo(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(size={"min": 32, "step": 2}, halo=3)
    axes = [models.space(letter, models.reference(letter), scale=2.0, halo=1) for letter in "yx"]
    outputs.append({"id": "half", "axes": [models.BATCH, models.channels(1, "half"), *axes]})
    path = models.write_model(tmp_path, FullAndHalf(), inputs, outputs)
    image = image_of(40, 62)
    found = bioimage_inference.predict(path, image, axes="yx", border="mirror").outputs
    np.testing.assert_array_equal(found["out"].array[0, 0], image)
    half = image.reshape(20, 2, 31, 2).mean((1, 3))
    np.testing.assert_allclose(found["half"].array[0, 0], half, rtol=0, atol=1e-6)
