"""Makes the lines of the index from descriptions of models. A line has the facts that inference needs, without texts,
test tensors and files.

The same descriptions give the same lines.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..errors import BioimageInferenceError
from ..model.description import read_description
from ..model.spec import Architecture, ModelSpec, TensorSpec, WeightsEntry
from ..terminal import say
from .model_files import file_name

ZOO_ID = re.compile(r"[a-z]+(-[a-z]+)+")
_DOI = re.compile(r"(10\.\d{4,9}/[^\s/]+?)(?:/(\d+))?", re.IGNORECASE)

_COPIED = ("name", "version", "format_version", "license", "tags", "timestamp")
_NOT_NEEDED = {"description", "test_tensor", "sample_tensor"}
_NOTHING: tuple[Any, ...] = (None, False, "", [], [None, None], "arbitrary unit")

Content = Mapping[str, Any]
Line = dict[str, Any]


def index_lines(found: Iterable[tuple[str, Content]]) -> list[Line]:
    """Return the lines of the index from names and descriptions, sorted by id, the newest description of a model first.

    Standard error names a description that is not understood.
    """
    models: dict[str, list[Line]] = {}
    for name, content in found:
        try:
            line = _index_line(name, content)
        except BioimageInferenceError as error:
            say(f"{name}: left out. {error}", error=True)
            continue
        if line is not None:
            models.setdefault(line["id"], []).append(line)
    return [line for _, lines in sorted(models.items()) for line in _needed(lines)]


def _needed(lines: list[Line]) -> Iterator[Line]:
    """Yield the newest description of one model, with all DOIs, and older descriptions with other weights or code."""
    lines = sorted(lines, key=_age, reverse=True)
    lines[0]["dois"] = sorted({doi for line in lines for doi in line["dois"]})
    known: set[str] = set()
    for line in lines:
        hashes = set(_hashes(line["description"]))
        if line is lines[0] or hashes - known:
            yield line
        known |= hashes


def _age(line: Line) -> tuple[list[int], str, str]:
    """Return format and date. The text decides between two descriptions that agree in both."""
    described = line["description"]
    formats = [int(part) for part in re.findall(r"\d+", described["format_version"])]
    return formats, described.get("timestamp", ""), json.dumps(described, sort_keys=True)


def _hashes(data: Any) -> Iterator[str]:
    """Yield all values of ``sha256``, at any depth."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from [value] if key == "sha256" else _hashes(value)
    elif isinstance(data, list):
        for value in data:
            yield from _hashes(value)


def _index_line(name: str, content: Content) -> Line | None:
    """Return the facts of a description; ``None`` if none of its weights run here.

    Raises :class:`ModelError` where inference does not understand the description.
    """
    spec = read_description(content, Path())
    if not spec.weights:
        return None
    description = {
        "type": "model",
        "id": _zoo_id(name, content),
        **{key: content[key] for key in _COPIED if content.get(key) not in _NOTHING},
        "name": spec.name,
        "format_version": spec.format_version,
        "authors": [{"name": author} for author in spec.authors if author],
        "cite": [_without_nothing({"text": one.text, "doi": one.doi, "url": one.url}) for one in spec.citations],
        "inputs": [_needed_of_tensor(tensor) for tensor in content["inputs"]],
        "outputs": [_needed_of_tensor(tensor) for tensor in content["outputs"]],
        "weights": {one.format: _weights(one) for one in spec.weights} | {other: {} for other in spec.other_weights},
    }
    _check(spec, description)
    axes = {key: [tensor.letters for tensor in getattr(spec, key)] for key in ("inputs", "outputs")}
    return {"id": description["id"], "dois": sorted(_dois(content)), "axes": axes, "description": description}


def _zoo_id(name: str, content: Content) -> str:
    """Return the id that the description states, or else the name of its folder."""
    config = content.get("config") or {}
    stated = (content.get("id"), (config.get("bioimageio") or {}).get("nickname"))
    return next((text for text in stated if isinstance(text, str) and ZOO_ID.fullmatch(text)), name)


def _dois(content: Content) -> set[str]:
    """Return the DOIs of the model and of its version. An id such as ``10.5281/zenodo.1/2`` states both."""
    config = content.get("config") or {}
    stated = (content.get("id"), config.get("_conceptdoi"), (config.get("bioimageio") or {}).get("doi"))
    found = set()
    for text in stated:
        match = _DOI.fullmatch(str(text))
        if match:
            found.add(match[1].lower())
            if match[2]:
                found.add(re.sub(r"\d+$", match[2], match[1].lower()))
    return found


def _needed_of_tensor(data: Any) -> Any:
    """Return a tensor without texts, test tensors and empty values. Arguments (``kwargs``) stay as they are."""
    if isinstance(data, Mapping):
        return _without_nothing(
            {
                key: value if key == "kwargs" else _needed_of_tensor(value)
                for key, value in data.items()
                if key not in _NOT_NEEDED
            }
        )
    if isinstance(data, list | tuple):
        return [_needed_of_tensor(value) for value in data]
    return None if isinstance(data, float) and not isfinite(data) else data


def _without_nothing(mapping: Content) -> Line:
    # a zero is a number, although it equals False
    return {
        key: value for key, value in mapping.items() if value is not False and (value == 0 or value not in _NOTHING)
    }


def _weights(entry: WeightsEntry) -> Line:
    found: Line = {
        "source": file_name(entry.source),
        "sha256": _lower(entry.sha256),
        "pytorch_version": entry.pytorch_version,
    }
    if entry.architecture is not None:
        found["architecture"] = _architecture(entry.architecture)
    if entry.external_data is not None:
        data = {"source": file_name(entry.external_data.source), "sha256": _lower(entry.external_data.sha256)}
        found["external_data"] = _without_nothing(data)
    return _without_nothing(found) | ({} if entry.strict else {"strict": False})


def _architecture(architecture: Architecture) -> Line:
    return _without_nothing(
        {
            "callable": architecture.callable,
            "source": architecture.source and file_name(architecture.source),
            "sha256": _lower(architecture.sha256),
            "import_from": architecture.import_from,
            "kwargs": dict(architecture.kwargs),
        }
    )


def _lower(sha256: str | None) -> str | None:
    return sha256 and sha256.strip().lower()


def _check(spec: ModelSpec, description: Content) -> None:
    """Raise :class:`AssertionError` if inference would read other facts from the line than from the description."""
    again = read_description(description, Path())
    for key in ("inputs", "outputs"):
        full, reduced = (tuple(map(_bare, getattr(one, key))) for one in (spec, again))
        if full != reduced:
            raise AssertionError(f"{description['id']}: the index would change the {key}: {full} became {reduced}")
    assert [_facts(one) for one in spec.weights] == [_facts(one) for one in again.weights], description["id"]


def _bare(tensor: TensorSpec) -> TensorSpec:
    return replace(tensor, test_tensor=None, description="")


def _facts(entry: WeightsEntry) -> tuple[Any, ...]:
    architecture = entry.architecture
    built = architecture and (architecture.callable, dict(architecture.kwargs), architecture.import_from)
    return entry.format, _lower(entry.sha256), built
