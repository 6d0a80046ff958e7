"""Opening a prediction of any kind that ``predict`` writes, and reading its foreground and boundary by region."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, UsageError
from ..image.image import Image, Region
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
        chosen = choose_channel(image, foreground, "--foreground")
        outline = None if boundary == NO_BOUNDARY else choose_channel(image, boundary, "--boundary")
        if chosen == outline:
            raise UsageError(
                f"Foreground and boundary are both channel {chosen} of {image.name}. Name two channels, or give "
                "--boundary none where the model has no boundary."
            )
    except UsageError:
        image.close()
        raise
    return Maps(Samples(image, spatial_axes(image)), chosen, outline, (*image.notes, *notes))


def choose_channel(image: Image, wanted: str, option: str) -> int:
    """The number of the channel of that name or number, counted from 0. Raises UsageError where there is none."""
    count = image.size("c")
    lower = [name.lower() for name in image.channel_names]
    if lower.count(wanted.lower()) == 1:
        return lower.index(wanted.lower())
    if wanted.isdecimal() and int(wanted) < count:
        return int(wanted)
    names = f" ({', '.join(image.channel_names)})" if image.channel_names else ""
    alone = " --boundary none finds objects in the foreground alone." if option == "--boundary" else ""
    if count == 1:
        raise UsageError(f"{option} {wanted} is no channel of {image.name}, whose only one is 0{names}.{alone}")
    raise UsageError(
        f"{option} {wanted} is no channel of {image.name}, which has {count}{names}. Give a number from 0 to "
        f"{count - 1}{' or a name' if names else ''}.{alone}"
    )
