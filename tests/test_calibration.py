"""Tiles for the network at hand: what a pixel takes is counted, and memory bounds the tiles by it."""

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import open_model
from bioimage_inference.engine.calibration import calibrated
from bioimage_inference.engine.device import Device
from bioimage_inference.engine.network import TorchNetwork
from bioimage_inference.engine.prepare import Prepared, prepare
from bioimage_inference.options import Options
from tests.models import simple_tensors, write_model

ROOT = Path(__file__).parents[1]


class Wide(torch.nn.Module):
    """Every pixel in ``channels`` copies, twice, and their mean: the pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        copies = x.repeat(1, self.channels, 1, 1)
        doubled = copies * 2
        return doubled.mean(1, keepdim=True) / 2


def wide(folder: Path, channels: int, halo: int = 4) -> Path:
    return write_model(folder, Wide(channels), *simple_tensors(size={"min": 16, "step": 4}, halo=halo))


def planned(model: Path, image: np.ndarray[Any, Any], memory: str, **words: Any) -> tuple[Prepared, Prepared]:
    """As planned before the network is known, and with it."""
    options = Options(axes="yx", memory=memory, **words)
    with open_model(model) as opened:
        loaded = opened.load(options)
        prepared = prepare(loaded.spec, image, {}, options)
        return prepared, calibrated(prepared, loaded)


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize(("scripted", "small"), [(True, 1), (False, 3)])
def test_what_tensors_hold_is_counted(channels: int, scripted: bool, small: int) -> None:
    """Both wide tensors and the input; TorchScript drops them after their last use, Python holds them to the end."""
    module = torch.jit.script(Wide(channels)) if scripted else Wide(channels)
    network = TorchNetwork(module, Device("cpu", ""))
    pixels = 24 * 32
    assert network.held([np.zeros((1, 1, 24, 32), "float32")]) == (2 * channels + small) * pixels * 4


def test_a_wide_network_gets_smaller_tiles_from_the_same_memory(tmp_path: Path) -> None:
    image = np.zeros((1500, 1500), "uint8")
    narrow, broad = (planned(wide(tmp_path / str(n), n), image, "1GiB")[1].plan for n in (16, 512))
    pixels = prod(broad.tile_shape.values())
    assert prod(narrow.tile_shape.values()) > 2 * pixels
    assert pixels * 2 * 512 * 4 < 1 << 30


@pytest.mark.parametrize(
    ("channels", "memory", "words"),
    [(512, "1TiB", {}), (512, "1GiB", {"tile": (64, 64)}), (512, "1GiB", {"fit": "exact"})],
)
def test_tiles_stay_where_memory_is_plenty_or_the_user_chose(
    channels: int, memory: str, words: dict[str, Any], tmp_path: Path
) -> None:
    before, after = planned(wide(tmp_path, channels), np.zeros((400, 400), "uint8"), memory, **words)
    assert after.plan == before.plan


def test_a_fixed_size_leaves_nothing_to_choose(tmp_path: Path) -> None:
    model = write_model(tmp_path, Wide(512), *simple_tensors(size={"y": 64, "x": 64}, halo=4))
    before, after = planned(model, np.zeros((400, 400), "uint8"), "420MiB")
    assert after.plan == before.plan


def test_the_same_memory_gives_the_same_tiles(tmp_path: Path) -> None:
    model, image = wide(tmp_path, 512), np.zeros((1500, 1500), "uint8")
    assert planned(model, image, "1GiB")[1].plan == planned(model, image, "1GiB")[1].plan


@pytest.mark.parametrize(("halo", "memory", "pixels"), [(4, 1024, 30_000), (40, 700, 40_000)])
def test_a_wide_network_stays_within_the_memory(halo: int, memory: int, pixels: int, tmp_path: Path) -> None:
    """In a process of its own, whose peak the record tells; with what is assumed of a U-Net it would be twice that.

    With a wide halo tiles are larger, and buffers are returned in order to have the memory for them.
    """
    image = np.random.default_rng(0).integers(0, 255, (1200, 1200), "uint8")
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-m", "bioimage_inference", "predict", str(wide(tmp_path / "model", 512, halo))]
    command += [str(tmp_path / "image.npy"), "--axes", "yx", "-o", str(tmp_path), "--memory", f"{memory}MiB", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert any("Memory bounds the tiles" in note for note in record["notes"]) == (halo == 40)
    assert record["memory"]["peak_bytes"] < memory << 20
    assert prod(record["plan"]["tile"].values()) > pixels
    np.testing.assert_allclose(np.load(tmp_path / "image_out.npy")[0, 0], image, rtol=1e-6)
