"""Networks are loaded from the first weights that can be used; nothing that nobody vouched for ever runs."""

import hashlib
import inspect
import io
import os
import pickle
import shutil
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from bioimage_inference.errors import BioimageInferenceError, ModelError, OutOfMemoryError, TrustError
from bioimage_inference.model import architecture as architecture_module
from bioimage_inference.model import weights as weights_module
from bioimage_inference.model.architecture import load_function
from bioimage_inference.model.spec import Architecture, ModelSpec, Operation, WeightsEntry
from bioimage_inference.model.state_dict import find_state_dict
from bioimage_inference.model.trust import HASHES_VARIABLE, TRUST_VARIABLE, TrustPolicy
from bioimage_inference.model.weights import LoadedWeights, load_weights
from bioimage_inference.zoo.index import trust_policy

CODE = """\
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass
class Settings:
    kernel: ClassVar[int] = 3
    channels: int = 1


class Net(torch.nn.Module):
    def __init__(self, channels=1):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, Settings(channels).channels, Settings.kernel, padding=1)

    def forward(self, x):
        return self.conv(x)
"""
MARKING_CODE = "from pathlib import Path\nPath({marker!r}).touch()\n" + CODE.partition("\n\n")[2]
TRUSTING = TrustPolicy(trust_model_code=True)
IMAGE = torch.arange(64, dtype=torch.float32).reshape(1, 1, 8, 8)


class Reference(torch.nn.Module):
    """The network of CODE, as the one who saved its weights had it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


REFERENCE = Reference().eval()


def save_torchscript(path: Path, network: torch.nn.Module = REFERENCE) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(network), path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_of(root: Path, *entries: WeightsEntry, **facts: Any) -> ModelSpec:
    return ModelSpec("a model", inputs=(), outputs=(), weights=entries, root=root, **facts)


def state_dict_model(
    root: Path, state: object = None, code: str = CODE, callable: str = "Net", **saving: Any
) -> ModelSpec:
    torch.save(REFERENCE.state_dict() if state is None else state, root / "state.pt", **saving)
    (root / "net.py").write_text(code)
    architecture = Architecture(callable, {"channels": 1}, "net.py", sha256(root / "net.py"))
    return model_of(root, WeightsEntry("pytorch_state_dict", "state.pt", sha256(root / "state.pt"), architecture))


def library_model(root: Path, import_from: str, callable: str, **kwargs: Any) -> ModelSpec:
    torch.save(torch.nn.Conv2d(1, 1, 3).state_dict(), root / "state.pt")
    architecture = Architecture(callable, kwargs, import_from=import_from)
    return model_of(root, WeightsEntry("pytorch_state_dict", "state.pt", architecture=architecture))


def torchscript_model(root: Path) -> ModelSpec:
    path = save_torchscript(root / "weights.pt")
    return model_of(root, WeightsEntry("torchscript", path.name, sha256(path)))


def computes_like_the_reference(loaded: LoadedWeights) -> bool:
    with torch.inference_mode():
        return torch.equal(loaded.module(IMAGE), REFERENCE(IMAGE))


def test_torchscript_is_loaded_ready_for_inference(tmp_path: Path) -> None:
    loaded = load_weights(torchscript_model(tmp_path), TrustPolicy())
    assert computes_like_the_reference(loaded)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert loaded.sha256 == sha256(tmp_path / "weights.pt")
    assert loaded.notes == ()


def test_a_state_dict_is_put_into_its_architecture(tmp_path: Path) -> None:
    loaded = load_weights(state_dict_model(tmp_path), TRUSTING)
    assert computes_like_the_reference(loaded)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


WRAPPING_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.")


def prefixed(state: Mapping[str, Any], prefix: str = "module.") -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def wrapped(state: Mapping[str, Any], keys: Sequence[str], prefixes: Sequence[str], beside: bool) -> dict[str, Any]:
    """The state dict as a training program saves it, ``beside`` others: an optimizer's, and tensors of a loss."""
    found = prefixed(state, "".join(prefixes))
    if beside and set(prefixes) - {"_orig_mod."}:  # torch.compile compiles a whole module
        found["loss.weight"] = torch.ones(3)
    for key in reversed(keys):
        found = (
            {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, key: found} if beside else {key: found}
        )
    return found


