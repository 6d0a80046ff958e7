"""Draws the pictures in the help of the Galaxy tools.

python tools/make_help_pictures.py
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import NDArray
from PIL import Image
from skimage.color import label2rgb
from skimage.measure import label
from skimage.segmentation import find_boundaries

from bioimage_inference import predict
from bioimage_inference.segmentation.segmenting import SegmentFiles, SegmentOptions, segment_file

HERE = Path(__file__).parent
SOURCE = HERE.parent / "test-data"
TARGET = HERE / "bioimage_inference" / "static" / "images"
WIDTH = 8.6
"""Inches; a hundred pixels each."""

INK, SHADE, BLUE, ORANGE = "#2c3143", "#eef1f5", "#0b7a9b", "#c96f0a"
FOREGROUND = LinearSegmentedColormap.from_list("foreground", ["#06090f", "#0b7a9b", "#d8f4fb"])
BOUNDARY = LinearSegmentedColormap.from_list("boundary", ["#0f0a06", "#c96f0a", "#ffeccf"])


def main() -> None:
    """Draw all pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    image = tifffile.imread(SOURCE / "nuclei.tif").astype(np.float32)
    prediction = predict(SOURCE / "demo-model.zip", SOURCE / "nuclei.tif").outputs["prediction"].array
    assert prediction is not None
    draw_prediction(image, prediction[0])
    draw_objects(image, prediction[0])
    draw_files()
    draw_tiles(image)


def draw_prediction(image: NDArray[Any], prediction: NDArray[Any]) -> None:
    """What goes in, what comes out, and what the next tools make of it."""
    part = np.s_[40:200, 60:220]
    foreground, boundary = prediction[0][part], prediction[1][part]
    nuclei = label(foreground - boundary > 0.6)
    grey = np.clip((image[part] - image.min()) / (np.percentile(image, 99.7) - image.min()), 0, 1)
    outlined = np.repeat(grey[..., None], 3, axis=-1)
    outlined[find_boundaries(nuclei, mode="inner")] = (1, 0.35, 0.2)
    figure = Figure(figsize=(WIDTH, 2.75))
    panels: tuple[tuple[NDArray[Any], Any, str], ...] = (
        (grey, "gray", "Your image"),
        (foreground, FOREGROUND, "Page 1: foreground"),
        (boundary, BOUNDARY, "Page 2: boundaries"),
        (outlined, None, f"Then: {nuclei.max()} nuclei, labelled"),
    )
    for number, (picture, colours, title) in enumerate(panels):
        axes = figure.add_axes((0.005 + number * 0.2517, 0.01, 0.24, 0.86))
        axes.imshow(picture, cmap=colours, vmin=0, vmax=1, interpolation="bilinear")
        axes.set_title(title, fontsize=10, color=INK, pad=5)
        axes.set_axis_off()
    save(figure, "prediction.png")


def draw_objects(image: NDArray[Any], prediction: NDArray[Any]) -> None:
    """What the tool that finds objects takes and gives, and a part of its table."""
    labels, table = find_objects(prediction)
    part = np.s_[40:200, 60:220]
    grey = np.clip((image - image.min()) / (np.percentile(image, 99.7) - image.min()), 0, 1)
    outlined = np.repeat(grey[..., None], 3, axis=-1)
    outlined[find_boundaries(labels, mode="inner")] = (1, 0.69, 0)
    figure = Figure(figsize=(WIDTH, 2.75))
    panels = (
        ((prediction[0] - prediction[1])[part], "gray", "foreground - boundary"),
        (label2rgb(labels, colors=colormaps["tab20"].colors)[part], None, "Label map"),
        (outlined[part], None, "Outlines of objects"),
    )
    for number, (picture, colours, title) in enumerate(panels):
        axes = figure.add_axes((0.005 + number * 0.2517, 0.01, 0.24, 0.86))
        axes.imshow(picture, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=10, color=INK, pad=5)
        axes.set_axis_off()
    words = figure.add_axes((0.765, 0.01, 0.23, 0.86), xlim=(0, 1), ylim=(0, 1))
    words.set_title("Table of objects", fontsize=10, color=INK, pad=5)
    words.set_axis_off()
    shown = ("label", "area_um2", "mean_intensity")
    rows = [("label", "area µm²", "brightness")]
    rows += [(row[shown[0]], *(f"{float(row[name]):.0f}" for name in shown[1:])) for row in table[:7]]
    for line, row in enumerate([*rows, ("…", "…", "…")]):
        for place, text in zip((0.22, 0.58, 1), row, strict=True):
            weight = "bold" if line == 0 else "normal"
            words.text(place, 0.95 - line * 0.105, text, ha="right", fontsize=8.6, color=INK, weight=weight)
    save(figure, "objects.png")


