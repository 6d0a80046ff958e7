"""Turns the YAML of a description, or what the user says of bare weights, into a :class:`ModelSpec`.

``bioimageio.spec`` validates the tensors and their processing. All other entries are read as they are: a wrong
licence, cover or citation does not make a model unusable.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ModelError, UsageError
from ..image.axes import axis_id
from ..text import counted
from . import rdf_v0_4, rdf_v0_5
from .newer_formats import is_newer, note_on_newer, version_of
from .spec import (
    USABLE_FORMATS,
    Architecture,
    Axis,
    Citation,
    ExternalData,
    FixedSize,
    FreeSize,
    ModelSpec,
    Operation,
    ReferencedSize,
    TensorSpec,
    WeightsEntry,
)
from .tensor_cache import cached_tensors
from .tensor_rules import Tensors, check_tensors, relate_plain_sizes

Content = Mapping[str, Any]

_NEWEST_READER = rdf_v0_5.read_tensors
_READERS = {(0, 3): rdf_v0_4.read_tensors, (0, 4): rdf_v0_4.read_tensors, (0, 5): _NEWEST_READER}


def read_description(content: Content, root: Path, sha256: str | None = None, cache: Path | None = None) -> ModelSpec:
    """Return the facts of a parsed description, whose file names are relative to ``root``.

    ``cache`` is a folder that keeps validated tensors, so that the next run need not validate them. Raises
    :class:`ModelError` where inputs, outputs, processing or weights are not valid.
    """
    if content.get("type", "model") != "model":
        raise ModelError(
            f"The description is of a {content['type']!r}, not of a model. Give the package of a model, "
            "as downloaded from bioimage.io."
        )
    tensors = _read_tensors(content) if cache is None else cached_tensors(content, cache, _read_tensors)
    weights = content.get("weights")
    if not isinstance(weights, Mapping) or not weights:
        raise ModelError("The description lists no weights. Download the complete package of the model.")
    return ModelSpec(
        name=str(content.get("name") or content.get("id") or "model"),
        inputs=tensors.inputs,
        outputs=tensors.outputs,
        weights=tuple(_read_weights(weights, content)),
        root=root,
        id=_model_id(content),
        version=str(content["version"]) if content.get("version") is not None else None,
        format_version=str(content.get("format_version", "")),
        description=str(content.get("description") or ""),
        licence=_text(content.get("license")),
        authors=tuple(str(_name(author)) for author in _list(content.get("authors"))),
        citations=tuple(
            Citation(str(entry.get("text") or ""), _text(entry.get("doi")), _text(entry.get("url")))
            for entry in _list(content.get("cite"))
            if isinstance(entry, Mapping)
        ),
        tags=tuple(str(tag) for tag in _list(content.get("tags"))),
        documentation=_source(content.get("documentation")),
        other_weights=tuple(name for name in weights if name not in USABLE_FORMATS or not weights[name]),
        sha256=sha256,
        notes=tensors.notes,
    )


def _read_tensors(content: Content) -> Tensors:
    for key in ("inputs", "outputs"):
        if not isinstance(content.get(key), Sequence) or not content[key]:
            raise ModelError(f"The description has no list of {key}; it is incomplete. Download the model again.")
    version = version_of(content)
    if is_newer(content):
        try:
            tensors = _checked_tensors(content, _NEWEST_READER)
        except ModelError as error:
            raise ModelError(
                f"{error} The description is in format {content['format_version']}, which this program does not know "
                "yet. A newer version of this program may read it."
            ) from error
        return replace(tensors, notes=(*tensors.notes, note_on_newer(content)))
    if version is None or version[:2] not in _READERS:
        raise ModelError(
            f"The description is in format {content.get('format_version') or 'unknown'}; formats from 0.3 are "
            "understood. Download the model again at bioimage.io."
        )
    return _checked_tensors(content, _READERS[version[:2]])


def _checked_tensors(content: Content, read: Callable[[Content], Tensors]) -> Tensors:
    tensors = read(content)
    check_tensors(tensors)
    return relate_plain_sizes(tensors)


def _read_weights(weights: Content, content: Content) -> Iterator[WeightsEntry]:
    for key, kind in USABLE_FORMATS.items():
        entry = weights.get(key)
        if not isinstance(entry, Mapping) or (
            key == "onnx" and not entry
        ):  # a list of an older version of this program
            continue
        source = _source(entry)
        if source is None:
            raise ModelError(f"The weights entry {key!r} names no file.")
        yield WeightsEntry(
            format=kind,
            source=source,
            sha256=_text(entry.get("sha256")),
            architecture=_architecture(entry, content) if kind == "pytorch_state_dict" else None,
            pytorch_version=_text(entry.get("pytorch_version")),
            strict=entry.get("strict") is not False,
            external_data=_external_data(entry) if kind == "onnx" else None,
        )


def _external_data(entry: Content) -> ExternalData | None:
    described = entry.get("external_data")
    source = _source(described)
    if source is None:
        return None
    return ExternalData(source, _text(described.get("sha256")) if isinstance(described, Mapping) else None)


def _architecture(entry: Content, content: Content) -> Architecture | None:
    """Return the architecture: a mapping in format 0.5, ``file.py:Callable`` or ``module.Callable`` in 0.4.

    Format 0.3 has one architecture for all weights, in ``source`` of the model.
    """
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
    kwargs = entry.get("kwargs") or {}
    if not isinstance(kwargs, Mapping):
        raise ModelError(f"The description gives the network the arguments {kwargs!r}; they must have names.")
    return kwargs


def _model_id(content: Content) -> str | None:
    """Return the zoo id, which formats up to 0.4 have as the nickname in ``config``."""
    config = content.get("config")
    zoo = config.get("bioimageio") if isinstance(config, Mapping) else None
    nickname = zoo.get("nickname") if isinstance(zoo, Mapping) else None
    return _text(nickname) or _text(content.get("id"))


def _name(person: Any) -> Any:
    return person.get("name", "") if isinstance(person, Mapping) else person


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str | None:
    return str(value) if value else None


def _source(value: object) -> str | None:
    """Return the name of a file that is given as a string, or as a mapping with ``source``."""
    return _text(value.get("source") if isinstance(value, Mapping) else value)


def sizes_from_text(text: str) -> dict[str, int]:
    """Return sizes in pixels by axis letter from a text in the order x,y,z,c, for instance ``256,256,1,1``.

    Raises :class:`UsageError` where the text is not understood.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() and int(part) for part in parts):
        raise UsageError(
            f"--model-size {text!r} is not understood. Give four whole numbers for x, y, z and channels, for instance "
            "256,256,1,1 for a 2-D model with one channel."
        )
    return dict(zip("xyzc", map(int, parts), strict=True))


