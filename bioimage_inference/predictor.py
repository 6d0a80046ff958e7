"""Predicts images with an opened model: loads its network once, keeps its plans, and runs one image at a time."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short_repr
from threading import Event, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from .errors import OutOfMemoryError, UsageError
from .files.overwriting import REPLACED, check_writable
from .files.scratch import scratch_folder
from .files.typed_path import Address, check_online, image_path, input_path, known_path, user_path
from .image.array_likes import image_like
from .inference.augmentation import with_uncertainty
from .inference.operations.registry import with_loaded_code
from .inference.outputs import Target, check_targets
from .inference.pipeline import Progress
from .inference.planning import ImageLike, PreparedImages, close, prepare, tile_shape
from .machine.memory import peak_memory
from .model.spec import ModelSpec
from .model.trust import TrustPolicy
from .model.weights import check_offered
from .options import Options
from .prediction import Output, Prediction
from .prediction_run import compute, described, result
from .provenance.hashing import InputHashes
from .provenance.record import RunPlan, RunRecord, write_record
from .provenance.record_builder import now, run_plan, source_record, with_files
from .provenance.record_parts import SourceRecord
from .zoo.index import trust_policy
from .zoo.resolving import OpenedModel, open_model_files
from .zoo.twins import twin_in_words

if TYPE_CHECKING:
    from .inference.calibration import Calibration
    from .network.loading import LoadedNetwork
    from .network.network import Network

PlanCallback = Callable[[RunPlan], None]
"""A function that is called with the plan of a run when tiles are chosen."""


class Predictor:
    """An opened model that predicts images.

    The network is loaded for the first prediction, and kept. So are the tiles for each image shape, as long as they fit
    into memory. Threads of a process may share a model; their predictions take turns. Networks of several models
    compute in turn, because torch's number of threads belongs to the process.

    ``files`` is closed with the model: it removes temporary files. ``network`` computes in place of the weights.
    ``policy`` is by default that of the process. It is read at once, because an administrator's lists cannot be read
    any more once the process is restricted.
    """

    def __init__(
        self,
        opened: OpenedModel,
        source: SourceRecord | None = None,
        network: "Network | None" = None,
        files: ExitStack | None = None,
        offline: bool = False,
        policy: TrustPolicy | None = None,
    ) -> None:
        self.opened = opened
        self.offline = offline
        self.source = source or source_record(opened.package.source, None, None, None)
        self.turn = Lock()
        self._network = network
        self.policy = policy or trust_policy()
        self._loaded: dict[tuple[Any, ...], LoadedNetwork] = {}
        self._calibrations: dict[tuple[Any, ...], Calibration] = {}
        # also for a model that nobody closes, when it is deleted or Python ends
        self._remove_files = finalize(self, (files or ExitStack()).close)

    @classmethod
    def open(
        cls,
        model: Path | str,
        *,
        description: Path | str | None = None,
        model_axes: str | None = None,
        model_size: str | None = None,
        offline: bool = False,
        network: "Network | None" = None,
    ) -> Self:
        """Return the opened model. The parameters are those of :func:`~bioimage_inference.load_model`."""
        if not isinstance(model, Path | str):
            raise UsageError(
                f"{short_repr(model)} is no model: give a package, a folder, a weights file or the name of a model of "
                "the BioImage.IO zoo."
            )
        if network is not None and not (callable(network) and hasattr(network, "engine")):
            raise UsageError(f"network={short_repr(network)} is no Network: it lacks engine or __call__.")
        yaml = None if description is None else input_path(description)
        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder())
            opened = open_model_files(model, scratch, yaml, model_axes, model_size, offline)
            source = source_record(opened.name or user_path(model), yaml, model_axes, model_size)
            return cls(opened, source, network, stack.pop_all(), offline)

    def __enter__(self) -> Self:
        self.check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the network and remove temporary files. A prediction that runs is finished first."""
        with self.turn:
            self._loaded.clear()
            self._calibrations.clear()
            self._remove_files()

    @property
    def is_open(self) -> bool:
        """Whether the model can predict: it is not closed."""
        return self._remove_files.alive

    def check_open(self) -> None:
        """Raise :class:`UsageError` if the model is closed."""
        if not self.is_open:
            raise UsageError(f"The model {self.spec.name} is closed. Open it again with load_model(...).")

    @property
    def spec(self) -> ModelSpec:
        """The facts of the model's description."""
        return self.opened.spec

    def is_loaded(self, options: Options) -> bool:
        """Return whether the network for these options is loaded."""
        return _network_options(options) in self._loaded

    def check_weights(self) -> None:
        """Raise :class:`ModelError` if the model has no weights that run here. Nothing is loaded."""
        bare = self.opened.package.bare_weights
        if bare is None and not self.spec.weights:
            check_offered(self.spec, bare, twin_in_words(self.spec))

    def load(self, options: Options) -> "LoadedNetwork":
        """Return the network for these options, loaded once.

        Raises :class:`ModelError`, :class:`TrustError`, or :class:`UsageError`.
        """
        from .network.loading import given_network, load_network

        key = _network_options(options)
        if key not in self._loaded:
            policy = replace(self.policy, trust_model_code=options.trust_model_code)
            spec = with_loaded_code(self.spec, policy)
            if self._network is not None:
                self._loaded[key] = given_network(self._network, spec, options)
            else:
                self._loaded[key] = load_network(spec, self.opened.package.bare_weights, policy, options)
        return self._loaded[key]

    def calibration(self, prepared: PreparedImages, options: Options) -> "Calibration":
        """Return the plan for the loaded network: made once for each image shape and options, while it fits.

        Raises the errors of :meth:`load`, and :class:`OutOfMemoryError` if the budget is too small for the program.
        """
        from .inference.calibration import calibrated

        loaded, key = self.load(options), _plan_key(prepared, options)
        kept = self._calibrations.get(key)
        if kept is not None and kept.fits(prepared.budget):
            return kept.for_image(prepared)
        made = calibrated(prepared, loaded)
        self._calibrations[key] = made.without_images()
        return made

    def smaller_tiles(self, calibration: "Calibration", options: Options) -> "Calibration | None":
        """Return a plan with smaller tiles after a tile did not fit, and keep it; ``None`` if the model allows none."""
        smaller = calibration.with_smaller_tiles()
        if smaller is not None:
            self._calibrations[_plan_key(smaller.prepared, options)] = smaller.without_images()
        return smaller


