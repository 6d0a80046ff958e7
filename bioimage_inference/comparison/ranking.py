"""Scores of models, their ranking, and how sure it is: intervals from resampled objects and perturbations.

Without true objects, the score of a model is its consistency: the mean average precision between its objects in the
image and its objects in changed copies of the image. The idea, and evidence that such a score ranks models as true
objects do, is from Talks, Marchesini, Lumetti, Bolelli, Kreshuk: Unsupervised Source-Free Ranking of Biomedical
Segmentation Models Under Distribution Shift, arXiv 2503.00450.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from .agreement import THRESHOLDS, Agreement

RESAMPLINGS = 1000
FEW_OBJECTS = 10
"""Number of objects below which a score is weak evidence."""
SMALLEST_DIFFERENCE = 0.02
"""Smaller differences of scores are too close to call, however certain: users would not see them in the outlines."""
_MOST_OF_CROP = 0.8  # an object this large is no object; the same holds for a foreground without background
_INTERVAL = (2.5, 97.5)
_CERTAIN = 50  # objects that stand for an image without objects: so many that no resampling misses all of them

Trials = Sequence[Sequence[Agreement]]
"""For each image, the agreement under each perturbation; or one agreement with the true objects."""


@dataclass(frozen=True)
class Score:
    """The mean average precision over images and perturbations, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """Names of models, the best first. ``scores`` has a score for each name.

    ``close`` are the models whose scores cannot be told from the score of the best model, the best model included: the
    best model leads in fewer than 97.5 % of the resamplings, or by less than :data:`SMALLEST_DIFFERENCE`.
    ``certainty`` is the part of resamplings in which the first model is better than the second; ``None`` if there is no
    second model.
    """

    names: tuple[str, ...]
    scores: Mapping[str, Score]
    close: tuple[str, ...]
    certainty: float | None


def no_evidence(labels: Sequence[Array]) -> str | None:
    """Return why the objects of a model cannot be judged, or ``None``. ``labels`` has a label map for each image.

    A model that finds nothing, or a single object everywhere, is perfectly consistent. It must not win.
    """
    sizes = [np.unique(one[one > 0], return_counts=True)[1] for one in labels]
    if not sum(map(len, sizes)):
        return "found no objects"
    pixels = sum(one.size for one in labels)
    largest = max(int(found.max(initial=0)) / one.size for found, one in zip(sizes, labels, strict=True))
    if largest > _MOST_OF_CROP:
        return "took almost the whole crop for one object"
    if sum(int(found.sum()) for found in sizes) > 0.98 * pixels:
        return "left no background between objects"
    return None


def rank(trials: Mapping[str, Trials], *, by_truth: bool = False, seed: int = 0) -> Ranking:
    """Return the ranking of models by name. All models have the same images and perturbations.

    Each resampling draws perturbations, the same for all models, and objects. Unless the models are ranked
    ``by_truth``, an image in which a model finds nothing counts 0 for the model, and an image in which no model finds
    anything does not count.
    """
    names = list(trials)
    if not names:
        return Ranking((), {}, (), None)
    if not by_truth:
        trials = _with_evidence(trials)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(one), size=(RESAMPLINGS, len(one))) for one in trials[names[0]]]
    values = {name: _value(trials[name]) for name in names}
    resampled = {name: _resampled(trials[name], draws, rng) for name in names}
    scores = {}
    for name in names:
        # resampling biases a mean of ratios a little, so the interval is moved to the value
        shifted = resampled[name] - resampled[name].mean() + values[name]
        low, high = np.clip(np.percentile(shifted, _INTERVAL), 0, 1)
        scores[name] = Score(values[name], float(low), float(high))
        resampled[name] = shifted
    order = sorted(names, key=lambda name: -values[name])
    best = order[0]
    close = [best, *(one for one in order[1:] if _is_close(values, resampled, best, one))]
    certainty = float(np.mean(resampled[best] > resampled[order[1]])) if len(order) > 1 else None
    return Ranking(tuple(order), scores, tuple(close), certainty)


def _with_evidence(trials: Mapping[str, Trials]) -> dict[str, Trials]:
    """Return the trials of images in which a model finds objects; trials without objects become failures."""
    count = len(next(iter(trials.values())))
    kept = [image for image in range(count) if any(len(one[image][0].ious) for one in trials.values())]
    lost = Agreement(np.zeros(_CERTAIN), 0, 0.0)
    return {
        name: [[trial if len(trial.ious) else lost for trial in one[image]] for image in kept]
        for name, one in trials.items()
    }


def _is_close(values: Mapping[str, float], resampled: Mapping[str, NDArray[np.float64]], best: str, one: str) -> bool:
    difference = np.percentile(resampled[best] - resampled[one], _INTERVAL[0])
    return bool(difference <= 0 or values[best] - values[one] < SMALLEST_DIFFERENCE)


def _value(trials: Trials) -> float:
    return float(np.mean([np.mean([trial.average_precision for trial in image]) for image in trials]))


def _resampled(trials: Trials, draws: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the score in each resampling."""
    images = []
    for image, drawn in zip(trials, draws, strict=True):
        # how often each object is drawn: a Poisson number of mean 1, the same under all perturbations
        weights = rng.poisson(1, (RESAMPLINGS, len(image[0].ious))).astype(np.float64)
        scores = np.stack([_precisions(trial, weights, rng) for trial in image], axis=1)
        images.append(np.take_along_axis(scores, drawn, axis=1).mean(axis=1))
    return np.asarray(np.mean(images, axis=0), np.float64)


def _precisions(trial: Agreement, weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the average precision in each resampling of the objects."""
    matched = weights @ (trial.ious[:, np.newaxis] >= np.array(THRESHOLDS))
    total, partners = weights.sum(axis=1), weights @ (trial.ious > 0)
    alone = rng.poisson(trial.unmatched, len(weights))
    found = matched + (alone + partners)[:, np.newaxis] - matched + total[:, np.newaxis] - matched
    return np.asarray(np.where(found > 0, matched / np.maximum(found, 1), 1).mean(axis=1), np.float64)
