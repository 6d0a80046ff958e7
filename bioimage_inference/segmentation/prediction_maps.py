"""Reads the foreground and boundary maps of a prediction, sample by sample and region by region."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, UsageError
from ..image.image import Image, PixelSize, Region
from ..image.series import MAIN, Selection
from ..image.units import MICROMETRES
from .prediction_image import open_prediction

FloatArray = NDArray[np.float32]

NO_BOUNDARY = "none"
# Rounding error allowed for probabilities outside [0, 1].
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Samples:
    """The samples of an image: planes (``spatial`` is ``yx``) or volumes (``zyx``) along all other axes but ``c``."""

    image: Image
    spatial: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of one sample along :attr:`spatial`, in pixels."""
        return tuple(self.image.size(letter) for letter in self.spatial)

    @property
    def axes(self) -> str:
        """The axes that count samples, in the order of the file but z last, without axes of size 1."""
        letters = "".join(
            letter
            for letter, size in zip(self.image.axes, self.image.shape, strict=True)
            if letter not in "c" + self.spatial and size > 1
        )
        return letters.replace("z", "") + "z" * ("z" in letters)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of samples along each of :attr:`axes`."""
        return tuple(self.image.size(letter) for letter in self.axes)

    @property
    def total(self) -> int:
        """Number of samples in the image."""
        return prod(self.counts)

    @property
    def channels(self) -> int:
        """Number of channels in the image."""
        return self.image.size("c")

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Yield the position of each sample along :attr:`axes`, the last axis fastest."""
        return product(*map(range, self.counts))

    def read(self, index: tuple[int, ...], channel: int, region: Region) -> NDArray[Any]:
        """Return a region of one channel of the sample at ``index``, with the axes :attr:`spatial`."""
        place = {**dict(zip(self.axes, index, strict=True)), "c": channel}
        parts = dict(zip(self.spatial, region, strict=True))
        where = []
        for letter in self.image.axes:
            start = place.get(letter, 0)
            where.append(parts.get(letter, slice(start, start + 1)))
        found = self.image.read(tuple(where))
        kept = [axis for axis, letter in enumerate(self.image.axes) if letter in self.spatial]
        found = found.reshape([found.shape[axis] for axis in kept])
        order = [letter for letter in self.image.axes if letter in self.spatial]
        return found.transpose([order.index(letter) for letter in self.spatial])


def micrometres(sizes: Mapping[str, PixelSize], spatial: str) -> tuple[float, ...] | None:
    """Return the pixel size in µm along each axis of ``spatial``, or None if one of them is unknown."""
    known = [sizes[letter] for letter in spatial if letter in sizes and sizes[letter].unit in MICROMETRES]
    if len(known) < len(spatial):
        return None
    return tuple(size.value * MICROMETRES[size.unit] for size in known)


@dataclass
class ValueRange:
    """Lowest and highest value read so far."""

    low: float = np.inf
    high: float = -np.inf

    @property
    def probable(self) -> bool:
        """Whether all values lie within [0, 1]."""
        return self.low >= -_ROUNDING and self.high <= 1 + _ROUNDING


@dataclass(frozen=True)
class Maps:
    """The channels of a prediction with foreground and boundary. ``boundary`` is None if the model has no boundary."""

    samples: Samples
    foreground: int
    boundary: int | None
    notes: tuple[str, ...]
    seen: ValueRange = field(default_factory=ValueRange)

    def read(self, index: tuple[int, ...], region: Region) -> tuple[FloatArray, FloatArray]:
        """Return foreground and boundary (zeros if there is none) of a region of the sample at ``index``.

        Raises ImageError for NaN and infinite values.
        """
        found = self._read(self.foreground, index, region)
        return found, np.zeros_like(found) if self.boundary is None else self._read(self.boundary, index, region)

    def _read(self, channel: int, index: tuple[int, ...], region: Region) -> FloatArray:
        values = self.samples.read(index, channel, region).astype(np.float32, copy=False)
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ImageError(
                f"{self.samples.image.name} holds NaN or infinite values in channel {channel}, so it shows no objects. "
                "Look at the prediction and at the image that it was made from."
            )
        self.seen.low, self.seen.high = min(self.seen.low, low), max(self.seen.high, high)
        return values


def open_maps(
    prediction: Path | Image, foreground: str, boundary: str, axes: str | None = None, selection: Selection = MAIN
) -> Maps:
    """Return the maps of a prediction. The caller closes ``samples.image``.

    ``foreground`` and ``boundary`` are channel names or numbers. The boundary may be ``none``. ``selection`` chooses an
    image of a file.

    Raises UsageError for a channel that does not exist, and ImageError for a file whose axes are unknown.
    """
    image, notes = open_prediction(prediction, axes, 1 if boundary == NO_BOUNDARY else 2, selection)
    try:
        channels = Channels(image.name, image.size("c"), image.channel_names)
        foreground_number, boundary_number = choose_channels(channels, foreground, boundary)
    except UsageError:
        image.close()
        raise
    spatial = "zyx" if image.size("z") > 1 else "yx"
    return Maps(Samples(image, spatial), foreground_number, boundary_number, (*image.notes, *notes))


@dataclass(frozen=True)
class Channels:
    """The channels to choose from: ``owner`` is the file or tensor with ``count`` channels."""

    owner: str
    count: int
    names: tuple[str, ...]


def choose_channels(channels: Channels, foreground: str, boundary: str) -> tuple[int, int | None]:
    """Return the channel numbers of foreground and boundary, from 0. The boundary ``none`` gives None.

    Raises UsageError for a channel that does not exist, and if both are the same channel.
    """
    foreground_number = _choose(channels, foreground, "--object-foreground")
    boundary_number = None if boundary == NO_BOUNDARY else _choose(channels, boundary, "--object-boundary")
    if foreground_number == boundary_number:
        raise UsageError(
            f"Foreground and boundary are both channel {foreground_number} of {channels.owner}. Name two channels, or "
            "give --object-boundary none where the model has no boundary."
        )
    return foreground_number, boundary_number


def _choose(channels: Channels, channel: str, option: str) -> int:
    lower = [name.lower() for name in channels.names]
    if lower.count(channel.lower()) == 1:
        return lower.index(channel.lower())
    if channel.isdecimal() and int(channel) < channels.count:
        return int(channel)
    names = f" ({', '.join(channels.names)})" if channels.names else ""
    alone = " --object-boundary none finds objects in the foreground alone." if option == "--object-boundary" else ""
    if channels.count == 1:
        raise UsageError(f"{option} {channel} is no channel of {channels.owner}, whose only one is 0{names}.{alone}")
    raise UsageError(
        f"{option} {channel} is no channel of {channels.owner}, which has {channels.count}{names}. Give a number from "
        f"0 to {channels.count - 1}{' or a name' if names else ''}.{alone}"
    )
