"""Opening a prediction of any kind that ``predict`` writes, and reading its foreground and boundary by region."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, UsageError
from ..image.image import Region
from .opening import open_prediction
from .samples import Samples, as_float, spatial_axes

NO_BOUNDARY = "none"
_ROUNDING = 1e-3
"""How far beyond [0, 1] a probability may lie."""

Array = NDArray[np.float32]


@dataclass
class Range:
    """Lowest and highest value that was read of a prediction."""

    low: float = np.inf
    high: float = -np.inf

    @property
    def probable(self) -> bool:
        """Whether all values may be probabilities."""
        return self.low >= -_ROUNDING and self.high <= 1 + _ROUNDING


@dataclass(frozen=True)
class Maps:
    """The foreground and boundary of a prediction; ``boundary`` is None where there is none."""

    samples: Samples
    foreground: int
    boundary: int | None
    notes: tuple[str, ...]
    seen: Range = field(default_factory=Range)

    def read(self, index: tuple[int, ...], region: Region) -> tuple[Array, Array]:
        """Foreground and boundary (zeros where there is none), float32, of a region of the sample at ``index``.

        Raises ImageError for values that are no finite numbers.
        """
        found = self._read(self.foreground, index, region)
        return found, np.zeros_like(found) if self.boundary is None else self._read(self.boundary, index, region)

    def _read(self, channel: int, index: tuple[int, ...], region: Region) -> Array:
        values = as_float(self.samples.read(index, channel, region))
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ImageError(
                f"{self.samples.image.name} holds values that are no numbers (NaN or infinite) in channel {channel}, "
                "so that objects cannot be found in it. Look at the prediction, and at the image that it was made from."
            )
        self.seen.low, self.seen.high = min(self.seen.low, low), max(self.seen.high, high)
        return values


def open_maps(path: Path, foreground: str, boundary: str, axes: str | None = None) -> Maps:
    """Open a prediction; ``foreground`` and ``boundary`` are names or numbers of channels, the latter may be ``none``.

    The caller closes ``samples.image``. Raises UsageError for a channel that there is not, and ImageError where the
    file is no prediction or does not tell its axes.
    """
    wanted = 1 if boundary == NO_BOUNDARY else 2
    image, notes = open_prediction(path, axes, wanted)
    try:
        channels = Channels(image.name, image.size("c"), image.channel_names)
        chosen, outline = choose_channels(channels, foreground, boundary)
    except UsageError:
        image.close()
        raise
    return Maps(Samples(image, spatial_axes(image)), chosen, outline, (*image.notes, *notes))


@dataclass(frozen=True)
class Channels:
    """What there is to choose from: ``owner`` is the file or tensor that has ``count`` channels."""

    owner: str
    count: int
    names: tuple[str, ...]


def choose_channels(channels: Channels, foreground: str, boundary: str) -> tuple[int, int | None]:
    """The numbers of foreground and boundary, from 0, None for the boundary ``none``.

    Raises UsageError for a channel that there is not, or one that is asked for twice.
    """
    chosen = _choose(channels, foreground, "--foreground")
    outline = None if boundary == NO_BOUNDARY else _choose(channels, boundary, "--boundary")
    if chosen == outline:
        raise UsageError(
            f"Foreground and boundary are both channel {chosen} of {channels.owner}. Name two channels, or give "
            "--boundary none where the model has no boundary."
        )
    return chosen, outline


def _choose(channels: Channels, wanted: str, option: str) -> int:
    lower = [name.lower() for name in channels.names]
    if lower.count(wanted.lower()) == 1:
        return lower.index(wanted.lower())
    if wanted.isdecimal() and int(wanted) < channels.count:
        return int(wanted)
    names = f" ({', '.join(channels.names)})" if channels.names else ""
    alone = " --boundary none finds objects in the foreground alone." if option == "--boundary" else ""
    if channels.count == 1:
        raise UsageError(f"{option} {wanted} is no channel of {channels.owner}, whose only one is 0{names}.{alone}")
    raise UsageError(
        f"{option} {wanted} is no channel of {channels.owner}, which has {channels.count}{names}. Give a number from 0 "
        f"to {channels.count - 1}{' or a name' if names else ''}.{alone}"
    )
