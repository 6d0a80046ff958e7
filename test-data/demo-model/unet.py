"""The network behind `weights_state_dict.pt`: a small two-dimensional U-Net."""

import torch
from torch import nn


class UNet(nn.Module):
    """U-Net of three levels, from an image (BCYX, float32) to one map of logits per output channel (BCYX, float32).

    Height and width must be multiples of 4, because the image is halved twice, and come out unchanged.
    An output pixel depends on the input pixels up to 23 pixels away and on no others: every normalisation uses fixed,
    trained statistics, so that an image computed in tiles with a halo of at least 23 pixels equals the whole one.
    """

    def __init__(self, in_channels: int = 1, out_channels: int = 2, features: int = 10) -> None:
        super().__init__()
        self.encoder_full = convolutions(in_channels, features)
        self.encoder_half = convolutions(features, 2 * features)
        self.bottom = convolutions(2 * features, 4 * features)
        self.decoder_half = convolutions(4 * features + 2 * features, 2 * features)
        self.decoder_full = convolutions(2 * features + features, features)
        self.logits = nn.Conv2d(features, out_channels, kernel_size=1)
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of `image`; a sigmoid turns them into probabilities."""
        full = self.encoder_full(image)
        half = self.encoder_half(self.pool(full))
        quarter = self.bottom(self.pool(half))
        half = self.decoder_half(torch.cat([self.upsample(quarter), half], dim=1))
        full = self.decoder_full(torch.cat([self.upsample(half), full], dim=1))
        logits: torch.Tensor = self.logits(full)
        return logits


def convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions, padded with zeros to keep the size, each followed by batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
