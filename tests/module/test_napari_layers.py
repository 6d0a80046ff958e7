"""Layers of napari as images, and predictions in the place of their layers; without napari and Qt."""

from concurrent.futures import CancelledError
from pathlib import Path
from threading import Event
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
import zarr

import bioimage_inference
from bioimage_inference.image.image import PixelSize
from bioimage_inference.napari_plugin.layer_images import LayerState, layer_image, layer_state, likely_axes, placed
from bioimage_inference.napari_plugin.prediction_job import KeptModel, Request, answer

PIXELS = np.random.default_rng(0).integers(0, 999, (4, 64, 72)).astype("uint16")


def state(data: Any, ndim: int, **facts: Any) -> LayerState:
    """A layer as napari makes it without arguments, but for these facts."""
    defaults: dict[str, Any] = {
        "name": "cells",
        "is_rgb": False,
        "labels": tuple(f"axis {number - ndim}" for number in range(ndim)),
        "scale": (1.0,) * ndim,
        "translate": (0.0,) * ndim,
        "units": ("pixel",) * ndim,
        "affine": np.eye(ndim + 1),
        "rotate": np.eye(ndim),
        "shear": np.zeros(ndim * (ndim - 1) // 2),
    }
    return LayerState(data=data, **{**defaults, **facts})


class StandInLayer:
    """The attributes of napari's layers that a prediction reads."""

    name, rgb, multiscale = "cells", False, True
    axis_labels, units = ("y", "x"), ("micrometer", "micrometer")
    scale, translate, rotate, shear = np.array([2.0, 2.0]), np.zeros(2), np.eye(2), np.zeros(1)

    class affine:
        affine_matrix = np.eye(3)

    def __init__(self, levels: list[Any]) -> None:
        self.data = levels


@pytest.fixture
def demo(test_data: Path) -> Path:
    return test_data / "demo-model.zip"


def run(model: Path, layer: LayerState, **words: Any) -> Any:
    """The layers of a prediction, with all that is not their data by name."""
    kept = KeptModel()
    found = answer(Request(str(model), layer, **words), kept, lambda *_: None, Event())
    kept.close()
    return found


# Axes


@pytest.mark.parametrize(
    ("facts", "ndim", "axes"),
    [
        ({}, 2, "yx"),
        ({}, 3, ""),
        ({"labels": ("t", "Y", "X")}, 3, "tyx"),
        ({"labels": ("time", "depth", "height", "width")}, 4, "tzyx"),
        ({"labels": ("x", "x")}, 2, "yx"),
        ({"labels": ("well", "y", "x")}, 3, ""),
        ({"is_rgb": True}, 2, "yxc"),
        ({"is_rgb": True, "labels": ("z", "y", "x")}, 3, "zyxc"),
    ],
)
def test_axes_are_guessed_where_the_layer_tells_them(facts: dict[str, Any], ndim: int, axes: str) -> None:
    assert likely_axes(state(None, ndim, **facts)) == axes


# Images


def test_scale_and_units_are_the_pixel_size() -> None:
    layer = state(PIXELS, 3, scale=(2, 500, 0.3), translate=(0, 1000, 6), units=("minute", "nanometer", "micrometer"))
    image = layer_image(layer, "tyx")
    assert (image.name, image.axes) == ("cells", "tyx")
    assert image.pixel_size == {
        "t": PixelSize(120.0, "s"),
        "y": PixelSize(500.0, "nm", 1000.0),
        "x": PixelSize(0.3, "µm", 6.0),
    }


def test_pixels_are_no_unit_of_length() -> None:
    assert layer_image(state(PIXELS[0], 2, scale=(2, 2)), "yx").pixel_size["y"] == PixelSize(2.0, "pixel")


@pytest.mark.parametrize("library", ["dask", "zarr"])
def test_arrays_in_files_are_read_by_region(library: str) -> None:
    read: list[Any] = []

    def block(part: Any) -> Any:
        read.append(part.shape)
        return part

    if library == "dask":
        data = dask.array.from_array(PIXELS, chunks=(1, 64, 72)).map_blocks(block, meta=PIXELS[:0])
    else:
        data = zarr.create_array({}, data=PIXELS, chunks=(1, 64, 72))
    image = layer_image(state(data, 3), None)
    assert read == []
    assert image.piece == 64 * 72 * 2
    region = (slice(2, 3), slice(0, 9), slice(5, 9))
    np.testing.assert_array_equal(image.read(region), PIXELS[region])
    assert len(read) <= 1  # dask reads one chunk here


def test_the_full_resolution_of_a_pyramid_is_taken() -> None:
    layer: Any = StandInLayer([PIXELS[0], PIXELS[0, ::2, ::2]])
    found = layer_state(layer)
    assert found.data.shape == PIXELS[0].shape
    assert layer_image(found, "yx").pixel_size["x"] == PixelSize(2.0, "µm")


def test_axes_that_do_not_fit_name_the_layer() -> None:
    with pytest.raises(bioimage_inference.UsageError, match="but cells has the shape 4×64×72"):
        layer_image(state(PIXELS, 3), "yx")


# Places


def test_other_units_and_other_orders_stay(demo: Path) -> None:
    """The layer is xty in metres, rotated: its prediction is too."""
    turned = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    facts = {"scale": (1e-7, 3.0, 1e-7), "translate": (1e-6, 5, 0), "units": ("meter", "second", "meter")}
    layer = state(PIXELS.transpose(2, 0, 1), 3, labels=("x", "t", "y"), rotate=turned, **facts)
    found = run(demo, layer, axes="xty")
    (foreground, arguments, kind), _ = found.layers
    assert (kind, foreground.shape) == ("image", (72, 4, 64))
    assert {word: arguments[word] for word in facts} == facts
    assert arguments["axis_labels"] == ("x", "t", "y")
    np.testing.assert_array_equal(arguments["rotate"], turned)
    expected = bioimage_inference.predict(demo, PIXELS, axes="tyx").outputs["prediction"].array
    np.testing.assert_array_equal(foreground, expected[:, 0].transpose(2, 0, 1))


def test_axes_that_the_network_used_up_are_left_out_in_front_and_repeated_behind(demo: Path) -> None:
    channels = state(PIXELS[:3], 3, scale=(1, 0.5, 0.5))
    (layer, arguments, _), _ = run(demo, channels, axes="cyx", channels="1").layers
    assert (layer.shape, arguments["scale"]) == ((64, 72), (0.5, 0.5))
    between = state(np.stack([PIXELS, PIXELS], axis=1), 4, scale=(3, 1, 0.5, 0.5))
    (layer, arguments, _), _ = run(demo, between, axes="tcyx", channels="1").layers
    assert (layer.shape, arguments["scale"]) == ((4, 2, 64, 72), (3, 1, 0.5, 0.5))
    np.testing.assert_array_equal(layer[:, 0], layer[:, 1])


def test_an_axis_without_a_name_keeps_its_scale(demo: Path) -> None:
    found = run(demo, state(PIXELS, 3, scale=(7, 2, 2), translate=(4, 0, 0)))
    assert found.layers[0][1]["scale"] == (7, 2, 2)
    assert found.layers[0][1]["translate"] == (4, 0, 0)
    assert any("does not name its axes" in one for one in found.paragraphs)


def test_pixels_of_another_size_are_in_the_units_of_the_layer() -> None:
    layer = state(PIXELS[0], 2, scale=(0.5, 0.5), translate=(3, 0), units=("meter", "meter"))
    image = layer_image(layer, "yx")
    arguments = {"scale": (250e3, 250e3), "translate": (2.75e6, 0.0), "units": ("µm", "µm"), "axis_labels": ("y", "x")}
    _, moved, _ = placed((np.zeros((128, 144)), arguments, "image"), layer, image, "yx")
    assert moved["scale"] == pytest.approx((0.25, 0.25))
    assert moved["translate"] == pytest.approx((2.75, 0.0))
    assert moved["units"] == ("meter", "meter")


def test_colours_are_channels_and_transparency_is_left_out(test_data: Path) -> None:
    from imageio.v3 import imread

    picture = imread(test_data / "tissue.png")[:96, :96, :3]
    opaque = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    stains = test_data / "stain-model.zip"
    three, four = (run(stains, state(data, 2, is_rgb=True), axes="yxc") for data in (picture, opaque))
    assert three.problem is None
    np.testing.assert_array_equal(three.layers[0][0], four.layers[0][0])
    assert any("transparency" in one for one in four.paragraphs)


# Answers


def test_errors_are_answers_and_bugs_are_raised(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run(demo, state(PIXELS[:3], 3), axes="cyx")
    assert refused.problem.startswith("cells does not fit the model: the image has 3 channels.")
    assert refused.layers == ()
    monkeypatch.setattr("bioimage_inference.napari_plugin.prediction_job.layer_image", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(demo, state(PIXELS[0], 2))


def test_probabilities_stay_where_no_objects_can_be_found(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise bioimage_inference.ImageError("no objects")

    monkeypatch.setattr("bioimage_inference.napari_plugin.prediction_job.segment", refuse)
    found = run(demo, state(PIXELS[0], 2), axes="yx", find_objects=True)
    assert (found.problem, len(found.layers)) == ("no objects", 2)


def test_a_model_without_boundaries_gives_objects(test_data: Path) -> None:
    nuclei = tifffile.imread(test_data / "nuclei.tif")[:64, :64]
    found = run(test_data / "denoising-model.zip", state(nuclei, 2), axes="yx", find_objects=True)
    assert found.problem is None
    assert [kind for *_, kind in found.layers] == ["image", "labels"]


def test_a_cancelled_prediction_adds_nothing(demo: Path) -> None:
    cancel, kept = Event(), KeptModel()

    def stage(words: str, *_: int) -> None:
        if words == "Predicting":
            cancel.set()

    found = answer(Request(str(demo), state(PIXELS[0], 2), "yx"), kept, stage, cancel)
    assert (found.layers, found.problem) == ((), None)
    assert found.paragraphs == ("Cancelled. Nothing was added.",)
    kept.close()


def test_the_model_stays_loaded_until_another_is_asked_for(
    demo: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bioimage_inference.Model] = []

    def watched(name: str) -> bioimage_inference.Model:
        opened.append(bioimage_inference.load_model(name))
        return opened[-1]

    monkeypatch.setattr("bioimage_inference.napari_plugin.prediction_job.load_model", watched)
    kept, layer = KeptModel(), state(PIXELS[0], 2)
    for model in (demo, demo, test_data / "denoising-model.zip"):
        assert answer(Request(str(model), layer, "yx"), kept, lambda *_: None, Event()).problem is None
    assert [one.is_open for one in opened] == [False, True]
    kept.close()
    assert [one.is_open for one in opened] == [False, False]


def test_a_model_that_is_used_is_closed_afterwards(demo: Path) -> None:
    kept = KeptModel()
    with kept.opened(str(demo)) as model:
        kept.close()
        assert model.is_open
    assert not model.is_open
    with pytest.raises(CancelledError), kept.opened(str(demo)):
        pass
