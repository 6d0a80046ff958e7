"""A network computed slab by slab gives what it gives for the whole tile, and holds a fraction of the memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from bioimage_inference import open_model, predict
from bioimage_inference.inference.calibration import calibrated
from bioimage_inference.inference.planning import prepare
from bioimage_inference.machine.memory import PROGRAM_BYTES
from bioimage_inference.network.device import Device
from bioimage_inference.network.slabs import NotInSlabs
from bioimage_inference.network.slabs.layers import Convolution
from bioimage_inference.network.slabs.recording import record
from bioimage_inference.network.slabs.schedule import schedule
from bioimage_inference.network.slabs.slab_network import SlabNetwork
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.network.torch_operations import TensorMemory
from bioimage_inference.options import Options
from tests.models import simple_tensors, write_model


class Function(nn.Module):
    """A network that is one function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class UNet(nn.Module):
    """Three levels, in 2-D or 3-D; ``order`` of convolution, normalisation and activation, as in ``cna``."""

    def __init__(self, dimensions: int, norm: str = "none", grow: str = "nearest", order: str = "cna") -> None:
        super().__init__()
        self.dimensions, self.norm, self.order = dimensions, norm, order
        part = 1 if grow in ("nearest", "linear") else 2  # transposed convolutions halve the channels
        self.a, self.b, self.c = self.block(1, 8), self.block(8, 16), self.block(16, 32)
        self.d, self.e = self.block(16 + 32 // part, 16), self.block(8 + 16 // part, 8)
        self.last, self.pool = self.any("Conv")(8, 2, 1), self.any("MaxPool")(2)
        self.up_c, self.up_b = self.grown(grow, 32), self.grown(grow, 16)

    def any(self, name: str) -> Any:
        return getattr(nn, f"{name}{self.dimensions}d")

    def block(self, inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            for letter in self.order:
                if letter == "c":
                    layers.append(self.any("Conv")(channels, outputs, 3, padding=1))
                elif letter == "a":
                    layers.append(nn.ReLU(inplace=True))
                elif self.norm != "none":
                    layers.append(self.normalised(channels if self.order[0] == "n" else outputs))
        return nn.Sequential(*layers)

    def normalised(self, channels: int) -> nn.Module:
        if self.norm == "group":
            return nn.GroupNorm(min(4, channels), channels)
        layer: nn.Module = self.any({"batch": "BatchNorm", "instance": "InstanceNorm"}[self.norm])(channels)
        if self.norm == "batch":
            nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
        return layer

    def grown(self, how: str, channels: int) -> nn.Module:
        if how == "transposed":
            layer: nn.Module = self.any("ConvTranspose")(channels, channels // 2, 2, stride=2)
        elif how == "overlapping":
            layer = self.any("ConvTranspose")(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)
        else:
            mode = {"nearest": "nearest", "linear": "bilinear" if self.dimensions == 2 else "trilinear"}[how]
            layer = nn.Upsample(scale_factor=2, mode=mode)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.a(x)
        b = self.b(self.pool(a))
        b = self.d(torch.cat([b, self.up_c(self.c(self.pool(b)))], 1))
        return torch.softmax(self.last(self.e(torch.cat([a, self.up_b(b)], 1))), 1)


class Foreground(nn.Module):
    """The first output of a U-Net, upside down if asked for."""

    def __init__(self, turned: bool = False, dimensions: int = 3) -> None:
        super().__init__()
        self.unet, self.turned = unet(dimensions), turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.unet(x)[:, :1]
        return found.flip(2) if self.turned else found


def unet(*settings: Any, **words: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(*settings, **words).eval()


def noise(*shape: int) -> torch.Tensor:
    tensor = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype("float32"))
    return tensor.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)


def compare(module: nn.Module, tensor: torch.Tensor, slab: int, tolerance: float = 1e-5) -> None:
    with torch.inference_mode():
        expected = module(tensor.clone())
        (found,) = SlabNetwork(module, slab)(tensor)
    assert len(schedule(record(module, [tensor]), slab).passes[-1].steps) > 1
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


STEPS: dict[str, Callable[[int], nn.Module]] = {
    "convolution": lambda c: nn.Conv2d(c, 3, 3, padding=1),
    "valid": lambda c: nn.Conv2d(c, 2, (4, 3)),
    "strided": lambda c: nn.Conv2d(c, 2, 3, stride=2, padding=1),
    "thinned": lambda c: nn.Conv2d(c, 2, 1, stride=3),
    "dilated": lambda c: nn.Conv2d(c, 2, 3, padding=4, dilation=3),
    "grouped": lambda c: nn.Conv2d(c, 2 * c, 3, padding=1, groups=c),
    "reduced": lambda c: nn.Conv2d(c, 3, 1),
    "transposed": lambda c: nn.ConvTranspose2d(c, 2, 2, stride=2),
    "transposed, overlapping": lambda c: nn.ConvTranspose2d(c, 2, 3, stride=2, padding=1, output_padding=1),
    "transposed, sparse": lambda c: nn.ConvTranspose2d(c, 2, 2, stride=3, output_padding=2),
    "transposed, dilated": lambda c: nn.ConvTranspose2d(c, 2, 3, stride=2, dilation=2),
    "largest": lambda _: nn.MaxPool2d(2),
    "largest, overlapping": lambda _: nn.MaxPool2d(3, stride=2, padding=1),
    "largest, dilated": lambda _: nn.MaxPool2d(2, stride=1, dilation=2),
    "mean": lambda _: nn.AvgPool2d((3, 2), stride=(2, 1)),
    "nearest": lambda _: nn.Upsample(scale_factor=3),
    "linear": lambda _: nn.Upsample(scale_factor=2, mode="bilinear"),
    "linear, by 3": lambda _: nn.Upsample(scale_factor=(3, 1), mode="bilinear"),
    "batch": lambda c: nn.BatchNorm2d(c).eval(),
    "batch of one": lambda c: nn.BatchNorm2d(c, track_running_stats=False).eval(),
    "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
    "group": lambda c: nn.GroupNorm(1, c),
    "relu": lambda _: nn.ReLU(),
    "relu in place": lambda _: nn.ReLU(inplace=True),
    "leaky": lambda _: nn.LeakyReLU(0.2, inplace=True),
    "elu": lambda _: nn.ELU(),
    "gelu": lambda _: nn.GELU(),
    "silu": lambda _: nn.SiLU(inplace=True),
    "prelu": lambda c: nn.PReLU(c),
    "hardtanh": lambda _: nn.Hardtanh(-0.5, 0.7),
    "softmax": lambda _: nn.Softmax(1),
    "dropout": lambda _: nn.Dropout2d().eval(),
    "residual": lambda _: Function(lambda x: x + 0.5 * torch.tanh(x) - 1),
    "gate": lambda _: Function(lambda x: x * torch.sigmoid(x[:, :1])),
    "joined": lambda _: Function(lambda x: torch.cat([x, x.abs()], 1)),
    "cropped to the same": lambda _: Function(lambda x: nn.functional.pad(x[:, :, : x.shape[2]], (0, 0, 0, 0))),
    "in other memory": lambda _: Function(lambda x: x.contiguous().view(1, -1, *x.shape[2:]).clone()),
    "of the same type": lambda _: Function(lambda x: x.to(x.dtype)),
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tensors so small that threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4),
    rows=st.integers(20, 40),
    slab=st.integers(8, 120),
)
def test_any_layers_in_any_order(names: list[str], rows: int, slab: int) -> None:
    """Compared with float64, from which the rounding of the whole tile may be farther away than that of slabs."""
    torch.manual_seed(0)
    layers, tensor = [], noise(1, 2, rows, 9)
    for name in names:
        layer = STEPS[name](tensor.shape[1])
        with torch.inference_mode():
            following = layer(tensor.clone())
        if min(following.shape[2:]) < 5 or following.numel() > 1 << 15:
            continue
        tensor = following
        layers.append(layer)
    layers.append(nn.Conv2d(tensor.shape[1], 1, 3, padding=1))
    module, tensor = nn.Sequential(*layers).eval(), noise(1, 2, rows, 9)
    with torch.inference_mode():
        expected = module(tensor.clone())
        try:
            (found,) = SlabNetwork(module, slab // 4)(tensor)
        except NotInSlabs as refusal:
            assume("another name" not in str(refusal))
            raise
        exact = module.double()(tensor.double())
    assert (found - exact).abs().max() < 1e-4 + 2 * (expected - exact).abs().max()


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("grow", ["nearest", "linear", "transposed", "overlapping"])
@pytest.mark.parametrize(("dimensions", "shape"), [(2, (96, 64)), (3, (32, 24, 28))])
def test_unets(dimensions: int, shape: tuple[int, ...], grow: str, scripted: bool) -> None:
    module = unet(dimensions, "batch", grow)
    compare(torch.jit.script(module) if scripted else module, noise(1, 1, *shape), prod(shape) // 6)


@pytest.mark.parametrize("order", ["cna", "can", "nca"])
@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize(("dimensions", "shape"), [(2, (96, 64)), (3, (32, 24, 28))])
def test_moments_are_those_of_the_whole_tile(dimensions: int, shape: tuple[int, ...], norm: str, order: str) -> None:
    """Compared with float64, to see which of two different roundings is the better one."""
    module, tensor = unet(dimensions, norm, order=order), noise(1, 1, *shape)
    with torch.inference_mode():
        (found,) = SlabNetwork(module, prod(shape) // 6)(tensor)
        whole = module(tensor.clone())
        exact = module.double()(tensor.double())
    assert (found - exact).abs().max() < max(2 * (whole - exact).abs().max(), 1e-5)


def test_moments_of_large_values_keep_their_digits() -> None:
    """Values of 60 000 ± 1, of which float32 keeps two digits: more must not get lost."""
    module, tensor = nn.Sequential(nn.InstanceNorm2d(2), nn.Conv2d(2, 1, 1)), 60_000 + noise(1, 2, 200, 150)
    with torch.inference_mode():
        (found,) = SlabNetwork(module, 2000)(tensor)
        exact = module.double()(tensor.double())
    np.testing.assert_allclose(found, exact, atol=0.01)


Move = tuple[str, int, int]
"""An operation of a network that computes in place, and which two of its tensors it is on."""

MOVES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "new": lambda x, _: torch.tanh(x),
    "channel": lambda x, _: x[:, -1:],
    "channels": lambda x, _: x[:, :2],
    "same": lambda x, _: x[:, :],
    "reshaped": lambda x, _: x.view(x.shape),
    "contiguous": lambda x, _: x.contiguous(),
    "of a type": lambda x, _: x.to(torch.float32),
    "dropout": lambda x, _: nn.functional.dropout(x, training=False),
    "clamp in place": lambda x, _: x.clamp_(-0.5, 0.5),
    "relu in place": lambda x, _: x.relu_(),
    "part in place": lambda x, _: x[:, 0:1].mul_(3.0),
    "sum in place": lambda x, y: x.add_(y[:, :1]),
    "sum": lambda x, y: x[:, :1] + y,
    "joined": lambda x, y: torch.cat([x, y], 1)[:, ::2],
    "into": lambda x, y: torch.add(x, 1.0, out=y) if x.shape == y.shape else x,
}


class Moves(nn.Module):
    """Does one move after the other, each on two of the tensors before it; returns the last two and their sum."""

    def __init__(self, moves: list[Move]) -> None:
        super().__init__()
        self.moves = moves

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tensors = [x, x * 2]
        for name, one, other in self.moves:
            tensors.append(MOVES[name](tensors[-1 - one % len(tensors)], tensors[-1 - other % len(tensors)]))
        return tensors[-1], tensors[-2], tensors[-1][:, :1] + tensors[-2][:, :1]


@pytest.mark.usefixtures("one_thread")
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 3), st.integers(0, 3)), max_size=8))
def test_what_is_changed_in_place_is_followed_or_refused(moves: list[Move]) -> None:
    module, tensor = Moves(moves), noise(1, 3, 24, 5)
    with torch.inference_mode():
        try:
            expected = [one.clone() for one in module(tensor.clone())]
        except RuntimeError:  # nothing can be added in place to what torch knows to overlap with it
            assume(False)
        if not any("in place" in name or name == "into" for name, _, _ in moves):
            found = SlabNetwork(module, 30)(tensor)
        else:
            try:
                found = SlabNetwork(module, 30)(tensor)
            except NotInSlabs:
                return
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_what_is_changed_in_place_and_used_by_its_own_name_alone_is_computed_in_slabs() -> None:
    moves = [("new", 0, 0), ("relu in place", 0, 0), ("new", 0, 0), ("sum in place", 0, 1), ("new", 0, 0)]
    compare(Function(lambda x: Moves(moves)(x)[0]), noise(1, 3, 64, 32), 300)


