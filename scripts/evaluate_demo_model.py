"""Measure the demo models on synthetic images that they were not trained on; exit code 1 if one segments badly.

python scripts/evaluate_demo_model.py [--dimensions 2|3] [--images 20]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed
from synthetic_nuclei import (
    PIXEL_SIZE_2D,
    PIXEL_SIZE_3D,
    LabelArray,
    NucleiImage,
    foreground_mask,
    render_nuclei,
)

TEST_DATA = Path(__file__).resolve().parent.parent / "test-data"
HELD_OUT_SEED = 1_000_000
"""First seed of the held-out images; training uses seeds far below."""
REQUIRED_IOU = 0.85
REQUIRED_F1 = 0.9
ALLOWED_COUNT_ERROR = 0.05


@dataclass(frozen=True)
class Scores:
    """What was measured over a set of images; the last three are None for a model without a boundary channel.

    foreground_iou: of all pixels of all images. f1: of nuclei matched at an IoU above 0.5.
    """

    foreground_iou: float
    f1: float | None
    predicted_count: int | None
    true_count: int | None

    @property
    def passed(self) -> bool:
        """Whether the model segments as well as its package says."""
        if self.foreground_iou < REQUIRED_IOU:
            return False
        if self.f1 is None or self.predicted_count is None or self.true_count is None:
            return True
        count_error = abs(self.predicted_count - self.true_count) / self.true_count
        return self.f1 >= REQUIRED_F1 and count_error <= ALLOWED_COUNT_ERROR


def held_out_images(dimensions: int, count: int) -> list[NucleiImage]:
    """The first `count` held-out images (256x320, YX) or stacks (24x96x96, ZYX)."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
    if dimensions == 2:
        return [render_nuclei(seed, (256, 320), PIXEL_SIZE_2D) for seed in seeds]
    return [render_nuclei(seed, (24, 96, 96), PIXEL_SIZE_3D) for seed in seeds]


def predict(network: torch.nn.Module, image: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities (CYX or CZYX, float32) of an image (YX or ZYX): normalise, run the network, apply a sigmoid."""
    raw = torch.from_numpy(image.astype(np.float32))
    normalised = (raw - raw.mean()) / (raw.std(correction=0) + 1e-6)
    with torch.inference_mode():
        probabilities: NDArray[np.float32] = torch.sigmoid(network(normalised[None, None]))[0].numpy()
    return probabilities


def separate_nuclei(foreground: NDArray[np.float32], boundary: NDArray[np.float32]) -> LabelArray:
    """Label every nucleus: seeds where foreground exceeds boundary by 0.6, grown by a watershed on the boundary."""
    seeds = ndimage.label(foreground - boundary > 0.6)[0]
    labels = watershed(boundary, seeds, mask=foreground > 0.5)
    return np.asarray(labels, np.int32)


def matched_nuclei(predicted: LabelArray, truth: LabelArray) -> int:
    """How many true nuclei are overlapped by a predicted one with an IoU above 0.5 (such matches are unique)."""
    overlap = np.zeros((int(predicted.max()) + 1, int(truth.max()) + 1))
    np.add.at(overlap, (predicted.ravel(), truth.ravel()), 1)
    union = overlap.sum(axis=1, keepdims=True) + overlap.sum(axis=0, keepdims=True) - overlap
    return int(np.count_nonzero(overlap[1:, 1:] / union[1:, 1:] > 0.5))


def evaluate(network: torch.nn.Module, images: Iterable[NucleiImage]) -> Scores:
    """Scores of a network whose first channel is the foreground and whose second, if any, the boundary."""
    intersection = union = matched = predicted_count = true_count = 0
    has_boundary = False
    for nuclei in images:
        probabilities = predict(network, nuclei.image)
        truth, found = foreground_mask(nuclei.labels), probabilities[0] > 0.5
        intersection += int(np.count_nonzero(truth & found))
        union += int(np.count_nonzero(truth | found))
        has_boundary = len(probabilities) > 1
        if has_boundary:
            labels = separate_nuclei(probabilities[0], probabilities[1])
            matched += matched_nuclei(labels, nuclei.labels)
            predicted_count += int(labels.max())
            true_count += int(nuclei.labels.max())
    if not has_boundary:
        return Scores(intersection / union, None, None, None)
    return Scores(intersection / union, 2 * matched / (predicted_count + true_count), predicted_count, true_count)


def main() -> int:
    """Print the scores of the packaged TorchScript weights; 0 if they are good enough."""
    parser = argparse.ArgumentParser(description="Measure the demo models on held-out synthetic images.")
    parser.add_argument("--dimensions", type=int, choices=(2, 3), help="one of the two models (default: both)")
    parser.add_argument("--images", type=int, default=20, help="number of held-out images (default: %(default)s)")
    arguments = parser.parse_args()
    passed = True
    for dimensions in (arguments.dimensions,) if arguments.dimensions else (2, 3):
        package = "demo-model" if dimensions == 2 else "demo-model-3d"
        network = torch.jit.load(TEST_DATA / package / "weights.pt")
        scores = evaluate(network, held_out_images(dimensions, arguments.images))
        print(f"{package}: {arguments.images} held-out images, foreground IoU {scores.foreground_iou:.3f}", end="")
        if scores.f1 is not None:
            print(f", nuclei found {scores.predicted_count} of {scores.true_count}, F1 {scores.f1:.3f}", end="")
        print("" if scores.passed else ": not good enough")
        passed = passed and scores.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
