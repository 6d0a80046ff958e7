"""Fixtures that every test may use."""

import os
import re
import signal
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.machine import missing

ROOT = Path(__file__).parents[1]

# tests see neither models nor a list of models that their user downloaded; bioimageio.spec reads this when imported
os.environ["BIOIMAGEIO_CACHE_PATH"] = str(ROOT / ".pytest_cache" / "bioimageio")

# threads that wait in a loop take the processor from tests that run beside; libgomp reads this when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# what a shell starts in the background ignores Ctrl-C, and so would the processes that tests start and interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # machines are noisy
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The project's own small models and images."""
    return ROOT / "test-data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real descriptions and example models that lie beside the checkout, not in it."""
    folder = ROOT.parent / "shared" / "bioimageio-data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/bioimageio-data with real models is not here")
    return folder


@pytest.fixture
def installed_openvino() -> None:
    """End a test of OpenVINO where it is not installed."""
    if find_spec("openvino") is None:
        missing("OpenVINO", 'pip install "bioimage_inference[openvino]"')


@pytest.fixture
def installed_onnx() -> None:
    """End a test of ONNX weights where its libraries are not installed."""
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        missing("onnxruntime", 'pip install "bioimage_inference[onnx]"')


@pytest.fixture(autouse=True)
def small_test_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets are for the whole process: what tests have in memory must not make the tiles smaller."""
    monkeypatch.setattr("bioimage_inference.network.loading.resident_memory", lambda: 0)


@dataclass(frozen=True)
class StandInGPU:
    """The devices that networks were made for, and how many tiles each call of them got."""

    devices: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)


@pytest.fixture
def stand_in_gpu(monkeypatch: pytest.MonkeyPatch) -> StandInGPU:
    """What a run does for a GPU of 8 GiB, with the CPU in its place."""
    from bioimage_inference.inference import calibration
    from bioimage_inference.network import loading
    from bioimage_inference.network.device import Device
    from bioimage_inference.network.network import Inputs
    from bioimage_inference.network.torch_network import TorchNetwork

    seen = StandInGPU()

    class OnAnyDevice(TorchNetwork):
        def __init__(self, module: Any, device: Device, *arguments: Any, **words: Any) -> None:
            seen.devices.append(device.name)
            super().__init__(module, Device("cpu", ""), *arguments, **words)

        def __call__(self, inputs: Inputs) -> Any:
            seen.batches.append(len(inputs[0]) if inputs[0] is not None else 0)
            return super().__call__(inputs)

    monkeypatch.setattr(loading, "choose_device", lambda _: Device("cuda:0", "a GPU"))
    monkeypatch.setattr(calibration, "free_memory", lambda _: 8 << 30)
    monkeypatch.setattr(loading, "TorchNetwork", OnAnyDevice)
    return seen


def only_understood(said: str) -> bool:
    """Whether nothing is printed but what is known before a network is loaded: image, model, inputs, memory, tiles."""
    return all(re.match(r"\[.*\] axes |  (model|input|memory|tiles)  ", line) for line in said.splitlines())
