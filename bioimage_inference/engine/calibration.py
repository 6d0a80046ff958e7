"""Tiles for the network and device at hand: where memory is scarce, what a pixel takes is measured on a small tile."""

from dataclasses import replace
from math import prod

import numpy as np

from ..image.partial_file import byte_size
from ..model.spec import TensorSpec
from ..tiling.choice import BASE_BYTES, BYTES_PER_PIXEL, dimensions_of
from ..tiling.plan import Plan
from .allocator import keep_big_buffers, return_big_buffers
from .device import free_memory
from .loading import Loaded
from .network import Inputs
from .prepare import Prepared, planned
from .statistics import Array

# A network may take this many times what is assumed of a U-Net; where there is more memory, nothing is measured.
_PLENTY = 8
# Pixels of the tile that is measured: what a pixel takes does not depend on it.
_SMALL = 1 << 15
# Memory of the process over that of its tensors, by what becomes of free buffers; on a GPU torch keeps them.
_KEPT, _RETURNED, _ON_GPU = 4.0, 1.4, 1.5
# Time that a pixel takes where buffers are returned to the system, over that where they are kept.
_SLOWER = 1.5
# What memory costs in pixels computed is said from here on.
_WORTH_SAYING = 1.25


def calibrated(prepared: Prepared, loaded: Loaded) -> Prepared:
    """The same with tiles that fit the network and its device, and the allocator set up for them.

    Tiles that the user asked for stay as they are, but for the number computed at once. Where memory for all that the
    network takes is far from scarce, so do others on a CPU. Raises :class:`ModelError` where the network fails.
    """
    keep_big_buffers()
    if loaded.device.name != "cpu":
        memory = min(prepared.request.memory, BASE_BYTES + free_memory(loaded.device))
        prepared = planned(prepared, loaded.spec, replace(prepared.request, gpu=True, memory=memory))
    bytes_per_pixel = _measured(prepared, loaded)
    if bytes_per_pixel is None:
        return prepared

    def with_memory_for(tensors: float) -> Prepared:
        request = replace(prepared.request, bytes_per_pixel=tensors * bytes_per_pixel)
        return planned(prepared, loaded.spec, request)

    if prepared.request.gpu:
        return with_memory_for(_ON_GPU)
    kept, returned = with_memory_for(_KEPT), with_memory_for(_RETURNED)
    if kept.plan.computed <= returned.plan.computed * _SLOWER:
        chosen = kept
    else:
        return_big_buffers()
        chosen = returned
    return _with_advice(chosen, loaded, _KEPT * bytes_per_pixel)


def _with_advice(prepared: Prepared, loaded: Loaded, bytes_per_pixel: float) -> Prepared:
    """The same with a remark where more memory would spare much computing."""
    plenty = planned(prepared, loaded.spec, replace(prepared.request, memory=1 << 60)).plan
    plan, budget = prepared.plan, prepared.budget
    if plan.computed <= _WORTH_SAYING * plenty.computed:
        return prepared
    wanted = BASE_BYTES + prod(plenty.tile_shape.values()) * bytes_per_pixel
    note = (
        f"Memory bounds the tiles: {plan.computed:.1f} pixels are computed for each one of the image. With about "
        f"{byte_size(int(wanted))} (it is {byte_size(budget.size)}, {budget.reason}) it would be {plenty.computed:.1f}."
    )
    return replace(prepared, plan=replace(plan, notes=(*plan.notes, note)))


def _measured(prepared: Prepared, loaded: Loaded) -> float | None:
    """Bytes of the network's tensors per pixel of a tile; ``None`` where tiles do not depend on it."""
    request, tile = prepared.request, prepared.plan.tile_shape
    assumed = BYTES_PER_PIXEL[dimensions_of(list(tile.values()))]
    if request.tile is not None or prod(tile.values()) * assumed * _PLENTY <= request.memory - BASE_BYTES:
        return None
    small = planned(prepared, loaded.spec, replace(request, pixels=_SMALL)).plan
    if small.tile_shape == tile:
        return None
    return loaded.held(_blank(small, prepared, loaded)) / prod(small.tile_shape.values())


def _blank(plan: Plan, prepared: Prepared, loaded: Loaded) -> Inputs:
    """Inputs of a tile that are all zero; ``None`` for an optional one that is absent."""
    read = next(plan.tiles()).read

    def zeros(tensor: TensorSpec) -> Array:
        matched = prepared.matched[tensor.id]
        spans = read[tensor.id]
        sizes = dict(matched.sizes) | {letter: stop - start for letter, (start, stop) in spans.items()}
        casts = [step.kwargs["dtype"] for step in tensor.operations[-1:] if step.name == "ensure_dtype"]
        return np.zeros([sizes[letter] for letter in tensor.letters], *casts or ["float32"])

    return [zeros(tensor) if tensor.id in prepared.matched else None for tensor in loaded.spec.inputs]
