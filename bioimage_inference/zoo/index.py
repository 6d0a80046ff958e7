"""The published models that this program knows, and the trust that follows from them.

``scripts/make_zoo_index.py`` makes ``index.jsonl``: its date, and one description per line, without the parts that
inference does not use. ``BIOIMAGE_INFERENCE_INDEX`` names one more file of that kind. Its models come first, and its
code and weights count as published, because only the administrator sets the variable. ``models --update`` writes a
newer list into the cache. That list names models, and vouches for none: anyone may publish in the zoo, and others may
write to the cache.
"""

import datetime
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files.cache_folder import own_cache_folder
from ..model.trust import HASHES_VARIABLE, TRUST_VARIABLE, TrustPolicy, read_hashes
from ..text import parse_json

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
        """Weights that run here by format. Lists of older versions of this program have empty entries for ONNX."""
        found: Mapping[str, Mapping[str, Any]] = self.description["weights"]
        return {key: found[key] for key in ("torchscript", "pytorch_state_dict", "onnx") if found.get(key)}

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
    """All descriptions. The first description with an id is the current one.

    ``date`` is the day on which the list was made, as 2026-11-29; empty for a list without a date.
    """

    entries: Sequence[Entry]
    date: str = ""

    @property
    def age_in_words(self) -> str:
        """Say when the list was made, and how to renew it."""
        return (
            f"The list of models here was made on {self.date}. `bioimage-inference models --update` fetches the list "
            "of today."
        )

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
        """Return the SHA-256 of all published weights, with the external data of ONNX networks."""
        entries = [one for entry in self.entries for one in entry.weights.values()]
        files = [*entries, *(one["external_data"] for one in entries if "external_data" in one)]
        return frozenset(one["sha256"] for one in files if one.get("sha256"))


def updated_list() -> Path:
    """Return the place of the list that ``models --update`` fetches: in the cache folder."""
    return own_cache_folder() / "index.jsonl"


def load_index(environment: Mapping[str, str] = os.environ) -> Index:
    """Return all known models: of the administrator's list, then of the newest list of the zoo, then of older lists.

    Raises :class:`UsageError` where a list cannot be read.
    """
    bundled, path = read_index(BUNDLED), updated_list()
    lists = [bundled]
    if os.path.isfile(path):  # noqa: PTH113  (false also for a folder that must not be read)
        updated = read_index(path)
        lists = [updated, bundled] if updated.date >= bundled.date else [bundled, updated]
    return _joined([*_administrator_lists(environment), *lists], lists[0].date)


def _joined(lists: Sequence[Index], date: str = "") -> Index:
    return Index([entry for one in lists for entry in one.entries], date)


def _administrator_lists(environment: Mapping[str, str]) -> list[Index]:
    named = environment.get(INDEX_VARIABLE, "").strip()
    return [read_index(Path(named))] if named else []


def read_index(path: Path) -> Index:
    """Return the models of a file. Raises :class:`UsageError` where it is no index."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The index of models {path} cannot be read: {error}. {_remedy(path)}") from error
    entries, date = [], ""
    for number, line in enumerate(lines, start=1):
        try:
            content = parse_json(line)
            if number == 1 and content.keys() == {"date"}:
                date = datetime.date.fromisoformat(content["date"]).isoformat()
            else:
                entries.append(_entry(content))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UsageError(
                f"Line {number} of the index of models {path} describes no model. {_remedy(path)}"
            ) from error
    return Index(entries, date)


def _remedy(path: Path) -> str:
    if path == updated_list():
        return "Fetch it anew with `bioimage-inference models --update`, or remove the file."
    return f"Make the index ({INDEX_VARIABLE}) anew with scripts/make_zoo_index.py of this program's source code."


def _entry(line: Mapping[str, Any]) -> Entry:
    axes = line["axes"]
    entry = Entry(line["id"], tuple(line["dois"]), tuple(axes["inputs"]), tuple(axes["outputs"]), line["description"])
    if not entry.name or not entry.weights or any(not isinstance(one["source"], str) for one in entry.weights.values()):
        raise ValueError("no name or weights")
    for file in entry.code_files():
        file["source"]
    return entry


def trust_policy(trust_model_code: bool = False, environment: Mapping[str, str] = os.environ) -> TrustPolicy:
    """Return the trust policy of a process: from the bundled and the administrator's index, the environment, and the
    user's ``--trust-model-code``.

    Raises :class:`UsageError` for a misspelt variable, and for an administrator's list or index that cannot be read: a
    restriction must not get lost.
    """
    index = _joined([*_administrator_lists(environment), read_index(BUNDLED)])
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