def test_networks_that_keep_something_in_their_weights_are_refused() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            count: torch.Tensor = self.count  # type: ignore[assignment]
            return x + count.add_(1)

    module = Counts()
    with pytest.raises(NotInSlabs, match="changes a weight"):
        record(module, [noise(1, 1, 24, 5)])
    assert module.count == 0


class TwoWays(nn.Module):
    """Two inputs and two outputs of different sizes, of which one is an input of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        small = nn.functional.max_pool2d(self.one(x), 2)
        return small, self.two(nn.functional.interpolate(small, scale_factor=2.0)) + y


def test_several_inputs_and_outputs() -> None:
    torch.manual_seed(0)
    module, one, two = TwoWays(), noise(1, 1, 64, 32), noise(1, 1, 64, 32) + 1
    with torch.inference_mode():
        for found, expected in zip(SlabNetwork(module, 200)(one, two), module(one, two), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-6)


class ByLength(nn.Module):
    """Long tensors twice, short ones three times."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[2] > 100 else x * 3


def test_a_branch_on_the_shape_is_followed_for_every_shape() -> None:
    network = SlabNetwork(torch.jit.script(ByLength()), 100)
    with torch.inference_mode():
        for rows, factor in ((200, 2), (80, 3)):
            tensor = noise(1, 1, rows, 40)
            np.testing.assert_array_equal(network(tensor)[0], factor * tensor)


REFUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "reads all rows": lambda x: x - x.mean(),
    "turns rows round": lambda x: x.flip(2),
    "moves rows": lambda x: x[:, :, 1:-1],
    "pads rows": lambda x: nn.functional.pad(x, (0, 0, 1, 1)),
    "softmax along rows": lambda x: torch.softmax(x, 2),
    "joins rows": lambda x: torch.cat([x, x], 2),
    "interpolates by a fraction": lambda x: nn.functional.interpolate(x, scale_factor=1.5),
    "interpolates from edge to edge": lambda x: nn.functional.interpolate(
        x, scale_factor=2.0, mode="bilinear", align_corners=True
    ),
    "pools beyond the edge": lambda x: nn.functional.max_pool2d(x, 3, ceil_mode=True),
    "adds what differs from row to row": lambda x: x + torch.arange(x.shape[2])[:, None].float(),
    "changes what has another name": lambda x: x + nn.functional.relu_(x[:, :]),
    "branches on values": lambda x: x if x.max() > 0 else -x,
    "returns a constant": lambda x: torch.zeros(1, 1, x.shape[2], 1),
    "fails": lambda x: x.no_such_thing,  # type: ignore[attr-defined, no-any-return]
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_more_than_a_few_rows_is_refused(name: str) -> None:
    with pytest.raises(NotInSlabs):
        SlabNetwork(Function(REFUSED[name]), 200).check([[np.zeros((1, 1, 64, 32), "float32")]])


