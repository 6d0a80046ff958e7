"""From what the network returns to the output: check, crop, postprocess, write.

Steps that work on a tile alone are applied as tiles come. From the first step that needs the whole output on, tiles
are collected in a scratch file, and the rest is done when the sample is complete.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..array_types import Array, Index, Spans
from ..errors import ImageError, ModelError
from ..files.scratch import scratch_array
from ..model.spec import FixedSize, Operation, TensorSpec
from ..tiling.axis_tiling import Kept
from ..tiling.plan import OutputPlan
from .processing import SAMPLEWISE, Place, apply, needs_sample
from .sample_reader import pieces
from .samplewise import apply_samplewise
from .statistics import Statistics, measure, measures_of


class Writer(Protocol):
    """The place where one output goes."""

    def write(self, index: Index, spans: Spans, block: Array) -> None:
        """Put a block of the sample at ``index`` at ``spans`` (start, stop) along the axes of the output."""
        ...


MakeWriter = Callable[[TensorSpec, Mapping[str, int], "np.dtype[np.generic]"], Writer]
"""Given an output, its size along each axis for one sample, and its dtype."""


class Postprocessor:
    """Takes the tiles of one output tensor as the network returns them."""

    def __init__(
        self, output: TensorSpec, plan: OutputPlan, tile: Mapping[str, int], make_writer: MakeWriter, scratch: Path
    ) -> None:
        self.output, self.letters = output, output.letters
        self._plan, self._make_writer, self._scratch = plan, make_writer, scratch
        self._tile = {letter: link.size(tile[link.letter]) for letter, link in plan.links.items()}
        number = next(
            (n for n, step in enumerate(output.operations) if needs_all(step, output.id, plan)), len(output.operations)
        )
        self._tilewise, self._rest = output.operations[:number], output.operations[number:]
        self._writer: Writer | None = None
        self._sizes: dict[str, int] = {}
        self._collected: Array | None = None

    def add(self, index: Index, kept: Mapping[str, Kept], block: Array, statistics: Statistics) -> None:
        """Take one tile of the network's output.

        Raises :class:`ModelError` where it does not have the described shape.
        """
        self._check(block)
        crop = [
            slice(kept[letter].offset, kept[letter].offset + kept[letter].stop - kept[letter].start)
            if letter in kept
            else slice(None)
            for letter in self.letters
        ]
        spans = {letter: (part.start, part.stop) for letter, part in kept.items()}
        place = _place(spans, self._plan.sizes)
        block = apply(self._tilewise, self.output.id, block[tuple(crop)], self.letters, statistics, place)
        if self._rest:
            if self._collected is None:
                self._collected = self._scratch_array(block)
            self._collected[self._region(spans)] = block
        else:
            self._write(index, spans, block)

    def finish(self, index: Index, statistics: Statistics) -> dict[int, Statistics]:
        """Do the steps that need the whole sample, once all of its tiles are there.

        Returns what was measured of the output, by the number of the step that needed it.
        """
        measured: dict[int, Statistics] = {}
        if self._collected is None:
            return measured
        array, self._collected = self._collected, None
        for number, step in enumerate(self._rest):
            own = [one for one in measures_of(step, self.output.id) if one.tensor == self.output.id]
            if step.name in SAMPLEWISE:
                array = apply_samplewise(step, np.asarray(array), self.letters)
            elif step.name == "softmax":
                array = apply([step], self.output.id, np.asarray(array), self.letters, statistics)
            elif own:
                found = measured[len(self._tilewise) + number] = measure(self._chunks_of(array), self.letters, own)
                statistics = {**statistics, **found}
                self._in_place(step, array, statistics)
            elif any(needs_all(later, self.output.id, self._plan) for later in self._rest[number:]):
                self._in_place(step, array, statistics)
            else:
                break
        else:
            number = len(self._rest)
        local = self._rest[number:]
        for spans in self._pieces(array):
            place = _place(spans, self._sizes_of(array))
            block = apply(local, self.output.id, array[self._region(spans)], self.letters, statistics, place)
            self._write(index, spans, block)
        return measured

    def _check(self, block: Array) -> None:
        expected = [self._expected(letter) for letter in self.letters]
        if block.ndim == len(expected) and all(
            want is None or want == size for want, size in zip(expected, block.shape, strict=True)
        ):
            return
        promised = "×".join("any" if want is None else str(want) for want in expected)
        raise ModelError(
            f"The network returned {'×'.join(map(str, block.shape))} for output {self.output.id!r}, but its "
            f"description promises {promised} (axes {self.letters}). Description and weights do not belong together."
        )

    def _expected(self, letter: str) -> int | None:
        axis = self.output.axis(letter)
        if letter in self._tile:
            return self._tile[letter]
        return axis.size.size if axis is not None and isinstance(axis.size, FixedSize) else None

    def _scratch_array(self, block: Array) -> Array:
        shape = tuple(
            self._plan.sizes.get(letter, size) for letter, size in zip(self.letters, block.shape, strict=True)
        )
        dtype = block.dtype if block.dtype.kind == "f" else np.dtype(np.float32)
        path = self._scratch / f"{self.output.id}.npy"
        return scratch_array(path, dtype, shape)

    def _in_place(self, step: Operation, array: Array, statistics: Statistics) -> None:
        for spans in self._pieces(array):
            region = self._region(spans)
            place = _place(spans, self._sizes_of(array))
            array[region] = apply([step], self.output.id, array[region], self.letters, statistics, place)

    def _pieces(self, array: Array, reduced: str | None = None) -> Iterator[Spans]:
        sizes = self._sizes_of(array)
        return pieces(sizes, {letter: (0, size) for letter, size in sizes.items()}, self.letters, reduced)

    def _sizes_of(self, array: Array) -> dict[str, int]:
        return dict(zip(self.letters, array.shape, strict=True))

    def _chunks_of(self, array: Array) -> Callable[[str | None], Iterator[Array]]:
        return lambda reduced: (array[self._region(spans)] for spans in self._pieces(array, reduced))

    def _region(self, spans: Spans) -> tuple[slice, ...]:
        return tuple(slice(*spans[letter]) if letter in spans else slice(None) for letter in self.letters)

    def _write(self, index: Index, spans: Spans, block: Array) -> None:
        sizes = dict(zip(self.letters, block.shape, strict=True))
        if self._writer is None:
            self._sizes = {letter: self._final(letter, size) for letter, size in sizes.items()}
            self._writer = self._make_writer(self.output, self._sizes, block.dtype)
        for letter, size in sizes.items():
            if letter not in spans and size != self._sizes[letter]:
                raise ImageError(
                    f"Output {self.output.id!r} has {self._sizes[letter]} entries along {letter} for the first plane "
                    f"or volume of the image, but {size} for another, so they cannot be stacked. Split the image and "
                    "predict its parts one by one."
                )
        self._writer.write(index, spans, block)

    def _final(self, letter: str, size: int) -> int:
        return size if any(step.name in SAMPLEWISE for step in self._rest) else self._plan.sizes.get(letter, size)


def numbers_objects(output: TensorSpec, dtype: "np.dtype[Any]") -> bool:
    """Whether an output may be a label image, whose numbers are those of objects, so that tiles cannot be put together.

    ``dtype`` is what the network returns. Whole numbers are taken for labels, but for classes, which descriptions
    list, and for what further steps make something else of.
    """
    steps = [step for step in output.operations if not step.kwargs.get("keep_floats")]
    if output.listed or any(step.name != "ensure_dtype" for step in steps):
        return False
    return np.dtype(steps[-1].kwargs["dtype"] if steps else dtype).kind in "iu"


def needs_all(step: Operation, tensor: str, plan: OutputPlan) -> bool:
    """Whether a step on the output ``tensor`` cannot be applied to a tile by itself."""
    return needs_sample(step, plan.kept) or any(one.tensor == tensor for one in measures_of(step, tensor))


def _place(spans: Spans, sizes: Mapping[str, int]) -> Place:
    return {letter: {sizes[letter]: np.arange(start, stop)} for letter, (start, stop) in spans.items()}
