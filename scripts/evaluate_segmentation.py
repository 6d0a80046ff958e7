"""Measure `predict` and `segment` together on synthetic nuclei that the demo models were not trained on.

python scripts/evaluate_segmentation.py [--images 20]

Prints a table; exit code 1 where the 2-D demo model's objects are too many, too few, or not those of the truth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from evaluate_demo_model import ALLOWED_COUNT_ERROR, REQUIRED_F1, TEST_DATA, held_out_images, matched_nuclei
from synthetic_nuclei import NucleiImage

from bioimage_inference.api import Target, open_model, predict
from bioimage_inference.segmentation.segmenting import SegmentFiles, SegmentOptions, segment_file


@dataclass(frozen=True)
class Case:
    """A model, the dimensions of the images it is tried on, the channel of its boundary, and whether it has to pass."""

    package: str
    dimensions: int
    boundary: str
    required: bool


CASES = (
    Case("demo-model.zip", 2, "1", True),
    # It has no boundary, so that touching nuclei stay together.
    Case("demo-model-3d.zip", 3, "none", False),
    # The 2-D model, plane by plane: its boundaries separate nuclei, and planes are joined where objects overlap.
    Case("demo-model.zip", 3, "1", False),
)


@dataclass(frozen=True)
class Scores:
    """Numbers of objects over a set of images: found, true, and matched at an IoU above 0.5."""

    found: int
    true: int
    matched: int

    @property
    def count_error(self) -> float:
        """By what part of the true number the number found is off."""
        return abs(self.found - self.true) / self.true

    @property
    def f1(self) -> float:
        """F1 of the matches."""
        return 2 * self.matched / (self.found + self.true)

    @property
    def passed(self) -> bool:
        """Whether the objects can be relied on."""
        return self.count_error <= ALLOWED_COUNT_ERROR and self.f1 >= REQUIRED_F1


def evaluate(case: Case, images: Iterable[NucleiImage], folder: Path) -> Scores:
    """Predict and segment images (YX or ZYX), through files in ``folder``, and compare with the truth."""
    found = true = matched = 0
    files = SegmentFiles(labels=folder / "labels.tif")
    with open_model(TEST_DATA / case.package) as model:
        for nuclei in images:
            axes = "ZYX" if case.dimensions == 3 else "YX"
            tifffile.imwrite(folder / "nuclei.tif", nuclei.image, imagej=True, metadata={"axes": axes})
            target = Target(folder / "prediction.tif")
            predict(model, folder / "nuclei.tif", targets={"prediction": target}, overwrite=True)
            objects = segment_file(
                folder / "prediction.tif", files, SegmentOptions(boundary=case.boundary), overwrite=True
            )
            labels = tifffile.imread(folder / "labels.tif").astype(np.int32)
            found += objects.count
            true += int(nuclei.labels.max())
            matched += matched_nuclei(labels, nuclei.labels)
    return Scores(found, true, matched)


def main() -> int:
    """Print the scores of all cases; 0 if those that have to pass do."""
    parser = argparse.ArgumentParser(description="Measure segmentation on held-out synthetic images.")
    parser.add_argument("--images", type=int, default=20, help="number of held-out images (default: %(default)s)")
    arguments = parser.parse_args()
    passed = True
    print(f"{'model':<20}{'images':<10}{'boundary':<10}{'found':>6}{'true':>6}{'count error':>13}{'F1 at IoU 0.5':>15}")
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="evaluate-segmentation-") as folder:
            scores = evaluate(case, held_out_images(case.dimensions, arguments.images), Path(folder))
        print(
            f"{case.package:<20}{f'{arguments.images} {case.dimensions}-D':<10}{case.boundary:<10}{scores.found:>6}"
            f"{scores.true:>6}{scores.count_error:>12.1%} {scores.f1:>14.3f}"
            + (": not good enough" if case.required and not scores.passed else "")
        )
        passed = passed and (scores.passed or not case.required)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
