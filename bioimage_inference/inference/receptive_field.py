"""How far a network looks: from which distance a pixel of its input still changes its output, and by how much.

A slab of a tile of noise is replaced by other noise. The change of the output is measured at every distance from it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import ceil, floor, prod

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..model.spec import Axis, FixedSize, FreeSize, ModelSpec, Operation, ReferencedSize, TensorSpec
from ..network.network import Inputs, Network
from ..tiling.axis_relations import TILED, Link, leading_input, links
from ..tiling.axis_tiling import legal_size
from .operations.registry import measures_of, needs_sample, operation_of
from .processing import apply
from .trial_inputs import with_following_axes

TOLERANCE = 1e-5
"""Changes up to this part of the output's range do not count."""

Links = Mapping[tuple[str, str], Link]

# If the description leaves the size open, tiles become longer in these steps, up to this number of pixels.
_LENGTHS = (128, 256, 512, 1024)
_MOST_PIXELS = 1 << 21
# Pixels of these tiles along the other axes, by the number of dimensions.
_ACROSS = {2: 64, 3: 32}
# Slabs begin at up to this many neighbouring places: networks with pooling give another field at each.
_PLACES = 32
# Time for all axes together.
_SECONDS = 60.0


@dataclass(frozen=True)
class Field:
    """The receptive field along one axis of the leading input, in pixels of that input, on either side.

    ``changes[n]`` is the largest change of an output farther than ``n`` pixels from the slab, as part of the output's
    range, for as many ``n`` as the tile has room for; it is empty if nothing changed. ``largest`` is the largest change
    at any distance. Tiles had ``tile`` pixels along the axis. ``complete`` is false if not all places were tried.
    """

    letter: str
    tile: int
    complete: bool
    largest: float
    changes: tuple[float, ...]

    @property
    def reach(self) -> int | None:
        """Distance that no change exceeds; ``None`` if changes reach the end of the tile."""
        return next((n for n, change in enumerate(self.changes) if change == 0), None)

    @property
    def effective(self) -> int | None:
        """Distance that no change above :data:`TOLERANCE` exceeds; ``None`` if these reach the end of the tile."""
        return next((n for n, change in enumerate(self.changes) if change <= TOLERANCE), None)

    def beyond(self, pixels: int) -> float | None:
        """Return the largest change farther than ``pixels``, or a bound of it; ``None`` if the tile is too short."""
        if pixels < len(self.changes):
            return self.changes[pixels]
        return self.changes[-1] if self.effective is not None else None


def receptive_field(model: ModelSpec, network: Network, inputs: Inputs) -> tuple[Field, ...]:
    """Measure the field along every axis that tiles can cut, for up to a minute.

    ``inputs`` are input tensors of the network; the noise is drawn from their values. Raises :class:`ModelError` or
    :class:`OutOfMemoryError` if the network fails.
    """
    given = {tensor.id: array for tensor, array in zip(model.inputs, inputs, strict=True) if array is not None}
    leading = leading_input(model, given)
    linked = links(model, leading, given)
    axes = [axis for axis in leading.axes if axis.letter in TILED and _is_cut(axis, model, linked)]
    return tuple(
        _Probe(model, network, given, leading, linked, axis.letter).measure(_SECONDS / len(axes)) for axis in axes
    )


def _is_cut(axis: Axis, model: ModelSpec, linked: Links) -> bool:
    """Return whether tiles along the axis can be put together: every output follows it, none is a list of objects."""
    followers = {tensor for (tensor, _), link in linked.items() if link.letter == axis.letter}
    lists = any(isinstance(one.size, FreeSize) and one.letter not in "bc" for out in model.outputs for one in out.axes)
    return axis.size != FixedSize(1) and not lists and followers >= {output.id for output in model.outputs}


