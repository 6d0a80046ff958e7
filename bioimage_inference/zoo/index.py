"""The published models that this program knows, and the trust that follows from them.

``scripts/make_zoo_index.py`` makes ``index.jsonl``: one description per line, without the parts that inference does
not use. ``BIOIMAGE_INFERENCE_INDEX`` names one more file of that kind. Its models come first, and its code and weights
count as published, because only the administrator sets the variable.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..model.trust import HASHES_VARIABLE, TRUST_VARIABLE, TrustPolicy, read_hashes

INDEX_VARIABLE = "BIOIMAGE_INFERENCE_INDEX"
BUNDLED = Path(__file__).with_name("index.jsonl")


@dataclass(frozen=True)
class Entry:
    """One description of a published model.

    ``inputs`` and ``outputs`` hold the axis letters of each tensor. ``description`` has the form of its format version,
    with weights in the form of 0.5, and with file names without folders or addresses.
    """

    id: str
    dois: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    description: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Title that the authors gave to the model."""
        return str(self.description["name"])

    @property
    def weights(self) -> Mapping[str, Mapping[str, Any]]:
        """Weights that PyTorch can load by format, in the order of preference."""
        found: Mapping[str, Mapping[str, Any]] = self.description["weights"]
        return {key: found[key] for key in ("torchscript", "pytorch_state_dict") if key in found}

    def code_files(self) -> Iterator[Mapping[str, Any]]:
        """Yield the Python files of the model: mappings with ``source`` and, where declared, ``sha256``."""
        for entry in self.weights.values():
            if entry.get("architecture", {}).get("source"):
                yield entry["architecture"]
        for tensor in (*self.description["inputs"], *self.description["outputs"]):
            steps = (*tensor.get("preprocessing", ()), *tensor.get("postprocessing", ()))
            yield from (step for step in steps if step.get("id") == "custom")


@dataclass(frozen=True)
class Index:
    """All descriptions. The first description with an id is the current one."""

    entries: Sequence[Entry]

    def current(self) -> dict[str, Entry]:
        """Return the current description of each model by id."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.id, entry)
        return found

    def with_doi(self, doi: str) -> Entry | None:
        """Return the current description of the model that has this DOI, or had it in an older version."""
        owner = next((entry.id for entry in self.entries if doi.lower() in entry.dois), None)
        return None if owner is None else self.current()[owner]

    def with_weights(self, sha256: str) -> list[Entry]:
        """Return the descriptions that a weights file belongs to, current descriptions first."""
        current = self.current()
        found = [entry for entry in self.entries if any(sha256 == one.get("sha256") for one in entry.weights.values())]
        return sorted(found, key=lambda entry: entry is not current[entry.id])

    def code_sha256(self) -> frozenset[str]:
        """Return the SHA-256 of all Python files of published models."""
        return frozenset(file["sha256"] for entry in self.entries for file in entry.code_files() if file.get("sha256"))

    def weights_sha256(self) -> frozenset[str]:
        """Return the SHA-256 of all published weights."""
        return frozenset(one["sha256"] for entry in self.entries for one in entry.weights.values() if one.get("sha256"))


def load_index(environment: Mapping[str, str] = os.environ) -> Index:
    """Return the bundled index after the one that ``BIOIMAGE_INFERENCE_INDEX`` names.

    Raises :class:`UsageError` where the named file cannot be read.
    """
    added = environment.get(INDEX_VARIABLE, "").strip()
    return Index([*(read_index(Path(added)) if added else ()), *read_index(BUNDLED)])


def read_index(path: Path) -> list[Entry]:
    """Return the entries of a file. Raises :class:`UsageError` where it is no index."""
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
    for file in entry.code_files():
        file["source"]
    return entry


def trust_policy(trust_model_code: bool = False, environment: Mapping[str, str] = os.environ) -> TrustPolicy:
    """Return the trust policy of a process: from the index, the environment, and the user's ``--trust-model-code``.

    Raises :class:`UsageError` for a misspelt variable, and for an administrator's list or index that cannot be read: a
    restriction must not get lost.
    """
    index = load_index(environment)
    mode = environment.get(TRUST_VARIABLE, "").strip()
    if mode not in ("", "known"):
        raise UsageError(f"{TRUST_VARIABLE} is {mode!r}; it can be 'known' or unset.")
    listed = environment.get(HASHES_VARIABLE, "").strip()
    return TrustPolicy(
        trust_model_code=trust_model_code,
        known_only=mode == "known",
        administrator=read_hashes(Path(listed)) if listed else frozenset(),
        published=index.code_sha256(),
        published_weights=index.weights_sha256(),
    )
