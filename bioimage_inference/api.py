"""The Python interface: open a model once, predict images with it. The command line and Galaxy call nothing else."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .engine.outputs import Stack, StackWriter, layout, output_pixel_size
from .engine.prepare import ImageLike, Prepared, close, prepare, with_smaller_tiles
from .engine.preprocessing import statistics_in_words
from .engine.run import Job, Progress, Record, run
from .engine.source import Source
from .errors import OutOfMemoryError
from .image.image import Image, PixelSize
from .image.labelled_array import data_array_image
from .image.memory_sink import MemorySink
from .image.npy_sink import NpySink
from .image.sinks import Sink, commit_all
from .image.tiff_sink import TiffSink
from .model.opening import OpenedModel, open_model_files
from .model.spec import FixedSize, ModelSpec, TensorSpec
from .options import Options
from .report.record import (
    describe_input,
    describe_model,
    describe_options,
    describe_pixel_size,
    describe_plan,
    describe_versions,
    write_record,
)

if TYPE_CHECKING:
    from xarray import DataArray

    from .engine.loading import Loaded
    from .layers import Layer


@dataclass(frozen=True)
class Target:
    """The files of one output tensor; ``None`` for one that is not wanted."""

    tiff: Path | None = None
    npy: Path | None = None


@dataclass(frozen=True)
class Output:
    """One predicted tensor.

    ``array`` has the model's own axes ``axes``, batch and channel included; the samples of a stack lie along the batch
    axis (before the others where the output has none). It is mapped from ``npy`` where that was written, and ``None``
    where only a TIFF was. ``picture_axes`` are the axes of the image that the model lacks, then the model's own without
    the batch axis; ``pixel_size`` is known for some of them.
    """

    id: str
    axes: str
    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    array: NDArray[Any] | None
    channel_names: tuple[str, ...]
    picture_axes: str
    picture_shape: tuple[int, ...]
    pixel_size: Mapping[str, PixelSize]
    tiff: Path | None = None
    npy: Path | None = None

    def to_xarray(self) -> "DataArray":
        """The output with the axes ``picture_axes``, channel names and pixel sizes; see :mod:`.layers`."""
        from .layers import to_xarray

        return to_xarray(self)


@dataclass(frozen=True)
class Prediction:
    """The outputs by their ids, and the record of what was done, as the command line prints it with ``--json``."""

    outputs: Mapping[str, Output]
    record: Mapping[str, Any]

    def to_layers(self) -> "list[Layer]":
        """A layer for napari, ``(array, arguments, type)``, for each channel of each output; see :mod:`.layers`."""
        from .layers import to_layers

        return to_layers(self.outputs.values())


class Model:
    """An opened model. Its network is loaded when it is first needed, and then kept."""

    def __init__(self, opened: OpenedModel) -> None:
        self.opened = opened
        self._loaded: dict[tuple[Any, ...], Loaded] = {}

    @property
    def spec(self) -> ModelSpec:
        """What the description says."""
        return self.opened.spec

    def load(self, options: Options) -> "Loaded":
        """The network as the options want it. Raises :class:`ModelError`, :class:`TrustError`, :class:`UsageError`."""
        from .engine.loading import load_network

        wanted = (options.device, options.engine, options.threads, options.precision, options.trust_model_code)
        if wanted not in self._loaded:
            self._loaded[wanted] = load_network(self.opened, options)
        return self._loaded[wanted]


@contextmanager
def open_model(
    model: Path | str,
    *,
    description: Path | str | None = None,
    model_axes: str | None = None,
    model_size: str | None = None,
    offline: bool = False,
    preload: bool = True,
) -> Iterator[Model]:
    """Open a model for as long as the ``with`` block lasts.

    ``model`` is a package (zip, folder or its yaml), a weights file, or the id or DOI of a model of the zoo, which is
    downloaded if it is not in the cache, unless ``offline``. ``description``, ``model_axes`` and ``model_size`` are for
    a TorchScript file that the zoo does not know. With ``preload`` torch is imported while the description is read.
    Raises :class:`UsageError` or :class:`ModelError`.
    """
    with tempfile.TemporaryDirectory(prefix="bioimage-inference-") as scratch:
        yaml = Path(description) if description is not None else None
        meanwhile = _preload if preload else None
        yield Model(open_model_files(Path(model), Path(scratch), yaml, model_axes, model_size, offline, meanwhile))


def _preload() -> None:
    """What loading a network imports."""
    from .engine import loading

    loading.import_torch()


def predict(
    model: Model | Path | str,
    image: "ImageLike | DataArray",
    *,
    inputs: "Mapping[str, ImageLike | DataArray] | None" = None,
    targets: Mapping[str, Target] | None = None,
    record: Path | None = None,
    progress: Progress | None = None,
    options: Options | None = None,
    **words: Any,
) -> Prediction:
    """Predict one image.

    ``image`` is a file, an array (name its axes with ``axes="zyx"``), or an xarray DataArray, whose dimensions are the
    axes (see :func:`~bioimage_inference.image.labelled_array.data_array_image`); ``inputs`` are further input tensors.
    Without ``targets`` (files per output id) the outputs are arrays in memory. ``words`` are the options of the command
    line with underscores, as in :class:`Options`. Raises the errors of :mod:`bioimage_inference.errors`.
    """
    options = options or Options(**words)
    with ExitStack() as stack:
        if not isinstance(model, Model):
            model = stack.enter_context(open_model(model))
        others = {name: _image_like(one) for name, one in (inputs or {}).items()}
        prepared = prepare(model.spec, _image_like(image, options.axes), others, options)
        stack.callback(close, prepared)
        return _predict(model, prepared, options, targets, record, progress or _silent)


def _image_like(image: "ImageLike | DataArray", axes: str | None = None) -> ImageLike:
    """An xarray DataArray as an image, all else as it is."""
    return image if isinstance(image, Image | np.ndarray | Path | str) else data_array_image(image, axes)


def _silent(done: int, total: int) -> None:
    """No progress is shown."""
    del done, total


def _predict(
    model: Model,
    prepared: Prepared,
    options: Options,
    targets: Mapping[str, Target] | None,
    record_path: Path | None,
    progress: Progress,
) -> Prediction:
    start = time.perf_counter()
    loaded = model.load(options)
    spec = loaded.spec
    while True:
        try:
            found, outputs = _compute(loaded, prepared, options, targets, progress)
            break
        except OutOfMemoryError:
            smaller = with_smaller_tiles(prepared, spec, options)
            if smaller is None:
                raise
            prepared = smaller
    sinks = [sink for opened in outputs.values() for sink in opened.sinks]
    written = {output.id: outputs[output.id].result() for output in spec.outputs}
    notes = [
        *spec.notes,
        *loaded.notes,
        *prepared.notes,
        *found.notes,
        *(note for sink in sinks for note in sink.notes),
    ]
    record = {
        **describe_run(spec, prepared, options),
        "weights": {"format": loaded.entry.format, "file": loaded.entry.source, "sha256": loaded.sha256},
        "device": {"name": loaded.device.name, "reason": loaded.device.reason, "precision": options.precision},
        "engine": {"name": loaded.engine.name, "reason": loaded.engine.reason},
        "statistics": [statistics_in_words(one) for one in found.statistics],
        "outputs": [outputs[output.id].describe() for output in spec.outputs],
        "seconds": {stage: round(seconds, 3) for stage, seconds in found.seconds.items()}
        | {"total": round(time.perf_counter() - start, 3)},
        "notes": list(dict.fromkeys(notes)),
        "versions": describe_versions() | {loaded.engine.name: version(loaded.engine.name)},
    }
    if record_path is not None:
        write_record(record, record_path)
    return Prediction(written, record)


def _compute(
    loaded: "Loaded",
    prepared: Prepared,
    options: Options,
    targets: Mapping[str, Target] | None,
    progress: Progress,
) -> "tuple[Record, dict[str, _Opened]]":
    """Run the pipeline and commit the outputs; whatever ends it early removes them."""
    outputs: dict[str, _Opened] = {}
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bioimage-inference-"))

        def make_writer(output: TensorSpec, sizes: Mapping[str, int], dtype: "np.dtype[Any]") -> StackWriter:
            opened = _open_output(output, sizes, dtype, prepared, (targets or {}).get(output.id), options, stack)
            outputs[output.id] = opened
            return opened.writer

        job = Job(
            model=loaded.spec,
            network=loaded.network,
            plan=prepared.plan,
            sources={
                tensor.id: Source(prepared.matched[tensor.id], tensor.padding, prepared.domain(tensor.id))
                for tensor in loaded.spec.inputs
                if tensor.id in prepared.matched
            },
            samples=prepared.leading.samples,
            make_writer=make_writer,
            scratch=Path(scratch),
            progress=progress,
        )
        loaded.expect(len(job.plan) * prod(job.samples), prepared.budget.size)
        record = run(job)
        commit_all(sink for opened in outputs.values() for sink in opened.sinks)
    return record, outputs


def describe_run(spec: ModelSpec, prepared: Prepared, options: Options) -> dict[str, Any]:
    """What is known before anything is computed, as ``--dry-run --json`` prints it."""
    return {
        "model": describe_model(spec),
        "inputs": [describe_input(tensor, one) for tensor, one in prepared.matched.items()],
        "plan": describe_plan(prepared.plan),
        "outputs": [_planned(output, prepared) for output in spec.outputs],
        "memory": {"bytes": prepared.budget.size, "reason": prepared.budget.reason},
        "options": describe_options(options),
        "notes": [*spec.notes, *prepared.notes],
    }


def _planned(output: TensorSpec, prepared: Prepared) -> dict[str, Any]:
    """An output before it is computed; sizes that only the network tells are ``None``."""
    leading = prepared.leading
    planned = next(one.sizes for one in prepared.plan.outputs if one.id == output.id)
    sizes = {axis.letter: axis.size.size for axis in output.axes if isinstance(axis.size, FixedSize)}
    sizes |= {"b": prod(leading.samples), **planned}
    return {
        "id": output.id,
        "axes": output.letters,
        "shape": [sizes.get(letter) for letter in output.letters],
        "dtype": None,
    }


@dataclass(frozen=True)
class _Opened:
    """An output being written: in files, or in an array where no file is wanted."""

    spec: TensorSpec
    stack: Stack
    dtype: "np.dtype[Any]"
    writer: StackWriter
    sinks: Sequence[Sink]
    target: Target
    memory: MemorySink | None
    pixel_size: Mapping[str, PixelSize]

    def describe(self) -> dict[str, Any]:
        """For the record."""
        return {
            "id": self.spec.id,
            "axes": self.stack.tensor_axes,
            "shape": list(self.stack.shape(self.stack.tensor_axes)),
            "dtype": self.dtype.name,
            "channel_names": list(axis.channel_names) if (axis := self.spec.axis("c")) is not None else [],
            "pixel_size": describe_pixel_size(self.pixel_size),
            "tiff": str(self.target.tiff) if self.target.tiff is not None else None,
            "npy": str(self.target.npy) if self.target.npy is not None else None,
        }

    def result(self) -> Output:
        """The output, once it is complete."""
        axis = self.spec.axis("c")
        array: NDArray[Any] | None = None
        if self.memory is not None:
            array = self.memory.array
        elif self.target.npy is not None:
            array = np.load(self.target.npy, mmap_mode="r")
        return Output(
            id=self.spec.id,
            axes=self.stack.tensor_axes,
            dtype=self.dtype,
            shape=self.stack.shape(self.stack.tensor_axes),
            array=array,
            channel_names=axis.channel_names if axis is not None else (),
            picture_axes=self.stack.picture_axes,
            picture_shape=self.stack.shape(self.stack.picture_axes),
            pixel_size=self.pixel_size,
            tiff=self.target.tiff,
            npy=self.target.npy,
        )


def _open_output(
    output: TensorSpec,
    sizes: Mapping[str, int],
    dtype: "np.dtype[Any]",
    prepared: Prepared,
    target: Target | None,
    options: Options,
    cleanup: ExitStack,
) -> _Opened:
    """Open the files of an output, or an array; ``cleanup`` removes what is not complete in the end."""
    leading = prepared.leading
    stack = Stack(output.letters, sizes, leading.iterated, leading.samples)
    axis = output.axis("c")
    names = axis.channel_names if axis is not None else ()
    pixel_size = output_pixel_size(output, prepared.plan, leading)
    tensors: list[Sink] = []
    pictures: list[Sink] = []
    memory = None
    if target is None:
        memory = MemorySink(layout(stack, stack.tensor_axes, dtype, pixel_size, names))
        tensors.append(memory)
    else:
        if target.npy is not None:
            tensors.append(NpySink(target.npy, layout(stack, stack.tensor_axes, dtype, pixel_size, names)))
            cleanup.callback(tensors[-1].abort)
        if target.tiff is not None:
            facts = layout(stack, stack.picture_axes, dtype, pixel_size, names)
            pictures.append(TiffSink(target.tiff, facts, options.tiff_layout))
            cleanup.callback(pictures[-1].abort)
    writer = StackWriter(stack, tensors, pictures)
    return _Opened(output, stack, dtype, writer, [*tensors, *pictures], target or Target(), memory, pixel_size)
