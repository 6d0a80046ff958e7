"""Hostile images end in exit 5, or 6 where more memory would do; nothing in them runs, and no claim takes memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bioimage_inference.cli import main
from bioimage_inference.machine.memory import PROGRAM_BYTES

from .conftest import Refused
from .corpus import IMAGES, PICKLED_IMAGES, ROOM, sound_model

ROOT = Path(__file__).parents[2]
# Runs commands one after another; prints exit code, message and how far the peak of memory rose, in bytes, of each.
MEASURE = """
import contextlib, io, json, sys
from bioimage_inference.cli import main
from bioimage_inference.machine.memory import peak_memory

for command in json.load(sys.stdin):
    before, told = peak_memory(), io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = main(command)
    print(json.dumps([code, told.getvalue(), peak_memory() - before]))
"""


@pytest.mark.parametrize("build", PICKLED_IMAGES)
@pytest.mark.parametrize("name", ["image.npy", "image.tif", "dataset_3.dat"])
def test_pickles_in_images_never_execute(tmp_path: Path, marker: Path, refused: Refused, build: Any, name: str) -> None:
    model = sound_model(tmp_path / "model")
    (tmp_path / name).write_bytes(build(marker))
    assert refused("predict", model, tmp_path / name) == 5


def test_images_that_claim_more_than_there_is_are_refused_before_memory_is_spent(tmp_path: Path, image: Path) -> None:
    model = sound_model(tmp_path / "model")
    # all that is imported counts here; of the first run, another process reads the description
    commands = [["predict", str(model), str(image), "-o", str(tmp_path / "out")]] * 2
    for number, (build, _) in enumerate(IMAGES.values()):
        build(tmp_path / f"{number}.dat")
        budget = str(PROGRAM_BYTES + ROOM)
        commands.append(["predict", str(model), str(tmp_path / f"{number}.dat"), "--memory", budget])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=json.dumps(commands), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second, *rest = map(json.loads, done.stdout.splitlines())
    assert first[0] == second[0] == 0
    for (name, (_, expected)), (code, message, growth) in zip(IMAGES.items(), rest, strict=True):
        assert code == expected, (name, message)
        assert len(message.strip().splitlines()) == 1, (name, message)
        assert growth < ROOM / 2, (name, f"{growth >> 20} MiB")


@pytest.mark.parametrize(
    ("start", "found"), [(b"ABCD\0", "no image of a known kind"), (b"\x89PNG\r\n\x1a\n", "is read as a whole")]
)
def test_of_a_huge_file_only_the_beginning_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: bytes, found: str
) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.write(start)
        file.truncate(1 << 40)  # a hole of a TiB
    assert main(["predict", str(sound_model(tmp_path / "model")), str(tmp_path / "huge"), "-o", str(tmp_path)]) == 5
    assert found in capsys.readouterr().err


def test_deep_metadata_are_damaged(tmp_path: Path, image: Path, refused: Refused) -> None:
    """A zarr with such metadata is damaged. A record of an earlier run with them counts as no record."""
    model, out = sound_model(tmp_path / "model"), tmp_path / "out"
    (tmp_path / "deep.zarr").mkdir()
    (tmp_path / "deep.zarr" / "zarr.json").write_text("[" * 200_000)
    assert refused("predict", model, tmp_path / "deep.zarr") == 5
    assert main(["predict", str(model), str(image), "-o", str(out)]) == 0
    (record,) = out.glob("*_provenance.json")
    record.write_text("[" * 200_000)
    assert main(["predict", str(model), str(image), "-o", str(out)]) in (2, 8)
