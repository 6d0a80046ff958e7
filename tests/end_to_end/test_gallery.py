"""The pictures of the gallery show what its commands make, and its models compute their published formulas."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.color import rgb2hed

from ..pages import DOCS, ROOT

IMAGES = DOCS / "images"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield importlib.import_module("make_gallery")


@pytest.fixture(scope="module")
def results(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the gallery were run."""
    folder = tmp_path_factory.mktemp("gallery")
    script.run_commands(folder)
    return folder


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), float)


def test_the_gallery_shows_what_its_commands_make(script: ModuleType, results: Path) -> None:
    files = sorted((IMAGES / "gallery").iterdir())
    page = (DOCS / "gallery.md").read_text()
    made = script.gallery(results)
    assert sorted(made) == [file.stem for file in files]
    assert len(made) == 6
    for file in files:
        assert f"(images/gallery/{file.name})" in page
        with Image.open(file) as shown:
            difference = np.abs(pixels(shown) - pixels(made[file.stem]))
        assert difference.mean() < 6, f"{file.name} is not what the command makes: run python scripts/make_gallery.py"
    assert sum(file.stat().st_size for file in files) < 1_500_000


def test_the_first_picture_moves_from_the_image_to_the_objects(script: ModuleType, results: Path) -> None:
    frames = [frame for frame, _ in script.moving_picture(results)]
    moving, still = IMAGES / "first.webp", IMAGES / "first-still.webp"
    assert moving.stat().st_size + still.stat().st_size < 1_000_000
    with Image.open(moving) as shown:
        assert getattr(shown, "n_frames", 1) == len(frames)
        for number in (0, len(frames) - 1):
            shown.seek(number)
            assert np.abs(pixels(shown) - pixels(frames[number])).mean() < 6
    with Image.open(still) as shown:
        assert np.abs(pixels(shown) - pixels(frames[-1])).mean() < 6
    page = (DOCS / "index.md").read_text()
    assert '<source media="(prefers-reduced-motion: reduce)" srcset="images/first-still.webp">' in page
    assert '<img src="images/first.webp"' in page


def test_the_stain_model_separates_stains_as_scikit_image_does(results: Path) -> None:
    stains = np.load(results / "gallery" / "tissue_stains.npy")[0]
    expected = rgb2hed(np.asarray(Image.open(results / "tissue.png")))[..., :2]
    np.testing.assert_allclose(stains.transpose(1, 2, 0), expected, atol=1e-5)


def test_the_denoising_model_comes_closer_to_the_image_without_noise(script: ModuleType, results: Path) -> None:
    _, truth = importlib.import_module("gallery_images").render_dim_filaments()
    noisy = tifffile.imread(results / "dim_filaments.tif")
    denoised = np.load(results / "gallery" / "dim_filaments_denoised.npy")[0, 0]
    before, after = (float(np.sqrt(np.mean((image - truth) ** 2))) for image in (noisy, denoised))
    assert f"from {before:.1f} to {after:.1f} counts" in (DOCS / "gallery.md").read_text()
    assert after < 0.6 * before