class Deep(torch.nn.Module):
    """A network with modules in modules, batch normalisation, and names that look like a prefix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
        self.net = torch.nn.ModuleDict({"module": torch.nn.Conv2d(2, 1, 1)})
        self.eval()


@given(
    keys=st.lists(st.sampled_from(WRAPPING_KEYS), max_size=2),
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    beside=st.booleans(),
    compiled=st.sampled_from(["", "model.", "net.module.", "model.0."]),
)
def test_a_state_dict_is_found_under_keys_and_prefixes(
    keys: list[str], prefixes: list[str], beside: bool, compiled: str
) -> None:
    state = Deep().state_dict()
    saved = {key.replace(compiled, f"{compiled}_orig_mod.") if compiled else key: state[key] for key in state}
    found = find_state_dict(wrapped(saved, keys, prefixes, beside), state, "weights.pt")
    assert found.misfit is None
    assert found.tensors.keys() == state.keys()
    assert all(found.tensors[name] is state[name] for name in state)
    assert ("loss.weight" in "".join(found.notes)) == (beside and bool(set(prefixes) - {"_orig_mod."}))


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("prefix", ["", *PREFIXES, "model._orig_mod."])
@pytest.mark.parametrize("key", [None, *WRAPPING_KEYS])
def test_state_dicts_are_unwrapped(tmp_path: Path, key: str | None, prefix: str, beside: bool) -> None:
    state = wrapped(REFERENCE.state_dict(), [key] if key else [], [prefix] if prefix else [], beside)
    loaded = load_weights(state_dict_model(tmp_path, state), TRUSTING)
    assert computes_like_the_reference(loaded)


def test_weights_beside_averaged_ones_are_those_that_were_trained(tmp_path: Path) -> None:
    averaged = {name: value + 1 for name, value in REFERENCE.state_dict().items()}
    state = {"ema": averaged, "model": REFERENCE.state_dict()}
    loaded = load_weights(state_dict_model(tmp_path, state), TRUSTING)
    assert computes_like_the_reference(loaded)
    assert "under the key 'ema'" in "".join(loaded.notes)


def test_an_unusual_place_is_said(tmp_path: Path) -> None:
    state = {"student": prefixed(REFERENCE.state_dict(), "backbone."), "teacher": {"other": torch.ones(1)}}
    loaded = load_weights(state_dict_model(tmp_path, state), TRUSTING)
    assert computes_like_the_reference(loaded)
    assert "under the key 'student' with the prefix 'backbone.'" in "".join(loaded.notes)


@pytest.mark.parametrize(
    "places", [(["a"], [], ["b"], []), (["net"], [], ["model"], []), ([], ["net."], [], ["model."])]
)
def test_two_networks_that_fit_are_not_chosen_from(tmp_path: Path, places: tuple[list[str], ...]) -> None:
    other = {name: value + 1 for name, value in REFERENCE.state_dict().items()}
    state = wrapped(REFERENCE.state_dict(), *places[:2], False) | wrapped(other, *places[2:], False)
    with pytest.raises(ModelError, match="holds several networks") as caught:
        load_weights(state_dict_model(tmp_path, state), TRUSTING)
    for part in ("".join(place) for place in places if place):
        assert repr(part) in str(caught.value)


def test_of_two_networks_the_one_with_the_sizes_of_the_description(tmp_path: Path) -> None:
    larger = {name: torch.cat([value, value]) for name, value in REFERENCE.state_dict().items()}
    loaded = load_weights(state_dict_model(tmp_path, {"model": larger, "net": REFERENCE.state_dict()}), TRUSTING)
    assert computes_like_the_reference(loaded)


@given(drop=st.sampled_from(sorted(Deep().state_dict())), keys=st.lists(st.sampled_from(WRAPPING_KEYS), max_size=2))
def test_a_part_of_a_network_never_fits(drop: str, keys: list[str]) -> None:
    state = Deep().state_dict()
    part = {name: value for name, value in state.items() if name != drop}
    found = find_state_dict(wrapped(part, keys, ["model."], True), state, "weights.pt")
    if drop.endswith("num_batches_tracked"):  # counts nothing that a network computes with
        assert found.misfit is None
    else:
        assert found.misfit is not None
        assert f"missing: {drop}" in found.misfit


def test_the_key_that_holds_weights_that_do_not_fit_is_named(tmp_path: Path) -> None:
    state = {"epoch": 3, "generator": {"x.conv.weight": torch.zeros(1, 1, 3, 3)}}
    with pytest.raises(ModelError) as caught:
        load_weights(state_dict_model(tmp_path, state), TRUSTING)
    assert "under the key 'generator' with the prefix 'x.'" in str(caught.value)
    assert "missing: conv.bias" in str(caught.value)


def test_a_file_without_the_networks_names_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"under the key 'generator': first\.weight"):
        load_weights(state_dict_model(tmp_path, {"generator": {"first.weight": torch.zeros(3)}}), TRUSTING)


def test_a_file_that_holds_itself_is_searched_once(tmp_path: Path) -> None:
    state: dict[str, Any] = {f"part{number}": {} for number in range(200)}
    for part in (state, *list(state.values())):
        part.update(dict.fromkeys("abc", state))
    with pytest.raises(ModelError, match="do not fit"):
        load_weights(state_dict_model(tmp_path, state), TRUSTING)


def test_versions_of_modules_are_kept_without_a_prefix(tmp_path: Path) -> None:
    code = CODE + (
        "\n\nclass Versioned(Net):\n    _version = 2\n\n"
        "    def _load_from_state_dict(self, state, prefix, metadata, *more):\n"
        "        assert metadata['version'] == 2\n"
        "        super()._load_from_state_dict(state, prefix, metadata, *more)\n"
    )
    state: Any = OrderedDict(prefixed(REFERENCE.state_dict()))
    state._metadata = OrderedDict({"": {"version": 1}, "module": {"version": 2}, "module.conv": {"version": 1}})
    loaded = load_weights(state_dict_model(tmp_path, {"model": state}, code, "Versioned"), TRUSTING)
    assert computes_like_the_reference(loaded)


@pytest.mark.parametrize("saving", [{"_use_new_zipfile_serialization": False}, {"pickle_protocol": 3}])
def test_state_dicts_of_other_file_formats(tmp_path: Path, saving: dict[str, Any]) -> None:
    assert computes_like_the_reference(load_weights(state_dict_model(tmp_path, **saving), TRUSTING))


def test_a_network_that_loads_its_state_in_its_own_way(tmp_path: Path) -> None:
    own = CODE + "\n    def load_state_dict(self, state):\n        self.conv.load_state_dict(state['mine'])\n"
    state = {"mine": REFERENCE.conv.state_dict()}
    assert computes_like_the_reference(load_weights(state_dict_model(tmp_path, state, own), TRUSTING))


def test_a_function_of_the_file_may_build_the_network(tmp_path: Path) -> None:
    code = CODE + "\ndef build(**kwargs):\n    return Net(**kwargs)\n"
    assert computes_like_the_reference(load_weights(state_dict_model(tmp_path, code=code, callable="build"), TRUSTING))


def test_an_architecture_of_an_installed_library(tmp_path: Path) -> None:
    size = {"kernel_size": [3, 3], "padding_mode": "zeros", "bias": True, "device": None}
    model = library_model(tmp_path, "torch.nn", "Conv2d", in_channels=1, out_channels=1, **size)
    assert isinstance(load_weights(model, TrustPolicy()).module, torch.nn.Conv2d)


def test_torchscript_listed_as_a_state_dict_is_run_as_torchscript(tmp_path: Path) -> None:
    save_torchscript(tmp_path / "weights.pt")
    loaded = load_weights(model_of(tmp_path, WeightsEntry("pytorch_state_dict", "weights.pt")), TrustPolicy())
    assert computes_like_the_reference(loaded)
    assert "is TorchScript, and was run as such" in loaded.notes[0]


@pytest.mark.parametrize(
    ("example", "file"),
    [("unet2d_nuclei_broad", "weights.pt"), ("unet2d_multi_tensor", "weights_torchscript_traced.pt")],
)
def test_real_torchscript(shared: Path, example: str, file: str) -> None:
    root = shared / "examples" / example
    inputs = [torch.zeros(1, 1, 256, 256)] * (2 if example == "unet2d_multi_tensor" else 1)
    loaded = load_weights(model_of(root, WeightsEntry("torchscript", file)), TrustPolicy())
    with torch.inference_mode():
        outputs = loaded.module(*inputs)
    assert [output.shape for output in outputs] == [(1, 1, 256, 256)] * 2 or outputs.shape == (1, 1, 256, 256)


def test_the_next_entry_is_tried_and_the_reason_kept(tmp_path: Path) -> None:
    (state,) = state_dict_model(tmp_path).weights
    torchscript = WeightsEntry("torchscript", save_torchscript(tmp_path / "weights.pt").name)
    (tmp_path / state.source).unlink()
    loaded = load_weights(model_of(tmp_path, torchscript, state), TRUSTING)
    assert loaded.entry == torchscript
    assert loaded.notes == (
        "The PyTorch state dict weights were not used: The description names the file 'state.pt', which is missing in "
        "the package. Download the complete package.",
    )
    assert loaded.reason == "because pytorch_state_dict cannot be used (see the notes)"


def test_a_state_dict_posing_as_torchscript_is_no_torchscript(tmp_path: Path) -> None:
    (state,) = state_dict_model(tmp_path).weights
    posing = WeightsEntry("torchscript", "state.pt")
    assert load_weights(model_of(tmp_path, posing, state), TRUSTING).entry == state
    with pytest.raises(ModelError, match="listed as TorchScript, but is something else"):
        load_weights(model_of(tmp_path, posing), TRUSTING)


def test_a_state_dict_in_safetensors_is_loaded(tmp_path: Path) -> None:
    (state,) = state_dict_model(tmp_path).weights
    save_file(torch.load(tmp_path / state.source, weights_only=True), tmp_path / "state.safetensors")
    entry = replace(state, source="state.safetensors", sha256=None)
    assert computes_like_the_reference(load_weights(model_of(tmp_path, entry), TRUSTING))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:8] + b"{" + bytes(len(content) - 9),
        lambda content: (1 << 20).to_bytes(8, "little") + content[8:],
        lambda content: content.replace(b'"F32"', b'"F16"'),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, damage: Any) -> None:
    (state,) = state_dict_model(tmp_path).weights
    file = tmp_path / "state.safetensors"
    save_file(torch.load(tmp_path / state.source, weights_only=True), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ModelError):
        load_weights(model_of(tmp_path, replace(state, source=file.name, sha256=None)), TRUSTING)


def test_all_reasons_are_given_when_nothing_can_be_used(tmp_path: Path) -> None:
    state = WeightsEntry("pytorch_state_dict", "https://zenodo.org/records/1/files/weights.pt")
    with pytest.raises(ModelError) as caught:
        load_weights(model_of(tmp_path, WeightsEntry("torchscript", "weights.pt"), state), TrustPolicy())
    assert "TorchScript weights were not used" in str(caught.value)
    assert "it is at https://zenodo.org/records/1/files/weights.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trust_is_named_when_it_was_the_last_obstacle(tmp_path: Path) -> None:
    (state,) = state_dict_model(tmp_path).weights
    with pytest.raises(TrustError, match=r"weights\.pt.*missing.*--trust-model-code"):
        load_weights(model_of(tmp_path, WeightsEntry("torchscript", "weights.pt"), state), TrustPolicy())


def test_a_model_without_pytorch_weights_says_what_it_has(tmp_path: Path) -> None:
    model = model_of(tmp_path, other_weights=("tensorflow_saved_model_bundle", "keras_hdf5"))
    with pytest.raises(ModelError, match="has only tensorflow_saved_model_bundle, keras_hdf5 weights"):
        load_weights(model, TrustPolicy())


def test_bare_weights_stand_for_the_entry_of_their_kind(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (state,) = state_dict_model(tmp_path / "package").weights
    script = save_torchscript(tmp_path / "bare.dat")
    state_file = (tmp_path / "package" / "state.pt").rename(tmp_path / "state.dat")
    listed = WeightsEntry("torchscript", "weights.pt", sha256(script))
    both = model_of(tmp_path / "package", listed, state)
    assert load_weights(both, TrustPolicy(), script).entry == listed
    assert load_weights(both, TRUSTING, state_file).entry == state

    without = load_weights(model_of(tmp_path / "package", state), TrustPolicy(), script)
    assert without.entry == WeightsEntry("torchscript", "bare.dat")
    with pytest.raises(ModelError, match="names no architecture"):
        load_weights(model_of(tmp_path / "package", listed), TrustPolicy(), state_file)


def test_bare_weights_that_the_description_does_not_mean(tmp_path: Path) -> None:
    script = save_torchscript(tmp_path / "bare.pt")
    with pytest.raises(ModelError, match="expected was 000000000000"):
        load_weights(model_of(tmp_path, WeightsEntry("torchscript", "weights.pt", "0" * 64)), TrustPolicy(), script)


def test_unknown_code_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    model = state_dict_model(tmp_path, code=MARKING_CODE.format(marker=str(marker)))
    with pytest.raises(TrustError, match=r"net\.py is not run: .*--trust-model-code"):
        load_weights(model, trust_policy(environment={}))
    assert not marker.exists()
    load_weights(model, TRUSTING)
    assert marker.exists()


def test_the_administrators_list_lets_code_run(tmp_path: Path) -> None:
    model = state_dict_model(tmp_path)
    (tmp_path / "trusted.txt").write_text(sha256(tmp_path / "net.py"))
    policy = trust_policy(environment={HASHES_VARIABLE: str(tmp_path / "trusted.txt")})
    assert computes_like_the_reference(load_weights(model, policy))


@pytest.mark.parametrize("build", [torchscript_model, state_dict_model])
def test_known_only_asks_for_every_file(tmp_path: Path, build: Callable[[Path], ModelSpec]) -> None:
    model = build(tmp_path)
    listed = tmp_path / "trusted.txt"
    environment = {TRUST_VARIABLE: "known", HASHES_VARIABLE: str(listed)}
    files = [sha256(path) for path in tmp_path.iterdir() if path.suffix in (".pt", ".py")]
    for missing in files:
        listed.write_text("\n".join(known for known in files if known != missing))
        with pytest.raises(TrustError, match=rf"administrator .*{missing}"):
            load_weights(model, trust_policy(trust_model_code=True, environment=environment))
    listed.write_text("\n".join(files))
    assert computes_like_the_reference(load_weights(model, trust_policy(environment=environment)))


@pytest.mark.parametrize("file", ["weights.pt", "state.pt", "net.py"])
def test_one_flipped_bit_is_noticed(tmp_path: Path, file: str) -> None:
    model = torchscript_model(tmp_path) if file == "weights.pt" else state_dict_model(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=r"SHA-256 begins with|damaged or incomplete"):
        load_weights(model, TRUSTING)


def test_a_description_cannot_call_just_anything_of_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    marker = Path("marker")
    with pytest.raises(TrustError, match="belongs to no installed package"):
        load_weights(library_model(tmp_path, "os", "mkdir", path=str(marker)), TrustPolicy())
    with pytest.raises(TrustError, match="is no network class"):
        load_weights(library_model(tmp_path, "torch", "save", obj=1, f=str(marker)), TrustPolicy())
    model = library_model(tmp_path, "torch", "save", obj=1, f=str(marker))
    known = TrustPolicy(True, known_only=True, administrator=frozenset({sha256(tmp_path / "state.pt")}))
    with pytest.raises(TrustError, match="is no network class"):
        load_weights(model, known)
    assert not marker.exists()


@pytest.mark.parametrize(
    "value", ["/tmp/hub", "./hub", "http://example.org/weights", "a file", "owner/repository", "folder_here", b"bytes"]
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_library_gets_no_names_of_files_or_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object, nested: bool
) -> None:
    """Classes of MONAI, for instance, run Python files in a folder and download from an address that they are given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder_here").mkdir()
    given = [{"of": value}] if nested else value
    model = library_model(tmp_path, "torch.nn", "Conv2d", in_channels=1, padding_mode=given)
    known = TrustPolicy(True, known_only=True, administrator=frozenset({sha256(tmp_path / "state.pt")}))
    for policy in (TrustPolicy(), known):
        with pytest.raises(TrustError, match=r"padding_mode=.* may name a file or address.* --trust-model-code"):
            load_weights(model, policy)


