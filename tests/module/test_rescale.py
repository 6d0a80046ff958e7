"""``--rescale``: the network sees the image at its own pixel size, and the outputs have the pixels of the image.

As in ``test_positions``, images hold the position of each pixel along x in µm, so that a network which returns what it
sees must return the positions of the output's pixels.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tifffile
import torch
import xarray
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.transform import resize

import bioimage_inference
from bioimage_inference.api import Target, open_model
from bioimage_inference.cli import main
from bioimage_inference.errors import UsageError
from bioimage_inference.image.resize import resample

from .. import models
from .test_positions import SCHEMA, average

INSIDE = (slice(None), slice(8, -8), slice(8, -8))
"""Pixels whose smoothed values do not depend on what lies beyond the border."""


class Seen(torch.nn.Module):
    """Returns what it sees, plus the number of pixels that it sees along x in a second channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.full_like(x, x.shape[3])], 1)


class Labels(torch.nn.Module):
    """The nearest multiple of ten, as a whole number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x / 10).round() * 10).to(torch.int32)


def ramp(height: int = 60, width: int = 80, size: float = 0.1) -> xarray.DataArray:
    """An image of the positions of its own pixels along x, ``size`` µm each."""
    places = {axis: (axis, np.arange(count) * size, {"units": "µm"}) for axis, count in (("y", height), ("x", width))}
    return xarray.DataArray(np.tile(places["x"][1], (height, 1)).astype("f4"), dims=("y", "x"), coords=places)


def model(
    folder: Path,
    network: torch.nn.Module | None = None,
    outputs: int = 2,
    scale: float | None = 0.2,
    dtype: str = "float32",
) -> Path:
    """Write a model that was trained with pixels of ``scale`` µm, or does not say so."""
    steps = [{"id": "ensure_dtype", "kwargs": {"dtype": dtype}}]
    inputs, out = models.simple_tensors(size={"min": 16, "step": 1}, outputs=outputs, postprocessing=steps)
    if scale is not None:
        for axis in (*inputs[0]["axes"][2:], *out[0]["axes"][2:]):
            axis |= {"scale": scale, "unit": "micrometer"}
    return models.write_model(folder / "model", network or Seen(), inputs, out)


@pytest.mark.parametrize("tile", [None, (16, 24)], ids=["whole", "in tiles"])
@pytest.mark.parametrize(("trained", "seen"), [(0.2, 40), (0.05, 160), (0.13, 62), (0.1, 80)])
def test_the_network_sees_its_own_pixel_size_and_the_output_has_that_of_the_image(
    tmp_path: Path, trained: float, seen: int, tile: tuple[int, int] | None
) -> None:
    prediction = bioimage_inference.predict(model(tmp_path, scale=trained), ramp(), rescale=True, tile=tile)
    found = prediction.outputs["out"].to_xarray().squeeze()
    assert found.sizes == {"c": 2, "y": 60, "x": 80}
    np.testing.assert_allclose(found.x, ramp().x, rtol=1e-9)
    np.testing.assert_allclose(found.values[INSIDE][0], ramp().values[INSIDE[1:]], atol=1e-4)
    if tile is None:
        assert set(np.unique(found.values[1])) == {seen}
    record = json.loads(json.dumps(prediction.record))
    jsonschema.validate(record, SCHEMA)
    assert record["inputs"][0]["resized"].get("x", 80) == seen
    assert record["inputs"][0]["rescaled_pixel_size"]["x"]["value"] == pytest.approx(80 * 0.1 / seen)
    assert record["options"]["rescale"] is True


@pytest.mark.parametrize(("crop", "down"), [(5, 1), (0, 2), (3, 4)])
def test_a_cropped_or_coarser_output_lies_at_its_place(tmp_path: Path, crop: int, down: int) -> None:
    """A network in pixels of 0.2 µm: its output keeps its crop in µm, and is as much coarser than the image."""
    prediction = bioimage_inference.predict(
        average(tmp_path, crop, down), ramp(120, 160), rescale=True, model_pixel_size="0.2"
    )
    found = prediction.outputs["out"].to_xarray().squeeze()
    assert found.sizes == {"y": 120 // down - 4 * crop, "x": 160 // down - 4 * crop}
    assert float(found.x[1] - found.x[0]) == pytest.approx(0.1 * down)
    inside = found.values[4:-4, 4:-4]
    np.testing.assert_allclose(inside, np.broadcast_to(found.x[4:-4], inside.shape), atol=0.02)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_labels_are_never_mixed(tmp_path: Path, dtype: str) -> None:
    labels = np.kron([[10, 20], [30, 40]], np.ones((31, 41))).astype(np.float32)
    prediction = bioimage_inference.predict(
        model(tmp_path, Labels(), outputs=1, dtype=dtype), labels, axes="yx", rescale=True, pixel_size=0.27
    )
    found = prediction.outputs["out"].array
    assert found is not None
    assert found.shape == (1, 1, 62, 82)
    assert found.dtype == dtype
    assert set(np.unique(found)) == {10, 20, 30, 40}
    assert (found.squeeze()[:30, :40] == 10).all()


def test_every_sample_of_a_series_is_brought_back(tmp_path: Path) -> None:
    series = np.stack([np.full((40, 50), value, "f4") for value in (1, 2, 3)])
    prediction = bioimage_inference.predict(
        model(tmp_path), series, axes="tyx", rescale=True, pixel_size="0.1", tile=(16, 16)
    )
    found = prediction.outputs["out"].array
    assert found is not None
    np.testing.assert_allclose(found[:, 0], series, rtol=1e-6)


def test_a_stack_is_rescaled_along_the_axes_that_are_known(tmp_path: Path) -> None:
    inputs, outputs = models.simple_tensors("zyx", size={"min": 4, "step": 1})
    path = models.write_model(tmp_path / "model", torch.nn.Identity(), inputs, outputs)
    stack = np.random.default_rng(0).random((10, 40, 40)).astype("f4")
    prediction = bioimage_inference.predict(
        path, stack, axes="zyx", rescale=True, pixel_size="2,0.1,0.1", model_pixel_size="1,200nm,0.2"
    )
    assert prediction.record["inputs"][0]["resized"] == {"z": 20, "y": 20, "x": 20}
    assert prediction.outputs["out"].shape == (1, 1, 10, 40, 40)
    assert prediction.record["outputs"][0]["pixel_size"]["z"] == {"value": 2.0, "unit": "µm"}


def test_a_tile_is_read_from_its_own_part_of_the_image() -> None:
    read: list[int] = []

    def counted(region: tuple[slice, ...]) -> NDArray[Any]:
        read.append(int(np.prod([part.stop - part.start for part in region])))
        return np.zeros([part.stop - part.start for part in region], "f4")

    assert resample(counted, (10**6, 10**6), (10**5, 10**5), (slice(500, 564), slice(0, 64))).shape == (64, 64)
    assert sum(read) < 10 * 64**2 * 10**2
    read.clear()
    resample(counted, (10**6, 10**6), (10**6 // 50, 10**6 // 50), (slice(0, 64), slice(0, 64)))
    assert max(read) <= 1 << 22  # a region of a much smaller copy is read in pieces
    assert len(read) > 1


@given(data=st.data())
def test_regions_of_a_resampled_array_are_those_of_the_whole(data: st.DataObject) -> None:
    """Reference: scikit-image's resize with linear interpolation and anti-aliasing."""
    source = tuple(data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=3), "source"))
    target = tuple(data.draw(st.integers(1, 30), "target") for _ in source)
    array = np.random.default_rng(0).normal(size=source).astype("f4")
    smaller = any(after < before for before, after in zip(source, target, strict=True))
    expected = resize(array, target, order=1, preserve_range=True, anti_aliasing=smaller)
    starts = [data.draw(st.integers(0, size - 1), "start") for size in target]
    region = tuple(
        slice(start, data.draw(st.integers(start + 1, size), "stop"))
        for start, size in zip(starts, target, strict=True)
    )
    found = resample(array.__getitem__, source, target, region)
    np.testing.assert_allclose(found, expected[region], atol=2e-6)


