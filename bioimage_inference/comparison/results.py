"""The result of a comparison: a row for each model, a crop for each image, the rankings and the recommendation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from ..array_types import Array
from ..errors import BioimageInferenceError
from .agreement import Agreement
from .crops import Crop
from .ranking import Ranking, Trials


@dataclass(frozen=True)
class ModelCost:
    """Time and memory of a model. Seconds are without loading the network.

    ``image_seconds`` and ``memory_bytes`` are estimates for the first image as a whole.
    """

    crop_seconds: float
    image_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class ModelRow:
    """The facts of a model in a comparison. ``name`` is unique among the rows.

    ``error`` is why the model did not run, and ``unjudged`` why its objects are no evidence. ``labels`` has a label map
    for each image. ``trials`` and ``truth`` have the agreement with changed copies and with the true objects.
    """

    name: str
    source: str
    licence: str | None = None
    pixel_size: str = ""
    how: str = ""
    labels: Sequence[Array] = ()
    trials: Trials = ()
    truth: Sequence[Agreement] = ()
    cost: ModelCost | None = None
    error: BioimageInferenceError | None = None
    unjudged: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Whether the model ran, and its objects are evidence."""
        return self.error is None and self.unjudged is None

    @property
    def objects(self) -> int:
        """Number of objects in all crops."""
        return sum(len(image[0].ious) for image in self.trials)

    def mean_f1(self, threshold: float) -> float:
        """Return the mean F1 over all images at an IoU, compared with the true objects."""
        return mean(one.f1(threshold) for one in self.truth)

    @property
    def mean_iou(self) -> float:
        """Mean overlap of all objects with all true objects over all images."""
        return mean(one.foreground_iou for one in self.truth)


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`~bioimage_inference.comparison.comparing.compare_models`.

    ``ranking`` is the ranking without true objects, ``truth_ranking`` the ranking by true objects, ``None`` without
    them. ``tau`` is Kendall's rank correlation of the two. ``likeness`` has the F1 at an IoU of 0.5 between the
    objects of two models.
    """

    crops: Sequence[Crop]
    perturbations: Sequence[str]
    rows: Sequence[ModelRow]
    ranking: Ranking
    truth_ranking: Ranking | None
    tau: float | None
    likeness: Mapping[tuple[str, str], float] = field(default_factory=dict)
    truths: Sequence[Array] = ()

    @property
    def deciding(self) -> Ranking:
        """The ranking by true objects if there are any, else by consistency."""
        return self.ranking if self.truth_ranking is None else self.truth_ranking

    @property
    def sorted_rows(self) -> list[ModelRow]:
        """The rows, the best model first; then models that cannot be judged, then models that did not run."""
        place = {name: number for number, name in enumerate(self.deciding.names)}
        return sorted(self.rows, key=lambda row: (place.get(row.name, len(place)), row.error is not None))

    def consensus(self, name: str) -> float | None:
        """Return the mean likeness of a model with the other models; ``None`` for fewer than three judged models.

        Two models are always equally like each other.
        """
        values = [value for pair, value in self.likeness.items() if name in pair]
        return mean(values) if len(values) > 1 else None

    def row(self, name: str) -> ModelRow:
        """Return the row of a model."""
        return next(row for row in self.rows if row.name == name)
