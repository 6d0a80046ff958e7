"""Networks that look at the whole tile, and label maps: one tile where it fits, and never silently cut."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import bioimage_inference
from bioimage_inference.cli import main
from bioimage_inference.machine.memory import PROGRAM_BYTES
from bioimage_inference.network.device import Device
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.network.trials import dependence
from tests.models import simple_tensors, write_model

WEIGHT = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0))


def attention(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return functional.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def attention_by_products(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2)
    return (tokens @ torch.softmax(tokens.transpose(1, 2) @ tokens, -1)).reshape(x.shape)


def over_channels_last(x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x.permute(0, 2, 3, 1), (2,)).permute(0, 3, 1, 2)


def fourier(x: torch.Tensor) -> torch.Tensor:
    return torch.fft.ifft2(torch.fft.fft2(x) * 0.5).real


Operation = Callable[[torch.Tensor], torch.Tensor]
WHOLE: dict[str, Operation] = {
    "group norm": lambda x: functional.group_norm(x, 2),
    "instance norm": functional.instance_norm,
    "batch norm of the sample": lambda x: functional.batch_norm(x, None, None, training=True),
    "layer norm over space": lambda x: functional.layer_norm(x, x.shape[1:]),
    "squeeze and excite": lambda x: x * torch.sigmoid(functional.adaptive_avg_pool2d(x, 1)),
    "mean by a pool": lambda x: x - functional.interpolate(functional.avg_pool2d(x, x.shape[2:]), x.shape[2:]),
    "its largest": lambda x: x * functional.adaptive_max_pool2d(x, 1),
    "mean": lambda x: x - x.mean((2, 3), keepdim=True),
    "mean of all": lambda x: x - x.mean(),
    "mean axis by axis": lambda x: x - x.mean(3, keepdim=True).mean(2, keepdim=True),
    "deviation": lambda x: x / x.std(),
    "maximum": lambda x: x / x.amax((2, 3), keepdim=True),
    "median": lambda x: x - torch.quantile(x.flatten(), 0.5),
    "softmax along x": lambda x: x.softmax(-1),
    "attention": attention,
    "attention by products": attention_by_products,
    "Fourier": fourier,
    "between the outermost pixels": lambda x: functional.interpolate(
        x, scale_factor=2.0, mode="bilinear", align_corners=True
    ),
}
PARTS: dict[str, Operation] = {
    "convolution": lambda x: functional.conv2d(x, WEIGHT, padding=1),
    "batch norm": lambda x: functional.batch_norm(x, torch.zeros(2), torch.ones(2)),
    "norm over channels": over_channels_last,
    "mean of channels": lambda x: x - x.mean(1, keepdim=True),
    "classes": lambda x: x.argmax(1, keepdim=True),
    "softmax": lambda x: x.softmax(1),
    "linear": lambda x: functional.linear(x.permute(0, 2, 3, 1), WEIGHT[:2, :, 0, 0]).permute(0, 3, 1, 2),
    "pooling": lambda x: functional.avg_pool2d(functional.max_pool2d(x, 2), 3, padding=1),
    "interpolation": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "padding": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "new tensors": lambda x: torch.cat([x, torch.zeros_like(x), x.new_ones(x.shape)], 1),
}


class Network(nn.Module):
    """A network that is one operation."""

    def __init__(self, operation: Operation) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operation(x)


def tiles(*sizes: int) -> list[list[torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [[torch.randn(1, 2, size, size, generator=random)] for size in sizes]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", [*WHOLE, *PARTS])
def test_operations_that_look_at_the_whole_tile_are_seen(name: str, traced: bool) -> None:
    small, large = tiles(32, 64)
    module: Any = Network({**WHOLE, **PARTS}[name])
    if traced and "mean" not in name:  # a trace keeps the numbers of the size that it was made with
        module = torch.jit.trace(module, small)
        if name in ("layer norm over space", "new tensors", "attention", "attention by products"):
            return
    assert bool(dependence(module, small, large).operations) == (name in WHOLE)


@pytest.mark.parametrize("name", [*WHOLE, *PARTS])
def test_layers_of_slabs_never_call_such_a_network_independent(name: str) -> None:
    network = TorchNetwork(Network({**WHOLE, **PARTS}[name]), Device("cpu", ""))
    found = network.independence(*([one.numpy() for one in tile] for tile in tiles(32, 64)))
    if name in ("convolution", "batch norm", "softmax", "interpolation"):
        assert found is not None
        assert found.operations == ()
        assert found.dtypes == (np.dtype("float32"),)
    elif name in WHOLE:
        assert found is None


@pytest.mark.parametrize("name", ["group norm", "squeeze and excite", "mean", "convolution", "pooling", "classes"])
def test_they_are_seen_in_a_single_tile_too(name: str) -> None:
    """For networks that take tiles of one size only."""
    (small,) = tiles(32)
    assert bool(dependence(Network({**WHOLE, **PARTS}[name]), small).operations) == (name in WHOLE)


class Normalised(nn.Module):
    """A convolution, an instance normalisation, another convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.InstanceNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(x)
        return result