@pytest.mark.parametrize(("size", "noted"), [(0.2, False), (0.17, False), (0.1, True), (0.3, True)])
def test_a_mismatch_of_more_than_a_fifth_is_noted_and_changes_nothing(tmp_path: Path, size: float, noted: bool) -> None:
    prediction = bioimage_inference.predict(model(tmp_path), ramp(size=size))
    notes = " ".join(prediction.record["notes"])
    assert ("--rescale" in notes) == noted
    assert (f"{max(0.2 / size, size / 0.2):.2g} times {'larger' if size < 0.2 else 'smaller'}" in notes) == noted
    assert prediction.record["inputs"][0]["resized"] == {}
    array = prediction.outputs["out"].array
    assert array is not None
    assert (array[0, 0] == ramp(size=size).values).all()


def test_nothing_is_noted_where_a_pixel_size_is_unknown(tmp_path: Path) -> None:
    for trained, image in ((None, ramp()), (0.2, ramp().values)):
        prediction = bioimage_inference.predict(model(tmp_path, scale=trained), image, axes="yx")
        assert "--rescale" not in " ".join(prediction.record["notes"])


@pytest.mark.parametrize(
    ("trained", "words", "named"),
    [
        (None, {}, "--model-pixel-size"),
        (0.2, {}, "--pixel-size"),
        (0.2, {"pixel_size": "10 furlong"}, "furlong"),
        (0.2, {"pixel_size": "0.2 mm"}, "Check the units"),
        (0.2, {"pixel_size": "0.2 nm"}, "Check the units"),
        (0.2, {"pixel_size": "1,1,1,1"}, "z,y,x"),
        (0.2, {"pixel_size": "-1"}, "-1"),
        (0.2, {"pixel_size": 0.1, "fit": "resize"}, "--fit resize"),
    ],
)
def test_what_rescaling_needs_is_named(
    tmp_path: Path, trained: float | None, words: dict[str, Any], named: str
) -> None:
    image = np.zeros((32, 32), "f4")
    with pytest.raises(UsageError, match=named), open_model(model(tmp_path, scale=trained)) as opened:
        opened.predict(image, axes="yx", rescale=True, **words)


