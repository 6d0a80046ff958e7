"""What a call leaves behind in the process that makes it: nothing but its result."""

import ctypes
import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bioimage_inference import open_model, predict
from bioimage_inference.cli import main
from bioimage_inference.machine.interruptions import late_interruptions
from bioimage_inference.network import loading
from bioimage_inference.network.cpu_kernels import SameForAnyThreads
from tests.models import Identity, simple_tensors, write_model

ROOT = Path(__file__).parents[2]


class AllocatorFacts(ctypes.Structure):
    """The structure that glibc's ``mallinfo2`` returns."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names.split())


def maps_big_buffers() -> bool | None:
    """Whether the C library maps a big buffer by itself, as glibc does by default; ``None`` without glibc 2.33."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype, libc.malloc.restype, libc.free.argtypes = AllocatorFacts, ctypes.c_void_p, [ctypes.c_void_p]
    before = libc.mallinfo2().hblks
    buffer = libc.malloc(ctypes.c_size_t(1 << 30))
    mapped = libc.mallinfo2().hblks > before
    libc.free(buffer)
    return bool(mapped)


def state() -> dict[str, Any]:
    """Settings of the process that other libraries share."""
    loggers = [logging.getLogger(name) for name in (None, "tifffile", "distributed", "PIL", "zarr")]
    cudnn = torch.backends.cudnn
    return {
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "cudnn": (cudnn.benchmark, cudnn.deterministic, cudnn.enabled, cudnn.allow_tf32),
        "picture": Image.MAX_IMAGE_PIXELS,
        "telemetry": sys.modules.get("openvino_telemetry", "not imported"),
        "logging": [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers],
        "warnings": list(warnings.filters),
        "floats": np.geterr(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "allocator": maps_big_buffers(),
    }


@pytest.mark.parametrize("image", ["nuclei.tif", "nuclei.png"])
def test_a_prediction_leaves_the_process_as_it_was(test_data: Path, tmp_path: Path, image: str) -> None:
    leaves_no_trace(test_data, tmp_path, image, "torch")


@pytest.mark.parametrize("image", ["nuclei.tif", "nuclei.png"])
@pytest.mark.usefixtures("installed_openvino")
def test_a_prediction_by_openvino_does_so_too(test_data: Path, tmp_path: Path, image: str) -> None:
    leaves_no_trace(test_data, tmp_path, image, "openvino")


def leaves_no_trace(test_data: Path, tmp_path: Path, image: str, engine: str) -> None:
    if image.endswith("png"):
        Image.fromarray(np.arange(64 * 64, dtype="uint8").reshape(64, 64)).save(tmp_path / image)
    path = next(folder / image for folder in (tmp_path, test_data) if (folder / image).exists())
    with open_model(test_data / "demo-model.zip") as model:  # what imports set is not ours to undo
        predict(model, path, engine=engine)
    before = state()
    with open_model(test_data / "demo-model.zip") as model:
        predict(model, path, engine=engine, threads=torch.get_num_threads() + 1)
        assert state() == before
    assert main(["predict", str(test_data / "demo-model.zip"), str(path), "-o", str(tmp_path), "--threads", "3"]) == 0
    assert main(["demo", "-o", str(tmp_path)]) == 0
    assert state() == before


def test_a_prediction_that_fails_does_so_too(tmp_path: Path) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ x.new_ones(3, 5)

    model = write_model(tmp_path, Broken(), *simple_tensors())
    before = state()
    with pytest.raises(Exception, match="The network failed"):
        predict(model, np.zeros((32, 36), "float32"), axes="yx", threads=torch.get_num_threads() + 1)
    assert state() == before


class Threads(torch.nn.Module):
    """The number of threads that it computes with, in every pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x) + torch.get_num_threads()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TorchScript cannot ask for the number of threads, so the network takes the place of the weights once loaded."""
    load = loading.load_weights
    monkeypatch.setattr(loading, "load_weights", lambda *given: replace(load(*given), module=Threads()))
    return write_model(tmp_path, Identity(), *simple_tensors(size={"min": 16, "step": 4}, halo=4))


def used(model: Any, threads: int, **words: Any) -> tuple[int, int]:
    """The number of threads that a prediction computed with, and that of its record."""
    found = predict(model, np.zeros((64, 64), "float32"), axes="yx", threads=threads, engine="torch", **words)
    array = found.outputs["out"].array
    assert array is not None
    assert array.min() == array.max()
    return int(array.max()), found.record["device"]["threads"]


def test_each_run_computes_with_the_threads_it_asks_for(model: Path) -> None:
    with open_model(model) as opened:
        assert [used(opened, threads) for threads in (1, 2, 1, 3, 1)] == [(n, n) for n in (1, 2, 1, 3, 1)]


def test_threads_of_a_process_may_share_a_model_and_compute_with_others(model: Path) -> None:
    """Each with its own number of torch's threads, tile after tile at the same time."""
    before, together = torch.get_num_threads(), Barrier(4)

    def run(threads: int) -> set[tuple[int, int]]:
        together.wait()
        return {used(opened if threads < 3 else other, threads, tile=(16, 16)) for _ in range(3)}

    with open_model(model) as opened, open_model(model) as other, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, (1, 2, 3, 4))) == [{(n, n)} for n in (1, 2, 3, 4)]
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt belongs to glibc")
@pytest.mark.skipif(getattr(ctypes.CDLL(None), "gnu_get_libc_version", None) is None, reason="this is not glibc")
@pytest.mark.parametrize(("own", "expected"), [(False, False), (True, True)], ids=["Python", "command line"])
def test_only_the_command_line_sets_the_allocator(test_data: Path, tmp_path: Path, own: bool, expected: bool) -> None:
    """Where big buffers are kept, none of them is mapped by itself: mallinfo2 counts these."""
    arguments = ["predict", *(str(test_data / name) for name in ("demo-model.zip", "nuclei.tif")), "-o", str(tmp_path)]
    program = f"""
import ctypes, json, sys
from bioimage_inference import cli, predict

arguments = {arguments}
if {own}:
    sys.argv[1:] = arguments
    try:
        cli.run()
    except SystemExit as end:
        assert not end.code
else:
    predict(arguments[1], arguments[2])
libc = ctypes.CDLL(None)
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc.mallinfo2.restype = Info
before = libc.mallinfo2().hblks
libc.malloc.restype = ctypes.c_void_p
libc.malloc(ctypes.c_size_t(1 << 30))
print(json.dumps(libc.mallinfo2().hblks == before))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="torch has libgomp on Linux")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "GOMP_SPINCOUNT = '3000'"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT = '7'"),
        ({"OMP_WAIT_POLICY": "active"}, "OMP_WAIT_POLICY = 'ACTIVE'"),
    ],
)
def test_threads_soon_leave_the_processor_to_others(
    test_data: Path, tmp_path: Path, given: dict[str, str], expected: str
) -> None:
    """libgomp prints its settings when torch loads it. The user's own settings come first."""
    kept = {key: one for key, one in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    files = [str(test_data / name) for name in ("demo-model.zip", "nuclei.tif")]
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_inference", "predict", *files, "-o", str(tmp_path)],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **given},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected in done.stderr


def test_an_interruption_waits_for_the_tile_and_is_then_raised() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    done = []

    def compute() -> None:
        with late_interruptions():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the tile")

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert done == ["the tile"]
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_not_lost_in_a_finalizer(number: signal.Signals) -> None:
    """Python drops what a finalizer raises, and the run would go on as if nobody had pressed Ctrl-C."""
    program = f"""
import os, signal, time
from bioimage_inference.cli import program

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), {number.value})

def command(arguments):
    Finalized()
    time.sleep(60)
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)
program._run_command = command
program.run()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "Interrupted. Nothing was written.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_ends_although_a_lock_stays_taken(tmp_path: Path, number: signal.Signals) -> None:
    """An exception raised when a function of Python has just taken a lock leaves it taken, and a thread waits."""
    program = f"""
import os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from bioimage_inference.cli import program
from bioimage_inference.files.scratch import scratch_folder

def interrupt(frame, event, argument):
    if event == "return" and frame.f_code is threading.Condition.__enter__.__code__:
        sys.setprofile(None)
        os.kill(os.getpid(), {number.value})

def command(arguments):
    with scratch_folder() as folder, ThreadPoolExecutor(1) as pool:
        (folder / "file").touch()
        pool.submit(time.sleep, 0.1)
        sys.setprofile(interrupt)
        pool.submit(print)
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)
program._run_command = command
program.run()
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr.startswith("Interrupted. The run did not end by itself")
    assert list(tmp_path.iterdir()) == []


def test_what_a_scripted_network_raises_arrives_as_it_was_raised() -> None:
    """TorchScript would wrap it in an error of its own."""

    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.conv2d(x, x.new_ones(1, 7, 3, 3))

    scripted = torch.jit.script(Wrong())
    with pytest.raises(RuntimeError) as raised, torch.inference_mode(), SameForAnyThreads():
        scripted(torch.zeros(1, 2, 8, 8))
    assert type(raised.value) is RuntimeError
    assert "TorchScript" not in str(raised.value)


def test_the_memory_that_the_program_asks_for_is_enough(test_data: Path, tmp_path: Path) -> None:
    """It asks twice where the loaded network takes more than was foreseen on this machine."""
    command = [sys.executable, "-m", "bioimage_inference", "predict", "demo-model.zip", "nuclei.tif"]
    needed, codes = "300", list[int]()
    while len(codes) < 3 and 0 not in codes:
        run = [*command, "-o", str(tmp_path), "--memory", f"{needed}MiB"]
        done = subprocess.run(run, cwd=test_data, capture_output=True, text=True)
        codes.append(done.returncode)
        needed = "".join(re.findall(r"at least (\S+) MiB", done.stderr))
    assert codes in ([6, 0], [6, 6, 0])