def bare_spec(weights: Path, axes: str | None, size: str | None) -> ModelSpec:
    """Return the facts of TorchScript weights from the axes and the size of their input; nothing is normalised.

    Raises :class:`UsageError` where one of them is missing or not understood.
    """
    if axes is None or size is None:
        raise UsageError(
            f"{weights.name} is a weights file without a description, so its axes, size and normalisation are unknown. "
            "Best give the model's complete package or, with --description, its rdf.yaml. Else say what the network "
            "takes, for instance --model-axes bcyx --model-size 256,256,1,1 (x, y, z, channels)."
        )
    letters, sizes = axes.lower(), sizes_from_text(size)
    if sorted(letters) not in (sorted("bcyx"), sorted("bczyx")):
        raise UsageError(f"--model-axes {axes!r} is not understood; use bcyx for 2-D or bczyx for 3-D networks.")
    if "z" not in letters and sizes["z"] != 1:
        raise UsageError(
            f"--model-size {size} gives {counted(sizes['z'], 'plane')} in z, but --model-axes {axes} has no z axis."
        )
    inputs = tuple(
        Axis(axis_id(letter), letter, FreeSize() if letter == "b" else FixedSize(sizes[letter])) for letter in letters
    )
    outputs = tuple(
        Axis(axis.id, axis.letter, FreeSize() if axis.letter in "bc" else ReferencedSize("input", axis.id))
        for axis in inputs
    )
    return ModelSpec(
        name=weights.name,
        inputs=(TensorSpec("input", inputs, operations=(Operation("ensure_dtype", {"dtype": "float32"}),)),),
        outputs=(TensorSpec("output", outputs),),
        weights=(WeightsEntry("torchscript", weights.name),),
        root=weights.parent,
        notes=(
            "The weights came without a description: values are handed to the network as they are, neither normalised "
            "nor postprocessed. With the model's package or rdf.yaml (--description) both are done as its authors did.",
        ),
    )
