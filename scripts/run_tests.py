"""Runs the parts of ``make test``, each whatever became of the others, and ends with a table of their results.

    python scripts/run_tests.py [--code-file FILE] [PART ...]

The exit code is that of the first command that failed. GNU make turns it into 2, as every failure of a recipe;
``--code-file`` writes it to a file for programs that call make.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# `lint-imports` checks the layers of the package. pyproject.toml draws them.
IMPORTS = ["-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
# The types of the calls that macOS and Windows have.
TYPES = [
    ["-m", "mypy", "--platform", platform, "--cache-dir", f".mypy_cache/{platform}", "--num-workers", "2"]
    for platform in ("linux", "darwin", "win32")
]
# The commands of each part, as arguments of Python.
PARTS: Mapping[str, Sequence[Sequence[str]]] = {
    "check": [["-m", "ruff", "format", "--check", "."], ["-m", "ruff", "check", "."], *TYPES, IMPORTS],
    "unit-test": [["-m", "pytest", "-n", "logical", "--dist", "worksteal"]],  # one process for every processor
    # The lowest versions of the dependencies, and newer Pythons as far as they are installed.
    "versions-test": [["-m", "tests.versions"]],
    # Only that the benchmarks run, more than once; peers that are not installed are left out.
    "bench-test": [["benchmarks/compare.py", "start", "--small", "--runs", "2"]],
    # Installs Galaxy and planemo into .galaxy, starts Galaxy on loopback, runs all tool and workflow tests, stops it.
    "galaxy-test": [["-m", "tests.galaxy", "run"]],
}
INTERRUPTED = 128 + 2  # a shell's exit code for a program that SIGINT ended


@dataclass(frozen=True)
class Result:
    """A part, the exit code of its first command that failed (0: none failed), and its duration in seconds."""

    part: str
    code: int
    seconds: float


def main() -> int:
    """Run the parts that the command line names, or all of them; returns the exit code of the first failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--code-file", type=Path, help="file for the exit code")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    results = run_parts({part: PARTS[part] for part in options.parts or PARTS})
    print(f"\n{table(results)}", flush=True)
    code = next((result.code for result in results if result.code), 0)
    if options.code_file:
        options.code_file.write_text(f"{code}\n")
    return code


def run_parts(parts: Mapping[str, Sequence[Sequence[str]]]) -> list[Result]:
    """Run every command of every part; only Ctrl-C ends the run early."""
    results = []
    for part, commands in parts.items():
        print(f"\n=== {part}", flush=True)
        start = time.monotonic()
        try:
            codes = [run_command(command) for command in commands]
        except KeyboardInterrupt:
            results.append(Result(part, INTERRUPTED, time.monotonic() - start))
            break
        results.append(Result(part, next(filter(None, codes), 0), time.monotonic() - start))
    return results


def run_command(arguments: Sequence[str]) -> int:
    """Run this Python; returns the exit code as a shell does: 128 + the signal's number where a signal ended it."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal sends Ctrl-C to this process too: it ends its servers
        raise
    return code if code >= 0 else 128 - code


def table(results: Sequence[Result]) -> str:
    """A line for every part: its name, passed or failed, seconds."""
    lines = [f"{'part':<15} {'result':<20} {'seconds':>7}"]
    for result in results:
        outcome = f"FAILED (exit code {result.code})" if result.code else "passed"
        lines.append(f"{result.part:<15} {outcome:<22} {result.seconds:>5.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
