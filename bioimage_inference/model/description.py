"""From the YAML of a description to a :class:`ModelSpec`.

Tensors and their processing are validated by ``bioimageio.spec``, each for itself: what inference does not need
(covers, licence, documentation) cannot make a model unusable.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ModelError
from .spec import (
    Architecture,
    Axis,
    Citation,
    ModelSpec,
    ReferencedSize,
    TensorSpec,
    WeightsEntry,
    WeightsFormat,
)

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
    inputs, outputs = _read_tensors(content, version)
    _check_tensors(inputs, outputs)
    weights = content.get("weights")
    if not isinstance(weights, Mapping) or not weights:
        raise ModelError("The description lists no weights. Download the complete package of the model.")
    return ModelSpec(
        name=str(content.get("name") or content.get("id") or "model"),
        inputs=inputs,
        outputs=outputs,
        weights=_read_weights(weights),
        root=root,
        id=_model_id(content),
        version=str(content["version"]) if content.get("version") is not None else None,
        format_version=version,
        description=str(content.get("description") or ""),
        licence=str(content["license"]) if content.get("license") else None,
        authors=tuple(_names(content.get("authors"))),
        citations=tuple(_citations(content.get("cite"))),
        tags=tuple(str(tag) for tag in content.get("tags") or ()),
        documentation=_source(content.get("documentation")),
        other_weights=tuple(name for name in weights if name not in dict(_PYTORCH)),
        sha256=sha256,
    )


def _read_tensors(content: Content, version: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    for key in ("inputs", "outputs"):
        if not isinstance(content.get(key), Sequence) or not content[key]:
            raise ModelError(f"The description has no list of {key}; it is incomplete. Download the model again.")
    from bioimageio.spec import ValidationContext  # slow to import, so only when a model is read

    from . import format_v0_4, format_v0_5

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
        details = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()[:3]
        )
        raise ModelError(f"The description of {where} is not valid: {details}.") from error


def _check_tensors(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Ids must be unique, and every reference must lead somewhere."""
    tensors = (*inputs, *outputs)
    ids = [tensor.id for tensor in tensors]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ModelError(f"The description uses the name {twice[0]!r} for more than one tensor; names must differ.")
    known = {(tensor.id, axis.id) for tensor in tensors for axis in tensor.axes}
    for tensor in tensors:
        if len(set(tensor.letters)) != len(tensor.axes):
            raise ModelError(
                f"Tensor {tensor.id!r} has two axes of one kind ({tensor.letters}); that is not supported."
            )
        for axis in tensor.axes:
            size = axis.size
            if isinstance(size, ReferencedSize) and (size.tensor, size.axis) not in known:
                raise ModelError(
                    f"The size of axis {axis.id!r} of tensor {tensor.id!r} refers to axis {size.axis!r} of "
                    f"{size.tensor!r}, which does not exist in the description."
                )
        for operation in tensor.operations:
            reference = operation.kwargs.get("reference_tensor")
            if reference is not None and reference not in ids:
                raise ModelError(
                    f"{operation.name} of tensor {tensor.id!r} refers to {reference!r}; there is no such tensor."
                )


def _read_weights(weights: Content) -> tuple[WeightsEntry, ...]:
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
                    architecture=_architecture(entry) if kind == "pytorch_state_dict" else None,
                    pytorch_version=_text(entry.get("pytorch_version")),
                )
            )
    return tuple(entries)


def _architecture(entry: Content) -> Architecture | None:
    """Format 0.5 has a mapping, 0.4 ``file.py:Callable`` or ``package.module.Callable``."""
    described = entry.get("architecture")
    if isinstance(described, Mapping):
        return Architecture(
            callable=str(described.get("callable", "")),
            kwargs=dict(described.get("kwargs") or {}),
            source=_source(described),
            sha256=_text(described.get("sha256")),
            import_from=_text(described.get("import_from")),
        )
    if not isinstance(described, str):
        return None
    kwargs = dict(entry.get("kwargs") or {})
    if ":" in described:
        source, _, name = described.rpartition(":")
        return Architecture(name, kwargs, source=source, sha256=_text(entry.get("architecture_sha256")))
    module, _, name = described.rpartition(".")
    return Architecture(name, kwargs, import_from=module)


def _model_id(content: Content) -> str | None:
    """The zoo id; up to format 0.4 it is the nickname in ``config``."""
    config = content.get("config")
    zoo = config.get("bioimageio") if isinstance(config, Mapping) else None
    nickname = zoo.get("nickname") if isinstance(zoo, Mapping) else None
    return _text(nickname) or _text(content.get("id"))


def _names(people: object) -> Iterable[str]:
    for person in people if isinstance(people, Sequence) else ():
        yield str(person.get("name", "")) if isinstance(person, Mapping) else str(person)


def _citations(entries: object) -> Iterable[Citation]:
    for entry in entries if isinstance(entries, Sequence) else ():
        if isinstance(entry, Mapping):
            yield Citation(str(entry.get("text") or ""), _text(entry.get("doi")), _text(entry.get("url")))


def _text(value: object) -> str | None:
    return str(value) if value else None


def _source(value: object) -> str | None:
    """A file is named by a string or by a mapping with ``source``."""
    return _text(value.get("source")) if isinstance(value, Mapping) else _text(value)


def letters_of(axes: Sequence[Axis]) -> dict[str, str]:
    """From axis ids as operations name them to letters."""
    return {axis.id: axis.letter for axis in axes}
