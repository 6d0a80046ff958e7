"""The page about the zoo's models is the one that its script makes, and names tests that exist."""

import re
import subprocess
import sys
from pathlib import Path

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
    tutorial = re.findall(r"^\| `([a-z-]+)` \|", page.partition("## Features")[0], re.MULTILINE)
    assert len(tutorial) == 11
    assert "bioimage-inference predict ID IMAGE" in page
