"""Loads a model's network: TorchScript, ONNX, or tensors that are put into the architecture of the description.

Weights are never unpickled, and the model's own Python file runs only where the trust policy allows it. Torch is
imported only when a network is loaded.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from ..errors import ModelError, TrustError, UsageError
from ..text import counted, reason_of
from .architecture import build_network, check_code, refuse_for_memory, running_model_code
from .package import check_sha256, file_sha256, is_safetensors, package_file, require_sha256, weights_kind
from .safe_zip import MIB, check_content, open_archive
from .spec import WEIGHTS_TITLES, ModelSpec, WeightsEntry
from .trust import HASHES_VARIABLE, TrustPolicy
from .vetting.onnx_graph import NotVettedOnnx, OnnxNetwork, read_onnx
from .weights_order import WeightsChoice

if TYPE_CHECKING:
    import torch

_OLDEST_TORCH = (2, 10)
_CODE = re.compile(r"[^/]+/code/.+\.py")
_CALL = re.compile(r"\btorch\.(\w+)\(")
_MOST_CODE = 16 * MIB  # the largest networks of the zoo have less than 1 MiB


@dataclass(frozen=True)
class LoadedWeights:
    """A network on the CPU, in evaluation mode and without gradients, and the weights that it comes from.

    ``entry`` is the weights entry that was used, ``reason`` tells why, and ``sha256`` is the hash of its file.
    ``external_data_sha256`` is the hash of the tensors of an ONNX network in a file of their own. ``notes`` tell, one
    line each, why earlier entries were not used and what is unusual about this entry.
    """

    module: "torch.nn.Module | OnnxNetwork"
    entry: WeightsEntry
    sha256: str
    notes: tuple[str, ...]
    reason: str = ""
    external_data_sha256: str | None = None


def load_weights(
    model: ModelSpec, policy: TrustPolicy, bare_weights: Path | None = None, choice: WeightsChoice | None = None
) -> LoadedWeights:
    """Load the first entry of ``model.weights`` that can be used here, in the order of the ``choice``.

    ``bare_weights`` is a file given without a package; see :func:`entry_of`. Raises :class:`TrustError` where the
    trust policy refuses an entry and no other can be used, :class:`ModelError` where none can be used for other
    reasons, :class:`OutOfMemoryError` where the network does not fit, and :class:`UsageError` for a version of PyTorch
    that weights can harm, or a choice that the model does not offer.
    """
    choice = choice or WeightsChoice()
    check_offered(model, bare_weights)
    _check_torch()
    failures: list[ModelError | TrustError] = []
    notes: list[str] = []
    offered = model if bare_weights is None else replace(model, weights=(entry_of(model, bare_weights),))
    candidates = choice.candidates(offered, policy)
    for place, entry in enumerate(one.entry for one in candidates):
        try:
            loaded = _load_entry(entry, model, policy, bare_weights)
        except (ModelError, TrustError) as error:
            failures.append(error)
            notes.append(f"The {WEIGHTS_TITLES[entry.format]} weights were not used: {error}")
        else:
            return replace(loaded, notes=(*notes, *loaded.notes), reason=choice.reason(place, candidates))
    if len(failures) == 1:
        raise failures[0]
    kind = TrustError if any(isinstance(failure, TrustError) for failure in failures) else ModelError
    raise kind(f"None of the weights of the model {model.name} can be used. {' '.join(notes)}")


def _check_torch() -> None:
    """Raise :class:`UsageError` for a PyTorch whose reader of weights is not safe."""
    import torch

    version: str = torch.__version__
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < _OLDEST_TORCH:
        raise UsageError(
            f"PyTorch {version} is installed here. Weights made for an attack can harm versions before 2.10 "
            '(CVE-2026-24747). Install a newer one: pip install "torch>=2.10".'
        )


def check_offered(model: ModelSpec, bare_weights: Path | None = None, twin: str = "") -> None:
    """Raise :class:`ModelError` where a model has weights for other frameworks only. Imports no torch.

    ``twin`` is the sentence that names another model of the zoo to use instead, if there is one.
    """
    if bare_weights is None and not model.weights:
        raise ModelError(f"The model {model.name} {no_weights_in_words(model, twin)}")


def no_weights_in_words(model: ModelSpec, twin: str = "") -> str:
    """Return the clause and the next step for a model without weights that run here: "has only keras_hdf5 …"."""
    found = f"only {', '.join(model.other_weights)}" if model.other_weights else "no"
    return (
        f"has {found} weights; this program runs torchscript, pytorch_state_dict and onnx. "
        f"{twin or 'Choose a model that offers one of these.'}"
    )


def entry_of(model: ModelSpec, bare_weights: Path) -> WeightsEntry:
    """Return the entry of the description for a weights file that was given without its package.

    It is the entry with the file's SHA-256, else the first of its kind. Raises :class:`ModelError` for a state dict
    where the description has no entry of this kind.
    """
    sha256 = file_sha256(bare_weights)
    kinds = {"torchscript": "torchscript", "onnx": "onnx"}
    kind = kinds.get(weights_kind(bare_weights) or "", "pytorch_state_dict")
    same_file = [entry for entry in model.weights if (entry.sha256 or "").lower() == sha256]
    same_kind = [entry for entry in model.weights if entry.format == kind]
    for entry in (*same_file, *same_kind):
        return entry
    if kind == "torchscript":
        return WeightsEntry("torchscript", bare_weights.name)
    if kind == "onnx":
        return WeightsEntry("onnx", bare_weights.name)
    raise ModelError(
        f"{bare_weights.name} holds the weights of a network, but the description of {model.name} names no "
        "architecture to put them into: it has no pytorch_state_dict entry. Use the TorchScript weights of the model."
    )


def called_operations(weights: Path) -> tuple[str, ...]:
    """Return the operations of torch that the code in a TorchScript file calls, in the order of their first call.

    None of the code is run. Raises :class:`ModelError` for a damaged file, and for code longer than any network's.
    """
    found: dict[str, None] = {}
    with open_archive(weights) as archive:
        for name in filter(_CODE.fullmatch, archive.members):
            found |= dict.fromkeys(_CALL.findall(archive.read(name, _MOST_CODE).decode(errors="replace")))
    return tuple(found)


def _load_entry(entry: WeightsEntry, model: ModelSpec, policy: TrustPolicy, bare_weights: Path | None) -> LoadedWeights:
    path = bare_weights or package_file(model.root, entry.source)
    with path.open("rb") as stream:
        return _load_held(entry, model, policy, path, _held(stream, path), is_bare=bare_weights is not None)


def _held(stream: BinaryIO, path: Path) -> Path:
    """Return a path that stays with the file of a stream, where the system has such paths, else the file's ``path``.

    Others may rename folders around the file between its hash and its use.
    """
    held = Path(f"/proc/self/fd/{stream.fileno()}")
    return held if held.exists() else path


def _load_held(
    entry: WeightsEntry, model: ModelSpec, policy: TrustPolicy, path: Path, held: Path, *, is_bare: bool
) -> LoadedWeights:
    """Return the weights in the file ``path``, read from ``held``. ``is_bare``: given without their package."""
    before = _identity(path)
    kind = weights_kind(path)
    sha256 = check_sha256(held, entry.sha256, path.name)
    if entry.sha256 is None:
        check_content(path)  # torch compares no checksums, and may crash on damaged TorchScript
    verdict = policy.may_load_weights(sha256)
    if not verdict.allowed:
        raise TrustError(f"{path.name} is not loaded: {verdict.reason}.")
    if entry.format == "onnx":
        root = path.absolute().parent if is_bare else model.root
        return _load_onnx(entry, path, sha256, root, policy)
    notes: tuple[str, ...] = ()
    if kind == "torchscript":
        module = _load_torchscript(path, held, sha256, verdict.trusted)
        if entry.format != "torchscript":
            notes = (
                f"{path.name} is listed as a {WEIGHTS_TITLES[entry.format]}, but is TorchScript, and was run as such.",
            )
    elif entry.format == "torchscript":
        raise ModelError(f"{path.name} is listed as TorchScript, but is something else by its content.")
    else:
        module, notes = _load_state_dict(entry, path, held, model, policy)
    # The hash is that of the file before torch read it.
    if _identity(path) != before:
        raise ModelError(f"{path.name} was changed while it was read. Run again when nothing writes to it.")
    with running_model_code(f"Preparing the network of {path.name}"):
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    return LoadedWeights(module, entry, sha256, notes)


def _load_onnx(entry: WeightsEntry, path: Path, sha256: str, root: Path, policy: TrustPolicy) -> LoadedWeights:
    """Return the checked network of an ONNX file with the hash ``sha256``, whose package is in ``root``."""
    try:
        network = read_onnx(path, root, sha256)
    except NotVettedOnnx as error:
        raise TrustError(
            f"{path.name} is not loaded: {error}. ONNX networks may compute with tensors of their own package and do "
            "nothing else. Use other weights of the model, or ask its authors for a plain export."
        ) from error
    if network.data is not None and network.data_sha256 is not None:
        declared = entry.external_data
        if declared is not None and package_file(root, declared.source) == network.data:
            require_sha256(network.data_sha256, declared.sha256, network.data.name)
        verdict = policy.may_load_weights(network.data_sha256)
        if not verdict.allowed:
            raise TrustError(f"{network.data.name} is not loaded: {verdict.reason}.")
    return LoadedWeights(network, entry, sha256, (), external_data_sha256=network.data_sha256)


def _identity(path: Path) -> tuple[int, ...]:
    """Return facts of a file that change when it is written or replaced."""
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path.name} disappeared while it was read. Run again when it is there.") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load_torchscript(path: Path, held: Path, sha256: str, trusted: bool) -> "torch.nn.Module":
    """Return the network, read from ``held``; where nobody vouches for it, only after it was vetted."""
    import torch

    from .vetting.source_code import NotVetted
    from .vetting.vetted_loading import load_vetted

    load: Any = torch.jit.load  # has no types in torch 2.13
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        try:
            module: torch.nn.Module = load(held, map_location="cpu") if trusted else load_vetted(held)
        except NotVetted as error:
            raise TrustError(
                f"{path.name} is not loaded: {error}. TorchScript that nobody vouches for may compute with tensors and "
                "do nothing else. Use the model's state dict where it has one. If you know what the code does, add "
                f"--trust-model-code, or have an administrator add its SHA-256 ({sha256}) to the list that "
                f"{HASHES_VARIABLE} names."
            ) from error
        except Exception as error:  # torch's readers raise anything for a broken file
            _refuse_unreadable(path, error)
    return module


def _load_state_dict(
    entry: WeightsEntry, path: Path, held: Path, model: ModelSpec, policy: TrustPolicy
) -> tuple["torch.nn.Module", tuple[str, ...]]:
    """Return the network with its weights, read from ``held``, and notes on what is unusual about them.

    Raises :class:`ModelError` where the weights do not fit the network. Where the entry is not ``strict``, some of the
    network's tensors may be missing in the file, but not all.
    """
    from .state_dict import find_state_dict

    architecture = entry.architecture
    if architecture is None:
        raise ModelError(f"The description names no architecture to put the weights of {path.name} into.")
    source = architecture.source
    code = None if source is None else check_code(source, architecture.sha256, model.root, policy)
    content = _load_tensors(path, held)
    network = build_network(architecture, code, policy)
    doing = f"Putting the weights of {path.name} into {architecture.callable}"
    with running_model_code(doing):
        own = network.state_dict()
    found = find_state_dict(content, own, path.name)
    misfit = (
        f"The weights {path.name} do not fit the network {architecture.callable} of the description: {found.misfit}. "
        "Use the weights that belong to the description, or the description of these weights."
    )
    try:
        with running_model_code(doing):
            # strict is the default, and some models' own load_state_dict does not take it
            result = network.load_state_dict(found.tensors, **({} if entry.strict else {"strict": False}))
    except ModelError as error:
        raise (error if found.misfit is None else ModelError(misfit)) from error.__cause__
    missing: list[str] = list(getattr(result, "missing_keys", ()))  # some models' own load_state_dict returns nothing
    if not missing:
        return network, found.notes
    if len(missing) == len(own):
        raise ModelError(misfit)
    lacking = (
        f"{path.name} lacks {counted(len(missing), 'tensor')} of the network, for instance {missing[0]}. The "
        "description allows this: missing tensors keep the values that the network is built with."
    )
    return network, (*found.notes, lacking)


def _load_tensors(path: Path, held: Path) -> Mapping[str, Any]:
    """Return the content of a file of safetensors or ``torch.save``; only tensors and containers are unpickled."""
    if is_safetensors(held):
        return _load_safetensors(path, held)
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        try:
            content = torch.load(held, map_location="cpu", weights_only=True)
        except Exception as error:  # torch's readers raise anything for a broken file
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            if foreign:
                raise TrustError(
                    f"{path.name} holds pickled Python objects ({foreign[1]}) besides tensors, and reading those would "
                    "run code; such files are never loaded. Use the model's TorchScript weights, or ask its authors "
                    "for the state dict alone."
                ) from error
            _refuse_unreadable(path, error)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path.name} holds a {type(content).__name__}, expected were named tensors (a state dict).")
    return content


def _load_safetensors(path: Path, held: Path) -> Mapping[str, Any]:
    """Return the tensors of a safetensors file, which holds nothing but their names, shapes and values."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(held)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        _refuse_unreadable(path, error)


def _refuse_unreadable(path: Path, error: Exception) -> NoReturn:
    refuse_for_memory(f"The weights {path.name} do not fit into memory.", error)
    raise ModelError(
        f"{path.name} is broken, or made for another version of PyTorch ({reason_of(error)}). Download it again, or "
        "use other weights of the model."
    ) from error
