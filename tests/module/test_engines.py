"""The engine for CPUs: OpenVINO gives what torch gives, and computes only where it is asked for."""

import json
import math
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioimage_inference import predict
from bioimage_inference.cli import main
from bioimage_inference.errors import ModelError, OutOfMemoryError, UsageError
from bioimage_inference.network import loading, openvino_network
from bioimage_inference.network.device import Device
from bioimage_inference.network.network import Network, difference, same
from bioimage_inference.network.openvino_network import OpenVINONetwork
from bioimage_inference.network.torch_network import TorchNetwork
from tests.conftest import StandInGPU
from tests.machine import OLDER_PROCESSOR
from tests.models import Blur, simple_tensors, write_model

with_openvino = pytest.mark.usefixtures("installed_openvino")

ROOT = Path(__file__).parents[2]
DEMOS = [("demo-model", "nuclei.tif"), ("demo-model-3d", "nuclei_3d.tif")]
IMAGE = np.random.default_rng(0).standard_normal((1, 1, 24, 32)).astype("float32")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@with_openvino
@pytest.mark.parametrize(("model", "image"), DEMOS)
def test_openvino_gives_what_torch_gives(test_data: Path, model: str, image: str) -> None:
    results = {
        engine: predict(test_data / model, test_data / image, engine=engine, threads=1)
        for engine in ("torch", "openvino")
    }
    for output in results["torch"].outputs.values():
        other = results["openvino"].outputs[output.id]
        assert other.dtype == output.dtype
        np.testing.assert_allclose(other.array, output.array, rtol=0, atol=1e-5)
    record = results["openvino"].record
    assert record["engine"]["name"] == "openvino"
    assert "from torch's in float32" in record["engine"]["reason"]
    assert record["versions"]["openvino"].startswith("20")
    assert results["torch"].record["engine"] == {"name": "torch", "reason": "as asked"}


class Branches(torch.nn.Module):
    """Branches and loops that depend on shapes, as scripted networks of the zoo have them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.InstanceNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = (8 - x.shape[3] % 8) % 8
        x = torch.nn.functional.pad(self.norm(self.conv(x)), [0, missing])
        kept: list[torch.Tensor] = []
        for _ in range(x.dim() - 2):
            kept.append(x)
            x = torch.nn.functional.avg_pool2d(x, 2)
        x = torch.nn.functional.interpolate(x, scale_factor=4.0, mode="bilinear")
        return (x + kept[0])[..., : x.shape[3] - missing]


class Several(torch.nn.Module):
    """Two inputs, the second optional; outputs of several types."""

    def forward(
        self, x: torch.Tensor, y: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if y is None:
            y = torch.ones_like(x)
        return x + y, (x * 10).to(torch.int64), x > y


class Sign(torch.nn.Module):
    """A branch that depends on the values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x
        return -x


