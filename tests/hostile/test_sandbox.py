"""The second wall: what a network can still do after it was let in, in a process of the command line."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import tifffile
import yaml

from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.writers.base import Layout
from bioimage_inference.image.writers.zarr_writer import ZarrWriter, create_store
from bioimage_inference.machine import sandbox
from tests.image_server import serve
from tests.machine import HANG_SECONDS, missing
from tests.reading_plates import write_image

from .test_torchscript import packaged, program

pytestmark = pytest.mark.usefixtures("needs_walls")

BEHIND_THE_WALL = """
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, termios, threading
from pathlib import Path
from multiprocessing import shared_memory
import psutil
from bioimage_inference.machine import sandbox

attempt, read, write, other = sys.argv[1], *map(Path, sys.argv[2:])
if attempt == "as a library":
    attempt = "read"
else:
    sandbox.may_be_restricted()

def do():
    match attempt:
        case "nothing":
            pass
        case "read":
            (other / "secret").read_text()
        case "list":
            os.listdir(other)
        case "write":
            (other / "new").write_text("x")
        case "overwrite":
            (other / "secret").write_text("x")
        case "truncate":
            os.truncate(other / "secret", 0)
        case "remove":
            (other / "secret").unlink()
        case "move away":
            (write / "secret").write_text("x")
            (write / "secret").rename(other / "secret")
        case "link":
            (write / "link").symlink_to(other / "secret")
            (write / "link").read_text()
        case "remove the folder beside":
            (read.parent / "empty").rmdir()
        case "write to the image":
            (read / "image").write_text("x")
        case "connect":
            socket.create_connection(("127.0.0.1", 9))
        case "socket" | "socket beside a GPU" | "GPU with --device cpu":
            socket.socket(socket.AF_UNIX)
        case "permissions":
            (other / "secret").chmod(0o600)
        case "permissions of the image":
            with (read / "image").open() as file:
                os.fchmod(file.fileno(), 0o600)
        case "owner":
            os.chown(other / "secret", os.getuid(), os.getgid())
        case "times":
            os.utime(other / "secret", (0, 0))
        case "extended attributes":
            os.setxattr(other / "secret", b"user.mark", b"x")
        case "signal":
            os.kill(os.getppid(), 0)
        case "signals of a file":
            fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())
        case "priority":
            os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))
        case "scheduling":
            os.sched_setscheduler(os.getppid(), os.sched_getscheduler(os.getppid()), os.sched_param(0))
        case "limits":
            resource.prlimit(os.getppid(), resource.RLIMIT_CORE, limits)
        case "memory of other programs":
            library = ctypes.CDLL(None, use_errno=True)
            if library.shmget(1, 1, 0) < 0:
                raise OSError(ctypes.get_errno(), "")
        case "input of the terminal":
            fcntl.ioctl(0, termios.TIOCSTI, b"x")
        case "input of the terminal, disguised":
            request = ctypes.c_ulong(1 << 32 | termios.TIOCSTI)
            if ctypes.CDLL(None, use_errno=True).ioctl(0, request, b"x") < 0:
                raise OSError(ctypes.get_errno(), "")
        case "selection of the terminal":
            fcntl.ioctl(0, 0x541C, b"x")
        case "list the devices":
            os.listdir("/dev")
        case "list the shared memory":
            os.listdir("/dev/shm")
        case "make shared memory" | "shared memory beside a GPU":
            shared_memory.SharedMemory(create=True, size=1).unlink()
        case "import":
            import bioimage_inference.cli.program
        case "run":
            subprocess.run([sys.executable, "-c", ""])
        case "run in place":
            os.execv(sys.executable, [sys.executable, "-c", ""])
        case "in a thread":
            found = []
            def task():
                try:
                    (other / "secret").read_text()
                except OSError as error:
                    found.append(error)
            thread = threading.Thread(target=task)
            thread.start()
            thread.join()
            if found:
                raise found[0]
        case "in a child":
            child = os.fork()
            if not child:
                try:
                    (other / "secret").read_text()
                except OSError:
                    os._exit(5)
                os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                raise PermissionError
        case "what a job needs":
            (read / "image").read_text()
            (write / "partial").write_text("x")
            (write / "partial").rename(write / "final")
            (write / "folder").mkdir()
            (write / "folder").rmdir()
            import tempfile
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
            os.urandom(4)
            Path("/dev/null").write_text("x")
            Path("/dev/urandom").open("rb").read(1)
            Path("/proc/self/status").read_text()
            resource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))
            psutil.Process().rlimit(resource.RLIMIT_AS)
            os.sched_setaffinity(threading.get_native_id(), os.sched_getaffinity(0))
            signal.signal(signal.SIGTERM, lambda *_: None)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

