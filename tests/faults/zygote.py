"""A process that has imported everything and forks runs of the command line: a run starts in milliseconds.

``python -m tests.faults.zygote NAME FOLDER`` runs one of the experiments below in ``FOLDER`` and prints its result as
JSON. It must be a process of its own, and compute with one thread: one that has computed with several cannot be forked.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Condition
from types import FrameType
from typing import Any

import numpy as np

from tests import models

ROOT = Path(__file__).parents[2]
FINAL = ("image_out.npy", "image_out.tif", "image_provenance.json")


def experiment(name: str, folder: Path, *arguments: str, **environment: str) -> Any:
    """Run one in a process of its own, with these variables of the environment; what it printed."""
    command = [sys.executable, "-m", "tests.faults.zygote", name, str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Watch:
    """Called at the steps of a run, and may end it: when that happens depends on no clock.

    A step is where Python looks for signals: a function begins, or one of C has returned. What reads, computes, writes
    and renames files does so in such functions.
    """

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, frame: FrameType, event: str, function: object) -> None:
        """Count a step, as a function for ``sys.setprofile``."""
        if self.is_step(frame, event):
            self.steps += 1
            self.step(function)

    def is_step(self, frame: FrameType, event: str) -> bool:
        """Return whether this event of ``sys.setprofile`` is a step."""
        return event in ("call", "c_return")

    def step(self, function: object) -> None:
        """Look at what has just returned, where it is a function of C."""


class EndAt(Watch):
    """Sends its own process a signal at that step."""

    def __init__(self, steps: int, number: signal.Signals) -> None:
        super().__init__()
        self.last, self.number = steps, number

    def step(self, function: object) -> None:
        """Send it when the time has come."""
        if self.steps == self.last:
            os.kill(os.getpid(), self.number)


class EndWithLock(EndAt):
    """Sends its own process a signal when a function of Python has taken a lock so many times.

    An exception at that moment leaves the lock taken, and threads that need it wait forever.
    """

    def is_step(self, frame: FrameType, event: str) -> bool:
        """Return whether a lock has just been taken."""
        return event == "return" and frame.f_code is Condition.__enter__.__code__


class EndAfterRecords(EndAt):
    """Kills its own process so many steps after more than ``count`` images of a folder have their record."""

    def __init__(self, folder: Path, count: int, more: int) -> None:
        super().__init__(0, signal.SIGKILL)
        self.folder, self.count, self.more = folder, count, more

    def step(self, function: object) -> None:
        """Look at the folder each time that a file was renamed."""
        if not self.last and function is os.replace and _complete(self.folder) > self.count:
            self.last = self.steps + self.more
        super().step(function)


def fork(*arguments: object, log: Path | None = None, watch: Watch | None = None) -> int:
    """Start the program in a child, as its user would; the number of the process.

    A child that is watched to its end writes the number of its steps into the log.
    """
    from bioimage_inference.cli.program import run
    from bioimage_inference.machine.interruptions import EXIT_INTERRUPTED

    child = os.fork()
    if child:
        return child
    code: Any = 70
    try:
        told = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(told, 1)
        os.dup2(told, 2)
        sys.argv = ["bioimage-inference", *map(str, arguments)]
        sys.setprofile(watch)
        run()
    except SystemExit as end:
        code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:  # before the program's own handling began, or after it was through
        code = EXIT_INTERRUPTED
    finally:
        sys.setprofile(None)
        if watch:
            os.write(1, f"\n{watch.steps} steps\n".encode())
        os._exit(code)


def ended(child: int) -> int:
    """The exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare(folder: Path) -> list[object]:
    """A model, an image of some dozen tiles, and a first run, whose outputs go to ``expected``; the command."""
    tempfile.tempdir = str(folder / "scratch")
    (folder / "scratch").mkdir(parents=True)
    model = models.write_model(folder / "model", models.Blur((4, 4)), *models.simple_tensors(halo=4))
    np.save(folder / "image.npy", np.random.default_rng(0).integers(0, 255, (600, 640), "uint8"))
    command = ["predict", model, folder / "image.npy", "--tile", "96x96", "--threads", "1", "-o"]
    from bioimage_inference.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        assert main([str(argument) for argument in (*command, folder / "expected")]) == 0
    return command


