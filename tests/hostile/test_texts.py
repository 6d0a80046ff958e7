"""Text of models, images and tables stays text: on the terminal, in pages, tables, metadata, records and file names."""

import csv
import io
import json
import subprocess
import sys
import unicodedata
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
import torch
import yaml

from bioimage_inference import text
from bioimage_inference.cli import main
from bioimage_inference.report.rendering import environment
from bioimage_inference.terminal import say_json
from tests.machine import on_terminal
from tests.models import Identity, simple_tensors, write_model

from .corpus import TEXTS

CONSENT = "--trust-model-code"  # else a network that prints is not loaded
Output = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]
ATTACK = " ".join(one for name, one in TEXTS.items() if not name.startswith(("path", "absolute", "byte")))
BEGINNINGS = tuple("=+-@")


def assert_harmless(written: str) -> None:
    """No control character but the ends of lines, nothing bidirectional, and only what UTF-8 can hold."""
    written.encode()
    wrong = {one for one in written if not (one.isprintable() or one == "\n" or unicodedata.category(one) == "Zs")}
    assert not wrong


# One function for each place


@pytest.mark.parametrize("given", TEXTS.values(), ids=list(TEXTS))
def test_each_text_in_each_place(tmp_path: Path, given: str) -> None:
    line = text.for_terminal(given)
    assert "\n" not in line
    assert_harmless(line)
    cell = text.for_cell(given)
    assert_harmless(cell)
    assert not cell.lstrip().startswith(BEGINNINGS)
    assert (tmp_path / f"image_{text.for_file_name(given)}.tif").parent == tmp_path
    assert (tmp_path / text.for_file_name(given)).resolve().parent == tmp_path
    written = text.for_json({"given": given})
    assert_harmless(written)
    assert json.loads(written) == {"given": given}
    assert text.for_json(given, ascii_only=True).isascii()
    for template in ("<p>{{ given }}</p>", '<p title="{{ given }}"></p>'):
        element = environment().from_string(template).render(given=given)
        assert_harmless(element)
        assert [tag for tag, _ in Tags(element).found] == ["p"]
    ElementTree.fromstring(f"<Name>{escape(text.for_xml(given))}</Name>")


@pytest.mark.parametrize("number", ["-1.5", "+3", "1e-7", "nan", "-inf", ""])
def test_numbers_stay_numbers_in_tables(number: str) -> None:
    assert text.for_cell(number) == number


@pytest.mark.parametrize("given", ["µm × 3", "naïve 細胞", "10\u202f000", r"C:\cells\x1b"])
def test_ordinary_text_stays_as_it_is(given: str) -> None:
    assert text.for_terminal(given) == text.for_cell(given) == given


class Tags(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


# All the way through the program


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose every text is hostile."""
    inputs, outputs = simple_tensors(outputs=2)
    outputs[0]["axes"][1]["channel_names"] = [ATTACK, TEXTS["formula"]]
    inputs[0]["description"] = outputs[0]["description"] = ATTACK
    facts: dict[str, Any] = {
        "name": ATTACK,
        "description": ATTACK,
        "license": ATTACK,
        "version": TEXTS["path that leads out"],
        "authors": [{"name": one} for one in (ATTACK, TEXTS["formula"])],
        "tags": [ATTACK, TEXTS["forged line"]],
        "cite": [{"text": ATTACK, "url": f"https://example.org/{ATTACK}"}],
    }
    return write_model(tmp_path / "model", Twice(), inputs, outputs, **facts)


class Twice(torch.nn.Module):
    """Two channels, and what a network may print."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("printed by the network \x1b]0;owned\x07")
        return torch.cat([x, x], 1)


def image_names() -> list[str]:
    """The texts as names of images, as far as a file can have them."""
    return [f"{one.replace('/', '_')}.npy" for one in TEXTS.values()]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Images with hostile names, and some that cannot be read."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(image_names()):
        if number % 4:
            np.save(folder / name, np.arange(256, dtype="uint8").reshape(16, 16))
        else:
            (folder / name).write_bytes(b"no image")
    return [folder / name for name in image_names()]


