"""Runs the Python code that a model brings or names: networks for state dicts, and functions of custom processing.

Exactly those bytes of a file run whose SHA-256 was judged. Without ``--trust-model-code``, only classes of networks
(``torch.nn.Module``) of installed distributions are called from libraries, with numbers and words: a description may
name anything, ``os.system`` is a callable too, and some classes import or download what an argument names.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import itertools
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, OutOfMemoryError, TrustError
from ..machine.sandbox import advice
from ..text import reason_of
from .package import package_file, require_sha256
from .spec import Architecture, Operation
from .trust import TrustPolicy, Verdict

if TYPE_CHECKING:
    import torch

MAX_CODE_BYTES = 10 * 2**20

# Packages that models of the zoo import and whose install command is known for certain.
_HOW_TO_INSTALL = {
    "careamics": "pip install careamics",
    "cellpose": "pip install cellpose",
    "cv2": "pip install opencv-python-headless",
    "einops": "pip install einops",
    "empanada": "pip install empanada-dl",
    "monai": "pip install monai",
    "plantseg": "conda install -c conda-forge plant-seg",
    "segment_anything": "pip install segment-anything",
    "segmentation_models_pytorch": "pip install segmentation-models-pytorch",
    "stardist": "pip install stardist",
    "timm": "pip install timm",
    "torchvision": "pip install torchvision",
}
_WORD = re.compile(r"[\w-]{0,64}")
_counter = itertools.count()


@dataclass(frozen=True)
class Code:
    """The bytes of a model's Python file that may run, and where they were read."""

    content: bytes
    path: Path
    sha256: str


def check_code(source: str, expected: str | None, root: Path, policy: TrustPolicy) -> Code:
    """Read a Python file of the model and judge it.

    Raises :class:`ModelError` where the file is missing or its SHA-256 is not the ``expected`` one, and
    :class:`TrustError` where it must not run.
    """
    path = package_file(root, source)
    with path.open("rb") as stream:
        content = stream.read(MAX_CODE_BYTES + 1)
    if len(content) > MAX_CODE_BYTES:
        raise ModelError(f"{path.name} is too large for the Python file of a model.")
    sha256 = hashlib.sha256(content).hexdigest()
    require_sha256(sha256, expected, path.name)
    verdict = policy.may_run_code(sha256)
    if not verdict.allowed:
        raise TrustError(f"The model's Python file {path.name} is not run: {verdict.reason}.")
    return Code(content, path, sha256)


def build_network(architecture: Architecture, code: Code | None, policy: TrustPolicy) -> "torch.nn.Module":
    """Return a network of the architecture, from the model's file or, without ``code``, from a library.

    Raises :class:`ModelError` where a package is missing or the call fails, and :class:`TrustError` where the
    description names anything but a network of this file or library.
    """
    import torch

    name = architecture.callable
    if code is not None:
        where, module = code.path.name, _run(code)
    else:
        where = architecture.import_from or ""
        module = _import_library(architecture, policy)

    def is_network(member: object) -> bool:
        is_own = code is not None and _is_defined_in(module, member)
        return is_own or (isinstance(member, type) and issubclass(member, torch.nn.Module))

    factory = _member(module, name, where, policy, is_network)
    with running_model_code(f"Building the network {name}"):
        network = factory(**architecture.kwargs)
    if not isinstance(network, torch.nn.Module):
        raise ModelError(f"{name} of {where} built a {type(network).__name__}, not a PyTorch network.")
    return network


def load_function(step: Operation, root: Path, policy: TrustPolicy) -> Callable[..., Any]:
    """Return the function from arrays to an array that a ``custom`` step describes.

    ``step.kwargs`` has ``callable`` (a class or function of the Python file ``source`` that makes the function),
    ``sha256`` of the file or ``None``, and the ``kwargs`` to make it with. Raises :class:`ModelError` and
    :class:`TrustError` like :func:`build_network`.
    """
    name = step.kwargs["callable"]
    code = check_code(step.kwargs["source"], step.kwargs["sha256"], root, policy)
    where, module = code.path.name, _run(code)
    factory = _member(module, name, where, policy, lambda member: _is_defined_in(module, member))
    with running_model_code(f"Preparing the custom step {name}"):
        function = factory(**step.kwargs["kwargs"])
    if not callable(function):
        raise ModelError(f"{name} of {where} made a {type(function).__name__}, not a function of arrays.")
    return function  # type: ignore[no-any-return]


