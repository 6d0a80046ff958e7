"""``bioimage-inference demo``: run the bundled model on the bundled image and draw a picture of the result."""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files.typed_path import user_path
from ..terminal import progress_display, say
from .shared_options import DEBUG, OVERWRITE, QUIET, add_command, option_parser

if TYPE_CHECKING:
    from ..array_types import Array

_PACKAGE = Path(__file__).parents[1]


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument_group("outputs").add_argument(
        "-o", "--output", type=user_path, default=Path("demo-output"), metavar="DIR",
        help="folder for all outputs (default: %(default)s)",
    )  # fmt: skip
    add_command(
        commands,
        run,
        "demo",
        parents=[own, OVERWRITE, QUIET, DEBUG],
        help="run the bundled model on the bundled image",
        description="Run the bundled model on the bundled image of nuclei, draw a picture of the result, and list the "
        "outputs.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict the image, draw the picture, and print where the outputs are and what they show."""
    import numpy as np

    from ..api import Target, open_model
    from ..batch.one_image import Summary
    from ..batch.output_files import make_output_folder
    from ..files.overwriting import check_writable
    from ..options import Options
    from ..predictor import predict_image

    model, image = _bundled("demo-model.zip"), _bundled("nuclei.tif")
    folder: Path = arguments.output
    make_output_folder(folder)
    tiff = folder / "nuclei_prediction.tif"
    target = Target(tiff, tiff.with_suffix(".npy"))
    picture = tiff.with_suffix(".png")
    earlier = check_writable([tiff], [model, image], overwrite=arguments.overwrite)
    check_writable([picture], [model, image], overwrite=arguments.overwrite or bool(earlier))
    with progress_display() as display:
        progress = display.image(image.name)
        display.wait("reading the model")
        summary = Summary(say, display)
        with open_model(model) as opened:
            prediction = predict_image(
                opened,
                image,
                Options(),
                targets={"prediction": target},
                record=folder / "nuclei_provenance.json",
                overwrite=arguments.overwrite,
                progress=progress,
                planned=summary.planned,
            )
        display.wait("drawing the picture")
        _draw(image, np.asarray(prediction.outputs["prediction"].array)[0], picture)
        summary.completed(prediction.provenance)
    say(
        "",
        f"Look at {picture}: the image, the probability that a pixel lies in a nucleus (foreground), and the "
        f"probability that it lies on the outline of a nucleus (boundary). {target.tiff} holds both as a two-channel "
        f"image for Fiji, napari or QuPath, {target.npy} as a NumPy array.",
        "On your own files: bioimage-inference predict MODEL IMAGE -o DIR",
    )
    return 0


def _bundled(name: str) -> Path:
    """Return a file of the demo: beside the package in a checkout, inside the package when installed."""
    for folder in (_PACKAGE / "demo-data", _PACKAGE.parent / "test-data"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(f"The demo's file {name} is not part of this installation. Install the package again.")


def _draw(image: Path, output: "Array", picture: Path) -> None:
    """Write a PNG of image, foreground and boundary side by side. ``output`` has axes cyx."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..files.partial_file import write_whole
    from ..image.readers.reading import open_image

    opened = open_image(image)
    pixels = opened.read(tuple(slice(0, size) for size in opened.shape))
    opened.close()
    low, high = np.percentile(pixels.astype(float), [0.5, 99.8])
    probability = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    panels: list[tuple[str, Array, dict[str, Any]]] = [
        ("image", pixels, {"cmap": "gray", "vmin": low, "vmax": high}),
        ("foreground", output[0], probability),
        ("boundary", output[1], probability),
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
