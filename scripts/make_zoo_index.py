"""Make the index of the zoo's PyTorch models from their descriptions: facts alone, no texts, files or test tensors.

    python scripts/make_zoo_index.py FOLDER... [-o FILE]
    python scripts/make_zoo_index.py --from-bioimage-io [-o FILE]

FOLDERs are searched for descriptions (``*.yaml``), whose models are named after the folders that they lie in unless
they say themselves; of several for one model the newest counts, and older ones are kept where they bring other weights
or code. ``--from-bioimage-io`` fetches today's descriptions instead. The same descriptions give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import httpx

from bioimage_inference.errors import BioimageInferenceError
from bioimage_inference.model.description import read_description
from bioimage_inference.model.safe_yaml import load_yaml
from bioimage_inference.model.spec import Architecture, ModelSpec, TensorSpec, WeightsEntry
from bioimage_inference.zoo.index import BUNDLED
from bioimage_inference.zoo.model_files import file_name

COLLECTION = "https://hypha.aicell.io/bioimage-io/artifacts/bioimage.io/children?limit=10000"
ZOO_ID = re.compile(r"[a-z]+(-[a-z]+)+")
DOI = re.compile(r"(10\.\d{4,9}/[^\s/]+?)(?:/(\d+))?", re.IGNORECASE)

COPIED = ("name", "version", "format_version", "license", "tags", "timestamp")
NOT_NEEDED = {"description", "test_tensor", "sample_tensor"}
NOTHING: tuple[Any, ...] = (None, False, "", [], [None, None], "arbitrary unit")

Content = Mapping[str, Any]
Line = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the index; what cannot be indexed is named on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="descriptions, in any depth")
    parser.add_argument("--from-bioimage-io", action="store_true", help="fetch the descriptions from the zoo")
    parser.add_argument("--collection", default=COLLECTION, metavar="ADDRESS", help="JSON list of the zoo's entries")
    parser.add_argument("-o", "--output", type=Path, default=BUNDLED, metavar="FILE", help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    if bool(arguments.folders) == arguments.from_bioimage_io:
        parser.error("give folders of descriptions, or --from-bioimage-io")
    found = fetch(arguments.collection) if arguments.from_bioimage_io else read(arguments.folders)
    try:
        lines = index_lines(found)
    except httpx.HTTPError as error:
        parser.exit(1, f"The zoo cannot be read: {error}\n")
    text = "".join(
        json.dumps(line, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")) + "\n"
        for line in lines
    )
    arguments.output.write_text(text, encoding="utf-8")
    print(
        f"{len({line['id'] for line in lines})} models, {len(lines)} descriptions, {len(text.encode()) / 1024:.0f} KiB"
    )
    return 0


def read(folders: Iterable[Path]) -> Iterator[tuple[str, Content]]:
    """The name and content of each model description below the folders."""
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            content = load_yaml(path.read_bytes(), str(path))
            if isinstance(content, Mapping) and {"inputs", "outputs", "weights"} <= content.keys():
                yield path.parent.name, content


def fetch(collection: str) -> Iterator[tuple[str, Content]]:
    """The id and description of each model that is published in the zoo today."""
    from bioimageio.spec import settings

    with httpx.Client(follow_redirects=True, timeout=settings.http_timeout) as client:
        listed = client.get(collection).raise_for_status().json()
        for item in sorted(listed, key=lambda item: str(item["id"])):
            model_id = str(item["id"]).rpartition("/")[2]
            if item["type"] == "model" and ZOO_ID.fullmatch(model_id):
                response = client.get(settings.collection_http_pattern.format(bioimageio_id=model_id))
                if response.is_error:
                    print(f"{model_id}: left out, the server answered {response.status_code}", file=sys.stderr)
                else:
                    yield model_id, load_yaml(response.content, model_id)


def index_lines(found: Iterable[tuple[str, Content]]) -> list[Line]:
    """The lines of the index in their order: by id, and the newest description of a model first."""
    models: dict[str, list[Line]] = {}
    for name, content in found:
        try:
            line = index_line(name, content)
        except BioimageInferenceError as error:
            print(f"{name}: left out. {error}", file=sys.stderr)
            continue
        if line is not None:
            models.setdefault(line["id"], []).append(line)
    return [line for _, lines in sorted(models.items()) for line in needed(lines)]


def needed(lines: list[Line]) -> Iterator[Line]:
    """Of the descriptions of one model the newest, with all DOIs, and older ones with weights or code of their own."""
    lines = sorted(lines, key=_age, reverse=True)
    lines[0]["dois"] = sorted({doi for line in lines for doi in line["dois"]})
    known: set[str] = set()
    for line in lines:
        hashes = set(_hashes(line["description"]))
        if line is lines[0] or hashes - known:
            yield line
        known |= hashes


def _age(line: Line) -> tuple[list[int], str, str]:
    """Format and date; of two that agree in both always the same one comes first."""
    described = line["description"]
    formats = [int(part) for part in re.findall(r"\d+", described["format_version"])]
    return formats, described.get("timestamp", ""), json.dumps(described, sort_keys=True)


def _hashes(data: Any) -> Iterator[str]:
    """All values of ``sha256``, at any depth."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from [value] if key == "sha256" else _hashes(value)
    elif isinstance(data, list):
        for value in data:
            yield from _hashes(value)


