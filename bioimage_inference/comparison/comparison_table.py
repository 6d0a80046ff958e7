"""A comparison as numbers: the rows of its table, and its JSON."""

import csv
import io
from typing import Any

from ..text import for_cells
from .agreement import THRESHOLDS
from .ranking import Score
from .recommendation import recommendation
from .results import Comparison, ModelRow


def comparison_csv(found: Comparison) -> bytes:
    """Return the table of models as CSV, the best model first. Missing values are empty."""
    facts = [model_facts(found, row) for row in found.sorted_rows]
    columns = [name for name in facts[0] if name != "notes"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(for_cells(["" if one[name] is None else one[name] for name in columns]) for one in facts)
    return text.getvalue().encode()


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Return the comparison as ``compare --json`` prints it."""
    advice = recommendation(found)
    return {
        "recommended": found.deciding.names[0] if advice.clear else None,
        "close": list(found.deciding.close),
        "verdict": advice.verdict,
        "reasons": list(advice.reasons),
        "cautions": list(advice.cautions),
        "certainty": found.deciding.certainty,
        "kendall_tau": found.tau,
        "perturbations": list(found.perturbations),
        "crops": [
            {"image": crop.image.name, "start": _by_axis(crop.spatial, crop.start), "notes": list(crop.notes),
             "size": _by_axis(crop.spatial, crop.shape)}
            for crop in found.crops
        ],
        "models": [model_facts(found, row) for row in found.sorted_rows],
    }  # fmt: skip


def model_facts(found: Comparison, row: ModelRow) -> dict[str, Any]:
    """Return the facts of a model. Those that are not known are ``None``; all models have the same keys."""
    ranking, by_truth, cost = found.ranking, found.truth_ranking, row.cost
    names = found.deciding.names
    facts: dict[str, Any] = {
        "rank": names.index(row.name) + 1 if row.name in names else None,
        "model": row.name,
        "source": row.source,
        "objects": row.objects if row.trials else None,
        **_score("consistency", ranking.scores.get(row.name)),
    }
    if by_truth is not None:
        facts |= _score("average_precision", by_truth.scores.get(row.name))
        facts |= {
            f"f1_{threshold:g}": round(row.mean_f1(threshold), 4) if row.truth else None for threshold in THRESHOLDS
        }
        facts["iou"] = round(row.mean_iou, 4) if row.truth else None
    consensus = found.consensus(row.name)
    return facts | {
        "consensus": None if consensus is None else round(consensus, 4),
        "crop_seconds": None if cost is None else round(cost.crop_seconds, 3),
        "image_seconds": None if cost is None else round(cost.image_seconds, 1),
        "memory_bytes": None if cost is None else cost.memory_bytes,
        "pixel_size": row.pixel_size or None,
        "licence": row.licence,
        "found_in": row.how or None,
        "problem": str(row.error) if row.error is not None else row.unjudged,
        "notes": list(row.notes),
    }


def _score(name: str, score: Score | None) -> dict[str, float | None]:
    if score is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: round(score.value, 4), f"{name}_low": round(score.low, 4), f"{name}_high": round(score.high, 4)}


def _by_axis(axes: str, values: tuple[int, ...]) -> dict[str, int]:
    return dict(zip(axes, values, strict=True))
