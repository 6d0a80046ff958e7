"""From the YAML of a description to a :class:`ModelSpec`.

Tensors and their processing are validated by ``bioimageio.spec``, each for itself: what inference does not need
(covers, licence, documentation) cannot make a model unusable.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ModelError
from .spec import (
    Architecture,
    Axis,
    Citation,
    FixedSize,
    ModelSpec,
    Operation,
    ReferencedSize,
    StepSize,
    TensorSpec,
    WeightsEntry,
    WeightsFormat,
)
from .tensor_rules import Tensors, relate_plain_sizes

Content = Mapping[str, Any]
Node = TypeVar("Node")

# Names of the formats that PyTorch loads, in our order of preference: TorchScript brings no code of its own.
_PYTORCH: tuple[tuple[str, WeightsFormat], ...] = (
    ("torchscript", "torchscript"),
    ("pytorch_script", "torchscript"),  # its name up to format 0.3
    ("pytorch_state_dict", "pytorch_state_dict"),
)


def read_description(content: Content, root: Path, sha256: str | None = None) -> ModelSpec:
    """Read a parsed description, whose file names are relative to ``root``.

    Raises :class:`ModelError` where inputs, outputs, processing or weights are not understood.
    """
    version = str(content.get("format_version", ""))
    if content.get("type", "model") != "model":
        raise ModelError(
            f"The description is of a {content['type']!r}, not of a model. Give the package of a model, "
            "as downloaded from bioimage.io."
        )
    tensors = read_tensors(content)
    _check_tensors(tensors)
    tensors = relate_plain_sizes(tensors)
    weights = content.get("weights")
    if not isinstance(weights, Mapping) or not weights:
        raise ModelError("The description lists no weights. Download the complete package of the model.")
    return ModelSpec(
        name=str(content.get("name") or content.get("id") or "model"),
        inputs=tensors.inputs,
        outputs=tensors.outputs,
        weights=_read_weights(weights, content),
        root=root,
        id=_model_id(content),
        version=str(content["version"]) if content.get("version") is not None else None,
        format_version=version,
        description=str(content.get("description") or ""),
        licence=str(content["license"]) if content.get("license") else None,
        authors=tuple(_names(content.get("authors"))),
        citations=tuple(_citations(content.get("cite"))),
        tags=tuple(str(tag) for tag in _list(content.get("tags"))),
        documentation=_source(content.get("documentation")),
        other_weights=tuple(name for name in weights if name not in dict(_PYTORCH)),
        sha256=sha256,
        notes=tensors.notes,
    )


def read_tensors(content: Content) -> Tensors:
    """Inputs and outputs of a parsed description. Raises :class:`ModelError` where they are not valid."""
    version = str(content.get("format_version", ""))
    for key in ("inputs", "outputs"):
        if not isinstance(content.get(key), Sequence) or not content[key]:
            raise ModelError(f"The description has no list of {key}; it is incomplete. Download the model again.")
    from bioimageio.spec import ValidationContext  # slow to import, so only when a model is read

    from . import rdf_v0_4 as format_v0_4
    from . import rdf_v0_5 as format_v0_5

    with warnings.catch_warnings(), ValidationContext(perform_io_checks=False, log_warnings=False, progressbar=False):
        warnings.simplefilter("ignore")  # remarks to authors of descriptions, not to their users
        if version.startswith(("0.3", "0.4")):
            return format_v0_4.read_tensors(content, _validated)
        if version.startswith("0.5"):
            return format_v0_5.read_tensors(content, _validated)
    raise ModelError(
        f"The description is in format {version or 'unknown'!s}; formats 0.3 to 0.5 are understood. "
        "A newer version of this program may read it."
    )


def _validated(node: Callable[[Any], Node], content: Any, where: str) -> Node:
    """Run one of bioimageio.spec's validators; its complaints become one paragraph."""
    from pydantic import ValidationError

    try:
        return node(content)
    except ValidationError as error:
        details = "; ".join(f"{_place(problem['loc'])}: {problem['msg']}" for problem in error.errors()[:3])
        raise ModelError(f"The description of {where} is not valid: {details}.") from error
    except LookupError as error:  # some validators look for what was refused before
        raise ModelError(f"The description of {where} is not valid: parts of it are missing.") from error


def _place(location: Sequence[int | str]) -> str:
    """Where in the description, without the validator's names for the choices that it has there."""
    return ".".join(str(part) for part in location if isinstance(part, int) or part.isidentifier())


def _check_tensors(tensors: Tensors) -> None:
    """Names must be unique, and every reference must lead somewhere."""
    both = (*tensors.inputs, *tensors.outputs)
    ids = [tensor.id for tensor in both]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ModelError(f"The description uses the name {twice[0]!r} for more than one tensor; names must differ.")
    known = {(tensor.id, axis.id) for tensor in both for axis in tensor.axes}
    for tensor in both:
        if len(set(tensor.letters)) != len(tensor.axes):
            raise ModelError(
                f"Tensor {tensor.id!r} has two axes of one kind ({tensor.letters}); that is not supported."
            )
        for axis in tensor.axes:
            _check_axis(axis, tensor.id, known)
        for operation in tensor.operations:
            _check_operation(operation, tensor, {other.id for other in tensors.inputs})


