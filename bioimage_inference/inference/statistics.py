"""Statistics of whole samples in streaming passes: mean and standard deviation, exact quantiles.

NaN and infinite values are left out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array

Chunks = Callable[[str | None], Iterator[Array]]
"""Given the letters of the reduced axes (``None``: all axes), yields a tensor cut along these axes only."""


@dataclass(frozen=True)
class _TensorMeasure:
    """A statistic of ``tensor`` over the axes with the letters ``axes``.

    ``None`` stands for all axes, and for all samples of the image together.
    """

    tensor: str
    axes: str | None

    @property
    def pooled(self) -> bool:
        """Whether the statistic covers all samples of the image together, as with the batch axis among its axes."""
        return self.axes is None or "b" in self.axes


@dataclass(frozen=True)
class Moments(_TensorMeasure):
    """Mean and standard deviation."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values, for the record of a run."""
        return "mean", "standard deviation"


@dataclass(frozen=True)
class Quantile(_TensorMeasure):
    """The quantile ``q`` (0 … 1); ``method`` as in :func:`numpy.quantile`."""

    q: float
    method: Literal["linear", "inverted_cdf"] = "linear"

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the value, for the record of a run."""
        return (f"percentile {100 * self.q:g}",)


Measure = Moments | Quantile


@dataclass(frozen=True)
class Statistic:
    """Values of a measure: for moments (mean, standard deviation) in float64, for quantiles (value,).

    Each value is an array with the axes ``letters`` of the measured tensor. Reduced axes have length 1, so that it
    broadcasts with the tensor.
    """

    letters: str
    values: tuple[Array, ...]


Statistics = Mapping[Measure, Statistic]

# Memory for the histograms of quantiles: 256 histograms of 16 bits, enough for 64 channels with two percentiles.
_HISTOGRAM_BYTES = 128 << 20


def measure(chunks: Chunks, letters: str, measures: Sequence[Measure]) -> dict[Measure, Statistic]:
    """Compute measures of one tensor from its chunks, which are arrays with the axes ``letters``."""
    found: dict[Measure, Statistic] = {}
    quantiles: dict[str | None, list[Quantile]] = {}
    for one in dict.fromkeys(measures):
        if isinstance(one, Moments):
            found[one] = Statistic(letters, _moments(chunks(one.axes), _reduced(letters, one.axes)))
        else:
            quantiles.setdefault(one.axes, []).append(one)
    for axes, together in quantiles.items():
        values = _quantiles(partial(chunks, axes), _reduced(letters, axes), together)
        found.update({one: Statistic(letters, (value,)) for one, value in zip(together, values, strict=True)})
    return found


def _reduced(letters: str, axes: str | None) -> tuple[int, ...]:
    """Return the dimensions to reduce. The batch axis of a chunk holds one sample, or all samples if pooled."""
    return tuple(n for n, letter in enumerate(letters) if axes is None or letter in axes)


def _moments(chunks: Iterator[Array], reduced: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and standard deviation in float64. Chunks are combined after Chan, Golub & LeVeque (1983)."""
    count = mean = squares = np.zeros(())
    for chunk in chunks:
        block = chunk.astype(np.float64)
        numbers: Any = True
        if chunk.dtype.kind == "f" and not (finite := np.isfinite(block)).all():
            numbers = finite
            block[~finite] = 0
        here = np.sum(np.broadcast_to(numbers, block.shape), axis=reduced, keepdims=True)
        block_mean = np.sum(block, axis=reduced, keepdims=True, where=numbers) / np.maximum(here, 1)
        block -= block_mean
        np.square(block, out=block)
        block_squares = np.sum(block, axis=reduced, keepdims=True, where=numbers)
        total = np.maximum(count + here, 1)
        difference = block_mean - mean
        mean = mean + difference * here / total
        squares = squares + block_squares + difference**2 * count * here / total
        count = count + here
    return mean, np.sqrt(squares / np.maximum(count, 1))


def _quantiles(
    chunks: Callable[[], Iterator[Array]], reduced: tuple[int, ...], quantiles: Sequence[Quantile]
) -> list[Array]:
    """Return exact quantiles by radix selection: one pass for every 16 bits of the values, for images of any size.

    With many groups, a pass covers fewer bits, so that the histograms stay small.
    """
    first = next(chunks())
    groups_shape = tuple(1 if n in reduced else size for n, size in enumerate(first.shape))
    groups = int(np.prod(groups_shape))
    # a quantile lies between two ranks
    selection = _Selection(lambda: _groups(chunks, reduced, groups), first.dtype, groups, 2 * len(quantiles))
    lower, upper, weights = zip(*map(selection.ranks, quantiles), strict=True)
    values = selection.select(np.stack([*lower, *upper])).astype(np.float64)
    low, high = np.split(values, 2)
    return [
        (one + (other - one) * weight).reshape(groups_shape)
        for one, other, weight in zip(low, high, weights, strict=True)
    ]


