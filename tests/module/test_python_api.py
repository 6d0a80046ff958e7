"""Arrays in and out of the Python interface: NumPy, xarray, layers for napari."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray

import bioimage_inference
from bioimage_inference import Model, Target, UsageError
from bioimage_inference.image.array_images import data_array_image
from bioimage_inference.image.image import PixelSize
from bioimage_inference.prediction import Output, Prediction

MICROMETRE = PixelSize(0.325, "µm")


@pytest.fixture(scope="module")
def model(test_data: Path) -> Iterator[Model]:
    with bioimage_inference.open_model(test_data / "demo-model.zip") as opened:
        yield opened


def labelled(image: Path, dims: tuple[str, ...]) -> xarray.DataArray:
    """The image with micrometres along y and x."""
    array = tifffile.imread(image)
    places = {
        name: (name, np.arange(size) * 0.325, {"units": "um"})
        for name, size in zip(dims, array.shape, strict=True)
        if name.lower() in "yx"
    }
    return xarray.DataArray(array, dims=dims, coords=places)


def test_an_array_and_its_file_give_the_same(model: Model, test_data: Path) -> None:
    of_file = bioimage_inference.predict(model, test_data / "nuclei_timeseries.tif").outputs["prediction"]
    of_array = bioimage_inference.predict(model, tifffile.imread(test_data / "nuclei_timeseries.tif"), axes="tyx")
    np.testing.assert_array_equal(of_array.outputs["prediction"].array, of_file.array)


def test_the_dimensions_of_a_data_array_are_its_axes(model: Model, test_data: Path) -> None:
    image = labelled(test_data / "nuclei_timeseries.tif", ("time", "Y", "x"))
    prediction = bioimage_inference.predict(model, image.transpose("x", "time", "Y"))
    entry = prediction.record["inputs"][0]
    assert (entry["axes"], entry["iterated_axes"], entry["axes_from"]) == ("xty", "t", "file")
    assert entry["pixel_size"]["x"] == {"value": 0.325, "unit": "µm"}
    expected = bioimage_inference.predict(model, test_data / "nuclei_timeseries.tif").outputs["prediction"]
    np.testing.assert_allclose(prediction.outputs["prediction"].array, expected.array, atol=1e-5)


def test_an_output_as_data_array_knows_channels_and_places(model: Model, test_data: Path) -> None:
    output = bioimage_inference.predict(model, test_data / "nuclei_timeseries.tif").outputs["prediction"]
    array = output.to_xarray()
    assert (array.dims, array.shape, array.name) == (("t", "c", "y", "x"), (3, 2, 112, 136), "prediction")
    assert array.sel(c="boundary", t=120.0).equals(array[2, 1])
    assert float(array.x[2]) == pytest.approx(0.65)
    assert array.x.attrs == {"units": "µm"}
    np.testing.assert_array_equal(array.values, output.array)


def test_a_data_array_goes_through_unharmed(test_data: Path) -> None:
    coordinates = {"channel": ["nuclei", "actin"], "z": ("z", [0.0, 2.0, 4.0], {"units": "micron"})}
    array = xarray.DataArray(
        np.arange(48.0).reshape(2, 3, 8), dims=("channel", "z", "x"), coords=coordinates, name="cells"
    )
    image = data_array_image(array)
    assert (image.name, image.axes, image.channel_names) == ("cells", "czx", ("nuclei", "actin"))
    assert dict(image.pixel_size) == {"z": PixelSize(2.0, "µm")}
    np.testing.assert_array_equal(image.read((slice(1, 2), slice(0, 3), slice(2, 4))), array.values[1:2, :, 2:4])


@pytest.mark.parametrize(
    ("places", "attributes"),
    [([0.0, 1.0, 3.0], {"units": "µm"}), ([0.0, 1.0, 2.0], {}), (["a", "b", "c"], {"units": "µm"})],
    ids=["uneven", "without unit", "texts"],
)
def test_what_tells_no_pixel_size(places: list[object], attributes: dict[str, str]) -> None:
    array = xarray.DataArray(np.zeros((3, 4)), dims=("y", "x"), coords={"y": ("y", places, attributes)})
    assert not data_array_image(array).pixel_size


def test_a_size_that_no_microscope_has_is_said_of_an_array_too() -> None:
    coordinates = {"x": ("x", [0.0, 3e-5, 6e-5], {"units": "µm"})}
    image = data_array_image(xarray.DataArray(np.zeros((4, 3)), dims=("y", "x"), coords=coordinates))
    assert "unusual pixel size (x 3e-05 µm)" in image.notes[0]


def test_dimensions_without_a_letter_are_worked_through_like_positions(model: Model) -> None:
    array = xarray.DataArray(np.random.default_rng(0).random((2, 64, 72)), dims=("well", "y", "x"))
    prediction = bioimage_inference.predict(model, array)
    assert prediction.outputs["prediction"].shape == (2, 2, 64, 72)
    assert "The dimension 'well' is treated like a series of positions." in prediction.record["notes"]


def test_axes_overrule_the_names_of_dimensions() -> None:
    array = xarray.DataArray(np.zeros((2, 64, 72)), dims=("well", "y", "x"))
    image = data_array_image(array, "tyx")
    assert (image.axes, image.axes_source, image.notes) == ("tyx", "user", ())
    with pytest.raises(UsageError, match="name 2 dimensions"):
        data_array_image(array, "yx")


def test_layers_are_one_for_each_channel_with_scale_and_units(model: Model, test_data: Path) -> None:
    prediction = bioimage_inference.predict(model, test_data / "nuclei_timeseries.tif")
    foreground, boundary = prediction.to_layers()
    array, arguments, kind = foreground
    assert kind == "image"
    assert arguments == {
        "name": "prediction: foreground",
        "scale": (60.0, 0.325, 0.325),
        "translate": (0.0, 0.0, 0.0),
        "units": ("s", "µm", "µm"),
        "axis_labels": ("t", "y", "x"),
        "blending": "additive",
    }
    np.testing.assert_array_equal(array, prediction.outputs["prediction"].array[:, 0])
    assert boundary[1]["name"] == "prediction: boundary"


def test_whole_numbers_are_labels() -> None:
    array = np.zeros((1, 1, 4, 5), np.uint16)
    size = {"x": MICROMETRE, "y": MICROMETRE}
    output = Output("cells", "bcyx", array.dtype, array.shape, array, (), "cyx", (1, 4, 5), size)
    ((layer, arguments, kind),) = Prediction({output.id: output}, {}).to_layers()
    assert (kind, layer.shape, arguments["name"], arguments["scale"]) == ("labels", (4, 5), "cells", (0.325, 0.325))
    assert "blending" not in arguments


def test_outputs_without_image_axes_are_no_layers() -> None:
    array = np.zeros((1, 7), np.float32)
    assert (
        Prediction(
            {"scores": Output("scores", "bc", array.dtype, array.shape, array, (), "c", (7,), {})}, {}
        ).to_layers()
        == []
    )


def test_an_array_that_was_not_kept_is_refused_in_words(model: Model, test_data: Path, tmp_path: Path) -> None:
    targets = {"prediction": Target(tiff=tmp_path / "prediction.tif")}
    prediction = bioimage_inference.predict(model, test_data / "nuclei.tif", targets=targets)
    with pytest.raises(UsageError, match=r"written without \.npy"):
        prediction.to_layers()


def test_files_need_no_xarray_to_be_imported() -> None:
    """Torch is left out by ``--help`` and ``--dry-run``; xarray comes with bioimageio.core at most."""
    code = "import sys, bioimage_inference.api; sys.exit('xarray' in sys.modules or 'napari' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
