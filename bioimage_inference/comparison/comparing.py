"""Runs several models on the same crops, on changed copies of them, and compares what they find."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from pathlib import Path

import numpy as np

from ..array_types import Array
from ..errors import BioimageInferenceError, UsageError, in_our_words
from ..files.typed_path import ImagePath
from ..image.readers.reading import open_image
from ..inference.pixel_scale import match_in_words, network_pixel_size
from ..inference.planning import close, prepare, selection_of
from ..options import Options
from ..predictor import Predictor
from ..text import one_line
from ..tiling.tile_size import BYTES_PER_PIXEL, dimensions_of
from .agreement import Agreement, agreement
from .crops import Crop, CropSize, choose_crop, same_part
from .model_objects import ModelObjects, ObjectRules, model_objects
from .perturbations import perturbations
from .ranking import Ranking, no_evidence, rank
from .results import Comparison, ModelCost, ModelRow

Progress = Callable[[str], None]
_LIKE = 0.5  # IoU from which objects of two models are the same


@dataclass(frozen=True)
class Candidate:
    """A model to compare as the user named it: opened, or the error that opening it raised."""

    given: str
    model: Predictor | None
    error: BioimageInferenceError | None = None


@dataclass(frozen=True)
class Task:
    """The images, their true objects (none, or one for each image), and how to predict and segment."""

    images: Sequence[ImagePath]
    truth: Sequence[ImagePath]
    options: Options
    rules: ObjectRules
    crop: CropSize


def compare_models(candidates: Sequence[Candidate], task: Task, progress: Progress = lambda _: None) -> Comparison:
    """Return the comparison of models on images. A model that fails does not stop the others.

    Networks are loaded one after the other, and released. Raises :class:`UsageError` if true objects do not belong to
    the images, and :class:`ImageError` for images that cannot be read. If no model runs, the rows have the errors.
    """
    if task.truth and len(task.truth) != len(task.images):
        raise UsageError(
            f"--truth names {len(task.truth)} label maps, and there are {len(task.images)} images. Give one label map "
            "for each image, in the same order."
        )
    deep = task.rules.segment.stitch is not None or any(
        "z" in one.model.spec.inputs[0].letters for one in candidates if one.model is not None
    )
    with ExitStack() as files:
        crops = [_crop(image, task, deep, files) for image in task.images]
        truths = [_truth(path, crop, files) for path, crop in zip(task.truth, crops, strict=bool(task.truth))]
        rows = []
        for name, candidate in zip(_names(candidates), candidates, strict=True):
            progress(name)
            rows.append(_row(name, candidate, task, crops, truths))
    judged = [row for row in rows if row.is_judged]
    ranking = rank({row.name: row.trials for row in judged})
    by_truth = rank({row.name: [[one] for one in row.truth] for row in judged}, by_truth=True) if truths else None
    return Comparison(
        crops=crops,
        perturbations=[change.name for change in perturbations(crops[0].axes, _depth(crops[0]))],
        rows=rows,
        ranking=ranking,
        truth_ranking=by_truth,
        tau=None if by_truth is None else kendall(ranking, by_truth),
        likeness={(one.name, other.name): _likeness(one, other) for one, other in combinations(judged, 2)},
        truths=truths,
    )


def kendall(first: Ranking, second: Ranking) -> float | None:
    """Return Kendall's rank correlation of the scores in two rankings; ``None`` for fewer than two models."""
    from scipy.stats import kendalltau

    names = first.names
    if len(names) < 2:
        return None
    found = kendalltau(*([ranking.scores[name].value for name in names] for ranking in (first, second))).statistic
    return None if np.isnan(found) else float(found)


