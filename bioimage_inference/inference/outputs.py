"""The outputs of one image: each is opened once, in files or in memory, and all are committed together."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..files.typed_path import user_path
from ..image.image import PixelSize
from ..image.writers.base import MemoryWriter, Writer, commit_all
from ..image.writers.output_formats import FORMATS, OutputPaths
from ..model.spec import ModelSpec, TensorSpec
from ..options import Options
from .pixel_scale import restored_sizes
from .planning import PreparedImages
from .postprocess import Writer as BlockWriter
from .restoring import RestoringWriter
from .sample_layout import Stack, StackWriter, layout, output_pixel_size


@dataclass(frozen=True)
class Target(OutputPaths):
    """The files of one output tensor; ``None`` for a file that is not wanted."""

    def expanded(self) -> "Target":
        """Return the same with the user's home folder in place of ``~``."""
        return Target(**{key: user_path(path) for key, path in self.files.items()})


def check_targets(model: ModelSpec, targets: Iterable[str]) -> None:
    """Raise :class:`UsageError` for files of an output that the model does not have."""
    known = [output.id for output in model.outputs]
    unknown = [name for name in targets if name not in known]
    if unknown:
        raise UsageError(
            f"targets names {unknown[0]!r}, but the outputs of the model are {', '.join(known)}. Give one of these."
        )


@dataclass(frozen=True)
class OpenedOutput:
    """An output that is being written. ``memory`` holds its array if no file is wanted."""

    spec: TensorSpec
    stack: Stack
    dtype: "np.dtype[Any]"
    pixel_size: Mapping[str, PixelSize]
    target: Target
    writers: Sequence[Writer]
    memory: MemoryWriter | None


class Outputs:
    """Opens the outputs of an image, and gives their files the final names when all of them are complete.

    Without ``targets`` the outputs are arrays in memory. ``cleanup`` removes incomplete files in the end. ``scratch``
    is a folder for temporary files.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        targets: Mapping[str, Target] | None,
        options: Options,
        cleanup: ExitStack,
        scratch: Path,
    ) -> None:
        self.opened: dict[str, OpenedOutput] = {}
        self._prepared, self._targets, self._options, self._cleanup = prepared, targets or {}, options, cleanup
        self._scratch = scratch

    def open(self, output: TensorSpec, sizes: Mapping[str, int], dtype: "np.dtype[Any]") -> BlockWriter:
        """Open an output whose samples have ``sizes`` pixels along each axis, and return its writer."""
        plan, leading, target = self._prepared.plan, self._prepared.leading, self._targets.get(output.id)
        written_sizes = restored_sizes(sizes, plan.output(output.id).links, leading)
        stack = Stack(output.letters, written_sizes, leading.iterated, leading.samples)
        axis = output.axis("c")
        names = axis.channel_names if axis is not None else ()
        pixel_size = output_pixel_size(output, plan, leading)
        layouts = {
            "tensor": layout(stack, stack.tensor_axes, dtype, pixel_size, names),
            "picture": layout(stack, stack.picture_axes, dtype, pixel_size, names),
        }
        nbytes, files = layouts["tensor"].nbytes, target.files if target is not None else {}
        written = {key: path for key, path in files.items() if nbytes or FORMATS[key].holds_empty}
        writers: dict[str, list[Writer]] = {"tensor": [], "picture": []}
        memory = MemoryWriter(layouts["tensor"]) if target is None or not (nbytes or written) else None
        if memory is not None:
            writers["tensor"].append(memory)
        for key, path in files.items():
            axes = FORMATS[key].axes
            opened = FORMATS[key].open(path, layouts[axes], self._options)
            self._cleanup.callback(opened.abort)
            writers[axes].append(opened)
        together = [*writers["tensor"], *writers["picture"]]
        self.opened[output.id] = OpenedOutput(output, stack, dtype, pixel_size, Target(**written), together, memory)
        writer = StackWriter(stack, writers["tensor"], writers["picture"])
        if written_sizes == sizes:
            return writer
        scratch = self._scratch / f"{output.id}-rescaled.npy"
        return RestoringWriter(writer, output.letters, sizes, written_sizes, dtype, scratch)

    def commit(self, facts: Mapping[str, Any]) -> list[str]:
        """Write ``facts`` into TIFF files, and give all files their final names. Return remarks for the user."""
        writers = [writer for output in self.opened.values() for writer in output.writers]
        for writer in writers:
            writer.annotate(facts)
        commit_all(writers)
        return [note for writer in writers for note in writer.notes]
