"""ONNX weights: onnxruntime gives what torch gives, tiles give what the whole gives, and trials see the whole tile."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from bioimage_inference import inspect, predict
from bioimage_inference.cli import main
from bioimage_inference.errors import ModelError, UsageError
from bioimage_inference.model.spec import Axis, FreeSize, ModelSpec, TensorSpec
from bioimage_inference.model.trust import HASHES_VARIABLE
from bioimage_inference.model.vetting import onnx_graph
from bioimage_inference.model.vetting.onnx_graph import OnnxNetwork
from bioimage_inference.network import onnx_network
from bioimage_inference.network.device import Device
from bioimage_inference.network.network import difference
from bioimage_inference.network.onnx_network import ONNXNetwork, device_of_onnx
from bioimage_inference.network.torch_network import TorchNetwork
from tests.models import Blur, Pooled, Scaled, edit_description, sha256, simple_tensors, write_model
from tests.onnx_models import exported, graph, identity, node, write_onnx_model

pytestmark = pytest.mark.usefixtures("installed_onnx")

ROOT = Path(__file__).parents[2]
IMAGE = np.random.default_rng(0).standard_normal((1, 1, 24, 32)).astype("float32")
VOLUME = np.random.default_rng(1).standard_normal((1, 1, 12, 20, 16)).astype("float32")
CPU = Device("cpu", "")


def spec(inputs: Sequence[str] = ("raw",), outputs: Sequence[str] = ("out",), optional: int = 0) -> ModelSpec:
    axes = tuple(Axis(letter, letter, FreeSize()) for letter in "bcyx")
    required = len(inputs) - optional
    tensors = tuple(TensorSpec(one, axes, optional=number >= required) for number, one in enumerate(inputs))
    return ModelSpec("m", tensors, tuple(TensorSpec(one, axes) for one in outputs), (), Path())


def on_onnx(network: Any, model: ModelSpec | None = None, threads: int = 1) -> ONNXNetwork:
    content = network if isinstance(network, bytes) else network.SerializeToString()
    return ONNXNetwork(OnnxNetwork(content), model or spec(), CPU, threads, "")


class UNet(torch.nn.Module):
    """One level of a U-Net, with a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.norm, self.last = torch.nn.BatchNorm2d(4), torch.nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.relu(self.norm(self.down(x)))
        return torch.sigmoid(self.last(torch.cat([self.up(torch.nn.functional.max_pool2d(kept, 2)), kept], 1)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("network", "array", "axes"),
    [
        (UNet(), IMAGE, "bcyx"),
        (UNet(), IMAGE, ""),
        (Pooled((2, 1)), IMAGE, "bcyx"),
        (Scaled(up=2), IMAGE, "bcyx"),
        (Blur((1, 2, 1)), VOLUME, "bczyx"),
    ],
    ids=["free sizes", "fixed sizes", "pooling", "twice as large", "3-D"],
)
def test_onnxruntime_gives_what_torch_gives(network: Any, array: Any, axes: str, threads: int) -> None:
    found = on_onnx(exported(network, [torch.from_numpy(array)], free=axes), threads=threads)([array])
    expected = TorchNetwork(network, CPU)([array])
    assert difference(found, expected) < 1e-5
    assert [one.dtype for one in found] == [one.dtype for one in expected]


def test_batches_and_other_sizes_run_where_the_sizes_are_free() -> None:
    network = UNet()
    found = on_onnx(exported(network, [torch.from_numpy(IMAGE)]))
    for array in (np.concatenate([IMAGE, IMAGE[..., ::-1]]), IMAGE[..., :16, :8]):
        assert difference(found([array]), TorchNetwork(network, CPU)([array])) < 1e-5


def test_a_fixed_size_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match="1×1×24×16"):
        on_onnx(exported(UNet(), [torch.from_numpy(IMAGE)], free=""))([IMAGE[..., :16]])


def two_inputs(names: Sequence[str] = ("a", "b")) -> Any:
    shape = ["n", "c", "y", "x"]
    return graph(
        [node("Sub", " ".join(names), "difference"), node("Greater", " ".join(names), "larger")],
        [(name, shape) for name in names],
        [("difference", shape)],
    )


def test_tensors_belong_together_by_name() -> None:
    model = spec(("b", "a"), ("difference",))
    np.testing.assert_array_equal(on_onnx(two_inputs(), model)([IMAGE, 2 * IMAGE])[0], IMAGE)


def test_tensors_belong_together_by_order_where_names_differ() -> None:
    model = spec(("raw", "mask"), ("out",))
    np.testing.assert_array_equal(on_onnx(two_inputs(), model)([IMAGE, 2 * IMAGE])[0], -IMAGE)