def _names(candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yield a name for each model: the name of its description, with a number if several models have the same."""
    seen: dict[str, int] = {}
    for one in candidates:
        name = one_line(one.model.spec.name) if one.model is not None else Path(one.given).name or one.given
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name} ({seen[name]})"


def _crop(path: ImagePath, task: Task, deep: bool, files: ExitStack) -> Crop:
    image = open_image(path, task.options.axes, selection_of(task.options))
    files.callback(image.close)
    return choose_crop(image, task.crop, deep=deep)


def _truth(path: ImagePath, crop: Crop, files: ExitStack) -> Array:
    labels = open_image(path)
    files.callback(labels.close)
    return same_part(labels, crop)


def _depth(crop: Crop) -> int:
    return crop.shape[0] if "z" in crop.axes else 1


def _row(name: str, candidate: Candidate, task: Task, crops: Sequence[Crop], truths: Sequence[Array]) -> ModelRow:
    """Return what a model finds, or its error."""
    row = ModelRow(name, candidate.given, error=candidate.error)
    model = candidate.model
    if model is None:
        return row
    row = replace(row, licence=one_line(model.spec.licence))
    try:
        row = replace(row, pixel_size=_pixel_size(model, task))
        return _judged(row, model, task, crops, truths)
    except (BioimageInferenceError, MemoryError, OSError) as error:
        return replace(row, error=in_our_words(error))
    finally:
        model.close()


def _judged(row: ModelRow, model: Predictor, task: Task, crops: Sequence[Crop], truths: Sequence[Array]) -> ModelRow:
    """Return the row with objects, agreements and cost."""
    # an array is a single image with known axes
    options = replace(task.options, axes=None, series=None, level=0, well=None, field=None)
    labels, trials, found, seconds = [], [], [], []
    for crop in crops:
        plain = model_objects(model, crop.as_image(crop.pixels.astype(np.float32)), _shape(crop), options, task.rules)
        found.append(plain)
        labels.append(plain.labels)
        agreements, times = _trials(model, crop, plain, options, task.rules)
        trials.append(agreements)
        seconds.append([plain.seconds, *times])
    notes = tuple(dict.fromkeys(note for one in found for note in one.prediction.provenance.notes))
    return replace(
        row,
        how=found[0].how,
        labels=labels,
        trials=trials,
        truth=[agreement(one, other) for one, other in zip(truths, labels, strict=bool(truths))],
        cost=_cost(model, task, found[0], float(np.median(seconds[0]))),
        unjudged=no_evidence(labels),
        notes=notes,
    )


def _shape(crop: Crop) -> list[int]:
    """Return the shape of the crop's label map: along y and x, and along z if the crop has several planes."""
    return list(crop.shape) if "z" in crop.axes else list(crop.shape[-2:])


def _trials(
    model: Predictor, crop: Crop, plain: ModelObjects, options: Options, rules: ObjectRules
) -> tuple[list[Agreement], list[float]]:
    """Return the agreement of the objects with the objects in each changed copy, and the seconds of each prediction."""
    agreements, seconds = [], []
    spatial = "zyx"[-plain.labels.ndim :]
    for change in perturbations(crop.axes, _depth(crop)):
        image = crop.as_image(change.apply(crop.pixels, crop.axes))
        found = model_objects(model, image, plain.labels.shape, options, rules)
        agreements.append(agreement(plain.labels, change.undo(found.labels, spatial)))
        seconds.append(found.seconds)
    return agreements, seconds


def _pixel_size(model: Predictor, task: Task) -> str:
    """Return how the pixel size of the first image fits the model. Raises the error of an image that does not fit."""
    prepared = prepare(model.spec, task.images[0], {}, task.options)
    try:
        return match_in_words(prepared.leading, network_pixel_size(model.spec.inputs[0], task.options))
    finally:
        close(prepared)


def _cost(model: Predictor, task: Task, found: ModelObjects, seconds: float) -> ModelCost:
    """Return time and memory. The time of the whole first image follows from the pixels that its tiles compute."""
    prepared = prepare(model.spec, task.images[0], {}, task.options)
    try:
        plan, samples = prepared.plan, prod(prepared.leading.samples)
        tile = list(plan.tile_shape.values())
        whole = prod(len(axis.starts) for axis in plan.axes) * prod(tile) * samples
        memory = prepared.program + prod(tile) * (plan.batch or 1) * BYTES_PER_PIXEL[dimensions_of(tile)]
    finally:
        close(prepared)
    record = found.prediction.provenance
    computed = record.plan.tiles * prod(record.plan.tile.values()) * record.inputs[0].samples
    return ModelCost(seconds, seconds * max(1.0, whole / computed), min(memory, prepared.budget.size))


def _likeness(one: ModelRow, other: ModelRow) -> float:
    return float(np.mean([agreement(*pair).f1(_LIKE) for pair in zip(one.labels, other.labels, strict=True)]))