def _groups(
    chunks: Callable[[], Iterator[Array]], reduced: tuple[int, ...], groups: int
) -> Iterator[tuple[int, Array]]:
    """Yield (group, finite values) for every chunk. A group is an index into the axes that are not reduced."""
    for chunk in chunks():
        kept = [n for n in range(chunk.ndim) if n not in reduced]
        flat = chunk.transpose([*kept, *reduced]).reshape(groups, -1)
        for group, values in enumerate(flat):
            yield group, values[np.isfinite(values)] if values.dtype.kind == "f" else values


class _Selection:
    """Order statistics of groups of values. The values are read several times and never kept."""

    def __init__(
        self, values: Callable[[], Iterator[tuple[int, Array]]], dtype: np.dtype[Any], groups: int, ranks: int
    ) -> None:
        self.values, self.dtype, self.groups = values, dtype, groups
        self.bits = dtype.itemsize * 8
        self.digit = _bits_per_pass(self.bits, groups * ranks)
        self.top = self._histograms({group: [0] for group in range(groups)}, 0)
        self.counts = np.array([self.top[group, 0].sum() for group in range(groups)])

    def ranks(self, quantile: Quantile) -> tuple[Array, Array, Array]:
        """Return, for each group, the ranks below and above a quantile and the weight of the upper rank.

        The definitions are those of Hyndman & Fan (1996).
        """
        last = np.maximum(self.counts - 1, 0)
        if quantile.method == "inverted_cdf":
            # numpy.quantile rounds to the rank in the same way
            rank = np.clip(np.ceil(self.counts * quantile.q) - 1, 0, last).astype(np.int64)
            return rank, rank, np.zeros(self.groups)
        place = last * quantile.q
        below = np.floor(place).astype(np.int64)
        return below, np.minimum(below + 1, last), place - below

    def select(self, ranks: NDArray[np.int64]) -> Array:
        """Return the values at ``ranks`` (quantiles × groups)."""
        rest = {place: int(rank) for place, rank in np.ndenumerate(ranks)}
        prefixes = dict.fromkeys(rest, 0)  # the bits of each value that are known
        histograms = self.top
        for known in range(0, self.bits, self.digit):
            if known:
                by_group: dict[int, set[int]] = {}
                for (_, group), prefix in prefixes.items():
                    by_group.setdefault(group, set()).add(prefix)
                histograms = self._histograms(by_group, known)
            for place, prefix in prefixes.items():
                cumulated = np.cumsum(histograms[place[1], prefix])
                digit = min(int(np.searchsorted(cumulated, rest[place], side="right")), len(cumulated) - 1)
                rest[place] -= int(cumulated[digit - 1]) if digit else 0
                prefixes[place] = prefix << self.digit | digit
        keys = np.array(list(prefixes.values()), f"u{self.dtype.itemsize}").reshape(ranks.shape)
        return _from_keys(keys, self.dtype)

    def _histograms(self, prefixes: Mapping[int, Collection[int]], known: int) -> dict[tuple[int, int], Array]:
        """Return the histogram of the next digit for each group and each prefix, which is ``known`` bits long."""
        found = {
            (group, prefix): np.zeros(1 << self.digit, dtype=np.int64)
            for group, wanted in prefixes.items()
            for prefix in wanted
        }
        for group, values in self.values():
            keys = _to_keys(values)
            for prefix in prefixes[group]:
                chosen = keys[keys >> (self.bits - known) == prefix] if known else keys
                digits = (chosen >> (self.bits - known - self.digit)).astype(np.uint16)
                digits &= np.uint16((1 << self.digit) - 1)
                found[group, prefix] += np.bincount(digits, minlength=1 << self.digit)
        return found


def _bits_per_pass(bits: int, histograms: int) -> int:
    """Return how many bits of a value each pass covers: as many as the memory for so many histograms allows."""
    fits = (digit for digit in (16, 8, 4, 2) if digit <= bits and histograms * (8 << digit) <= _HISTOGRAM_BYTES)
    return next(fits, 1)


def _to_keys(values: Array) -> Array:
    """Return unsigned integers in the order of the values; floats are ordered by their bits, as in radix sorts."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    top = np.array(1 << (values.dtype.itemsize * 8 - 1), unsigned)
    bits = np.ascontiguousarray(values).view(unsigned)
    if values.dtype.kind == "u":
        return bits
    keys: Array = bits ^ top if values.dtype.kind == "i" else np.where(bits & top, ~bits, bits | top)
    return keys


def _from_keys(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values that belong to keys: the inverse of :func:`_to_keys`."""
    top = np.array(1 << (keys.dtype.itemsize * 8 - 1), keys.dtype)
    if dtype.kind in "ub":
        return keys
    bits: Array = keys ^ top if dtype.kind == "i" else np.where(keys & top, keys ^ top, ~keys)
    return bits.view(dtype)
