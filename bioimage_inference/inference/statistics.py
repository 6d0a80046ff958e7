"""Statistics of a whole sample, or of several, in streaming passes: mean and standard deviation, exact quantiles.

Values that are no finite numbers (NaN, infinite) are left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..array_types import Array
from ..model.spec import Operation

Chunks = Callable[[str | None], Iterator[Array]]
"""Given the letters of the axes that are reduced (``None`` for all), yields a tensor cut along these only."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation over ``axes`` (letters; ``None`` for all, and for all samples of the image)."""

    tensor: str
    axes: str | None


@dataclass(frozen=True)
class Quantile:
    """The quantile ``q`` (0 … 1) over ``axes``; ``method`` as in :func:`numpy.quantile`."""

    tensor: str
    axes: str | None
    q: float
    method: Literal["linear", "inverted_cdf"] = "linear"


_HISTOGRAM_BYTES = 128 << 20
"""Memory for the histograms of quantiles: 256 histograms of 16 bits, as for 64 channels with two percentiles."""

Measure = Moments | Quantile
Statistics = Mapping[Measure, tuple[Array, ...]]


def pools_samples(measure: Measure) -> bool:
    """Whether a measure is of all samples of the image together, as with the batch axis among its axes."""
    return measure.axes is None or "b" in measure.axes


def measures_of(operation: Operation, tensor: str) -> tuple[Measure, ...]:
    """What an operation on ``tensor`` must know of the whole sample, in the order in which it uses them."""
    kwargs = operation.kwargs
    axes: str | None = kwargs.get("axes")
    match operation.name:
        case "zero_mean_unit_variance":
            return (Moments(tensor, axes),)
        case "scale_mean_variance":
            return Moments(tensor, axes), Moments(kwargs["reference_tensor"], axes)
        case "scale_range":
            of = kwargs.get("reference_tensor") or tensor
            low, high = kwargs.get("min_percentile", 0.0), kwargs.get("max_percentile", 100.0)
            return Quantile(of, axes, low / 100), Quantile(of, axes, high / 100)
        case "clip":
            # spec: the percentiles of one sample are values that occur in it
            method: Literal["linear", "inverted_cdf"] = "linear" if axes is None or "b" in axes else "inverted_cdf"
            return tuple(
                Quantile(tensor, axes, kwargs[key] / 100, method)
                for key in ("min_percentile", "max_percentile")
                if kwargs.get(key) is not None
            )
        case _:
            return ()


def measure(chunks: Chunks, letters: str, measures: Sequence[Measure]) -> dict[Measure, tuple[Array, ...]]:
    """Compute measures of one tensor from its chunks, arrays with the axes ``letters``.

    Every value keeps the reduced axes with length 1, so that it broadcasts: (mean, standard deviation) in float64 for
    moments, (value,) for quantiles.
    """
    found: dict[Measure, tuple[Array, ...]] = {}
    for wanted in dict.fromkeys(measures):
        if isinstance(wanted, Moments):
            found[wanted] = _moments(chunks(wanted.axes), _reduced(letters, wanted.axes))
    quantiles = [wanted for wanted in dict.fromkeys(measures) if isinstance(wanted, Quantile)]
    for axes in dict.fromkeys(wanted.axes for wanted in quantiles):
        together = [wanted for wanted in quantiles if wanted.axes == axes]
        values = _quantiles(partial(chunks, axes), _reduced(letters, axes), together)
        found.update({wanted: (value,) for wanted, value in zip(together, values, strict=True)})
    return found


def _reduced(letters: str, axes: str | None) -> tuple[int, ...]:
    """Dimensions to reduce; the batch axis of a chunk holds one sample, or all when samples are pooled."""
    return tuple(n for n, letter in enumerate(letters) if axes is None or letter in axes)


