"""Lists a BioImage.IO model for the form of the tools: the program saves and inspects it, this script writes the row.

    offer_model.py (--zoo NAME [--offline] | --package FILE) [--name NAME] --listed JSON --folder DIR --output JSON

The package comes to lie in DIR, from where Galaxy moves it to its place. What is listed already is not fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

TABLE = "bioimageio_models"
# Tags of the zoo that tell of programs and networks; users look for what is in the image.
TECHNICAL = re.compile(
    r"[23]d|(py)?torch(script)?|.*unet.*|unetr|biapy|ilastik|deepimagej|careamics|plantseg|qupath|zerocostdl4mic", re.I
)
MOST_TAGS = 3  # in the name, which is one line of the form

Row = dict[str, str]


def main() -> None:
    """Write the new row, or none where the model is listed already."""
    arguments = parse()
    listed: list[Row] = json.loads(arguments.listed.read_text(encoding="utf-8"))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    row = from_zoo(arguments, listed) if arguments.zoo else from_package(arguments, listed)
    tables = {TABLE: [row]} if row else {}
    arguments.output.write_text(json.dumps({"data_tables": tables}, indent=1), encoding="utf-8")


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser()
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--zoo")
    given.add_argument("--package", type=Path)
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--name", default="")
    for name in ("--listed", "--folder", "--output"):
        parser.add_argument(name, type=Path, required=True)
    return parser.parse_args()


def from_zoo(arguments: argparse.Namespace, listed: list[Row]) -> Row | None:
    """The row of a model of the zoo, which is downloaded unless it is listed."""
    offline = ["--offline"] if arguments.offline else []
    name = found_in_zoo(arguments.zoo)
    (version,) = program("download", name, "--dry-run", "--output", str(arguments.folder), *offline)
    value = Path(version["file"]).stem
    if is_listed(value, listed):
        return None
    name = "/".join(filter(None, (version["id"], version["version"])))
    (package,) = program("download", name, "--output", str(arguments.folder), *offline)
    return row_of(value, Path(package["file"]), package["sha256"], arguments.name)


def found_in_zoo(text: str) -> str:
    """The id of the only model that has all the words; else the text, which then is a name."""
    found = program("models", *text.split())
    if len(found) == 1:
        return str(found[0]["id"])
    if found and text.lower() not in {name.lower() for one in found for name in (one["id"], one["name"])}:
        models = "\n".join(f"  {one['id']}: {one['name']}; {', '.join(one['tags'])}" for one in found)
        fail(f"{len(found)} models of the zoo have all the words {text!r}. Give the id of one of them:\n{models}")
    return text


def from_package(arguments: argparse.Namespace, listed: list[Row]) -> Row | None:
    """The row of a package from the history, which is copied unless it is listed."""
    facts = program("inspect", str(arguments.package), "--offline")
    with arguments.package.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    parts = (facts["id"] or facts["name"], facts["version"] or sha256[:8])
    value = re.sub(r"[^\w.]+", "-", "-".join(parts)).strip("-.").lower()
    if is_listed(value, listed, sha256):
        return None
    copy = arguments.folder / f"{value}.zip"
    shutil.copyfile(arguments.package, copy)
    return row_of(value, copy, sha256, arguments.name)


def is_listed(value: str, listed: list[Row], sha256: str = "") -> bool:
    """Whether the server offers the model. Ends the job where its file is lost, or another package has its name."""
    row = next((row for row in listed if row["value"] == value), None)
    if row is None:
        return False
    remedy = f"Remove its line from the list {TABLE} and the file, reload the table, and run this again."
    if not Path(row["path"]).exists():
        fail(f"{value} is listed, but there is no {row['path']}. {remedy}")
    if sha256 and sha256 != row.get("sha256"):
        fail(f"{value} is listed with another package, {row['path']}. Give this one another version, or: {remedy}")
    print(f"{value} is offered already: {row['path']}. Nothing was downloaded, and nothing changes.")
    return True


def row_of(value: str, package: Path, sha256: str, name: str) -> Row:
    """The row of a package that runs here. Ends the job for any other."""
    facts = program("inspect", str(package), "--offline")
    if not facts["runs_here"]:
        fail(f"{value} is not offered, because it would not run: {facts['verdict']}")
    words = [facts["takes"], *(tag for tag in facts["tags"] if not TECHNICAL.fullmatch(tag))]
    version = facts["version"] or ""
    known_as = " ".join(filter(None, (facts["id"], version)))
    title = facts["name"] + (f" ({known_as})" if known_as else "")
    row = {
        "value": value,
        "name": name.strip() or f"{title}: {', '.join(words[: 1 + MOST_TAGS])}",
        "version": version,
        "tags": ", ".join(words),
        "path": package.name,
        "sha256": sha256,
    }
    print(f"{value} is offered now as “{row['name']}”.")
    return row


def program(*arguments: str) -> Any:
    """What the program prints with `--json`. Where it fails, so does this job, with its message."""
    command = [sys.executable, "-m", "bioimage_inference", *arguments, "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def fail(message: str) -> NoReturn:
    """End the job with a message."""
    print(message, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