def test_a_module_in_the_current_folder_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "planted_library.py").write_text(MARKING_CODE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TrustError, match="belongs to no installed package"):
        load_weights(library_model(tmp_path, "planted_library", "Net"), TrustPolicy())
    assert not marker.exists()


def test_known_code_cannot_be_asked_for_what_it_only_imports(tmp_path: Path) -> None:
    model = state_dict_model(tmp_path, code="from os import mkdir\n" + CODE.partition("\n\n")[2], callable="mkdir")
    policy = TrustPolicy(published=frozenset({sha256(tmp_path / "net.py")}))
    with pytest.raises(TrustError, match=r"mkdir of net\.py is not called"):
        load_weights(model, policy)


CUSTOM = """\
import numpy as np
from os import mkdir

class threshold:
    def __init__(self, at=0.5):
        self.at = at
    def __call__(self, array):
        return array > self.at

def factory(at):
    return lambda array: array > at

def no_function(at):
    return at
"""


def custom_step(root: Path, callable: str, **kwargs: Any) -> Operation:
    (root / "own.py").write_text(CUSTOM)
    details = {"callable": callable, "source": "own.py", "sha256": sha256(root / "own.py"), "kwargs": kwargs}
    return Operation("custom", details)


@pytest.mark.parametrize("name", ["threshold", "factory"])
def test_functions_of_custom_steps_follow_the_same_rules(tmp_path: Path, name: str) -> None:
    step = custom_step(tmp_path, name, at=1)
    assert load_function(step, tmp_path, TRUSTING)(IMAGE.numpy()).sum() == 62
    with pytest.raises(TrustError, match=r"own\.py is not run: .*--trust-model-code"):
        load_function(step, tmp_path, TrustPolicy())