def test_what_does_not_agree_on_a_small_tile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SlabNetwork(nn.Conv2d(1, 1, 3, padding=1))
    small = noise(1, 1, 64, 32).numpy()
    network.check([[small]])
    monkeypatch.setattr(Convolution, "reads", lambda self, span: (span[0], span[1] + 2))
    network = SlabNetwork(nn.Conv2d(1, 1, 3, padding=1))
    for _ in range(2):  # found out once, refused always
        with pytest.raises(NotInSlabs, match="differs by"):
            network.check([[small]])


@pytest.mark.parametrize(("norm", "part"), [("none", 0.3), ("batch", 0.3), ("group", 0.7)])
def test_a_fraction_of_the_memory_is_held(norm: str, part: float) -> None:
    module, tensor = unet(3, norm), noise(1, 1, 128, 48, 48)
    network = SlabNetwork(module, tensor.numel() // 16)
    with torch.inference_mode():
        network(tensor)  # so that what it records is not counted
        with TensorMemory() as slabs:
            network(tensor)
        with TensorMemory() as whole:
            module(tensor)
    assert slabs.most < part * whole.most
    assert 0.5 < network.held([tensor.numpy()]) / slabs.most < 2


def test_inputs_stay_as_they_are() -> None:
    tensor = noise(1, 1, 64, 32)
    before = tensor.clone()
    with torch.inference_mode():
        SlabNetwork(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(1, 1, 3)), 200)(tensor)
    np.testing.assert_array_equal(tensor, before)


def stack_model(folder: Path, module: nn.Module) -> Path:
    return write_model(folder, module, *simple_tensors(letters="zyx", size={"min": 32, "step": 4}, halo=12))


def test_large_stacks_are_computed_in_slabs(tmp_path: Path) -> None:
    """One tile, so that the result is the network's own."""
    module = Foreground()
    image = np.random.default_rng(0).normal(size=(64, 160, 164)).astype("float32")
    options = Options(axes="zyx", memory="16GiB")
    with open_model(stack_model(tmp_path, module)) as model:
        found = predict(model, image, options=options)
        assert "slab by slab" in found.record["engine"]["reason"]
    with torch.inference_mode():
        whole = module(torch.from_numpy(image[None, None]))
    np.testing.assert_allclose(found.outputs["out"].array, whole, atol=1e-6)


