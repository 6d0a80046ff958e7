"""Train the demo models on synthetic nuclei and write their packages and sample images into test-data/.

    python scripts/train_demo_model.py [--dimensions 2|3]

Takes a few minutes on two CPU cores; the same machine and the same versions give the same weights.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
import torch
from anisotropic_unet import AnisotropicUNet
from evaluate_demo_model import TEST_DATA, predict
from numpy.typing import NDArray
from package_demo_model import finish_package, write_cover, write_test_tensors, write_torchscript
from synthetic_nuclei import (
    PIXEL_SIZE_2D,
    PIXEL_SIZE_3D,
    boundary_mask,
    foreground_mask,
    render_empty,
    render_nuclei,
    render_time_series,
    touching_mask,
)
from torch.nn import functional

# Seeds of the sample images: neither trained on nor held out for the evaluation.
IMAGE_SEED = 500_002
SERIES_SEED = 500_005
STACK_SEED = 500_005


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: shapes are YX or ZYX in pixels."""

    pixel_size: tuple[float, ...]
    image_shape: tuple[int, ...]
    crop_shape: tuple[int, ...]
    images: int
    batch: int
    steps: int
    boundary: bool
    touching_weight: float = 10


RECIPES = {
    2: Recipe(PIXEL_SIZE_2D, (256, 256), (128, 128), images=400, batch=8, steps=1400, boundary=True),
    3: Recipe(PIXEL_SIZE_3D, (24, 96, 96), (12, 64, 64), images=150, batch=4, steps=700, boundary=False),
}


def train(network: torch.nn.Module, recipe: Recipe, seed: int = 0) -> None:
    """Train `network` in place and leave it in evaluation mode."""
    specimens = [_specimen(seed, recipe) for seed in range(recipe.images)]
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=recipe.steps)
    network.train()
    start = time.monotonic()
    for step in range(1, recipe.steps + 1):
        image, target = _batch(specimens, recipe, rng)
        loss = _loss(network(image), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {recipe.steps}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s")
    network.eval()


def _specimen(seed: int, recipe: Recipe) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One training image (spatial axes only) and, channel axis first, its targets and the weight of each pixel.

    Every 40th image is empty. The few pixels where nuclei touch decide whether nuclei are told apart: they weigh more.
    """
    render = render_empty if seed % 40 == 0 else render_nuclei
    nuclei = render(seed, recipe.image_shape, recipe.pixel_size)
    masks = [foreground_mask(nuclei.labels)]
    weight = np.ones(recipe.image_shape)
    if recipe.boundary:
        masks.append(boundary_mask(nuclei.labels))
        weight += (recipe.touching_weight - 1) * touching_mask(nuclei.labels)
    return nuclei.image.astype(np.float32), np.stack([*masks, weight]).astype(np.float32)


def _batch(
    specimens: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], recipe: Recipe, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, flipped and turned by 90 degrees within the plane, each normalised by its own mean and std."""
    images, targets = [], []
    for index in rng.integers(len(specimens), size=recipe.batch):
        image, target = specimens[index]
        window = random_window(rng, recipe.image_shape, recipe.crop_shape)
        turns, flip = int(rng.integers(4)), int(rng.choice([-1, 1]))
        crop = np.rot90(image[window], turns, (-2, -1))[..., ::flip]
        images.append((crop - crop.mean()) / (crop.std() + 1e-6))
        targets.append(np.rot90(target[:, *window], turns, (-2, -1))[..., ::flip])
    return torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(targets))


def random_window(rng: np.random.Generator, shape: Sequence[int], crop: Sequence[int]) -> tuple[slice, ...]:
    """Return the place of a random crop in an image. ``shape`` and ``crop`` are in pixels along the same axes."""
    corner = [rng.integers(whole - part + 1) for whole, part in zip(shape, crop, strict=True)]
    return tuple(slice(start, start + part) for start, part in zip(corner, crop, strict=True))


