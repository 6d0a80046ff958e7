"""``validate --halo``: how far a network looks, and whether the halo covers it; what separates tiles without a halo."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml

import bioimage_inference
from bioimage_inference.cli import main
from bioimage_inference.inference import receptive_field
from bioimage_inference.machine.memory import PROGRAM_BYTES

from .. import models
from ..end_to_end.test_validate import published_model, validated
from ..models import Blur, Identity, Pooled, Scaled, Valid, simple_tensors, write_model

Output = pytest.CaptureFixture[str]


class Normalised(torch.nn.Module):
    """Shifts and scales by the statistics of the tile that it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.instance_norm(x)


class Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x


class OneSize(torch.nn.Module):
    """Takes nothing but 64×64 pixels, whatever the description says."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(1, 1, 64, 64)


class Mean(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Weighted(torch.nn.Module):
    """The second of two images is looked at from farther away."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.far = Blur((2, 2)), Blur((7, 7))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.near(x) + self.far(y)


def halo_of(capsys: Output, model: Path, folder: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """What ``validate --halo --json`` says of each axis; it never changes the exit code."""
    code, found = validated(capsys, model, folder, "--weights", "torchscript", "--halo", *arguments)
    assert code == 0
    halo = found["weights"][0]["halo"]
    assert halo["error"] is None
    return {one["axis"]: one for one in halo["axes"]}


def needs(halo: dict[str, dict[str, Any]]) -> dict[str, int | None]:
    return {axis: one["needs"] for axis, one in halo.items()}


def in_words(capsys: Output, model: Path, folder: Path) -> str:
    assert main(["validate", str(model), "--halo", "--threads", "1", "-o", str(folder)]) == 0
    return capsys.readouterr().out


# How far the network looks


@pytest.mark.parametrize("radius", [(3, 9), (0, 60), (1, 2, 3)])
def test_the_field_of_a_convolution_is_its_radius(tmp_path: Path, capsys: Output, radius: tuple[int, ...]) -> None:
    shape = (1, 1, *[32] * len(radius))
    halo = halo_of(capsys, published_model(tmp_path, Blur(radius), shape, halo=60), tmp_path)
    assert needs(halo) == dict(zip("zyx"[-len(radius) :], radius, strict=True))
    assert all(
        one["covers"] and one["complete"] and one["needs_for_tolerance"] == one["needs"] for one in halo.values()
    )


def test_pooling_counts_from_its_worst_place(tmp_path: Path, capsys: Output) -> None:
    assert needs(halo_of(capsys, published_model(tmp_path, Pooled((3, 5))), tmp_path)) == {"y": 4, "x": 6}


@pytest.mark.parametrize(("network", "scale", "expected"), [(Scaled(down=4), 4.0, 3), (Scaled(up=4), 0.25, 0)])
def test_another_resolution_is_counted_in_pixels_of_the_image(
    tmp_path: Path, capsys: Output, network: torch.nn.Module, scale: float, expected: int
) -> None:
    inputs, outputs = simple_tensors()
    for axis in outputs[0]["axes"][2:]:
        axis["scale"] = scale
    halo = halo_of(capsys, with_test_output(write_model(tmp_path, network, inputs, outputs), network), tmp_path)
    assert needs(halo) == {"y": expected, "x": expected}


def test_what_the_network_crops_itself_needs_no_halo(tmp_path: Path, capsys: Output) -> None:
    network = Valid(5)
    inputs, outputs = simple_tensors()
    for letter, axis in zip("yx", outputs[0]["axes"][2:], strict=True):
        axis["size"] = models.reference(letter, offset=-10)
    halo = halo_of(capsys, with_test_output(write_model(tmp_path, network, inputs, outputs), network), tmp_path)
    assert needs(halo) == {"y": 0, "x": 0}


def test_every_input_counts(tmp_path: Path, capsys: Output) -> None:
    (raw,), outputs = simple_tensors()
    model = write_model(tmp_path, Weighted(), [raw, {**raw, "id": "other"}], outputs)
    assert needs(halo_of(capsys, with_test_output(model, Weighted(), inputs=2), tmp_path)) == {"y": 7, "x": 7}


def test_only_the_network_is_measured(tmp_path: Path, capsys: Output) -> None:
    """Not statistics of the image, which are never those of a tile, and not what hides small changes."""
    axes = ["channel", "y", "x"]
    before = [{"id": "zero_mean_unit_variance", "kwargs": {"axes": axes}}]
    after = [
        {"id": "sigmoid"},
        {"id": "scale_range", "kwargs": {"axes": axes}},
        {"id": "binarize", "kwargs": {"threshold": 0.5}},
    ]
    model = write_model(tmp_path, Blur((6, 6)), *simple_tensors(preprocessing=before, postprocessing=after))
    image = np.random.default_rng(0).random((1, 1, 64, 64), "float32")
    np.save(tmp_path / "test0.npy", image)
    published = bioimage_inference.predict(model, image, axes="bcyx").outputs["out"].array
    assert published is not None
    np.save(tmp_path / "test1.npy", published)
    assert needs(halo_of(capsys, model, tmp_path)) == {"y": 6, "x": 6}


def with_test_output(model: Path, network: torch.nn.Module, inputs: int = 1) -> Path:
    """The package with the network's output on its own test image, which is empty."""
    images = [torch.from_numpy(np.load(model.parent / f"test{number}.npy")) for number in range(inputs)]
    with torch.no_grad():
        np.save(model.parent / f"test{inputs}.npy", network(*images).numpy())
    return model


# Where there is no end to be seen


@pytest.mark.parametrize(
    ("network", "size", "tile", "room"),
    [
        (Normalised(), None, 1024, 480),
        (Normalised(), {"y": 64, "x": 64}, 64, 24),
        (Blur((30, 30)), {"y": 64, "x": 64}, 64, 24),
    ],
)
def test_a_field_without_end(
    tmp_path: Path, capsys: Output, network: torch.nn.Module, size: Any, tile: int, room: int
) -> None:
    model = published_model(tmp_path, network, size=size, halo=8)
    one = halo_of(capsys, model, tmp_path)["x"]
    assert (one["needs"], one["needs_for_tolerance"], one["beyond"] > 1e-5, one["covers"]) == (None, None, True, False)
    assert one["tile"] == tile
    words = in_words(capsys, model, tmp_path)
    assert f"x: declares 8: too short. The network reaches across the whole tile of {tile} px, more than " in words


def test_an_output_that_does_not_change(tmp_path: Path, capsys: Output) -> None:
    model = published_model(tmp_path, Constant())
    one = halo_of(capsys, model, tmp_path)["y"]
    assert (one["needs"], one["covers"]) == (None, False)
    assert "the output does not change with the image" in in_words(capsys, model, tmp_path)


def test_it_stops_in_time_and_says_so(tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receptive_field, "_SECONDS", 0.0)
    model = published_model(tmp_path, Blur((3, 3)), halo=4)
    one = halo_of(capsys, model, tmp_path)["y"]
    assert (one["needs"], one["complete"]) == (3, False)
    assert "y: declares 4, needs 3: enough (at least: it took too long" in in_words(capsys, model, tmp_path)


def test_a_network_that_takes_no_other_size_is_still_reproduced(tmp_path: Path, capsys: Output) -> None:
    model = published_model(tmp_path, OneSize(), size={"min": 64, "step": 64})
    code, found = validated(capsys, model, tmp_path, "--halo")
    (weights,) = found["weights"]
    assert (code, weights["verdict"], weights["halo"]["axes"]) == (0, "reproduced", [])
    assert "The network failed on an input of 1×1×128×64" in weights["halo"]["error"]
    assert "halo      cannot be measured. The network failed" in in_words(capsys, model, tmp_path)


def test_no_tiles_no_halo(tmp_path: Path, capsys: Output) -> None:
    inputs, outputs = simple_tensors()
    outputs[0]["axes"] = outputs[0]["axes"][:2]
    model = with_test_output(write_model(tmp_path, Mean(), inputs, outputs), Mean())
    assert halo_of(capsys, model, tmp_path) == {}
    assert "images are not cut into tiles" in in_words(capsys, model, tmp_path)


def test_measured_only_when_asked(tmp_path: Path, capsys: Output) -> None:
    _, found = validated(capsys, published_model(tmp_path, Identity()), tmp_path)
    assert found["weights"][0]["halo"] is None


# Beside the declared halo


@pytest.mark.parametrize(
    ("halo", "used", "words"),
    [
        (12, 12, "x: declares 12, needs 12: enough\n"),
        (4, 4, "x: declares 4, needs 12: too short. On noise, pixels beyond the halo change the output by up to "),
        (0, 64, "x: declares none (64 px are used), needs 12: enough\n"),
    ],
)
def test_the_declared_halo(tmp_path: Path, capsys: Output, halo: int, used: int, words: str) -> None:
    model = published_model(tmp_path, Blur((12, 12)), halo=halo)
    one = halo_of(capsys, model, tmp_path)["x"]
    assert (one["declared"], one["used"], one["covers"]) == (halo, used, used >= 12)
    assert (one["beyond"] > 1e-5) == (used < 12)
    assert words in in_words(capsys, model, tmp_path)


@pytest.mark.parametrize(
    ("name", "fields"), [("demo-model", {"y": 23, "x": 23}), ("demo-model-3d", {"z": 2, "y": 23, "x": 23})]
)
def test_the_demo_models_declare_what_they_need(
    test_data: Path, tmp_path: Path, capsys: Output, name: str, fields: dict[str, int]
) -> None:
    halo = halo_of(capsys, test_data / f"{name}.zip", tmp_path)
    assert needs(halo) == fields
    assert all(one["covers"] for one in halo.values())


@pytest.mark.slow
def test_a_published_model_declares_too_little(shared: Path, tmp_path: Path, capsys: Output) -> None:
    model = shared / "examples" / "unet2d_nuclei_broad" / "bioimageio.yaml"
    halo = halo_of(capsys, model, tmp_path)
    assert halo.keys() == {"y", "x"}
    for one in halo.values():
        assert (one["declared"], one["needs"], one["covers"]) == (32, 58, False)
        assert 40 <= one["needs_for_tolerance"] <= 56
        assert 1e-4 < one["beyond"] < 1e-2


def test_a_published_model_without_halo(shared: Path, tmp_path: Path, capsys: Output) -> None:
    halo = halo_of(capsys, shared / "examples" / "unet2d_multi_tensor" / "bioimageio.yaml", tmp_path)
    assert {(one["declared"], one["used"], one["needs"], one["covers"]) for one in halo.values()} == {(0, 64, 58, True)}


# Without a declared halo


def without_halo(package: Path, folder: Path, size: dict[str, int] | None = None) -> Path:
    """A copy of a package that declares no halo, and a fixed size where one is given."""
    shutil.copytree(package, folder)
    rdf = folder / "rdf.yaml"
    content = yaml.safe_load(rdf.read_text())
    for axis in content["outputs"][0]["axes"]:
        axis.pop("halo", None)
    for axis in content["inputs"][0]["axes"]:
        if size and axis.get("id") in size:
            axis["size"] = size[axis["id"]]
    rdf.write_text(yaml.safe_dump(content, sort_keys=False))
    return rdf


@pytest.mark.parametrize(
    ("package", "image", "size", "options", "halo"),
    [
        ("demo-model", "nuclei.tif", None, {"memory": str(PROGRAM_BYTES + (10 << 20))}, {"y": 64, "x": 64}),
        ("demo-model", "nuclei.tif", None, {"tile": (64, 72)}, {"y": 24, "x": 24}),
        ("demo-model", "nuclei.tif", None, {"tile": (128, 136)}, {"y": 32, "x": 34}),
        ("demo-model", "nuclei.tif", {"y": 64, "x": 64}, {}, {"y": 24, "x": 24}),
        ("demo-model", "nuclei.tif", {"y": 256, "x": 160}, {}, {"y": 64, "x": 40}),
        ("demo-model-3d", "nuclei_3d.tif", None, {"tile": (8, 72, 64)}, {"z": 2, "y": 24, "x": 24}),
        ("demo-model-3d", "nuclei_3d.tif", {"z": 12, "y": 64, "x": 96}, {}, {"z": 3, "y": 24}),
    ],
)
def test_a_default_overlap_hides_the_seams_of_the_demo_models(
    test_data: Path, tmp_path: Path, package: str, image: str, size: dict[str, int] | None, options: Any, halo: Any
) -> None:
    array = tifffile.imread(test_data / image)[..., :296, :376]  # a size that the network takes
    axes = "zyx"[-array.ndim :]
    whole = bioimage_inference.predict(test_data / package / "rdf.yaml", array, axes=axes, memory="8GiB")
    assert whole.record["plan"]["tiles"] == 1
    model = without_halo(test_data / package, tmp_path / "model", size)
    tiled = bioimage_inference.predict(model, array, axes=axes, **options)
    assert tiled.record["plan"]["tiles"] > 3
    assert tiled.record["plan"]["halo"] == halo
    expected, got = (one.outputs["prediction"].array for one in (whole, tiled))
    assert expected is not None
    assert got is not None
    assert np.abs(got - expected).max() < 1e-3 * np.ptp(expected)
    said = ", ".join(f"{pixels} along {letter}" for letter, pixels in halo.items())
    assert any(
        "declares no halo" in note and "default number" in note and said in note for note in tiled.record["notes"]
    )