def test_the_command_line_rescales_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, ramp().values)
    arguments = [str(model(tmp_path)), str(image), "-o", str(tmp_path / "out"), "--pixel-size", "100nm", "--rescale"]
    assert main(["predict", *arguments]) == 0
    assert "x from 80 to 40" in capsys.readouterr().out
    with tifffile.TiffFile(tmp_path / "out" / "cells_out.tif") as written:
        assert written.series[0].shape[-2:] == (60, 80)
    record = json.loads((tmp_path / "out" / "cells_provenance.json").read_text(encoding="utf-8"))
    assert record["options"]["pixel_size"] == "100nm"
    assert record["outputs"][0]["shape"] == [1, 2, 60, 80]
    (tmp_path / "again").mkdir()
    assert main(["rerun", str(tmp_path / "out" / "cells_provenance.json"), "-o", str(tmp_path / "again")]) == 0


def test_files_hold_the_same_numbers_as_arrays(tmp_path: Path) -> None:
    target = Target(tmp_path / "a.tif", tmp_path / "a.npy")
    path = model(tmp_path)
    bioimage_inference.predict(path, ramp(), rescale=True, targets={"out": target})
    prediction = bioimage_inference.predict(path, ramp(), rescale=True)
    assert (np.load(tmp_path / "a.npy") == prediction.outputs["out"].array).all()


def test_dry_run_shows_the_shape_of_the_restored_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, ramp().values)
    more = ["--dry-run", "--json", "--pixel-size", "0.1", "--rescale", "-o", str(tmp_path)]
    assert main(["predict", str(model(tmp_path)), str(image), *more]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["outputs"][0]["shape"] == [1, 2, 60, 80]
    assert planned["plan"]["tile"] == {"y": 30, "x": 40}
