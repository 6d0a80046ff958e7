"""Every step of pre- and postprocessing, along every axis, gives the same in tiles as on the whole image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import ModelError, predict
from bioimage_inference.cli import main
from tests import models

SIZES = {"c": 2, "y": 80, "x": 96}
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.normal(100, 30, tuple(SIZES.values())).astype("float32")


def along(axis: str, low: float = 1, high: float = 2) -> list[float]:
    return [float(value) for value in np.random.default_rng(1).uniform(low, high, SIZES[axis])]


def broadcast(values: Any, axis: str) -> Any:
    return np.reshape(values, [-1 if letter == axis else 1 for letter in SIZES])


def softmax(array: Any, axis: str) -> Any:
    powers = np.exp(array - array.max(axis="cyx".index(axis), keepdims=True))
    return powers / powers.sum(axis="cyx".index(axis), keepdims=True)


def ids(axes: str) -> list[str]:
    return ["channel" if letter == "c" else letter for letter in axes]


def steps() -> list[Any]:
    """Name, arguments, and what NumPy gives in float64 for an array CYX."""
    found: list[Any] = []
    for axis in SIZES:
        name = ids(axis)[0]
        gain, offset, std = along(axis), along(axis, -50, 50), along(axis, 5, 9)
        found += [
            pytest.param(
                "scale_linear",
                {"axis": name, "gain": gain, "offset": offset},
                lambda a, x=axis, g=gain, o=offset: a * broadcast(g, x) + broadcast(o, x),
                id=f"scale_linear-{axis}",
            ),
            pytest.param(
                "fixed_zero_mean_unit_variance",
                {"axis": name, "mean": offset, "std": std},
                lambda a, x=axis, m=offset, s=std: (a - broadcast(m, x)) / (broadcast(s, x) + 1e-6),
                id=f"fixed_zero_mean_unit_variance-{axis}",
            ),
            pytest.param("softmax", {"axis": name}, lambda a, x=axis: softmax(a, x), id=f"softmax-{axis}"),
        ]
    for axes in ("c", "y", "x", "cy", "cx", "yx", "cyx"):
        over = tuple("cyx".index(letter) for letter in axes)
        kwargs = {"axes": ids(axes)}
        found += [
            pytest.param(
                "zero_mean_unit_variance",
                kwargs,
                lambda a, o=over: (a - a.mean(o, keepdims=True)) / (a.std(o, keepdims=True) + 1e-6),
                id=f"zero_mean_unit_variance-{axes}",
            ),
            pytest.param(
                "scale_range",
                kwargs | {"min_percentile": 5.0, "max_percentile": 95.0},
                lambda a, o=over: (
                    (a - np.percentile(a, 5, o, keepdims=True))
                    / (np.percentile(a, 95, o, keepdims=True) - np.percentile(a, 5, o, keepdims=True) + 1e-6)
                ),
                id=f"scale_range-{axes}",
            ),
        ]
    return found


def binarizing() -> list[Any]:
    found = []
    for axis in SIZES:
        threshold = along(axis, 80, 120)
        found.append(
            pytest.param(
                "binarize",
                {"axis": ids(axis)[0], "threshold": threshold},
                lambda a, x=axis, t=threshold: a > broadcast(t, x),
                id=f"binarize-{axis}",
            )
        )
    return found


def model(folder: Path, side: str, name: str, kwargs: dict[str, Any]) -> Path:
    inputs, outputs = models.simple_tensors(inputs=2, outputs=2, **{side: [{"id": name, "kwargs": kwargs}]})
    return models.write_model(folder, models.Identity(), inputs, outputs)


@pytest.mark.parametrize("tile", [None, (32, 48)])
@pytest.mark.parametrize("side", ["preprocessing", "postprocessing"])
@pytest.mark.parametrize(("name", "kwargs", "expected"), [*steps(), *binarizing()])
def test_steps_are_those_of_the_whole_image(
    tmp_path: Path, side: str, tile: tuple[int, int] | None, name: str, kwargs: dict[str, Any], expected: Any
) -> None:
    image = IMAGE / 20 if name == "softmax" else IMAGE
    got = predict(model(tmp_path, side, name, kwargs), image, axes="cyx", tile=tile)
    assert (got.record["plan"]["tiles"] > 1) == (tile is not None)
    array = got.outputs["out"].array
    assert array is not None
    np.testing.assert_allclose(
        np.asarray(array, "float64").reshape(IMAGE.shape), expected(image.astype("float64")), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("side", ["preprocessing", "postprocessing"])
def test_values_for_each_pixel_fit_images_of_that_size_only(tmp_path: Path, side: str) -> None:
    path = model(tmp_path, side, "scale_linear", {"axis": "y", "gain": along("y"), "offset": 0.0})
    with pytest.raises(ModelError, match="80 values along y, one for each pixel, but the image has 64 pixels"):
        predict(path, IMAGE[:, :64], axes="cyx")


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_small_differences_between_large_values_are_kept(tmp_path: Path, dtype: str) -> None:
    image = (65000 + np.random.default_rng(2).integers(-1, 2, (2, 64, 64))).astype(dtype)
    got = predict(model(tmp_path, "preprocessing", "zero_mean_unit_variance", {"axes": ids("yx")}), image, axes="cyx")
    wide = image.astype("float64")
    expected = (wide - wide.mean((1, 2), keepdims=True)) / (wide.std((1, 2), keepdims=True) + 1e-6)
    array = got.outputs["out"].array
    assert array is not None
    np.testing.assert_allclose(array[0], expected, atol=2e-7 * np.abs(expected).max())


@pytest.mark.parametrize("step", ["zero_mean_unit_variance", "scale_range"])
@pytest.mark.parametrize("bad", [[np.inf], [-np.inf], [np.inf, -np.inf, np.nan]])
def test_values_that_are_not_finite_change_no_others(tmp_path: Path, step: str, bad: list[float]) -> None:
    image = IMAGE.copy()
    image[0, 3, 3 : 3 + len(bad)] = bad
    finite = np.isfinite(image)
    kwargs: dict[str, Any] = {"axes": ids("yx")}
    if step == "scale_range":
        kwargs |= {"min_percentile": 1.0, "max_percentile": 99.9}
    got = predict(model(tmp_path, "preprocessing", step, kwargs), image, axes="cyx")
    array = got.outputs["out"].array
    assert array is not None
    for channel, mask, result in zip(image.astype("float64"), finite, array[0], strict=True):
        values = channel[mask]
        if step == "scale_range":
            low, high = np.percentile(values, [1, 99.9])
            expected = (values - low) / (high - low + 1e-6)
        else:
            expected = (values - values.mean()) / (values.std() + 1e-6)
        np.testing.assert_allclose(result[mask], expected, rtol=2e-5, atol=2e-5)
    (note,) = [note for note in got.record["notes"] if "left out of the statistics" in note]
    infinite = sum(np.isinf(bad))
    assert f"{infinite} {'value' if infinite == 1 else 'values'} of array (of {image.size:,})" in note


def test_no_raw_warnings_reach_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = IMAGE.copy()
    image[:, 0, 0] = np.inf
    np.save(tmp_path / "image.npy", image)
    path = model(tmp_path / "model", "preprocessing", "softmax", {"axis": "channel"})
    assert main(["predict", str(path), str(tmp_path / "image.npy"), "--axes", "cyx", "-o", str(tmp_path / "out")]) == 0
    assert "RuntimeWarning" not in capfd.readouterr().err


class OtherAxes(torch.nn.Module):
    """The image without its channel axis, or with one, and its values doubled."""

    def __init__(self, channel: bool) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * (x.unsqueeze(1) if self.channel else x[:, 0])


def model_of_other_axes(folder: Path, inputs: int, outputs: int, axes: list[str]) -> Path:
    """A model whose input or output has no channel axis (0 channels). The output is scaled to the input's range."""
    step = {"id": "scale_range", "kwargs": {"reference_tensor": "raw", "axes": axes}}
    (raw,), (out,) = models.simple_tensors(inputs=inputs, outputs=outputs, postprocessing=[step])
    for tensor, count in ((raw, inputs), (out, outputs)):
        if not count:
            del tensor["axes"][1]
    return models.write_model(folder, OtherAxes(channel=outputs > 0), [raw], [out])


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 0), (0, 1)])
def test_statistics_of_each_row_fit_an_output_with_more_or_fewer_axes(
    tmp_path: Path, inputs: int, outputs: int, tile: tuple[int, int] | None
) -> None:
    array = np.random.default_rng(0).random((32, 40), "float32")
    model = model_of_other_axes(tmp_path, inputs, outputs, ["x"])
    got = predict(model, array, axes="yx", tile=tile).outputs["out"].array
    low, high = array.min(1, keepdims=True), array.max(1, keepdims=True)
    assert got is not None
    np.testing.assert_allclose(got.reshape(array.shape), (2 * array - low) / (high - low + 1e-6), rtol=1e-4, atol=1e-5)


def test_statistics_of_each_channel_fit_no_output_without_channels(tmp_path: Path) -> None:
    model = model_of_other_axes(tmp_path, 3, 0, ["y", "x"])
    with pytest.raises(ModelError, match="uses 3 values of another tensor along c, but this tensor has the axes byx"):
        predict(model, np.zeros((3, 32, 32), "float32"), axes="cyx")
