"""Takes regions of interest: receive_regions.py TABLE IMAGE LOG."""

import csv
import re
import sys
from pathlib import Path

COLUMNS = [
    *("shape", "x", "y", "x_rad", "y_rad", "width", "height", "label", "fontSize", "x1", "y1", "x2", "y2", "points"),
    *("fill_color", "stroke_color", "stroke_width", "z", "c", "t", "roi_name", "roi_description"),
]
NUMBER = r"-?\d+(?:\.\d+)?"
POINTS = re.compile(rf"\({NUMBER},{NUMBER}\)(?:,\({NUMBER},{NUMBER}\))*")
COLOUR = re.compile(r"\(\d{1,3},\d{1,3},\d{1,3},\d{1,3}\)")


def receive(row: dict[str, str]) -> str:
    """Return a line for a region. Raises SystemExit for a region that OMERO could not draw."""
    if row["shape"] != "Polygon" or not POINTS.fullmatch(row["points"]) or row["points"].count("(") < 3:
        sys.exit(f"{row} is no polygon.")
    if not COLOUR.fullmatch(row["stroke_color"]) or int(row["stroke_width"]) < 1:
        sys.exit(f"{row} has no outline.")
    return f"{row['roi_name']} at z {int(row['z'])} and t {int(row['t'])}, label {row['label']}"


table, image, log = sys.argv[1:]
with Path(table).open(encoding="utf-8", newline="") as file:
    reader = csv.DictReader(file, delimiter="\t")
    rows = list(reader)
if reader.fieldnames != COLUMNS:
    sys.exit(f"The columns are {reader.fieldnames}, expected were {COLUMNS}.")
lines = [f"{len(rows)} regions of image {int(image)}", *map(receive, rows)]
Path(log).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
