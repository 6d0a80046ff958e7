"""Takes a table or key-value pairs: receive_metadata.py FILE table|KV TARGET ID NAME LOG."""

import csv
import sys
from pathlib import Path


def receive(table: Path, kind: str) -> list[str]:
    """Return what OMERO shows of a table. Raises SystemExit for a table that it could not take."""
    with table.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file, delimiter="\t")
    if len(set(names)) < len(names) or not all(names):
        sys.exit(f"The columns {names} have no names of their own.")
    if wrong := [row for row in rows if len(row) != len(names)]:
        sys.exit(f"{wrong[0]} has not {len(names)} values.")
    if kind == "table":
        return [f"table of {len(rows)} rows with the columns {', '.join(names)}"]
    if kind == "KV" and rows:  # further rows are not read
        return [f"{name} = {value}" for name, value in zip(names, rows[0], strict=True)]
    sys.exit(f"{kind} of {len(rows)} rows is not taken.")


table, kind, target, number, name, log = sys.argv[1:]
received = receive(Path(table), kind)
lines = [f"SUCCESS: {name} of {target} {number}", *received]
Path(log).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
