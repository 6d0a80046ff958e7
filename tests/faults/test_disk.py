"""Disks that are full or read-only, for outputs and for temporary files: exit 2, a sentence, and nothing left."""

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_inference.cli import main
from bioimage_inference.errors import OutputError
from bioimage_inference.files.scratch import scratch_folder
from tests import models
from tests.machine import small_disk

from .zygote import names

Output = pytest.CaptureFixture[str]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of a MiB; mount it again with ``-o remount,ro`` to make it read-only."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def file_limit() -> Iterator[None]:
    """No file may grow over 100 KB: the kernel answers as a file system does whose files are full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((600, 640), "float32"))
    return tmp_path / "image.npy"


def model(folder: Path, **more: Any) -> Path:
    return models.write_model(folder / "model", models.Identity(), *models.simple_tensors(**more))


def test_a_full_disk_is_told_and_leaves_nothing(mounted: Path, tmp_path: Path, image: Path, capsys: Output) -> None:
    (mounted / "other").write_bytes(bytes(500_000))
    assert main(["predict", str(model(tmp_path)), str(image), "-o", str(mounted / "out")]) == 9
    assert "There is no room for the output" in capsys.readouterr().err
    assert names(mounted / "out") == []


def test_a_read_only_disk_is_told(mounted: Path, tmp_path: Path, image: Path, capsys: Output) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    for place in (mounted, mounted / "out"):
        assert main(["predict", str(model(tmp_path)), str(image), "-o", str(place)]) == 8
        assert os.strerror(errno.EROFS) in capsys.readouterr().err


def needs_scratch(folder: Path) -> Path:
    """A model whose output can only be written when all of it is there, and is collected in a temporary file."""
    last = [{"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"], "min_percentile": 1, "max_percentile": 99}}]
    return model(folder, postprocessing=last)


def test_no_room_for_temporary_files_is_told(
    tmp_path: Path, image: Path, capsys: Output, request: pytest.FixtureRequest
) -> None:
    package = needs_scratch(tmp_path)
    request.getfixturevalue("file_limit")
    assert main(["predict", str(package), str(image), "-o", str(tmp_path / "out")]) == 9
    told = capsys.readouterr().err
    assert f"{tempfile.gettempdir()}/bioimage-inference-" in told
    assert names(tmp_path / "out") == []


def test_a_full_disk_of_temporary_files(
    mounted: Path, tmp_path: Path, image: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(mounted))
    assert main(["predict", str(needs_scratch(tmp_path)), str(image), "-o", str(tmp_path / "out")]) == 9
    assert "There is no room" in capsys.readouterr().err
    assert names(mounted) == names(tmp_path / "out") == []


def test_without_a_place_for_temporary_files(
    tmp_path: Path, image: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert main(["predict", str(model(tmp_path)), str(image), "-o", str(tmp_path / "out")]) == 2
    assert "TMPDIR" in capsys.readouterr().err


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


SCRATCH = """
import sys, tempfile
from pathlib import Path
from bioimage_inference.files.scratch import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder(Path(sys.argv[2]) if sys.argv[2] else None) as folder:
    (folder / "file").touch()
    print(folder.name, flush=True)
    input()
"""


@pytest.mark.parametrize("beside", ["", "cells_labels.tif"])
def test_temporary_folders_of_killed_runs_are_removed_and_no_others(scratch: Path, beside: str) -> None:
    """In ``TMPDIR``, and those that are hidden beside an output."""
    output = scratch / beside if beside else None
    command = [sys.executable, "-c", SCRATCH, str(scratch), str(output or "")]
    with (
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as killed,
        subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other,
    ):
        assert killed.stdout is not None
        assert other.stdout is not None
        left, used = killed.stdout.readline().strip(), other.stdout.readline().strip()
        assert left.startswith(".bioimage-inference-" if beside else "bioimage-inference-")
        killed.kill()
        killed.wait()
        (scratch / "others").mkdir()
        assert (scratch / left / "file").exists()
        with scratch_folder(output) as own, scratch_folder(output) as another:
            assert set(names(scratch)) == {own.name, another.name, used, "others"}
        other.communicate("")
    assert names(scratch) == ["others"]


def test_a_temporary_folder_is_removed_when_a_run_fails(scratch: Path) -> None:
    with pytest.raises(OutputError), scratch_folder():
        raise OutputError("something else")
    assert names(scratch) == []
