"""The documentation is true: what its pages say is run, what is made by scripts is current."""

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

import bioimage_inference
from bioimage_inference import Options, errors
from bioimage_inference.cli import main

from ..pages import DOCS, ROOT, blocks, commands, open_page

PAGES = sorted(DOCS.rglob("*.md"))
SHOWING = [page for page in PAGES if any(blocks(page.read_text()))]
_OF_OTHERS = {
    *("--avx2", "--dashboard-address", "--dimensions", "--gpus", "--gres"),
    *("--nv", "--protocol", "--replicas", "--torch-backend"),
}
"""Options of other programs, and of the benchmarks, that the text names."""
_OF_OTHER_TOOLS = {
    "Extract dataset",
    "Select by index",
    "Axis to split along",
    "Squeeze result images",
    "Manual",
    "Connected component analysis",
    "Segmentation contours over image",
}
"""Fields and values of Galaxy's own tools, which stand in no file of this repository."""


def _named(page: Path) -> str:
    return str(page.relative_to(DOCS))


def test_there_are_pages_that_show_how_to_do_it() -> None:
    assert len(SHOWING) > 10


@pytest.mark.parametrize("page", SHOWING, ids=_named)
def test_what_a_page_says_is_so(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_page(page, tmp_path, monkeypatch)
    for block in blocks(page.read_text()):
        reader.read(block)
    reader.finish()


def test_options_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], *([name, "--help"] for name in _commands())):
        with pytest.raises(SystemExit):
            main(arguments)
    known = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        if page.parent.name == "coming-from":  # the first column has the words of another program
            text = re.sub(r"^\|[^|]*\|", "", text, flags=re.MULTILINE)
        for code in re.findall(r"`([^`]*)`", text):
            unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code)) - known - _OF_OTHERS
            assert not unknown, f"{_named(page)}: `{code}`"


def _commands() -> list[str]:
    return re.findall(r"^## (\w+)$", (DOCS / "reference" / "cli.md").read_text(), re.MULTILINE)


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_the_command_line_is_current() -> None:
    made = _script("make_cli_reference").page()
    assert made == (DOCS / "reference" / "cli.md").read_text(), "run python scripts/make_cli_reference.py"


def test_every_command_of_the_program_is_run_on_some_page() -> None:
    run = {
        command.split()[1]
        for page in PAGES
        for block in blocks(page.read_text())
        if block.language in ("console", "bash")
        for command, _ in commands(block)
        if command.startswith("bioimage-inference ")
    }
    assert {"predict", "inspect"} <= set(_commands()) <= run


def test_the_fields_of_the_galaxy_form_are_called_so() -> None:
    tools = "".join(path.read_text() for path in (ROOT / "tools" / "bioimage_inference").glob("*.xml"))
    page = (DOCS / "tutorial" / "galaxy.md").read_text()
    named = {label for words in re.findall(r"(?<![*\w])\*([^*]+)\*(?!\*)", page) for label in words.split(" → ")}
    assert len(named) > 12
    assert not {label for label in named if label not in tools} - _OF_OTHER_TOOLS


def test_the_reference_of_python_names_everything_public() -> None:
    page = (DOCS / "reference" / "python.md").read_text()
    for name in (*bioimage_inference.__all__, *(field.name for field in fields(Options))):
        assert f"`{name}" in page, name


def test_exit_codes_are_those_of_the_errors() -> None:
    page = (DOCS / "reference" / "exit-codes.md").read_text()
    table = dict(re.findall(r"^\| (\d+) \|.*`(\w+)` \|", page, re.MULTILINE))
    found = {name: error for name, error in vars(errors).items() if isinstance(error, type)}
    assert len(found) > 5
    del found["OutputError"]  # it shares its code with another
    for name, error in found.items():
        assert table[str(error.exit_code)] == name
