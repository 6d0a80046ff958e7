"""Checks a release, and leaves its files in ``dist/``: wheel, source archive, and a list of what an installation holds.

    python scripts/check_release.py [--dist FOLDER]

It compares the versions in the files of the project, builds wheel and source archive, runs ``doctor`` and ``demo`` with
each in a new virtual environment, asks whether all libraries have wheels for each system and Python, and looks for
known vulnerabilities. The exit code is 1 where a check failed. A question that no index answered is called open.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from bioimage_inference import __version__

ROOT = Path(__file__).parents[1]
LARGEST_WHEEL = 2_000_000  # bytes
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# glibc 2.35 is that of Ubuntu 22.04; OpenVINO's wheels for Arm need it.
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_35", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")
EXTRAS = ("cluster", "crate", "microscopes", "napari", "onnx", "openvino", "remote")


@dataclass(frozen=True)
class Finding:
    """The finding of a check: ``result`` is ok, FAILED or open."""

    result: str
    words: str


class CheckFailedError(Exception):
    """A command failed. The message holds its output."""


def main() -> int:
    """Run all checks, print a line for each finding, and return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="folder of the files (default: %(default)s)")
    dist = parser.parse_args().dist.resolve()
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (versions, builds, installations, wheels, advisories)
    failed = False
    for check in checks:
        try:
            for finding in check(dist):
                print(f"{finding.result:<7} {finding.words}", flush=True)
                failed = failed or finding.result == "FAILED"
        except CheckFailedError as error:
            print(f"FAILED  {check.__name__}: {error}", flush=True)
            failed = True
    return int(failed)


def versions(_: Path) -> Iterator[Finding]:
    """Compare version and date in CHANGELOG.md and CITATION.cff with the version of the package."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    heading = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    if heading is None:
        yield Finding("FAILED", "CHANGELOG.md has no heading such as '## 2.5.0 (2026-11-29)'")
        return
    for file, version in (("CHANGELOG.md", heading[1]), ("CITATION.cff", citation["version"])):
        same = str(version) == __version__
        yield Finding("ok" if same else "FAILED", f"{file} begins with version {version}; the package is {__version__}")
    if heading[2] == "unreleased":
        yield Finding("open", "CHANGELOG.md calls this version unreleased: type the date there and in CITATION.cff")
    elif heading[2] != str(citation["date-released"]):
        yield Finding("FAILED", f"CHANGELOG.md has the date {heading[2]}, CITATION.cff {citation['date-released']}")


def builds(dist: Path) -> Iterator[Finding]:
    """Build the source archive, and the wheel from it."""
    for old in dist.glob("bioimage_inference-*"):
        old.unlink()
    _uv("build", "--quiet", "--out-dir", str(dist), str(ROOT))
    yield Finding("ok", f"{_source_archive(dist).name}: {_source_archive(dist).stat().st_size:,} bytes")
    size = _wheel(dist).stat().st_size
    result = "ok" if size <= LARGEST_WHEEL else "FAILED"
    yield Finding(result, f"{_wheel(dist).name}: {size:,} bytes of at most {LARGEST_WHEEL:,}")


def installations(dist: Path) -> Iterator[Finding]:
    """Install each file into a new environment, and run the program there, away from the checkout."""
    for file in (_wheel(dist), _source_archive(dist)):
        with tempfile.TemporaryDirectory() as folder:
            environment = Path(folder, "environment")
            _uv("venv", "--quiet", "--seed", "--python", sys.executable, str(environment))
            scripts = environment / ("Scripts" if os.name == "nt" else "bin")
            _run(folder, scripts / "python", ROOT / "scripts" / "install_torch.py")
            _uv(
                "pip",
                "install",
                "--quiet",
                "--python",
                str(scripts / "python"),
                f"bioimage_inference @ {file.as_uri()}",
            )
            program = scripts / "bioimage-inference"
            said = _run(folder, program, "--version")
            if __version__ not in said:
                yield Finding("FAILED", f"{file.name}: --version prints {said}")
            for command in (("doctor", "--offline"), ("demo", "-o", "demo")):
                _run(folder, program, *command)
                yield Finding("ok", f"{file.name}: installs, and {command[0]} works")
            if file.suffix == ".whl":
                bill = dist / f"bioimage_inference-{__version__}.cdx.json"
                tool = ("tool", "run", "--quiet", "--from", "cyclonedx-bom", "cyclonedx-py", "environment")
                _uv(*tool, str(scripts / "python"), "--output-reproducible", "--output-file", str(bill))
                parts = len(json.loads(bill.read_text())["components"])
                yield Finding("ok", f"{bill.name}: {parts} libraries with their licences (CycloneDX)")


def wheels(_: Path) -> Iterator[Finding]:
    """Ask the package index for wheels of all libraries, the extras' too, on each system and Python."""
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    for system in SYSTEMS:
        for python in PYTHONS:
            where = ("--python-platform", system, "--python-version", python)
            command = ("pip", "compile", "--quiet", "--only-binary", ":all:", *where, *extras, "pyproject.toml")
            try:
                _uv(*command)
                yield Finding("ok", f"wheels of all libraries for Python {python} on {system}")
            except CheckFailedError as error:
                yield Finding("FAILED", f"wheels for Python {python} on {system}: {error}")


def advisories(_: Path) -> Iterator[Finding]:
    """Look up known vulnerabilities of the versions in constraints.txt."""
    # pip-audit exits with 1 where it finds one, and writes its list all the same.
    options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    done = subprocess.run(
        _with_uv("tool", "run", "--quiet", "pip-audit", "--requirement", "constraints.txt", *options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        libraries = json.loads(done.stdout)["dependencies"]
    except ValueError:
        yield Finding("open", f"known vulnerabilities: pip-audit did not run: {done.stderr.strip()}")
        return
    unknown = [one["name"] for one in libraries if "skip_reason" in one]
    found = [f"{one['name']} {one['version']}: {hit['id']}" for one in libraries for hit in one.get("vulns", ())]
    yield from (Finding("FAILED", f"known vulnerability of {words}") for words in found)
    if unknown:
        yield Finding("open", f"known vulnerabilities of {len(unknown)} libraries: the package index names none")
    if len(unknown) < len(libraries):
        yield Finding("ok", f"{len(libraries) - len(unknown)} libraries were looked up for known vulnerabilities")


def _wheel(dist: Path) -> Path:
    return dist / f"bioimage_inference-{__version__}-py3-none-any.whl"


def _source_archive(dist: Path) -> Path:
    return dist / f"bioimage_inference-{__version__}.tar.gz"


def _with_uv(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "uv", *arguments)


def _uv(*arguments: str) -> None:
    _run(ROOT, *_with_uv(*arguments))


def _run(folder: str | Path, *command: str | Path) -> str:
    """Run a command in a folder and return its standard output. Raises :class:`CheckFailedError`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(map(str, command))
        raise CheckFailedError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
