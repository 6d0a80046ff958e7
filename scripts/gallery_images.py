"""Synthetic images of the gallery: a stained tissue section, and cells in dim light.

Both follow the physics of their microscope: stains absorb light (Beer-Lambert law), the objective blurs, the camera
counts photons. The same seed always gives the same image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from synthetic_nuclei import render_nuclei

FloatArray = NDArray[np.float64]

SHAPE = (256, 320)
"""Pixels of both images along y and x."""
HEMATOXYLIN, EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)
"""Absorbance of the stains in red, green and blue (Ruifrok and Johnston 2001, doi 10.1097/00129039-200108000-00017)."""
CAMERA_GAIN = 4.0
"""Camera counts per photon of the dim image."""
CAMERA_OFFSET = 100.0
"""Camera counts without light."""


def render_tissue(seed: int = 11, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """Render a section stained with hematoxylin and eosin, in transmitted light (YXC, red, green, blue)."""
    rng = np.random.default_rng(seed)
    labels = render_nuclei(seed, shape).labels
    strength = np.concatenate([[0.0], rng.uniform(0.7, 1.3, int(labels.max()))])
    chromatin = 1 + 0.2 * _smooth_noise(rng, shape, (1.2, 1.2))
    rim = 1 - 0.35 * ndimage.gaussian_filter((labels > 0).astype(float), 2.5)
    hematoxylin = ndimage.gaussian_filter(strength[labels] * chromatin * rim, 0.9)
    fibres = _smooth_noise(rng, shape, (3.0, 9.0)) + 0.5 * _smooth_noise(rng, shape, (1.2, 3.0))
    gaps = ndimage.gaussian_filter((_smooth_noise(rng, shape, (11.0, 14.0)) > 1.1).astype(float), 1.5)
    eosin = np.clip(0.24 + 0.06 * fibres, 0.03, None) * (1 - gaps) * (1 - 0.5 * (labels > 0))
    absorbance = 0.9 * hematoxylin[..., None] * HEMATOXYLIN * (1 - gaps[..., None]) + eosin[..., None] * EOSIN
    photons = rng.poisson(6000 * 10.0**-absorbance)
    return np.asarray(np.clip(photons * (244 / 6000), 0, 255), np.uint8)


def render_dim_filaments(seed: int = 5, shape: tuple[int, int] = SHAPE) -> tuple[NDArray[np.uint16], FloatArray]:
    """Render filaments with about ten photons per bright pixel (YX), and the counts of a camera without noise."""
    rng = np.random.default_rng(seed)
    light = np.zeros(shape)
    for _ in range(90):
        place, angle = rng.uniform((0, 0), shape), rng.uniform(0, 2 * np.pi)
        brightness = rng.uniform(0.5, 1.2)
        for _ in range(420):
            angle += rng.normal(0, 0.045)
            place = place + 0.5 * np.array([np.sin(angle), np.cos(angle)])
            row, column = place.astype(int)
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                light[row, column] += brightness
    photons = 14 * ndimage.gaussian_filter(light, 1.1) + 0.8
    counts = CAMERA_OFFSET + CAMERA_GAIN * rng.poisson(photons) + rng.normal(0, 1.5, shape)
    return np.clip(counts, 0, 65535).astype(np.uint16), CAMERA_OFFSET + CAMERA_GAIN * photons


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: tuple[float, float]) -> FloatArray:
    """Gaussian random field of mean 0 and standard deviation 1, correlated over `sigma` pixels."""
    noise: Any = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std(), np.float64)
