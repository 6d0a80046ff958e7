"""The Python interface: open a model once, predict images with it. The command line and Galaxy call nothing else."""

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import OutOfMemoryError
from .files.overwriting import REPLACED, check_writable
from .files.scratch import scratch_folder
from .files.typed_path import input_path, user_path
from .image.array_images import data_array_image
from .image.image import Image, PixelSize
from .image.writers.base import MemoryWriter, Writer, commit_all
from .image.writers.output_formats import FILE_FORMATS
from .inference.pipeline import Job, Progress, Record, run
from .inference.planning import ImageLike, Prepared, close, prepare, sources_of, with_smaller_tiles
from .inference.sample_layout import Stack, StackWriter, layout, output_pixel_size
from .machine.memory import peak_memory
from .model.spec import ModelSpec, TensorSpec
from .model.weights import check_offered
from .options import Options
from .prediction import Output, Prediction
from .provenance.hashing import InputHashes
from .provenance.record import RunRecord, to_json, write_record
from .provenance.record_builder import (
    ComputedRun,
    computed_output,
    network_record,
    now,
    run_plan,
    sandbox_record,
    source_record,
    step_records,
    with_files,
)
from .provenance.record_parts import ComputedOutput, SourceRecord
from .provenance.tiff_tags import tiff_facts
from .zoo.index import trust_policy
from .zoo.resolving import OpenedModel, open_model_files

if TYPE_CHECKING:
    from xarray import DataArray

    from .network.loading import Loaded

Planned = Callable[[Mapping[str, Any]], None]
"""Called with the record so far, once tiles are chosen."""


