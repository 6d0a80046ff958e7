"""The engine with networks of our own in the place of a real one."""

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bioimage_inference
from bioimage_inference.errors import ModelError, OutOfMemoryError
from bioimage_inference.network.device import Device
from bioimage_inference.network.network import Engine
from bioimage_inference.network.torch_network import TorchNetwork
from tests import models

Array = np.ndarray[Any, Any]


class Fake:
    """Stands for a network: calls a function on the first input, and remembers the shapes that it saw."""

    engine = Engine("torch", "as asked")

    def __init__(self, function: Any = lambda array: array) -> None:
        self.function = function
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array]:
        assert inputs[0] is not None
        self.shapes.append(inputs[0].shape)
        return [self.function(inputs[0])]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    inputs, outputs = models.simple_tensors(size={"min": 16, "step": 4}, halo=4)
    return models.write_model(tmp_path, models.Identity(), inputs, outputs)


def predict_with(network: Fake, model: Path, **words: Any) -> bioimage_inference.Prediction:
    """Predict the image with a network in place of the model's own."""
    with bioimage_inference.open_model(model, network=network) as opened:
        return opened.predict(IMAGE, axes="yx", **words)


IMAGE = np.random.default_rng(0).normal(size=(100, 120)).astype("float32")


def test_every_tile_has_the_same_shape(model: Path) -> None:
    fake = Fake()
    result = predict_with(fake, model, tile=(32, 40)).outputs["out"].array
    np.testing.assert_array_equal(result[0, 0], IMAGE)
    assert set(fake.shapes) == {(1, 1, 32, 40)}


def test_tiles_shrink_where_they_do_not_fit_and_the_result_is_the_same(model: Path) -> None:
    def limited(array: Array) -> Array:
        if array.size > 2000:
            raise OutOfMemoryError("too large")
        return array

    fake = Fake(limited)
    prediction = predict_with(fake, model)
    np.testing.assert_array_equal(prediction.outputs["out"].array[0, 0], IMAGE)  # type: ignore[index]
    assert np.prod(fake.shapes[-1]) <= 2000
    assert any("did not fit into memory" in note for note in prediction.record["notes"])


class Unwritable(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of which no part can be taken: the thread that writes has no memory left."""

    def __getitem__(self, part: Any) -> Any:
        raise MemoryError


class OnDisk:
    """An image that is read by region; there is no memory for a large region once ``full`` returns true."""

    shape, dtype, ndim = (100, 120), np.dtype("float32"), 2

    def __init__(self, full: Callable[[], bool]) -> None:
        self.full = full

    def __getitem__(self, region: Any) -> Array:
        if self.full() and IMAGE[region].size > 2000:
            raise MemoryError
        return IMAGE[region]


@pytest.mark.parametrize("place", ["reader", "network", "writer"])
def test_a_tile_that_did_not_fit_holds_no_memory_any_more(model: Path, place: str) -> None:
    held: list[weakref.ref[Array]] = []

    def limited(array: Array) -> Array:
        if array.size <= 2000:
            assert [one for one in held if one() is not None] == []
            return array
        if place == "network" and held:
            raise OutOfMemoryError("too large")
        computed = array.copy()
        held.append(weakref.ref(computed))
        return computed.view(Unwritable) if place == "writer" else computed

    image = OnDisk(lambda: place == "reader" and bool(held))
    gc.disable()  # it would free the arrays now and then
    try:
        with bioimage_inference.open_model(model, network=Fake(limited)) as opened:
            prediction = opened.predict(image, axes="yx", tile=(64, 64))
    finally:
        gc.enable()
    assert held
    np.testing.assert_array_equal(prediction.outputs["out"].array[0, 0], IMAGE)  # type: ignore[index]


class TooLarge(torch.nn.Module):
    """There is no memory for its result."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.empty(1 << 60)


@pytest.mark.parametrize("scripted", [False, True])
def test_a_network_that_ran_out_of_memory_holds_no_array_any_more(scripted: bool) -> None:
    """Not even those of the functions that called it."""
    network = TorchNetwork(torch.jit.script(TooLarge()) if scripted else TooLarge(), Device("cpu", ""))

    def call() -> "weakref.ref[Array]":
        before = np.zeros((1, 1, 8, 8), "float32")
        with pytest.raises(OutOfMemoryError):
            network([before])
        return weakref.ref(before)

    gc.disable()
    try:
        assert call()() is None
    finally:
        gc.enable()


def test_where_not_even_the_smallest_tile_fits(model: Path) -> None:
    def never(array: Array) -> Array:
        raise OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError):
        predict_with(Fake(never), model)


