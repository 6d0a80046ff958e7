"""The Python interface: open a model once, predict images with it. The command line and Galaxy use nothing else."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import OutOfMemoryError
from .files.overwriting import REPLACED, check_writable
from .files.scratch import scratch_folder
from .files.typed_path import Address, check_online, image_path, input_path, known_path, user_path
from .image.array_images import data_array_image
from .image.image import Image
from .inference.operations.registry import with_loaded_code
from .inference.outputs import Target as Target
from .inference.pipeline import Progress
from .inference.planning import ImageLike, PreparedImages, close, prepare
from .machine.memory import peak_memory
from .model.spec import ModelSpec
from .model.weights import check_offered
from .options import Options
from .prediction import Output, Prediction
from .prediction_run import compute, described, result
from .provenance.hashing import InputHashes
from .provenance.record import RunRecord, to_json, write_record
from .provenance.record_builder import (
    now,
    run_plan,
    source_record,
    with_files,
)
from .provenance.record_parts import SourceRecord
from .zoo.index import trust_policy
from .zoo.resolving import OpenedModel, open_model_files

if TYPE_CHECKING:
    from xarray import DataArray

    from .inference.calibration import Calibration
    from .network.loading import LoadedNetwork
    from .network.network import Network
    from .report.model_facts import Facts

Planned = Callable[[Mapping[str, Any]], None]
"""A function that is called with the record so far when tiles are chosen."""


class Model:
    """An opened model, see :func:`open_model`.

    The network is loaded for the first prediction, and kept. So are the tiles for each image shape, as long as they fit
    into memory. Threads of a process may share a model; their predictions take turns. Networks of several models
    compute one tile at a time, because torch's number of threads belongs to the process.
    """

    def __init__(
        self,
        opened: OpenedModel,
        source: SourceRecord | None = None,
        network: "Network | None" = None,
        offline: bool = False,
    ) -> None:
        self.opened = opened
        self.offline = offline
        self.source = source or source_record(opened.package.source, None, None, None)
        self.turn = Lock()
        self._network = network
        self._loaded: dict[tuple[Any, ...], LoadedNetwork] = {}
        self._calibrations: dict[tuple[Any, ...], Calibration] = {}

    @property
    def spec(self) -> ModelSpec:
        """The facts of the model's description."""
        return self.opened.spec

    def predict(self, image: "ImageLike | DataArray", **arguments: Any) -> Prediction:
        """Predict one image. The arguments, errors and result are those of the function :func:`predict`.

        Examples
        --------
        >>> with open_model("demo-model.zip") as model:
        ...     prediction = model.predict("nuclei.tif", tile=(128, 128))
        >>> prediction.record["plan"]["tiles"]
        20
        """
        return predict(self, image, **arguments)

    def inspect(self) -> "Facts":
        """Return what the model is for, what it takes and gives, and whether it runs here; no weights are loaded.

        Returns
        -------
        Facts
            The content of ``bioimage-inference inspect --json``.

        Examples
        --------
        >>> with open_model("demo-model.zip") as model:
        ...     facts = model.inspect()
        >>> facts["name"], facts["runs_here"]
        ('Demo U-Net for nuclei', True)
        """
        from .report.model_facts import model_facts

        return model_facts(self.opened, trust_policy())

    def is_loaded(self, options: Options) -> bool:
        """Return whether the network for these options is loaded."""
        return _network_options(options) in self._loaded

    def check_weights(self) -> None:
        """Raise :class:`ModelError` if the model has no PyTorch weights. Nothing is loaded."""
        check_offered(self.spec, self.opened.package.bare_weights)

    def load(self, options: Options) -> "LoadedNetwork":
        """Return the network for these options, loaded once.

        Raises :class:`ModelError`, :class:`TrustError`, or :class:`UsageError`.
        """
        from .network.loading import given_network, load_network

        key = _network_options(options)
        if key not in self._loaded:
            policy = trust_policy(options.trust_model_code)
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
    return options.device, options.engine, options.threads, options.precision, options.trust_model_code


