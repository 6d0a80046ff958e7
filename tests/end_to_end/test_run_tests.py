"""`make test` runs all of its parts, says which failed, and the first failure decides the exit code."""

import importlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAKE_PARTS = """
import sys
sys.path.insert(0, {scripts!r})
import run_tests

run_tests.PARTS = {{
    "good": [["-c", "print('good ran')"]],
    "bad": [["-c", "import sys; print('bad ran'); sys.exit(5)"], ["-c", "print('second command of bad ran')"]],
    "killed": [["-c", "import os; print('killed ran', flush=True); os.kill(os.getpid(), 9)"]],
    "last": [["-c", "print('last ran')"]],
}}
sys.exit(run_tests.main())
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run scripts/run_tests.py with parts that only print and fail."""
    program = FAKE_PARTS.format(scripts=str(ROOT / "scripts"))
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def results(output: str) -> dict[str, str]:
    """Part and result in the closing table."""
    lines = output.rpartition("\n\n")[2].splitlines()[1:]
    return {part: " ".join(rest[:-1]) for part, *rest in map(str.split, lines)}


def test_a_failing_part_hides_no_other(tmp_path: Path) -> None:
    done = run("--code-file", str(tmp_path / "code"))
    for part in ("good ran", "bad ran", "second command of bad ran", "killed ran", "last ran"):
        assert part in done.stdout
    assert results(done.stdout) == {
        "good": "passed",
        "bad": "FAILED (exit code 5)",
        "killed": f"FAILED (exit code {128 + signal.SIGKILL})",
        "last": "passed",
    }
    assert done.returncode == 5
    assert (tmp_path / "code").read_text() == "5\n"


def test_the_code_is_that_of_the_first_part_that_failed() -> None:
    assert run("last", "killed", "bad").returncode == 128 + signal.SIGKILL


def test_parts_that_pass_are_a_success(tmp_path: Path) -> None:
    done = run("good", "last", "--code-file", str(tmp_path / "code"))
    assert done.returncode == 0
    assert results(done.stdout) == {"good": "passed", "last": "passed"}
    assert (tmp_path / "code").read_text() == "0\n"


def test_an_unknown_part_is_an_error_before_anything_runs() -> None:
    done = run("good", "galaxie-test")
    assert done.returncode == 2
    assert "galaxie-test" in done.stderr
    assert not done.stdout


def test_ctrl_c_ends_the_run_and_waits_for_the_part(tmp_path: Path) -> None:
    """A part may have servers to stop."""
    part = (
        "import pathlib, time\n"
        "try:\n    print('started', flush=True); time.sleep(100)\n"
        f"except KeyboardInterrupt:\n    time.sleep(1); pathlib.Path({str(tmp_path / 'stopped')!r}).touch()"
    )
    program = FAKE_PARTS.format(scripts=str(ROOT / "scripts")).replace("print('good ran')", part.replace("\n", "\\n"))
    process = subprocess.Popen(
        [sys.executable, "-c", program, "good", "last"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while "started" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (tmp_path / "stopped").exists()
    assert "last ran" not in output


def make(folder: Path, *arguments: str) -> str:
    """The commands that make would run in an environment that is installed."""
    for name in ("installed", "test-installed"):
        (folder / name).touch()
    command = ["make", "--dry-run", "--no-print-directory", f"VENV={folder}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "TORCH"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_test_runs_every_part_and_make_runs_each_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    parts = importlib.import_module("run_tests").PARTS
    python = f"{tmp_path}/bin/python scripts/run_tests.py"
    assert make(tmp_path, "test").splitlines() == [f"{python} --code-file {tmp_path}/test-code"]
    for part in parts:
        assert make(tmp_path, part).splitlines() == [f"{python} {part}"]


def test_make_installs_another_build_of_torch_when_one_is_named(tmp_path: Path) -> None:
    installs = "scripts/install_torch.py"
    assert installs not in make(tmp_path, "demo")
    assert installs in make(tmp_path, "demo", "TORCH=torch==2.14.1")
    (tmp_path / "torch-request").write_text("torch==2.14.1\n")
    assert installs not in make(tmp_path, "demo", "TORCH=torch==2.14.1")
    assert installs not in make(tmp_path, "test")  # keeps the build
    assert installs in make(tmp_path, "demo", "TORCH=")


class Ci:
    """.ci/run with programs that only note how they were called in place of make, apt-get and Chromium."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci")
        for name in ("bash", "cat", "dirname", "rm"):
            (self.programs / name).symlink_to(str(shutil.which(name)))
        self.program("id", "echo 0")
        self.program("make", 'echo "$1 CI=$CI" >> calls')

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(0o755)

    def run(self) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": str(self.programs)}
        command = [str(self.programs / "bash"), str(self.folder / ".ci" / "run")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def ci(tmp_path: Path) -> Ci:
    return Ci(tmp_path)


def test_ci_runs_both_commands_where_skipped_tests_are_failures(ci: Ci) -> None:
    ci.program("chromium", "")
    assert ci.run().returncode == 0
    assert ci.calls() == ["demo CI=true", "test CI=true"]


def test_ci_installs_a_browser(ci: Ci) -> None:
    browser = ci.programs / "chromium"
    ci.program("apt-get", f"[ $1 = update ] || {{ : > {browser}; {shutil.which('chmod')} +x {browser}; }}")
    assert ci.run().returncode == 0
    assert ci.calls() == ["demo CI=true", "test CI=true"]


@pytest.mark.parametrize("apt", ["exit 100", None])
def test_ci_fails_aloud_without_a_browser(ci: Ci, apt: str | None) -> None:
    if apt:
        ci.program("apt-get", apt)
    done = ci.run()
    assert done.returncode == 1
    assert "Chromium" in done.stderr
    assert not ci.calls()


def test_cis_exit_code_is_that_of_the_first_failure(ci: Ci) -> None:
    """make itself would return 2."""
    ci.program("chromium", "")
    (ci.folder / ".venv").mkdir()
    (ci.folder / ".venv" / "test-code").write_text("9\n")  # of an earlier run
    ci.program("make", '[ "$1" = demo ] || { echo 5 > .venv/test-code; exit 2; }')
    assert ci.run().returncode == 5


def test_ci_fails_where_the_installation_fails(ci: Ci) -> None:
    ci.program("chromium", "")
    (ci.folder / ".venv").mkdir()
    (ci.folder / ".venv" / "test-code").write_text("0\n")  # of an earlier run
    ci.program("make", '[ "$1" = demo ] || exit 2')
    assert ci.run().returncode == 2
