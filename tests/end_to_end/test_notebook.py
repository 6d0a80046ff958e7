"""The notebook of the documentation runs, shows what it shows in the repository, and is the page of the site."""

import importlib.util
import json
import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ..machine import missing
from ..pages import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "scripts" / "make_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def committed(script: ModuleType) -> Any:
    return json.loads(script.NOTEBOOK.read_text(encoding="utf-8"))


def test_the_notebook_shows_the_same_when_it_is_run(
    script: ModuleType, committed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not all(find_spec(name) for name in ("ipykernel", "nbclient", "nbformat")):
        missing("Jupyter's kernel and client", 'pip install "bioimage_inference[test]"')
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    made = script.run(tmp_path)
    assert [script.text(cell) for cell in made.cells] == [script.text(cell) for cell in committed["cells"]]


def test_the_page_is_the_notebook(script: ModuleType, committed: Any) -> None:
    assert script.page(committed) == script.PAGE.read_text(encoding="utf-8"), "run python scripts/make_notebook.py"


def test_the_notebook_shows_pictures_and_stays_small(script: ModuleType, committed: Any) -> None:
    kinds = [kind for cell in committed["cells"] for one in cell.get("outputs", ()) for kind in one.get("data", ())]
    assert {"text/html", "image/png"} <= set(kinds)
    assert script.NOTEBOOK.stat().st_size < 400_000