@dataclass(frozen=True)
class _Probe:
    """Measures the field along the axis ``letter`` of the leading input; ``given`` are the inputs that are present."""

    model: ModelSpec
    network: Network
    given: Mapping[str, Array]
    leading: TensorSpec
    linked: Links
    letter: str

    def measure(self, seconds: float) -> Field:
        """Return the field, from slabs at all places of a tile that is long enough to show the end of the field."""
        deadline = time.monotonic() + seconds
        field, late = Field(self.letter, 0, False, 0.0, ()), False
        tiles = list(self._tiles())
        for sizes in tiles:
            for field in self._fields(sizes):
                late = time.monotonic() > deadline
                if late or field.effective is None or (field.reach is None and sizes is not tiles[-1]):
                    break
            if late or field.reach is not None:
                break
        return field

    def _tiles(self) -> Iterator[dict[str, int]]:
        """Yield sizes of tiles that the network takes, longer and longer along the axis; at least one."""
        before: dict[str, int] = {}
        for length in _LENGTHS:
            sizes = self._sizes(length)
            if sizes == before or (before and prod(sizes.values()) > _MOST_PIXELS):
                return
            yield sizes
            before = sizes

    def _sizes(self, length: int) -> dict[str, int]:
        """Return the pixels along each axis of the leading input, about ``length`` along the measured axis."""
        axes = [axis for axis in self.leading.axes if axis.letter in TILED]
        own = next(axis for axis in axes if axis.letter == self.letter)
        long = {own.id, own.size.axis} if isinstance(own.size, ReferencedSize) else {own.id}
        across = _ACROSS.get(len(axes), 32)
        sizes = {
            axis.letter: legal_size(axis.size, length if axis.id in long else across)
            for axis in axes
            if not isinstance(axis.size, ReferencedSize)
        }
        return with_following_axes(axes, sizes)

    def _fields(self, sizes: Mapping[str, int]) -> Iterator[Field]:
        """Yield the field as known from a slab at one place, from slabs at two places, and so on."""
        length = sizes[self.letter]
        random = np.random.default_rng(0)
        tile = self._noise(sizes, random)
        before = self._compute(tile)
        width = max(1, min(_PLACES, length // 8))
        first = (length - width) // 2 - width // 2
        profile, room = np.zeros(length + 1), length
        # consecutive places lie apart (steps of the golden ratio), in case there is no time for all
        for number, place in enumerate(sorted(range(first, first + width), key=lambda place: place * 0.618 % 1), 1):
            slab = (place, place + width)
            after = self._compute(self._with_slab(tile, self._noise(sizes, random), *slab))
            for output, one, other in zip(self.model.outputs, before, after, strict=True):
                letter, link = self._follower(output)
                axis = output.letters.index(letter)
                distances = _distances(link, one.shape[axis], *slab)
                np.maximum.at(profile, distances.clip(max=length), _changes(one, other, axis))
                room = min(room, int(distances[0]), int(distances[-1]))
            beyond = np.maximum.accumulate(profile[::-1])[::-1].tolist()
            changes = beyond[1 : room + 1] if beyond[0] else ()
            yield Field(self.letter, length, number == width, beyond[0], tuple(changes))

    def _follower(self, output: TensorSpec) -> tuple[str, Link]:
        """Return the axis of an output that follows the measured axis, and its link."""
        return next(
            (axis.letter, link)
            for axis in output.axes
            if (link := self.linked.get((output.id, axis.letter))) is not None and link.letter == self.letter
        )

    def _noise(self, sizes: Mapping[str, int], random: np.random.Generator) -> list[Array | None]:
        """Return all inputs; those that follow the leading input have the given sizes and values drawn at random."""
        tile: list[Array | None] = []
        for tensor in self.model.inputs:
            array = self.given.get(tensor.id)
            own = {letter: link for (name, letter), link in self.linked.items() if name == tensor.id}
            if array is not None and own:
                shape = [
                    own[letter].size(sizes[own[letter].letter]) if letter in own else size
                    for letter, size in zip(tensor.letters, array.shape, strict=True)
                ]
                array = _drawn(array, tensor.letters, shape, random)
            tile.append(array)
        return tile

    def _with_slab(self, tile: Inputs, other: Inputs, start: int, stop: int) -> list[Array | None]:
        """Return the tile with the pixels ``start`` … ``stop`` of another tile in all inputs that follow the axis."""
        mixed = []
        for tensor, array, source in zip(self.model.inputs, tile, other, strict=True):
            for number, letter in enumerate(tensor.letters):
                link = self.linked.get((tensor.id, letter))
                if array is not None and source is not None and link is not None and link.letter == self.letter:
                    span = slice(ceil(start * link.scale), floor(stop * link.scale))
                    slab = (slice(None),) * number + (span,)
                    array = array.copy()
                    array[slab] = source[slab]
            mixed.append(array)
        return mixed

    def _compute(self, tile: Inputs) -> list[Array]:
        """Return all outputs after the first steps of the postprocessing."""
        blocks = self.network(tile)
        return [
            apply(_smooth_steps(output), output.id, block, output.letters, {})
            for output, block in zip(self.model.outputs, blocks, strict=False)
        ]


def _smooth_steps(output: TensorSpec) -> list[Operation]:
    """Return the first steps of the postprocessing that work on one pixel alone and show small changes."""
    others = output.letters.replace("c", "")

    def is_smooth(step: Operation) -> bool:
        is_local = not needs_sample(step, others) and not measures_of(step, output.id)
        return is_local and operation_of(step).is_continuous(step.kwargs)

    return list(takewhile(is_smooth, output.operations))


def _drawn(array: Array, letters: str, shape: Sequence[int], random: np.random.Generator) -> Array:
    """Return an array of random values of ``array``, for each channel from the values of that channel."""
    if "c" not in letters:
        return random.choice(_values(array), shape)
    axis = letters.index("c")
    rest = [*shape[:axis], *shape[axis + 1 :]]
    return np.stack([random.choice(_values(channel), rest) for channel in np.moveaxis(array, axis, 0)], axis)


def _values(array: Array) -> Array:
    """Return the finite values of an array; 0 and 1 if they do not differ."""
    values = array[np.isfinite(array)]
    return values if values.size and (values != values[0]).any() else np.array([0, 1], array.dtype)


def _distances(link: Link, size: int, start: int, stop: int) -> NDArray[np.intp]:
    """Return the distance of each pixel of an output axis from the slab ``start`` … ``stop``.

    The distance counts pixels of the leading input. It is the halo of a tile that ends at the slab and gives the pixel;
    0 if no tile does.
    """
    pixels, scale = np.arange(size), float(link.scale)
    before = start - (pixels - link.offset) / scale
    after = (pixels + 1) / scale - stop
    return np.ceil(np.maximum(before, after).round(6)).clip(0).astype(np.intp)


def _changes(before: Array, after: Array, axis: int) -> Array:
    """Return the largest change at each pixel along one axis, as part of the range of all values.

    A change between a finite value and NaN or infinity counts as the whole range.
    """
    before, after = before.astype(np.float64), after.astype(np.float64)
    alike = (before == after) | (np.isnan(before) & np.isnan(after))
    known = [one[np.isfinite(one)] for one in (before, after)]
    span = max(float(np.ptp(one)) if one.size else 0.0 for one in known) or 1.0
    with np.errstate(invalid="ignore"):
        difference = np.where(alike, 0, np.abs(after - before) / span)
    others = tuple(number for number in range(before.ndim) if number != axis)
    largest: Array = np.where(np.isfinite(difference), difference, 1.0).max(axis=others)
    return largest
