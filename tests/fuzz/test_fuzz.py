"""Damaged inputs by the hundred: a documented exit code, one paragraph, no hang, no gigabyte, nothing half-written."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .campaign import warm_up
from .mutations import mutant
from .seeds import Seeds, make_seeds

# All of one run in continuous integration; `make fuzz` runs 10,000 inputs, and others every time.
INPUTS = 500
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_what_is_not_damaged_is_predicted(seeds: Seeds, tmp_path: Path) -> None:
    warm_up(seeds, tmp_path / "scratch")


def test_the_same_number_is_the_same_input(seeds: Seeds) -> None:
    numbers = random.Random(0).sample(range(10_000), 50)
    assert [mutant(seeds, 1, n) for n in numbers] == [mutant(seeds, 1, n) for n in numbers]


def test_damaged_inputs_break_no_promise(tmp_path: Path) -> None:
    # in a process of its own: one that has computed with several threads cannot be forked
    command = [sys.executable, "-m", "tests.fuzz", "--seed", "1", "--inputs", str(INPUTS)]
    done = subprocess.run(
        [*command, "--findings", str(tmp_path / "findings")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(r"seed 1: (\d+) inputs, exit codes (.*); 0 broke a promise\n", done.stdout)
    assert found is not None
    assert int(found[1]) == INPUTS
    assert {"0", "4", "5"} <= set(re.findall(r"(\d): ", found[2])), "damage of every degree"
    assert not (tmp_path / "findings").exists()