@pytest.mark.parametrize(("precision", "slabs"), [("float32", True), ("bfloat16", False)])
def test_less_memory_gives_smaller_tiles_still_in_slabs(precision: Any, slabs: bool, tmp_path: Path) -> None:
    image = np.zeros((128, 400, 400), "uint8")
    with open_model(stack_model(tmp_path, Foreground())) as model:
        pixels = []
        for memory in (str(PROGRAM_BYTES + (200 << 20)), "16GiB"):
            options = Options(axes="zyx", memory=memory)
            loaded = model.load(options)
            loaded = replace(loaded, network=TorchNetwork(loaded.module, loaded.device, precision))
            found = calibrated(prepare(model.spec, image, {}, options), loaded)
            assert ("slab by slab" in found.loaded.engine.reason) == slabs
            pixels.append(prod(found.prepared.plan.tile_shape.values()))
    assert pixels[0] < pixels[1]


def test_tiles_of_a_fixed_size_that_do_not_fit_are_computed_in_slabs(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 100, 3, padding=1), nn.ReLU(), nn.Conv2d(100, 1, 1))
    model = write_model(tmp_path, module, *simple_tensors(size={"y": 640, "x": 640}, halo=4))
    image = np.random.default_rng(0).normal(size=(700, 640)).astype("float32")
    with open_model(model) as opened:
        found = {memory: predict(opened, image, axes="yx", memory=memory) for memory in ("600MiB", "64GiB")}
    for memory, slabs in (("600MiB", True), ("64GiB", False)):
        assert ("slab by slab" in found[memory].record["engine"]["reason"]) == slabs
        assert found[memory].record["plan"]["tile"] == {"y": 640, "x": 640}
    little, much = (one.outputs["out"].array for one in found.values())
    np.testing.assert_allclose(little, much, atol=1e-5)


@pytest.mark.parametrize(("memory", "at_once"), [("16GiB", [1, 2, 2]), ("450MiB", [1, 1, 1])])
def test_threads_compute_tiles_of_a_large_plane_side_by_side(tmp_path: Path, memory: str, at_once: list[int]) -> None:
    """As many tiles as memory allows. A tile of one thread has the same bytes alone and beside others."""
    image = np.random.default_rng(0).normal(size=(1300, 2600)).astype("float32")
    module = Foreground(dimensions=2)
    model = write_model(tmp_path, module, *simple_tensors(size={"min": 32, "step": 4}, halo=64))
    with open_model(model) as opened:
        found = [predict(opened, image, axes="yx", memory=memory, threads=threads) for threads in (1, 2, 4)]
    assert [one.record["plan"]["batch"] for one in found] == at_once
    assert all("slab by slab" in one.record["engine"]["reason"] for one in found)
    one, two, four = (each.outputs["out"].array for each in found)
    if at_once[1] == 2:
        np.testing.assert_array_equal(two, one)
    np.testing.assert_allclose(four, one, atol=1e-6)
    with torch.inference_mode():
        whole = module(torch.from_numpy(image[None, None]))
    np.testing.assert_allclose(one, whole, atol=1e-5)


def test_many_threads_do_not_take_much_memory(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 100, 3, padding=1), nn.ReLU(), nn.Conv2d(100, 1, 1))
    image = np.zeros((20_000, 20_000), "uint8")
    options = Options(axes="yx", memory="64GiB", threads=16)
    with open_model(write_model(tmp_path, module, *simple_tensors(size={"min": 32, "step": 4}, halo=64))) as model:
        found = calibrated(prepare(model.spec, image, {}, options), model.load(options))
    assert 1 < found.prepared.plan.batch < 16
    assert found.needed - found.prepared.program <= 2 << 30


def test_small_images_and_other_networks_are_computed_whole(tmp_path: Path) -> None:
    for name, module, shape in (("small", Foreground(), (32, 64, 64)), ("other", Foreground(True), (64, 160, 160))):
        with open_model(stack_model(tmp_path / name, module)) as model:
            options = Options(axes="zyx", memory="16GiB")
            loaded = model.load(options)
            found = calibrated(prepare(model.spec, np.zeros(shape, "uint8"), {}, options), loaded)
            assert "slab by slab" not in found.loaded.engine.reason


def test_tiles_in_slabs_and_whole_tiles_by_turns() -> None:
    network, tile = TorchNetwork(unet(2), Device("cpu", "")), noise(1, 1, 700, 640).numpy()
    (whole,) = network([tile])
    (slabs,) = network.slabwise()([tile])
    np.testing.assert_allclose(slabs, whole, atol=1e-6)
    np.testing.assert_array_equal(network([tile])[0], whole)