def _plan_key(prepared: PreparedImages, options: Options) -> tuple[Any, ...]:
    """Return everything but the memory at hand that a plan depends on."""
    sizes = tuple((tensor, *sorted(one.sizes.items())) for tensor, one in prepared.matched.items())
    tile = None if options.tile is None else tuple(options.tile)
    return *_network_options(options), options.fit, options.border, options.memory, tile, sizes


@contextmanager
def open_model(
    model: Path | str,
    *,
    description: Path | str | None = None,
    model_axes: str | None = None,
    model_size: str | None = None,
    offline: bool = False,
    network: "Network | None" = None,
) -> Iterator[Model]:
    """Open a model for as long as the ``with`` block lasts. No weights are loaded yet.

    Parameters
    ----------
    model
        A package (zip, folder or its yaml), a weights file, or the id, title, DOI or page of a model of the BioImage.IO
        zoo. A model of the zoo is downloaded unless it is in the cache.
    description
        The yaml file of the description, for a weights file alone.
    model_axes
        The axes of the first input, such as ``"bcyx"``, for TorchScript weights without a description.
    model_size
        The size that such weights take, in pixels in the order x, y, z, c, such as ``"256,256,1,1"``.
    offline
        Use no network: download nothing, and refuse images at addresses.
    network
        A network that computes tiles in place of the model's weights, for tests and experiments
        (:class:`~bioimage_inference.network.network.Network`).

    Yields
    ------
    Model
        The opened model.

    Raises
    ------
    UsageError
        If there is no such model.
    ModelError
        If the model is broken or not supported.

    Examples
    --------
    >>> with open_model("demo-model.zip") as model:
    ...     predictions = [predict(model, image, axes="yx") for image in (numpy.ones((80, 90)), numpy.ones((64, 64)))]
    >>> [prediction.outputs["prediction"].shape for prediction in predictions]
    [(1, 2, 80, 90), (1, 2, 64, 64)]
    """
    yaml = None if description is None else input_path(description)
    with scratch_folder() as scratch:
        opened = open_model_files(model, scratch, yaml, model_axes, model_size, offline)
        source = source_record(opened.name or user_path(model), yaml, model_axes, model_size)
        yield Model(opened, source, network, offline)


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

    Parameters
    ----------
    model
        An opened model, or a model as :func:`open_model` takes it.
    image
        A file; or the address of an OME-Zarr (``https://`` or ``s3://``); or an array of numbers or booleans (name its
        axes with ``axes="zyx"``); or an xarray DataArray, whose dimensions are the axes and whose coordinates give the
        pixel size.
    inputs
        Further input tensors by their ids.
    targets
        The files of the outputs by their ids. Without targets, the outputs are arrays in memory.
    record
        The JSON file for the record of the run.
    overwrite
        Replace existing files. Otherwise only files that a record beside them names as an earlier result are replaced.
        Files that the run reads are never replaced.
    progress
        Called with the number of tiles done, first 0, and the number of all tiles.
    planned
        Called with the record so far, as ``--dry-run`` prints it: before torch is imported and the network is loaded,
        and again when the network or the memory call for other tiles.
    options
        The options of the prediction. Alternatively give them as keyword arguments, with the names of
        :class:`Options`: ``tile=(256, 256)`` in pixels in the order z, y, x, ``memory="4GiB"``.

    Returns
    -------
    Prediction
        The outputs by their ids, with the model's axes (batch and channel included) and the network's dtype, mostly
        float32; and the record.

    Raises
    ------
    UsageError
        For options, axes or files that do not exist or contradict each other.
    ImageError
        If the image cannot be read or does not fit the model. The image is checked before torch is imported.
    ModelError, TrustError
        If the network fails, or would run code that nobody vouched for.
    OutOfMemoryError
        If not even the smallest tile fits into memory.
    OutputError
        If an output cannot be written.

    Examples
    --------
    >>> prediction = predict("demo-model.zip", "nuclei.tif")
    >>> output = prediction.outputs["prediction"]
    >>> output.axes, output.array.shape, output.array.dtype.name
    ('bcyx', (1, 2, 300, 380), 'float32')
    """
    options = options or Options(**words)
    started = now()
    with ExitStack() as stack:
        if not isinstance(model, Model):
            model = stack.enter_context(open_model(model))
        model.check_weights()
        others = {name: _image_like(model, one) for name, one in (inputs or {}).items()}
        prepared = prepare(model.spec, _image_like(model, image, options.axes), others, options)
        stack.callback(close, prepared)
        targets = {name: one.expanded() for name, one in targets.items()} if targets is not None else None
        record = user_path(record) if record is not None else None
        written = [path for one in (targets or {}).values() for path in one.files.values()]
        written += [record] if record is not None else []
        replaced = check_writable(written, files_read(model, prepared, [image, *others.values()]), overwrite=overwrite)
        hashes = stack.enter_context(InputHashes(_hashable(prepared, {model.spec.inputs[0].id: image, **others})))
        stack.enter_context(model.turn)
        shown = progress or _ignore, planned or _ignore
        outputs, found = _predict(model, prepared, options, targets, hashes, *shown, started=started)
    if replaced:
        found = replace(found, notes=(*found.notes, REPLACED))
    if record is not None:
        write_record(found, record)
    return Prediction(outputs, found)


def files_read(model: Model, prepared: PreparedImages, given: Iterable[object]) -> list[Path]:
    """Return every file that a run reads: the model's, the images as ``given``, and the files that these stand for."""
    named = [image_path(one) for one in given if isinstance(one, Path | str)]
    images = [known_path(one.image.path) for one in prepared.matched.values() if one.image.path]
    return [*model.opened.package.files, *(path for path in (*named, *images) if isinstance(path, Path))]


