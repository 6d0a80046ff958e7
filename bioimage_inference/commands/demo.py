"""``bioimage-inference demo``: the bundled model on the bundled image, with a picture of the result."""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..api import Target, predict
from ..batch.one_image import Summary
from ..batch.output_files import make_output_folder
from ..batch.progress import shown
from ..errors import UsageError
from ..files.overwriting import check_writable
from ..files.partial_file import write_whole
from ..terminal import say

_PACKAGE = Path(__file__).parents[1]


def demo_command(arguments: argparse.Namespace) -> int:
    """Predict, draw, and say where the outputs are and what they show."""
    model, image = _bundled("demo-model.zip"), _bundled("nuclei.tif")
    folder: Path = arguments.output
    make_output_folder(folder)
    tiff = folder / "nuclei_prediction.tif"
    target = Target(tiff, tiff.with_suffix(".npy"))
    picture = tiff.with_suffix(".png")
    earlier = check_writable([tiff], [model, image], overwrite=arguments.overwrite)
    check_writable([picture], [model, image], overwrite=arguments.overwrite or bool(earlier))
    with shown() as display:
        progress = display.image(image.name)
        display.wait("reading the model")
        summary = Summary(say, display)
        prediction = predict(
            model,
            image,
            targets={"prediction": target},
            record=folder / "nuclei_provenance.json",
            overwrite=arguments.overwrite,
            progress=progress,
            planned=summary.planned,
            tiff_layout="labelled",
        )
        output = prediction.outputs["prediction"].array
        assert output is not None
        display.wait("drawing the picture")
        _draw(image, np.asarray(output[0]), picture)
        summary.completed(prediction.provenance)
    say(
        "",
        f"Look at {picture}: the image, the probability that a pixel lies in a nucleus (foreground), and on the "
        f"outline of one (boundary). {target.tiff} holds both as a two-channel image for Fiji, napari or QuPath, "
        f"{target.npy} as a NumPy array.",
        "On your own files: bioimage-inference predict MODEL IMAGE -o DIR",
    )
    return 0


def _bundled(name: str) -> Path:
    """A file of the demo: beside the package in a checkout, inside it when installed."""
    for folder in (_PACKAGE / "demo-data", _PACKAGE.parent / "test-data"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"The demo's file {name} is not part of this installation. Install the package again.")


def _draw(image: Path, output: NDArray[Any], picture: Path) -> None:
    """Input, foreground and boundary side by side; ``output`` has axes CYX."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..image.readers.reading import open_image

    opened = open_image(image)
    pixels = opened.read(tuple(slice(0, size) for size in opened.shape))
    opened.close()
    low, high = np.percentile(pixels.astype(float), [0.5, 99.8])
    panels: list[tuple[str, NDArray[Any], dict[str, Any]]] = [
        ("image", pixels, {"cmap": "gray", "vmin": low, "vmax": high}),
        ("foreground", output[0], {"cmap": "viridis", "vmin": 0, "vmax": 1}),
        ("boundary", output[1], {"cmap": "viridis", "vmin": 0, "vmax": 1}),
    ]
    height, width = pixels.shape
    figure = Figure(figsize=(12, 3.7 * height / width + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for axis, (title, panel, style) in zip(axes, panels, strict=True):
        shown = axis.imshow(panel, **style)
        axis.set_title(title)
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes, label="probability", fraction=0.015, aspect=30)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    write_whole(picture, content.getvalue())
