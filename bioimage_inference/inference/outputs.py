"""The outputs of one image: each is opened once, in files or in memory, and all are committed together."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..files.typed_path import user_path
from ..image.image import PixelSize
from ..image.writers.base import Sink, commit_all
from ..image.writers.memory_writer import MemorySink
from ..image.writers.npy_writer import NpySink
from ..image.writers.tiff_writer import NoTiffSink, TiffSink
from ..model.spec import TensorSpec
from ..options import TiffLayout
from .planning import Prepared
from .sample_layout import Stack, StackWriter, layout, output_pixel_size


@dataclass(frozen=True)
class Target:
    """The files of one output tensor; ``None`` for a file that is not wanted."""

    tiff: Path | None = None
    npy: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """The files that are wanted."""
        return [path for path in (self.tiff, self.npy) if path is not None]

    def expanded(self) -> "Target":
        """Return the same with the user's home folder in place of ``~``."""
        return Target(*(None if path is None else user_path(path) for path in (self.tiff, self.npy)))


@dataclass(frozen=True)
class OpenedOutput:
    """An output that is being written. ``memory`` holds its array if no file is wanted."""

    spec: TensorSpec
    stack: Stack
    dtype: "np.dtype[Any]"
    pixel_size: Mapping[str, PixelSize]
    target: Target
    sinks: Sequence[Sink]
    memory: MemorySink | None


class Outputs:
    """Opens the outputs of an image, and gives their files the final names when all of them are complete.

    Without ``targets`` the outputs are arrays in memory. ``cleanup`` removes incomplete files in the end.
    """

    def __init__(
        self, prepared: Prepared, targets: Mapping[str, Target] | None, tiff_layout: TiffLayout, cleanup: ExitStack
    ) -> None:
        self.opened: dict[str, OpenedOutput] = {}
        self._prepared, self._targets, self._layout, self._cleanup = prepared, targets or {}, tiff_layout, cleanup

    def open(self, output: TensorSpec, sizes: Mapping[str, int], dtype: "np.dtype[Any]") -> StackWriter:
        """Open an output whose samples have ``sizes`` pixels along each axis, and return its writer."""
        leading, target = self._prepared.leading, self._targets.get(output.id)
        stack = Stack(output.letters, sizes, leading.iterated, leading.samples)
        axis = output.axis("c")
        names = axis.channel_names if axis is not None else ()
        pixel_size = output_pixel_size(output, self._prepared.plan, leading)
        facts = layout(stack, stack.tensor_axes, dtype, pixel_size, names)
        tensors: list[Sink] = []
        pictures: list[Sink] = []
        memory = None
        if target is None or not (facts.nbytes or target.npy):
            memory = MemorySink(facts)
            tensors.append(memory)
        target = target or Target()
        if target.npy is not None:
            tensors.append(NpySink(target.npy, facts))
        if target.tiff is not None and facts.nbytes:
            as_picture = layout(stack, stack.picture_axes, dtype, pixel_size, names)
            pictures.append(TiffSink(target.tiff, as_picture, self._layout))
        elif target.tiff is not None:
            pictures.append(NoTiffSink(target.tiff))
            target = replace(target, tiff=None)
        sinks = [*tensors, *pictures]
        for sink in sinks:
            self._cleanup.callback(sink.abort)
        self.opened[output.id] = OpenedOutput(output, stack, dtype, pixel_size, target, sinks, memory)
        return StackWriter(stack, tensors, pictures)

    def commit(self, facts: Mapping[str, Any]) -> list[str]:
        """Write ``facts`` into the TIFF files, and give all files their final names. Return remarks for the user."""
        sinks = [sink for output in self.opened.values() for sink in output.sinks]
        for sink in sinks:
            if isinstance(sink, TiffSink):
                sink.annotate(facts)
        commit_all(sinks)
        return [note for sink in sinks for note in sink.notes]