def index_line(name: str, content: Content) -> Line | None:
    """What the index says of a description; ``None`` where PyTorch cannot load any of its weights.

    Raises :class:`ModelError` where inference does not understand the description.
    """
    spec = read_description(content, Path())
    if not spec.weights:
        return None
    description = {
        "type": "model",
        "id": zoo_id(name, content),
        **{key: content[key] for key in COPIED if content.get(key) not in NOTHING},
        "name": spec.name,
        "format_version": spec.format_version,
        "authors": [{"name": author} for author in spec.authors if author],
        "cite": [_without_nothing({"text": one.text, "doi": one.doi, "url": one.url}) for one in spec.citations],
        "inputs": [needed_of_tensor(tensor) for tensor in content["inputs"]],
        "outputs": [needed_of_tensor(tensor) for tensor in content["outputs"]],
        "weights": {one.format: _weights(one) for one in spec.weights} | {other: {} for other in spec.other_weights},
    }
    _check(spec, description)
    axes = {key: [tensor.letters for tensor in getattr(spec, key)] for key in ("inputs", "outputs")}
    return {"id": description["id"], "dois": sorted(dois(content)), "axes": axes, "description": description}


def zoo_id(name: str, content: Content) -> str:
    """The id that the description states, or else the name of its folder."""
    config = content.get("config") or {}
    stated = (content.get("id"), (config.get("bioimageio") or {}).get("nickname"))
    return next((text for text in stated if isinstance(text, str) and ZOO_ID.fullmatch(text)), name)


def dois(content: Content) -> set[str]:
    """The DOIs of the model and of its version; an id such as ``10.5281/zenodo.1/2`` states both."""
    config = content.get("config") or {}
    stated = (content.get("id"), config.get("_conceptdoi"), (config.get("bioimageio") or {}).get("doi"))
    found = set()
    for text in stated:
        match = DOI.fullmatch(str(text))
        if match:
            found.add(match[1].lower())
            if match[2]:
                found.add(re.sub(r"\d+$", match[2], match[1].lower()))
    return found


def needed_of_tensor(data: Any) -> Any:
    """A tensor without texts, test tensors, and what says nothing; arguments (``kwargs``) stay as they are."""
    if isinstance(data, Mapping):
        return _without_nothing(
            {
                key: value if key == "kwargs" else needed_of_tensor(value)
                for key, value in data.items()
                if key not in NOT_NEEDED
            }
        )
    if isinstance(data, list | tuple):
        return [needed_of_tensor(value) for value in data]
    return None if isinstance(data, float) and not isfinite(data) else data


def _without_nothing(mapping: Content) -> Line:
    # a zero is a number, although it equals False
    return {key: value for key, value in mapping.items() if value is not False and (value == 0 or value not in NOTHING)}


def _weights(entry: WeightsEntry) -> Line:
    found: Line = {
        "source": file_name(entry.source),
        "sha256": _lower(entry.sha256),
        "pytorch_version": entry.pytorch_version,
    }
    if entry.architecture is not None:
        found["architecture"] = _architecture(entry.architecture)
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
    """What was left out must not have been needed."""
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


if __name__ == "__main__":
    sys.exit(main())