def _network_options(options: Options) -> tuple[Any, ...]:
    """Return the options that a loaded network depends on."""
    return (
        *(options.device, options.engine, options.weights, options.threads),
        *(options.precision, options.trust_model_code),
    )


def _plan_key(prepared: PreparedImages, options: Options) -> tuple[Any, ...]:
    """Return everything but the memory at hand that a plan depends on."""
    sizes = tuple((tensor, *sorted(one.sizes.items())) for tensor, one in prepared.matched.items())
    return *_network_options(options), options.fit, options.border, options.memory, options.tile, options.augment, sizes


def predict_image(
    model: Predictor,
    image: object,
    options: Options,
    *,
    inputs: Mapping[str, object] | None = None,
    targets: Mapping[str, Target] | None = None,
    record: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    planned: PlanCallback | None = None,
    cancel: Event | None = None,
) -> Prediction:
    """Predict one image. Parameters and errors are those of :func:`~bioimage_inference.predict`.

    ``planned`` is called with the plan itself, not with its JSON.
    """
    started = now()
    model.check_open()
    model.check_weights()
    first, others = _image_like(model, image, options.axes), _others(model, inputs)
    files = _expanded(with_uncertainty(model.spec, options), targets)
    record = user_path(record) if record is not None else None
    options = replace(options, tile=tile_shape(model.spec, options))
    with ExitStack() as stack:
        prepared = prepare(model.spec, first, others, options)
        stack.callback(close, prepared)
        given = {model.spec.inputs[0].id: first, **others}
        written = [path for one in (files or {}).values() for path in one.files.values()]
        written += [record] if record is not None else []
        replaced = check_writable(written, files_read(model, prepared, given.values()), overwrite=overwrite)
        hashes = stack.enter_context(InputHashes(_hashable(prepared, given)))
        stack.enter_context(model.turn)
        model.check_open()
        shown = _cancellable(progress or _ignore, cancel), planned or _ignore
        outputs, found = _predict(model, prepared, options, files, hashes, *shown, started=started)
    if replaced:
        found = replace(found, notes=(*found.notes, REPLACED))
    if record is not None:
        write_record(found, record)
    return Prediction(outputs, found)