limits = resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
gpu = "beside a GPU" in attempt
if "GPU" in attempt:
    sandbox._nvidia_devices = lambda: [Path("/dev/null")]
with sandbox.restricted([read], [write], gpu=gpu):
    try:
        do()
    except PermissionError:
        print("refused")
    else:
        print("done")
"""
REFUSED = (
    *("read", "list", "write", "overwrite", "truncate", "remove", "move away", "link", "write to the image"),
    *("permissions", "permissions of the image", "owner", "times", "extended attributes"),
    *("signal", "signals of a file", "priority", "scheduling", "limits", "memory of other programs"),
    *("input of the terminal", "input of the terminal, disguised", "selection of the terminal"),
    *("list the devices", "list the shared memory", "make shared memory"),
    *("connect", "socket", "run", "run in place", "in a thread", "in a child"),
)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """To read, to write, and of others."""
    made = [tmp_path / name for name in ("images", "outputs", "others")]
    for folder in made:
        folder.mkdir()
    (made[0] / "image").write_text("pixels")
    (made[2] / "secret").write_text("secret")
    return made


def attempt(what: str, folders: list[Path]) -> str:
    command = [sys.executable, "-c", BEHIND_THE_WALL, what, *map(str, folders)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    return found.stdout.strip()


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_job_does_not_need_is_refused(folders: list[Path], what: str) -> None:
    assert attempt(what, folders) == "refused"
    assert (folders[2] / "secret").read_text() == "secret"
    assert [path.name for path in folders[2].iterdir()] == ["secret"]


def test_what_the_job_needs_is_left(folders: list[Path]) -> None:
    assert attempt("what a job needs", folders) == "done"
    assert [path.name for path in folders[1].iterdir()] == ["final"]


def test_a_library_call_gives_nothing_up(folders: list[Path]) -> None:
    assert attempt("as a library", folders) == "done"


def command_line(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bioimage_inference", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)


def test_of_the_current_folder_only_the_package_is_read(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m`` puts the current folder on the path of the packages."""
    shutil.copytree(Path(sandbox.__file__).parents[1], folders[2] / "bioimage_inference")
    monkeypatch.chdir(folders[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folders[2]), *filter(None, sys.path)]))
    assert attempt("read", folders) == "refused"
    assert attempt("import", folders) == "done"


def test_sockets_stay_only_where_a_gpu_computes(folders: list[Path]) -> None:
    assert attempt("socket beside a GPU", folders) == "done"
    assert attempt("shared memory beside a GPU", folders) == "done"
    assert attempt("GPU with --device cpu", folders) == "refused"


