"""Several tiles at once: in one call of the network, as a GPU gets them, or side by side in slabs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bioimage_inference import open_model, predict
from bioimage_inference.errors import ModelError, OutOfMemoryError
from bioimage_inference.inference.calibration import calibrated
from bioimage_inference.inference.planning import prepare
from bioimage_inference.machine.memory import PROGRAM_BYTES
from bioimage_inference.model.spec import Axis, FreeSize, ModelSpec, TensorSpec
from bioimage_inference.network.batching import Batches
from bioimage_inference.network.device import Device
from bioimage_inference.network.network import Inputs
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.options import Options
from tests.conftest import StandInGPU
from tests.models import Blur, simple_tensors, write_model

Array = np.ndarray[Any, Any]
TILES = [[np.full((1, 2, 4, 5), number, "float32")] for number in range(8)]


class Network:
    """Computes with ``function``, and remembers how many tiles it got at once."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.sizes: list[int] = []

    def __call__(self, inputs: Inputs) -> list[Array]:
        assert inputs[0] is not None
        self.sizes.append(len(inputs[0]))
        return [self.function(inputs[0])]


def model(letters: str = "bcyx") -> ModelSpec:
    axes = tuple(Axis(letter, letter, FreeSize()) for letter in letters)
    return ModelSpec("name", (TensorSpec("in", axes),), (TensorSpec("out", axes),), (), Path())


def computed(network: Network, most: int, groups: int = 2) -> list[Array]:
    batches = Batches(network, model(), most)
    size = len(TILES) // groups
    parts = [batches(TILES[first : first + size]) for first in range(0, len(TILES), size)]
    return [block for part in parts for (block,) in part]


def check(found: Sequence[Array], function: Any) -> None:
    for block, (tile,) in zip(found, TILES, strict=True):
        np.testing.assert_array_equal(block, function(tile))


def test_tiles_are_computed_at_once_after_the_first_two_agreed() -> None:
    network = Network(lambda array: array + 1)
    check(computed(network, most=4), lambda tile: tile + 1)
    assert network.sizes == [1, 1, 2, 2, 4]  # two one by one, the same at once, then all others


def test_outputs_that_the_description_does_not_name_are_no_obstacle() -> None:
    sizes = []

    def network(inputs: Inputs) -> list[Array]:
        assert inputs[0] is not None
        sizes.append(len(inputs[0]))
        return [inputs[0], inputs[0].mean()]

    found = Batches(network, model(), most=8)(TILES)
    check([blocks[0] for blocks in found], lambda tile: tile)
    assert sizes == [1, 1, 2, 6]


class NarrowNetwork(TorchNetwork):
    """A convolution in slabs, in memory for two tiles."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 1, 3, padding=1), Device("cpu", ""), threads=4)
        self.sizes: list[int] = []

    def side_by_side(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        self.sizes.append(len(tiles))
        if len(tiles) > 2:
            raise OutOfMemoryError("three do not fit")
        return super().side_by_side(tiles)


def test_tiles_side_by_side_that_do_not_fit_are_fewer() -> None:
    """After a failure, torch has its number of threads again."""
    network, threads = NarrowNetwork(), torch.get_num_threads()
    tiles = [[np.random.default_rng(number).normal(size=(1, 1, 520, 520)).astype("float32")] for number in range(5)]
    found = Batches(network.slabwise(), model(), 4)(tiles)
    assert network.sizes == [4, 2, 2]
    for (block,), tile in zip(found, tiles, strict=True):
        np.testing.assert_allclose(block, network(tile)[0], atol=1e-6)
    assert torch.get_num_threads() == threads


def test_one_at_a_time_is_never_compared() -> None:
    network = Network(lambda array: array + 1)
    check(computed(network, most=1), lambda tile: tile + 1)
    assert network.sizes == [1] * 8


def test_a_network_that_looks_at_the_whole_batch_gets_tiles_one_by_one() -> None:
    network = Network(lambda array: array - array.mean())
    check(computed(network, most=4), lambda tile: tile - tile.mean())
    assert network.sizes == [1, 1, 2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("returned", [lambda array: array[:1], lambda array: np.concatenate([array, array])])
def test_a_network_that_cannot_take_batches_gets_tiles_one_by_one(returned: Any) -> None:
    network = Network(lambda array: array if len(array) == 1 else returned(array))
    check(computed(network, most=4), lambda tile: tile)
    assert network.sizes == [1, 1, 2, 1, 1, 1, 1, 1, 1]


def test_a_network_that_fails_on_batches_gets_tiles_one_by_one() -> None:
    def fail(array: Array) -> Array:
        if len(array) > 1:
            raise ModelError("one at a time")
        return array

    check(computed(Network(fail), most=4), lambda tile: tile)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    def large(array: Array) -> Array:
        if len(array) > 1 + 1:
            raise OutOfMemoryError("too large")
        return array * 2

    network = Network(large)
    check(computed(network, most=4), lambda tile: tile * 2)
    assert network.sizes == [1, 1, 2, 2, 4, 2, 2]


def test_a_single_tile_that_does_not_fit_is_an_error() -> None:
    def never(_: Array) -> Array:
        raise OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError):
        computed(Network(never), most=4)


def test_a_gpu_gets_batches_of_small_tiles_and_gives_what_a_cpu_gives(
    tmp_path: Path, stand_in_gpu: StandInGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_model(tmp_path, Blur((2, 2)), *simple_tensors(size={"y": 64, "x": 64}, halo=2))
    image = np.random.default_rng(0).normal(size=(2, 300, 200)).astype("float32")
    prediction = predict(package, image, axes="tyx")
    found = prediction.outputs["out"].array
    assert prediction.record["plan"]["batch"] == 54
    assert stand_in_gpu.batches == [1, 1, 2, 52, 54]  # two of the first sample are compared
    monkeypatch.undo()
    expected = predict(package, image, axes="tyx").outputs["out"].array
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_the_plan_of_a_gpu(tmp_path: Path, stand_in_gpu: StandInGPU) -> None:
    """Larger tiles where they are free; where they are small, all that fit into what a large one would take."""
    free = write_model(tmp_path / "free", Blur((2, 2)), *simple_tensors(size={"min": 16, "step": 4}, halo=2))
    fixed = write_model(tmp_path / "fixed", Blur((2, 2)), *simple_tensors(size={"y": 64, "x": 64}, halo=2))
    image = np.zeros((400, 320), "uint8")
    for package, tile, batch in ((free, {"y": 400, "x": 320}, 1), (fixed, {"y": 64, "x": 64}, 12 * 9)):
        with open_model(package) as opened:
            loaded = opened.load(Options())
            plan = calibrated(prepare(loaded.spec, image, {}, Options(axes="yx")), loaded).prepared.plan
        assert (plan.tile_shape, plan.batch) == (tile, batch)
    assert set(stand_in_gpu.devices) == {"cuda:0"}


@pytest.mark.usefixtures("stand_in_gpu")
def test_the_memory_that_the_user_allows_bounds_the_tiles_of_a_gpu_too(tmp_path: Path) -> None:
    package = write_model(tmp_path, Blur((2, 2)), *simple_tensors(size={"min": 16, "step": 4}, halo=2))
    options = Options(axes="yx", memory=str(PROGRAM_BYTES + (1 << 20)))
    with open_model(package) as opened:
        loaded = opened.load(options)
        plan = calibrated(prepare(loaded.spec, np.zeros((400, 320), "uint8"), {}, options), loaded).prepared.plan
    assert len(plan) > 1