def _hashable(prepared: PreparedImages, given: Mapping[str, Any]) -> dict[str, Path | NDArray[Any]]:
    """Return the files and arrays of the inputs, except images that are neither, and images at addresses."""
    found: dict[str, Path | NDArray[Any]] = {}
    for tensor, one in prepared.matched.items():
        place = known_path(one.image.path) if one.image.path else None
        if isinstance(place, Path):
            found[tensor] = place
        elif isinstance(given[tensor], np.ndarray):
            found[tensor] = given[tensor]
    return found


def _image_like(model: Model, image: "ImageLike | DataArray", axes: str | None = None) -> ImageLike:
    """Return an xarray DataArray as an image, and a text as a path or address.

    Raises :class:`UsageError` for an address while the model is offline.
    """
    if isinstance(image, Path | Address | str):
        place = image_path(image)
        check_online(place, offline=model.offline)
        return place
    return image if isinstance(image, Image | np.ndarray) else data_array_image(image, axes)


def _ignore(*_: object) -> None:
    """Show neither progress nor plan."""


def _predict(
    model: Model,
    prepared: PreparedImages,
    options: Options,
    targets: Mapping[str, Target] | None,
    hashes: InputHashes,
    progress: Progress,
    planned: Planned,
    started: str,
) -> tuple[dict[str, Output], RunRecord]:
    """Return the outputs and the record. Tiles become smaller as long as a tile does not fit into memory."""
    from .machine.process_settings import give_back_buffers

    start = time.perf_counter()
    planned(to_json(run_plan(model.spec, prepared, options)))
    model.load(options)
    loading, shown = time.perf_counter() - start, prepared.plan
    calibration = model.calibration(prepared, options)
    while True:
        if calibration.prepared.plan != shown:
            planned(to_json(run_plan(calibration.loaded.spec, calibration.prepared, options)))
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
