"""Which weights of a model can be used here and why. Nothing is loaded or run to find that out."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ModelError
from ..inference.operations.registry import check_packages
from ..model.architecture import MAX_CODE_BYTES, judge_library, missing_package
from ..model.package import check_sha256, package_file, require_sha256, weights_kind
from ..model.spec import Architecture, ModelSpec, WeightsEntry
from ..model.trust import TrustPolicy, Verdict
from ..model.vetting.onnx_graph import INSTALL, NotVettedOnnx, onnx_installed, operators, read_onnx
from ..model.weights import called_operations, entry_of
from ..model.weights_order import in_order
from ..zoo.resolving import OpenedModel


@dataclass(frozen=True)
class WeightsFacts:
    """One weights entry: whether it may run (``trust``), and why it cannot be used (``problem``, else ``None``).

    ``missing`` has advice for each Python package that the network imports and that is not installed here.
    ``operations`` are the operations of torch that the network's code calls, empty where the file has no code.
    """

    entry: WeightsEntry
    trust: Verdict
    problem: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    operations: Sequence[str] = ()


def weights_facts(opened: OpenedModel, policy: TrustPolicy) -> list[WeightsFacts]:
    """Return all entries that run here, in the order in which they are tried."""
    weights, bare = opened.spec.weights, opened.package.bare_weights
    entries = weights if bare is None else (entry_of(opened.spec, bare),)
    return [_facts(one.entry, opened, policy) for one in in_order(entries, opened.spec, policy)]


def processing_problem(spec: ModelSpec) -> str | None:
    """Return why the pre- or postprocessing cannot be applied here, ``None`` where it can."""
    try:
        for tensor in (*spec.inputs, *spec.outputs):
            check_packages(tensor.operations)
    except ModelError as error:
        return str(error)
    return None


def _facts(entry: WeightsEntry, opened: OpenedModel, policy: TrustPolicy) -> WeightsFacts:
    if entry.format == "onnx":
        return _onnx_facts(entry, opened, policy)
    problem, sha256, is_torchscript = None, entry.sha256, entry.format == "torchscript"
    operations: tuple[str, ...] = ()
    try:
        if opened.downloaded:
            path = opened.package.bare_weights or package_file(opened.spec.root, entry.source)
            sha256 = check_sha256(path, entry.sha256, path.name)
            if weights_kind(path) == "torchscript":
                is_torchscript, operations = True, called_operations(path)
            elif is_torchscript:
                is_torchscript = False
                problem = f"{path.name} is listed as TorchScript, but its content is something else."
    except ModelError as error:
        problem = str(error)
    trust, missing = policy.may_load_weights((sha256 or "not declared").lower()), dict[str, str]()
    if entry.architecture is not None and not is_torchscript:
        root = opened.spec.root if opened.downloaded else None
        code, code_problem, missing = _architecture_facts(entry.architecture, root, policy)
        trust = code if trust.allowed else trust
        problem = problem or code_problem or next(iter(missing.values()), None)
    elif not is_torchscript:
        problem = problem or f"The description names no architecture to put the weights of {entry.source} into."
    if problem is None and not trust.allowed:
        problem = f"They are not loaded: {trust.reason}."
    return WeightsFacts(entry, trust, problem, missing, operations)


def _onnx_facts(entry: WeightsEntry, opened: OpenedModel, policy: TrustPolicy) -> WeightsFacts:
    problem, sha256 = None, entry.sha256
    operations: tuple[str, ...] = ()
    missing = (
        {} if onnx_installed() else {"onnxruntime": f"ONNX weights need the extra onnx. Install it with: {INSTALL}"}
    )
    try:
        if opened.downloaded:
            path = opened.package.bare_weights or package_file(opened.spec.root, entry.source)
            sha256 = check_sha256(path, entry.sha256, path.name)
            root = path.absolute().parent if opened.package.bare_weights is not None else opened.spec.root
            operations = () if missing else operators(read_onnx(path, root, sha256))
    except ModelError as error:
        problem = str(error)
    except NotVettedOnnx as error:
        problem = f"They are not loaded: {error}."
    trust = policy.may_load_weights((sha256 or "not declared").lower())
    problem = problem or next(iter(missing.values()), None)
    if problem is None and not trust.allowed:
        problem = f"They are not loaded: {trust.reason}."
    return WeightsFacts(entry, trust, problem, missing, operations)


def _architecture_facts(
    architecture: Architecture, root: Path | None, policy: TrustPolicy
) -> tuple[Verdict, str | None, dict[str, str]]:
    """Return whether the architecture may run, its problem, and advice for each package that is not installed.

    ``root`` is the folder of its code, ``None`` if the model is not downloaded.
    """
    if architecture.source is None:
        verdict, missing = _library_facts(architecture, policy)
        return verdict, None, missing
    sha256, names, problem = architecture.sha256, list[str](), None
    try:
        if root is not None:
            path = package_file(root, architecture.source)
            if path.stat().st_size > MAX_CODE_BYTES:
                raise ModelError(f"{path.name} is too large for the Python file of a network.")
            content = path.read_bytes()
            actual = hashlib.sha256(content).hexdigest()
            require_sha256(actual, architecture.sha256, path.name)
            sha256, names = actual, _imports(content, path.name)
    except ModelError as error:  # then the verdict is on the file whose hash the description declares
        problem = str(error)
    verdict = Verdict(False, "its code is not here, and the description does not say which it is")
    if sha256 is not None:
        verdict = policy.may_run_code(sha256.strip().lower())
    return verdict, problem, _missing(names)


def _library_facts(architecture: Architecture, policy: TrustPolicy) -> tuple[Verdict, dict[str, str]]:
    library = architecture.import_from or ""
    if missing := _missing([library.partition(".")[0]]):
        return Verdict(True, f"its network is {architecture.callable} of the library {library}"), missing
    return judge_library(architecture, policy), {}


def _missing(packages: Sequence[str]) -> dict[str, str]:
    return {
        name: missing_package("The network", ModuleNotFoundError(name=name))
        for name in packages
        if not name.isidentifier() or importlib.util.find_spec(name) is None
    }


def _imports(source: bytes, name: str) -> list[str]:
    """Return packages outside the standard library that a Python file imports at its top level."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ModelError(f"{name} is not valid Python ({error}). Download the model again.") from error
    names: list[str] = []
    for node in statements:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    packages = dict.fromkeys(name.partition(".")[0] for name in names)
    return [package for package in packages if package not in sys.stdlib_module_names]
