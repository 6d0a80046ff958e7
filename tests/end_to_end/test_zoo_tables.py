"""The page about the zoo's models is the one that its script makes, and names tests that exist."""

import re
import subprocess
import sys
from pathlib import Path

from bioimage_inference.zoo.index import BUNDLED, read_index

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    script = "import make_zoo_tables; print(make_zoo_tables.tables(), end='')"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}", "PATH": ""}
    made = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "zoo.md").read_text()


def test_the_tests_that_it_names_exist() -> None:
    named = set(re.findall(r"`(test_[a-z_]+)`", (ROOT / "docs" / "zoo.md").read_text()))
    assert len(named) > 8
    for name in named:
        assert list((ROOT / "tests").glob(f"*/{name}.py")), name


def test_the_page_shows_all_models_of_the_tutorial() -> None:
    page = (ROOT / "docs" / "zoo.md").read_text()
    tutorial = re.findall(r"^\| `([a-z-]+)` \|", page.partition("## All models")[0], re.MULTILINE)
    assert len(tutorial) == 11
    assert "bioimage-inference predict ID IMAGE" in page


def test_the_page_shows_what_each_model_of_the_bundled_index_needs() -> None:
    page = (ROOT / "docs" / "zoo.md").read_text().partition("## All models")[2].partition("## Features")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (.* \| .*) \|$", page, re.MULTILINE))
    assert list(rows) == list(read_index(BUNDLED).current())
    assert len(rows) >= 123
    assert rows["affable-shark"] == "yes | —"
    assert rows["humorous-fox"] == "yes | careamics: the extra `zoo`"
    assert rows["helpful-whale"].startswith("with `--trust-model-code`")
    assert rows["famous-fish"].startswith("yes, with its own code model.py | cellpose before version 4")
