"""The GPU of a Mac, with a CPU that stands in for it: results that agree, results that differ, missing operators."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import UsageError, predict
from bioimage_inference.errors import OutOfMemoryError
from bioimage_inference.inference import calibration
from bioimage_inference.network import device, mps_network
from bioimage_inference.network.device import Device, choose_device
from bioimage_inference.network.mps_network import MPSNetwork
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.options import options_of

MISSING = (
    "The operator 'aten::special_op' is not currently implemented for the MPS device. If you want this op to be "
    "considered for addition, please comment on the issue."
)
TILE = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)


class StandIn(torch.nn.Module):
    """A network whose copies compute as MPS does; ``faults`` are for the calls of the copies, one after the other."""

    faults: tuple[Exception | float, ...] = ()
    calls: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.on_mps, self.calls = False, []

    def __deepcopy__(self, memo: Any) -> "StandIn":
        made = StandIn()
        made.load_state_dict(self.state_dict())
        made.on_mps, made.calls, made.faults = True, self.calls, self.faults
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.append("mps" if self.on_mps else "cpu")
        found: torch.Tensor = self.convolution(x)
        if not self.on_mps or not self.faults:
            return found
        fault, self.faults = self.faults[0], self.faults[1:]
        if isinstance(fault, Exception):
            raise fault
        return found + fault


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCPU(TorchNetwork):
        def __init__(self, module: Any, device: Device, **words: Any) -> None:
            super().__init__(module, Device("cpu", device.reason), **words)

    monkeypatch.setattr(mps_network, "TorchNetwork", OnCPU)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def made(*faults: Exception | float) -> tuple[MPSNetwork, StandIn]:
    module = StandIn()
    module.faults = faults
    return MPSNetwork(module, choose_device("mps"), "the engine of the weights", 1), module


def expected(module: StandIn) -> "np.ndarray[Any, Any]":
    with torch.inference_mode():
        found: np.ndarray[Any, Any] = module.convolution(torch.from_numpy(TILE)).numpy()
    return found


def test_the_first_tile_is_compared_with_the_cpu() -> None:
    network, module = made()
    for _ in range(3):
        np.testing.assert_allclose(network([TILE])[0], expected(module), rtol=1e-5, atol=1e-5)
    assert module.calls == ["mps", "cpu", "mps", "mps"]
    assert network.engine.reason == (
        "the engine of the weights; its first tile on MPS differs from the CPU's by 0 of the range of values"
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NotImplementedError(MISSING), "MPS cannot compute this network (The operator 'aten::special_op' is not"),
        (TypeError("Cannot convert a MPS Tensor to float64 dtype"), "MPS cannot compute this network (Cannot convert"),
        (1.0, "the first tile differs on MPS by"),
        (float("nan"), "the first tile differs on MPS by inf"),
    ],
)
def test_the_cpu_takes_over_and_the_record_tells_why(fault: Exception | float, words: str) -> None:
    network, module = made(fault)
    for _ in range(2):
        np.testing.assert_allclose(network([TILE])[0], expected(module), rtol=1e-5, atol=1e-5)
    assert module.calls == ["mps", "cpu", "cpu"]
    assert f"; computed on the CPU, because {words}" in network.engine.reason


def test_an_operator_that_only_a_later_tile_needs_is_computed_on_the_cpu() -> None:
    network, module = made(0.0, NotImplementedError(MISSING))
    for _ in range(3):
        np.testing.assert_allclose(network([TILE])[0], expected(module), rtol=1e-5, atol=1e-5)
    assert module.calls == ["mps", "cpu", "mps", "cpu", "cpu"]
    assert "computed on the CPU" in network.engine.reason


def test_a_lack_of_memory_makes_tiles_smaller_and_does_not_leave_the_gpu() -> None:
    network, module = made(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB)"))
    with pytest.raises(OutOfMemoryError):
        network([TILE])
    np.testing.assert_allclose(network([TILE])[0], expected(module), rtol=1e-5, atol=1e-5)
    assert module.calls == ["mps", "mps", "cpu"]


def test_a_run_names_the_device_and_its_difference(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the demo model's TorchScript, which is copied as a network of the zoo would be."""
    monkeypatch.setattr(calibration, "free_memory", lambda _: 8 << 30)
    image = test_data / "nuclei.tif"
    found = predict(test_data / "demo-model.zip", image, device="mps", tile=(128, 128))
    right = predict(test_data / "demo-model.zip", image, device="cpu", tile=(128, 128))
    np.testing.assert_allclose(found.outputs["prediction"].array, right.outputs["prediction"].array, rtol=0, atol=1e-5)
    assert (found.record["device"]["name"], found.record["device"]["reason"]) == (
        "mps",
        "GPU of Apple silicon, as asked",
    )
    assert "its first tile on MPS differs from the CPU's by" in found.record["engine"]["reason"]


def test_the_memory_of_the_gpu_is_what_metal_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10 << 30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3 << 30)
    assert device.free_memory(Device("mps", "")) == 7 << 30


def test_mps_is_used_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == Device("cpu", "CPU; --device mps would use the GPU of this Mac")
    assert [one.name for one in device.devices()] == ["cpu", "mps"]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="torch sees none"):
        choose_device("mps")


def test_less_than_float32_is_refused(test_data: Path) -> None:
    with pytest.raises(UsageError, match="bfloat16 is not offered on MPS"):
        predict(test_data / "demo-model.zip", test_data / "nuclei.tif", device="mps", precision="bfloat16")


def test_options_take_torchs_name_of_the_device() -> None:
    assert options_of(None, {"device": torch.device("mps")}).device == "mps"
