"""Draws the pictures of the documentation: what the program makes of its demo image, its tiles, what doctor prints.

python scripts/make_docs_pictures.py
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import tifffile
from numpy.typing import NDArray

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Rectangle
from PIL import Image
from skimage.segmentation import find_boundaries

from bioimage_inference import Options, Target, open_model, predict
from bioimage_inference.api import Model
from bioimage_inference.inference.planning import close, prepare
from bioimage_inference.segmentation.segmenting import SegmentFiles, SegmentOptions, segment_file
from bioimage_inference.tiling.plan import Plan, Tile

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
IMAGE = ROOT / "test-data" / "nuclei.tif"
TILE = 128
_SHOWN = 7
"""The tile that is explained: in the second row, where it has neighbours on all sides."""
_BLUE, _ORANGE = "#0072b2", "#d55e00"
Array = NDArray[Any]


def main() -> None:
    """Draw all of them."""
    IMAGES.mkdir(exist_ok=True)
    with open_model(ROOT / "test-data" / "demo-model.zip") as model:
        pixels = tifffile.imread(IMAGE)
        _draw_steps(model, pixels)
        _draw_tiles(_plan(model), pixels)
    _draw_doctor()


def _draw_doctor() -> None:
    """Draw what ``doctor`` prints, as a terminal shows it. Folders get the names that they have in a container."""
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_inference", "doctor", "--offline"], capture_output=True, text=True, check=True
    )
    text = done.stdout.replace(sys.prefix, "/opt/bioimage-inference").replace(str(Path.home()), "/home/you")
    lines = ["$ bioimage-inference doctor --offline", *text.rstrip().splitlines()]
    figure = pyplot.figure(figsize=(0.076 * max(map(len, lines)) + 0.3, 0.17 * len(lines) + 0.2), facecolor="#1c2733")
    figure.text(0.02, 0.97, "\n".join(lines), family="monospace", size=9, color="#e6ecf1", va="top", linespacing=1.35)
    _save(figure, "doctor.png")


def _panels(rows: int, columns: int, width: float = 3.6) -> tuple[Any, list[Any]]:
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width * columns, (0.79 * width + 0.3) * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, list(axes.flat)


def _save(figure: Any, name: str) -> None:
    """Write a picture in 128 colours, which keeps it small."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=75)
    pyplot.close(figure)
    Image.open(picture).convert("RGB").quantize(128).save(IMAGES / name, optimize=True)


def _shown(pixels: Array) -> dict[str, Any]:
    """How the image is shown: the brightest and darkest pixels are cut off."""
    low, high = np.percentile(pixels, [0.5, 99.8])
    return {"cmap": "gray", "vmin": low, "vmax": high}


def _draw_steps(model: Model, pixels: Array) -> None:
    """The tutorial: image, foreground, boundary, their difference, what lies above the threshold, the nuclei."""
    with tempfile.TemporaryDirectory() as folder:
        prediction, labels = Path(folder, "prediction.tif"), Path(folder, "labels.tif")
        targets = {"prediction": Target(prediction, Path(folder, "prediction.npy"))}
        array = predict(model, IMAGE, targets=targets).outputs["prediction"].array
        assert array is not None
        foreground, boundary = np.array(array[0])
        options = SegmentOptions()
        files = SegmentFiles(labels, Path(folder, "objects.csv"), Path(folder, "overlay.png"))
        count = segment_file(prediction, files, options, IMAGE).count
        objects = tifffile.imread(labels)
    figure, axes = _panels(2, 3)
    probability = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    axes[0].imshow(pixels, **_shown(pixels))
    axes[1].imshow(foreground, **probability)
    axes[2].imshow(boundary, **probability)
    axes[3].imshow(foreground - boundary, **probability)
    axes[4].imshow(foreground - boundary > options.threshold, cmap="gray")
    axes[5].imshow(pixels, **_shown(pixels))
    outlines = np.ma.masked_equal(find_boundaries(objects, mode="inner"), False)
    axes[5].imshow(outlines, cmap="autumn", interpolation="nearest")
    titles = ("image", "foreground", "boundary", "foreground − boundary", f"> {options.threshold}", f"{count} nuclei")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title)
    _save(figure, "tutorial.png")


def _plan(model: Model) -> Plan:
    """The tiles that the program would use."""
    prepared = prepare(model.spec, IMAGE, {}, Options(tile=(TILE, TILE)))
    close(prepared)
    return prepared.plan


def _rectangle(spans: tuple[tuple[int, int], tuple[int, int]], **style: Any) -> Rectangle:
    (top, bottom), (left, right) = spans
    return Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **style)


def _kept(tile: Tile) -> tuple[tuple[int, int], tuple[int, int]]:
    (parts,) = tile.kept.values()
    return (parts["y"].start, parts["y"].stop), (parts["x"].start, parts["x"].stop)


def _draw_tiles(plan: Plan, pixels: Array) -> None:
    """Above, one tile in the image, and what is kept of all; below, the tiles of one row side by side."""
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(9, 9.7), layout="constrained", height_ratios=(4, 1.4), sharex=True
    )
    tiles = list(plan.tiles())
    above.imshow(pixels, alpha=0.75, **_shown(pixels))
    for tile in tiles:
        above.add_patch(_rectangle(_kept(tile), fill=False, edgecolor="white", linewidth=1))
    tile = tiles[_SHOWN]
    read = tile.read[plan.leading]
    spans = (read["y"], read["x"])
    above.add_patch(_rectangle(spans, facecolor=_ORANGE, alpha=0.45))
    above.add_patch(_rectangle(spans, fill=False, edgecolor=_ORANGE, linewidth=2, linestyle="--"))
    above.add_patch(_rectangle(_kept(tile), facecolor=_BLUE, alpha=0.75, edgecolor="white", linewidth=2))
    above.set_title(f"{len(tiles)} tiles of {TILE}×{TILE}, halo {plan.halo['x']}, of an image of 300×380 pixels")
    above.set_axis_off()
    (columns,) = (axis for axis in plan.axes if axis.letter == "x")
    (output,) = plan.outputs
    for number, (start, kept) in enumerate(zip(columns.starts, output.kept["x"], strict=True)):
        bar = {"height": 0.7, "edgecolor": "white"}
        below.barh(number, columns.tile, left=start, color=_ORANGE, alpha=0.45, hatch="///", **bar)
        below.barh(number, kept.stop - kept.start, left=kept.start, color=_BLUE, **bar)
        below.axvline(kept.start, color="gray", linewidth=0.8, zorder=0)
    below.axvline(pixels.shape[1], color="black", linestyle=":")
    below.set(yticks=range(len(columns.starts)), xlabel="x", ylabel="tile of a row", xlim=(0, columns.stop))
    below.invert_yaxis()
    below.spines[["top", "right"]].set_visible(False)
    _save(figure, "tiling.png")


if __name__ == "__main__":
    main()
