"""Synthetic fluorescence images of cell nuclei, 2-D (YX) or 3-D (ZYX), with the true label of every nucleus.

Nuclei of varied size, shape, brightness and texture lie alone or touching; the scene is blurred, laid over an uneven
background and exposed by a camera with shot and read noise. The same seed always gives the same image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]
LabelArray = NDArray[np.int32]

PIXEL_SIZE_2D = (0.325, 0.325)
"""Pixel size in µm (y, x) of the 2-D images: a 20x objective on a camera with 6.5 µm pixels."""
PIXEL_SIZE_3D = (1.0, 0.325, 0.325)
"""Voxel size in µm (z, y, x) of the stacks."""


@dataclass(frozen=True)
class NucleiImage:
    """A camera image of nuclei and its truth.

    image: YX, ZYX or TYX, uint16 or uint8. labels: the same shape, int32, 0 outside and 1, 2, ... inside the nuclei.
    """

    image: NDArray[Any]
    labels: LabelArray


@dataclass(frozen=True)
class Scene:
    """The light (arbitrary units, a bright nucleus is about 1) that reaches the camera, and the labels behind it."""

    light: FloatArray
    labels: LabelArray


@dataclass(frozen=True)
class _Nucleus:
    """An ellipse or ellipsoid: centre and radii in µm, rotation as an orthogonal matrix."""

    centre: FloatArray
    radii: FloatArray
    rotation: FloatArray

    @property
    def size(self) -> float:
        """Area in µm², or volume in µm³."""
        return float(np.prod(self.radii) * np.pi * (1 if len(self.radii) == 2 else 4 / 3))


def render_nuclei(
    seed: int,
    shape: Sequence[int] = (256, 256),
    pixel_size: Sequence[float] = PIXEL_SIZE_2D,
    dtype: type[np.uint16] | type[np.uint8] = np.uint16,
) -> NucleiImage:
    """Render one image (YX) or stack (ZYX) of `shape` with `pixel_size` in µm along the same axes."""
    rng = np.random.default_rng(seed)
    scene = _render_scene(rng, tuple(shape), np.asarray(pixel_size))
    return NucleiImage(_expose(scene.light, rng, dtype), scene.labels)


def render_time_series(seed: int, frames: int, shape: tuple[int, int]) -> NucleiImage:
    """Render a time series (TYX, uint16): the specimen drifts under the camera, every frame has its own noise."""
    rng = np.random.default_rng(seed)
    step_y, step_x = 3, 5
    margins = (step_y * (frames - 1), step_x * (frames - 1))
    scene_shape = (shape[0] + margins[0], shape[1] + margins[1])
    scene = _render_scene(rng, scene_shape, np.asarray(PIXEL_SIZE_2D))
    windows = [
        (slice(step_y * t, step_y * t + shape[0]), slice(step_x * t, step_x * t + shape[1])) for t in range(frames)
    ]
    light = np.stack([scene.light[window] for window in windows])
    labels = np.stack([scene.labels[window] for window in windows])
    return NucleiImage(_expose(light, rng, np.uint16), labels)


def render_empty(seed: int, shape: Sequence[int], pixel_size: Sequence[float] = PIXEL_SIZE_2D) -> NucleiImage:
    """Render a field of view without any nucleus (uint16): background and noise alone."""
    rng = np.random.default_rng(seed)
    light = _background(rng, tuple(shape), np.asarray(pixel_size))
    return NucleiImage(_expose(light, rng, np.uint16), np.zeros(tuple(shape), np.int32))


def foreground_mask(labels: LabelArray) -> NDArray[np.bool_]:
    """The pixels of any nucleus."""
    return labels > 0


def boundary_mask(labels: LabelArray) -> NDArray[np.bool_]:
    """Outlines about 2 px wide, around nuclei and between touching ones: the pixels on either side of each edge."""
    neighbours = ndimage.generate_binary_structure(labels.ndim, 1)
    highest = ndimage.maximum_filter(labels, footprint=neighbours)
    lowest = ndimage.minimum_filter(labels, footprint=neighbours)
    return np.asarray(highest != lowest, np.bool_)


def touching_mask(labels: LabelArray) -> NDArray[np.bool_]:
    """The part of the outlines where two nuclei touch."""
    highest = ndimage.maximum_filter(labels, size=3)
    lowest = ndimage.minimum_filter(np.where(labels == 0, highest.max(), labels), size=3)
    return np.asarray((labels > 0) & (lowest != highest), np.bool_)


def _render_scene(rng: np.random.Generator, shape: tuple[int, ...], pixel_size: FloatArray) -> Scene:
    labels, thickness = _place_nuclei(rng, shape, pixel_size)
    count = int(labels.max())
    brightness = np.concatenate([[0.0], np.clip(rng.lognormal(-0.4, 0.35, count), 0.3, 1.5)])
    rim = rng.uniform(0.35, 0.7)
    chromatin = 1 + rng.uniform(0.05, 0.25) * _smooth_noise(rng, shape, 0.45 / pixel_size)
    nuclei = brightness[labels] * (rim + (1 - rim) * thickness) * np.clip(chromatin, 0.3, None)

    blur = rng.uniform(0.25, 0.55) / pixel_size
    if len(shape) == 3:
        blur[0] *= 2  # a microscope resolves less along z
    haze = rng.uniform(0.0, 0.25) * ndimage.gaussian_filter(nuclei, 5.0 / pixel_size, mode="nearest")
    in_focus = ndimage.gaussian_filter(nuclei, blur, mode="nearest")
    return Scene(in_focus + haze + _background(rng, shape, pixel_size), labels)


def _place_nuclei(
    rng: np.random.Generator, shape: tuple[int, ...], pixel_size: FloatArray
) -> tuple[LabelArray, FloatArray]:
    """Fill the field of view; returns labels and each pixel's relative thickness of its nucleus (0 rim, 1 centre)."""
    labels = np.zeros(shape, np.int32)
    thickness = np.zeros(shape)
    extent = np.asarray(shape) * pixel_size
    mean_radius = rng.uniform(3.2, 5.5)
    roughness = rng.uniform(0.03, 0.12) * _smooth_noise(rng, shape, 0.5 * mean_radius / pixel_size)
    cover = rng.uniform(0.03, 0.55 if len(shape) == 2 else 0.3)
    crowding = rng.uniform(0.0, 0.8)
    placed: list[_Nucleus] = []
    for _ in range(int(12 * np.prod(extent / (2 * mean_radius)) + 20)):
        if np.count_nonzero(labels) >= cover * labels.size:
            break
        radii = np.clip(mean_radius * rng.lognormal(0, 0.18) * rng.uniform(0.8, 1.25, len(shape)), 2.0, 7.5)
        centre = rng.uniform(0, extent)
        if placed and rng.random() < crowding:
            neighbour = placed[rng.integers(len(placed))]
            distance = 0.95 * (neighbour.radii.mean() + radii.mean())
            centre = neighbour.centre + _direction(rng, len(shape)) * distance
        nucleus = _Nucleus(centre, radii, np.linalg.qr(rng.normal(size=(len(shape), len(shape))))[0])
        if _paint(nucleus, len(placed) + 1, labels, thickness, roughness, pixel_size):
            placed.append(nucleus)
    return labels, thickness


