"""Networks that compute and do nothing else pass the vetting of TorchScript, and give the same results as before."""

import importlib
import resource
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bioimage_inference.model.package import weights_kind
from bioimage_inference.model.vetting.source_code import NotVetted
from bioimage_inference.model.vetting.vetted_loading import allowed_operations, load_vetted

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of scripts/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of what tracing fixes, and of old operators
@pytest.mark.parametrize("kind", ["scripted", "traced"])
def test_networks_of_our_own_pass_with_equal_results(tmp_path: Path, script: Any, kind: str) -> None:
    operations, networks = script("list_operations"), script("operation_networks")
    file = tmp_path / "network.pt"
    failures, passed = [], 0
    for network in networks.networks():
        if not getattr(network, kind):
            continue
        operations.save(network, kind, file)
        try:
            vetted = load_vetted(file)
        except NotVetted as error:
            failures.append(f"{network.name}: {error}")
            continue
        known = operations.result(torch.jit.load(file), network.inputs)
        if not networks.same(known, operations.result(vetted, network.inputs)):
            failures.append(f"{network.name}: other results")
        passed += 1
    assert not failures, "\n".join(failures)
    assert passed > 60


@pytest.mark.parametrize("member", ["demo-model", "demo-model-3d"])
def test_the_demo_models_pass(tmp_path: Path, member: str) -> None:
    shape = (1, 1, 16, 32, 32) if "3d" in member else (1, 1, 64, 64)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    folder = ROOT / "test-data"
    with zipfile.ZipFile(folder / f"{member}.zip") as archive:
        (tmp_path / "weights.pt").write_bytes(archive.read("weights.pt"))
    for weights in (folder / member / "weights.pt", tmp_path / "weights.pt"):
        with torch.inference_mode():
            known, vetted = torch.jit.load(weights)(image), load_vetted(weights)(image)
        assert torch.equal(known, vetted)


def test_compressed_weights_and_a_limit_on_file_sizes_change_nothing(tmp_path: Path) -> None:
    """Weights are copied as they lie in the file, but where they are compressed or no file may hold them."""
    plain, compressed = ROOT / "test-data" / "demo-model" / "weights.pt", tmp_path / "weights.pt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
    image = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with torch.inference_mode():
        known = torch.jit.load(plain)(image)
        found = [load_vetted(compressed)(image)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            found.append(load_vetted(plain)(image))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert all(torch.equal(known, one) for one in found)


def passes(folder: Path, scratch: Path) -> list[str]:
    """The names of the TorchScript files in a folder and its packages. Raises where one does not pass."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".pt" and weights_kind(path) == "torchscript":
            load_vetted(path)
            found.append(path.name)
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith(".pt"):
                        inner = scratch / "inner.pt"
                        inner.write_bytes(archive.read(name))
                        if weights_kind(inner) == "torchscript":
                            load_vetted(inner)
                            found.append(f"{path.name}/{name}")
    return found


def test_all_torchscript_of_the_repository_passes(tmp_path: Path) -> None:
    assert len(passes(ROOT / "test-data", tmp_path)) >= 4
    assert len(passes(ROOT / "tools" / "bioimage_inference" / "test-data", tmp_path)) >= 2


def test_all_torchscript_of_the_examples_passes(shared: Path, tmp_path: Path) -> None:
    assert len(passes(shared / "examples", tmp_path)) >= 3


def test_no_operator_on_the_list_is_forbidden(script: Any) -> None:
    why_never = script("never_allowed").why_never
    assert not [name for name in allowed_operations() if why_never(name)]
    for name in (
        "aten::from_file", "aten::save", "aten::load", "aten::set_", "aten::as_strided", "aten::resize_",
        "aten::data_ptr", "prim::Print", "prim::PythonOp", "prim::fork", "aten::wait",
        "inductor::_alloc_from_pool", "aten::manual_seed",
        "aten::lstm", "aten::sparse_coo_tensor", "aten::max_unpool2d", "quantized::linear_prepack", "profiler::_record",
    ):  # fmt: skip
        assert why_never(name), name
        assert name not in allowed_operations()