def test_custom_steps_that_name_something_else(tmp_path: Path) -> None:
    step = custom_step(tmp_path, "mkdir", path=str(tmp_path / "marker"))
    with pytest.raises(TrustError, match=r"mkdir of own\.py is not called"):
        load_function(step, tmp_path, TrustPolicy(published=frozenset({sha256(tmp_path / "own.py")})))
    assert not (tmp_path / "marker").exists()
    with pytest.raises(ModelError, match="made a int, not a function of arrays"):
        load_function(custom_step(tmp_path, "no_function", at=1), tmp_path, TRUSTING)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def plain_pickle(path: Path, bomb: Bomb, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps({"weight": bomb}, protocol=protocol))


def new_pickle(path: Path, bomb: Bomb) -> None:
    plain_pickle(path, bomb, protocol=5)


def zipped(path: Path, bomb: Bomb) -> None:
    torch.save({"weight": bomb}, path)


def legacy(path: Path, bomb: Bomb) -> None:
    torch.save({"weight": bomb}, path, _use_new_zipfile_serialization=False)


def whole_network(path: Path, bomb: Bomb) -> None:
    network = Reference()
    network.bomb = bomb  # type: ignore[assignment]
    torch.save(network, path)


def pickle_then_zip(path: Path, bomb: Bomb) -> None:
    save_torchscript(path)
    path.write_bytes(pickle.dumps(bomb, protocol=2) + path.read_bytes())


