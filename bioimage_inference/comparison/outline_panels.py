"""Pictures of a crop with the outlines of the objects in it, one for each model."""

import numpy as np

from ..array_types import Array
from ..report.colours import colour_png
from ..segmentation.object_files import OUTLINE, enlarged, stretched
from .crops import Crop

_LONGEST = 720  # pixels: larger panels make a page that cannot be sent by e-mail
_SHORT = 480


def panel(crop: Crop, labels: Array | None) -> bytes:
    """Return a PNG of the crop, or of its middle plane, in grey; ``labels`` (axes yx or zyx) are outlined in it."""
    from skimage.segmentation import find_boundaries

    grey = _grey_plane(crop)
    step = -(-max(grey.shape) // _LONGEST)
    factor = max(1, round(_SHORT / max(grey.shape))) if step == 1 else 1
    grey = enlarged(stretched(grey)[::step, ::step], factor)
    picture = np.stack([grey] * 3, axis=-1)
    if labels is not None:
        lines = "thick" if factor > 1 else "inner"  # the page shows enlarged panels smaller again
        plane = labels[labels.shape[0] // 2] if labels.ndim == 3 else labels
        picture[find_boundaries(enlarged(plane[::step, ::step], factor), mode=lines)] = OUTLINE
    return colour_png(picture)


def _grey_plane(crop: Crop) -> Array:
    """Return the mean of all channels of the middle plane, with the axes yx."""
    pixels, axes = crop.pixels.astype(np.float32), crop.axes
    if "z" in axes:
        pixels = pixels.take(pixels.shape[axes.index("z")] // 2, axis=axes.index("z"))
        axes = axes.replace("z", "")
    plane = pixels.mean(axis=tuple(number for number, letter in enumerate(axes) if letter in "cs"))
    turned: Array = plane if axes.index("y") < axes.index("x") else plane.T
    return turned