def _loss(logits: torch.Tensor, target_and_weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy, plus one minus the Dice coefficient of each channel."""
    target, weight = target_and_weight[:, :-1], target_and_weight[:, -1:]
    entropy = functional.binary_cross_entropy_with_logits(logits, target, weight)
    probability = torch.sigmoid(logits)
    pixels = [0, *range(2, logits.ndim)]
    dice = (2 * (probability * target).sum(pixels) + 1) / ((probability + target).sum(pixels) + 1)
    return entropy + (1 - dice).mean()


def package_2d(network: torch.nn.Module, test_data: Path) -> None:
    """Write the sample images (YX, TYX) and what was generated for the package of the 2-D model, then its zip file."""
    nuclei = render_nuclei(IMAGE_SEED, (300, 380))
    nuclei_8_bit = render_nuclei(IMAGE_SEED, (300, 380), dtype=np.uint8)
    _write_imagej(test_data / "nuclei.tif", nuclei.image, "YX")
    imageio.imwrite(test_data / "nuclei.png", nuclei_8_bit.image)
    series = render_time_series(SERIES_SEED, frames=3, shape=(112, 136))
    _write_imagej(test_data / "nuclei_timeseries.tif", series.image, "TYX")

    folder = test_data / "demo-model"
    torch.save(network.state_dict(), folder / "weights_state_dict.pt")
    sample = nuclei_8_bit.image[100:196, 100:196]
    imageio.imwrite(folder / "sample_input.png", sample)
    prediction = predict(network, sample)
    tifffile.imwrite(folder / "sample_output.tif", prediction, metadata={"axes": "CYX"}, compression="zlib")
    write_test_tensors(network, nuclei.image[:128, :128], folder)
    write_cover(network, nuclei.image[:256, :256], folder / "cover.jpg")
    write_torchscript(network, folder / "weights.pt")
    finish_package(folder)


def package_3d(network: torch.nn.Module, test_data: Path) -> None:
    """Write the sample stack (ZYX) and what was generated for the package of the 3-D model, then its zip file."""
    stack = render_nuclei(STACK_SEED, (24, 96, 96), PIXEL_SIZE_3D).image
    _write_imagej(test_data / "nuclei_3d.tif", stack, "ZYX")

    folder = test_data / "demo-model-3d"
    write_test_tensors(network, stack[8:16, :64, :64], folder)
    write_cover(network, stack, folder / "cover.jpg")
    write_torchscript(network, folder / "weights.pt")
    finish_package(folder)


def _write_imagej(path: Path, image: NDArray[Any], axes: str) -> None:
    """Save a uint16 image with its axes and pixel size, as ImageJ does."""
    metadata: dict[str, Any] = {"axes": axes, "unit": "um"}
    if "Z" in axes:
        metadata["spacing"] = PIXEL_SIZE_3D[0]
    if "T" in axes:
        metadata["finterval"] = 60.0
    pixels_per_micrometer = 1 / PIXEL_SIZE_2D[-1]
    tifffile.imwrite(
        path, image, imagej=True, resolution=(pixels_per_micrometer, pixels_per_micrometer), metadata=metadata
    )


def load_architecture() -> type[torch.nn.Module]:
    """The class UNet from the source file that the 2-D package ships."""
    sys.dont_write_bytecode = True  # nothing but the package's own files may lie beside unet.py
    sys.path.insert(0, str(TEST_DATA / "demo-model"))
    architecture: type[torch.nn.Module] = importlib.import_module("unet").UNet
    return architecture


def main() -> None:
    """Train, package, and write the sample images of one model or both."""
    parser = argparse.ArgumentParser(description="Train the demo models and write their packages into test-data/.")
    parser.add_argument("--dimensions", type=int, choices=(2, 3), help="one of the two models (default: both)")
    arguments = parser.parse_args()
    torch.set_num_threads(2)  # sums, and so the weights, depend on it
    torch.use_deterministic_algorithms(True)
    for dimensions in (arguments.dimensions,) if arguments.dimensions else (2, 3):
        torch.manual_seed(0)
        network = load_architecture()() if dimensions == 2 else AnisotropicUNet()
        train(network, RECIPES[dimensions])
        package = package_2d if dimensions == 2 else package_3d
        package(network, TEST_DATA)


if __name__ == "__main__":
    main()
