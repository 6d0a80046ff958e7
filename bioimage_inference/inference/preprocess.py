"""From an image to the tensors of the network: statistics of the samples, then every tile processed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..array_types import Array, Index, Spans
from ..model.spec import ModelSpec, TensorSpec
from ..text import agreeing, counted
from .operations.dtype_conversion import target_dtype
from .operations.registry import measures_of, needs_sample
from .processing import apply
from .sample_reader import Source, padded, region_of
from .statistics import Measure, Statistics, measure


class Preprocessor:
    """Reads and preprocesses the tiles of one input tensor.

    For every step, statistics are those of the samples before all processing, as in bioimageio.core 0.11.
    """

    def __init__(self, tensor: TensorSpec, source: Source, model: ModelSpec) -> None:
        self.tensor, self.source = tensor, source
        self.measures = _measures_of_input(model, tensor.id)
        steps = tensor.operations
        stop = max((number for number, step in enumerate(steps, 1) if needs_sample(step, source.domain)), default=0)
        self._on_whole, self._on_tiles = steps[:stop], steps[stop:]
        self._whole: tuple[Index, Array] | None = None

    def measure(self, indices: Sequence[Index], pooled: bool) -> Statistics:
        """Return statistics of these samples: those of all samples together, or those of a sample alone."""
        measures = [one for one in self.measures if one.pooled == pooled]
        return measure(partial(self.source.chunks, indices), self.source.letters, measures)

    def tile(self, index: Index, spans: Spans, statistics: Statistics) -> Array:
        """Return the region ``spans`` of a sample as input of the network, with the tensor's axes."""
        source = self.source
        if self._on_whole:
            whole = self._processed_whole(index, statistics)
            sizes = dict(zip(source.letters, whole.shape, strict=True))
            block = padded(
                lambda inner: whole[region_of(inner, source.letters)], source.letters, sizes, source.padding, spans
            )
        else:
            block = source.read(index, spans)
        return apply(self._on_tiles, self.tensor.id, block, source.letters, statistics, source.place(spans))

    def _processed_whole(self, index: Index, statistics: Statistics) -> Array:
        """Return a sample after the last step that needs all of it, computed once for all of its tiles."""
        if self._whole is None or self._whole[0] != index:
            place = self.source.place({letter: (0, size) for letter, size in self.source.matched.sizes.items()})
            array = self.source.read(index, {})
            array = apply(self._on_whole, self.tensor.id, array, self.source.letters, statistics, place)
            self._whole = index, array
        return self._whole[1]


def _measures_of_input(model: ModelSpec, tensor_id: str) -> tuple[Measure, ...]:
    """Return the statistics of an input that any step of the model needs."""
    measures = [
        one
        for tensor in (*model.inputs, *model.outputs)
        for step in tensor.operations
        for one in measures_of(step, tensor.id)
        if one.tensor == tensor_id
    ]
    return tuple(dict.fromkeys(measures))


def remarks(tensor: TensorSpec, source: Source, indices: Sequence[Index]) -> list[str]:
    """Return remarks on the values of an image: constant, not finite, or outside of the range that the model declares.

    Of an integer image whose type cannot leave the declared range, only the pixels that show it is not constant are
    read.
    """
    return [*_flat_remarks(source, indices), *_range_remarks(tensor, source, indices)]


def _flat_remarks(source: Source, indices: Sequence[Index]) -> list[str]:
    """Return a remark on samples whose pixels all have the same value."""
    if not source.is_picture:
        return []
    values = source.constants(indices)
    flat, name = [value for value in values if value is not None], source.matched.image.name
    if not flat:
        return []
    if len(values) == 1:
        return [
            f"{name} is constant: all its pixels have the value {flat[0]:g}. The network has nothing to see in it, and "
            "its output means nothing. Check the file and the channel."
        ]
    be = "is" if len(flat) == 1 else "are"
    return [
        f"{len(flat)} of the {len(values)} samples of {name} {be} constant, for instance with the value {flat[0]:g}. "
        "The network has nothing to see there, and the output means nothing."
    ]


def _range_remarks(tensor: TensorSpec, source: Source, indices: Sequence[Index]) -> list[str]:
    """Return remarks on values that are not finite, or outside of the range that the model declares."""
    dtype, name = source.matched.image.dtype, source.matched.image.name
    low, high, integer = _declared_range(tensor)
    low_words, high_words = ("any" if limit is None else f"{limit:g}" for limit in (low, high))
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    if dtype.kind == "b":
        return []
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        if low <= limits.min and high >= limits.max:
            return []
    survey = _survey(source.chunks(indices))
    found = []
    if survey.nan or survey.infinite:
        kinds = {"not a number (NaN)": survey.nan, "infinite": survey.infinite}
        bad = " and ".join(
            f"{counted(count, 'value')} of {name} (of {survey.count:,}) {agreeing(count, 'are')} {kind}"
            for kind, count in kinds.items()
            if count
        )
        found.append(
            f"{bad}. Such values are left out of the statistics, but the network sees them: its output is not a number "
            "around them. Replace them in the image."
        )
    if survey.low < low or survey.high > high:
        found.append(
            f"The values of {name} go from {survey.low:g} to {survey.high:g}, but the model declares {low_words} to "
            f"{high_words} for its input {tensor.id!r}. {_consequence(tensor)}"
        )
    elif integer and survey.fractional:
        found.append(
            f"{name} holds fractions ({survey.low:g} to {survey.high:g}), but the model declares whole numbers "
            f"({tensor.dtype}) for its input {tensor.id!r}. {_consequence(tensor)}"
        )
    return found


def _consequence(tensor: TensorSpec) -> str:
    """Return what happens to values outside of the declared range."""
    targets = [target_dtype(step) for step in tensor.operations]
    if targets and None not in targets and targets[-1] is not None and targets[-1].kind in "iu":
        return (
            "The network takes whole numbers in that range: decimals are cut off, values beyond it set to its limits."
        )
    return "They are processed as they are; scale the image if the result looks wrong."


def _declared_range(tensor: TensorSpec) -> tuple[float | None, float | None, bool]:
    """Return the lowest and highest value that a model declares for an input, and whether they are whole numbers."""
    low, high = tensor.data_range
    types = [np.dtype(tensor.dtype), *map(target_dtype, tensor.operations[:1])]
    integers = [np.iinfo(dtype) for dtype in types if dtype is not None and dtype.kind in "iu"]
    if integers:
        low = max(limits.min for limits in integers) if low is None else low
        high = min(limits.max for limits in integers) if high is None else high
    return low, high, bool(integers)


@dataclass
class _Survey:
    """Range of the finite values, how many values are not finite, and whether any has decimals."""

    low: float = np.inf
    high: float = -np.inf
    count: int = 0
    nan: int = 0
    infinite: int = 0
    fractional: bool = False


def _survey(chunks: Iterable[Array]) -> _Survey:
    survey = _Survey()
    for chunk in chunks:
        survey.count += chunk.size
        if chunk.dtype.kind == "f":
            finite = np.isfinite(chunk)
            if not finite.all():
                missing = int(np.isnan(chunk).sum())
                survey.nan += missing
                survey.infinite += int((~finite).sum()) - missing
                chunk = chunk[finite]
            if not chunk.size:
                continue
            survey.fractional = survey.fractional or bool((chunk % 1).any())
        survey.low = min(survey.low, float(chunk.min()))
        survey.high = max(survey.high, float(chunk.max()))
    return survey
