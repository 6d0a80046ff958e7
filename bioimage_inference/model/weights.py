"""Loads a model's network: TorchScript, or tensors put into the architecture that the description names.

Weights are never unpickled, and the model's own Python file runs only if the trust policy says so. Torch is imported
when a network is loaded, not before.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ModelError, OutOfMemoryError, TrustError, UsageError
from .architecture import build_network, check_code, running_model_code
from .package import check_sha256, file_sha256, package_file, weights_kind
from .safe_zip import check_content
from .spec import ModelSpec, WeightsEntry
from .trust import HASHES_VARIABLE, TrustPolicy

if TYPE_CHECKING:
    import torch

_OLDEST_TORCH = (2, 10)
_LABELS = {"torchscript": "TorchScript", "pytorch_state_dict": "PyTorch state dict"}


@dataclass(frozen=True)
class LoadedWeights:
    """A network on the CPU, in evaluation mode and without gradients, and where it came from.

    ``entry`` is the weights entry used and ``sha256`` that of its file; ``notes`` say, one line each, why earlier
    entries were not used and what was unusual with this one.
    """

    module: "torch.nn.Module"
    entry: WeightsEntry
    sha256: str
    notes: tuple[str, ...]


def load_weights(model: ModelSpec, policy: TrustPolicy, bare_weights: Path | None = None) -> LoadedWeights:
    """Load the first entry of ``model.weights`` that can be used here.

    ``bare_weights`` is a file given without a package: it stands for the entry whose SHA-256 it has, else for the
    entry of its kind. Raises :class:`TrustError` where only the trust policy stands in the way of an entry,
    :class:`ModelError` where none can be used for other reasons, :class:`OutOfMemoryError` where the network does
    not fit, :class:`UsageError` for a version of PyTorch that weights can harm.
    """
    check_offered(model, bare_weights)
    _check_torch()
    entries = model.weights if bare_weights is None else (entry_of(model, bare_weights),)
    failures: list[ModelError | TrustError] = []
    notes: list[str] = []
    for entry in entries:
        try:
            loaded = _load_entry(entry, model, policy, bare_weights)
        except (ModelError, TrustError) as error:
            failures.append(error)
            notes.append(f"The {_LABELS[entry.format]} weights were not used: {error}")
        else:
            return LoadedWeights(loaded.module, entry, loaded.sha256, (*notes, *loaded.notes))
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


def check_offered(model: ModelSpec, bare_weights: Path | None = None) -> None:
    """Raise :class:`ModelError` where a model has weights for other frameworks only. Imports no torch."""
    if bare_weights is None and not model.weights:
        found = ", ".join(model.other_weights) or "no"
        raise ModelError(
            f"The model {model.name} has only {found} weights; this program runs PyTorch weights (torchscript or "
            "pytorch_state_dict). Choose a model that offers those."
        )


def entry_of(model: ModelSpec, bare_weights: Path) -> WeightsEntry:
    """The entry of the description that a weights file given without its package stands for."""
    sha256 = file_sha256(bare_weights)
    kind = "torchscript" if weights_kind(bare_weights) == "torchscript" else "pytorch_state_dict"
    same_file = [entry for entry in model.weights if (entry.sha256 or "").lower() == sha256]
    same_kind = [entry for entry in model.weights if entry.format == kind]
    for entry in (*same_file, *same_kind):
        return entry
    if kind == "torchscript":
        return WeightsEntry("torchscript", bare_weights.name)
    raise ModelError(
        f"{bare_weights.name} holds the weights of a network, but the description of {model.name} names no "
        "architecture to put them into: it has no pytorch_state_dict entry. Use the TorchScript weights of the model."
    )


def _load_entry(entry: WeightsEntry, model: ModelSpec, policy: TrustPolicy, bare_weights: Path | None) -> LoadedWeights:
    path = bare_weights or package_file(model.root, entry.source)
    before = _identity(path)
    kind = weights_kind(path)
    sha256 = check_sha256(path, entry.sha256, path.name)
    if entry.sha256 is None:
        check_content(path)  # torch compares no checksums, and may crash on damaged TorchScript
    verdict = policy.may_load_weights(sha256)
    if not verdict.allowed:
        raise TrustError(f"{path.name} is not loaded: {verdict.reason}.")
    notes: tuple[str, ...] = ()
    if kind == "torchscript":
        module = _load_torchscript(path, sha256, verdict.trusted)
        if entry.format != "torchscript":
            notes = (f"{path.name} is listed as a {_LABELS[entry.format]}, but is TorchScript, and was run as such.",)
    elif entry.format == "torchscript":
        raise ModelError(f"{path.name} is listed as TorchScript, but is something else by its content.")
    else:
        module, notes = _load_state_dict(entry, path, model, policy)
    # the hash was taken of the file, not of the bytes that torch read
    if _identity(path) != before:
        raise ModelError(f"{path.name} was changed while it was read. Run again when nothing writes to it.")
    with running_model_code(f"Preparing the network of {path.name}"):
        module.eval()
        for parameter in module.parameters():
            parameter.requires_grad_(False)
    return LoadedWeights(module, entry, sha256, notes)


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path.name} disappeared while it was read. Run again when it is there.") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _load_torchscript(path: Path, sha256: str, trusted: bool) -> "torch.nn.Module":
    """The network; one that nobody vouches for only after it was vetted."""
    import torch

    from .vetting.source_code import NotVetted
    from .vetting.vetted_loading import load_vetted

    load: Any = torch.jit.load  # without types in torch
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.load` is deprecated", DeprecationWarning)
        try:
            module: torch.nn.Module = load(path, map_location="cpu") if trusted else load_vetted(path)
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
    entry: WeightsEntry, path: Path, model: ModelSpec, policy: TrustPolicy
) -> tuple["torch.nn.Module", tuple[str, ...]]:
    """The network with its weights, and notes on what else the file holds."""
    architecture = entry.architecture
    if architecture is None:
        raise ModelError(f"The description names no architecture to put the weights of {path.name} into.")
    source = architecture.source
    code = None if source is None else check_code(source, architecture.sha256, model.root, policy)
    content = _load_tensors(path)
    network = build_network(architecture, code, policy)
    return network, _put_weights(content, network, architecture.callable, path.name, entry.strict)


def _put_weights(
    content: Mapping[str, Any], network: "torch.nn.Module", callable: str, file: str, strict: bool
) -> tuple[str, ...]:
    """Load the state dict in the content of ``file`` into the network; returns notes on what is unusual with it.

    Raises :class:`ModelError` where it does not fit. Without ``strict`` names may be missing, but not all of them.
    """
    from .state_dict import find_state_dict

    putting = f"Putting the weights of {file} into {callable}"
    with running_model_code(putting):
        own = network.state_dict()
    found = find_state_dict(content, own, file)
    misfit = (
        f"The weights {file} do not fit the network {callable} of the description: {found.misfit}. Use the weights "
        "that belong to the description, or the description of these weights."
    )
    try:
        with running_model_code(putting):
            # strict is the default, and some models' own load_state_dict does not take it
            result = network.load_state_dict(found.tensors, **({} if strict else {"strict": False}))
    except ModelError as error:
        raise (error if found.misfit is None else ModelError(misfit)) from error.__cause__
    missing: list[str] = list(getattr(result, "missing_keys", ()))  # some models' own load_state_dict returns nothing
    if not missing:
        return found.notes
    if len(missing) == len(own):
        raise ModelError(misfit)
    return (
        *found.notes,
        f"{file} lacks {len(missing)} of the network's {len(own)} tensors, {missing[0]} for instance. The description "
        "allows this; these tensors keep the values that the network is built with.",
    )


def _load_tensors(path: Path) -> Mapping[str, Any]:
    """The content of a file of ``torch.save``, read without unpickling anything but tensors and plain containers."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
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


def _refuse_unreadable(path: Path, error: Exception) -> NoReturn:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        raise OutOfMemoryError(f"The weights {path.name} do not fit into memory. Give the program more.") from error
    raise ModelError(
        f"{path.name} is broken, or made for another version of PyTorch ({text[:200]}). Download it again, or use "
        "other weights of the model."
    ) from error
