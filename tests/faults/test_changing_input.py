"""Images and models that change, shrink or vanish while they are read are an error, and nothing is written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import bioimage_inference
from bioimage_inference.api import open_model
from bioimage_inference.errors import ImageError, ModelError
from tests import models

PIXELS = np.random.default_rng(0).integers(0, 255, (400, 300), "uint8")


def rewritten(path: Path) -> None:
    """The same number of other bytes in the same file, as a program that goes on writing leaves it."""
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(content) - 40_000)
        file.write(bytes(20_000))


def cut(path: Path) -> None:
    os.truncate(path, 60_000)


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(bytes(len(path.read_bytes())))
    new.replace(path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_model(tmp_path / "model", models.Identity(), *models.simple_tensors())


def after_some_tiles(path: Path, what: Callable[[Path], None]) -> Callable[[int, int], None]:
    """Progress of a run that does something to its input in the middle."""

    def progress(done: int, total: int) -> None:
        if done == total // 3:
            what(path)

    return progress


@pytest.fixture(params=["npy", "tif", "compressed"])
def image(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image that is read tile by tile."""
    monkeypatch.setattr("bioimage_inference.inference.sample_reader._KEEP_BYTES", 0)
    monkeypatch.setattr("bioimage_inference.image.readers.tiff_pages._CACHE_BYTES", 0)
    path = tmp_path / "image"
    if request.param == "npy":
        np.save(tmp_path / "image.npy", PIXELS)
        (tmp_path / "image.npy").rename(path)
    else:
        more: dict[str, Any] = {"compression": "zlib", "rowsperstrip": 8} if request.param == "compressed" else {}
        tifffile.imwrite(path, PIXELS, **more)
    return path


@pytest.mark.parametrize("change", [rewritten, cut, deleted, replaced])
def test_an_image_that_changes_while_it_is_read_is_an_error(
    model: Path, image: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    target = {"out": bioimage_inference.Target(tiff=tmp_path / "o.tif")}
    with pytest.raises(ImageError, match=r"changed while|truncated|damaged|cannot be read"):
        bioimage_inference.predict(
            model, image, axes="yx", tile=(32, 32), targets=target, progress=after_some_tiles(image, change)
        )
    assert not (tmp_path / "o.tif").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_weights_that_vanish_before_they_are_loaded(model: Path) -> None:
    with open_model(model) as opened:
        model.with_name("weights.pt").unlink()
        with pytest.raises(ModelError, match="missing"):
            bioimage_inference.predict(opened, PIXELS, axes="yx")
