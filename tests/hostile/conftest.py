"""Fixtures of the hostile corpus."""

import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_inference.cli import main
from tests.conftest import only_understood
from tests.machine import HANG_SECONDS

Refused = Callable[..., int]


@pytest.fixture(autouse=True)
def hang_guard() -> Iterator[None]:
    """What hangs fails, where the whole test run would wait for it otherwise."""

    def hang(number: int, frame: Any) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANG_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image without any fault."""
    np.save(tmp_path / "image.npy", np.zeros((20, 24), "uint8"))
    return tmp_path / "image.npy"


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What would be there if code of the model or image had run."""
    return tmp_path / "marker"


@pytest.fixture
def refused(
    tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Run a command that must fail in one paragraph and leave nothing anywhere; its exit code."""
    scratch, output = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def run(command: str, *arguments: object) -> int:
        capsys.readouterr()
        where = [] if command == "inspect" else ["-o", str(output)]
        code = main([command, *map(str, arguments), *where])
        told = capsys.readouterr()
        assert only_understood(told.out), told.out
        assert len(told.err.strip().splitlines()) == 1, told.err
        assert "bug of bioimage-inference" not in told.err
        assert not marker.exists(), "code has run"
        assert not list(scratch.iterdir()), "temporary files are left"
        assert not output.exists() or not list(output.iterdir()), "outputs are left"
        return code

    return run


@pytest.fixture(scope="session")
def needs_walls() -> None:
    """Skip a test where the kernel lacks one of the walls."""
    probe = """
from bioimage_inference.machine import sandbox
sandbox.may_be_restricted()
with sandbox.restricted([], []):
    print(sandbox.walls())
"""
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    if "landlock=0" in found.stdout or "seccomp=False" in found.stdout:
        pytest.skip(f"the kernel {platform.release()} lacks one of the walls: {found.stdout.strip()}")