def zip_then_pickle(path: Path, bomb: Bomb) -> None:
    torch.save(REFERENCE.state_dict(), path)
    path.write_bytes(path.read_bytes() + pickle.dumps(bomb, protocol=2))


def torchscript_with_pickle(path: Path, bomb: Bomb) -> None:
    save_torchscript(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickle.dumps(bomb, protocol=2) if name.endswith(".pkl") else content)


def old_tar(path: Path, bomb: Bomb) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(bomb, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def rubbish(path: Path, bomb: Bomb) -> None:
    path.write_bytes(repr(bomb).encode())


PICKLES = [plain_pickle, new_pickle, zipped, legacy, whole_network, torchscript_with_pickle]
POLYGLOTS = [pickle_then_zip, zip_then_pickle]


@pytest.mark.parametrize("kind", ["torchscript", "pytorch_state_dict"])
@pytest.mark.parametrize("build", [*PICKLES, *POLYGLOTS, old_tar, rubbish])
def test_pickles_never_execute(tmp_path: Path, build: Callable[[Path, Bomb], None], kind: Any) -> None:
    marker = tmp_path / "marker"
    (entry,) = state_dict_model(tmp_path).weights
    build(tmp_path / "bomb.pt", Bomb(marker))
    with pytest.raises(BioimageInferenceError) as caught:
        load_weights(model_of(tmp_path, WeightsEntry(kind, "bomb.pt", architecture=entry.architecture)), TRUSTING)
    assert caught.value.exit_code in (3, 4)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (
            "import no_such_library",
            "needs the Python package no_such_library, which is not installed here.",
        ),
        ("import torch.no_such_part", "needs torch.no_such_part, which the installed version of torch lacks"),
        ("from torch import NoSuchName", "does not work with the versions of the packages here"),
        ("class Net: pass", "Net failed (TypeError"),
        ("def Net(channels): return 1", "Net of net.py built a int, not a PyTorch network"),
        ("Net = 3", "net.py has no Net that can be called"),
        ("", "net.py has no Net that can be called"),
        ("def Net(:", "failed (SyntaxError"),
        ("raise SystemExit(0)", "failed (SystemExit"),
        ("def Net(channels): raise ValueError('two\\nlines')", "failed (ValueError: two lines)"),
    ],
)
def test_code_that_fails_is_a_broken_model(tmp_path: Path, code: str, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_weights(state_dict_model(tmp_path, code=code), TRUSTING)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("import_from", "callable", "found"),
    [
        ("no_such_library.models", "UNet", "needs the Python package no_such_library, which is not installed here."),
        ("torch.no_such_part", "UNet", "needs torch.no_such_part, which the installed version of torch lacks"),
        ("torch.nn", "NoSuchNet", "torch.nn has no NoSuchNet"),
        ("", "UNet", "'', which is no Python module"),
        ("..torch", "UNet", "which is no Python module"),
    ],
)
def test_libraries_that_lack_the_network(tmp_path: Path, import_from: str, callable: str, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_weights(library_model(tmp_path, import_from, callable), TrustPolicy())
    assert found in str(caught.value)


def test_a_missing_library_of_the_zoo_comes_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(architecture_module._HOW_TO_INSTALL, "no_such_library", "pip install no-such-library")
    with pytest.raises(ModelError, match="Install it with: pip install no-such-library"):
        load_weights(library_model(tmp_path, "no_such_library.models", "UNet"), TrustPolicy())


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({"other.weight": torch.zeros(1)}, r"weights state\.pt do not fit the network Net .*conv\.weight"),
        ([torch.zeros(1)], r"holds a list, expected were named tensors"),
    ],
)
def test_weights_of_another_network(tmp_path: Path, state: object, found: str) -> None:
    with pytest.raises(ModelError, match=found):
        load_weights(state_dict_model(tmp_path, state), TRUSTING)


