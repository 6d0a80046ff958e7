"""Tiles for the network and device at hand, by what the network's tensors take: computed whole, or slab by slab."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, inf, prod
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..machine.process_settings import is_managed, keep_big_buffers, return_big_buffers
from ..model.spec import FixedSize
from ..network.device import free_memory
from ..network.loading import Loaded
from ..network.slabs import NotInSlabs
from ..network.tile_tensors import Inputs
from ..text import byte_size
from ..tiling.choice import BYTES_PER_PIXEL, dimensions_of, held_pixels
from .planning import Prepared, beside_network, planned, with_program
from .postprocess import numbers_objects
from .trial_inputs import blank, noise, part_of_image, trial_sizes

if TYPE_CHECKING:
    from ..network.tile_dependence import Dependence

# A network may take this many times what is assumed of a U-Net; where there is more memory, nothing is measured.
_PLENTY = 8
# Pixels of the tile that is measured: what a pixel takes does not depend on it.
_SMALL = 1 << 15
# Memory of the process over that of its tensors, where free buffers are kept (those of slabs are smaller), or returned
# to the system; on a GPU torch keeps them.
_KEPT, _KEPT_OF_SLABS, _RETURNED, _ON_GPU = 4.5, 2.5, 1.4, 1.5
# Tiles in memory beside the network: one is read, one goes in, one comes out, one is written. Values have 32 bits.
_IN_PIPELINE, _BYTES_PER_VALUE = 4, 4
# Time that a pixel takes where buffers are returned, over that where they are kept.
_SLOWER = 1.5
# Time that a pixel takes in slabs, over that in whole tiles, by the number of dimensions; more where a network
# normalises by the values of the whole tile.
_IN_SLABS, _NORMALISED = {2: 1.3, 3: 1.1}, 1.4
# From so much memory for a whole tile on, slabs may take so many times as long.
_MODEST, _LITTLE_LONGER = 1 << 30, 1.3
# Fewer bytes than a pixel takes of any network.
_LITTLE = 1.0
# More bytes than any machine has.
_PLENTY_OF_ROOM = 1 << 60
# The memory of the program is rounded up to multiples of this, many times what differs from run to run.
_ROUNDED = 32 << 20
# What memory costs in pixels computed is said from here on.
_WORTH_SAYING = 1.25

Held = Callable[[Prepared], float]
"""Bytes that all tensors hold at once, at most, while a tile is computed."""


def calibrated(prepared: Prepared, loaded: Loaded) -> Prepared:
    """The same with tiles that fit the network and its device, and the network and the allocator set up for them.

    Tiles that the user asked for stay as they are, but for the number computed at once. Where memory for all that the
    network takes is far from scarce, so do others that are not computed in slabs. An image of which tiles cannot be put
    together is one tile where it fits. Raises :class:`ModelError` where the network fails,
    :class:`OutOfMemoryError` where the budget is too small for the program with its network.
    """
    keep_big_buffers()
    best = _on_gpu
    if loaded.device.name == "cpu":
        best = _on_cpu
        program = _program(loaded)
        if program > prepared.program:
            prepared = with_program(prepared, loaded.spec, program)
    way = best(prepared, loaded)
    if len(way.prepared.plan) > 1:
        way = _undivided(way, loaded, best)
    loaded.use_slabs(way.slabs)
    if way.returned:
        return_big_buffers()
    return way.prepared if way.held is None or loaded.device.name != "cpu" else _with_advice(way, way.held, loaded)


@dataclass(frozen=True)
class _Way:
    """A way to compute the image: ``pixel`` is the time that a pixel takes, over that in whole tiles.

    A process takes ``kept`` times the memory that tensors hold; ``held`` is ``None`` where that is known to be enough.
    Buffers may be ``returned`` to the system, so that it takes less. Tiles are computed in ``slabs``, or at once.
    """

    prepared: Prepared
    pixel: float = 1.0
    kept: float = _KEPT
    held: Held | None = None
    returned: bool = False
    slabs: bool = False

    @property
    def time(self) -> float:
        """The time for a pixel of the image, over that of the network for one."""
        return self.prepared.plan.computed * self.pixel * (_SLOWER if self.returned else 1)


def _program(loaded: Loaded) -> int:
    """Memory of the process without the tiles, from what it took when the network was loaded.

    It is rounded up: it differs by some MiB from run to run, but the same budget is to give the same tiles.
    """
    return ceil((loaded.resident + beside_network(loaded.spec)) / _ROUNDED) * _ROUNDED


def _undivided(tiles: _Way, loaded: Loaded, best: Callable[[Prepared, Loaded], _Way]) -> _Way:
    """The image as one tile where tiles of it cannot be put together and it fits; else the tiles, with a remark.

    Labels are refused later, when tiles of them are there.
    """
    found = tile_dependence(tiles.prepared, loaded)
    if not found.operations and not any(map(numbers_objects, loaded.spec.outputs, found.dtypes)):
        return tiles
    prepared = replace(tiles.prepared, over_tile=found.operations)
    image = planned(prepared, loaded.spec, replace(prepared.request, whole=True))
    advice = "The model takes tiles of a fixed size only."
    if prepared.request.tile is not None:
        advice = "Leave --tile out to have the image computed as one tile where it fits into memory."
    elif len(image.plan) == 1:
        one = best(image, loaded)
        size = 0.0 if one.held is None else _size(one, one.held, loaded)
        if size <= one.prepared.request.room:
            return one
        needed = ceil((prepared.program + size) / (1 << 20))
        advice = f"--memory {needed}MiB would be enough for one tile (it is {_budget(prepared)})."
    if found.operations:
        prepared = _with_note(prepared, f"{over_tile_in_words(found, prepared)} {advice}")
    return replace(tiles, prepared=prepared)


def tile_dependence(prepared: Prepared, loaded: Loaded) -> "Dependence":
    """What of the result depends on the tile, seen with noise in small tiles, or in one where these are not taken.

    Raises :class:`ModelError` where the network fails.
    """
    small, large = (noise(loaded.spec, prepared, trial_sizes(loaded.spec, prepared, times)) for times in (1, 2))
    try:
        return loaded.dependence(small, large)
    except ModelError:  # the network takes other sizes than those
        return loaded.dependence(noise(loaded.spec, prepared), None)


def over_tile_in_words(found: "Dependence", prepared: Prepared) -> str:
    """What it means that some operations of the network look at the whole tile."""
    return (
        f"The network looks at the tile as a whole ({', '.join(found.operations)}), so its result depends on the size "
        f"of the tiles, and the image is computed in {len(prepared.plan)}."
    )


def _on_gpu(prepared: Prepared, loaded: Loaded) -> _Way:
    room = min(prepared.request.room, free_memory(loaded.device))
    prepared = planned(prepared, loaded.spec, replace(prepared.request, gpu=True, room=room))
    by_pixel = _held_by_pixel(prepared, loaded)
    if by_pixel is None:
        return _Way(prepared)
    prepared = planned(prepared, loaded.spec, replace(prepared.request, bytes_per_pixel=_ON_GPU * by_pixel))
    return _Way(prepared, kept=_ON_GPU, held=lambda one: by_pixel * _pixels(one))


def _on_cpu(prepared: Prepared, loaded: Loaded) -> _Way:
    """Tiles that are computed at once, or slab by slab where that is better."""
    whole = _whole(prepared, loaded)
    return _in_slabs(prepared, loaded, whole) or whole


def _whole(prepared: Prepared, loaded: Loaded) -> _Way:
    """Tiles that are computed at once, each as large as memory allows."""
    by_pixel = _held_by_pixel(prepared, loaded)
    if by_pixel is None:
        return _Way(prepared)
    roomy = planned(prepared, loaded.spec, replace(prepared.request, bytes_per_pixel=_LITTLE))
    return _fitted(_Way(roomy), loaded, lambda one: by_pixel * _pixels(one))


def _in_slabs(prepared: Prepared, loaded: Loaded, whole: _Way) -> _Way | None:
    """Tiles that are computed slab by slab; ``None`` where they cannot be, or where whole tiles are better."""
    longest = _longest(whole, loaded)
    dimensions = dimensions_of(list(prepared.plan.tile_shape.values()))
    request = replace(prepared.request, slabs=True)
    roomy = planned(prepared, loaded.spec, replace(request, bytes_per_pixel=_LITTLE))
    way = _Way(roomy, _IN_SLABS[dimensions], _KEPT_OF_SLABS, slabs=True)
    if loaded.slabs is None or way.time >= longest or not loaded.slabs.large(blank(loaded.spec, roomy)):
        return None
    slabs = loaded.slabs
    try:
        small = planned(prepared, loaded.spec, replace(request, tile=None, whole=False, pixels=_SMALL))
        loaded.check_slabs(_trials(small, loaded))
        way = _fitted(way, loaded, lambda one: slabs.held(blank(loaded.spec, one)))
        if slabs.normalises(blank(loaded.spec, way.prepared)):
            way = replace(way, pixel=way.pixel * _NORMALISED)
    except NotInSlabs:
        return None
    return way if way.time < longest else None


def _longest(whole: _Way, loaded: Loaded) -> float:
    """The time that slabs may take instead of whole tiles: any, where these do not fit into memory."""
    size = _pixels(whole.prepared) * _assumed(whole.prepared)
    if whole.held is not None:
        size = _size(whole, whole.held, loaded)
    if size > whole.prepared.request.room:
        return inf
    return whole.time * (_LITTLE_LONGER if size > _MODEST else 1)


def _fitted(way: _Way, loaded: Loaded, held: Held) -> _Way:
    """The same with tiles that fit into memory; buffers are returned where nothing else fits or it spares computing."""
    ways = [
        replace(way, prepared=_fitting(way.prepared, loaded, held, factor), held=held, returned=factor == _RETURNED)
        for factor in ((way.kept, _RETURNED) if is_managed() else (way.kept,))
    ]
    return min(ways, key=lambda one: (_size(one, held, loaded) > one.prepared.request.room, one.time))


def _size(way: _Way, held: Held, loaded: Loaded) -> float:
    """Bytes that a tile takes of the process."""
    return _tile_size(way.prepared, loaded, held, _RETURNED if way.returned else way.kept)


def _tile_size(prepared: Prepared, loaded: Loaded, held: Held, factor: float) -> float:
    """Bytes of the network, of which a process takes ``factor`` times the tensors, and of the tiles in the pipeline."""
    tensors = (*loaded.spec.inputs, *loaded.spec.outputs)
    sizes = (axis.size for tensor in tensors if (axis := tensor.axis("c")) is not None)
    channels = sum(size.size if isinstance(size, FixedSize) else 1 for size in sizes)
    return factor * held(prepared) + _IN_PIPELINE * _BYTES_PER_VALUE * channels * _pixels(prepared)


def _fitting(prepared: Prepared, loaded: Loaded, held: Held, factor: float) -> Prepared:
    """Smaller tiles until one fits, since the smaller a tile is, the more it may take per pixel."""
    while True:
        size = _tile_size(prepared, loaded, held, factor)
        if size <= prepared.request.room:
            return prepared
        held_at_once = held_pixels(list(prepared.plan.tile_shape.values()), prepared.request)
        request = replace(prepared.request, bytes_per_pixel=size / held_at_once)
        smaller = planned(prepared, loaded.spec, request)
        if _pixels(smaller) >= _pixels(prepared):
            return prepared
        prepared = smaller


def _with_advice(way: _Way, held: Held, loaded: Loaded) -> Prepared:
    """The same with a remark where not even this tile fits, or where more memory would spare much computing."""
    prepared = way.prepared
    size = _size(way, held, loaded)
    if size > prepared.request.room:
        return _with_note(
            prepared,
            f"Memory is short: with the smallest tile that is possible here, the program takes about "
            f"{byte_size(int(prepared.program + size))}; it may use {_budget(prepared)}.",
        )
    plenty = planned(prepared, loaded.spec, replace(prepared.request, room=_PLENTY_OF_ROOM))
    plan = prepared.plan
    if plan.computed <= _WORTH_SAYING * plenty.plan.computed:
        return prepared
    wanted = prepared.program + _tile_size(plenty, loaded, held, way.kept)
    return _with_note(
        prepared,
        f"Memory bounds the tiles: {plan.computed:.1f} pixels are computed for each one of the image. With about "
        f"{byte_size(int(wanted))} (it is {_budget(prepared)}) it would be {plenty.plan.computed:.1f}.",
    )


def _budget(prepared: Prepared) -> str:
    return f"{byte_size(prepared.budget.size)}, {prepared.budget.reason}"


def _with_note(prepared: Prepared, note: str) -> Prepared:
    return replace(prepared, plan=replace(prepared.plan, notes=(*prepared.plan.notes, note)))


def _held_by_pixel(prepared: Prepared, loaded: Loaded) -> float | None:
    """Bytes of the network's tensors per pixel of a whole tile; ``None`` where tiles do not depend on it."""
    request = prepared.request
    enough = _pixels(prepared) * _assumed(prepared) * _PLENTY
    if request.tile is not None or enough <= request.room:
        return None
    shortest, longest = (
        planned(prepared, loaded.spec, replace(request, room=room)).plan.tile_shape for room in (0, _PLENTY_OF_ROOM)
    )
    if shortest == longest and not request.whole:
        return None
    small = planned(prepared, loaded.spec, replace(request, whole=False, pixels=_SMALL))
    return loaded.held(blank(loaded.spec, small)) / _pixels(small)


def _assumed(prepared: Prepared) -> float:
    """Bytes per pixel of a whole tile, until they are counted."""
    return BYTES_PER_PIXEL[dimensions_of(list(prepared.plan.tile_shape.values()))]


def _pixels(prepared: Prepared) -> int:
    """Pixels of a tile."""
    return prod(prepared.plan.tile_shape.values())


def _trials(prepared: Prepared, loaded: Loaded) -> Iterator[Inputs]:
    """Tiles of noise, and of the user's image: an operation may do something at its values only, a clamp at 8 say."""
    yield noise(loaded.spec, prepared)
    part = part_of_image(loaded.spec, prepared)
    if part is not None:
        yield part
