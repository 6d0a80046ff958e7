"""Whatever ends a run, at whatever moment: no half-written output under a final name, and nothing left behind.

Of a run that was killed outright, the next one removes what it left.
"""

from pathlib import Path

import pytest

from .zygote import FINAL, experiment


def test_killed_at_fifty_moments(tmp_path: Path) -> None:
    found = experiment("killed", tmp_path, "SIGKILL", "50")
    assert found["wrong"] == []
    assert found["codes"] == {"-9": 50}, "all were killed in the middle"
    assert found["partial"] > 0, "some while outputs were being written"
    assert found["in the end"] == sorted(FINAL)
    assert found["scratch in the end"] == []


def stopped(kind: str, folder: Path, name: str, moments: int) -> str:
    """Run an experiment whose runs all end by a signal and leave nothing; what they printed."""
    found = experiment(kind, folder, name, str(moments))
    log: str = found["log"]
    assert found["wrong"] == []
    assert found["codes"] == {"130": moments}, log
    assert found["left"] == []
    assert "Traceback" not in log
    return log


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_asked_to_stop_at_many_moments(tmp_path: Path, name: str) -> None:
    stopped("killed", tmp_path, name, 20)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_asked_to_stop_when_a_lock_has_just_been_taken(tmp_path: Path, name: str) -> None:
    assert "did not end by itself" not in stopped("with_lock", tmp_path, name, 12)


def test_killed_again_and_again_and_resumed(tmp_path: Path) -> None:
    found = experiment("resumed", tmp_path, "4")
    assert found["codes"] == [-9, -9, -9, -9, 0], found["log"]
    assert found["wrong"] == []
    assert found["complete"] == [0, 1, 2, 3, 4], "what was complete stays"
    assert "complete" in found["log"]
    assert set(found["out"]) == set(found["expected"]) - set(FINAL), "nothing half-written stays"