def find_objects(prediction: NDArray[Any]) -> tuple[NDArray[Any], list[dict[str, str]]]:
    """The label map and the rows of the table, as the tool gives them for the image of nuclei."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "prediction.npy", prediction)
        files = SegmentFiles(folder / "labels.tif", folder / "objects.csv")
        segment_file(folder / "prediction.npy", files, SegmentOptions(axes="cyx"), SOURCE / "nuclei.tif")
        with (folder / "objects.csv").open(encoding="utf-8") as stream:
            return tifffile.imread(folder / "labels.tif"), list(csv.DictReader(stream))


def draw_files() -> None:
    """Which files the tool takes and gives."""
    figure = Figure(figsize=(WIDTH, 2.6))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 86), ylim=(0, 26))
    axes.set_axis_off()
    box(axes, (1, 14.5), 22, 10, "Model", "a package (.zip) from bioimage.io,\nor a model of this server", INK)
    box(axes, (1, 1.5), 22, 10, "Image", "TIFF, OME-TIFF, PNG, JPEG,\nnpy or OME-Zarr, of any size", INK)
    box(axes, (34, 8), 18, 10, "This tool", "axes, normalisation, tiles:\nas the model describes", BLUE)
    box(axes, (63, 14.5), 22, 10, "Predicted image", "TIFF: each output channel\na page, values as they are", INK)
    box(axes, (63, 1.5), 22, 10, "Predicted image tensor", "npy: the same numbers\nfor Python", INK)
    for start, end in (((23.5, 19.5), (33.5, 14.5)), ((23.5, 6.5), (33.5, 11.5)),
                       ((52.5, 14.5), (62.5, 19.5)), ((52.5, 11.5), (62.5, 6.5))):  # fmt: skip
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=INK, linewidth=1.3))
    save(figure, "files.png")


def box(axes: Any, corner: tuple[float, float], width: float, height: float, title: str, text: str, edge: str) -> None:
    """A box with a title and two lines."""
    shape = FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=1.2")
    shape.set(facecolor=SHADE, edgecolor=edge, linewidth=1.3)
    axes.add_patch(shape)
    middle = corner[0] + width / 2
    axes.text(middle, corner[1] + height - 2.6, title, ha="center", va="center", fontsize=10, weight="bold", color=edge)
    axes.text(middle, corner[1] + 3.4, text, ha="center", va="center", fontsize=8.3, color=INK)


def draw_tiles(image: NDArray[Any]) -> None:
    """A large image is cut into tiles that overlap; what is kept of each fits together without seams."""
    figure = Figure(figsize=(WIDTH, 2.75))
    bright = np.clip((image - image.min()) / (np.percentile(image, 99.7) - image.min()), 0, 1)
    height, width = image.shape
    axes = figure.add_axes((0.005, 0.02, 0.40, 0.95))
    axes.imshow(bright, cmap="gray")
    step, halo = (100, 95), 24
    for row in range(height // step[0]):
        for column in range(width // step[1]):
            corner = (column * step[1], row * step[0])
            axes.add_patch(Rectangle(corner, step[1], step[0], fill=False, edgecolor="white", linewidth=0.8))
    x, y = step[1], step[0]
    seen = (x - halo, y - halo), step[1] + 2 * halo, step[0] + 2 * halo
    axes.add_patch(Rectangle(*seen, facecolor=ORANGE, alpha=0.35))
    axes.add_patch(Rectangle(*seen, fill=False, edgecolor=ORANGE, linewidth=1.8))
    axes.add_patch(Rectangle((x, y), step[1], step[0], facecolor=BLUE, alpha=0.45, edgecolor="white", linewidth=1.8))
    axes.set_axis_off()
    words = figure.add_axes((0.43, 0, 0.56, 1), xlim=(0, 1), ylim=(0, 1))
    words.set_axis_off()
    lines = (
        (0.80, INK, "bold", "Images larger than the memory are cut into tiles."),
        (0.60, ORANGE, "normal", "The network sees each tile with its surroundings (the halo) …"),
        (0.46, BLUE, "normal", "… and only the middle is kept, so that no seams are left."),
        (0.30, INK, "normal", "Images smaller than the model takes are padded, and the output"),
        (0.21, INK, "normal", "is cut back. Nothing is resampled unless you ask for it."),
    )
    for place, colour, weight, text in lines:
        words.text(0, place, text, color=colour, weight=weight, fontsize=9.6, va="center")
    save(figure, "tiles.png")


def save(figure: Figure, name: str) -> None:
    """As a PNG of few colours, small enough for a help page."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=200, format="png")
    picture = Image.open(drawn).convert("RGB")
    picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    picture.quantize(192, dither=Image.Dither.NONE).save(TARGET / name, optimize=True)


if __name__ == "__main__":
    main()
