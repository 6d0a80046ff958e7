"""Runs tests on the lowest versions that ``pyproject.toml`` declares, and on newer versions of Python.

    python -m tests.versions [lowest|3.12|3.13|3.14 …] [--state DIR]

Every version gets a virtual environment of its own below the state folder. ``lowest`` takes this Python, and the CPU
build of the version of torch that is installed here: PyPI has torch's lowest version as a CUDA build only. For the same
reason newer Pythons run the tests that compute no network. A version of Python that is not installed is left out, and
the output says so.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEWER = ("3.12", "3.13", "3.14")
# The unit tests, save what tests processes, documents and faults rather than libraries, what torch alone computes (its
# version is the one that all other tests have), and what compares with the reference, which the program does not need.
LOWEST_LEAVES_OUT = (
    *("everyday", "faults", "fuzz", "galaxy", "hostile"),
    *("test_distribution.py", "test_docs.py", "test_gallery.py", "test_galaxy_tool.py", "test_install_torch.py"),
    *("test_napari.py", "test_notebook.py", "test_other_systems.py", "test_process.py", "test_run_tests.py"),
    *("test_site.py", "test_start.py", "test_surroundings.py", "test_resume.py", "test_rerun.py"),
    *("test_inspect.py", "test_doctor.py", "test_model_names.py"),
    *("test_batches.py", "test_calibration.py", "test_cpu_kernels.py", "test_engine.py", "test_engines.py"),
    *("test_gpu.py", "test_memory.py", "test_receptive_field.py", "test_slabs.py", "test_steps_in_tiles.py"),
    *("test_against_reference.py", "test_augmentation.py", "test_cli.py", "test_demo_model.py", "test_overwriting.py"),
    *("test_validate.py", "test_zoo.py"),
    *("test_tile_dependence.py", "test_tiled_equals_whole.py", "test_tiling.py"),
)
WITHOUT_TORCH = (
    "test_description.py",
    "test_matching.py",
    "test_package.py",
    "test_reading.py",
    "test_reading_hostile.py",
    "test_reading_metadata.py",
    "test_reading_microscopes.py",
    "test_reading_pictures.py",
    "test_reading_zarr.py",
    "test_writers.py",
    "test_statistics.py",
    "test_tiling.py",
)


def main() -> int:
    """Test every version asked for; returns 1 where one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=["lowest", *NEWER], help="lowest or a Python (default: all)")
    parser.add_argument("--state", type=Path, default=ROOT / ".versions", help="folder (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.state.mkdir(parents=True, exist_ok=True)
    passed = [
        _lowest(arguments.state) if one == "lowest" else _newer(one, arguments.state) for one in arguments.versions
    ]
    return 0 if all(passed) else 1


def _lowest(state: Path) -> bool:
    """The lowest declared versions; what those warn of in each other is not ours."""
    torch = version("torch").partition("+")[0]
    python = _environment(state / "lowest", sys.executable)
    _run(str(python), str(ROOT / "scripts/install_torch.py"), "--version", torch)
    _install(python, state, f"torch=={torch}", "--resolution", "lowest-direct")
    left_out = [f"--ignore={_path(name)}" for name in LOWEST_LEAVES_OUT]
    print(f"\nLowest declared versions, Python {sys.version.split()[0]}", flush=True)
    return _tests(python, "-m", "not slow", "-W", "default::DeprecationWarning", *left_out)


def _newer(wanted: str, state: Path) -> bool:
    """A newer Python, with the newest versions of everything but torch."""
    found = next(_interpreters(wanted), None)
    if found is None:
        print(f"\nPython {wanted} is not installed here; it is not tested.", flush=True)
        return True
    python = _environment(state / wanted, found)
    _install(python, state, "torch; sys_platform == 'none'")
    print(f"\nPython {wanted}, without torch", flush=True)
    return _tests(python, *map(_path, WITHOUT_TORCH))


def _path(name: str) -> str:
    """Return the path of a folder of tests, or of the file of tests with this name in one of the folders."""
    folder = Path("tests", name)
    return str(folder) if (ROOT / folder).is_dir() else str(next(ROOT.glob(f"tests/*/{name}")).relative_to(ROOT))


def _interpreters(wanted: str) -> Iterator[str]:
    """Those on the path and those of pyenv that start: pyenv also puts scripts on the path that only complain."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (shutil.which(f"python{wanted}"), *pyenv.glob(f"versions/{wanted}.*/bin/python{wanted}")):
        started = candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False)
        if started and started.returncode == 0:
            yield str(candidate)


def _environment(folder: Path, python: str) -> Path:
    _uv("venv", "--quiet", "--seed", "--clear", "--python", python, str(folder))
    return folder / "bin/python"


def _install(python: Path, state: Path, override: str, *options: str) -> None:
    """Install this project and what its tests need, with ``override`` in place of what it asks of torch."""
    overrides = state / "overrides.txt"
    overrides.write_text(override + "\n")
    where = ("--python", str(python), "--override", str(overrides))
    _uv("pip", "install", "--quiet", *where, *options, "--editable", f"{ROOT}[test]")


def _tests(python: Path, *arguments: str) -> bool:
    # of the optional parts these environments have those of the extra test only, in continuous integration too
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CI": ""}
    options = ("--quiet", "-n", "logical", "--dist", "worksteal", "-p", "no:cacheprovider", "-r", "fE")
    command = [str(python), "-m", "pytest", *options, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _uv(*arguments: str) -> None:
    _run(sys.executable, "-m", "uv", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