class Positive(torch.nn.Module):
    """A shape that depends on the values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positive = x[x > 0]
        return positive.reshape(1, positive.size(0)) + 1


def made(module: torch.nn.Module, scripted: bool) -> Any:
    module = module.eval().requires_grad_(False)
    return torch.jit.script(module) if scripted else module


def on_both(module: Any, inputs: Sequence[Any], network: Network) -> float:
    return difference(network(inputs), TorchNetwork(module, Device("cpu", ""))(inputs))


@with_openvino
@pytest.mark.parametrize("scripted", [True, False], ids=["TorchScript", "Python"])
def test_branches_on_shapes_are_followed_for_every_shape(scripted: bool) -> None:
    module = made(Branches(), scripted)
    network = OpenVINONetwork(module, "float32", 1)
    for width in (32, 28, 20, 32):
        assert on_both(module, [IMAGE[..., :width]], network) < 1e-5


@with_openvino
def test_traced_networks_run() -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constants
        module = torch.jit.trace(Branches().eval().requires_grad_(False), torch.from_numpy(IMAGE))
    assert on_both(module, [IMAGE], OpenVINONetwork(module, "float32", 1)) < 1e-5


@with_openvino
def test_without_torchs_own_interpreter_the_operations_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_jit_interpret_graph", raising=False)  # as in another version of torch
    module = made(Branches(), scripted=True)
    assert on_both(module, [IMAGE], OpenVINONetwork(module, "float32", 1)) < 1e-5


@with_openvino
@pytest.mark.parametrize("scripted", [True, False], ids=["TorchScript", "Python"])
def test_several_inputs_and_outputs_keep_order_and_types(scripted: bool) -> None:
    module = made(Several(), scripted)
    network = OpenVINONetwork(module, "float32", 1)
    for inputs in ([IMAGE, IMAGE[..., ::-1]], [IMAGE, None]):
        assert on_both(module, inputs, network) == 0
    assert [array.dtype for array in network([IMAGE, None])] == [np.float32, np.int64, np.bool_]


@with_openvino
def test_outputs_stay_when_the_next_tile_is_computed() -> None:
    network = OpenVINONetwork(made(Blur((1, 1)), scripted=True), "float32", 1)
    (first,) = network([IMAGE])
    kept = first.copy()
    network([IMAGE + 1])
    np.testing.assert_array_equal(first, kept)


@with_openvino
@pytest.mark.parametrize("network", [Sign(), Positive()], ids=["branch", "shape"])
@pytest.mark.parametrize("scripted", [True, False], ids=["TorchScript", "Python"])
def test_what_depends_on_values_is_refused(network: torch.nn.Module, scripted: bool) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO cannot run this network.*values of its inputs"):
        OpenVINONetwork(made(network, scripted), "float32", 1)([IMAGE])


@with_openvino
def test_float32_is_float32_and_bfloat16_is_less() -> None:
    module = made(Blur((2, 2)), scripted=True)
    exact, rounded = (OpenVINONetwork(module, precision, 1) for precision in ("float32", "bfloat16"))
    assert on_both(module, [IMAGE], exact) < 1e-6
    apart = on_both(module, [IMAGE], rounded)
    if "in float32, because" in rounded.engine.reason:  # this CPU, or OpenVINO on it, has no bfloat16
        assert apart < 1e-6
    else:
        assert 1e-6 < apart < 0.1


@with_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_as_told(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    told = []
    compile_model = openvino.Core.compile_model

    def compile_and_ask(*arguments: Any) -> Any:
        compiled = compile_model(*arguments)
        told.append(compiled.get_property("INFERENCE_NUM_THREADS"))
        return compiled

    monkeypatch.setattr(openvino.Core, "compile_model", compile_and_ask)
    OpenVINONetwork(made(Blur((1, 1)), scripted=True), "float32", threads)([IMAGE])
    assert told == [min(threads, len(os.sched_getaffinity(0)))]  # OpenVINO never takes more than there are cores


@with_openvino
def test_openvino_does_not_report_to_its_makers(tmp_path: Path) -> None:
    """The package that reports is not even imported, wherever OpenVINO looks for it."""
    (tmp_path / "openvino_telemetry.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()")
    program = (
        "import sys, torch; from bioimage_inference.network.openvino_network import OpenVINONetwork; "
        f"sys.path.insert(0, {str(tmp_path)!r}); "
        "network = OpenVINONetwork(torch.nn.Conv2d(1, 1, 3).eval().requires_grad_(False), 'float32', 1); "
        "network([torch.zeros(1, 1, 16, 16).numpy()]); "
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=True)
    assert not (tmp_path / "imported").exists()


@with_openvino
@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (MemoryError(), OutOfMemoryError),
        (RuntimeError("std::bad_alloc"), OutOfMemoryError),
        (RuntimeError("something else"), ModelError),
    ],
)
def test_its_errors_are_told_in_words(raised: Exception, error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    network = OpenVINONetwork(made(Blur((1, 1)), scripted=True), "float32", 1)
    network([IMAGE])

    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(openvino_network._Compiled, "__call__", fail)
    with pytest.raises(error, match="1×1×24×32"):
        network([IMAGE])


@with_openvino
def test_a_network_that_openvino_cannot_run_ends_with_exit_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", Sign(), *simple_tensors())
    np.save(tmp_path / "image.npy", IMAGE[0, 0])
    command = ["predict", str(model), str(tmp_path / "image.npy"), "-o", str(tmp_path), "--axes", "yx"]
    assert main([*command, "--engine", "openvino"]) == 4
    assert "--engine" in capsys.readouterr().err
    assert main(command) == 0


def test_openvino_that_is_not_installed_is_exit_code_2(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loading, "openvino_installed", lambda: False)
    command = ["predict", str(test_data / "demo-model"), str(test_data / "nuclei.tif"), "-o", str(tmp_path)]
    assert main([*command, "--engine", "openvino"]) == UsageError.exit_code
    assert 'pip install "bioimage_inference[openvino]"' in capsys.readouterr().err
    result = predict(test_data / "demo-model", test_data / "nuclei.tif")
    assert result.record["engine"]["name"] == "torch"


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_a_gpu_is_for_torch(engine: str, test_data: Path, stand_in_gpu: StandInGPU) -> None:
    record = predict(test_data / "demo-model", test_data / "nuclei.tif", engine=engine).record
    assert stand_in_gpu.devices == ["cuda:0"]
    assert record["engine"]["name"] == "torch"
    assert ("OpenVINO is used on CPUs only" in record["engine"]["reason"]) == (engine == "openvino")


def test_nan_and_infinity_in_the_same_places_are_no_difference() -> None:
    values = np.array([1.0, np.nan, np.inf, -np.inf])
    assert difference([values], [values]) == 0
    assert difference([values], [values[::-1]]) == math.inf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [3e-5, 1.0, 60_000.0, 1e30])
def test_what_is_the_same_does_not_depend_on_the_unit(scale: float, dtype: str) -> None:
    values = (np.linspace(-1, 1, 101) * scale).astype(dtype)
    assert same([values], [values])
    assert same([values * 1.00001], [values])
    assert not same([-values], [values])
    assert not same([values + 0.001 * scale], [values])
    assert difference([values + 0.01 * scale], [values]) == pytest.approx(0.005, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0, -60_000.0])
def test_neighbouring_numbers_are_the_same_where_all_values_are(value: float) -> None:
    constant = np.full(9, value, "float32")
    assert same([np.nextafter(constant, np.float32(np.inf))], [constant])
    assert not same([constant + np.float32(0.1)], [constant])


def test_each_output_counts_with_its_own_range() -> None:
    large, small = np.linspace(0, 1000, 9), np.linspace(0, 1e-3, 9)
    assert same([large + 0.01, small], [large, small])
    assert not same([large, small[::-1]], [large, small])


def test_whole_numbers_are_the_same_or_not() -> None:
    labels = np.arange(20_000)
    assert same([labels], [labels])
    assert not same([labels + (labels == 7)], [labels])
    assert not same([np.array([True])], [np.array([False])])


@with_openvino
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_computes_only_where_it_is_asked_for(test_data: Path, precision: Any) -> None:
    record = predict(test_data / "demo-model", test_data / "nuclei.tif", precision=precision).record
    assert record["engine"]["name"] == "torch"


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_torch_in_fewer_digits_says_how_far_it_is_from_float32(precision: Any) -> None:
    module = made(Blur((2, 2)), scripted=True)
    exact, rounded = (TorchNetwork(module, Device("cpu", ""), one) for one in ("float32", precision))
    apart = on_both(module, [IMAGE], rounded)
    assert on_both(module, [IMAGE], exact) < 1e-6
    assert 1e-6 < apart < 0.1
    assert f"differs from float32 by {apart:.1g} of the range" in rounded.engine.reason


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables restrict x86-64 processors")
def test_a_processor_without_bfloat16_computes_in_float32_and_says_so(test_data: Path, tmp_path: Path) -> None:
    engines = []
    for precision in ("float32", "bfloat16"):
        model, image, out = test_data / "demo-model", test_data / "nuclei.tif", tmp_path / precision
        command = [sys.executable, "-m", "bioimage_inference", "predict", model, image, "-o", out, "--json"]
        done = subprocess.run(
            [*map(str, command), "--precision", precision, "--threads", "1"],
            cwd=ROOT,
            env=os.environ | OLDER_PROCESSOR,
            capture_output=True,
            check=True,
        )
        engines.append(json.loads(done.stdout)["engine"]["reason"])
    assert "in float32, because this CPU computes no bfloat16" in engines[1]
    assert engines[0] in engines[1].replace("; in float32, because this CPU computes no bfloat16", "")
    arrays = [np.load(next((tmp_path / name).glob("*.npy"))) for name in ("float32", "bfloat16")]
    np.testing.assert_array_equal(*arrays)


def test_float16_is_for_gpus(test_data: Path) -> None:
    with pytest.raises(UsageError, match="float16 is for GPUs"):
        predict(test_data / "demo-model", test_data / "nuclei.tif", precision="float16", device="cpu")


class InPlace(torch.nn.Module):
    """Normalises its input in place, as some networks do first; a branch makes it one that cannot be frozen whole."""

    def __init__(self, branch: bool) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x -= x.mean()
        if self.branch and x.shape[2] > 1000:
            return x
        x /= x.std()
        x.clamp_(-1, 1)
        return x + 1


@with_openvino
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_network_that_computes_in_place_changes_no_image(
    tmp_path: Path, engine: str, scripted: bool, branch: bool
) -> None:
    module = InPlace(branch)
    image = np.random.default_rng(0).normal(5, 2, (64, 40)).astype("float32")
    before = image.copy()
    network = OpenVINONetwork(made(module, scripted), "float32", 1) if engine == "openvino" else None
    network = network or TorchNetwork(made(module, scripted), Device("cpu", ""))
    exact = (before.astype("float64") - before.mean(dtype="float64")) / before.std(dtype="float64", ddof=1)
    for _ in range(2):  # the first tile is the one that is converted
        (found,) = network([image[None, None]])
        np.testing.assert_allclose(found[0, 0], exact.clip(-1, 1) + 1, atol=1e-5)
        np.testing.assert_array_equal(image, before)