def test_hostile_texts_on_the_terminal(model: Path, images: list[Path], tmp_path: Path, capsys: Output) -> None:
    out = str(tmp_path / "out")
    commands = [
        ["inspect", str(model)],
        ["inspect", str(model), "--json"],
        ["predict", str(model), str(images[1]), "--dry-run"],
        ["predict", str(model), str(images[1]), "-o", out],  # it prints, and nobody vouches for it
        ["predict", str(model), *map(str, images), "-o", out, "--debug", CONSENT],
        ["predict", str(model), str(images[0]), "-o", out, "--debug", CONSENT],
        ["predict", str(model), str(images[1]), "-o", out, "--overwrite", "--json", CONSENT],
        ["validate", str(model), "-o", out, CONSENT],
        *(["predict", str(model), one] for one in TEXTS.values()),
        *(["predict", one, str(images[1])] for one in TEXTS.values()),
        *(["predict", str(model), str(images[1]), "--channels", one] for one in TEXTS.values()),
        *([one] for one in TEXTS.values()),
    ]
    for command in commands:
        code = main(command)
        printed = capsys.readouterr()
        assert_harmless(printed.out)
        assert_harmless(printed.err)
        assert "bug of" not in printed.err, (command, printed.err)
        forged = ("  note    all is well", "forged")
        assert not [line for line in (printed.out + printed.err).splitlines() if line.startswith(forged)]
        if "--json" in command:
            json.loads(printed.out)
        assert code in (0, 2, 3, 4, 5, 7)


def test_hostile_texts_in_files(model: Path, images: list[Path], tmp_path: Path) -> None:
    out, crate = tmp_path / "out", tmp_path / "crate"
    sheet = tmp_path / "sheet.tsv"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        cells = [one for name, one in TEXTS.items() if name not in ("formula behind a space", "byte that is not UTF-8")]
        table.writerows([name, *cells] for name in ("image", *map(str, images[:-1])))
    command = ["predict", str(model), "--report", "--segment", "--tiff-layout", "labelled", CONSENT]
    before = {path for path in tmp_path.rglob("*") if out not in path.parents and crate not in path.parents}
    # some are no images; all have hostile names
    assert main([*command, str(sheet), "-o", str(out), "--ro-crate", str(crate)]) == 5
    assert main([*command, str(images[-1]), "-o", str(out)]) == 0
    after = {path for path in tmp_path.rglob("*") if out not in path.parents and crate not in path.parents}
    assert after - before == {out, crate}
    kinds = {"html": assert_page, "csv": assert_table, "json": assert_record, "tif": assert_metadata}
    for ending, check in kinds.items():
        files = [*out.glob(f"*.{ending}")]
        assert len(files) > 1
        for path in files:
            check(path)
    assert_record(crate / "ro-crate-metadata.json")
    assert main([*command, str(images[-1]), "-o", str(out), "--ro-crate", str(crate)]) == 2  # no name for an address


