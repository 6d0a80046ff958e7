"""Results equal those of bioimageio.core, the reference, for every operation and for whole predictions."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bioimage_inference
from tests import models

SETTINGS = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from bioimageio.core import create_prediction_pipeline
    from bioimageio.core.digest_spec import create_sample_for_model
    from bioimageio.spec import load_model_description


@pytest.fixture(autouse=True)
def _quiet_reference() -> Iterator[None]:
    """What the reference warns of (dataset percentiles are estimates) is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def by_reference(
    path: Path, arrays: dict[str, np.ndarray[Any, Any]], padded: bool = False
) -> dict[str, np.ndarray[Any, Any]]:
    """bioimageio.core's prediction; ``padded`` is its default, with the mirrored halo around the image."""
    model = load_model_description(path, perform_io_checks=False)
    with create_prediction_pipeline(model) as pipeline:
        sample = create_sample_for_model(model, inputs=arrays, sample_id="sample")  # type: ignore[arg-type]
        result = pipeline.predict_sample_without_blocking(
            sample, skip_input_padding=not padded, skip_output_cropping=not padded
        )
    return {str(key): tensor.data.to_numpy() for key, tensor in result.members.items()}


def step(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"id": name, "kwargs": kwargs} if kwargs else {"id": name}


OPERATIONS = [
    step("binarize", threshold=40.5),
    step("clip", min=10.0, max=90.0),
    step("clip", min=10.0),
    step("clip", min_percentile=5.0, max_percentile=93.0, axes=["channel", "y", "x"]),
    step("clip", min_percentile=5.0, max_percentile=93.0, axes=["y", "x"]),
    step("clip", max_percentile=80.0),
    step("scale_linear", gain=0.5, offset=-3.0),
    step("scale_linear", axis="channel", gain=[0.5, 2.0], offset=[1.0, -1.0]),
    step("sigmoid"),
    step("softmax", axis="channel"),
    step("zero_mean_unit_variance", axes=["channel", "y", "x"]),
    step("zero_mean_unit_variance", axes=["y", "x"]),
    step("zero_mean_unit_variance", axes=["batch", "channel", "y", "x"]),
    step("zero_mean_unit_variance"),
    step("fixed_zero_mean_unit_variance", mean=100.0, std=20.0),
    step("fixed_zero_mean_unit_variance", axis="channel", mean=[100.0, 50.0], std=[20.0, 30.0]),
    step("scale_range", axes=["y", "x"], min_percentile=1.0, max_percentile=99.8),
    step("scale_range", axes=["channel", "y", "x"]),
    step("scale_range", min_percentile=5.0, max_percentile=95.0),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one['id']}-{'-'.join(one.get('kwargs', ''))}")
def test_preprocessing_equals_the_reference(tmp_path: Path, operation: dict[str, Any]) -> None:
    if operation["id"] in ("sigmoid", "softmax"):
        path = _model(tmp_path, [], [operation])  # as preprocessing the reference has no softmax
    else:
        path = _model(tmp_path, [operation], [])
    with bioimage_inference.open_model(path) as opened:
        for dtype in ("uint8", "float32"):
            image = np.random.default_rng(1).integers(0, 200, (1, 2, 24, 20)).astype(dtype)
            expected = by_reference(path, {"raw": image})["out"]
            for tile in (None, (16, 16)):
                result = bioimage_inference.predict(opened, image, axes="bcyx", tile=tile).outputs["out"].array
                assert result is not None
                assert result.dtype == expected.dtype
                np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5, err_msg=f"{dtype}, tile {tile}")


@pytest.mark.parametrize(
    "operation",
    [
        step("clip", min=-0.5, max=0.5),
        step("scale_linear", gain=2.0, offset=1.0),
        step("sigmoid"),
        step("softmax", axis="channel"),
        step("binarize", threshold=0.1),
        step("fixed_zero_mean_unit_variance", axis="channel", mean=[0.1, 0.2], std=[0.5, 2.0]),
        step("ensure_dtype", dtype="uint8"),
    ],
    ids=lambda one: one["id"],
)
def test_postprocessing_equals_the_reference(tmp_path: Path, operation: dict[str, Any]) -> None:
    path = _model(tmp_path, [step("scale_linear", gain=0.01)], [operation])
    image = np.random.default_rng(2).integers(0, 200, (1, 2, 24, 20)).astype("float32")
    expected = by_reference(path, {"raw": image})["out"]
    result = bioimage_inference.predict(path, image, axes="bcyx", tile=(16, 16)).outputs["out"].array
    assert result is not None
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result.astype(float), expected.astype(float), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "operation",
    [
        step("scale_linear", gain=2.0),
        step("zero_mean_unit_variance", axes=["channel", "y", "x"]),
        step("scale_range", axes=["y", "x"], min_percentile=1.0, max_percentile=99.8),
    ],
    ids=lambda one: one["id"],
)
@pytest.mark.parametrize(
    ("dtype", "value"), [("uint8", -1.0), ("uint8", 300.0), ("int16", 0.5), ("int32", -0.25), ("float16", 7e4)]
)
def test_an_image_is_padded_with_values_that_its_type_does_not_hold(
    tmp_path: Path, dtype: str, value: float, operation: dict[str, Any]
) -> None:
    inputs, outputs = models.simple_tensors(
        size={"min": 32, "step": 4}, halo=4, preprocessing=[step("ensure_dtype", dtype="float32"), operation]
    )
    inputs[0]["pad"] = {"mode": "constant", "value": value}
    path = models.write_model(tmp_path, models.Blur((4, 4)), inputs, outputs)
    image = np.random.default_rng(4).integers(0, 200, (1, 1, 32, 40)).astype(dtype)
    with bioimage_inference.open_model(path) as opened:

        def predicted(array: np.ndarray[Any, Any], **options: Any) -> np.ndarray[Any, Any]:
            result = bioimage_inference.predict(opened, array, axes="bcyx", **options).outputs["out"].array
            assert result is not None
            return result

        expected = by_reference(path, {"raw": image.astype("float32")}, padded=True)["out"]
        for tile in (None, (32, 32)):
            result = predicted(image, border="mirror", tile=tile)
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
        small = image[..., :20, :20]
        np.testing.assert_allclose(predicted(small), predicted(small.astype("float32")), rtol=1e-5, atol=1e-5)


