"""Same in, same out, on a CPU: the same bytes from run to run; other numbers of threads differ by rounding alone."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bioimage_inference.array_types import Array
from bioimage_inference.cli import main
from bioimage_inference.network.cpu_kernels import FORMATS, SameForAnyThreads, channels_last
from bioimage_inference.network.device import Device
from bioimage_inference.network.torch_network import TorchNetwork

CASES = {
    "plane": ("demo-model", "nuclei.tif", []),
    "plane in tiles": ("demo-model", "nuclei.tif", ["--tile", "128x128"]),
    "volume in tiles": ("demo-model-3d", "nuclei_3d.tif", ["--tile", "16x48x48"]),
}
ROUNDING = 1e-6
"""The promised bound of differences between numbers of threads, as a part of the output's range."""


def outputs(test_data: Path, folder: Path, case: str, threads: int) -> tuple[Path, Path]:
    """The ``.npy`` and the TIFF file of a run."""
    model, image, more = CASES[case]
    arguments = [*("predict", test_data / model, test_data / image, "-o", folder), *more, "--engine", "torch"]
    assert main([str(argument) for argument in (*arguments, "--threads", threads)]) == 0
    (array,), (picture,) = folder.glob("*.npy"), folder.glob("*.tif")
    return array, picture


def apart(one: Array, other: Array) -> float:
    """The largest difference, as a part of the range of values."""
    return float(np.abs(one.astype("f8") - other).max() / np.ptp(one))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_same_run_again_writes_the_same_bytes(test_data: Path, tmp_path: Path, case: str, threads: int) -> None:
    first, second = (outputs(test_data, tmp_path / str(run), case, threads) for run in range(2))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("case", CASES)
def test_numbers_of_threads_differ_by_rounding(test_data: Path, tmp_path: Path, case: str) -> None:
    one, *others = (np.load(outputs(test_data, tmp_path / str(n), case, n)[0]) for n in (1, 2, 3, 4))
    assert [apart(one, other) <= ROUNDING for other in others] == [True] * 3


def network(dimensions: int, norm: Callable[[int], nn.Module]) -> nn.Module:
    """Convolutions of 3 and of 1 pixel, each normalised, and a skip connection."""
    torch.manual_seed(0)
    convolution = (nn.Conv2d, nn.Conv3d)[dimensions - 2]
    return nn.Sequential(
        *(convolution(1, 16, 3, padding="same"), norm(16), nn.ReLU()),
        *(convolution(16, 8, 1), norm(8), nn.ReLU(inplace=True)),
        *(convolution(8, 2, 1), nn.Sigmoid()),
    )


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "none": lambda _: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(4, channels),
    "instance": lambda channels: nn.GroupNorm(channels, channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
}


@pytest.mark.parametrize("made", ["eager", "scripted", "traced"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 1, 200, 231), (2, 1, 64, 65), (1, 1, 20, 64, 71)], ids=str)
def test_networks_differ_by_rounding(shape: tuple[int, ...], norm: str, made: str) -> None:
    """Also from float64, in which group normalisation in float32 over all places is off by a multiple of that."""
    image = np.random.default_rng(0).normal(3, 1, shape).astype("float32")
    module = network(len(shape) - 2, NORMS[norm]).eval().requires_grad_(False)
    with torch.inference_mode():
        exact = module.double()(torch.from_numpy(image).double()).numpy()
    module.float()
    if made == "scripted":
        module = torch.jit.script(module)
    if made == "traced":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # a constant size, which is what is wanted here
            module = torch.jit.trace(module, torch.from_numpy(image), check_trace=False)
    found = [TorchNetwork(module, Device("cpu", ""), threads=threads)([image])[0] for threads in (1, 2, 3, 4)]
    assert [apart(found[0], other) <= ROUNDING for other in found] == [True] * 4
    assert apart(exact, found[0]) <= 5 * ROUNDING


@pytest.mark.parametrize("shape", [(1, 32, 512, 512), (2, 32, 16, 96, 96)], ids=str)
def test_group_norm_is_exact_where_many_values_add_up(shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 3 + 100).contiguous(memory_format=FORMATS[len(shape)])
    weight, bias = torch.rand(2, shape[1])
    exact = nn.functional.group_norm(tensor.double(), 8, weight.double(), bias.double())
    with torch.inference_mode(), SameForAnyThreads():
        found = nn.functional.group_norm(tensor, 8, weight, bias)
        _, mean, reciprocal = torch.native_group_norm(
            tensor, None, None, shape[0], shape[1], tensor[0, 0].numel(), 8, 1e-5
        )
    assert found.is_contiguous(memory_format=FORMATS[len(shape)])
    # float32 holds values around 100 to within 4e-6, which the standard deviation of 0.9 turns into 4e-6 at most
    assert (found - exact).abs().max() < 1e-5
    values = tensor.double().reshape(shape[0], 8, -1)
    torch.testing.assert_close(mean, values.mean(2).float())
    torch.testing.assert_close(reciprocal, (values.var(2, correction=0) + 1e-5).rsqrt().float(), rtol=1e-6, atol=0)


CONVOLUTIONS: dict[str, nn.Module] = {
    "strided": nn.Conv2d(3, 4, 3, stride=2, padding=1),
    "dilated": nn.Conv2d(3, 4, 3, dilation=2, padding="same"),
    "in groups": nn.Conv2d(3, 6, 3, groups=3, bias=False),
    "of 1 pixel": nn.Conv2d(3, 5, 1),
    "reflected": nn.Conv2d(3, 4, 5, padding=2, padding_mode="reflect"),
    "transposed": nn.ConvTranspose2d(3, 4, 3, stride=2, output_padding=1),
    "along one axis": nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5)),
    "double": nn.Conv2d(3, 4, 3).double(),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
@pytest.mark.parametrize("last", [False, True], ids=["", "channels last"])
def test_convolutions_of_every_kind(kind: str, last: bool) -> None:
    layer = CONVOLUTIONS[kind].requires_grad_(False)
    tensor = torch.rand(2, 3, 31, 40, dtype=next(layer.parameters()).dtype)
    if last:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        with SameForAnyThreads():
            found = layer(tensor)
        expected = layer(tensor)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


def test_an_empty_tile_stays_empty() -> None:
    with torch.inference_mode(), SameForAnyThreads():
        assert nn.Conv2d(3, 4, 3, padding=1)(torch.zeros(0, 3, 8, 8)).shape == (0, 4, 8, 8)


@pytest.mark.parametrize("shape", [(1, 1, 40, 48), (1, 1, 12, 20, 16)])
def test_the_first_convolution_of_a_grey_image_keeps_channels_together(shape: tuple[int, ...]) -> None:
    """Otherwise the second one copies its input."""
    torch.manual_seed(0)
    tensor, weight = torch.rand(shape), torch.rand(8, 1, *[3] * (len(shape) - 2))
    convolve = torch.nn.functional.conv2d if len(shape) == 4 else torch.nn.functional.conv3d
    with torch.inference_mode(), SameForAnyThreads():
        for given in ((channels_last(tensor), weight), (tensor, channels_last(weight))):
            found = convolve(*given, padding=1)
            assert found.is_contiguous(memory_format=FORMATS[len(shape)])
            assert not found.is_contiguous()
            exact = convolve(tensor.double(), weight.double(), padding=1)
            assert (found - exact).abs().max() < 1e-6 * exact.max()
    assert torch.equal(channels_last(tensor), tensor)