def assert_page(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert_harmless(page)
    elements = Tags(page).found
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    for tag, attributes in elements:
        if tag == "a":
            target = str(attributes["href"])
            assert target.startswith(("https://", "#", "./")) or ":" not in target
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/")


def assert_table(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    assert_harmless(written)
    for row in csv.reader(io.StringIO(written)):
        for cell in row:
            assert text.for_cell(cell) == cell


def assert_record(path: Path) -> None:
    written = path.read_text(encoding="utf-8")
    assert_harmless(written)
    json.loads(written)


def assert_metadata(path: Path) -> None:
    with tifffile.TiffFile(path) as tiff:
        description = tiff.pages.first.description
        assert_harmless(description)
        if tiff.ome_metadata is not None:
            ElementTree.fromstring(tiff.ome_metadata)
        for label in (tiff.imagej_metadata or {}).get("Labels", []):
            assert_harmless(label)


def test_ome_xml_with_hostile_names(tmp_path: Path, model: Path) -> None:
    # ImageJ's hyperstacks hold 8- and 16-bit and float pixels; other outputs are labelled as OME-TIFF
    description = yaml.safe_load(model.read_text())
    description["outputs"][0]["data"] = [{"type": "float64"}] * 2
    description["outputs"][0]["postprocessing"] = [{"id": "ensure_dtype", "kwargs": {"dtype": "float64"}}]
    model.write_text(yaml.safe_dump(description))
    for name in image_names():
        np.save(tmp_path / name, np.zeros((16, 16), "uint8"))
        command = ["predict", str(model), str(tmp_path / name), "-o", str(tmp_path), "--tiff-layout", "labelled"]
        assert main([*command, CONSENT]) == 0
    for path in tmp_path.glob("*.tif"):
        assert_metadata(path)


# What a network prints


PRINTING = """
import os, torch

class Net(torch.nn.Module):
    def forward(self, x):
        print("by Python")
        os.write(1, b"as C++ does\\n")
        return x
"""


@pytest.fixture
def printing_models(tmp_path: Path) -> list[list[str]]:
    """A TorchScript that prints, and a network in Python that prints to standard output in both ways."""
    inputs, outputs = simple_tensors(outputs=2)
    scripted = write_model(tmp_path / "scripted", Twice(), inputs, outputs)
    python = write_model(tmp_path / "python", Identity(), *simple_tensors())
    (python.parent / "net.py").write_text(PRINTING)
    torch.save({}, python.parent / "state.pt")
    description = yaml.safe_load(python.read_text())
    architecture = {"source": "net.py", "callable": "Net"}
    description["weights"] = {
        "pytorch_state_dict": {"source": "state.pt", "pytorch_version": "2.6", "architecture": architecture}
    }
    python.write_text(yaml.safe_dump(description))
    return [[str(scripted), CONSENT], [str(python), CONSENT]]


def test_what_a_network_prints_goes_to_standard_error(printing_models: list[list[str]], tmp_path: Path) -> None:
    image = tmp_path / "image.npy"
    np.save(image, np.zeros((16, 16), "uint8"))
    for number, model in enumerate(printing_models):
        command = [sys.executable, "-m", "bioimage_inference", "predict", *model, str(image), "--json"]
        done = subprocess.run(
            [*command, "-o", str(tmp_path / f"{number}")], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["outputs"][0]["id"] == "out"
        expected = ["printed by the network"] if number == 0 else ["by Python", "as C++ does"]
        assert all(words in done.stderr for words in expected)
        assert "\x1b" not in done.stderr


def test_a_call_from_python_leaves_standard_output_alone(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Twice(), *simple_tensors(outputs=2))
    script = (
        "import sys, numpy, bioimage_inference\n"
        "before = sys.stdout, sys.stderr\n"
        f"bioimage_inference.predict({str(model)!r}, numpy.zeros((16, 16), 'uint8'), trust_model_code=True)\n"
        "assert (sys.stdout, sys.stderr) == before\n"
        "print('afterwards')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "afterwards"


# On a terminal


def test_names_in_a_progress_bar_are_harmless(model: Path, tmp_path: Path) -> None:
    image = tmp_path / "a\x1b]0;owned\x07\nb.npy"
    np.save(image, np.zeros((16, 16), "uint8"))
    code, screen, said = on_terminal(["predict", model, image, "-o", tmp_path, CONSENT], tmp_path / "stdout")
    assert code == 0
    assert "reading the model" in screen
    for printed in (screen, said):
        assert "\x1b]0;" not in printed
        assert "\x07" not in printed


def test_json_for_a_terminal_without_utf8(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    value: dict[str, Any] = {"unit": "µm", "name": TEXTS["bidirectional override"]}
    say_json(value)
    printed = capsys.readouterr().out
    assert_harmless(printed)
    assert json.loads(printed) == value
