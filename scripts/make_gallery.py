"""Draws the pictures of docs/gallery.md, and the moving picture of the first page, from the commands of the gallery.

python scripts/make_gallery.py
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from gallery_images import EOSIN, HEMATOXYLIN
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from bioimage_inference.cli import main as program

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
_PAGE = ROOT / "docs" / "gallery.md"
_FOREGROUND, _BOUNDARY = (0.0, 0.55, 0.85), (1.0, 0.65, 0.1)
"""Blue and orange differ for any colour vision."""
_PART = np.s_[60:220, 30:230]
"""Part of the restored image that is shown, so that its noise is visible."""
_GAP = 4
"""White pixels between panels."""
_STEPS = 12
"""Frames in which one picture of the moving picture becomes the next."""
_HOLD, _MOVE = 1400, 70
"""Milliseconds that a whole picture and a frame in between are shown."""
Array = NDArray[Any]
Picture = NDArray[np.float64]
"""YXC, red, green and blue from 0 to 1."""


def main() -> None:
    """Draw all of them."""
    (IMAGES / "gallery").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run_commands(Path(folder))
        for name, picture in gallery(Path(folder)).items():
            picture.save(IMAGES / "gallery" / f"{name}.webp", quality=82, method=6)
        frames, durations = zip(*moving_picture(Path(folder)), strict=True)
    frames[-1].save(IMAGES / "first-still.webp", quality=82, method=6)
    frames[0].save(
        IMAGES / "first.webp",
        save_all=True,
        append_images=frames[1:],
        duration=list(durations),
        loop=0,
        quality=70,
        method=6,
    )


def run_commands(folder: Path) -> None:
    """Run the commands of the gallery in `folder`, with the test data beside them. RuntimeError if one fails."""
    for file in (ROOT / "test-data").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    with contextlib.chdir(folder):
        for command in re.findall(r"^\$ bioimage-inference (.*)$", _PAGE.read_text(), re.MULTILINE):
            if program(shlex.split(command)):
                raise RuntimeError(f"bioimage-inference {command} failed; its message stands above")


def gallery(folder: Path) -> dict[str, Image.Image]:
    """Return the pictures by name, from the files that the commands wrote into `folder`."""
    results = folder / "gallery"
    nuclei = tifffile.imread(folder / "nuclei.tif")
    series = tifffile.imread(folder / "nuclei_timeseries.tif")
    probabilities = np.load(results / "nuclei_timeseries_prediction.npy")
    dim, denoised = tifffile.imread(folder / "dim_filaments.tif"), np.load(results / "dim_filaments_denoised.npy")[0, 0]
    tissue = np.asarray(Image.open(folder / "tissue.png")) / 255
    stains = np.load(results / "tissue_stains.npy")[0]
    labels = tifffile.imread(folder / "objects" / "nuclei_labels.tif")
    stack, inside = tifffile.imread(folder / "nuclei_3d.tif"), np.load(results / "nuclei_3d_prediction.npy")[0, 0]
    limits = _limits(denoised)
    return {
        "nuclei-2d": _enlarged(_row(_grey(nuclei), _probabilities(*np.load(results / "nuclei_prediction.npy")[0])), 1),
        "nuclei-3d": _enlarged(
            _row(_column(*map(_grey, _sections(stack))), _column(*map(_probabilities, _sections(inside)))), 3
        ),
        "time-series": _enlarged(
            _column(_row(*map(_grey, series)), _row(*(_probabilities(*one) for one in probabilities))), 2
        ),
        "rgb": _enlarged(_row(tissue, _stained(stains[0], HEMATOXYLIN), _stained(stains[1], EOSIN)), 1),
        "restoration": _enlarged(_row(_grey(dim[_PART], limits), _grey(denoised[_PART], limits)), 2),
        "objects": _enlarged(_row(_grey(nuclei), _coloured(nuclei, labels)), 1),
    }


def moving_picture(folder: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield the frames from image to objects and the milliseconds of each; a border sweeps from left to right."""
    nuclei = tifffile.imread(folder / "nuclei.tif")
    labels = tifffile.imread(folder / "objects" / "nuclei_labels.tif")
    stages = (
        ("1  Your image", _grey(nuclei)),
        ("2  Probabilities of a model", _probabilities(*np.load(folder / "gallery" / "nuclei_prediction.npy")[0])),
        (f"3  {labels.max()} objects, counted and measured", _coloured(nuclei, labels)),
    )
    for number, (words, picture) in enumerate(stages):
        if number:
            earlier = stages[number - 1][1]
            for step in range(1, _STEPS):
                border = step * picture.shape[1] // _STEPS
                mixed = np.concatenate([picture[:, :border], earlier[:, border:]], axis=1)
                mixed[:, border - 1 : border + 1] = 1
                yield _titled(mixed, words), _MOVE
        yield _titled(picture, words), _HOLD


