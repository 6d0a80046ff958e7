"""Small changes of an image that leave its objects where they are: noise, brightness, contrast, blur and flips.

A model that suits the image finds the same objects before and after such a change. Sizes are relative to the image's
own range of values. Every change computes in float32, so whole numbers never wrap around, and gives the same values in
every run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array

FloatArray = NDArray[np.float32]

NOISE = 0.05
"""Standard deviation of the added noise, as a part of the range of the image."""
BRIGHTNESS = 0.1
"""Change of brightness at the two borders of the image, as a part of the brightness."""
GAMMAS = (0.8, 1.25)
BLUR = 1.0
"""Standard deviation of the Gaussian blur in the plane, in pixels."""
_RANGE = (1, 99)  # percentiles of a channel: single bright pixels do not count


@dataclass(frozen=True)
class Perturbation:
    """A change of an image. ``apply`` takes pixels and their axes, and returns float32 pixels with the same axes.

    ``flipped`` is the axis along which ``apply`` flips the image, or empty.
    """

    name: str
    apply: Callable[[Array, str], FloatArray]
    flipped: str = ""

    def undo(self, labels: Array, axes: str) -> Array:
        """Return a label map of the changed image with every object where it lies in the given image."""
        return np.flip(labels, axes.index(self.flipped)) if self.flipped else labels


def perturbations(axes: str, depth: int) -> Iterator[Perturbation]:
    """Yield the changes of an image with these axes, and with ``depth`` planes along z."""
    for seed in (1, 2):
        yield Perturbation(f"noise {seed}", partial(_noisy, seed=seed))
    for letter in "yx":
        yield Perturbation(f"brightness along {letter}", partial(_uneven, letter=letter))
    for gamma in GAMMAS:
        yield Perturbation(f"gamma {gamma}", partial(_bent, gamma=gamma))
    yield Perturbation(f"blur {BLUR:g} px", _blurred)
    for letter in "zyx":
        if letter in axes and (letter != "z" or depth > 1):
            yield Perturbation(f"flip along {letter}", partial(_flipped, letter=letter), letter)


def _noisy(pixels: Array, axes: str, seed: int) -> FloatArray:
    low, high = _limits(pixels, axes)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    return pixels.astype(np.float32) + np.float32(NOISE) * (high - low) * noise


def _uneven(pixels: Array, axes: str, letter: str) -> FloatArray:
    """Return the image darker at its first border along an axis, and brighter at the other.

    A factor for the whole image would test nothing, because most models normalise the brightness of an image.
    """
    axis = axes.index(letter)
    factors = np.linspace(1 - BRIGHTNESS, 1 + BRIGHTNESS, pixels.shape[axis], dtype=np.float32)
    return pixels.astype(np.float32) * factors.reshape([-1 if number == axis else 1 for number in range(pixels.ndim)])


def _bent(pixels: Array, axes: str, gamma: float) -> FloatArray:
    """Return the image with another gradation between its robust minimum and maximum."""
    low, high = _limits(pixels, axes)
    span = np.where(high > low, high - low, np.float32(1))
    relative = (pixels.astype(np.float32) - low) / span
    bent = np.where(relative > 0, np.abs(relative) ** np.float32(gamma), relative)
    return (bent * span + low).astype(np.float32)


def _blurred(pixels: Array, axes: str) -> FloatArray:
    from scipy.ndimage import gaussian_filter

    sigmas = [BLUR if letter in "yx" else 0 for letter in axes]
    blurred: FloatArray = gaussian_filter(pixels.astype(np.float32), sigmas, mode="nearest")
    return blurred


def _flipped(pixels: Array, axes: str, letter: str) -> FloatArray:
    return np.ascontiguousarray(np.flip(pixels, axes.index(letter)).astype(np.float32))


def _limits(pixels: Array, axes: str) -> tuple[FloatArray, FloatArray]:
    """Return the robust minimum and maximum of every channel, with axes of size 1 in place of the other axes."""
    others = tuple(number for number, letter in enumerate(axes) if letter not in "cs")
    finite = np.where(np.isfinite(pixels), pixels.astype(np.float32), np.nan)
    low, high = np.nan_to_num(np.nanpercentile(finite, _RANGE, axis=others, keepdims=True)).astype(np.float32)
    return low, high
