"""The network of the 3-D demo model: a small U-Net for stacks whose planes lie further apart than their pixels."""

from __future__ import annotations

import torch
from torch import nn


class AnisotropicUNet(nn.Module):
    """U-Net of three levels, from a stack (BCZYX, float32) to one map of logits per output channel (BCZYX, float32).

    Planes are halved twice in y and x, never in z; only the lowest level, whose pixels are about as wide as the planes
    are apart, convolves along z. Height and width must be multiples of 4; an output voxel depends on the input up to
    2 planes and 23 pixels away.
    """

    def __init__(self, out_channels: int = 1, features: int = 4) -> None:
        super().__init__()
        self.encoder_full = _convolutions(1, features, in_plane=True)
        self.encoder_half = _convolutions(features, 2 * features, in_plane=True)
        self.bottom = _convolutions(2 * features, 4 * features, in_plane=False)
        self.decoder_half = _convolutions(4 * features + 2 * features, 2 * features, in_plane=True)
        self.decoder_full = _convolutions(2 * features + features, features, in_plane=True)
        self.logits = nn.Conv3d(features, out_channels, kernel_size=1)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.upsample = nn.Upsample(scale_factor=(1.0, 2.0, 2.0), mode="nearest")

    def forward(self, stack: torch.Tensor) -> torch.Tensor:
        """Return the logits of `stack`; a sigmoid turns them into probabilities."""
        full = self.encoder_full(stack)
        half = self.encoder_half(self.pool(full))
        quarter = self.bottom(self.pool(half))
        half = self.decoder_half(torch.cat([self.upsample(quarter), half], dim=1))
        full = self.decoder_full(torch.cat([self.upsample(half), full], dim=1))
        logits: torch.Tensor = self.logits(full)
        return logits


def _convolutions(in_channels: int, out_channels: int, in_plane: bool) -> nn.Sequential:
    """Two padded convolutions, 3x3 within the plane or 3x3x3, each followed by batch norm and ReLU."""
    kernel = (1, 3, 3) if in_plane else (3, 3, 3)
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel, padding="same", bias=False),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(),
        nn.Conv3d(out_channels, out_channels, kernel, padding="same", bias=False),
        nn.BatchNorm3d(out_channels),
        nn.ReLU(),
    )
