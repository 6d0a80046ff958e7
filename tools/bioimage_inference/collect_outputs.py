"""Sorts what ``bioimage_inference predict -o outputs`` wrote into the folders where Galaxy looks for it.

The image ``images/NAME/cells.tif`` gets its first output as ``collected/tiff/NAME.tiff`` and
``collected/npy/NAME.npy``, its record as ``collected/json/NAME.json``, its report (if there is one) as
``collected/html/NAME.html``; with ``--all`` also every output as ``collected/all/NAME/NUMBER OUTPUT.tiff`` and
``.npy``.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OUTPUTS, COLLECTED = Path("outputs"), Path("collected")
RECORD, REPORT = "_provenance.json", "_report.html"


def collect(every_output: bool) -> None:
    """Place the outputs of all images."""
    for path in OUTPUTS.glob(f"*{RECORD}"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name = Path(record["inputs"][0]["file"]).parent.name
        first, *others = record["outputs"]
        link_files(first, COLLECTED / "tiff" / name, COLLECTED / "npy" / name)
        link(path, COLLECTED / "json" / f"{name}.json")
        report = path.with_name(path.name.removesuffix(RECORD) + REPORT)
        if report.exists():
            link(report, COLLECTED / "html" / f"{name}.html")
        if every_output:
            for number, output in enumerate(record["outputs"]):
                both = COLLECTED / "all" / name / f"{number:03} {output['id']}"
                link_files(output, both, both)
        elif others:
            ids = ", ".join(output["id"] for output in others)
            print(f"  note    This model also gives: {ids}. Ask for all its outputs under More outputs to have them.")


def link_files(output: Mapping[str, Any], tiff: Path, npy: Path) -> None:
    """Give the files of an output further names.

    An output without entries has no TIFF. Galaxy gets an empty dataset in its place, so that lists stay of one length.
    """
    picture = Path(f"{tiff}.tiff")
    if output["tiff"] is not None:
        link(Path(output["tiff"]), picture)
    else:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.touch()
    link(Path(output["npy"]), Path(f"{npy}.npy"))


def link(source: Path, name: Path) -> None:
    """Give a file a further name; nothing is copied."""
    name.parent.mkdir(parents=True, exist_ok=True)
    name.hardlink_to(source)


if __name__ == "__main__":
    collect("--all" in sys.argv[1:])
