"""What the existing Galaxy tool (2.4.1+galaxy3) does to its users does not happen here."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import bioimage_inference
from bioimage_inference.cli import main
from tests import models


@pytest.fixture
def model(test_data: Path) -> str:
    return str(test_data / "demo-model.zip")


def test_the_normalisation_of_the_description_is_applied(model: str, test_data: Path) -> None:
    """Brightness and contrast of the microscope do not matter to a model that normalises."""
    image = tifffile.imread(test_data / "nuclei.tif").astype("float32")
    plain = bioimage_inference.predict(model, image, axes="yx").outputs["prediction"].array
    bright = bioimage_inference.predict(model, 3 * image + 500, axes="yx").outputs["prediction"].array
    assert plain is not None
    assert bright is not None
    np.testing.assert_allclose(plain, bright, atol=1e-3)


def test_nobody_types_size_or_axes(model: str, test_data: Path, tmp_path: Path) -> None:
    assert main(["predict", model, str(test_data / "nuclei.png"), "-o", str(tmp_path)]) == 0


@pytest.mark.parametrize("shape", [(64, 64), (300, 417), (1024, 70), (31, 33)])
def test_2d_images_of_any_size_run(model: str, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, shape, "uint8")
    array = bioimage_inference.predict(model, image, axes="yx").outputs["prediction"].array
    assert array is not None
    assert array.shape == (1, 2, *shape)


def test_3d_images_are_not_resampled(test_data: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (13, 50, 61), "uint16")
    prediction = bioimage_inference.predict(test_data / "demo-model-3d", image, axes="zyx")
    assert prediction.outputs["prediction"].shape == (1, 1, *image.shape)


def test_images_that_are_not_square_are_not_transposed(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors()
    path = models.write_model(tmp_path, models.Identity(), inputs, outputs)
    image = np.arange(20 * 50, dtype="float32").reshape(20, 50)
    array = bioimage_inference.predict(path, image, axes="yx").outputs["out"].array
    assert array is not None
    np.testing.assert_array_equal(array[0, 0], image)


def test_large_images_are_tiled_with_the_halo(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "large.npy", np.zeros((900, 900), "uint8"))
    arguments = ["predict", model, str(tmp_path / "large.npy"), "-o", str(tmp_path), "--tile", "256x256", "--json"]
    assert main(arguments) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["tiles"] > 9
    assert plan["halo"] == {"y": 24, "x": 24}


def test_the_output_has_axes_and_pixel_size(model: str, test_data: Path, tmp_path: Path) -> None:
    image = str(test_data / "nuclei.tif")
    assert main(["predict", model, image, "-o", str(tmp_path), "--tiff-layout", "labelled"]) == 0
    with tifffile.TiffFile(tmp_path / "nuclei_prediction.tif") as tif:
        assert tif.series[0].axes == "CYX"
        numerator, denominator = tif.pages.first.tags["XResolution"].value
        assert denominator / numerator == pytest.approx(0.325, rel=1e-4)


def test_torchscript_of_today_loads(model: str, test_data: Path) -> None:
    """torch >= 2.6 no longer unpickles by default; TorchScript is loaded as what it is."""
    prediction = bioimage_inference.predict(model, test_data / "nuclei.png")
    assert prediction.record["weights"]["format"] == "torchscript"


def test_the_device_is_chosen_and_told(model: str, test_data: Path) -> None:
    reason = bioimage_inference.predict(model, test_data / "nuclei.png").record["device"]["reason"]
    assert reason.startswith(("CPU, because", "GPU"))
