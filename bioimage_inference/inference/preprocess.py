"""From an image to what the network takes: statistics of the samples, then every tile processed."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..array_types import Array, Index, Spans
from ..model.spec import ModelSpec, Operation, TensorSpec
from .processing import SAMPLEWISE, apply, needs_sample
from .sample_reader import Source, padded
from .samplewise import apply_samplewise
from .statistics import Measure, Statistics, measure, measures_of, pools_samples


class Preprocessor:
    """Reads and preprocesses the tiles of one input tensor.

    Statistics are those of the samples as they are read, for every step, as in bioimageio.core 0.11.
    """

    def __init__(self, tensor: TensorSpec, source: Source, model: ModelSpec) -> None:
        self.tensor, self.source = tensor, source
        self.measures = _measures_of_input(model, tensor.id)
        last = max((n for n, step in enumerate(tensor.operations) if needs_sample(step, source.domain)), default=-1)
        self.samplewise, self.tilewise = tensor.operations[: last + 1], tensor.operations[last + 1 :]
        self._prepared: tuple[Index, Array] | None = None

    def measure(self, indices: Sequence[Index], pooled: bool) -> Statistics:
        """Statistics of these samples: those that pool the samples of the image, or those of a sample alone."""
        wanted = [one for one in self.measures if pools_samples(one) == pooled]

        def chunks(reduced: str | None) -> Iterator[Array]:
            return self.source.chunks(indices, reduced)

        return measure(chunks, self.source.letters, wanted)

    def tile(self, index: Index, spans: Spans, statistics: Statistics) -> Array:
        """The region ``spans`` of a sample as the network takes it, with the tensor's axes."""
        if not self.samplewise:
            block = self.source.read(index, spans)
        else:
            whole = self._whole(index, statistics)
            sizes = dict(zip(self.source.letters, whole.shape, strict=True))

            def inside(inner: Spans) -> Array:
                return whole[tuple(slice(*inner.get(letter, (0, sizes[letter]))) for letter in self.source.letters)]

            block = padded(inside, self.source.letters, sizes, self.source.padding, spans)
        return apply(self.tilewise, self.tensor.id, block, self.source.letters, statistics, self.source.place(spans))

    def _whole(self, index: Index, statistics: Statistics) -> Array:
        """A sample after the last step that needs all of it at once."""
        if self._prepared is None or self._prepared[0] != index:
            array, letters = self.source.read(index, {}), self.source.letters
            place = self.source.place({letter: (0, size) for letter, size in self.source.matched.sizes.items()})
            for step in self.samplewise:
                if step.name in SAMPLEWISE:
                    array = apply_samplewise(step, array, letters)
                else:
                    array = apply([step], self.tensor.id, array, letters, statistics, place)
            self._prepared = index, array
        return self._prepared[1]


def _measures_of_input(model: ModelSpec, tensor_id: str) -> tuple[Measure, ...]:
    """What any step of the model needs to know of an input."""
    wanted = [
        one
        for tensor in (*model.inputs, *model.outputs)
        for step in tensor.operations
        for one in measures_of(step, tensor.id)
        if one.tensor == tensor_id
    ]
    return tuple(dict.fromkeys(wanted))


def remarks(tensor: TensorSpec, source: Source, indices: Sequence[Index]) -> list[str]:
    """What the user should know of the values of an image: numbers that are none, a range the model does not expect.

    Integer images whose type cannot leave the expected range are not looked at.
    """
    dtype, name = source.matched.image.dtype, source.matched.image.name
    low, high, integer = _expected(tensor)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        if (low is None or low <= limits.min) and (high is None or high >= limits.max):
            return []
    elif dtype.kind == "b":
        return []
    survey = _survey(source.chunks(indices))
    found = []
    if survey.nan or survey.infinite:
        kinds = {"not numbers (NaN)": survey.nan, "infinite": survey.infinite}
        counted = " and ".join(
            f"{count} of {survey.count} values of {name} are {kind}" for kind, count in kinds.items() if count
        )
        found.append(
            f"{counted}. They are left out of the statistics, but the network sees them: its output is not a number "
            "around them. Replace them in the image."
        )
    below, above = low is not None and survey.low < low, high is not None and survey.high > high
    if below or above:
        found.append(
            f"The values of {name} go from {survey.low:g} to {survey.high:g}, but the model declares "
            f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'} for its input "
            f"{tensor.id!r}. {_consequence(tensor)}"
        )
    elif integer and survey.fractional:
        found.append(
            f"{name} holds fractions ({survey.low:g} to {survey.high:g}), but the model declares whole numbers "
            f"({tensor.dtype}) for its input {tensor.id!r}. {_consequence(tensor)}"
        )
    return found


def _consequence(tensor: TensorSpec) -> str:
    last = tensor.operations[-1] if tensor.operations else None
    if last is not None and _is_integer(last) and all(step.name == "ensure_dtype" for step in tensor.operations):
        return (
            "The network takes whole numbers in that range: decimals are cut off, values beyond it set to its limits."
        )
    return "They are processed as they are; scale the image if the result looks wrong."


def _expected(tensor: TensorSpec) -> tuple[float | None, float | None, bool]:
    """Lowest and highest value that a model declares for an input, and whether they are whole numbers."""
    low, high = tensor.data_range
    types = [np.dtype(tensor.dtype)]
    types += [np.dtype(step.kwargs["dtype"]) for step in tensor.operations[:1] if step.name == "ensure_dtype"]
    integers = [np.iinfo(dtype) for dtype in types if dtype.kind in "iu"]
    if integers:
        low = max(limits.min for limits in integers) if low is None else low
        high = min(limits.max for limits in integers) if high is None else high
    return low, high, bool(integers)


def _is_integer(step: Operation) -> bool:
    return step.name == "ensure_dtype" and np.dtype(step.kwargs["dtype"]).kind in "iu"


class _Survey:
    """Range of the finite values, and how many are none."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.nan = self.infinite = self.count = 0
        self.fractional = False


def _survey(chunks: Iterator[Array]) -> _Survey:
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