def _paint(
    nucleus: _Nucleus,
    label: int,
    labels: LabelArray,
    thickness: FloatArray,
    roughness: FloatArray,
    pixel_size: FloatArray,
) -> bool:
    """Add the nucleus to `labels` and `thickness`, its outline moved by `roughness`; False if there is no room."""
    reach = 1.5 * nucleus.radii.max()
    low = np.maximum(np.floor((nucleus.centre - reach) / pixel_size), 0).astype(int)
    high = np.minimum(np.ceil((nucleus.centre + reach) / pixel_size), labels.shape).astype(int)
    if np.any(high - low < 3):
        return False
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grids = np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij")
    offsets = (np.stack(grids, axis=-1) + 0.5) * pixel_size - nucleus.centre
    distance = np.linalg.norm(offsets @ nucleus.rotation / nucleus.radii, axis=-1) + roughness[window]
    inside = distance < 1
    free = inside & (labels[window] == 0)
    # Nuclei mostly hidden behind others, cut in two, or slivers at the image's border are left out.
    visible = free.sum() * np.prod(pixel_size) / nucleus.size
    if visible < 0.2 or free.sum() < 0.88 * inside.sum() or ndimage.label(free)[1] != 1:
        return False
    labels[window][free] = label
    thickness[window][free] = np.sqrt(np.clip(1 - distance[free] ** 2, 0, 1))
    return True


def _background(rng: np.random.Generator, shape: tuple[int, ...], pixel_size: FloatArray) -> FloatArray:
    """A dim, slowly varying background with a gradient."""
    level = rng.uniform(0.02, 0.15)
    gradient = sum(
        rng.uniform(-0.5, 0.5) * np.linspace(-1, 1, size).reshape([-1 if a == b else 1 for b in range(len(shape))])
        for a, size in enumerate(shape)
    )
    clouds = 0.15 * _smooth_noise(rng, shape, 12.0 / pixel_size)
    return np.asarray(level * np.clip(1 + gradient + clouds, 0.1, None), np.float64)


def _expose(light: FloatArray, rng: np.random.Generator, dtype: type[np.uint16] | type[np.uint8]) -> NDArray[Any]:
    """Camera counts: shot noise, read noise and an offset; uint8 spans the image's own range."""
    photons = float(np.exp(rng.uniform(np.log(60), np.log(1500))))
    electrons = rng.poisson(light * photons) + rng.normal(0, 2.0, light.shape)
    gain = 3000 / photons
    counts = 400 + gain * electrons
    if dtype is np.uint8:
        low, high = np.percentile(counts, (0.1, 99.9))
        counts = (counts - low) / (high - low) * 255
    return np.clip(counts, 0, np.iinfo(dtype).max).astype(dtype)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: FloatArray) -> FloatArray:
    """Gaussian random field of mean 0 and standard deviation 1, correlated over `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std(), np.float64)


def _direction(rng: np.random.Generator, dimensions: int) -> FloatArray:
    vector = rng.normal(size=dimensions)
    return np.asarray(vector / np.linalg.norm(vector), np.float64)