@pytest.mark.parametrize("command", ["predict", "validate", "rerun"])
def test_the_lists_of_an_administrator_count(
    tmp_path: Path, image: Path, test_data: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lie anywhere, and the wall hides this place from the model."""
    model, out, lists = test_data / "demo-model.zip", tmp_path / "out", tmp_path / "lists"
    predict = ("predict", model, image, "-o", out, "--weights", "torchscript")
    if command == "rerun":
        assert command_line(*predict).returncode == 0
    lists.mkdir()
    with zipfile.ZipFile(model) as package:
        (lists / "hashes.txt").write_text(hashlib.sha256(package.read("weights.pt")).hexdigest())
    monkeypatch.setenv("BIOIMAGE_INFERENCE_TRUST", "known")
    commands = {
        "predict": predict,
        "validate": ("validate", model, "--weights", "torchscript"),
        "rerun": ("rerun", out / f"{image.stem}_provenance.json", "-o", tmp_path / "again"),
    }
    assert command_line(*commands[command]).returncode == 3
    monkeypatch.setenv("BIOIMAGE_INFERENCE_TRUSTED_HASHES", str(lists / "hashes.txt"))
    done = command_line(*commands[command])
    assert done.returncode == 0, done.stderr


def test_consent_to_code_does_not_open_the_files(tmp_path: Path, image: Path) -> None:
    """The network that read /etc/passwd into its output."""
    body = 'y = torch.from_file("/etc/passwd", False, 10, dtype=0)\nz = torch.add_(x, torch.sum(y))'
    model = packaged(tmp_path / "model", program(tmp_path, body))
    predict = ["predict", model, image, "--axes", "yx", "--trust-model-code", "-o", tmp_path / "out"]
    found = command_line(*predict)
    assert found.returncode == 4, found.stderr
    assert "Permission denied" in found.stderr or "not permitted" in found.stderr
    assert "--no-sandbox" in found.stderr
    assert not (tmp_path / "out").exists()
    opened = command_line(*predict, "--no-sandbox")
    assert opened.returncode == 0, opened.stderr


@pytest.mark.parametrize("command", ["predict", "validate"])
def test_a_description_that_names_a_file_does_not_open_it(tmp_path: Path, image: Path, command: str) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / "secret").write_text("a secret of ten letters or more")
    body = f'y = torch.from_file("{others / "secret"}", False, 10, dtype=0)\nz = torch.add_(x, torch.sum(y))'
    model = packaged(tmp_path / "model", program(tmp_path, body))
    content = yaml.safe_load(model.read_text())
    model.write_text(yaml.safe_dump({**content, "tags": [str(others / "secret"), "../others/secret"]}))
    given = [image, "--axes", "yx"] if command == "predict" else []
    found = command_line(command, model, *given, "-o", tmp_path / "out", "--trust-model-code")
    assert found.returncode == 4, found.stderr
    assert "--no-sandbox" in found.stderr
    assert not (tmp_path / "out").exists()


def reads(path: Path) -> str:
    """The code of a network that reads a file."""
    return f'y = torch.from_file("{path}", False, 10, dtype=0)\nz = torch.add_(x, torch.sum(y))'


@pytest.mark.parametrize("place", ["beside the image", "below it", "beside bare weights", "beside the record"])
def test_what_lies_beside_an_input_is_not_read(tmp_path: Path, image: Path, test_data: Path, place: str) -> None:
    (tmp_path / "images" / "below").mkdir(parents=True)
    image = image.rename(tmp_path / "images" / image.name)
    folders = {"below it": "images/below", "beside bare weights": "model", "beside the record": "first"}
    secret = tmp_path / folders.get(place, "images") / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("a secret of ten letters or more")
    model = packaged(tmp_path / "model", program(tmp_path, reads(secret)))
    common = ["--trust-model-code"]
    if place == "beside the record":
        predict = ["predict", model, image, "--axes", "yx", "-o", tmp_path / "first", "--no-sandbox"]
        assert command_line(*predict, *common).returncode == 0
        command: list[object] = ["rerun", tmp_path / "first" / "image_provenance.json"]
    elif place == "beside bare weights":
        (weights,) = (tmp_path / "model").glob("*.pt")
        command = ["predict", weights, image, "--axes", "yx", "--model-axes", "bcyx", "--model-size", "24,20,1,1"]
    else:
        command = ["predict", model, image, "--axes", "yx"]
    found = command_line(*command, "-o", tmp_path / "out", *common)
    assert found.returncode == 4, found.stderr
    assert "--no-sandbox" in found.stderr
    opened = command_line(*command, "-o", tmp_path / "out", *common, "--no-sandbox")
    assert opened.returncode in (0, 7), opened.stderr


@pytest.mark.parametrize("command", ["predict", "predict --ro-crate", "predict --tiff", "validate", "rerun"])
def test_nothing_is_written_around_an_output_folder_that_is_new(tmp_path: Path, image: Path, command: str) -> None:
    """The network would write into the folder around it, which the nearest existing one was."""
    mark = tmp_path / "results" / "mark"
    mark.parent.mkdir()
    body = f'y = torch.from_file("{mark}", True, 40, dtype=0)\nz = torch.add_(x, torch.sum(y))'
    model = packaged(tmp_path / "model", program(tmp_path, body))
    out = tmp_path / "results" / "new"
    name, _, more = command.partition(" ")
    arguments: list[object] = {"validate": [model], "rerun": []}.get(name, [model, image, "--axes", "yx"])
    if command == "rerun":
        first = ["predict", model, image, "--axes", "yx", "-o", tmp_path / "first", "--no-sandbox"]
        assert command_line(*first, "--trust-model-code").returncode == 0
        mark.unlink()
        arguments = [tmp_path / "first" / "image_provenance.json"]
    where: list[object] = [more, out / "o.tif"] if more == "--tiff" else ["-o", out]
    where += [more, tmp_path / "results" / "crate"] if more == "--ro-crate" else []
    if more == "--tiff":
        out.mkdir()
    found = command_line(name, *arguments, *where, "--trust-model-code")
    assert found.returncode == 4, found.stderr
    assert not mark.exists()
    assert [path.name for path in mark.parent.iterdir()] == (["new"] if more == "--tiff" else [])


def test_a_folder_that_is_not_there_opens_none_around_it(folders: list[Path]) -> None:
    assert attempt("write", [folders[0], folders[2] / "missing", folders[2]]) == "refused"


def test_folders_are_not_removed_beside_an_output_folder_with_content(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[2] / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(folders[2] / "tmp"))  # a temporary folder is removed from there
    (folders[0].parent / "empty").mkdir()
    (folders[1] / "earlier").touch()
    assert attempt("remove the folder beside", folders) == "refused"


def test_companions_of_an_image_are_read(tmp_path: Path, test_data: Path) -> None:
    """The file that has a TIFF's metadata, the TIFF files of a companion file, the groups around an array."""
    images = tmp_path / "images"
    images.mkdir()
    pixels = tifffile.imread(test_data / "nuclei.tif")[:64, :64]
    pages = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" FirstC="0" FirstT="0" PlaneCount="1"><UUID FileName="plane{z}.ome.tif">'
        f"urn:uuid:00000000-0000-4000-8000-00000000000{z}</UUID></TiffData>"
        for z in range(2)
    )
    head = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    (images / "set.companion.ome").write_text(
        f'{head}><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="64" SizeY="64" '
        'SizeZ="2" SizeC="1" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.25"><Channel ID="Channel:0" '
        f'SamplesPerPixel="1"/>{pages}</Pixels></Image></OME>',
        encoding="utf-8",
    )
    for z in range(2):
        binary = (
            f'<?xml version="1.0" encoding="UTF-8"?>{head} UUID="urn:uuid:00000000-0000-4000-8000-00000000000{z}">'
            '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:00000000-0000-4000-8000-000000000009"/></OME>'
        )
        tifffile.imwrite(images / f"plane{z}.ome.tif", pixels, description=binary, metadata=None)
    layout = Layout("yx", (64, 64), pixels.dtype, {letter: PixelSize(0.25, "µm") for letter in "yx"})
    create_store(images / "a.zarr", layout, {"y": 64, "x": 64})
    ZarrWriter(images / "a.zarr", "yx").write((slice(0, 64), slice(0, 64)), pixels)
    for name in ("plane1.ome.tif", "set.companion.ome", "a.zarr/0"):
        predict = ["predict", test_data / "demo-model.zip", images / name, "-o", tmp_path / "out", "--json"]
        found = command_line(*predict, "--overwrite")
        assert found.returncode == 0, found.stderr
        (one,) = json.loads(found.stdout)["inputs"]
        assert one["pixel_size"]["x"] == {"value": 0.25, "unit": "µm"}
        assert one["shape"] == ([64, 64] if name == "a.zarr/0" else [2, 64, 64])