def names(folder: Path) -> list[str]:
    """The names in a folder, hidden ones too; none where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def wrong_outputs(folder: Path, expected: Path) -> list[str]:
    """Outputs under their final names that are not complete; records, which hold the time, must be valid JSON."""
    found = []
    for name in set(names(folder)) & set(FINAL):
        content = (folder / name).read_bytes()
        if name.endswith(".json"):
            json.loads(content)
        elif content != (expected / name).read_bytes():
            found.append(name)
    return found


def killed(folder: Path, signal_name: str, moments: str) -> dict[str, Any]:
    """Runs that end by a signal at moments spread over a run, and a last one that is left alone."""
    return _killed(folder, int(moments), EndAt, signal.Signals[signal_name])


def with_lock(folder: Path, signal_name: str, moments: str) -> dict[str, Any]:
    """Runs that end by a signal when they have just taken a lock, and a last one that is left alone."""
    return _killed(folder, int(moments), EndWithLock, signal.Signals[signal_name])


def _killed(folder: Path, moments: int, end_at: type[EndAt], number: signal.Signals) -> dict[str, Any]:
    command = prepare(folder)
    output, expected = folder / "out", folder / "expected"
    steps = _steps_of(folder, end_at(0, number), *command, output)
    codes: Counter[int] = Counter()
    wrong, partial, left = [], 0, []
    for moment in range(moments):
        for name in FINAL:
            (output / name).unlink(missing_ok=True)
        watch = end_at(steps * (2 * moment + 1) // (2 * moments), number)
        codes[ended(fork(*command, output, log=folder / "log", watch=watch))] += 1
        wrong += wrong_outputs(output, expected)
        partial += any(name.endswith(".partial") for name in names(output))
        if number != signal.SIGKILL:
            left += [name for name in names(output) if name not in FINAL] + names(folder / "scratch")
    # the last one may have ended when outputs had their names and the record had not, so that nothing claims these
    assert ended(fork(*command, output, "--overwrite")) == 0
    return {
        "codes": codes,
        "wrong": wrong,
        "partial": partial,
        "left": left,
        "log": (folder / "log").read_text(),
        "in the end": names(output),
        "scratch in the end": names(folder / "scratch"),
    }


def resumed(folder: Path, kills: str) -> dict[str, Any]:
    """A run over several images, killed again and again and begun again with ``--resume``, and at last left alone."""
    command = prepare(folder)
    for number in range(6):
        np.save(folder / f"image{number}.npy", np.load(folder / "image.npy")[number:])
    images = [folder / f"image{number}.npy" for number in range(6)]
    of_two = _steps_of(folder, Watch(), *command[:2], *images[:2], *command[3:], folder / "two")
    of_six = _steps_of(folder, Watch(), *command[:2], *images, *command[3:], folder / "expected")
    again = [*command[:2], *images, *command[3:-1], "--resume", "-o", folder / "out"]
    codes, wrong, complete = [], [], [0]
    for kill in range(int(kills)):
        # one more each time, and on into the next
        watch = EndAfterRecords(folder / "out", kill, 1 + (of_six - of_two) // 4 * kill // int(kills))
        codes.append(ended(fork(*again, log=folder / "log", watch=watch)))
        wrong += _different(folder / "out", folder / "expected")
        complete.append(_complete(folder / "out"))
    (folder / "log").write_text("")
    return {
        "codes": [*codes, ended(fork(*again, log=folder / "log"))],
        "wrong": wrong + _different(folder / "out", folder / "expected"),
        "complete": complete,
        "log": (folder / "log").read_text(),
        "out": names(folder / "out"),
        "expected": names(folder / "expected"),
    }


def _complete(folder: Path) -> int:
    """How many images have their record."""
    return sum(name.endswith("_provenance.json") and not name.startswith(".") for name in names(folder))


def _different(folder: Path, expected: Path) -> list[str]:
    """Predictions under their final names that are not those expected."""
    found = [name for name in names(folder) if name.endswith((".tif", ".npy")) and not name.startswith(".")]
    return [name for name in found if (folder / name).read_bytes() != (expected / name).read_bytes()]


def _steps_of(folder: Path, watch: Watch, *command: object) -> int:
    """Number of steps of a run that is left alone; each run takes about as many."""
    log = folder / "steps"
    log.unlink(missing_ok=True)
    assert ended(fork(*command, log=log, watch=watch)) == 0
    return int(log.read_text().split()[-2])


def at_once(folder: Path, count: str) -> dict[str, Any]:
    """Runs on as many images at the same time in one folder, and as many on one image under one name."""
    command = prepare(folder)
    image = folder / "image.npy"
    for number in range(int(count)):
        np.save(folder / f"image{number}.npy", np.load(image)[number:])
    alone = [command[0], command[1]]
    rest = [*command[3:-1], "-o"]
    several = [
        fork(*alone, folder / f"image{n}.npy", *rest, folder / "out", log=folder / "log") for n in range(int(count))
    ]
    codes = [ended(child) for child in several]
    same = [fork(*command, folder / "same", log=folder / "log") for _ in range(int(count))]
    codes += [ended(child) for child in same]
    for number in range(int(count)):
        assert ended(fork(*alone, folder / f"image{number}.npy", *rest, folder / "one by one")) == 0
    return {
        "codes": codes,
        "log": (folder / "log").read_text(),
        "out": names(folder / "out"),
        "same": names(folder / "same"),
        "wrong": [
            name
            for name in names(folder / "one by one")
            if name.endswith(".npy")
            and (folder / "one by one" / name).read_bytes() != (folder / "out" / name).read_bytes()
        ]
        + wrong_outputs(folder / "same", folder / "expected"),
        "scratch": names(folder / "scratch"),
    }


def one_cache(folder: Path, count: str) -> dict[str, Any]:
    """Runs that need the same model of the zoo at the same time; where it comes from, the environment says."""
    command = prepare(folder)
    command[1] = "quiet-newt"
    children = [fork(*command, folder / f"out{number}", log=folder / "log") for number in range(int(count))]
    return {
        "codes": [ended(child) for child in children],
        "log": (folder / "log").read_text(),
        "different": len({(folder / f"out{n}" / "image_out.npy").read_bytes() for n in range(int(count))}),
    }


def limited(folder: Path, mebibytes: str) -> dict[str, Any]:
    """A run that may take so much more address space than it has when it begins, with tiles of its own choice."""
    command = prepare(folder)
    command[1] = models.write_model(
        folder / "wide", models.Blur((4, 4), outputs=48), *models.simple_tensors(outputs=48)
    )
    command = [part for part in command if part not in ("--tile", "96x96")]
    assert ended(fork(*command, folder / "free", "--memory", "8GiB", log=folder / "log")) == 0
    limit = _address_space() + (int(mebibytes) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    code = ended(fork(*command, folder / "out", "--memory", "8GiB", log=folder / "log"))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    difference = None
    if code == 0:
        one, other = (np.load(folder / name / "image_out.npy") for name in ("free", "out"))
        difference = float(np.abs(one - other).max())
    return {
        "code": code,
        "log": (folder / "log").read_text(),
        "out": names(folder / "out"),
        "scratch": names(folder / "scratch"),
        "largest difference": difference,
    }


def _address_space() -> int:
    """Bytes of address space that the process takes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


EXPERIMENTS: dict[str, Callable[..., Any]] = {
    "killed": killed,
    "with_lock": with_lock,
    "resumed": resumed,
    "at_once": at_once,
    "one_cache": one_cache,
    "limited": limited,
}


if __name__ == "__main__":
    print(json.dumps(EXPERIMENTS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