def _member(
    module: ModuleType, name: str, where: str, policy: TrustPolicy, is_part: Callable[[object], bool]
) -> Callable[..., Any]:
    """Return what a module has by a name; ``is_part`` tells whether the model may call it without more trust."""
    member = getattr(module, name, None)
    if not callable(member):
        raise ModelError(f"{where} has no {name} that can be called, but the model's description names it.")
    if not (is_part(member) or policy.any_code):
        raise TrustError(
            f"{name} of {where} is not called: it is no network class, nor made in the model's own file. "
            "If you trust the model's authors, add --trust-model-code."
        )
    return member  # type: ignore[no-any-return]


def _is_defined_in(module: ModuleType, member: object) -> bool:
    return getattr(member, "__module__", None) == module.__name__


@contextmanager
def running_model_code(doing: str) -> Iterator[None]:
    """Turn every error of a model's code into :class:`ModelError`, and send its prints to standard error.

    ``doing`` begins the sentence of the message, e.g. "Building the network UNet".
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except ImportError as error:
        raise ModelError(missing_package(doing, error)) from error
    except (Exception, SystemExit) as error:
        refuse_for_memory("The network does not fit into memory.", error)
        raise ModelError(
            f"{doing} failed ({type(error).__name__}: {reason_of(error)}). The model does not work with the versions "
            f"of the packages here, or its description is wrong.{advice(error)}"
        ) from error


def refuse_for_memory(found: str, error: BaseException) -> None:
    """Raise :class:`OutOfMemoryError` with the sentence ``found`` where Python or torch ran out of memory."""
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # torch 2.13 raises RuntimeError on CPUs
        raise OutOfMemoryError(f"{found} Give the program more.") from error


def _run(code: Code) -> ModuleType:
    """Execute the bytes as a module of a name of its own, in ``sys.modules`` as dataclasses and pickle expect it."""
    module = ModuleType(f"bioimage_inference_model_code_{next(_counter)}_{code.sha256[:16]}")
    module.__file__ = str(code.path)
    sys.modules[module.__name__] = module
    try:
        with running_model_code(f"The model's Python file {code.path.name}"):
            source = importlib.util.decode_source(code.content)
            # torch.jit.script compiles the source in linecache: it must be the judged one, not the file's current one
            linecache.cache[module.__file__] = len(source), None, source.splitlines(keepends=True), module.__file__
            exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _import_library(architecture: Architecture, policy: TrustPolicy) -> ModuleType:
    name = architecture.import_from or ""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise ModelError(f"The description names {name!r}, which is no Python module, as the network's library.")
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise ModelError(missing_package("The network", ModuleNotFoundError(name=package)))
    verdict = judge_library(architecture, policy)
    if not verdict.allowed:
        raise TrustError(
            f"The network is not built: {verdict.reason}. If you trust the model's authors, add --trust-model-code."
        )
    with running_model_code(f"The library {package}"):
        return importlib.import_module(name)


def judge_library(architecture: Architecture, policy: TrustPolicy) -> Verdict:
    """Judge whether a network may be built from the library that its description names, with its arguments."""
    library = architecture.import_from or ""
    network = f"its network is {architecture.callable} of the library {library}"
    if policy.any_code:
        return Verdict(True, network)
    package = library.partition(".")[0]
    if not (package.isidentifier() and _is_installed(package)):
        return Verdict(False, f"its network is taken from {library}, which belongs to no installed package")
    for name, value in architecture.kwargs.items():
        if not (_is_plain(name) and _is_plain(value)):
            return Verdict(False, f"{network}, built with {name}={short_repr(value)}, which may name a file or address")
    return Verdict(True, network)


def _is_plain(value: object) -> bool:
    """Return whether a value is a number or a word that names no file here, or a collection of these."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None and not os.path.lexists(value)
    if isinstance(value, Mapping):
        return all(_is_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float)


def _is_installed(package: str) -> bool:
    """Return whether Python imports the package from an installed distribution, not from the current folder."""
    spec = importlib.util.find_spec(package)
    places = [*(spec.submodule_search_locations or []), spec.origin] if spec else []
    names = importlib.metadata.packages_distributions().get(package, [])
    roots = [Path(str(importlib.metadata.distribution(name).locate_file(""))).resolve() for name in names]
    return any(Path(place).resolve().is_relative_to(root) for place in places if place for root in roots)


def missing_package(what: str, error: ImportError) -> str:
    """Return a message on a package that could not be imported and that ``what`` needs, with how to install it."""
    missing = error.name or ""
    package = missing.partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package:
        return f"{what} does not work with the versions of the packages here ({error})."
    if missing != package and importlib.util.find_spec(package) is not None:
        return f"{what} needs {missing}, which the installed version of {package} lacks."
    how = _HOW_TO_INSTALL.get(package)
    advice = f"Install it with: {how}" if how else "The model's documentation says how to install it"
    return f"{what} needs the Python package {package}, which is not installed here. {advice}."
