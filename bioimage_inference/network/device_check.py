"""Whether a device computes right: a small network is compared with numbers worked out by hand and with float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BioimageInferenceError
from ..text import reason_of
from .device import Device, devices
from .network import TOLERANCE, difference
from .torch_network import TorchNetwork

# Sums over 3×3 neighbourhoods of the numbers 0 to 15 in rows of four, e.g. 0+1+2+4+5+6+8+9+10 = 45.
_SUMS = np.array([[[[45, 54], [81, 90]]]], np.float32)
_SIZE = 64


@dataclass(frozen=True)
class DeviceCheck:
    """``difference`` is the largest deviation from the right numbers, as a part of their range.

    ``problem`` tells why the device cannot be used, and is empty for a device that computes right.
    """

    device: Device
    difference: float
    problem: str = ""


def check_devices(threads: int) -> Iterator[DeviceCheck]:
    """Yield the result of each device that torch sees, the CPU first. The CPU computes with ``threads`` threads."""
    for device in devices():
        try:
            yield _checked(device, threads)
        except (BioimageInferenceError, RuntimeError) as error:  # a driver that does not fit to torch, for instance
            yield DeviceCheck(device, np.inf, f"it fails ({reason_of(error)})")


def _checked(device: Device, threads: int) -> DeviceCheck:
    import torch

    ramp = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    sums = torch.nn.Conv2d(1, 1, 3, bias=False)
    torch.nn.init.ones_(sums.weight)
    by_hand = difference(TorchNetwork(sums, device, threads=threads)([ramp]), [_SUMS])
    network, image = _small_network(), _image()
    with torch.inference_mode():
        right = network.double()(torch.from_numpy(image).double()).float().numpy()
    found = TorchNetwork(network.float(), device, threads=threads)([image])
    apart = max(by_hand, difference(found, [right]))
    problem = "" if apart <= TOLERANCE else f"its numbers are wrong by {apart:.1g} of their range"
    return DeviceCheck(device, apart, problem)


def _small_network() -> Any:
    """Return a network with the layers of a U-Net, and the same weights everywhere."""
    from torch import nn

    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 1, 1),
        nn.Sigmoid(),
    ).eval()
    for number, parameter in enumerate(network.parameters()):
        places = np.arange(parameter.numel(), dtype=np.float64).reshape(parameter.shape)
        parameter.data.copy_(parameter.new_tensor(np.sin(places + number) / 4))
    return network


def _image() -> "np.ndarray[Any, np.dtype[np.float32]]":
    places = np.arange(_SIZE * _SIZE, dtype=np.float32).reshape(1, 1, _SIZE, _SIZE)
    return np.sin(places * places / 1000)
