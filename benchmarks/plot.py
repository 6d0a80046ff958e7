"""Draws the results of ``compare.py``: seconds of every program, case by case.

python benchmarks/plot.py RESULTS.json PICTURE.png
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    """Draw one picture."""
    facts = json.loads(Path(sys.argv[1]).read_text())
    cases = facts["results"]
    figure, axes = pyplot.subplots(1, len(cases), figsize=(4.5 * len(cases), 3), layout="constrained", squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        programs = case["programs"][::-1]
        colours = ["#0072b2" if program["program"].startswith("ours") else "#999999" for program in programs]
        bars = axis.barh([program["program"] for program in programs], [p["wall"] for p in programs], color=colours)
        axis.bar_label(bars, fmt="%.1f s", padding=3)
        axis.margins(x=0.2)
        axis.set_title(case["case"])
        axis.set_xlabel("seconds, whole process")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.argv[2], dpi=100)


if __name__ == "__main__":
    main()
