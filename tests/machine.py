"""What tests ask of the machine that runs them: parts that may be missing, a disk of their own, patience."""

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]

HANG_SECONDS = 300
"""Nothing that a test waits for takes this long, even on a machine that does something else besides."""


OLDER_PROCESSOR = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""Environment in which torch uses the instructions of an x86-64 processor without AVX-512."""


def missing(part: str, how_to_install: str) -> NoReturn:
    """End a test that needs an optional part: a failure in continuous integration (CI is set), else a skip."""
    reason = f"{part} is not installed here: {how_to_install}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}. Continuous integration can install it, so this is no skip.", pytrace=False)
    pytest.skip(reason)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return as soon as the condition holds; a failure that names ``what`` where it never does."""
    end = time.monotonic() + HANG_SECONDS
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited in vain until {what}")
        time.sleep(0.01)


def chromium(*arguments: str) -> str:
    """Return the output of headless Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        missing("Chromium", "apt-get install chromium")
    base = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files")
    done = subprocess.run(
        [program, *base, *arguments], capture_output=True, text=True, timeout=HANG_SECONDS, check=True
    )
    return done.stdout


def open_files() -> int:
    """Number of file descriptors that this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 (pathlib would look at each of them, one being closed already)


def resident_bytes() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def on_terminal(arguments: Sequence[object], stdout: Path) -> tuple[int, str, str]:
    """Run the program with a terminal of 80 columns for standard error, and the file ``stdout`` for standard output.

    Returns the exit code, what the terminal got, and what the file has.
    """
    command = [sys.executable, "-m", "bioimage_inference", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    ours, theirs = pty.openpty()
    screen = b""
    with stdout.open("w") as stream:
        run = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=theirs, env=environment)
        os.close(theirs)
        try:
            while part := os.read(ours, 4096):
                screen += part
        except OSError:  # Linux ends a terminal so
            pass
        finally:
            os.close(ours)
            run.wait()
    return run.returncode, screen.decode(), stdout.read_text()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one MiB, mounted at ``folder`` as long as the block lasts."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the user of these tests may not mount file systems")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