@pytest.mark.parametrize("wrong", [lambda a: a[..., 1:], lambda a: a[0], lambda a: np.repeat(a, 2, axis=1)])
def test_a_network_that_returns_another_shape(model: Path, wrong: Any) -> None:
    with pytest.raises(ModelError, match="but its description promises"):
        predict_with(Fake(wrong), model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_from_the_network_is_kept_and_told(model: Path, value: float) -> None:
    def broken(array: Array) -> Array:
        result = array.copy()
        result[..., 20:, 20] = value
        return result

    prediction = predict_with(Fake(broken), model, tile=(32, 40))
    result = prediction.outputs["out"].array
    assert result is not None
    assert not np.isfinite(result).all()
    assert sum("'out' holds values that are infinite or not" in note for note in prediction.record["notes"]) == 1


class Doubling(torch.nn.Module):
    """A network that computes in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(2.0)
        return x


@pytest.mark.parametrize("tile", [None, (32, 120)])
def test_a_network_that_computes_in_place_changes_nothing_else(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    inputs, outputs = models.simple_tensors(halo=4)
    path = models.write_model(tmp_path, Doubling(), inputs, outputs)
    image = IMAGE.copy()
    result = bioimage_inference.predict(path, image, axes="yx", tile=tile).outputs["out"].array
    np.testing.assert_array_equal(result[0, 0], 2 * IMAGE)  # type: ignore[index]
    np.testing.assert_array_equal(image, IMAGE)


def test_finite_numbers_are_not_remarked_on(model: Path) -> None:
    assert not any("NaN" in note for note in predict_with(Fake(), model).record["notes"])


def declares_uint8(folder: Path, last: str) -> Path:
    steps = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "uint8"}},
        {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}},
        {"id": "ensure_dtype", "kwargs": {"dtype": last}},
    ]
    inputs, outputs = models.simple_tensors(preprocessing=steps)
    inputs[0]["data"] = {"type": "uint8"}
    return models.write_model(folder, models.Identity(), inputs, outputs)


@pytest.mark.parametrize("image", [(1000 * np.abs(IMAGE)).astype("uint16"), np.abs(IMAGE) / 5])
def test_an_image_beyond_the_declared_type_is_neither_wrapped_nor_cut_off(tmp_path: Path, image: Array) -> None:
    prediction = bioimage_inference.predict(declares_uint8(tmp_path, "float32"), image, axes="yx")
    exact = image.astype("float64")
    expected = (exact - exact.mean()) / exact.std()
    np.testing.assert_allclose(prediction.outputs["out"].array[0, 0], expected, atol=1e-4)  # type: ignore[index]
    assert any("the model declares" in note for note in prediction.record["notes"])


def test_a_time_series_normalises_every_frame_by_itself(tmp_path: Path) -> None:
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}]
    inputs, outputs = models.simple_tensors(preprocessing=steps)
    path = models.write_model(tmp_path, models.Identity(), inputs, outputs)
    series = np.stack([IMAGE, 5 * IMAGE + 3])
    result = bioimage_inference.predict(path, series, axes="tyx").outputs["out"].array
    assert result is not None
    assert result.shape == (2, 1, 100, 120)
    np.testing.assert_allclose(result[0], result[1], atol=1e-4)


def test_statistics_of_the_whole_dataset_are_those_of_all_frames(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors(preprocessing=[{"id": "zero_mean_unit_variance", "kwargs": {"axes": None}}])
    path = models.write_model(tmp_path, models.Identity(), inputs, outputs)
    series = np.stack([IMAGE, 5 * IMAGE + 3])
    result = bioimage_inference.predict(path, series, axes="tyx").outputs["out"].array
    np.testing.assert_allclose(result[:, 0], (series - series.mean()) / series.std(), atol=1e-4)  # type: ignore[index]


def test_statistics_of_single_pixels_are_those_of_the_same_pixel_in_a_padded_image(tmp_path: Path) -> None:
    steps = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": ["batch"]}}]
    inputs, outputs = models.simple_tensors(preprocessing=steps)
    path = models.write_model(tmp_path, models.Identity(), inputs, outputs)
    result = bioimage_inference.predict(path, IMAGE[:, :118], axes="yx").outputs["out"].array
    np.testing.assert_array_equal(result, np.zeros((1, 1, *IMAGE[:, :118].shape)))  # the mean of one value is itself
