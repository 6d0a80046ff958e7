"""``--resume``: find the record of an image that is complete already, made by this model, these options and inputs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from ..api import Model, Target
from ..model.package import file_sha256, package_file
from ..options import Options
from ..provenance.hashing import path_hash
from ..provenance.processing_record import describe_processing
from ..provenance.record import SCHEMA, describe_model, describe_options
from .output_files import ImageFiles
from .tables import Record

# Options that change the duration of a run, but no result.
_SPEED_ONLY = {"threads", "memory"}
_OPTION_NAMES = {"border": "image-border"}  # options whose names differ from the keys of the record
_STEP = ("tensor", "step", "arguments")


@dataclass(frozen=True)
class EarlierResults:
    """Results of earlier runs with the same model, options and files of further inputs (``others``)."""

    model: Model
    options: Options
    others: Mapping[str, Path]
    _weights: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def find(self, image: Path, files: ImageFiles) -> tuple[Record | None, str]:
        """Return the record of an image with a complete prediction, or ``None`` and the reason to predict it again.

        Reads the image and its outputs to compare their SHA-256.
        """
        assert files.record is not None
        if not files.record.is_file():
            return None, "there is no record of it"
        try:
            record = json.loads(files.record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return None, f"its record cannot be read ({error})"
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            return None, "its record was written by another version of this program"
        try:
            reason = next(self._differences(record, image, files), "")
        except (KeyError, TypeError, AttributeError) as error:
            return None, f"its record is not complete ({error})"
        except OSError as error:
            return None, f"{error.filename} cannot be read ({error.strerror})"
        return (None, reason) if reason else (self._relocated(record, image, files), "")

    def _differences(self, record: Record, image: Path, files: ImageFiles) -> Iterator[str]:
        """Yield reasons to predict an image again, first the reasons that are found quickly."""
        if any(record["model"][key] != value for key, value in self._model.items()):
            yield "it was computed with another model"
        if [{key: step[key] for key in _STEP} for step in record["processing"]] != self._steps:
            yield "it was computed with other pre- or postprocessing"
        if record["weights"]["sha256"] != self._weights_sha256(record["weights"]["file"]):
            yield "it was computed with other weights"
        before, now = record["options"], _as_json(describe_options(self.options))
        for name in sorted((before.keys() | now.keys()) - _SPEED_ONLY):
            if before.get(name) != now.get(name):
                yield f"it was computed with another --{_OPTION_NAMES.get(name, name).replace('_', '-')}"
        for output in record["outputs"]:
            for kind, path in vars(_written(output, files)).items():
                if path is not None:
                    yield from change(path, output["sha256"][kind])
        yield from self._changed_inputs(record, image)

    def _changed_inputs(self, record: Record, image: Path) -> Iterator[str]:
        inputs = self._inputs(image)
        recorded = {one["tensor"]: one for one in record["inputs"]}
        if recorded.keys() != inputs.keys():
            yield "it was computed from other inputs"
        for tensor, path in inputs.items():
            if path.is_file() and path.stat().st_size != recorded[tensor]["bytes"]:
                yield f"{path} has changed"
            if path_hash(path).sha256 != recorded[tensor]["sha256"]:
                yield f"{path} has changed"

    def _relocated(self, record: Record, image: Path, files: ImageFiles) -> Record:
        """Return the record with the present paths of all files, which may have been moved."""
        inputs = self._inputs(image)
        moved = {
            **record,
            "inputs": [{**one, "file": str(inputs[one["tensor"]].absolute())} for one in record["inputs"]],
            "outputs": [{**one, **_texts(_written(one, files))} for one in record["outputs"]],
        }
        if "objects" in record and files.objects is not None:
            moved["objects"] = {**record["objects"], **_texts(files.objects)}
        return moved

    def _inputs(self, image: Path) -> dict[str, Path]:
        return {self.model.spec.inputs[0].id: image, **self.others}

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        source = {key: value for key, value in self.model.source.items() if key in ("model_axes", "model_size")}
        return _as_json(describe_model(self.model.spec) | source)

    @cached_property
    def _steps(self) -> list[dict[str, Any]]:
        """Pre- and postprocessing. A separate description can change them without a change of the model's hash."""
        spec = self.model.spec
        steps = describe_processing(spec, [spec.inputs[0].id, *self.others], [], [])
        return [{key: _as_json(step)[key] for key in _STEP} for step in steps]

    def _weights_sha256(self, name: str) -> str:
        """Return the present hash of a weights file of the model."""
        if name not in self._weights:
            path = self.model.opened.package.bare_weights or package_file(self.model.spec.root, name)
            self._weights[name] = file_sha256(path)
        return self._weights[name]


def change(path: Path, sha256: str | None) -> Iterator[str]:
    """Yield the difference between a file and the recorded file, if there is any."""
    if not path.is_file():
        yield f"{path} is not there"
    elif file_sha256(path) != sha256:
        yield f"{path} has changed"


def _written(output: Record, files: ImageFiles) -> Target:
    """Return the files of an output. An output without any entries has no TIFF."""
    target = files.targets[output["id"]]
    return target if prod(output["shape"]) else replace(target, tiff=None)


def _texts(files: Any) -> dict[str, str | None]:
    return {name: None if path is None else str(path) for name, path in vars(files).items()}


def _as_json(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts as a JSON file would return them."""
    read: Mapping[str, Any] = json.loads(json.dumps(facts))
    return read
