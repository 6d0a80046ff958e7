"""The program on a stand-in of Windows and of macOS: Linux without the calls that those systems lack.

``tests/other_systems/sitecustomize.py`` makes the stand-in. It cannot show what only those systems do, for instance
with backslashes in paths.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ..machine import missing

ROOT = Path(__file__).parents[2]
SYSTEMS = ("win32", "darwin")
SAME = 1e-6  # of values between 0 and 1; other tests run with other numbers of threads

EVERYTHING = """
import pkgutil, sys
import bioimage_inference
for module in pkgutil.walk_packages(bioimage_inference.__path__, "bioimage_inference."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
from bioimage_inference.cli import main
from bioimage_inference.machine.sandbox import may_be_restricted
model, image, out = sys.argv[1:]
files = ["--format", "tiff,npy,zarr"]
commands = [
    ["predict", model, image, "-o", out, "--segment", "--rois", "--report", *files],
    ["predict", model, image, "-o", out, "--segment", "--rois", *files, "--tile", "128x128"],
    ["predict", model, image, "-o", out, "--segment", "--rois", *files, "--tile", "128x128", "--resume"],
    ["rerun", f"{out}/nuclei_provenance.json", "-o", f"{out}/again"],
    ["doctor", "--offline"],
    ["predict", model, image, "-o", f"{out}/last"],
]
for command in commands:
    if command is commands[-1]:
        may_be_restricted()  # for one command, because its temporary folder is then that of the process
    code = main(command)
    assert code == 0, (command, code)
"""
LATE = """
import sys, time
from bioimage_inference.machine import interruptions
interruptions.interrupt_for_certain()
class Dropping:
    def __del__(self):
        raise KeyboardInterrupt
try:
    del Dropping().missing
except AttributeError:
    pass
try:
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    sys.exit(3)
"""


def run(system: str, folder: Path, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code on the stand-in, with ``folder`` for temporary files."""
    if find_spec("mypy") is None:
        missing("mypy, whose types of the standard library list the calls of each system", "pip install mypy")
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "STAND_IN": system,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "tests" / "other_systems"), str(ROOT))),
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_program_runs_and_leaves_nothing_behind(system: str, test_data: Path, tmp_path: Path) -> None:
    from bioimage_inference import predict

    model, image, out = test_data / "demo-model.zip", test_data / "nuclei.tif", tmp_path / "out"
    done = run(system, tmp_path / "temporary", EVERYTHING, model, image, out)
    assert done.returncode == 0, done.stdout + done.stderr
    name = {"win32": "Windows", "darwin": "macOS"}[system]
    assert f"There is no sandbox on {name}: the network runs with your rights." in done.stderr
    assert not list((tmp_path / "temporary").iterdir())
    assert not [path.name for path in out.rglob(".*") if path.name.endswith((".partial", ".old"))]
    expected = predict(model, image, tile=(128, 128)).outputs["prediction"].array
    for found in (np.load(out / "nuclei_prediction.npy"), np.load(out / "again" / "nuclei_prediction.npy")):
        np.testing.assert_allclose(found, expected, rtol=0, atol=SAME)
    np.testing.assert_allclose(tifffile.imread(out / "nuclei_prediction.tif"), expected[0], rtol=0, atol=SAME)
    assert (out / "nuclei_prediction.ome.zarr" / "labels" / "objects").is_dir()


def test_the_stand_in_lacks_what_windows_lacks(tmp_path: Path) -> None:
    """The other tests of this file say nothing if the package sees Linux."""
    program = """
import sys
sys.modules["bioimage_inference"] = type(sys)("bioimage_inference")
names = {"__package__": "bioimage_inference", "__name__": "bioimage_inference.probe"}
exec('''
import os, signal, sys
assert sys.platform == "win32" and os.name == "nt"
lacks = ("pwrite", "preadv", "O_NOFOLLOW", "geteuid", "uname", "posix_fallocate", "fork", "sched_getaffinity")
lacks = [name for name in lacks if hasattr(os, name)]
lacks += [name for name in ("SIGHUP", "SIGKILL", "pthread_kill") if hasattr(signal, name)]
assert not lacks, lacks
for module in ("fcntl", "resource", "pwd"):
    try:
        __import__(module, globals())
    except ModuleNotFoundError:
        continue
    raise AssertionError(module)
''', names)
open("held", "w").write("closed")
with open("held") as file:
    import os
    try:
        os.unlink("held")
    except PermissionError:
        pass
    else:
        raise AssertionError("an open file was removed")
os.unlink("held")
"""
    done = run("win32", tmp_path, f"import os\nos.chdir({str(tmp_path)!r})\n{program}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_interruption_that_python_drops_is_raised_again(system: str, tmp_path: Path) -> None:
    done = run(system, tmp_path, LATE)
    assert (done.returncode, done.stderr) == (3, "")


def test_names_that_windows_does_not_take_are_refused(test_data: Path, tmp_path: Path) -> None:
    program = "import sys; from bioimage_inference.cli import main; sys.exit(main(sys.argv[1:]))"
    model, image = test_data / "demo-model.zip", test_data / "nuclei.tif"
    arguments = ("predict", model, image, "-o", tmp_path / "out", "--output-name", "nul")
    done = run("win32", tmp_path / "temporary", program, *arguments)
    assert done.returncode == 2
    assert "nul.tif as no name of a file" in done.stderr


def test_workers_of_a_cluster_need_no_inherited_descriptors(test_data: Path, tmp_path: Path) -> None:
    if find_spec("distributed") is None:
        missing("Dask", 'pip install "bioimage_inference[cluster]"')
    program = """
if __name__ == "__main__":
    import sys
    from bioimage_inference.cli import main
    sys.exit(main(sys.argv[1:]))
"""
    script = tmp_path / "program.py"  # processes of Dask import the main module anew
    script.write_text(program)
    out = tmp_path / "out"
    start = f"import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path({str(script)!r}, run_name='__main__')"
    arguments = ("predict", test_data / "demo-model.zip", test_data / "nuclei.tif", "-o", out, "--dask", "local:1")
    done = run("win32", tmp_path / "temporary", start, script, *arguments)
    assert done.returncode == 0, done.stderr
    assert list(out.glob("*.ome.zarr"))