def _limits(pixels: Array) -> tuple[float, float]:
    low, high = np.percentile(pixels, [0.5, 99.8])
    return float(low), float(high)


def _grey(pixels: Array, limits: tuple[float, float] | None = None) -> Picture:
    """Show an image; its darkest and brightest pixels are cut off."""
    low, high = limits or _limits(pixels)
    grey = np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    return np.repeat(grey[..., None], 3, axis=-1)


def _probabilities(foreground: Array, boundary: Array | None = None) -> Picture:
    """Show foreground in blue and boundary, over it, in orange."""
    picture = foreground[..., None] * np.asarray(_FOREGROUND)
    if boundary is not None:
        picture = picture * (1 - boundary[..., None]) + boundary[..., None] * np.asarray(_BOUNDARY)
    return np.asarray(np.clip(picture, 0, 1))


def _stained(amount: Array, absorbance: tuple[float, float, float]) -> Picture:
    """Show the section with this stain alone. The unit of the model's output is an absorbance of 6."""
    return np.asarray(10.0 ** (-6 * amount[..., None] * np.asarray(absorbance)))


def _coloured(pixels: Array, labels: Array) -> Picture:
    """Show every object in a colour of its own over the image; neighbouring numbers get distant hues."""
    hues = np.arange(labels.max() + 1) * 0.618034 % 1  # the golden ratio spreads any number of hues evenly
    palette = 0.6 + 0.4 * np.cos(2 * np.pi * (hues[:, None] + np.array([0, 1 / 3, 2 / 3])))
    opacity = np.where(labels > 0, 0.6, 0)[..., None]
    picture: Picture = _grey(pixels) * (1 - opacity) + palette[labels] * opacity
    picture[find_boundaries(labels, mode="inner")] = 1
    return picture


def _sections(stack: Array) -> tuple[Array, Array]:
    """Return the middle plane, and the middle section along z; a plane of 1 µm is as thick as 3 pixels of 0.325 µm."""
    return stack[len(stack) // 2], stack[:, stack.shape[1] // 2].repeat(3, axis=0)


def _row(*panels: Picture) -> Picture:
    gap = np.ones((len(panels[0]), _GAP, 3))
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)


def _column(*panels: Picture) -> Picture:
    gap = np.ones((_GAP, panels[0].shape[1], 3))
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:])


def _enlarged(picture: Picture, times: int) -> Image.Image:
    image = Image.fromarray((picture * 255).round().astype(np.uint8))
    return image.resize((image.width * times, image.height * times), Image.Resampling.BICUBIC)


def _titled(picture: Picture, words: str) -> Image.Image:
    """Enlarge the picture and write the words below it."""
    image = _enlarged(picture, 2)
    below = Image.new("RGB", (image.width, image.height + 56), "#12343b")
    below.paste(image)
    place = (20, image.height + 28)
    ImageDraw.Draw(below).text(place, words, "white", ImageFont.load_default(28), anchor="lm")
    return below


if __name__ == "__main__":
    main()
