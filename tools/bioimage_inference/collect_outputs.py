"""Sorts what ``bioimage_inference predict -o outputs`` wrote into the folders where Galaxy looks for it.

    python collect_outputs.py EXIT_CODE [--all] [--keep-going]

The files of the image ``images/NAME/cells.tif`` become ``collected/KIND/NAME.ENDING``, for instance
``collected/tiff/NAME.tiff``; ``KINDS`` lists them. If several images of one file were predicted, ``NAME`` ends with the
name of the series. With ``--all`` every output of the model becomes ``collected/all/NAME/NUMBER OUTPUT.tiff`` and
``.npy``. Tables and pages of all images are in ``collected``.

EXIT_CODE is the exit code of the program. This script ends with it, and collects nothing, unless ``--keep-going`` is
given and at least one image has results.
"""

import argparse
import csv
import html
import json
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from form_messages import HERE, fields, in_words_of_the_form

IMAGES, OUTPUTS, COLLECTED = Path("images"), Path("outputs"), Path("collected")
UNCERTAINTY = "_uncertainty"  # ends the name of the output with the standard deviation of another
RECORD, REPORT = "_provenance.json", "_report.html"
# Keys of the record's "objects": folder and ending in `collected`.
OBJECT_KINDS = {
    "labels": ("labels", "tiff"),
    "table": ("objects", "tsv"),
    "overlay": ("overlays", "png"),
    "rois_geojson": ("rois_geojson", "geojson"),
    "rois_zip": ("rois_zip", "zip"),
    "rois_table": ("rois_omero", "tsv"),
}
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip: equal images give equal bytes

Record = dict[str, Any]


def collect(every_output: bool) -> None:
    """Place the outputs of all images."""
    paths = sorted(OUTPUTS.glob(f"*{RECORD}"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for path, record, name in zip(paths, records, element_names(paths, records), strict=True):
        first, *others = record["outputs"]
        outputs = {output["id"]: output for output in record["outputs"]}
        doubts = [f"{one}{UNCERTAINTY}" for one in outputs if f"{one}{UNCERTAINTY}" in outputs]
        link_files(first, COLLECTED / "tiff" / name, COLLECTED / "npy" / name)
        if first.get("zarr") is not None:
            zip_folder(Path(first["zarr"]), COLLECTED / "zarr" / f"{name}.ome.zarr.zip")
        link(path, COLLECTED / "json" / f"{name}.json")
        if doubts:
            link(Path(outputs[doubts[0]]["tiff"]), COLLECTED / "uncertainty" / f"{name}.tiff")
        report = path.with_name(path.name.removesuffix(RECORD) + REPORT)
        if report.exists():
            link(report, COLLECTED / "html" / f"{name}.html")
        collect_objects(record.get("objects") or {}, name)
        if every_output:
            for number, output in enumerate(record["outputs"]):
                both = COLLECTED / "all" / name / f"{number:03} {output['id']}"
                link_files(output, both, both)
        elif ids := ", ".join(output["id"] for output in others if output["id"] not in doubts):
            print(f"  note    This model also gives: {ids}. Ask for all its outputs under More outputs to have them.")
    if (OUTPUTS / "summary.csv").exists():
        collect_tables()


def element_names(paths: Sequence[Path], records: Sequence[Record]) -> list[str]:
    """Return the name of each image in Galaxy's lists: its folder, and its series if its file has several results."""
    files = [Path.cwd() / record["inputs"][0]["file"] for record in records]
    folders = [file.relative_to(Path.cwd() / IMAGES).parts[0] for file in files]
    counts = Counter(folders)
    stems = [len(folder_stem(folder)) for folder in folders]
    return [
        folder if counts[folder] == 1 else f"{folder} {path.name.removesuffix(RECORD)[stem:].lstrip('_')}"
        for path, folder, stem in zip(paths, folders, stems, strict=True)
    ]


def folder_stem(folder: str) -> str:
    """Return the name of the image in a folder without its suffixes: with it the names of the outputs begin."""
    (image,) = (IMAGES / folder).iterdir()
    return image.stem.removesuffix(".ome") if image.stem.lower().endswith(".ome") else image.stem


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


def zip_folder(folder: Path, archive: Path) -> None:
    """Pack an OME-Zarr, whose chunks are compressed already. The archive holds the folder under its own name."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.writestr(zipfile.ZipInfo(str(file.relative_to(folder.parent)), EARLIEST), file.read_bytes())


def collect_objects(objects: Mapping[str, Any], name: str) -> None:
    """Place the files of the objects of an image. Galaxy's tables have tabs."""
    for key, (folder, ending) in OBJECT_KINDS.items():
        if objects.get(key) is None:
            continue
        source, target = Path(objects[key]), COLLECTED / folder / f"{name}.{ending}"
        if source.suffix == ".csv":
            write_tabular(read_csv(source), target)
        else:
            link(source, target)


def collect_tables() -> None:
    """Place the tables and the page of all images. They name the datasets of Galaxy instead of files."""
    titles, names = fields(HERE / "bioimage_inference.xml"), dataset_names()
    header, *rows = read_csv(OUTPUTS / "summary.csv")
    kept = [column for column, title in enumerate(header) if title != "outputs"]
    write_tabular(
        [header, *([in_words_of_the_form(names(cell), titles) for cell in row] for row in rows)],
        COLLECTED / "summary.tsv",
        kept,
    )
    if (OUTPUTS / "objects.csv").exists():
        header, *rows = read_csv(OUTPUTS / "objects.csv")
        write_tabular([header, *([names(row[0]), *row[1:]] for row in rows)], COLLECTED / "objects.tsv")
    page = names((OUTPUTS / "index.html").read_text(encoding="utf-8"))
    page = re.sub(r'<p class="links">.*?</p>', "", page)
    page = re.sub(r'<a href="[^#"][^"]*">(.*?)</a>', r"\1", page)  # the files beside the page are datasets now
    (COLLECTED / "index.html").write_text(in_words_of_the_form(page, titles), encoding="utf-8")


def dataset_names() -> Callable[[str], str]:
    """Return a function that replaces the paths of images in a text by the names of their datasets."""
    paths = {str(path): path.parent.name.partition(" ")[2] for path in IMAGES.glob("*/*")}
    paths |= {html.escape(path): html.escape(name) for path, name in paths.items()}
    pattern = re.compile("|".join(map(re.escape, sorted(paths, key=len, reverse=True))))
    return lambda text: pattern.sub(lambda found: paths[found[0]], text)


def read_csv(path: Path) -> list[list[str]]:
    """Return the rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write_tabular(rows: Sequence[Sequence[str]], path: Path, columns: Sequence[int] | None = None) -> None:
    """Write some columns of a table, by default all, with a tab between the cells and a line for each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ("\t".join(" ".join(row[at].split()) for at in columns or range(len(row))) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> int:
    """Collect the outputs where there are any. Return the exit code of the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("exit_code", type=int)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--keep-going", action="store_true")
    arguments = parser.parse_args()
    code: int = arguments.exit_code
    complete = (OUTPUTS / "summary.csv").exists() and any(OUTPUTS.glob(f"*{RECORD}"))
    if code and not (arguments.keep_going and complete):
        return code
    collect(arguments.all)
    return 0


if __name__ == "__main__":
    sys.exit(main())
