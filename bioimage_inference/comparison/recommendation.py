"""The recommendation in words: which model, why, how sure, and what to beware of."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..text import counted
from .ranking import FEW_OBJECTS, Score
from .results import Comparison, ModelRow

_LOW_SCORE = 0.5
_SAME_OBJECTS = 0.9  # F1 from which the objects of two models are the same for most purposes
_MANY_TIMES = 1.3  # ratio of times from which a model is called faster; runs of one model differ by up to 20 %
_DISAGREE = 0.0  # Kendall's tau up to which two rankings contradict each other
# The test results are from scripts/evaluate_comparison.py; docs/explanation/comparison.md has all of them.
_CONSISTENTLY_WRONG = (
    "A consistent model can still be wrong: it can miss the same objects, or join the same neighbours, every time. "
    "Look at the outlines before you decide."
)
_TEST_RESULTS = {
    "yx": "In a test with six kinds of synthetic images, the most consistent of seven models was the best for five "
    "kinds; the order of the other models was less reliable (mean Kendall's tau 0.34).",
    "zyx": "For stacks the ranking is weak: in a test with six kinds of synthetic stacks, the most consistent of seven "
    "models was the best for two kinds only, and the order was hardly better than chance (mean Kendall's tau 0.05). If "
    "you can, compare with true objects.",
}
"""How well rankings by consistency agreed with rankings by true objects, by the spatial axes of the crop."""


@dataclass(frozen=True)
class Recommendation:
    """``verdict`` names the model, or says that none is recommended. ``clear`` is whether one model is recommended."""

    verdict: str
    clear: bool
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]


def recommendation(found: Comparison) -> Recommendation:
    """Return the recommendation for a comparison."""
    names = found.deciding.names
    cautions = tuple(_cautions(found))
    if not names:
        return Recommendation("No model is recommended, because no model gave objects that can be judged.", False, (),
                              cautions)  # fmt: skip
    reasons = tuple(_reasons(found))
    if len(names) == 1:
        others = " Only this model gave objects that can be judged." if len(found.rows) > 1 else ""
        return Recommendation(f"{names[0]} has no rival here.{others}", False, reasons, cautions)
    if len(found.deciding.close) > 1:
        close = found.deciding.close
        listed = f"{', '.join(close[:-1])} and {close[-1]}"
        return Recommendation(f"Too close to call between {listed}.", False, reasons, cautions)
    return Recommendation(f"{names[0]} is recommended.", True, reasons, cautions)


def score_in_words(score: Score) -> str:
    """Return a score with its interval, such as ``0.83 (0.79 to 0.86)``."""
    return f"{score.value:.2f} ({score.low:.2f} to {score.high:.2f})"


def _reasons(found: Comparison) -> Iterator[str]:
    ranking, by_truth = found.deciding, found.truth_ranking is not None
    best = ranking.names[0]
    score = score_in_words(ranking.scores[best])
    if by_truth:
        yield f"The objects of {best} agree best with the true objects: average precision {score}."
    else:
        yield f"The objects of {best} change least when the image changes a little: consistency {score}."
    if len(ranking.names) > 1:
        second = ranking.names[1]
        sure = f"{best} is ahead in {100 * (ranking.certainty or 0):.0f} % of the resamplings."
        yield f"The next model, {second}, has {score_in_words(ranking.scores[second])}. {sure}"
    if len(ranking.close) > 1:
        yield from _tie_breakers(found)
    if found.tau is not None:
        agrees = "agree" if found.tau > _DISAGREE else "do not agree"
        yield (
            f"The ranking by consistency and the ranking by true objects {agrees} here: Kendall's tau is "
            f"{found.tau:.2f} (1 is the same order, -1 the reverse order)."
        )


def _tie_breakers(found: Comparison) -> Iterator[str]:
    """Yield how models with close scores differ otherwise."""
    best, *others = found.deciding.close
    for other in others:
        like = found.likeness.get((best, other), found.likeness.get((other, best)))
        if like is not None:
            same = "so it matters little which you take" if like >= _SAME_OBJECTS else "so compare their outlines"
            yield f"{best} and {other} find the same objects with an F1 of {like:.2f} at an IoU of 0.5, {same}."
    costs = sorted((row.cost.crop_seconds, name) for name in found.deciding.close if (row := found.row(name)).cost)
    if len(costs) > 1 and costs[0][0] * _MANY_TIMES < costs[1][0]:
        yield f"{costs[0][1]} is the fastest of them: {costs[0][0]:.2g} s for the crop, the next {costs[1][0]:.2g} s."


def _cautions(found: Comparison) -> Iterator[str]:
    ranking = found.deciding
    for row in found.rows:
        if row.unjudged is not None:
            yield f"{row.name} {row.unjudged}, so it is not ranked: such a result is consistent by nature."
    if ranking.names:
        yield from _cautions_on(found, found.row(ranking.names[0]))
    if found.truth_ranking is None and ranking.names:
        yield from _dissent(found)
        yield f"{_CONSISTENTLY_WRONG} {_TEST_RESULTS[found.crops[0].spatial]}"


def _dissent(found: Comparison) -> Iterator[str]:
    """Yield that the other models agree more with another model than with the most consistent model."""
    best = found.ranking.names[0]
    agreed = {name: value for name in found.ranking.names if (value := found.consensus(name)) is not None}
    central = max(agreed, key=lambda name: agreed[name], default=best)
    if central not in found.ranking.close:
        yield (
            f"The other models agree more with {central} (consensus {agreed[central]:.2f}) than with {best} "
            f"({agreed[best]:.2f}). Compare the outlines of these two."
        )


def _cautions_on(found: Comparison, best: ModelRow) -> Iterator[str]:
    """Yield what speaks against the first model of the ranking."""
    score = found.deciding.scores[best.name].value
    if score < _LOW_SCORE:
        yield (
            f"Even the best score is low ({score:.2f}). Perhaps no model fits the image: check pixel size, channel "
            "and threshold, or look for another model."
        )
    if best.objects < FEW_OBJECTS:
        yield f"The crop shows {counted(best.objects, 'object')} only. Compare a larger crop, or several images."
    if "trained with" in best.pixel_size:
        yield f"The pixel size does not fit {best.name}: {best.pixel_size}."
    if best.licence is None:
        yield f"The description of {best.name} names no licence. Ask its authors before you publish results."
