"""Collects the tiles of a block of one output, and writes the block into the store in one piece."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..array_types import Array, Index, Spans
from ..image.writers.zarr_writer import ZarrWriter, create_store
from ..inference.planning import PreparedImages
from ..inference.sample_layout import Stack, StackWriter, layout, output_pixel_size
from ..model.spec import TensorSpec
from ..options import ZarrVersion
from ..provenance.record_builder import computed_output
from ..provenance.record_parts import ComputedOutput
from .tile_blocks import Block, Blocks


class BlockOutput:
    """Receives the tiles of an output from the pipeline. ``sizes`` are the pixels of one sample along each axis.

    Tiles of a whole sample are written at once. Other tiles stay in memory until :meth:`finish`, so that each chunk is
    written once.
    """

    def __init__(
        self,
        output: TensorSpec,
        sizes: Mapping[str, int],
        dtype: "np.dtype[Any]",
        prepared: PreparedImages,
        blocks: Blocks,
        block: Block,
    ) -> None:
        leading = prepared.leading
        self.output, self.sizes, self.dtype, self.blocks, self.block = output, sizes, dtype, blocks, block
        self.stack = Stack(output.letters, sizes, leading.iterated, leading.samples)
        self.pixel_size = output_pixel_size(output, blocks.plan, leading)
        self._plan = blocks.plan.output(output.id)
        self._store: ZarrWriter | None = None
        self._spans = blocks.spans(self._plan, block) if blocks.regular else {}
        self._collected: Array | None = None

    @property
    def written(self) -> int:
        """The size of the block in bytes."""
        extents = {letter: stop - start for letter, (start, stop) in self._spans.items()}
        return int(np.prod([extents.get(letter, size) for letter, size in self.sizes.items()])) * self.dtype.itemsize

    def create(self, folder: Path, name: str, version: ZarrVersion) -> None:
        """Make an empty store in place of the remains of a lost worker. ``name`` is the final name of the store.

        Raises :class:`OutputError`.
        """
        axis = self.output.axis("c")
        names = axis.channel_names if axis is not None else ()
        chunks, shards = self.blocks.chunks(self._plan, self.sizes), self.blocks.shards(self._plan, self.sizes)
        facts = layout(self.stack, self.stack.picture_axes, self.dtype, self.pixel_size, names)
        create_store(folder, facts, chunks, shards, name=name, version=version)

    def open(self, folder: Path) -> None:
        """Open the store for writing. Raises :class:`OutputError`."""
        self._store = ZarrWriter(folder, self.stack.picture_axes)

    def write(self, index: Index, spans: Spans, block: Array) -> None:
        """Receive a tile at ``spans`` of the sample at ``index``."""
        if not self.blocks.regular:
            self._put(index, spans, block)
            return
        if self._collected is None:
            extents = {letter: stop - start for letter, (start, stop) in self._spans.items()}
            self._collected = np.empty([extents.get(letter, size) for letter, size in self.sizes.items()], self.dtype)
        region = [slice(None)] * block.ndim
        for axis, letter in enumerate(self.sizes):
            if letter in spans:
                first = self._spans[letter][0]
                region[axis] = slice(spans[letter][0] - first, spans[letter][1] - first)
        self._collected[tuple(region)] = block

    def finish(self) -> None:
        """Write the collected tiles. Raises :class:`OutputError`."""
        if self._collected is not None and self._collected.size:
            self._put(self.block.index, self._spans, self._collected)

    def describe(self) -> ComputedOutput:
        """Return the output for the record, without its files."""
        return computed_output(self.output, self.stack, self.dtype, self.pixel_size)

    def _put(self, index: Index, spans: Spans, block: Array) -> None:
        assert self._store is not None
        StackWriter(self.stack, [], [self._store]).write(index, spans, block)