def test_outputs_keep_order_and_types() -> None:
    shape = ["n", "c", "y", "x"]
    network = two_inputs()
    from onnx import helper

    network.graph.output.append(helper.make_tensor_value_info("larger", 9, shape))
    found = on_onnx(network, spec(("a", "b"), ("larger", "difference")))([IMAGE, 0 * IMAGE])
    assert [one.dtype for one in found] == [np.bool_, np.float32]


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_inputs_is_a_model_error(count: int) -> None:
    with pytest.raises(ModelError, match=r"takes 2 tensors, and the description has"):
        on_onnx(two_inputs(), spec([f"input{number}" for number in range(count)]))


def test_an_optional_input_that_the_network_lacks_may_be_absent() -> None:
    network = on_onnx(identity(), spec(("raw", "mask"), optional=1))
    np.testing.assert_array_equal(network([IMAGE, None])[0], IMAGE)
    with pytest.raises(ModelError, match="optional inputs"):
        network([IMAGE, IMAGE])


@pytest.mark.parametrize(("number", "name", "result"), [(10, "float16", "float32"), (11, "float64", "float64")])
def test_floating_point_types_are_converted(number: int, name: str, result: str) -> None:
    network = graph([node("Add", "raw raw", "out")], dtype=number)
    found = on_onnx(network)([IMAGE])[0]
    assert found.dtype == result
    np.testing.assert_array_equal(found, (2 * IMAGE.astype(name)).astype(result))


def test_numbers_with_fractions_are_not_cut_off() -> None:
    with pytest.raises(ModelError, match=r"tensor\(int64\) for its input raw, and the description prepares float32"):
        on_onnx(graph([node("Identity", "raw", "out")], dtype=7))([IMAGE])


def test_a_network_that_onnxruntime_does_not_take_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        on_onnx(graph([node("NoSuchOperator", "raw", "out")]))


# Trials


def pooled(kind: str = "GlobalAveragePool", **attributes: Any) -> Any:
    return graph([node(kind, "raw", "mean", **attributes), node("Sub", "raw mean", "out")])


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (pooled(), ("GlobalAveragePool",)),
        (pooled("GlobalMaxPool"), ("GlobalMaxPool",)),
        (graph([node("Softmax", "raw", "out", axis=1)]), ()),
        (graph([node("Softmax", "raw", "out", axis=-1)]), ("Softmax",)),
        (graph([node("ArgMax", "raw", "n", axis=1), node("Cast", "n", "out", to=1)]), ()),
        (graph([node("CumSum", "raw axis", "out")], tensors={"axis": np.int64(3)}), ("CumSum",)),
        (graph([node("CumSum", "raw axis", "out")], tensors={"axis": np.int64(1)}), ()),
        (
            graph([node("ReduceMean", "raw axes", "mean"), node("Sub", "raw mean", "out")], tensors={"axes": [2, 3]}),
            ("ReduceMean",),
        ),
        (graph([node("ReduceMean", "raw axes", "out")], tensors={"axes": [1]}), ()),
        (graph([node("ReduceMax", "raw", "most"), node("Sub", "raw most", "out")]), ("ReduceMax",)),
        (
            graph(
                [node("Transpose", "raw", "turned", perm=[0, 1, 3, 2]), node("MatMul", "raw turned", "out")],
            ),
            ("MatMul",),
        ),
        (graph([node("MatMul", "weights raw", "out")], tensors={"weights": np.ones((1, 1, 24, 24), "float32")}), None),
        (
            graph([node("Resize", "raw none scales", "out", coordinate_transformation_mode="align_corners",
                        mode="linear")], tensors={"none": np.zeros(0, "float32"),
                                                  "scales": np.array([1, 1, 2, 2], "float32")}),
            ("Resize",),
        ),
        (
            graph([node("InstanceNormalization", "raw s s", "out")], tensors={"s": np.ones(1, "float32")}),
            ("InstanceNormalization",),
        ),
        (
            graph([node("Shape", "raw", "size"), node("Cast", "size", "n", to=1), node("ReduceMax", "n", "most"),
                   node("Div", "raw most", "out")]),
            (),
        ),
    ],
)  # fmt: skip
def test_operations_over_the_whole_tile_are_found(network: Any, found: tuple[str, ...] | None) -> None:
    trial = on_onnx(network)
    if found is None:  # takes this size alone
        with pytest.raises(ModelError):
            trial.dependence([IMAGE], [np.tile(IMAGE, (1, 1, 2, 2))])
        return
    assert trial.dependence([IMAGE], [np.tile(IMAGE, (1, 1, 2, 2))]).operations == found
    assert trial.dependence([IMAGE], None).operations == found


