"""U-Nets in two and three dimensions, with every normalisation."""
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Callable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import Network, random

NORMALISATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda dims, n: nn.BatchNorm3d(n) if dims == 3 else nn.BatchNorm2d(n),
    "instance": lambda dims, n: nn.InstanceNorm3d(n) if dims == 3 else nn.InstanceNorm2d(n, affine=True),
    "group": lambda _, n: nn.GroupNorm(2, n),
    "layer": lambda _, n: ChannelNorm(n),
    "none": lambda *_: nn.Identity(),
}


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised image."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class UNet(nn.Module):
    """A U-Net with two levels; ``up`` is the way to the finer level."""

    def __init__(self, dims: int, norm: str, up: str, residual: bool) -> None:
        super().__init__()
        convolution, transposed, pool = (
            (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d)
            if dims == 3
            else (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d)
        )

        def block(before: int, after: int) -> nn.Module:
            return nn.Sequential(
                convolution(before, after, 3, padding=1), NORMALISATIONS[norm](dims, after), nn.LeakyReLU(inplace=True)
            )

        self.down = nn.ModuleList([block(4, 4), block(4, 8)])
        self.pool = pool(2)
        self.deep = block(8, 8)
        self.up = nn.ModuleList(
            [
                transposed(8, 8, 2, stride=2)
                if up == "transposed"
                else nn.Upsample(scale_factor=2, mode=up, align_corners=None if up == "nearest" else False)
                for _ in range(2)
            ]
        )
        self.join = nn.ModuleList([block(16, 8), block(12, 8)])
        self.head = convolution(8, 2, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Two channels of probabilities."""
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = self.pool(x)
        deep = self.deep(x)
        x = deep + x if self.residual else deep
        for index, (up, join) in enumerate(zip(self.up, self.join, strict=False)):
            x = up(x)
            beside = kept[-1 - index]
            if x.shape[2:] != beside.shape[2:]:
                x = F.interpolate(x, size=beside.shape[2:])
            x = join(torch.cat([x, beside], dim=1))
        return torch.softmax(self.head(x), dim=1)


def unet_networks() -> Iterator[Network]:
    """A U-Net for each normalisation and number of dimensions."""
    for index, (dims, norm) in enumerate(product((2, 3), NORMALISATIONS)):
        up = ("transposed", "nearest", "trilinear" if dims == 3 else "bilinear")[index % 3]
        yield Network(
            f"unet {dims}d {norm} {up}",
            lambda arguments=(dims, norm, up, index % 2 == 0): UNet(*arguments),  # type: ignore[misc]
            (random(1, 4, *(12, 8, 10)[:dims]),),
        )