@pytest.fixture
def image() -> np.ndarray[Any, Any]:
    """One half is bright: its parts normalised by themselves differ from the whole."""
    found = np.random.default_rng(0).normal(size=(900, 1000)).astype("float32")
    found[:, 500:] += 20
    return found


def normalised(folder: Path, size: Any = None) -> Path:
    return write_model(folder, Normalised(), *simple_tensors(size=size, halo=8))


def by_torch(module: nn.Module, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with torch.inference_mode():
        result: np.ndarray[Any, Any] = module.double()(torch.from_numpy(image[None, None]).double()).numpy()
    return result


def test_a_network_that_normalises_sees_the_whole_image(tmp_path: Path, image: np.ndarray[Any, Any]) -> None:
    """An image for which a network that looks at pixels alone would be given several tiles."""
    found = bioimage_inference.predict(normalised(tmp_path / "model"), image, axes="yx", memory="8GiB")
    assert found.record["plan"]["tiles"] == 1
    assert not any("tile" in note for note in found.record["notes"])
    np.testing.assert_allclose(found.outputs["out"].array, by_torch(Normalised(), image), atol=1e-5)


def test_with_little_memory_it_sees_it_in_slabs_or_says_how_much_tiles_differ(
    tmp_path: Path, image: np.ndarray[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = normalised(tmp_path / "model")
    np.save(tmp_path / "image.npy", image)
    arguments = ["predict", str(model), str(tmp_path / "image.npy"), "--axes", "yx", "-o", str(tmp_path / "out")]
    assert main([*arguments, "--memory", str(PROGRAM_BYTES + (40 << 20))]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "looks at the tile as a whole (instance_norm)" in printed
    assert re.search(r"overlapping tiles differ by up to \d+\.\d% of the range", printed)
    advised = re.findall(r"--tile whole computes it as one tile, for which --memory (\S+) is enough", printed)[0]
    assert main([*arguments, "--tile", "whole", "--memory", advised]) == 0
    assert "looks at" not in capsys.readouterr().out
    result = np.load(tmp_path / "out" / "image_out.npy")
    np.testing.assert_allclose(result, by_torch(Normalised(), image), atol=1e-5)


class Excited(nn.Module):
    """A network with global pooling, as squeeze-and-excite has it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * functional.adaptive_avg_pool2d(x, [1, 1])


def test_one_tile_can_be_demanded(tmp_path: Path, image: np.ndarray[Any, Any]) -> None:
    """Also where tiles would give the same result."""
    layer = nn.Conv2d(1, 1, 3, padding=1)
    model = write_model(tmp_path / "model", layer, *simple_tensors(halo=8))
    found = bioimage_inference.predict(model, image, axes="yx", tile="whole")
    assert found.record["plan"]["tiles"] == 1
    assert found.record["options"]["tile"] == "whole"
    np.testing.assert_allclose(found.outputs["out"].array, by_torch(layer, image), atol=1e-5)
    fixed = normalised(tmp_path / "fixed", {"y": 256, "x": 256})
    assert bioimage_inference.predict(fixed, image, axes="yx", tile="whole").record["plan"]["tiles"] > 1


@pytest.mark.parametrize(
    ("network", "beware"),
    [(Normalised(), "instance_norm"), (Excited(), "adaptive_avg_pool2d"), (nn.Conv2d(1, 1, 3, padding=1), None)],
)
def test_inspect_says_so_without_running_it(
    tmp_path: Path, network: nn.Module, beware: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", network, *simple_tensors(halo=8))
    assert main(["inspect", str(model)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert ("looks at the tile as a whole" in printed) == (beware is not None)
    assert f"({beware})" in printed or beware is None
    assert ("--tile whole" in printed) == (beware is not None)


@pytest.mark.parametrize(("size", "tile", "advice"), [(256, None, "fixed size"), (None, (256, 256), "--tile")])
def test_tiles_that_must_be_are_said_to_differ(
    tmp_path: Path, image: np.ndarray[Any, Any], size: int | None, tile: Any, advice: str
) -> None:
    model = normalised(tmp_path / "model", {"y": size, "x": size} if size else None)
    notes = bioimage_inference.predict(model, image, axes="yx", tile=tile).record["notes"]
    assert any("looks at the tile as a whole" in note and advice in note for note in notes)
    (note,) = (note for note in notes if "overlapping tiles differ" in note)
    assert float(note.split("up to ")[1].split("%")[0]) > 1


def test_a_network_that_looks_at_few_pixels_is_computed_in_tiles_without_a_word(
    tmp_path: Path, image: np.ndarray[Any, Any]
) -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1)
    model = write_model(tmp_path / "model", layer, *simple_tensors(halo=8))
    found = bioimage_inference.predict(model, image, axes="yx", memory="8GiB").record
    assert found["plan"]["tiles"] > 1
    assert not any("whole" in note or "differ" in note for note in found["notes"])


class Labels(nn.Module):
    """Numbers the bright columns of an image from left to right, as a network for instances numbers its objects."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = (x > 0).to(torch.int32)
        starts = bright * (1 - functional.pad(bright, (1, 0))[..., :-1])
        return torch.cumsum(starts, 3).to(torch.int32) * bright


@pytest.fixture
def columns() -> np.ndarray[Any, Any]:
    """Five bright columns, one of them where tiles would be cut."""
    found = np.zeros((700, 1400), "float32")
    for start in (10, 300, 640, 900, 1300):
        found[:, start : start + 80] = 1
    return found


def labelling(folder: Path, size: Any = None, data: Any = None, steps: Any = None) -> Path:
    inputs, outputs = simple_tensors(size=size, halo=8, postprocessing=steps)
    outputs[0]["data"] = data or {"type": "int32"}
    return write_model(folder, Labels(), inputs, outputs)


def test_labels_are_computed_in_one_tile(tmp_path: Path, columns: np.ndarray[Any, Any]) -> None:
    found = bioimage_inference.predict(labelling(tmp_path / "model"), columns, axes="yx", memory="8GiB")
    assert found.record["plan"]["tiles"] == 1
    np.testing.assert_array_equal(np.unique(np.asarray(found.outputs["out"].array)), range(6))


@pytest.mark.parametrize("steps", [None, [{"id": "ensure_dtype", "kwargs": {"dtype": "uint16"}}]])
def test_labels_that_do_not_fit_into_one_tile_are_refused(
    tmp_path: Path, columns: np.ndarray[Any, Any], steps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = labelling(tmp_path / "model", {"y": 256, "x": 256}, steps=steps)
    np.save(tmp_path / "columns.npy", columns)
    arguments = ["predict", str(model), str(tmp_path / "columns.npy"), "--axes", "yx", "-o", str(tmp_path / "out")]
    assert main(arguments) == 5
    assert "cannot be put together" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--tile", "256x256"]) == 0
    assert "as asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        ({"type": "int32", "values": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}, None),
        ({"type": "bool"}, [{"id": "binarize", "kwargs": {"threshold": 0.5}}]),
    ],
)
def test_classes_and_masks_are_put_together_from_tiles(
    tmp_path: Path, columns: np.ndarray[Any, Any], data: Any, steps: Any
) -> None:
    model = labelling(tmp_path / "model", {"y": 256, "x": 256}, data, steps)
    assert bioimage_inference.predict(model, columns, axes="yx").record["plan"]["tiles"] > 1