def _moments(chunks: Iterator[Array], reduced: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and standard deviation in float64, chunks combined after Chan, Golub & LeVeque (1983)."""
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
    chunks: Callable[[], Iterator[Array]], reduced: tuple[int, ...], wanted: Sequence[Quantile]
) -> list[Array]:
    """Exact quantiles by radix selection: a pass for every 16 bits of the values, whatever the size of the image.

    Where there are many groups, a pass is for fewer bits, so that the histograms stay small.
    """
    first = next(chunks())
    groups_shape = tuple(1 if n in reduced else size for n, size in enumerate(first.shape))
    groups = int(np.prod(groups_shape))
    # each quantile lies between two ranks
    selection = _Selection(lambda: _keys(chunks, reduced, groups), first.dtype, groups, 2 * len(wanted))
    lower, upper, weight = [], [], []
    for quantile in wanted:
        below, above, share = selection.ranks(quantile)
        lower.append(below)
        upper.append(above)
        weight.append(share)
    values = selection.select(np.stack([*lower, *upper])).astype(np.float64)
    result = []
    for n in range(len(wanted)):
        low, high = values[n], values[n + len(wanted)]
        result.append((low + (high - low) * weight[n]).reshape(groups_shape))
    return result


def _keys(chunks: Callable[[], Iterator[Array]], reduced: tuple[int, ...], groups: int) -> Iterator[tuple[int, Array]]:
    """For every chunk and group (index of what is not reduced) the values as a flat array, the finite ones."""
    for chunk in chunks():
        kept = [n for n in range(chunk.ndim) if n not in reduced]
        flat = chunk.transpose([*kept, *reduced]).reshape(groups, -1)
        for group in range(groups):
            values = flat[group]
            yield group, values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _digit(bits: int, histograms: int) -> int:
    """Return how many bits of a value each pass looks at: as many as the memory for so many histograms allows."""
    fits = (digit for digit in (16, 8, 4, 2) if digit <= bits and histograms * (8 << digit) <= _HISTOGRAM_BYTES)
    return next(fits, 1)


class _Selection:
    """Order statistics of groups of values that are read several times but never held."""

    def __init__(
        self, values: Callable[[], Iterator[tuple[int, Array]]], dtype: np.dtype[Any], groups: int, ranks: int
    ) -> None:
        self.values, self.dtype, self.groups = values, dtype, groups
        self.bits = dtype.itemsize * 8
        self.digit = _digit(self.bits, groups * ranks)
        self.top = self._histogram({group: [()] for group in range(groups)})
        self.counts = np.array([self.top[group, ()].sum() for group in range(groups)])

    def ranks(self, quantile: Quantile) -> tuple[Array, Array, Array]:
        """Ranks below and above a quantile in each group, and the share of the one above (Hyndman & Fan 1996)."""
        last = np.maximum(self.counts - 1, 0)
        if quantile.method == "inverted_cdf":
            # numpy rounds to the rank like this, too
            rank = np.clip(np.ceil(self.counts * quantile.q) - 1, 0, last).astype(np.int64)
            return rank, rank, np.zeros(self.groups)
        place = last * quantile.q
        below = np.floor(place).astype(np.int64)
        return below, np.minimum(below + 1, last), place - below

    def select(self, ranks: NDArray[np.int64]) -> Array:
        """Values at ``ranks`` (quantiles × groups)."""
        prefixes: dict[tuple[int, int], tuple[int, ...]] = {
            (n, group): () for n in range(len(ranks)) for group in range(self.groups)
        }
        rest = {key: int(ranks[key]) for key in prefixes}
        histograms = self.top
        for digit in range(self.bits // self.digit):
            if digit:
                histograms = self._histogram(
                    {group: sorted({prefixes[n, group] for n in range(len(ranks))}) for group in range(self.groups)}
                )
            for n, group in prefixes:
                cumulated = np.cumsum(histograms[group, prefixes[n, group]])
                place = int(np.searchsorted(cumulated, rest[n, group], side="right"))
                place = min(place, len(cumulated) - 1)
                rest[n, group] -= int(cumulated[place - 1]) if place else 0
                prefixes[n, group] = (*prefixes[n, group], place)
        keys = np.zeros(ranks.shape, dtype=f"u{self.dtype.itemsize}")
        for key, prefix in prefixes.items():
            value = 0
            for digit in prefix:
                value = (value << self.digit) | digit
            keys[key] = value
        return _from_keys(keys, self.dtype)

    def _histogram(self, prefixes: Mapping[int, Sequence[tuple[int, ...]]]) -> dict[tuple[int, tuple[int, ...]], Array]:
        """Histogram of the digit that follows each prefix, for each group."""
        found: dict[tuple[int, tuple[int, ...]], Array] = {
            (group, prefix): np.zeros(1 << self.digit, dtype=np.int64)
            for group, wanted in prefixes.items()
            for prefix in wanted
        }
        for group, values in self.values():
            keys = _to_keys(values)
            for prefix in prefixes[group]:
                done = len(prefix) * self.digit
                chosen = keys
                if prefix:
                    head = 0
                    for digit in prefix:
                        head = (head << self.digit) | digit
                    chosen = keys[keys >> np.array(self.bits - done, keys.dtype) == head]
                digits = (chosen >> np.array(self.bits - done - self.digit, keys.dtype)).astype(np.uint16)
                digits &= np.uint16((1 << self.digit) - 1)
                found[group, prefix] += np.bincount(digits.ravel(), minlength=1 << self.digit)
        return found


def _to_keys(values: Array) -> Array:
    """Unsigned integers that sort as the values do (floats by their bits, as in radix sorts)."""
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
    """The values of :func:`_to_keys` again."""
    top = np.array(1 << (keys.dtype.itemsize * 8 - 1), keys.dtype)
    if dtype.kind in "ub":
        return keys
    bits: Array = keys ^ top if dtype.kind == "i" else np.where(keys & top, keys ^ top, ~keys)
    return bits.view(dtype)