def test_names_that_need_not_match_where_the_description_says_so(tmp_path: Path) -> None:
    state = {**REFERENCE.state_dict(), "of.training.only": torch.zeros(1)}
    model = state_dict_model(tmp_path, state)
    with pytest.raises(ModelError, match=r"of\.training\.only"):
        load_weights(model, TRUSTING)
    lenient = replace(model, weights=(replace(model.weights[0], strict=False),))
    assert computes_like_the_reference(load_weights(lenient, TRUSTING))


def test_a_network_is_never_left_without_weights(tmp_path: Path) -> None:
    model = state_dict_model(tmp_path, {"another.name": torch.zeros(1)})
    lenient = replace(model, weights=(replace(model.weights[0], strict=False),))
    with pytest.raises(ModelError, match="do not fit the network Net"):
        load_weights(lenient, TRUSTING)


def test_tensors_that_the_description_lets_be_missing_are_said(tmp_path: Path) -> None:
    model = state_dict_model(tmp_path, {"model": {"conv.weight": REFERENCE.state_dict()["conv.weight"]}})
    lenient = replace(model, weights=(replace(model.weights[0], strict=False),))
    loaded = load_weights(lenient, TRUSTING)
    assert torch.equal(loaded.module.state_dict()["conv.weight"], REFERENCE.state_dict()["conv.weight"])
    assert "lacks 1 tensor of the network, for instance conv.bias" in "".join(loaded.notes)


