"""The plugin in a viewer. ``test_napari.py`` runs these tests in a process of their own, which Qt and napari need."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import tifffile

import bioimage_inference

UNITS = ("um", "um")
SCALE, TRANSLATE = (0.325, 0.325), (10.0, 20.0)
PATIENCE = 300_000  # milliseconds; nothing takes as long
WIDGET = "Predict with a BioImage.IO model"

Answered = Callable[[Any], str]


@pytest.fixture
def viewer(make_napari_viewer: Any, test_data: Path) -> Any:
    """A viewer with the image of nuclei."""
    made = make_napari_viewer()
    nuclei = tifffile.imread(test_data / "nuclei.tif")
    made.add_image(nuclei, name="nuclei", scale=SCALE, translate=TRANSLATE, units=UNITS, axis_labels=("y", "x"))
    return made


@pytest.fixture
def widget(viewer: Any, test_data: Path) -> Iterator[Any]:
    """The widget as napari's menu opens it, with the demo model."""
    import npe2

    npe2.PluginManager.instance().discover()
    _, found = viewer.window.add_plugin_dock_widget("bioimage_inference", WIDGET)
    found.model.value = test_data / "demo-model.zip"
    yield found
    found.close_model()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that the widget opened."""
    from bioimage_inference.napari_plugin import prediction_job

    models: list[Any] = []
    load = prediction_job.load_model

    def watched(name: str) -> Any:
        models.append(load(name))
        return models[-1]

    monkeypatch.setattr(prediction_job, "load_model", watched)
    return models


@pytest.fixture
def answered(qtbot: Any) -> Answered:
    """Press Predict, wait until the work is done, and return the text of the widget."""

    def press(widget: Any) -> str:
        widget.predict_button.native.click()
        qtbot.waitUntil(lambda: widget.predict_button.enabled, timeout=PATIENCE)
        text: str = widget.message.value
        return text

    return press


def test_probabilities_and_objects_lie_on_the_image(
    viewer: Any, widget: Any, answered: Answered, opened: list[Any], test_data: Path
) -> None:
    assert (widget.image.value.name, widget.axes.value) == ("nuclei", "yx")
    widget.axes.value = "YX"
    widget.find_objects.value = True
    assert answered(widget).startswith("Demo U-Net for nuclei: prediction, 72 objects.")
    assert (widget.image.value.name, widget.axes.value) == ("nuclei", "YX")  # more layers change no field
    _, foreground, boundary, objects = viewer.layers
    assert [one.name for one in (foreground, boundary, objects)] == [
        "nuclei prediction: foreground",
        "nuclei prediction: boundary",
        "nuclei objects",
    ]
    expected = bioimage_inference.predict(test_data / "demo-model.zip", test_data / "nuclei.tif")
    np.testing.assert_array_equal(foreground.data, expected.outputs["prediction"].array[0, 0])
    np.testing.assert_array_equal(boundary.data, expected.outputs["prediction"].array[0, 1])
    assert type(objects).__name__ == "Labels"
    assert objects.data.max() == len(objects.features) == 72
    assert objects.features["area_um2"].min() > 0
    for layer in (foreground, boundary, objects):
        assert tuple(layer.scale) == SCALE
        assert tuple(layer.translate) == TRANSLATE
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        assert layer.axis_labels == ("y", "x")
    assert foreground.metadata["record"]["model"]["name"] == "Demo U-Net for nuclei"
    assert [one.is_open for one in opened] == [True]
    viewer.window.remove_dock_widget(widget.native)
    assert [one.is_open for one in opened] == [False]


def test_errors_and_notes_are_plain_paragraphs(
    viewer: Any, widget: Any, answered: Answered, qtbot: Any, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils.notifications import notification_manager

    widget.axes.value = "tzyx"
    text = answered(widget)
    assert text.startswith("The axes 'tzyx' name 4 dimensions, but nuclei has")
    assert "Traceback" not in text
    assert notification_manager.records[-1].message == text
    assert len(viewer.layers) == 1
    widget.axes.value = "yx"
    widget.model.line_edit.value = "no-such-model.zip"
    assert "no-such-model.zip" in answered(widget)
    widget.model.line_edit.value = ""
    assert answered(widget) == "Choose a model first."
    widget.model.value = test_data / "demo-model.zip"
    stack = np.stack([viewer.layers[0].data[:80, :96]] * 3)
    widget.image.value = viewer.add_image(stack, name="<b>stack</b>")
    assert widget.axes.value == ""
    assert "<b>stack</b> does not name its axes; they are taken as" in answered(widget)
    assert viewer.layers[-1].data.shape == stack.shape
    monkeypatch.setattr("bioimage_inference.napari_plugin.prediction_job.layer_image", lambda *_: 1 / 0)
    with qtbot.capture_exceptions() as raised:  # napari shows them with their tracebacks
        assert "ZeroDivisionError: division by zero. Please report it" in answered(widget)
    assert [kind for kind, *_ in raised] == [ZeroDivisionError]


def test_cancel_and_closing_end_a_prediction(
    viewer: Any, widget: Any, qtbot: Any, opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.qt.threading import FunctionWorker

    reached, go_on = hold_first_tile(monkeypatch)
    widget.predict_button.native.click()
    assert widget.cancel_button.enabled
    qtbot.waitUntil(reached.is_set, timeout=PATIENCE)
    widget.cancel_button.native.click()
    go_on.set()
    qtbot.waitUntil(lambda: widget.predict_button.enabled, timeout=PATIENCE)
    assert widget.message.value == "Cancelled. Nothing was added."
    assert len(viewer.layers) == 1
    reached.clear()
    go_on.clear()
    widget.predict_button.native.click()
    qtbot.waitUntil(reached.is_set, timeout=PATIENCE)
    (dock,) = [one for name, one in viewer.window._wrapped_dock_widgets.items() if WIDGET in name]
    dock.destroyOnClose()  # the cross of the dock
    assert [one.is_open for one in opened] == [True]  # a tile is computed still, and the viewer does not wait for it
    go_on.set()
    qtbot.waitUntil(lambda: not FunctionWorker._worker_set, timeout=PATIENCE)
    assert [one.is_open for one in opened] == [False]
    assert len(viewer.layers) == 1


def test_closing_the_viewer_ends_a_prediction(
    viewer: Any, widget: Any, qtbot: Any, opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.qt.threading import FunctionWorker

    reached, go_on = hold_first_tile(monkeypatch)
    widget.predict_button.native.click()
    qtbot.waitUntil(reached.is_set, timeout=PATIENCE)
    viewer.close()
    go_on.set()
    qtbot.waitUntil(lambda: not FunctionWorker._worker_set, timeout=PATIENCE)
    qtbot.waitUntil(lambda: not opened[0].is_open, timeout=PATIENCE)


def hold_first_tile(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Make predictions wait before their first tile; returns the events "it waits" and "it may go on"."""
    from bioimage_inference.napari_plugin.prediction_job import Model

    reached, go_on, predict = Event(), Event(), Model.predict

    def held(self: Any, image: Any, **words: Any) -> Any:
        show = words["progress"]

        def progress(done: int, total: int) -> None:
            show(done, total)
            reached.set()
            go_on.wait(300)

        return predict(self, image, **{**words, "progress": progress})

    monkeypatch.setattr(Model, "predict", held)
    return reached, go_on