class ChannelsLast(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("name", ["scale_range", "scale_mean_variance"])
def test_statistics_of_the_input_follow_the_names_of_axes(
    tmp_path: Path, name: str, channels: int, tile: tuple[int, int] | None
) -> None:
    """The channels of the input are the second axis, the channels of the output the last; both sides have 20 pixels."""
    inputs, outputs = models.simple_tensors(
        inputs=channels, outputs=channels, postprocessing=[step(name, reference_tensor="raw", axes=["y", "x"])]
    )
    batch, channel, *others = outputs[0]["axes"]
    outputs[0]["axes"] = [batch, *others, channel]
    path = models.write_model(tmp_path, ChannelsLast(), inputs, outputs)
    scales = np.arange(1, channels + 1)[:, None, None]
    image = (np.random.default_rng(3).random((1, channels, 20, 20)) * scales).astype("float32")
    # the reference does not measure outputs; each channel has the mean and the variance of the input already
    unchanged = image.transpose(0, 2, 3, 1)
    expected = by_reference(path, {"raw": image})["out"] if name == "scale_range" else unchanged
    result = bioimage_inference.predict(path, image, axes="bcyx", tile=tile).outputs["out"].array
    assert result is not None
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def _model(folder: Path, preprocessing: list[dict[str, Any]], postprocessing: list[dict[str, Any]]) -> Path:
    inputs, outputs = models.simple_tensors(
        inputs=2, outputs=2, size={"min": 8, "step": 4}, preprocessing=preprocessing, postprocessing=postprocessing
    )
    if any(one["id"] == "binarize" for one in (*preprocessing, *postprocessing)):
        outputs[0]["data"] = {"type": "float32"}
    if postprocessing and postprocessing[-1] == step("ensure_dtype", dtype="uint8"):
        outputs[0]["data"] = {"type": "uint8"}
    return models.write_model(folder, models.Identity(), inputs, outputs)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    letters = draw(st.sampled_from(["yx", "zyx"]))
    halo = {letter: draw(st.integers(0, 3)) for letter in letters}
    size = {letter: draw(st.integers(8, 21 if len(letters) == 3 else 50)) for letter in letters}
    return {
        "letters": letters,
        "radius": tuple(halo.values()),
        "halo": halo,
        "shape": tuple(size.values()),
        "axes": draw(st.permutations("bc" + letters)),
        "dtype": draw(st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"])),
        "tile": tuple(draw(st.integers(8, 30)) for _ in letters),
        "normalise": draw(st.sampled_from(["zero_mean_unit_variance", "scale_range"])),
        "seed": draw(st.integers(0, 1000)),
    }


def _built(folder: Path, case: dict[str, Any]) -> tuple[Path, np.ndarray[Any, Any]]:
    over = ["channel", *case["letters"]]
    inputs, outputs = models.simple_tensors(
        letters=case["letters"],
        size={"min": 8, "step": 1},
        halo=case["halo"],
        preprocessing=[step(case["normalise"], axes=over)],
        postprocessing=[step("sigmoid")],
    )
    path = models.write_model(folder, models.Blur(case["radius"]), inputs, outputs)
    values = np.random.default_rng(case["seed"]).normal(100, 30, (1, 1, *case["shape"])).clip(0, 255)
    return path, values.astype(case["dtype"])


def _transposed(image: np.ndarray[Any, Any], case: dict[str, Any]) -> np.ndarray[Any, Any]:
    return image.transpose(["bc".index(a) if a in "bc" else 2 + case["letters"].index(a) for a in case["axes"]])


def _usable_tile(case: dict[str, Any]) -> tuple[int, ...]:
    return tuple(max(tile, 2 * halo + 1) for tile, halo in zip(case["tile"], case["halo"].values(), strict=True))


@SETTINGS
@given(cases())
def test_whole_predictions_equal_the_reference(tmp_path: Path, case: dict[str, Any]) -> None:
    path, image = _built(tmp_path, case)
    expected = by_reference(path, {"raw": image})["out"]
    given_as = _transposed(image, case)
    for tile in (None, _usable_tile(case) if all(case["halo"].values()) else None):
        result = bioimage_inference.predict(path, given_as, axes="".join(case["axes"]), tile=tile).outputs["out"]
        assert result.array is not None
        np.testing.assert_allclose(result.array, expected, atol=1e-5)


@SETTINGS
@given(cases())
def test_with_a_mirrored_border_predictions_equal_the_default_of_the_reference(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    path, image = _built(tmp_path, case)
    expected = by_reference(path, {"raw": image}, padded=True)["out"]
    for tile in (None, _usable_tile(case) if all(case["halo"].values()) else None):
        result = bioimage_inference.predict(path, image, axes="bc" + case["letters"], tile=tile, border="mirror")
        array = result.outputs["out"].array
        assert array is not None
        np.testing.assert_allclose(array, expected, atol=1e-5)
