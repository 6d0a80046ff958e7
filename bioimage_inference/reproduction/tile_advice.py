"""Advice on tiles for the users of a model: their size, their memory, and whether they can be joined."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..image.array_images import array_image
from ..image.image import Image
from ..inference.calibration import memory_per_pixel, tile_dependence
from ..inference.planning import close, prepare
from ..model.spec import ModelSpec
from ..options import Options
from ..predictor import Predictor

if TYPE_CHECKING:
    from ..array_types import Array

MEMORY = "4 GiB"
"""The memory that tiles are recommended for: that of a small job."""
_LARGE = {2: {"y": 8192, "x": 8192}, 3: {"z": 256, "y": 1024, "x": 1024}}


@dataclass(frozen=True)
class TileAdvice:
    """How a large image is computed within ``memory`` (a size such as ``4 GiB``).

    Attributes
    ----------
    over_tile
        Operations that look at the tile as a whole, so that the result depends on the size of the tiles.
    bytes_per_pixel
        Memory of the process for a pixel of a whole tile; ``None`` for a network of the caller.
    image, tile
        Pixels along the axes of the large image, and of the tile that is chosen for it.
    tiles
        Number of tiles.
    needed
        Memory of the process, in bytes.
    in_slabs
        Whether tiles are computed slab by slab.
    """

    over_tile: tuple[str, ...]
    bytes_per_pixel: float | None
    image: Mapping[str, int]
    tile: Mapping[str, int]
    tiles: int
    needed: int
    in_slabs: bool
    memory: str = MEMORY


def tile_advice(model: Predictor, test_image: Image, options: Options) -> TileAdvice | None:
    """Return how an image that is much larger than the test image is computed on the device of the options.

    The result is ``None`` for a model that needs several images. Raises :class:`ModelError` if the network fails, and
    :class:`OutOfMemoryError` if not even a small tile fits.
    """
    spec = model.spec
    if sum(not tensor.optional for tensor in spec.inputs) > 1:
        return None
    options = replace(options, memory=MEMORY)
    loaded = model.load(options)
    prepared = prepare(loaded.spec, _large_image(spec, test_image), {}, options)
    try:
        found = model.calibration(prepared, options)
        plan = found.prepared.plan
        return TileAdvice(
            over_tile=tuple(tile_dependence(prepared, loaded).operations) if loaded.for_trials else (),
            bytes_per_pixel=memory_per_pixel(prepared, loaded),
            image={letter: prepared.matched[spec.inputs[0].id].sizes[letter] for letter in plan.tile_shape},
            tile=dict(plan.tile_shape),
            tiles=len(plan),
            needed=round(found.needed),
            in_slabs=found.loaded.network is not loaded.network,
        )
    finally:
        close(prepared)


def _large_image(spec: ModelSpec, test_image: Image) -> Image:
    """Return an image of zeros that takes no memory, with the channels of the test image."""
    letters = spec.inputs[0].letters
    large = _LARGE[3 if "z" in letters else 2]
    shape = [large.get(letter, 1 if letter == "b" else test_image.size(letter)) for letter in letters]
    zeros: Array = np.broadcast_to(np.zeros((), np.float32), shape)
    return array_image(zeros, letters)
