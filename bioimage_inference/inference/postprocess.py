"""From the tiles of the network to the output: check, crop, postprocess, write.

Steps that work on a tile alone are applied to each tile as it comes. If a step needs the whole output, tiles are
collected in a scratch file, and the steps from there on follow when the sample is complete.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..array_types import Array, Index, Spans
from ..errors import ImageError, ModelError
from ..files.scratch import scratch_array
from ..model.spec import FixedSize, Operation, TensorSpec
from ..tiling.axis_tiling import Kept
from ..tiling.plan import OutputPlan
from .operations.dtype_conversion import target_dtype
from .operations.registry import measures_of, needs_sample
from .processing import Place, apply
from .sample_reader import pieces, region_of
from .statistics import Measure, Statistics, measure


class Writer(Protocol):
    """Receiver of one output."""

    def write(self, index: Index, spans: Spans, block: Array) -> None:
        """Write a block of the sample at ``index`` to the region ``spans`` (start, stop) of the output's axes."""
        ...


MakeWriter = Callable[[TensorSpec, Mapping[str, int], "np.dtype[np.generic]"], Writer]
"""Makes the writer of an output, given its size along each axis for one sample, and its dtype."""


class Postprocessor:
    """Turns the tiles of one output tensor, as the network returns them, into the output."""

    def __init__(
        self, output: TensorSpec, plan: OutputPlan, tile: Mapping[str, int], make_writer: MakeWriter, scratch: Path
    ) -> None:
        self.output, self.letters = output, output.letters
        self._plan, self._make_writer, self._scratch = plan, make_writer, scratch
        self._tile = {letter: link.size(tile[link.letter]) for letter, link in plan.links.items()}
        self._partial = {letter for letter, link in plan.links.items() if tile[link.letter] % link.scale.denominator}
        steps = output.operations
        whole = [number for number, step in enumerate(steps) if needs_all(step, output.id, plan)]
        first, stop = (whole[0], whole[-1] + 1) if whole else (len(steps), len(steps))
        self._before, self._on_whole, self._after = steps[:first], steps[first:stop], steps[stop:]
        self._writer: Writer | None = None
        self._sizes: Mapping[str, int] = {}
        self._collected: Array | None = None

    @property
    def measures_output(self) -> bool:
        """Whether a step needs all tiles of the output."""
        return bool(self._on_whole)

    def processed(self, kept: Mapping[str, Kept], block: Array, statistics: Statistics) -> Array:
        """Return the kept part of one tile of the network's output, after the steps that work on tiles.

        A coarser output may have one more pixel where a tile ends within it. It is cut off, since sizes are rounded
        down. Raises :class:`ModelError` if the tile does not have the described shape.
        """
        self._check_shape(block)
        crop = {letter: (part.offset, part.offset + part.stop - part.start) for letter, part in kept.items()}
        place = _place(_spans(kept), self._plan.sizes)
        block = block[region_of(crop, self.letters)]
        return apply(self._before, self.output.id, block, self.letters, statistics, place)

    def add(self, index: Index, kept: Mapping[str, Kept], block: Array) -> None:
        """Take the kept part of one tile, as :meth:`processed` returns it."""
        spans = _spans(kept)
        sizes = {**self._sizes_of(block), **self._plan.sizes}
        if self._on_whole:
            if self._collected is None:
                shape = tuple(sizes[letter] for letter in self.letters)
                self._collected = scratch_array(self._scratch / f"{self.output.id}.npy", block.dtype, shape)
            self._collected[region_of(spans, self.letters)] = block
        else:
            self._write(index, spans, block, sizes)

    def finish(self, index: Index, statistics: Statistics) -> dict[int, Statistics]:
        """Apply the steps that need the whole sample, when all of its tiles are there, and write the output.

        Returns the statistics of the output by the number of the step that needs them.
        """
        measured: dict[int, Statistics] = {}
        if self._collected is None:
            return measured
        array, self._collected = self._collected, None
        for number, step in enumerate(self._on_whole, len(self._before)):
            if needs_sample(step, self._plan.kept):
                array = apply([step], self.output.id, np.asarray(array), self.letters, statistics)
                continue
            measures = _own_measures(step, self.output.id)
            if measures:
                measured[number] = measure(self._chunks_of(array), self.letters, measures)
                statistics = {**statistics, **measured[number]}
            result = array
            for spans, block in self._processed([step], array, statistics):
                if block.dtype != result.dtype:  # the first block of a step from integers to floats, or to yes or no
                    path = self._scratch / f"{self.output.id}-{number}.npy"
                    result = scratch_array(path, block.dtype, array.shape)
                result[region_of(spans, self.letters)] = block
            array = result
        for spans, block in self._processed(self._after, array, statistics):
            self._write(index, spans, block, self._sizes_of(array))
        return measured

    def _check_shape(self, block: Array) -> None:
        expected = [self._expected_size(letter) for letter in self.letters]
        if block.ndim == len(expected) and all(
            want in (None, size) or (letter in self._partial and want == size - 1)
            for letter, want, size in zip(self.letters, expected, block.shape, strict=True)
        ):
            return
        promised = "×".join("any" if want is None else str(want) for want in expected)
        raise ModelError(
            f"The network returned {'×'.join(map(str, block.shape))} for output {self.output.id!r}, but its "
            f"description promises {promised} (axes {self.letters}). Description and weights do not belong together."
        )

    def _expected_size(self, letter: str) -> int | None:
        axis = self.output.axis(letter)
        if letter in self._tile:
            return self._tile[letter]
        if letter == "b":
            return 1
        return axis.size.size if axis is not None and isinstance(axis.size, FixedSize) else None

    def _processed(
        self, steps: Sequence[Operation], array: Array, statistics: Statistics
    ) -> Iterator[tuple[Spans, Array]]:
        """Yield all parts of an array with their spans, after some steps."""
        sizes = self._sizes_of(array)
        for spans in self._pieces(array):
            block = array[region_of(spans, self.letters)]
            yield spans, apply(steps, self.output.id, block, self.letters, statistics, _place(spans, sizes))

    def _pieces(self, array: Array, reduced: str | None = None) -> Iterator[Spans]:
        sizes = self._sizes_of(array)
        return pieces(sizes, {letter: (0, size) for letter, size in sizes.items()}, self.letters, reduced)

    def _chunks_of(self, array: Array) -> Callable[[str | None], Iterator[Array]]:
        return lambda reduced: (array[region_of(spans, self.letters)] for spans in self._pieces(array, reduced))

    def _sizes_of(self, array: Array) -> dict[str, int]:
        return dict(zip(self.letters, array.shape, strict=True))

    def _write(self, index: Index, spans: Spans, block: Array, sizes: Mapping[str, int]) -> None:
        """Write a block of a sample with ``sizes``, which must be the same for all samples."""
        if self._writer is None:
            self._sizes = sizes
            self._writer = self._make_writer(self.output, sizes, block.dtype)
        for letter, size in sizes.items():
            if size != self._sizes[letter]:
                raise ImageError(
                    f"Output {self.output.id!r} has {self._sizes[letter]} entries along {letter} for the first plane "
                    f"or volume of the image, but {size} for another, so they cannot be stacked. Split the image and "
                    "predict its parts one by one."
                )
        self._writer.write(index, spans, block)


def numbers_objects(output: TensorSpec, dtype: "np.dtype[Any]") -> bool:
    """Return whether an output may be a label map, whose tiles cannot be put together.

    ``dtype`` is the dtype of the network's tensor. Whole numbers count as labels, unless the description lists the
    values, as for classes, or further steps change them.
    """
    steps = [step for step in output.operations if not step.kwargs.get("keep_floats")]
    dtypes = [dtype, *map(target_dtype, steps)]
    return not output.listed and None not in dtypes and np.dtype(dtypes[-1]).kind in "iu"


def needs_all(step: Operation, tensor: str, plan: OutputPlan) -> bool:
    """Return whether a step on the output ``tensor`` cannot be applied to a tile alone."""
    return needs_sample(step, plan.kept) or bool(_own_measures(step, tensor))


def _own_measures(step: Operation, tensor: str) -> list[Measure]:
    return [one for one in measures_of(step, tensor) if one.tensor == tensor]


def _spans(kept: Mapping[str, Kept]) -> Spans:
    return {letter: (part.start, part.stop) for letter, part in kept.items()}


def _place(spans: Spans, sizes: Mapping[str, int]) -> Place:
    return {letter: {sizes[letter]: np.arange(start, stop)} for letter, (start, stop) in spans.items()}
