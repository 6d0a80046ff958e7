"""Measure whether `compare` ranks models without true objects as it ranks them with true objects.

    python scripts/evaluate_comparison.py [--dimensions 2|3] [--folder FOLDER] [--images 2] [--steps 400]

Trains a small U-Net for each of six kinds of synthetic images or stacks, ranks all models on each kind, and prints
tables for docs/explanation/comparison.md. Takes about half an hour on one CPU thread for images, and an hour for
stacks. FOLDER keeps the models for the next run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
import yaml
from anisotropic_unet import AnisotropicUNet
from evaluate_demo_model import TEST_DATA
from numpy.typing import NDArray
from package_demo_model import write_test_tensors, write_torchscript
from scipy import ndimage
from scipy.stats import kendalltau
from synthetic_nuclei import (
    PIXEL_SIZE_2D,
    PIXEL_SIZE_3D,
    LabelArray,
    NucleiImage,
    boundary_mask,
    foreground_mask,
    render_nuclei,
    touching_mask,
)
from torch.nn import functional
from train_demo_model import load_architecture, random_window

from bioimage_inference.comparison.comparing import Candidate, Task, compare_models
from bioimage_inference.comparison.model_objects import ObjectRules
from bioimage_inference.comparison.ranking import FEW_OBJECTS
from bioimage_inference.comparison.results import Comparison, ModelRow
from bioimage_inference.options import Options
from bioimage_inference.predictor import Predictor
from bioimage_inference.segmentation.segmenting import SegmentOptions

TRAINING_IMAGES = 60
HELD_OUT_SEED = 2_000_000
FEATURES = 8
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """The parameters of the test on images (YX) or on stacks (ZYX).

    pixel_size: in µm, of the kinds of ordinary size. shape, crop: of images and of training crops, in pixels.
    batch: crops in a step. package: the demo model whose description and network are taken. further: a model that
    is compared with the trained ones.
    """

    axes: str
    pixel_size: tuple[float, ...]
    shape: tuple[int, ...]
    crop: tuple[int, ...]
    batch: int
    package: Path
    network: Callable[[], torch.nn.Module]
    further: Path


SETTINGS = {
    2: Setting(
        axes="YX",
        pixel_size=PIXEL_SIZE_2D,
        shape=(256, 256),
        crop=(128, 128),
        batch=4,
        package=TEST_DATA / "demo-model",
        network=lambda: load_architecture()(features=FEATURES),
        further=TEST_DATA / "threshold-model.zip",
    ),
    3: Setting(
        axes="ZYX",
        pixel_size=PIXEL_SIZE_3D,
        shape=(24, 128, 128),
        crop=(12, 64, 64),
        batch=2,
        package=TEST_DATA / "demo-model-3d",
        network=lambda: AnisotropicUNet(out_channels=2, features=FEATURES),
        further=TEST_DATA / "demo-model-3d.zip",
    ),
}


@dataclass(frozen=True)
class Kind:
    """A kind of images: the pixel size in the plane that it is rendered with in µm, and a change of the camera image.

    Stacks are rendered with planes as much closer or further apart as the pixels are.
    """

    name: str
    pixel_size: float
    change: Callable[[Image, np.random.Generator], Image]


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(ndimage.gaussian_filter(image, _pixels(3.0, image)) + rng.normal(0, 20, image.shape), np.float32)


def _low_contrast(image: Image, rng: np.random.Generator) -> Image:
    """Bright clouds lie over the nuclei, as haze of thick tissue does."""
    clouds = ndimage.gaussian_filter(rng.normal(size=image.shape), _pixels(24, image), mode="wrap")
    return np.asarray(image + 900 * (clouds / clouds.std()), np.float32)


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(image + rng.normal(0, 0.25 * np.percentile(image, 98), image.shape), np.float32)


def _pixels(in_plane: float, image: Image) -> list[float]:
    """Return a distance in pixels of the plane as pixels along each axis; planes lie further apart than pixels."""
    sizes = SETTINGS[image.ndim].pixel_size
    return [in_plane * sizes[-1] / size for size in sizes]


KINDS = (
    Kind("sharp", 0.325, lambda image, _: image),
    Kind("blurred", 0.325, _blurred),
    Kind("small nuclei", 0.7, lambda image, _: image),
    Kind("large nuclei", 0.16, lambda image, _: image),
    Kind("low contrast", 0.325, _low_contrast),
    Kind("noisy", 0.325, _noisy),
)


def render(kind: Kind, setting: Setting, seed: int) -> NucleiImage:
    """Return an image (YX or ZYX, float32) of a kind, and its labels."""
    zoom = kind.pixel_size / setting.pixel_size[-1]
    nuclei = render_nuclei(seed, setting.shape, [zoom * size for size in setting.pixel_size])
    changed = kind.change(nuclei.image.astype(np.float32), np.random.default_rng(seed))
    return NucleiImage(changed, nuclei.labels)


def train(kind: Kind, setting: Setting, steps: int) -> torch.nn.Module:
    """Return a small U-Net for a kind of images, with logits of foreground and boundary."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = setting.network()
    specimens = [_specimen(render(kind, setting, seed)) for seed in range(1, TRAINING_IMAGES + 1)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    network.train()
    for _ in range(steps):
        images, targets = [], []
        for index in rng.integers(len(specimens), size=setting.batch):
            window = random_window(rng, setting.shape, setting.crop)
            part = np.rot90(specimens[index][:, *window], int(rng.integers(4)), (-2, -1))
            images.append((part[0] - part[0].mean()) / (part[0].std() + 1e-6))
            targets.append(part[1:])
        target = torch.from_numpy(np.stack(targets))
        logits = network(torch.from_numpy(np.stack(images))[:, None])
        loss = functional.binary_cross_entropy_with_logits(logits, target[:, :2], target[:, 2:])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval()


def _specimen(nuclei: NucleiImage) -> Image:
    """Return image, foreground, boundary and the weight of each pixel along the first axis."""
    labels: LabelArray = nuclei.labels
    weight = 1 + 9 * touching_mask(labels)
    return np.stack([nuclei.image, foreground_mask(labels), boundary_mask(labels), weight]).astype(np.float32)


def package(kind: Kind, setting: Setting, folder: Path, steps: int) -> Path:
    """Return the description of the model for a kind. Train the model unless the folder has it."""
    target = folder / kind.name.replace(" ", "-")
    if (target / "rdf.yaml").is_file():
        return target / "rdf.yaml"
    target.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    network = train(kind, setting, steps)
    write_torchscript(network, target / "weights.pt")
    sample = render(kind, setting, HELD_OUT_SEED - 1).image
    write_test_tensors(network, sample[tuple(slice(size) for size in setting.crop)], target)
    (target / "README.md").write_text("A model for an experiment.\n")
    description: dict[str, Any] = yaml.safe_load((setting.package / "rdf.yaml").read_text())
    description |= {"name": f"model for {kind.name}", "documentation": "README.md"}
    del description["covers"]
    for tensor in (*description["inputs"], *description["outputs"]):
        tensor.pop("sample_tensor", None)
        del tensor["test_tensor"]["sha256"]
    description["outputs"][0]["axes"][1]["channel_names"] = ["foreground", "boundary"]
    description["weights"] = {"torchscript": {"source": "weights.pt", "pytorch_version": "2.13.0"}}
    (target / "rdf.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    print(f"trained {kind.name} in {time.monotonic() - start:.0f} s", flush=True)
    return target / "rdf.yaml"


def compare_on(kind: Kind, setting: Setting, models: list[Path], images: int, folder: Path) -> Comparison:
    """Return the comparison of all models on held-out images of a kind, with and without true objects."""
    paths, truths = [], []
    for number in range(images):
        nuclei = render(kind, setting, HELD_OUT_SEED + number)
        paths.append(folder / f"{kind.name}_{number}.tif")
        truths.append(folder / f"{kind.name}_{number}_labels.tif")
        tifffile.imwrite(paths[-1], nuclei.image, metadata={"axes": setting.axes})
        tifffile.imwrite(truths[-1], nuclei.labels, metadata={"axes": setting.axes})
    candidates = [Candidate(str(model), Predictor.open(model)) for model in models]
    task = Task(paths, truths, Options(device="cpu", threads=1), ObjectRules(SegmentOptions()), "whole")
    return compare_models(candidates, task)


def tau_of(found: Comparison, measure: Callable[[Comparison, ModelRow], float]) -> float:
    """Return Kendall's tau between a measure of consistency and the average precision by true objects."""
    assert found.truth_ranking is not None
    scores = found.truth_ranking.scores
    rows = [found.row(name) for name in scores]
    return float(kendalltau([measure(found, row) for row in rows], [scores[row.name].value for row in rows]).statistic)


def _mean(row: ModelRow, value: Callable[[Any], float]) -> float:
    return float(np.mean([value(trial) for image in row.trials for trial in image]))


MEASURES: dict[str, Callable[[Comparison, ModelRow], float]] = {
    "consistency": lambda _, row: _mean(row, lambda trial: trial.average_precision),
    "consistency as F1 at 0.5": lambda _, row: _mean(row, lambda trial: trial.f1(0.5)),
    "consistency of the foreground": lambda _, row: _mean(row, lambda trial: trial.foreground_iou),
    "consensus": lambda found, row: found.consensus(row.name) or 0.0,
}


def lines(kind: Kind, found: Comparison) -> Iterator[str]:
    """Yield the rows of the first table: for each kind, each model with both scores."""
    assert found.truth_ranking is not None
    for row in found.sorted_rows:
        name = row.name.removeprefix("model for ")
        if row.name not in found.ranking.scores:
            yield f"| {kind.name} | {name} | {row.unjudged or row.error} | | |"
            continue
        consistency, truth = (one.scores[row.name].value for one in (found.ranking, found.truth_ranking))
        place = found.ranking.names.index(row.name) + 1
        few = "" if row.objects >= FEW_OBJECTS else f" ({row.objects} objects)"
        yield f"| {kind.name} | {name}{few} | {truth:.2f} | {consistency:.2f} | {place} |"


def summary(kind: Kind, found: Comparison) -> str:
    """Return the row of the second table: tau, and what the recommendation would cost."""
    assert found.truth_ranking is not None
    scores = {name: score.value for name, score in found.truth_ranking.scores.items()}
    chosen, best = found.ranking.names[0], found.truth_ranking.names[0]
    taus = " | ".join(f"{tau_of(found, measure):.2f}" for measure in MEASURES.values())
    central = max(found.ranking.names, key=lambda name: found.consensus(name) or 0.0)
    called = "yes" if len(found.ranking.close) == 1 else "too close to call"
    return (
        f"| {kind.name} | {taus} | {chosen.removeprefix('model for ')} | {called} | "
        f"{scores[chosen]:.2f} | {scores[best]:.2f} | {central.removeprefix('model for ')} | {scores[central]:.2f} |"
    )


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description="Compare the rankings of `compare` with and without true objects.")
    parser.add_argument("--dimensions", type=int, choices=SETTINGS, default=2, help="images or stacks (default: 2)")
    parser.add_argument(
        "--folder", type=Path, help="folder for models and images (default: comparison-models-2d or -3d)"
    )
    parser.add_argument("--images", type=int, default=2, help="held-out images of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="steps of training (default: %(default)s)")
    arguments = parser.parse_args()
    setting = SETTINGS[arguments.dimensions]
    folder = arguments.folder or Path(f"comparison-models-{arguments.dimensions}d")
    torch.set_num_threads(1)
    models = [package(kind, setting, folder, arguments.steps) for kind in KINDS] + [setting.further]
    found = {}
    for kind in KINDS:
        found[kind.name] = compare_on(kind, setting, models, arguments.images, folder)
        print(*lines(kind, found[kind.name]), sep="\n", flush=True)
    heads = [*MEASURES, "first by consistency", "called", "its truth", "best truth", "first by consensus", "its truth"]
    print(f"\n| images | {' | '.join(heads)} |")
    print(f"| {' | '.join(['---'] * (len(heads) + 1))} |")
    print(*(summary(kind, found[kind.name]) for kind in KINDS), sep="\n")
    for name, measure in MEASURES.items():
        print(f"mean tau of {name}: {np.mean([tau_of(one, measure) for one in found.values()]):.2f}")


if __name__ == "__main__":
    main()
