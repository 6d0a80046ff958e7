"""Odd surroundings of a process: it works there, or ends in a documented exit code with words that say why."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bioimage_inference.cli import main
from tests import models
from tests.machine import open_files, resident_bytes

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "test-data" / "demo-model.zip")
OUTPUTS = ["image_prediction.npy", "image_prediction.tif", "image_provenance.json"]
Output = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Ended:
    """A process that has ended, and the names in its output folder."""

    code: int
    out: str
    err: str
    files: list[str]

    @property
    def is_complete(self) -> bool:
        return self.code == 0 and self.files == OUTPUTS


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small image whose summary has a letter that is not ASCII: µm."""
    pixels = np.random.default_rng(0).integers(0, 999, (64, 64), "uint16")
    tifffile.imwrite(tmp_path / "image.tif", pixels, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    return tmp_path / "image.tif"


def predict(image: Path | str, *more: str, before: list[str] | None = None, **how: Any) -> Ended:
    """Predict the image into the folder ``out`` beside it; ``how`` are arguments of ``subprocess.run``."""
    out = Path(image).parent / "out" if Path(image).is_file() else None
    output = [] if out is None else ["-o", str(out)]
    return run("predict", MODEL, str(image), *output, *more, before=before, out=out, **how)


def run(*arguments: str, before: list[str] | None = None, out: Path | None = None, **how: Any) -> Ended:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name, value in how.pop("environment", {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    done = subprocess.run(
        [*(before or []), sys.executable, "-m", "bioimage_inference", *arguments],
        env=environment, stdin=subprocess.DEVNULL, **streams | how,
    )  # fmt: skip
    out_text, err_text = ((stream or b"").decode() for stream in (done.stdout, done.stderr))
    assert "bug of bioimage-inference" not in err_text, err_text
    assert "Traceback" not in err_text, err_text
    files = sorted(path.name for path in out.iterdir()) if out is not None and out.is_dir() else []
    return Ended(done.returncode, out_text, err_text, files)


# What is printed, and where


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["encoding", "locale"],
)
def test_a_terminal_that_knows_only_ascii(image: Path, environment: dict[str, str]) -> None:
    ended = predict(image, environment=environment)
    assert ended.is_complete, ended.err
    assert r"0.5 \xb5m/px" in ended.out
    printed = predict(image, "--json", environment=environment)
    assert json.loads(printed.out)["inputs"][0]["pixel_size"]["x"]["unit"] == "µm"


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams(image: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    streams = {name: None for name, number in (("stdout", 1), ("stderr", 2)) if number in closed}
    assert predict(image, preexec_fn=close, **streams).is_complete
    # the image's file must not have become standard output, to which the summary is written
    with tifffile.TiffFile(image.parent / "out" / OUTPUTS[1]) as tiff:
        assert tiff.asarray().shape == (2, 64, 64)


def test_a_full_device_as_standard_output(image: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = predict(image, stdout=full)
        assert (ended.code, ended.files) == (9, OUTPUTS)  # complete, and listed in the message
        assert ended.err.startswith("Standard output cannot be written: No space left on device.")
        assert OUTPUTS[1] in ended.err
        for arguments in (["--help"], ["--version"], ["inspect", MODEL, "--json"], ["models"]):
            assert run(*arguments, stdout=full).code == 9
        assert predict(image, stderr=full).is_complete


def test_a_reader_that_stops_reading(image: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        assert predict(image, stdout=gone).code == 141


# Where it runs, and as whom


@pytest.mark.parametrize("arguments", [["inspect", MODEL], ["predict", MODEL, "IMAGE", "-o", "OUT"]])
def test_a_deleted_current_folder(image: Path, arguments: list[str]) -> None:
    gone = image.parent / "gone"

    def leave() -> None:
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()

    named = {"IMAGE": str(image), "OUT": str(image.parent / "out")}
    ended = run(*(named.get(one, one) for one in arguments), preexec_fn=leave, out=image.parent / "out")
    assert (ended.code, ended.files) == (2, [])
    assert ended.err.startswith("The current folder does not exist any more.")
    assert run("--version", preexec_fn=leave).code == 0


def stranger() -> list[str]:
    """A command that runs another one as a user who is in no list of users, and may read what the tests read."""
    rights = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    command = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", *rights]
    if shutil.which("setpriv") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("the user of these tests may not become another user")
    return command


@pytest.fixture
def everybodys(image: Path) -> Iterator[Path]:
    """The image in a folder that everybody may write to, which the folders of pytest are not."""
    folder = Path("/tmp") / f"surroundings-{os.getpid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    yield Path(shutil.copy(image, folder / "image.tif"))
    shutil.rmtree(folder)


def test_no_home_folder(image: Path) -> None:
    assert predict(image, environment={"HOME": None}).is_complete


def test_a_user_without_an_entry_and_a_home_folder(everybodys: Path) -> None:
    environment = {"HOME": None, "BIOIMAGEIO_CACHE_PATH": None}
    user: dict[str, Any] = {"before": stranger(), "environment": environment}
    assert predict(everybodys, **user).is_complete
    ended = run("predict", "affable-shark", str(everybodys), "--offline", **user)
    assert ended.code == 2
    assert "/nonexistent/.cache" in ended.err


def test_a_umask_that_forbids_everything(everybodys: Path) -> None:
    before = [*stranger(), "sh", "-c", 'umask 777; exec "$@"', "sh"]
    assert predict(everybodys, before=before).is_complete
    assert {path.stat().st_mode & 0o777 for path in (everybodys.parent / "out").iterdir()} == {0o600}


@pytest.mark.parametrize("place", ["t m p", "missing"])
def test_folders_for_temporary_files(image: Path, place: str) -> None:
    if place != "missing":
        (image.parent / place).mkdir()
    assert predict(image, environment={"TMPDIR": str(image.parent / place)}).is_complete


def test_twenty_open_files(image: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

    ended = predict(image, "--report", "--segment", preexec_fn=limit)
    assert ended.code == 0, ended.err


def test_too_few_open_files_are_explained(image: Path, capsys: Output) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files(), before[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):  # numbers below the limit that are free
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        code = main(["predict", MODEL, str(image), "-o", str(image.parent / "out")])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)
    message = capsys.readouterr().err
    assert code in (2, 4, 5), message
    assert "bug of" not in message
    assert "may open no more files (ulimit -n)" in message or "Too many open files" in message


# What the image is


@pytest.mark.parametrize(
    "name", [b"caf\xe9.npy", b"two\nlines.npy", b"-dash.npy", b"=1+1.npy", b"x" * 200 + b".npy", b"x" * 235 + b".npy"]
)
def test_names_that_a_file_can_have(tmp_path: Path, capsys: Output, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    np.save(path, np.arange(4096, dtype="uint16").reshape(64, 64))
    assert main(["predict", MODEL, str(path), "-o", str(tmp_path), "--report", "--segment"]) == 0
    record = json.loads((tmp_path / f"{path.stem}_provenance.json").read_text(encoding="utf-8"))
    assert record["inputs"][0]["file"] == str(path)
    written = sorted(one.name for one in tmp_path.iterdir())
    assert len(written) == 9
    assert all(one.startswith(path.stem) for one in written)
    assert main(["rerun", str(tmp_path / f"{path.stem}_provenance.json")]) == 0


def test_a_leading_dash_after_two_dashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("-dash.npy", np.zeros((64, 64), "uint16"))
    assert main(["predict", MODEL, "--", "-dash.npy"]) == 0
    assert Path("-dash_prediction.tif").is_file()


@pytest.mark.parametrize("length", [251, 300])
def test_names_that_leave_no_room_for_those_of_the_outputs(tmp_path: Path, capsys: Output, length: int) -> None:
    path = tmp_path / ("x" * length + ".npy")
    if length < 255:
        np.save(path, np.zeros((64, 64), "uint16"))
    for images in ([str(path)], [str(path), str(path.with_name("other.npy"))]):
        assert main(["predict", MODEL, *images, "-o", str(tmp_path / "out")]) == 2
        assert "shorter name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_no_file(tmp_path: Path, capsys: Output) -> None:
    pipe, table = tmp_path / "pipe", tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    os.mkfifo(table)
    weights = models.write_model(tmp_path / "model", models.Identity(), *models.simple_tensors()).parent / "weights.pt"
    out = ["-o", str(tmp_path / "out")]
    commands = {
        **{("predict", MODEL, str(one), *out): 5 for one in (pipe, "/dev/zero", "/dev/null", "/dev/stdin")},
        ("predict", MODEL, str(tmp_path), *out): 2,
        ("predict", MODEL, str(table), *out): 2,
        ("predict", MODEL, str(pipe), str(pipe.parent), *out): 2,
        ("predict", str(pipe), str(pipe), *out): 2,
        ("predict", str(weights), str(pipe), "--description", str(pipe), *out): 2,
        ("segment", str(pipe), *out): 5,
        ("rerun", str(pipe)): 2,
        ("inspect", str(pipe)): 2,
        ("validate", "/dev/zero", *out): 2,
    }
    for command, expected in commands.items():
        assert main(command) == expected, command
        assert "bug of" not in capsys.readouterr().err


def test_a_disk_that_fills_where_nobody_expects_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "picture.png")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(["demo", "-o", str(tmp_path / "out")]) == 9
    assert "There is no room on the disk for picture.png" in capsys.readouterr().err


# Many images


@pytest.mark.slow
def test_six_hundred_images_take_no_more_than_two_hundred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.write_model(tmp_path / "model", models.Identity(), *models.simple_tensors())
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(600):
        np.save(folder / f"{number}.npy", np.full((16, 16), number % 256, "uint8"))
    from bioimage_inference.batch import all_images

    seen: list[tuple[int, int]] = []
    turn: Callable[..., None] = all_images._turn

    def watched(*arguments: Any) -> None:
        turn(*arguments)
        seen.append((open_files(), resident_bytes()))

    monkeypatch.setattr(all_images, "_turn", watched)
    images = sorted(map(str, folder.iterdir()))
    assert main(["predict", str(model), *images, "-o", str(tmp_path / "out")]) == 0
    early, late = seen[199], seen[599]
    assert late[0] == early[0]
    assert late[1] < 1.1 * early[1]  # about 2 KB for each image, which index.html shows
