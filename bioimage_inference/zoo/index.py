"""The models of the zoo as this program knows them: ``index.jsonl``, made by ``scripts/make_zoo_index.py``.

A line is a description without what inference has no use for. ``BIOIMAGE_INFERENCE_INDEX`` names one more file of that
kind; its models come first, and its code and weights count as published: the variable is the administrator's to set.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError

INDEX_VARIABLE = "BIOIMAGE_INFERENCE_INDEX"
BUNDLED = Path(__file__).with_name("index.jsonl")


@dataclass(frozen=True)
class Entry:
    """One description of a published model.

    ``inputs`` and ``outputs`` have the axes of each tensor as letters, ``description`` is in the form of its format
    version; its weights are in that of 0.5 throughout, and file names without folders or addresses.
    """

    id: str
    dois: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    description: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What its authors call the model."""
        return str(self.description["name"])

    @property
    def weights(self) -> Mapping[str, Mapping[str, Any]]:
        """The entries that PyTorch can load, in the order in which they are tried."""
        found: Mapping[str, Mapping[str, Any]] = self.description["weights"]
        return {key: found[key] for key in ("torchscript", "pytorch_state_dict") if key in found}

    def files(self) -> Iterator[Mapping[str, Any]]:
        """The Python files that the model brings: mappings with ``source`` and, where declared, ``sha256``."""
        for entry in self.weights.values():
            if entry.get("architecture", {}).get("source"):
                yield entry["architecture"]
        for tensor in (*self.description["inputs"], *self.description["outputs"]):
            steps = (*tensor.get("preprocessing", ()), *tensor.get("postprocessing", ()))
            yield from (step for step in steps if step.get("id") == "custom")


@dataclass(frozen=True)
class Index:
    """All descriptions; of several with one id the first is the current one."""

    entries: Sequence[Entry]

    def current(self) -> dict[str, Entry]:
        """The current description of each model, by id."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.id, entry)
        return found

    def with_doi(self, doi: str) -> Entry | None:
        """The current description of the model that has, or in an older version had, this DOI."""
        owner = next((entry.id for entry in self.entries if doi.lower() in entry.dois), None)
        return None if owner is None else self.current()[owner]

    def with_weights(self, sha256: str) -> list[Entry]:
        """The descriptions that a weights file belongs to, current ones first."""
        current = self.current()
        found = [entry for entry in self.entries if any(sha256 == one.get("sha256") for one in entry.weights.values())]
        return sorted(found, key=lambda entry: entry is not current[entry.id])

    def code_sha256(self) -> frozenset[str]:
        """The SHA-256 of all Python files that published models bring."""
        return frozenset(file["sha256"] for entry in self.entries for file in entry.files() if file.get("sha256"))

    def weights_sha256(self) -> frozenset[str]:
        """The SHA-256 of all published weights."""
        return frozenset(one["sha256"] for entry in self.entries for one in entry.weights.values() if one.get("sha256"))


def load_index(environment: Mapping[str, str] = os.environ) -> Index:
    """The bundled index, behind the one that ``BIOIMAGE_INFERENCE_INDEX`` names.

    Raises :class:`UsageError` where that one cannot be read.
    """
    added = environment.get(INDEX_VARIABLE, "").strip()
    return Index([*(read_index(Path(added)) if added else ()), *read_index(BUNDLED)])


def read_index(path: Path) -> list[Entry]:
    """The entries of a file; raises :class:`UsageError` where it is no index."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The index of models {path} ({INDEX_VARIABLE}) cannot be read: {error}.") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_entry(json.loads(line)))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                f"Line {number} of the index of models {path} describes no model. Make the index anew with "
                "scripts/make_zoo_index.py of this program's source code."
            ) from error
    return entries


def _entry(line: Mapping[str, Any]) -> Entry:
    axes = line["axes"]
    entry = Entry(line["id"], tuple(line["dois"]), tuple(axes["inputs"]), tuple(axes["outputs"]), line["description"])
    if not entry.name or not entry.weights or any(not isinstance(one["source"], str) for one in entry.weights.values()):
        raise ValueError("no name or weights")
    for file in entry.files():
        file["source"]
    return entry
