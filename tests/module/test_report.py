"""The report of a run is one complete page. It loads nothing, and it fits phones and paper."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from bioimage_inference.cli import main
from bioimage_inference.errors import OutputError, UsageError
from bioimage_inference.provenance.citation import PROGRAM, PROGRAM_AUTHORS, bibtex, methods, references
from bioimage_inference.provenance.record import record_from_json
from bioimage_inference.report.page import write_report

from ..conftest import ROOT
from ..machine import chromium
from .test_model_card import Page

Record = dict[str, Any]

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>${content}$title\x1b[31m\u202e"


def run(folder: Path, model: Path, image: Path, *options: str) -> Record:
    """Predict on the command line, and return the record."""
    assert main(["predict", str(model), str(image), "-o", str(folder), *options]) == 0
    record: Record = json.loads((folder / f"{image.stem}_provenance.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def tiled(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Record of nuclei that were predicted in twenty tiles."""
    folder = tmp_path_factory.mktemp("tiled")
    return run(folder, test_data / "demo-model.zip", test_data / "nuclei.tif", "--tile", "128x128")


@pytest.fixture
def record(tiled: Record) -> Record:
    """A copy of the record, for tests that change it."""
    return copy.deepcopy(tiled)


def report(record: Record, path: Path) -> Page:
    write_report(record_from_json(record), path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert_loads_nothing(page, path)
    return page


def assert_loads_nothing(page: Page, path: Path) -> None:
    assert not {"script", "link", "iframe", "object", "form", "svg"} & {tag for tag, _ in page.elements}
    assert all(str(source).startswith("data:image/png;base64,") for source in page.attributes("img", "src"))
    style = path.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert path.stat().st_size < 3_000_000


def add_output(record: Record, path: Path, array: np.ndarray[Any, Any], axes: str, **more: Any) -> None:
    np.save(path, array)
    record["outputs"].append(
        {"id": path.stem, "axes": axes, "shape": list(array.shape), "dtype": array.dtype.name, "npy": str(path)}
        | {"tiff": None, "channel_names": [], "pixel_size": {}, "sha256": {"tiff": None, "npy": None}, **more}
    )


def test_the_report_of_a_run(tiled: Record, tmp_path: Path) -> None:
    page = report(tiled, tmp_path / "nuclei_report.html")
    headings = [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    for text in (
        "Demo U-Net for nuclei",
        "380 × 300 pixels, 123.5 × 97.5 µm",
        "axes YX (300×380), uint16",
        "mean 1395.53; standard deviation 928.74",
        "20 tiles of 128×128 pixels (y x): 4 along y, 5 along x",
        "foreground reaches 0.5",
        "Licence of the model: MIT",
        tiled["inputs"][0]["sha256"],
        tiled["versions"]["torch"],
    ):
        assert text in page.text, text
    alts = [alt for alt in page.attributes("img", "alt") if alt]
    assert len(alts) == 6
    assert page.attributes("html", "lang") == ["en"]
    assert page.attributes("a", "href") == ["https://doi.org/10.1007/978-3-319-24574-4_28"]


def test_the_pictures_are_files_too(tiled: Record, tmp_path: Path) -> None:
    report(tiled, tmp_path / "nuclei_report.html")
    files = sorted((tmp_path / "nuclei_report").iterdir())
    assert [file.name for file in files] == [
        "input1.png",
        "output1_channel0.png",
        "output1_channel1.png",
        "output1_histogram.png",
        "overlay1.png",
        "tiles.png",
    ]
    for file in files:
        with Image.open(file) as picture:
            picture.load()
            assert picture.format == "PNG"
    before = [file.read_bytes() for file in (*files, tmp_path / "nuclei_report.html")]
    report(tiled, tmp_path / "nuclei_report.html")
    assert [file.read_bytes() for file in (*files, tmp_path / "nuclei_report.html")] == before


def test_a_hostile_record_is_only_text(record: Record, tmp_path: Path) -> None:
    model = record["model"]
    model |= {"name": ATTACK, "id": ATTACK, "version": ATTACK, "licence": ATTACK, "source": ATTACK}
    model["cite"] = [
        {"text": ATTACK, "url": f"javascript:{ATTACK}"},
        {"text": "b", "doi": f"10.1234/{ATTACK}"},
        {"text": "c", "url": f"https://example.org/{ATTACK}"},
    ]
    record["notes"] = [ATTACK]
    record["inputs"][0]["name"] = ATTACK
    record["outputs"][0] |= {"id": ATTACK, "channel_names": [ATTACK, "$x^2"]}
    record["sample"] = {ATTACK: ATTACK}
    record["options"] = {ATTACK: ATTACK}
    page = report(record, tmp_path / "r.html")
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    links = page.attributes("a", "href")
    assert links
    assert all(str(link).startswith("https://") for link in links)


def test_three_outputs_of_twenty_channels_fit(record: Record, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((1, 20, 300, 380), np.float32)
    record["outputs"] = []
    for number in range(3):
        add_output(record, tmp_path / f"out{number}.npy", noise, "bcyx")
    add_output(record, tmp_path / "many.npy", noise[:, :, :30, :30].repeat(2, axis=1), "bcyx")
    page = report(record, tmp_path / "r.html")
    assert len([alt for alt in page.attributes("img", "alt") if alt]) == sum((1, 3 * 20, 24, 4, 3, 1))
    # image, channels, those of the last output, histograms, overlays (its field is another), tiles
    assert "16 more channels are not shown here (of 40" in page.text


def test_stacks_show_the_middle_and_the_largest_values(test_data: Path, tmp_path: Path) -> None:
    record = run(tmp_path, test_data / "demo-model-3d.zip", test_data / "nuclei_3d.tif")
    page = report(record, tmp_path / "nuclei_3d_report.html")
    assert "nuclei_3d.tif, plane 13 of 24 along z" in page.text
    assert "foreground, largest value along z" in page.text
    assert "nuclei_3d.tif: 96 × 96 × 24 pixels, 31.2 × 31.2 × 24 µm" in page.text


def test_a_series_is_said_where_its_first_image_is_shown(test_data: Path, tmp_path: Path) -> None:
    record = run(tmp_path, test_data / "demo-model.zip", test_data / "nuclei_timeseries.tif", "--segment")
    page = report(record, tmp_path / "nuclei_timeseries_report.html")
    assert "nuclei_timeseries.tif: 136 × 112 pixels, 44.2 × 36.4 µm, 3 time points" in page.text
    assert page.text.lower().count("the first of 3 along t") == 5  # image, two channels, two overlays


def test_numbers_that_are_no_image_are_a_table(record: Record, tmp_path: Path) -> None:
    record["outputs"] = []
    add_output(
        record, tmp_path / "classes.npy", np.array([[0.25, 0.75]], np.float32), "bc", channel_names=["no", "yes"]
    )
    page = report(record, tmp_path / "r.html")
    assert "noyes" in page.text  # two cells
    assert "0.25" in page.text
    assert "0.75" in page.text


def test_what_is_gone_is_said(record: Record, tmp_path: Path) -> None:
    record["inputs"][0]["file"] = "/gone/nuclei.tif"
    record["outputs"][0] |= {"tiff": "/gone/a.tif", "npy": None}
    page = report(record, tmp_path / "r.html")
    assert "there is no file /gone/nuclei.tif any more" in page.text
    assert "None of its files is here any more (/gone/a.tif)" in page.text
    record["inputs"][0]["file"] = None
    assert "an array in memory" in report(record, tmp_path / "r.html").text


def test_objects_and_sample(record: Record, tmp_path: Path) -> None:
    labels = np.zeros((300, 380), np.uint16)
    labels[100:200, 100:200] = 1
    tifffile.imwrite(tmp_path / "cells_labels.tif", labels, imagej=True, metadata={"axes": "YX"})
    record["objects"] = {
        "labels": str(tmp_path / "cells_labels.tif"),
        "table": str(tmp_path / "cells <objects>.csv"),
        "overlay": None,
        "count": 1234,
        "foreground": "0",
        "boundary": "1",
        "threshold": 0.6,
        "min_size": 20,
        "notes": ["Two objects touch the border."],
        "median_size": {"px": 607.5, "um": 64.1672},
        "spatial": "yx",
        "sha256": {"labels": "3" * 64},
    }
    record["sample"] = {"condition": "5 µM nocodazole"}
    page = report(record, tmp_path / "cells_report.html")
    for text in (
        "1,234 objects",
        "condition",
        "5 µM nocodazole",
        "607.5 pixels (64.17 µm²)",
        "Two objects touch the border.",
        "Objects grow from where the foreground (channel 0) minus the boundary (channel 1) is above 0.6",
        "where channel 0 minus channel 1 of the prediction exceeds 0.6",
        f"SHA-256 {'3' * 64}",
    ):
        assert text in page.text
    assert "./cells%20%3Cobjects%3E.csv" in page.attributes("a", "href")
    shown = np.asarray(Image.open(tmp_path / "cells_report" / "objects.png").convert("RGB"))
    assert shown[100, 150].tolist() == [230, 159, 0]


def test_how_to_cite(record: Record) -> None:
    record["model"] |= {"id": "affable-shark", "name": "Nuclei_{50%}", "cite": [{"text": "Doe. Cells & more. 2021."}]}
    run = record_from_json(record)
    program, model, cited = references(run)
    assert f"version {record['versions']['bioimage_inference']}" in program.text
    assert model.url == "https://bioimage.io/#/?id=affable-shark"
    assert cited.url is None
    assert r"title = {{Nuclei\_\{50\%\}}}," in model.bibtex
    assert cited.bibtex == "@misc{affable_shark_1,\n  title = {{Doe. Cells \\& more. 2021.}},\n  year = {2021},\n}"
    entries = bibtex(run)
    assert len(re.findall(r"^@misc\{\w+,$", entries, re.MULTILINE)) == 3
    assert entries.count("{") == entries.count("}")
    assert "20 tiles of 128×128 pixels (halo 24 along y, 24 along x)" in methods(run)


def test_the_program_is_cited_as_its_citation_file_says() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["title"], cited["authors"][0]["name"]) == (PROGRAM, PROGRAM_AUTHORS)


def test_places_that_cannot_be_written(tiled: Record, tmp_path: Path) -> None:
    run = record_from_json(tiled)
    with pytest.raises(OutputError, match="cannot be"):
        write_report(run, Path("/proc/report/r.html"))
    with pytest.raises(UsageError, match=r"ends in \.html"):
        write_report(run, tmp_path / "report")
    (tmp_path / "r").write_text("a file")
    with pytest.raises(OutputError, match=r"The folder .*r cannot be made"):
        write_report(run, tmp_path / "r.html")


MEASURE = """<!doctype html><body style="margin:0"><iframe src="{name}" width="{width}" height="900" style="border:0"
onload="const page = this.contentDocument.documentElement; const images = [...this.contentDocument.images];
document.title = [page.scrollWidth, page.clientWidth, images.filter(one => !one.naturalWidth).length,
[...this.contentDocument.querySelectorAll('main *:not(.wide *)')].filter(one =>
  one.getBoundingClientRect().right > page.clientWidth + 1).length].join(' ')"></iframe></body>"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off(record: Record, tmp_path: Path, width: int) -> None:
    record["notes"] = [f"A file with a long name, {'x' * 120}.tif, was read."]
    add_output(record, tmp_path / "classes.npy", np.random.default_rng(0).random((1, 30), np.float32), "bc")
    report(record, tmp_path / "r.html")
    (tmp_path / "frame.html").write_text(MEASURE.format(name="r.html", width=width), encoding="utf-8")
    dumped = chromium("--dump-dom", "--virtual-time-budget=3000", (tmp_path / "frame.html").as_uri())
    found = re.search(r"<title>(.*)</title>", dumped)
    assert found is not None
    scrolled, seen, broken, beyond = map(int, found[1].split())
    assert seen == width
    assert scrolled <= seen
    assert broken == 0
    assert beyond == 0  # but for the table of 20 numbers, which scrolls by itself


def test_the_rendered_page_and_its_print(tiled: Record, tmp_path: Path) -> None:
    report(tiled, tmp_path / "r.html")
    shot, paper = tmp_path / "shot.png", tmp_path / "paper.pdf"
    chromium("--window-size=1280,1800", f"--screenshot={shot}", (tmp_path / "r.html").as_uri())
    with Image.open(shot) as picture:
        colours = {tuple(colour[:3]) for _, colour in picture.convert("RGB").getcolors(2**24) or []}
    assert {(0, 0, 0), (255, 255, 255)} <= colours
    assert any(abs(r - 68) + abs(g - 1) + abs(b - 84) < 6 for r, g, b in colours)  # viridis at 0
    assert any(abs(r - 253) + abs(g - 231) + abs(b - 37) < 6 for r, g, b in colours)  # and at 1
    chromium("--no-pdf-header-footer", f"--print-to-pdf={paper}", (tmp_path / "r.html").as_uri())
    assert paper.read_bytes().startswith(b"%PDF")