def test_the_record_and_debug_say_which_walls_stood(tmp_path: Path, image: Path, test_data: Path) -> None:
    predict = ["predict", test_data / "demo-model.zip", image, "--axes", "yx", "-o", tmp_path / "out", "--overwrite"]
    assert "sandbox: Landlock" in command_line(*predict, "--debug").stderr
    record = json.loads((tmp_path / "out" / "image_provenance.json").read_text(encoding="utf-8"))
    assert record["sandbox"]["landlock"] >= 1
    assert record["sandbox"]["seccomp"] is True
    assert "sandbox: none: --no-sandbox" in command_line(*predict, "--debug", "--no-sandbox").stderr
    record = json.loads((tmp_path / "out" / "image_provenance.json").read_text(encoding="utf-8"))
    assert record["sandbox"] == {"landlock": 0, "seccomp": False}


def test_only_an_image_at_an_address_leaves_the_network(tmp_path: Path, test_data: Path) -> None:
    for library in ("aiohttp", "fsspec"):
        if find_spec(library) is None:
            missing(library, "pip install 'bioimage_inference[remote]'")
    write_image(tmp_path / "www" / "cells.zarr", tifffile.imread(test_data / "nuclei.tif"))
    with serve(tmp_path / "www") as server:
        image = f"{server.address}/cells.zarr"
        found = command_line("predict", test_data / "demo-model.zip", image, "-o", tmp_path / "out", "--json")
    assert found.returncode == 0, found.stderr
    walls = json.loads(found.stdout)["sandbox"]
    assert walls["landlock"] >= 1
    assert (walls["seccomp"], walls["network"]) == (True, True)


def test_nothing_stands_around_the_tests_themselves() -> None:
    assert sandbox.walls().landlock == 0