def test_a_state_dict_without_architecture(tmp_path: Path) -> None:
    state_dict_model(tmp_path)
    with pytest.raises(ModelError, match="names no architecture"):
        load_weights(model_of(tmp_path, WeightsEntry("pytorch_state_dict", "state.pt")), TRUSTING)


@pytest.mark.parametrize("member", ["data/0", ".py"])
def test_damaged_torchscript_without_a_declared_hash(tmp_path: Path, member: str) -> None:
    path = save_torchscript(tmp_path / "weights.pt")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = next(info.header_offset for info in archive.infolist() if info.filename.endswith(member))
    name_length, extra_length = struct.unpack_from("<HH", content, place + 26)
    content[place + 30 + name_length + extra_length + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or incomplete zip file"):
        load_weights(model_of(tmp_path, WeightsEntry("torchscript", "weights.pt")), TrustPolicy())


def test_weights_that_change_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchscript_model(tmp_path)
    load = weights_module._load_torchscript

    def meddle(path: Path, *_: Any) -> Any:
        module = load(path, *_)
        path.write_bytes(b"something else")
        return module

    monkeypatch.setattr(weights_module, "_load_torchscript", meddle)
    with pytest.raises(ModelError, match="was changed while it was read"):
        load_weights(model, TrustPolicy())


def test_weights_that_disappear_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = torchscript_model(tmp_path)
    load = weights_module._load_torchscript

    def meddle(path: Path, *_: Any) -> Any:
        module = load(path, *_)
        path.unlink()
        return module

    monkeypatch.setattr(weights_module, "_load_torchscript", meddle)
    with pytest.raises(ModelError, match="disappeared while it was read"):
        load_weights(model, TrustPolicy())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system has no paths of open files")
@pytest.mark.parametrize("kind", ["torchscript", "state_dict"])
def test_weights_are_those_that_were_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Somebody swaps the folder of the weights for another one after the hash was taken, and swaps them back."""
    honest, other, away = (tmp_path / name for name in ("weights", "other", "away"))
    model = torchscript_model(tmp_path) if kind == "torchscript" else state_dict_model(tmp_path)
    name = model.weights[0].source
    for folder in (honest, other):
        folder.mkdir()
    shutil.move(tmp_path / name, honest / name)
    if kind == "torchscript":
        save_torchscript(other / name, torch.nn.Identity())
    else:
        torch.save({key: value + 1 for key, value in REFERENCE.state_dict().items()}, other / name)
    check, load = weights_module.check_sha256, getattr(weights_module, f"_load_{kind}")

    def swapping(*arguments: Any) -> str:
        found = check(*arguments)
        honest.rename(away)
        other.rename(honest)
        return found

    def swapping_back(*arguments: Any) -> Any:
        found = load(*arguments)
        honest.rename(other)
        away.rename(honest)
        return found

    monkeypatch.setattr(weights_module, "check_sha256", swapping)
    monkeypatch.setattr(weights_module, load.__name__, swapping_back)
    entry = replace(model.weights[0], source=f"weights/{name}")
    assert computes_like_the_reference(load_weights(replace(model, weights=(entry,)), TRUSTING))


def test_the_code_that_was_judged_is_the_code_that_python_shows(tmp_path: Path) -> None:
    loaded = load_weights(state_dict_model(tmp_path), TRUSTING)
    (tmp_path / "net.py").write_text("class Net: 'another one'")
    assert inspect.getsource(type(loaded.module)) == CODE.rpartition("\n\n\n")[2]


def test_a_network_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemoryError):
        load_weights(state_dict_model(tmp_path, code="def Net(channels): raise MemoryError"), TRUSTING)

    def full(*_args: Any, **_kwargs: Any) -> None:
        torch.empty(1 << 50)  # more than there is address space

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(OutOfMemoryError):
        load_weights(state_dict_model(tmp_path), TRUSTING)


def test_a_huge_python_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="too large for the Python file"):
        load_weights(state_dict_model(tmp_path, code="#" * (11 * 2**20)), TRUSTING)


def test_what_a_model_prints_stays_away_from_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_weights(state_dict_model(tmp_path, code=CODE + "\nprint('hello')\n"), TRUSTING)
    assert capsys.readouterr() == ("", "hello\n")
