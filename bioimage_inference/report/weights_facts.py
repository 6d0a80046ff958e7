"""Which weights of a model can be used here and why, found out without loading or running any of it."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ModelError
from ..inference.operations.registry import check_packages
from ..model.architecture import MAX_CODE_BYTES, is_installed, missing_package
from ..model.package import check_sha256, package_file, require_sha256, weights_kind
from ..model.spec import Architecture, ModelSpec, WeightsEntry
from ..model.torchscript import called_operations
from ..model.trust import TrustPolicy, Verdict
from ..model.weights import entry_of
from ..zoo.resolving import OpenedModel


@dataclass(frozen=True)
class WeightsFacts:
    """One weights entry: may it run (``trust``), and why it cannot be used (``problem``, ``None`` where it can).

    ``missing`` has what to do about each Python package that the network imports and that is not installed here;
    ``operations`` are those of torch that its code calls, where the file has the code.
    """

    entry: WeightsEntry
    trust: Verdict
    problem: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    operations: Sequence[str] = ()


def weights_facts(opened: OpenedModel, policy: TrustPolicy) -> list[WeightsFacts]:
    """All entries that PyTorch can load, in the order in which they are tried."""
    weights, bare = opened.spec.weights, opened.package.bare_weights
    entries = weights if bare is None else (entry_of(opened.spec, bare),)
    return [_facts(entry, opened, policy) for entry in entries]


def processing_problem(spec: ModelSpec) -> str | None:
    """Why the pre- or postprocessing cannot be applied here, ``None`` where it can."""
    try:
        for tensor in (*spec.inputs, *spec.outputs):
            check_packages(tensor.operations)
    except ModelError as error:
        return str(error)
    return None


def _facts(entry: WeightsEntry, opened: OpenedModel, policy: TrustPolicy) -> WeightsFacts:
    problem, sha256, is_torchscript = None, entry.sha256, entry.format == "torchscript"
    operations: tuple[str, ...] = ()
    try:
        path = opened.package.bare_weights or package_file(opened.spec.root, entry.source)
        sha256 = check_sha256(path, entry.sha256, path.name)
        by_content = weights_kind(path) == "torchscript"
        if is_torchscript and not by_content:
            problem = f"{path.name} is listed as TorchScript, but is something else by its content."
        is_torchscript = is_torchscript or by_content
        operations = called_operations(path) if by_content else ()
    except ModelError as error:
        problem = str(error)
    trust, missing = policy.may_load_weights((sha256 or "not declared").lower()), dict[str, str]()
    if entry.architecture is not None and not is_torchscript:
        code, code_problem, missing = _architecture_facts(entry.architecture, opened.spec.root, policy)
        trust = code if trust.allowed else trust
        problem = problem or code_problem or next(iter(missing.values()), None)
    elif not is_torchscript:
        problem = problem or f"The description names no architecture to put the weights of {entry.source} into."
    if problem is None and not trust.allowed:
        problem = f"They are not loaded: {trust.reason}."
    return WeightsFacts(entry, trust, problem, missing, operations)


ArchitectureFacts = tuple[Verdict, str | None, dict[str, str]]


def _architecture_facts(architecture: Architecture, root: Path, policy: TrustPolicy) -> ArchitectureFacts:
    """Whether the architecture may run, what is wrong with it, and the packages that it lacks."""
    if architecture.source is None:
        return _library_facts(architecture, policy)
    sha256, names, problem = architecture.sha256, [], None
    try:
        path = package_file(root, architecture.source)
        if path.stat().st_size > MAX_CODE_BYTES:
            raise ModelError(f"{path.name} is too large for the Python file of a network.")
        content = path.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        require_sha256(actual, architecture.sha256, path.name)
        sha256, names = actual, _imports(content, path.name)
    except ModelError as error:  # the file is not here, say: the verdict is that on the file that the description means
        problem = str(error)
    verdict = Verdict(False, "its code is not here, and the description does not say which it is")
    if sha256 is not None:
        verdict = policy.may_run_code(sha256.strip().lower())
    return verdict, problem, _lacking(names)


def _library_facts(architecture: Architecture, policy: TrustPolicy) -> ArchitectureFacts:
    library = architecture.import_from or ""
    package = library.partition(".")[0]
    lacking = _lacking([package])
    if lacking or is_installed(package) or (policy.trust_model_code and not policy.known_only):
        return Verdict(True, f"its network is {architecture.callable} of the library {library}"), None, lacking
    return Verdict(False, f"its network is taken from {library}, which belongs to no installed package"), None, {}


def _lacking(packages: list[str]) -> dict[str, str]:
    return {
        name: missing_package("The network", ModuleNotFoundError(name=name))
        for name in packages
        if not name.isidentifier() or importlib.util.find_spec(name) is None
    }


def _imports(source: bytes, name: str) -> list[str]:
    """Packages outside the standard library that a Python file imports at its top level."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{name} is not valid Python ({error}). Download the model again.") from error
    names: list[str] = []
    for node in statements:
        if isinstance(node, ast.Import):
            names += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append((node.module or "").partition(".")[0])
    return [package for package in dict.fromkeys(names) if package not in sys.stdlib_module_names]
