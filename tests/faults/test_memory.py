"""Little memory: tiles shrink and the result stays; exit 6 only where not even the smallest tile fits."""

from pathlib import Path

import pytest

from tests.machine import OLDER_PROCESSOR

from .zygote import experiment


# oneDNN takes other routines then, which allocate at other times and report in other words.
@pytest.mark.parametrize("processor", [{}, OLDER_PROCESSOR], ids=["this processor", "AVX2 only"])
@pytest.mark.parametrize(("room", "code"), [("40", 0), ("90", 0), ("2", 6)])
def test_a_limit_of_address_space(tmp_path: Path, room: str, code: int, processor: dict[str, str]) -> None:
    found = experiment("limited", tmp_path, room, **processor)
    assert found["code"] == code, found["log"]
    assert "Traceback" not in found["log"]
    assert found["scratch"] == []
    if code:
        assert "memory" in found["log"]
        assert found["out"] == []
    else:
        assert "did not fit into memory; smaller ones were used" in found["log"]
        assert found["largest difference"] < 1e-5