def test_local_networks_depend_on_no_tile() -> None:
    for network in (UNet(), Pooled((1, 1)), Scaled(down=2)):
        trial = on_onnx(exported(network, [torch.from_numpy(IMAGE)]))
        found = trial.dependence([IMAGE], [np.tile(IMAGE, (1, 1, 2, 2))])
        assert (found.operations, found.dtypes) == ((), (np.dtype("float32"),))


def test_the_memory_of_tensors_is_their_peak() -> None:
    network = graph([node("Concat", "raw raw raw", "three", axis=1), node("ReduceSum", "three axes", "out")],
                    tensors={"axes": [1]})  # fmt: skip
    assert on_onnx(network).tensor_memory([IMAGE]) == (1 + 3) * IMAGE.nbytes


# Models


@pytest.fixture(scope="module")
def blurring() -> Any:
    torch.manual_seed(0)
    return Blur((2, 2))


def test_tiles_give_what_the_whole_gives(tmp_path: Path, blurring: Any) -> None:
    image = np.random.default_rng(0).random((90, 70), "float32")
    network = exported(blurring, [torch.zeros(1, 1, 16, 16)])
    model = write_onnx_model(tmp_path / "onnx", network, *simple_tensors(halo=2))
    other = write_model(tmp_path / "torch", blurring, *simple_tensors(halo=2))
    whole = predict(model, image, axes="yx")
    tiled = predict(model, image, axes="yx", tile=32)
    np.testing.assert_allclose(whole.outputs["out"].array, predict(other, image, axes="yx").outputs["out"].array,
                               rtol=0, atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(tiled.outputs["out"].array, whole.outputs["out"].array, rtol=0, atol=1e-6)
    assert (whole.record["plan"]["tiles"], tiled.record["plan"]["tiles"] > 1) == (1, True)
    assert whole.record["engine"]["name"] == "onnxruntime"
    assert whole.record["weights"]["format"] == "onnx"
    assert whole.record["weights"]["reason"] == "the only weights"
    assert whole.record["versions"]["onnxruntime"]


@pytest.mark.parametrize("option", [[], ["--no-sandbox"]])
def test_onnxruntime_does_not_report_to_its_makers(tmp_path: Path, option: list[str]) -> None:
    """onnxruntime writes its reports into the user's cache folder before it sends them."""
    model = write_onnx_model(tmp_path / "model", identity(), *simple_tensors())
    np.save(tmp_path / "image.npy", IMAGE[0, 0])
    home = tmp_path / "home"
    home.mkdir()
    arguments = ["predict", str(model), str(tmp_path / "image.npy"), "-o", str(tmp_path / "out"), *option]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_inference", *arguments],
        cwd=ROOT, env=environment | {"HOME": str(home)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "telemetry" not in (done.stdout + done.stderr).lower()
    assert not [path for path in home.rglob("*") if "onnxruntime" in path.name]


def test_a_network_that_looks_at_the_whole_tile_gets_the_whole_image(tmp_path: Path) -> None:
    model = write_onnx_model(tmp_path, pooled(), *simple_tensors())
    image = np.random.default_rng(0).random((64, 64), "float32")
    found = predict(model, image, axes="yx", tile=32)
    assert "GlobalAveragePool" in " ".join(found.record["notes"])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_run_gives_the_same_bytes(blurring: Any, threads: int) -> None:
    network = exported(blurring, [torch.zeros(1, 1, 16, 16)])
    first, again = (on_onnx(network, threads=threads)([IMAGE])[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def both(folder: Path, network: Any, free: str = "bcyx") -> Path:
    """A model with TorchScript and ONNX weights of the same network."""
    rdf = write_model(folder, network, *simple_tensors(halo=2))
    (folder / "weights.onnx").write_bytes(exported(network, [torch.zeros(1, 1, 16, 16)], free=free))
    weights = yaml.safe_load(rdf.read_text())["weights"]
    entry = {"source": "weights.onnx", "sha256": sha256(folder / "weights.onnx"), "opset_version": 18}
    edit_description(rdf, weights={**weights, "onnx": entry})
    return rdf


@pytest.mark.parametrize(
    ("words", "format", "reason"),
    [
        ({}, "onnx", "preferred to torchscript"),
        ({"weights": "onnx"}, "onnx", "as given with --weights"),
        ({"weights": "torchscript"}, "torchscript", "as given with --weights"),
        ({"engine": "onnxruntime"}, "onnx", "the only weights"),
        ({"precision": "bfloat16"}, "torchscript", "the only weights"),
    ],
)
def test_weights_are_chosen(tmp_path: Path, blurring: Any, words: Any, format: str, reason: str) -> None:
    record = predict(both(tmp_path, blurring), IMAGE[0, 0], axes="yx", **words).record
    assert (record["weights"]["format"], record["weights"]["reason"]) == (format, reason)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"weights": "onnx", "engine": "torch"}, "--weights onnx and --engine torch exclude each other"),
        ({"weights": "onnx", "engine": "openvino"}, "--engine openvino exclude"),
        ({"weights": "onnx", "precision": "bfloat16"}, "--precision bfloat16 exclude"),
        ({"weights": "torchscript", "engine": "onnxruntime"}, "--engine onnxruntime exclude"),
        ({"weights": "pytorch_state_dict"}, "has no pytorch_state_dict weights; it offers torchscript, onnx"),
    ],
)
def test_options_that_exclude_each_other(tmp_path: Path, blurring: Any, words: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict(both(tmp_path, blurring), IMAGE[0, 0], axes="yx", **words)


@pytest.mark.parametrize("words", [{"engine": "torch"}, {"precision": "bfloat16"}])
def test_options_that_onnx_weights_do_not_know(tmp_path: Path, words: Any) -> None:
    model = write_onnx_model(tmp_path, identity(), *simple_tensors())
    with pytest.raises(UsageError, match="does not apply to ONNX weights, and the model has no others"):
        predict(model, IMAGE[0, 0], axes="yx", **words)


def test_torchscript_comes_before_an_onnx_network_of_one_size(tmp_path: Path, blurring: Any) -> None:
    rdf = both(tmp_path, blurring, free="")
    record = predict(rdf, IMAGE[0, 0], axes="yx").record
    assert record["weights"]["reason"] == "preferred to onnx, which takes 1×1×16×16 only"
    assert next(iter(inspect(rdf)["weights"]))["format"] == "torchscript"
    (tmp_path / "weights.pt").unlink()
    record = predict(rdf, np.zeros((16, 16), "float32"), axes="yx").record
    assert record["weights"]["reason"] == "because torchscript cannot be used (see the notes)"
    assert "The TorchScript weights were not used" in " ".join(record["notes"])


def test_torchscript_comes_before_an_onnx_network_that_may_look_at_the_whole_tile(tmp_path: Path) -> None:
    rdf = both(tmp_path, torch.nn.InstanceNorm2d(1))
    record = predict(rdf, IMAGE[0, 0], axes="yx").record
    reason = "preferred to onnx, which may look at the tile as a whole (InstanceNormalization)"
    assert (record["weights"]["format"], record["weights"]["reason"]) == ("torchscript", reason)


def test_torchscript_comes_before_onnx_without_onnxruntime(
    tmp_path: Path, blurring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rdf = both(tmp_path, blurring)
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    record = predict(rdf, IMAGE[0, 0], axes="yx").record
    assert record["weights"]["reason"] == "preferred to onnx, which needs the extra onnx"
    found = {one["format"]: one for one in inspect(rdf)["weights"]}
    assert "bioimage_inference[onnx]" in found["onnx"]["reason"]
    assert found["torchscript"]["used"]


def test_a_state_dict_of_a_known_network_comes_first(
    tmp_path: Path, blurring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rdf = with_state_dict(both(tmp_path, blurring), blurring)
    record = predict(rdf, IMAGE[0, 0], axes="yx").record
    reason = "preferred to torchscript and pytorch_state_dict, whose network is not known"
    assert (record["weights"]["format"], record["weights"]["reason"]) == ("onnx", reason)
    (tmp_path / "known.txt").write_text(sha256(tmp_path / "net.py") + "\n" + sha256(tmp_path / "weights.safetensors"))
    monkeypatch.setenv(HASHES_VARIABLE, str(tmp_path / "known.txt"))
    found = predict(rdf, IMAGE[0, 0], axes="yx")
    reason = "preferred to onnx and torchscript"
    assert (found.record["weights"]["format"], found.record["weights"]["reason"]) == ("pytorch_state_dict", reason)
    expected = predict(rdf, IMAGE[0, 0], axes="yx", weights="onnx").outputs["out"].array
    np.testing.assert_allclose(found.outputs["out"].array, expected, rtol=0, atol=1e-6)


def as_recorded_before(record: Path, **weights: str) -> None:
    """Change a record to one of a program that knew no reasons."""
    content = json.loads(record.read_text())
    del content["weights"]["reason"]
    record.write_text(json.dumps(content | {"weights": content["weights"] | weights}))


def test_a_recorded_run_is_repeated_with_its_weights(tmp_path: Path, blurring: Any, capsys: Any) -> None:
    rdf = both(tmp_path / "model", blurring)
    np.save(tmp_path / "image.npy", IMAGE[0, 0])
    command = ["predict", str(rdf), str(tmp_path / "image.npy"), "--axes", "yx", "-o", str(tmp_path / "out")]
    assert main([*command, "--weights", "torchscript"]) == 0
    record = tmp_path / "out" / "image_provenance.json"
    as_recorded_before(record)
    capsys.readouterr()
    assert main(["rerun", str(record), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["identical"], found["changes"]) == (True, [])
    assert main([*command, "--weights", "onnx"]) == 0
    assert main(["rerun", str(record)]) == 0


def test_a_folder_is_completed_with_the_weights_of_its_records(tmp_path: Path, blurring: Any, capsys: Any) -> None:
    rdf = both(tmp_path / "model", blurring)
    (tmp_path / "images").mkdir()
    for name in "ab":
        np.save(tmp_path / "images" / f"{name}.npy", IMAGE[0, 0])
    images, out = tmp_path / "images", tmp_path / "out"
    command = ["predict", str(rdf), str(images), "--axes", "yx", "-o", str(out)]
    assert main(["predict", str(rdf), str(images / "a.npy"), *command[3:], "--weights", "torchscript"]) == 0
    as_recorded_before(out / "a_provenance.json")
    capsys.readouterr()
    assert main([*command, "--resume"]) == 0
    assert "[a.npy] is complete already" in capsys.readouterr().out
    records = [json.loads((out / f"{name}_provenance.json").read_text()) for name in "ab"]
    assert [one["weights"]["format"] for one in records] == ["torchscript", "torchscript"]
    assert main([*command, "--resume", "--weights", "onnx"]) == 0
    assert "it was computed with another --weights" in capsys.readouterr().out
    records = [json.loads((out / f"{name}_provenance.json").read_text()) for name in "ab"]
    assert [one["weights"]["format"] for one in records] == ["onnx", "onnx"]


def with_state_dict(rdf: Path, network: Any) -> Path:
    """Add a state dict in safetensors to a model, with code that nobody knows."""
    folder = rdf.parent
    save_file(network.state_dict(), folder / "weights.safetensors")
    (folder / "net.py").write_text(
        "import torch\n\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(1, 1, 5, padding=2)\n\n    def forward(self, x):\n"
        "        return self.conv(x)\n"
    )
    architecture = {"callable": "Net", "source": "net.py", "sha256": sha256(folder / "net.py")}
    entry = {"source": "weights.safetensors", "pytorch_version": "2.6", "architecture": architecture}
    weights = yaml.safe_load(rdf.read_text())["weights"]
    edit_description(rdf, weights={**weights, "pytorch_state_dict": entry})
    return rdf


def test_a_gpu_is_for_onnxruntime_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device("cuda:0", "GPU")
    with pytest.raises(UsageError, match="onnxruntime-gpu in place of onnxruntime"):
        device_of_onnx(gpu, "cuda")
    assert device_of_onnx(gpu, "auto").name == "cpu"

    class WithCuda:
        @staticmethod
        def get_available_providers() -> list[str]:
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(onnx_network, "import_onnxruntime", WithCuda)
    assert device_of_onnx(gpu, "auto") is gpu


def test_external_data_in_the_package(tmp_path: Path) -> None:
    import onnx

    values = np.arange(24 * 32, dtype="float32").reshape(1, 1, 24, 32)
    network = graph([node("Add", "raw added", "out")], tensors={"added": values})
    onnx.save(network, tmp_path / "x.onnx", save_as_external_data=True, location="x.data", size_threshold=0)
    external = {"source": "x.data", "sha256": sha256(tmp_path / "x.data")}
    tensors = simple_tensors(size={"y": 24, "x": 32})
    content = (tmp_path / "x.onnx").read_bytes()
    model = write_onnx_model(tmp_path, content, *tensors, onnx={"external_data": external})
    found = predict(model, IMAGE[0, 0], axes="yx")
    np.testing.assert_array_equal(found.outputs["out"].array, IMAGE + values)
    assert found.record["weights"]["external_data_sha256"] == external["sha256"]
    (tmp_path / "x.data").write_bytes(bytes(values.nbytes))
    with pytest.raises(ModelError, match="not the file that the description means"):
        predict(model, IMAGE[0, 0], axes="yx")


def test_without_onnxruntime_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_onnx_model(tmp_path, identity(), *simple_tensors())
    monkeypatch.setattr(onnx_graph, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r'pip install "bioimage_inference\[onnx\]"'):
        predict(model, IMAGE[0, 0], axes="yx")
