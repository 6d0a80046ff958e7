"""Predicts a layer away from the viewer: the model that stays loaded, what was asked for, and what comes out.

Nothing here imports napari or Qt.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any

from ..api import Model, load_model, segment
from ..errors import BioimageInferenceError, in_our_words
from ..prediction import Layer, Prediction
from ..segmentation.found_objects import Segmentation
from ..text import counted, one_line
from .layer_images import LayerState, layer_image, placed

Stage = Callable[[str, int, int], None]
"""Called with what is done now, the number of finished tiles, and the number of all tiles (0: not known)."""

CANCELLED = "Cancelled. Nothing was added."


@dataclass(frozen=True)
class Request:
    """The choices of the user for a prediction. ``axes`` and ``channels`` are None where the program chooses."""

    model: str
    state: LayerState
    axes: str | None = None
    channels: str | None = None
    find_objects: bool = False


@dataclass(frozen=True)
class Answer:
    """The layers to add, the text for the user as paragraphs, and the error that ended the work, if one did."""

    layers: tuple[Layer, ...] = ()
    paragraphs: tuple[str, ...] = ()
    problem: str | None = None


class KeptModel:
    """The model that was opened last. It stays loaded until another one is asked for, or until :meth:`close`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._name = ""
        self._model: Model | None = None
        self._is_used = False
        self._is_closed = False

    @contextmanager
    def opened(self, name: str) -> Iterator[Model]:
        """Open the model of this name unless it is the kept one, and keep it. Its user is alone with it.

        Raises the errors of :func:`~bioimage_inference.load_model`, and CancelledError after :meth:`close`.
        """
        with self._lock:
            if self._is_closed:
                raise CancelledError(CANCELLED)
            self._is_used = True
        try:
            if self._model is None or self._name != name:
                self._release()
                self._model, self._name = load_model(name), name
            yield self._model
        finally:
            with self._lock:
                self._is_used = False
                if self._is_closed:
                    self._release()

    def close(self) -> None:
        """Release the model: now, or when its user has finished. Returns at once."""
        with self._lock:
            self._is_closed = True
            if not self._is_used:
                self._release()

    def _release(self) -> None:
        if self._model is not None:
            self._model.close()
        self._model = None


def answer(request: Request, kept: KeptModel, stage: Stage, cancel: Event) -> Answer:
    """Predict a layer. Errors that the user can do something about are part of the answer; bugs are raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # napari's worker would show every warning of a library to the user
            return _answer(request, kept, stage, cancel)
    except CancelledError:
        return Answer(paragraphs=(CANCELLED,))
    except Exception as error:
        return Answer(problem=_for_user(error))


def _answer(request: Request, kept: KeptModel, stage: Stage, cancel: Event) -> Answer:
    image = layer_image(request.state, request.axes)
    stage("Opening the model", 0, 0)
    with kept.opened(request.model) as model:
        _check_going_on(cancel)
        stage("Loading the network", 0, 0)
        prediction = model.predict(
            image,
            channels=request.channels,
            progress=lambda done, total: stage("Predicting", done, total),
            cancel=cancel,
        )
    record = prediction.record
    summary = f"{record['model']['name']}: {', '.join(prediction.outputs)}"
    paragraphs, layers, problem = [*record["notes"]], prediction.to_layers(), None
    if request.find_objects:
        stage("Finding objects", 0, 0)
        try:
            objects = _objects(prediction)
        except Exception as error:
            problem = _for_user(error)
        else:
            summary += f", {counted(objects.count, 'object')}"
            paragraphs += objects.notes
            layers += _label_layers(objects)
        _check_going_on(cancel)
    axes = record["inputs"][0]["axes"]
    there = [_named(placed(layer, request.state, image, axes), request.state.name, record) for layer in layers]
    return Answer(tuple(there), (f"{summary}.", *dict.fromkeys(paragraphs)), problem)


def _objects(prediction: Prediction) -> Segmentation:
    """Return the objects of the first output; its second channel is the boundary, if there is one."""
    axes, shape = (prediction.provenance.outputs[0].axes, prediction.provenance.outputs[0].shape)
    channels = dict(zip(axes, shape, strict=True)).get("c", 1)
    return segment(prediction, boundary=1 if channels > 1 else None)


def _label_layers(objects: Segmentation) -> list[Layer]:
    """Return the layer of the label map, with the table as its features: napari shows them under the mouse."""
    features = {"index": objects.table["label"], **objects.table}
    return [(array, {**arguments, "features": features}, kind) for array, arguments, kind in objects.to_layers()]


def _named(layer: Layer, image: str, record: Mapping[str, Any]) -> Layer:
    array, arguments, kind = layer
    return array, {**arguments, "name": f"{image} {arguments['name']}", "metadata": {"record": record}}, kind


def _check_going_on(cancel: Event) -> None:
    if cancel.is_set():
        raise CancelledError(CANCELLED)


def _for_user(error: Exception) -> str:
    """Return the paragraph for an error that the user can do something about. Raises any other, which is a bug."""
    known = in_our_words(error)
    if type(known) is BioimageInferenceError:
        raise error
    return str(one_line(known))
