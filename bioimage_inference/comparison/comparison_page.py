"""A comparison as one HTML page: the recommendation, a panel for each model, and a table. The page loads nothing."""

from datetime import UTC, datetime

from ..report.describe_model import NO_LICENCE
from ..report.rendering import render
from ..text import byte_size
from .outline_panels import panel
from .recommendation import recommendation, score_in_words
from .results import Comparison

MOST_IMAGES = 6
"""Images whose panels the page shows; the table is about all images."""


def comparison_page(found: Comparison) -> str:
    """Return the page of a comparison."""
    sections = []
    for number, crop in enumerate(found.crops[:MOST_IMAGES]):
        pictures = [("image", "", panel(crop, None))]
        if found.truths:
            pictures.append(("true objects", "", panel(crop, found.truths[number])))
        for row in found.sorted_rows:
            if row.labels:
                count = len(row.trials[number][0].ious)
                pictures.append(
                    (row.name, f"{count} object{'' if count == 1 else 's'}", panel(crop, row.labels[number]))
                )
        sections.append((crop, pictures))
    return render(
        "comparison",
        found=found,
        sections=sections,
        hidden=len(found.crops) - len(sections),
        advice=recommendation(found),
        score=score_in_words,
        byte_size=byte_size,
        no_licence=NO_LICENCE,
        shown_thresholds=[0.5, 0.7, 0.9],
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
