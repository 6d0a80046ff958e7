"""Takes the picture of the napari page: a viewer with the widget, the image of nuclei, probabilities and objects.

    python scripts/make_napari_picture.py

It needs the extra ``napari`` and a screen. Xvfb is one: ``xvfb-run -s '-screen 0 1400x1000x24' python scripts/…``. The
packages of Debian that it takes are in ``tests/end_to_end/test_napari.py``.
"""

import os
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "napari.png"
_SIZE = (1180, 700)
_COLOURS = 128  # keeps the file small
_WAIT = 120  # seconds for the prediction, which takes a few


def main() -> None:
    """Open a viewer, predict as a user does, and save the window."""
    with tempfile.TemporaryDirectory() as folder:
        # The user's settings stay as they are, and change nothing here. napari reads the variable when it is imported.
        os.environ["NAPARI_CONFIG"] = str(Path(folder, "settings.yaml"))
        os.chdir(ROOT / "test-data")
        _take()


def _take() -> None:
    import napari
    import tifffile
    from PIL import Image

    viewer = napari.Viewer(show=False)
    viewer.add_image(
        tifffile.imread("nuclei.tif"), name="nuclei", scale=(0.325, 0.325), units=("µm", "µm"), axis_labels=("y", "x")
    )
    _, widget = viewer.window.add_plugin_dock_widget("bioimage_inference")
    viewer.window._qt_window.resize(*_SIZE)
    viewer.show()
    widget.model.line_edit.value = "demo-model.zip"
    widget.find_objects.value = True
    widget.predict_button.native.click()
    for _ in range(_WAIT):
        _wait_a_second()
        if widget.predict_button.enabled:
            break
    foreground, boundary, objects = viewer.layers[1:]
    foreground.visible = False
    boundary.colormap = "magenta"
    objects.opacity = 0.5
    viewer.scale_bar.visible = True
    viewer.scale_bar.unit = "µm"
    viewer.reset_view()
    _wait_a_second()
    picture = Image.fromarray(viewer.window.screenshot(canvas_only=False, flash=False)).convert("RGB")
    picture.quantize(_COLOURS).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {picture.size[0]}×{picture.size[1]}, {PICTURE.stat().st_size / 1000:.0f} kB")
    viewer.close()


def _wait_a_second() -> None:
    """Let the viewer work for a second."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(1000, loop.quit)
    loop.exec()


if __name__ == "__main__":
    main()