def files_read(model: Predictor, prepared: PreparedImages, given: Iterable[object]) -> list[Path]:
    """Return every file that a run reads: the model's, the images as ``given``, and the files that these stand for."""
    named = [image_path(one) for one in given if isinstance(one, Path | str)]
    opened = [one.image for one in prepared.matched.values() if one.image.path]
    images = [place for image in opened for place in (known_path(image.path), *image.members)]
    return [*model.opened.package.files, *(path for path in (*named, *images) if isinstance(path, Path))]


def _image_like(model: Predictor, image: object, axes: str | None = None) -> ImageLike:
    """Return a prediction's output with its axes, and every other image as the pipeline takes it.

    Raises :class:`UsageError` for an address while the model is offline.
    """
    found = image_like(image.to_image() if isinstance(image, Output) else image, axes)
    if isinstance(found, Path | Address):
        check_online(found, offline=model.offline)
    return found


def _others(model: Predictor, inputs: Mapping[str, object] | None) -> dict[str, ImageLike]:
    if inputs is not None and not isinstance(inputs, Mapping):
        raise UsageError(f"inputs={short_repr(inputs)} is not understood: give a dictionary of images by tensor ids.")
    return {name: _image_like(model, one) for name, one in (inputs or {}).items()}


def _expanded(spec: ModelSpec, targets: Mapping[str, Target] | None) -> dict[str, Target] | None:
    """Return targets with home folders in place of ``~``. Raises :class:`UsageError` for a target of no output."""
    if targets is None:
        return None
    if not isinstance(targets, Mapping) or not all(isinstance(one, Target) for one in targets.values()):
        raise UsageError(f"targets={short_repr(targets)} is not understood: give {{output id: Target(tiff=…, npy=…)}}.")
    check_targets(spec, targets)
    return {name: one.expanded() for name, one in targets.items()}


def _hashable(prepared: PreparedImages, given: Mapping[str, ImageLike]) -> dict[str, tuple[Path, ...] | NDArray[Any]]:
    """Return the files and arrays of the inputs, except images that are neither, and images at addresses."""
    found: dict[str, tuple[Path, ...] | NDArray[Any]] = {}
    for tensor, one in prepared.matched.items():
        array = given[tensor]
        place = known_path(one.image.path) if one.image.path else None
        if isinstance(place, Path):
            found[tensor] = (place, *one.image.members)
        elif isinstance(array, np.ndarray):
            found[tensor] = array
    return found


def _cancellable(progress: Progress, cancel: Event | None) -> Progress:
    """Return a function that shows progress, and raises :class:`CancelledError` once ``cancel`` is set."""

    def shown(done: int, total: int) -> None:
        progress(done, total)
        if cancel is not None and cancel.is_set():
            raise CancelledError(f"The prediction was cancelled after {done} of {total} tiles. It wrote nothing.")

    return shown


def _ignore(*_: object) -> None:
    """Show neither progress nor plan."""


def _predict(
    model: Predictor,
    prepared: PreparedImages,
    options: Options,
    targets: Mapping[str, Target] | None,
    hashes: InputHashes,
    progress: Progress,
    planned: PlanCallback,
    started: str,
) -> tuple[dict[str, Output], RunRecord]:
    """Return the outputs and the record. Tiles become smaller as long as a tile does not fit into memory."""
    from .machine.process_settings import give_back_buffers

    start = time.perf_counter()
    planned(run_plan(model.spec, prepared, options))
    model.load(options)
    loading, shown = time.perf_counter() - start, prepared.plan
    calibration = model.calibration(prepared, options)
    while True:
        if calibration.prepared.plan != shown:
            planned(run_plan(calibration.loaded.spec, calibration.prepared, options))
            shown = calibration.prepared.plan
        try:
            computed, found, outputs, notes = compute(calibration, options, targets, hashes, progress)
            break
        except (OutOfMemoryError, MemoryError):
            smaller = model.smaller_tiles(calibration, options)
            if smaller is None:
                raise
            calibration = smaller
        give_back_buffers()  # the buffers of the larger tile would leave less room for the smaller one
    loaded = calibration.loaded
    with found.timed("hashing"):
        files = with_files((described(output), vars(output.target)) for output in outputs)
    record = computed.complete(
        started=started,
        source=model.source,
        outputs=files,
        peak_bytes=peak_memory(),
        seconds={"loading": loading, **found.seconds, "total": time.perf_counter() - start},
        notes=[*loaded.spec.notes, *loaded.notes, *calibration.prepared.notes, *found.notes, *notes],
    )
    return {output.spec.id: result(output) for output in outputs}, record
