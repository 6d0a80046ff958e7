"""The functions of the Python interface: predict, inspect, validate and segment, with an opened model or its name.

The module stands above the rooms that do the work: ``report``, ``reproduction`` and ``segmentation``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Unpack

from .errors import UsageError
from .files.typed_path import user_path
from .inference.outputs import Target
from .inference.pipeline import Progress
from .options import Options, OptionWords, options_of
from .prediction import Output, Prediction
from .predictor import Predictor, predict_image
from .provenance.record import to_json
from .zoo.index import trust_policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from xarray import DataArray

    from .image.image import Image
    from .report.model_facts import Facts
    from .reproduction.findings import WeightsFinding
    from .segmentation.found_objects import Segmentation

    AnyImage = Image | NDArray[np.generic] | Path | str | DataArray | Output | Sequence[Any] | Any
    """A file, an array of one of many libraries, nested lists of numbers, or an output of another prediction."""


Planned = Callable[[Mapping[str, Any]], None]
"""A function that is called with the record so far when tiles are chosen."""


class IterationArguments(OptionWords, total=False):
    """The keyword arguments of :func:`predict_many`."""

    progress: Progress | None
    cancel: Event | None
    options: Options | None


class PredictionArguments(IterationArguments, total=False):
    """The keyword arguments of :func:`predict`."""

    inputs: "Mapping[str, AnyImage] | None"
    targets: Mapping[str, Target] | None
    record: Path | str | None
    overwrite: bool
    planned: Planned | None


def predict(
    model: Predictor | Path | str,
    image: "AnyImage",
    *,
    inputs: "Mapping[str, AnyImage] | None" = None,
    targets: Mapping[str, Target] | None = None,
    record: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    planned: Planned | None = None,
    cancel: Event | None = None,
    options: Options | None = None,
    **words: Unpack[OptionWords],
) -> Prediction:
    """Predict one image.

    Parameters
    ----------
    model
        An opened model, or a model as :func:`load_model` takes it.
    image
        A file; or the address of an OME-Zarr (``https://`` or ``s3://``); or an array of numbers or booleans of NumPy,
        zarr, dask or torch, or a nested list of numbers (name the axes with ``axes="zyx"``); or an xarray DataArray,
        whose dimensions are the axes and whose coordinates give the pixel size; or an :class:`Output`. Arrays of zarr
        and dask are read by region.
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
        Called with the number of tiles done, first 0, and the number of all tiles. An exception that it raises ends the
        prediction.
    planned
        Called with the record so far, as ``--dry-run`` prints it: before torch is imported and the network is loaded,
        and again when the network or the memory call for other tiles.
    cancel
        An event that another thread sets to end the prediction after the tile that is being computed. A prediction that
        ends early, for whatever reason, writes none of its files.
    options
        The options of the prediction. Keyword arguments with the names of :class:`Options` win over these options:
        ``tile=(256, 256)`` in pixels in the order z, y, x, or ``tile=256``, ``memory="4GiB"``.

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
    concurrent.futures.CancelledError
        If ``cancel`` was set.

    Examples
    --------
    >>> prediction = predict("demo-model.zip", "nuclei.tif")
    >>> output = prediction.outputs["prediction"]
    >>> output.axes, output.array.shape, output.array.dtype.name
    ('bcyx', (1, 2, 300, 380), 'float32')
    """
    chosen = options_of(options, words, signature(predict).parameters)
    with _opened(model) as opened:
        return predict_image(
            opened,
            image,
            chosen,
            inputs=inputs,
            targets=targets,
            record=record,
            overwrite=overwrite,
            progress=progress,
            planned=None if planned is None else lambda plan: planned(to_json(plan)),
            cancel=cancel,
        )


def predict_many(
    model: Predictor | Path | str,
    images: "Iterable[AnyImage]",
    *,
    progress: Progress | None = None,
    cancel: Event | None = None,
    options: Options | None = None,
    **words: Unpack[OptionWords],
) -> Iterator[Prediction]:
    """Predict images one after the other with one loaded network, each when the caller asks for it.

    An error ends the iteration. To go on after an image that does not fit, call :meth:`Model.predict` for each image.

    Parameters
    ----------
    model
        An opened model, or a model as :func:`load_model` takes it.
    images
        Any number of images, as :func:`predict` takes one.
    progress, cancel, options, **words
        As for :func:`predict`; ``progress`` begins with 0 for each image.

    Yields
    ------
    Prediction
        The prediction of the next image, in memory.

    Raises
    ------
    UsageError
        If ``images`` is a single image; and the errors of :func:`predict`.

    Examples
    --------
    >>> shapes = [numpy.ones((80, 90)), numpy.ones((64, 64))]
    >>> [one.outputs["prediction"].shape for one in predict_many("demo-model.zip", shapes, axes="yx")]
    [(1, 2, 80, 90), (1, 2, 64, 64)]
    """
    if isinstance(images, str | Path) or hasattr(images, "shape") or not isinstance(images, Iterable):
        raise UsageError("predict_many takes several images: give a list, such as [image], or call predict.")
    chosen = options_of(options, words, signature(predict_many).parameters)
    return _predictions(model, images, chosen, progress, cancel)


def _predictions(
    model: Predictor | Path | str,
    images: "Iterable[AnyImage]",
    options: Options,
    progress: Progress | None,
    cancel: Event | None,
) -> Iterator[Prediction]:
    with _opened(model) as opened:
        for image in images:
            yield predict_image(opened, image, options, progress=progress, cancel=cancel)


def inspect(model: Predictor | Path | str) -> "Facts":
    """Return what a model is for, what it takes and gives, and whether it runs here. No weights are loaded.

    Parameters
    ----------
    model
        An opened model, or a model as :func:`load_model` takes it.

    Returns
    -------
    Facts
        A dictionary, the content of ``bioimage-inference inspect --json``.

    Raises
    ------
    UsageError, ModelError
        If there is no such model, or its description is broken.

    Examples
    --------
    >>> facts = inspect("demo-model.zip")
    >>> facts["inputs"][0]["axes"], facts["inputs"][0]["sizes"]["y"]
    ('bcyx', {'minimum': 64, 'step': 8})
    """
    from .report.model_facts import model_facts

    with _opened(model) as opened:
        opened.check_open()
        return model_facts(opened.opened, trust_policy())


def validate(
    model: Predictor | Path | str,
    *,
    halo: bool = False,
    advice: bool = False,
    pictures: Path | str | None = None,
    overwrite: bool = False,
    options: Options | None = None,
    **words: Unpack[OptionWords],
) -> "list[WeightsFinding]":
    """Predict the test image of a model, and compare the result with the published output.

    Parameters
    ----------
    model
        An opened model, or a model as :func:`load_model` takes it.
    halo
        Also measure the receptive field, and whether the halo covers it.
    advice
        Also find out how a large image is cut into tiles, and what memory it takes.
    pictures
        A folder for pictures of differences; without it, none are made.
    overwrite
        Replace existing pictures.
    options, **words
        As for :func:`predict`: ``device``, ``threads``, ``engine``, ``memory``, ``trust_model_code``. ``weights``
        checks only the weights of this format: ``"torchscript"``, ``"pytorch_state_dict"`` or ``"onnx"``.

    Returns
    -------
    list of WeightsFinding
        A finding for each weights entry: ``verdict`` (``reproduced``, ``undecided``, ``differs`` or ``cannot run``),
        ``outputs`` with the differences, ``tiles``, ``halo``, ``advice``, and ``error`` for weights that cannot run.

    Raises
    ------
    UsageError, ModelError
        If there are no such weights, or no test image.

    Examples
    --------
    >>> [(finding.entry.format, finding.verdict) for finding in validate("demo-model.zip")]
    [('torchscript', 'reproduced'), ('pytorch_state_dict', 'cannot run')]
    """
    from .reproduction.validation import validate as findings_of

    chosen = options_of(options, words, signature(validate).parameters)
    folder = None if pictures is None else user_path(pictures)
    with _opened(model) as opened:
        return findings_of(opened, chosen, folder, halo, advice=advice, overwrite=overwrite)


def segment(
    prediction: "Prediction | AnyImage",
    image: "AnyImage | None" = None,
    *,
    foreground: int | str = 0,
    boundary: int | str | None = 1,
    threshold: float = 0.6,
    min_size: int | None = None,
    max_size: int | None = None,
    exclude_border: bool = False,
    fill_holes: bool = False,
    stitch: float | None = None,
    axes: str | None = None,
    image_axes: str | None = None,
) -> "Segmentation":
    """Find the objects of a prediction in a foreground and a boundary channel. Each time point is segmented separately.

    Parameters
    ----------
    prediction
        A :class:`Prediction`, whose first output is taken, an :class:`Output`, a file that ``predict`` wrote, or an
        array with probabilities.
    image
        The image that was predicted, for mean intensities.
    foreground
        The channel that is high inside objects: its number from 0, or its name.
    boundary
        The channel that is high at outlines of objects; ``None`` for a model without such a channel.
    threshold
        Objects grow from pixels where foreground minus boundary exceeds this value.
    min_size, max_size
        The smallest and the largest object in pixels. ``min_size`` is by default 10 in 2-D and 50 in 3-D.
    exclude_border
        Leave out objects that touch the border of the image.
    fill_holes
        Give background that an object encloses to the object.
    stitch
        Find objects in each plane of a stack, and join those of neighbouring planes from this intersection over union.
    axes, image_axes
        Axes of the prediction and of the image, such as ``"cyx"``. They override the metadata of files.

    Returns
    -------
    Segmentation
        The label map and the table of objects.

    Raises
    ------
    UsageError, ImageError
        If there is no such channel, the axes are not known, or prediction and image differ in size.

    Examples
    --------
    >>> found = segment(predict("demo-model.zip", "nuclei.tif"), "nuclei.tif")
    >>> found.count, found.labels.shape, int(found.table["area_px"][0])
    (72, (300, 380), 541)
    """
    from .segmentation.found_objects import find_objects, object_options

    options = object_options(
        foreground, boundary, threshold, min_size, max_size, exclude_border, fill_holes, stitch, axes, image_axes
    )
    return find_objects(prediction, image, options)


def _opened(model: Predictor | Path | str) -> AbstractContextManager[Predictor]:
    """Return an opened model as it is, and any other model opened for the ``with`` block."""
    return nullcontext(model) if isinstance(model, Predictor) else Predictor.open(model)
