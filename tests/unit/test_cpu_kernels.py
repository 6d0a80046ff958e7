"""What a CPU computes is near what float64 gives, for tiles so large that rounding errors add up."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as functional

from bioimage_inference.network.device import Device
from bioimage_inference.network.torch_network import TorchNetwork

CHANNELS = 16
TILES = {2: (1, CHANNELS, 512, 512), 3: (1, CHANNELS, 32, 128, 128)}


def weight(*shape: int) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return values / values[0].numel() ** 0.5


Operation = Callable[[torch.Tensor], torch.Tensor]
BOTH: dict[str, Operation] = {
    "group norm": lambda x: functional.group_norm(x, 4),
    "group norm of all channels": lambda x: functional.group_norm(x, 1),
    "instance norm": functional.instance_norm,
    "batch norm of the sample": lambda x: functional.batch_norm(x, None, None, training=True),
    "layer norm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "sigmoid after two group norms": lambda x: torch.sigmoid(
        functional.group_norm(functional.relu(functional.group_norm(x, 4)), 2)
    ),
    "mean": lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "variance": lambda x: x.var(tuple(range(2, x.dim())), keepdim=True),
    "softmax": lambda x: x.softmax(1),
    "norm of the channels": lambda x: x.norm(dim=1, keepdim=True),
}
PLANES: dict[str, Operation] = {
    "convolution": lambda x: functional.conv2d(x, weight(8, CHANNELS, 3, 3).to(x), padding=1),
    "1×1 convolution": lambda x: functional.conv2d(x, weight(8, CHANNELS, 1, 1).to(x)),
    "convolution by channel": lambda x: functional.conv2d(
        x, weight(CHANNELS, 1, 3, 3).to(x), padding=1, groups=CHANNELS
    ),
    "dilated convolution": lambda x: functional.conv2d(x, weight(8, CHANNELS, 3, 3).to(x), padding=4, dilation=4),
    "transposed convolution": lambda x: functional.conv_transpose2d(x, weight(CHANNELS, 8, 2, 2).to(x), stride=2),
    "mean pool": lambda x: functional.avg_pool2d(x, 2),
    "largest": lambda x: functional.max_pool2d(x, 2),
    "mean of the plane": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "linear interpolation": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "cubic interpolation": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bicubic"),
}
STACKS: dict[str, Operation] = {
    "convolution": lambda x: functional.conv3d(x, weight(4, CHANNELS, 3, 3, 3).to(x), padding=1),
    "transposed convolution": lambda x: functional.conv_transpose3d(x, weight(CHANNELS, 4, 2, 2, 2).to(x), stride=2),
    "mean pool": lambda x: functional.avg_pool3d(x, 2),
    "mean of the stack": lambda x: functional.adaptive_avg_pool3d(x, 1),
    "linear interpolation": lambda x: functional.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="trilinear"),
}
CASES = [
    *((dimensions, name) for dimensions in TILES for name in BOTH),
    *((2, name) for name in PLANES),
    *((3, name) for name in STACKS),
]


class Network(torch.nn.Module):
    """A network that is one operation."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(x)


@pytest.fixture(scope="module")
def tiles() -> dict[int, torch.Tensor]:
    """Channels of different means: what is added up is far from zero."""
    random, found = torch.Generator().manual_seed(0), {}
    for dimensions, shape in TILES.items():
        means = torch.linspace(0, 5, CHANNELS).view(1, -1, *[1] * dimensions)
        found[dimensions] = torch.randn(shape, generator=random) + means
    return found


@pytest.mark.parametrize(("dimensions", "name"), CASES)
def test_large_tiles_are_within_a_millionth_of_float64(
    tiles: dict[int, torch.Tensor], dimensions: int, name: str
) -> None:
    operation = (BOTH | {2: PLANES, 3: STACKS}[dimensions])[name]
    with torch.inference_mode():
        exact = operation(tiles[dimensions].double()).numpy()
    for threads in (1, 2):
        (found,) = TorchNetwork(Network(operation), Device("cpu", ""), threads=threads)([tiles[dimensions].numpy()])
        assert np.abs(found - exact).max() < 1e-6 * np.abs(exact).max()
