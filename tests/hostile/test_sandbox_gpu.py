"""The rights that a GPU needs: only commands that may compute on a GPU leave them to the network."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import HANG_SECONDS

from .test_sandbox import command_line

pytestmark = pytest.mark.usefixtures("needs_walls")

# Runs a command on a machine with an NVIDIA GPU, and prints to standard error whether sockets within the machine stay.
BESIDE_A_GPU = """
import sys
from pathlib import Path
from bioimage_inference.cli.program import run
from bioimage_inference.machine import sandbox

stand = sandbox._seccomp
sandbox._nvidia_devices = lambda: [Path("/dev/null")]
sandbox._seccomp = lambda *given, local: print("sockets:", local, file=sys.stderr) or stand(*given, local=local)
run()
"""


@pytest.mark.parametrize(
    ("command", "device"),
    [("predict", "auto"), ("predict", "cpu"), ("validate", "cpu"), ("rerun", "cpu"), ("compare", "cpu")],
)
def test_the_device_decides_on_sockets(tmp_path: Path, image: Path, test_data: Path, command: str, device: str) -> None:
    model, options = test_data / "demo-model.zip", ["--device", device]
    arguments: list[object] = [model, image, "--axes", "yx", *options]
    if command == "validate":
        arguments = [model, *options, "--weights", "torchscript"]
    if command == "compare":
        arguments = [image, "--axes", "yx", *options, "--models", model]
    if command == "rerun":  # the record holds the device
        assert command_line("predict", *arguments, "-o", tmp_path / "first").returncode == 0
        arguments = [tmp_path / "first" / "image_provenance.json"]
    given = [sys.executable, "-c", BESIDE_A_GPU, command, *map(str, arguments), "-o", str(tmp_path / "out")]
    found = subprocess.run(given, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert found.returncode in (0, 7), found.stderr
    assert f"sockets: {device != 'cpu'}" in found.stderr