def _check_axis(axis: Axis, tensor: str, known: Collection[tuple[str, str]]) -> None:
    """Sizes, steps, scales and halos are positive, and what a size refers to exists."""
    match axis.size:
        case FixedSize(size):
            possible = size > 0
        case StepSize(minimum, step):
            possible = minimum > 0 and step > 0
        case ReferencedSize(other, name, scale, _):
            possible = scale > 0
            if (other, name) not in known:
                raise ModelError(
                    f"The size of axis {axis.id!r} of tensor {tensor!r} refers to axis {name!r} of {other!r}, which "
                    "does not exist in the description."
                )
        case _:
            possible = True
    if not possible or axis.halo < 0:
        raise ModelError(
            f"Axis {axis.id!r} of tensor {tensor!r} cannot have {axis.size.describe()} pixels and a halo of "
            f"{axis.halo}. The description is broken."
        )


def _check_operation(operation: Operation, tensor: TensorSpec, inputs: Collection[str]) -> None:
    """What it refers to must be an input (or its own tensor), and lists of values must fit their axis."""
    reference = operation.kwargs.get("reference_tensor")
    if reference is not None and reference not in inputs and reference != tensor.id:
        raise ModelError(
            f"{operation.name} of tensor {tensor.id!r} refers to {reference!r}, which is no input of the model."
        )
    axis = tensor.axis(operation.kwargs.get("axis", ""))
    if axis is None or not isinstance(axis.size, FixedSize):
        return
    for name, values in operation.kwargs.items():
        if isinstance(values, list | tuple) and len(values) not in (1, axis.size.size):
            raise ModelError(
                f"{operation.name} of tensor {tensor.id!r} gives {len(values)} values of {name} for the "
                f"{axis.size.size} entries of axis {axis.id!r}."
            )


def _read_weights(weights: Content, content: Content) -> tuple[WeightsEntry, ...]:
    entries = []
    for key, kind in _PYTORCH:
        entry = weights.get(key)
        if isinstance(entry, Mapping):
            source = _source(entry)
            if source is None:
                raise ModelError(f"The weights entry {key!r} names no file.")
            entries.append(
                WeightsEntry(
                    format=kind,
                    source=source,
                    sha256=_text(entry.get("sha256")),
                    architecture=_architecture(entry, content) if kind == "pytorch_state_dict" else None,
                    pytorch_version=_text(entry.get("pytorch_version")),
                    strict=entry.get("strict") is not False,
                )
            )
    return tuple(entries)


def _architecture(entry: Content, content: Content) -> Architecture | None:
    """Format 0.5 has a mapping, 0.4 ``file.py:Callable`` or ``package.module.Callable``, 0.3 that for all weights."""
    described = entry.get("architecture")
    if isinstance(described, Mapping):
        return Architecture(
            callable=str(described.get("callable", "")),
            kwargs=_kwargs(described),
            source=_source(described),
            sha256=_text(described.get("sha256")),
            import_from=_text(described.get("import_from")),
        )
    kwargs, sha256 = _kwargs(entry), _text(entry.get("architecture_sha256"))
    if described is None:
        described, kwargs, sha256 = content.get("source"), _kwargs(content), _text(content.get("sha256"))
    if not isinstance(described, str):
        return None
    if ":" in described:
        source, _, name = described.rpartition(":")
        return Architecture(name, kwargs, source=source, sha256=sha256)
    module, _, name = described.rpartition(".")
    return Architecture(name, kwargs, import_from=module)


def _kwargs(entry: Content) -> Content:
    """The arguments of the architecture; raises :class:`ModelError` where they are no named ones."""
    kwargs = entry.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ModelError(f"The description gives the network the arguments {kwargs!r}; they must have names.")
    return kwargs


def _model_id(content: Content) -> str | None:
    """The zoo id; up to format 0.4 it is the nickname in ``config``."""
    config = content.get("config")
    zoo = config.get("bioimageio") if isinstance(config, Mapping) else None
    nickname = zoo.get("nickname") if isinstance(zoo, Mapping) else None
    return _text(nickname) or _text(content.get("id"))


def _names(people: object) -> Iterable[str]:
    for person in _list(people):
        yield str(person.get("name", "")) if isinstance(person, Mapping) else str(person)


def _citations(entries: object) -> Iterable[Citation]:
    for entry in _list(entries):
        if isinstance(entry, Mapping):
            yield Citation(str(entry.get("text") or ""), _text(entry.get("doi")), _text(entry.get("url")))


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str | None:
    return str(value) if value else None


def _source(value: object) -> str | None:
    """A file is named by a string or by a mapping with ``source``."""
    return _text(value.get("source")) if isinstance(value, Mapping) else _text(value)
