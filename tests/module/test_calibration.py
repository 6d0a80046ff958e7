"""Tiles for the network at hand: what a pixel takes is counted, and memory bounds the tiles by it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from bioimage_inference import open_model
from bioimage_inference.errors import OutOfMemoryError
from bioimage_inference.inference.calibration import calibrated
from bioimage_inference.inference.planning import PreparedImages, prepare
from bioimage_inference.machine.memory import PROGRAM_BYTES, parse_size
from bioimage_inference.network.device import Device
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.options import Options
from tests.models import simple_tensors, write_model

ROOT = Path(__file__).parents[2]


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


def planned(
    model: Path, image: np.ndarray[Any, Any], memory: str, resident: int = 0, **words: Any
) -> tuple[PreparedImages, PreparedImages]:
    """As planned before the network is known, and with it, in a process that takes so many bytes then."""
    options = Options(axes="yx", memory=memory, **words)
    with open_model(model) as opened:
        loaded = replace(opened.load(options), resident=resident)
        prepared = prepare(loaded.spec, image, {}, options)
        return prepared, calibrated(prepared, loaded).prepared


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize(("scripted", "small"), [(True, 1), (False, 3)])
def test_what_tensors_hold_is_counted(channels: int, scripted: bool, small: int) -> None:
    """Both wide tensors and the input; TorchScript drops them after their last use, Python holds them to the end."""
    module = torch.jit.script(Wide(channels)) if scripted else Wide(channels)
    network = TorchNetwork(module, Device("cpu", ""))
    pixels = 24 * 32
    assert network.tensor_memory([np.zeros((1, 1, 24, 32), "float32")]) == (2 * channels + small) * pixels * 4


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
    before, after = planned(model, np.zeros((400, 400), "uint8"), str(PROGRAM_BYTES + (20 << 20)))
    assert after.plan == before.plan


def test_the_same_memory_gives_the_same_tiles(tmp_path: Path) -> None:
    model, image = wide(tmp_path, 512), np.zeros((1500, 1500), "uint8")
    assert planned(model, image, "1GiB")[1].plan == planned(model, image, "1GiB")[1].plan


# A budget that the program itself takes, or nearly


@pytest.mark.parametrize("room", [-1 << 30, -1 << 20, 0])
def test_a_budget_too_small_for_the_program_is_an_error_that_says_how_much_is_needed(
    room: int, test_data: Path
) -> None:
    """Before anything is computed, and what it asks for is then enough."""
    model, image = test_data / "demo-model.zip", tifffile.imread(test_data / "nuclei.tif")
    memory = max(1 << 20, PROGRAM_BYTES + room)
    with pytest.raises(OutOfMemoryError, match="Give it at least") as error:
        planned(model, image, str(memory))
    (wanted,) = re.findall(r"at least (\S+ MiB)", str(error.value))
    assert memory < parse_size(wanted) < memory - room + (20 << 20)
    assert len(planned(model, image, wanted)[1].plan) > 1


def test_a_network_that_takes_most_of_the_budget_leaves_the_rest_for_tiles(tmp_path: Path) -> None:
    """What was found in memory once the network was loaded counts where it is more than was expected."""
    model, image = wide(tmp_path, 64), np.zeros((700, 700), "uint8")
    sizes = [
        prod(planned(model, image, "1GiB", resident=resident << 20)[1].plan.tile_shape.values())
        for resident in (100, 200, 800, 960)
    ]
    assert sizes[0] == sizes[1] > sizes[2] > sizes[3]
    with pytest.raises(OutOfMemoryError, match=r"the program takes about 1\.0 GiB with this model"):
        planned(model, image, "1GiB", resident=1 << 30)


@pytest.mark.parametrize("fit", ["tile", "exact"])
def test_runs_of_the_same_program_differ_by_some_mebibytes_but_not_in_their_tiles(tmp_path: Path, fit: Any) -> None:
    model, image = wide(tmp_path, 512), np.zeros((400, 400), "uint8")
    plans = [planned(model, image, "700MiB", resident=(420 << 20) + noise, fit=fit)[1].plan for noise in (0, 5 << 20)]
    assert plans[0] == plans[1]


def test_weights_count_before_they_are_loaded(tmp_path: Path) -> None:
    model = wide(tmp_path, 4)
    before = planned(model, np.zeros((400, 400), "uint8"), "1GiB")[0]
    with (tmp_path / "weights.pt").open("r+b") as file:
        file.truncate(500 << 20)
    with open_model(model) as opened:
        after = prepare(opened.spec, np.zeros((400, 400), "uint8"), {}, Options(axes="yx", memory="1GiB"))
    assert after.program - before.program == pytest.approx(500 << 20, abs=1 << 20)
    assert after.request.room == after.budget.size - after.program


def test_tiles_shrink_with_the_budget_step_by_step(test_data: Path) -> None:
    """The demo's image in 300 MiB took 336 tiles of 64×64, which compute 12 times its pixels."""
    model, image = test_data / "demo-model.zip", tifffile.imread(test_data / "nuclei.tif")
    rooms = [1, 5, 12, 20, 40, 80, 160, 320]
    before, after = zip(*(planned(model, image, str(PROGRAM_BYTES + (room << 20))) for room in rooms), strict=True)
    assumed, computed = ([one.plan.computed for one in plans] for plans in (before, after))
    assert assumed == sorted(assumed, reverse=True)
    assert assumed[-1] == computed[-1] < 1.1
    for less, more in combinations(computed, 2):
        assert more <= 1.5 * less, "buffers that are returned take 1.5 times as long, so that more may be computed"
    assert len({len(one.plan) for one in before}) > 5
    assert all(one.plan.computed <= other.plan.computed for one, other in zip(after, before, strict=True))


def test_a_tile_that_cannot_fit_is_computed_with_a_remark(tmp_path: Path) -> None:
    module = Wide(512)
    model = write_model(tmp_path, module, *simple_tensors(size={"min": 128, "step": 4}, halo=4))
    before, after = planned(model, np.zeros((400, 400), "uint8"), str(PROGRAM_BYTES + (20 << 20)))
    assert after.plan.tile_shape == {"y": 128, "x": 128}
    assert not any("Memory is short" in note for note in before.notes)
    (note,) = (note for note in after.notes if "Memory is short" in note)
    needed = parse_size(re.findall(r"about (\S+ \w+);", note)[0])
    after = planned(model, np.zeros((400, 400), "uint8"), str(needed + (1 << 20)))[1]
    assert not any("Memory is short" in note for note in after.notes)


@pytest.mark.parametrize(("halo", "memory", "pixels"), [(4, 1024, 30_000), (40, 700, 16_000)])
def test_a_wide_network_stays_within_the_memory(halo: int, memory: int, pixels: int, tmp_path: Path) -> None:
    """In a process of its own; the network holds two tensors of all channels at once, of four bytes a value.

    With the memory that is assumed of a U-Net they would take twice as much.
    """
    image = np.random.default_rng(0).integers(0, 255, (1200, 1200), "uint8")
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-m", "bioimage_inference", "predict", str(wide(tmp_path / "model", 512, halo))]
    command += [str(tmp_path / "image.npy"), "--axes", "yx", "-o", str(tmp_path), "--memory", f"{memory}MiB", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert any("Memory bounds the tiles" in note for note in record["notes"]) == (halo == 40)
    assert pixels < prod(record["plan"]["tile"].values()) < ((memory << 20) - PROGRAM_BYTES) / (2 * 512 * 4)
    np.testing.assert_allclose(np.load(tmp_path / "image_out.npy")[0, 0], image, rtol=1e-6)
