"""The widget of the plugin: fields for model and layer, a run in the background, and the text for the user."""

from html import escape
from threading import Event
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, LineEdit, ProgressBar, PushButton, TextEdit
from napari.layers import Image, Layer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from superqt.utils import ensure_main_thread

from .._version import __version__
from .layer_images import layer_state, likely_axes
from .prediction_job import CANCELLED, Answer, KeptModel, Request, answer

if TYPE_CHECKING:
    import napari

_START = "Choose a model and an image, and press Predict."
_BUG = (
    f"This is a bug of bioimage-inference {__version__}: {{error}}. Please report it with the traceback, which the "
    "notification of napari shows."
)
_FILES = "Models (*.zip *.yaml *.yml);;All files (*)"


class PredictionWidget(Container[Any]):
    """Predicts an image layer of a viewer with a model, and adds the outputs as layers.

    The work runs in a thread of its own. The model stays loaded until its name changes or the widget is closed.
    """

    def __init__(self, napari_viewer: "napari.Viewer") -> None:
        self._viewer = napari_viewer
        self._kept = KeptModel()
        self._cancel = Event()
        self._worker: Any = None
        self._is_closed = False
        self._guessed: Image | None = None
        self.model = FileEdit(
            label="Model",
            filter=_FILES,
            tooltip="A package (zip), its rdf.yaml, its folder, or the id, title or DOI of a model of bioimage.io, "
            "such as affable-shark. A model of bioimage.io is downloaded once.",
        )
        self.image = ComboBox(label="Image", choices=self._image_layers, tooltip="The image layer to predict.")
        self.axes = LineEdit(
            label="Axes",
            tooltip="A letter for each dimension of the layer: t time, c channel, z, y, x. Colours of a picture are c, "
            "the last letter. Leave the field empty if the model should decide; the text below then says what was "
            "taken.",
        )
        self.channels = LineEdit(
            label="Channels",
            tooltip="Channels of the image in the order of the model: numbers from 0, or names, such as 0 or 2,1,0. "
            "Leave the field empty for all channels.",
        )
        self.find_objects = CheckBox(
            text="Find objects",
            tooltip="Number the objects in a Labels layer. The first channel of the output is high inside objects, the "
            "second one, if there is one, at their outlines.",
        )
        self.predict_button = PushButton(text="Predict")
        self.cancel_button = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(label="", value=0, min=0, max=1)
        self.message = TextEdit(label="", value=_START)
        self.message.read_only = True
        buttons = Container(widgets=[self.predict_button, self.cancel_button], layout="horizontal", labels=False)
        buttons.margins = (0, 0, 0, 0)
        fields = (self.model, self.image, self.axes, self.channels, self.find_objects)
        super().__init__(widgets=[*fields, buttons, self.progress, self.message])
        self.image.changed.connect(self._guess_axes)
        self.predict_button.changed.connect(self.predict)
        self.cancel_button.changed.connect(self.cancel)
        self.native_parent_changed.connect(self._close_without_parent)
        self.native.destroyed.connect(self.close_model)
        active = self._viewer.layers.selection.active
        if isinstance(active, Image):
            self.image.value = active
        self._guess_axes()

    def predict(self) -> None:
        """Start the prediction that the fields ask for."""
        if self._worker is not None:
            return
        name = self.model.line_edit.value.strip()
        layer = self.image.value
        if not name or layer is None:
            self._fail("Choose a model first." if not name else "Open an image first: the viewer has no image layer.")
            return
        axes, channels = self.axes.value.strip() or None, self.channels.value.strip() or None
        request = Request(name, layer_state(layer), axes, channels, self.find_objects.value)
        self._cancel = cancel = Event()

        def stage(words: str, done: int, total: int) -> None:
            if worker.abort_requested:  # napari ends
                cancel.set()
            self._show_stage(words, done, total)

        shown = {"returned": self._show, "errored": self._show_bug, "finished": self._finish}
        worker = create_worker(answer, request, self._kept, stage, cancel, _start_thread=False, _connect=shown)
        self._worker = worker
        self._set_running(True)
        self._show_stage("Starting", 0, 0)
        worker.start()

    def cancel(self) -> None:
        """End a prediction that runs, after the tile that is being computed."""
        self._cancel.set()
        self.cancel_button.enabled = False

    def close_model(self) -> None:
        """End a prediction that runs, and release the model. The widget cannot predict any more."""
        self._is_closed = True
        self._cancel.set()
        self._kept.close()

    def _image_layers(self, _: object = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _guess_axes(self) -> None:
        """Fill in the axes of another layer. What the user typed for the same layer stays."""
        layer = self.image.value
        if layer is None or layer != self._guessed:
            self._guessed = layer
            self.axes.value = "" if layer is None else likely_axes(layer_state(layer))

    def _set_running(self, is_running: bool) -> None:
        self.predict_button.enabled = not is_running
        self.cancel_button.enabled = is_running

    @ensure_main_thread
    def _show_stage(self, words: str, done: int, total: int) -> None:
        if self._is_closed:
            return
        self.progress.max = total  # 0 is a bar that moves without an end
        self.progress.value = done
        tiles = f" ({done} of {total} tiles)" if total else ""
        self._say(f"{words}{tiles} …")

    def _show(self, found: Answer) -> None:
        if self._is_closed:
            return
        for array, arguments, kind in found.layers:
            self._viewer.add_layer(Layer.create(array, arguments, kind))
        if found.problem is None:
            self._say(*found.paragraphs)
        else:
            self._fail(found.problem, *found.paragraphs)

    def _show_bug(self, error: Exception) -> None:
        if not self._is_closed:
            self._say(_BUG.format(error=f"{type(error).__name__}: {error}"))
        raise error  # napari shows it, with its traceback

    def _finish(self) -> None:
        was_stopped = self._worker is not None and self._worker.abort_requested
        self._worker = None
        if self._is_closed:
            return
        self._set_running(False)
        self.progress.max, self.progress.value = 1, 0
        if was_stopped:
            self._say(CANCELLED)

    def _fail(self, problem: str, *paragraphs: str) -> None:
        """Show an error as a notification of napari, and in the widget."""
        self._say(problem, *paragraphs)
        show_error(problem)

    def _say(self, *paragraphs: str) -> None:
        """Show plain text. Qt would take what looks like HTML, in the name of a model for instance, as HTML."""
        self.message.value = "".join(f"<p>{escape(one)}</p>" for one in paragraphs)

    def _close_without_parent(self, parent: object) -> None:
        """napari takes a widget out of its dock when the user closes the dock."""
        if parent is None and self.native.parent() is None:
            self.close_model()
