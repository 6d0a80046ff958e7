"""Brings the outputs of a rescaled image back to the pixels of the image as it was given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..array_types import Array, Index, Spans
from ..files.scratch import scratch_array
from ..image.resize import resample
from .postprocess import Writer
from .sample_reader import pieces, region_of


class RestoringWriter:
    """Collects the blocks of each sample, and hands the complete sample on, resampled to ``target`` pixels.

    Decimal numbers are interpolated. A sample of whole numbers alone, of any dtype, may be labels or classes, which are
    taken from the nearest pixel. ``source`` and ``target`` give the pixels along each of the axes ``letters``. The
    sample is collected in the file ``path``.
    """

    def __init__(
        self,
        writer: Writer,
        letters: str,
        source: Mapping[str, int],
        target: Mapping[str, int],
        dtype: "np.dtype[Any]",
        path: Path,
    ) -> None:
        self._writer, self._letters = writer, letters
        self._source = tuple(source[letter] for letter in letters)
        self._target = {letter: target[letter] for letter in letters}
        self._dtype, self._path = dtype, path
        self._sample: Array | None = None
        self._missing = 0

    def write(self, index: Index, spans: Spans, block: Array) -> None:
        """Take a block of the sample at ``index``. The last block of a sample writes the whole sample."""
        if self._sample is None:
            self._sample = scratch_array(self._path, self._dtype, self._source)
            self._missing = self._sample.size
        self._sample[region_of(spans, self._letters)] = block
        self._missing -= block.size
        if not self._missing:
            self._restore(index, self._sample)
            self._sample = None

    def _restore(self, index: Index, sample: Array) -> None:
        target = tuple(self._target.values())
        nearest = self._dtype.kind != "f" or all(_is_whole(part) for part in sample)
        everything = {letter: (0, size) for letter, size in self._target.items()}
        for spans in pieces(self._target, everything, self._letters):
            region = region_of(spans, self._letters)
            block = resample(sample.__getitem__, self._source, target, region, nearest=nearest)
            self._writer.write(index, spans, block.astype(self._dtype, copy=False))


def _is_whole(values: Array) -> bool:
    return bool((values == np.rint(values)).all())