@dataclass(frozen=True)
class Target:
    """The files of one output tensor; ``None`` for one that is not wanted."""

    tiff: Path | None = None
    npy: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files by the keys of their formats (:data:`~bioimage_inference.image.writers.output_formats.FORMATS`)."""
        named = {key: getattr(self, key) for key in FILE_FORMATS}
        return {key: path for key, path in named.items() if path is not None}


class Model:
    """An opened model. Its network is loaded when it is first needed, and then kept.

    Threads of a process may share a model: predictions with it take turns. Networks of several models compute one tile
    at a time, because torch's number of threads belongs to the process.
    """

    def __init__(self, opened: OpenedModel, source: SourceRecord | None = None) -> None:
        self.opened = opened
        self.source = source or source_record(opened.package.source, None, None, None)
        self._loaded: dict[tuple[Any, ...], Loaded] = {}
        self.turn = Lock()

    @property
    def spec(self) -> ModelSpec:
        """What the description says."""
        return self.opened.spec

    def is_loaded(self, options: Options) -> bool:
        """Whether the network is there already, as the options want it."""
        return _network_options(options) in self._loaded

    def check_weights(self) -> None:
        """Raise :class:`ModelError` where the model has no PyTorch weights. Loads nothing."""
        check_offered(self.spec, self.opened.package.bare_weights)

    def load(self, options: Options) -> "Loaded":
        """The network as the options want it. Raises :class:`ModelError`, :class:`TrustError`, :class:`UsageError`."""
        from .network.loading import load_network

        wanted = _network_options(options)
        if wanted not in self._loaded:
            policy = trust_policy(options.trust_model_code)
            self._loaded[wanted] = load_network(self.spec, self.opened.package.bare_weights, policy, options)
        return self._loaded[wanted]


def _network_options(options: Options) -> tuple[Any, ...]:
    """The options that a loaded network depends on."""
    return options.device, options.engine, options.threads, options.precision, options.trust_model_code


@contextmanager
def open_model(
    model: Path | str,
    *,
    description: Path | str | None = None,
    model_axes: str | None = None,
    model_size: str | None = None,
    offline: bool = False,
) -> Iterator[Model]:
    """Open a model for as long as the ``with`` block lasts.

    ``model`` is a package (zip, folder or its yaml), a weights file, or the id, title, DOI or page of a model of the
    zoo, which is downloaded if it is not in the cache, unless ``offline``. ``description``, ``model_axes`` and
    ``model_size`` are for a TorchScript file that the zoo does not know. Raises :class:`UsageError` or
    :class:`ModelError`.
    """
    yaml = None if description is None else input_path(description)
    with scratch_folder() as scratch:
        opened = open_model_files(model, scratch, yaml, model_axes, model_size, offline)
        yield Model(opened, source_record(opened.name or user_path(model), yaml, model_axes, model_size))


def predict(
    model: Model | Path | str,
    image: "ImageLike | DataArray",
    *,
    inputs: "Mapping[str, ImageLike | DataArray] | None" = None,
    targets: Mapping[str, Target] | None = None,
    record: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    planned: Planned | None = None,
    options: Options | None = None,
    **words: Any,
) -> Prediction:
    """Predict one image.

    ``image`` is a file, an array (name its axes with ``axes="zyx"``), or an xarray DataArray, whose dimensions are the
    axes (see :func:`~bioimage_inference.image.array_images.data_array_image`); ``inputs`` are further input tensors.
    Without ``targets`` (files per output id) the outputs are arrays in memory. Files that the run reads are never
    written; other files that exist are replaced where ``overwrite`` is true, or where a record beside them says that
    they are an earlier result (see :func:`~bioimage_inference.files.overwriting.check_writable`). ``planned`` is called
    with the record so far (as ``--dry-run`` gives it) before torch is imported and the network loaded, and once more
    whenever other tiles are chosen; ``progress`` with the numbers of tiles done, first 0, and of all tiles. ``words``
    are the options of the command line with underscores, as in :class:`Options`. Raises the errors of
    :mod:`bioimage_inference.errors`, those of the images before torch is imported.
    """
    options = options or Options(**words)
    started = now()
    with ExitStack() as stack:
        if not isinstance(model, Model):
            model = stack.enter_context(open_model(model))
        model.check_weights()
        others = {name: _image_like(one) for name, one in (inputs or {}).items()}
        prepared = prepare(model.spec, _image_like(image, options.axes), others, options)
        stack.callback(close, prepared)
        targets = {name: _expanded(one) for name, one in targets.items()} if targets is not None else None
        record = user_path(record) if record is not None else None
        written = [path for one in (targets or {}).values() for path in one.files.values()]
        written += [record] if record is not None else []
        replaced = check_writable(written, files_read(model, prepared, [image, *others.values()]), overwrite=overwrite)
        hashes = stack.enter_context(InputHashes(_hashable(prepared, {model.spec.inputs[0].id: image, **others})))
        stack.enter_context(model.turn)
        shown = progress or _silent, planned or _unsaid
        outputs, found = _predict(model, prepared, options, targets, hashes, *shown, started=started)
    if replaced:
        found = replace(found, notes=(*found.notes, REPLACED))
    if record is not None:
        write_record(found, record)
    return Prediction(outputs, found)


def files_read(model: Model, prepared: Prepared, given: Iterable[object]) -> list[Path]:
    """Every file that a run reads: those of the model, the images as ``given``, and those that these stand for."""
    named = [Path(one) for one in given if isinstance(one, Path | str)]
    images = [Path(one.image.path) for one in prepared.matched.values() if one.image.path]
    return [*model.opened.package.files, *named, *images]


def _expanded(target: Target) -> Target:
    return Target(**{key: user_path(path) for key, path in target.files.items()})


def _hashable(prepared: Prepared, given: Mapping[str, Any]) -> dict[str, Path | NDArray[Any]]:
    """The files and arrays that the inputs come from, without what is neither."""
    found: dict[str, Path | NDArray[Any]] = {}
    for tensor, one in prepared.matched.items():
        if one.image.path:
            found[tensor] = Path(one.image.path)
        elif isinstance(given[tensor], np.ndarray):
            found[tensor] = given[tensor]
    return found


def _image_like(image: "ImageLike | DataArray", axes: str | None = None) -> ImageLike:
    """An xarray DataArray as an image, all else as it is."""
    if isinstance(image, Path | str):
        return input_path(image)
    return image if isinstance(image, Image | np.ndarray) else data_array_image(image, axes)


def _silent(done: int, total: int) -> None:
    """No progress is shown."""
    del done, total


def _unsaid(record: Mapping[str, Any]) -> None:
    """The plan is not shown."""
    del record


def _predict(
    model: Model,
    prepared: Prepared,
    options: Options,
    targets: Mapping[str, Target] | None,
    hashes: InputHashes,
    progress: Progress,
    planned: Planned,
    started: str,
) -> tuple[dict[str, Output], RunRecord]:
    """Return the outputs and the record."""
    from .inference.calibration import calibrated
    from .machine.allocator import return_big_buffers

    start = time.perf_counter()
    planned(to_json(run_plan(model.spec, prepared, options)))
    loaded = model.load(options)
    spec, loading = loaded.spec, time.perf_counter() - start
    fitting = calibrated(prepared, loaded)
    while True:
        if fitting.plan != prepared.plan:
            planned(to_json(run_plan(spec, fitting, options)))
        prepared = fitting
        try:
            computed, found, outputs = _compute(loaded, prepared, options, targets, hashes, progress)
            break
        except (OutOfMemoryError, MemoryError):
            smaller = with_smaller_tiles(prepared, spec)
            if smaller is None:
                raise
            fitting = smaller
        return_big_buffers()  # what the larger tile took must not stand in the way of the smaller one
    notes = [*spec.notes, *loaded.notes, *prepared.notes, *found.notes]
    notes += (note for opened in outputs.values() for writer in opened.writers for note in writer.notes)
    with found.timed("hashing"):
        files = with_files((one.computed(), one.files()) for one in (outputs[output.id] for output in spec.outputs))
    record = computed.complete(
        started=started,
        source=model.source,
        outputs=files,
        peak_bytes=peak_memory(),
        seconds={"loading": loading, **found.seconds, "total": time.perf_counter() - start},
        notes=notes,
    )
    return {output.id: outputs[output.id].result() for output in spec.outputs}, record


def _compute(
    loaded: "Loaded",
    prepared: Prepared,
    options: Options,
    targets: Mapping[str, Target] | None,
    hashes: InputHashes,
    progress: Progress,
) -> "tuple[ComputedRun, Record, dict[str, _Opened]]":
    """Run the pipeline and commit the outputs; whatever ends it early removes them."""
    outputs: dict[str, _Opened] = {}
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())

        def make_writer(output: TensorSpec, sizes: Mapping[str, int], dtype: "np.dtype[Any]") -> StackWriter:
            opened = _open_output(output, sizes, dtype, prepared, (targets or {}).get(output.id), options, stack)
            outputs[output.id] = opened
            return opened.writer

        job = Job(
            model=loaded.spec,
            network=loaded.network,
            plan=prepared.plan,
            sources=sources_of(loaded.spec, prepared),
            samples=prepared.leading.samples,
            make_writer=make_writer,
            scratch=scratch,
            progress=progress,
            compare_tiles=bool(prepared.over_tile) and len(prepared.plan) > 1,
        )
        found = run(job)
        with found.timed("hashing"):
            hashed = hashes.results()
        steps = step_records(loaded.spec, tuple(prepared.matched), found.statistics, found.measured)
        planned, network = run_plan(loaded.spec, prepared, options), network_record(loaded, options.precision)
        computed = ComputedRun(planned, network, steps, hashed, sandbox_record())
        writers = [writer for opened in outputs.values() for writer in opened.writers]
        for writer in writers:
            writer.annotate(tiff_facts(computed))
        commit_all(writers)
    return computed, found, outputs


@dataclass(frozen=True)
class _Opened:
    """An output being written: in files, or in an array where no file is wanted."""

    spec: TensorSpec
    stack: Stack
    dtype: "np.dtype[Any]"
    writer: StackWriter
    writers: Sequence[Writer]
    target: Target
    memory: MemoryWriter | None
    pixel_size: Mapping[str, PixelSize]

    def computed(self) -> ComputedOutput:
        """Return the output for the record, without its files."""
        return computed_output(self.spec, self.stack, self.dtype, self.pixel_size)

    def files(self) -> dict[str, Path | None]:
        """Return the files of the output by their kinds in the record."""
        return {key: self.target.files.get(key) for key in FILE_FORMATS}

    def result(self) -> Output:
        """The output, once it is complete."""
        axis = self.spec.axis("c")
        array: NDArray[Any] | None = None
        if self.memory is not None:
            array = self.memory.array
        elif self.target.npy is not None:
            array = _mapped(self.target.npy)
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
            **self.target.files,
        )


def _mapped(path: Path) -> NDArray[Any] | None:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return None
    return array


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
    layouts = {
        "tensor": layout(stack, stack.tensor_axes, dtype, pixel_size, names),
        "picture": layout(stack, stack.picture_axes, dtype, pixel_size, names),
    }
    nbytes, files = layouts["tensor"].nbytes, target.files if target is not None else {}
    written = {key: path for key, path in files.items() if nbytes or FILE_FORMATS[key].holds_empty}
    writers: dict[str, list[Writer]] = {"tensor": [], "picture": []}
    memory = MemoryWriter(layouts["tensor"]) if target is None or not (nbytes or written) else None
    if memory is not None:
        writers["tensor"].append(memory)
    for key, path in files.items():
        opened = FILE_FORMATS[key].open(path, layouts[FILE_FORMATS[key].axes], options.tiff_layout)
        cleanup.callback(opened.abort)
        writers[FILE_FORMATS[key].axes].append(opened)
    writer = StackWriter(stack, writers["tensor"], writers["picture"])
    return _Opened(
        output, stack, dtype, writer, [*writers["tensor"], *writers["picture"]], Target(**written), memory, pixel_size
    )
