"""Whether an image is complete already: its record is there, and is of this model, these options and these files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from ..api import Model, Target
from ..image.writers.output_formats import FILE_FORMATS
from ..model.package import file_sha256, package_file
from ..options import Options
from ..provenance.hashing import path_hash
from ..provenance.record import RunRecord, read_record, to_json
from ..provenance.record_builder import given_options, planned_model, step_records
from ..provenance.record_parts import OutputRecord
from .output_files import ImageFiles

# Options that change how fast the result is there, and not what it is.
_SPEED_ONLY = {"threads", "memory"}


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left: its ``record`` where the prediction is complete, else ``None`` and why it is not."""

    record: RunRecord | None
    reason: str = ""


@dataclass(frozen=True)
class Resuming:
    """What a record must be about to count: the model, the options, the files of further inputs."""

    model: Model
    options: Options
    others: Mapping[str, Path]
    _weights: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def earlier(self, image: Path, files: ImageFiles) -> Earlier:
        """What there is of an image. Reads the image and its outputs once, to compare their SHA-256."""
        if not files.record.is_file():
            return Earlier(None, "there is no record of it")
        try:
            record = read_record(files.record)
        except (OSError, ValueError) as error:
            return Earlier(None, f"its record cannot be read ({error})")
        try:
            reason = next(self._differences(record, image, files), "")
        except OSError as error:
            return Earlier(None, f"{error.filename} cannot be read ({error.strerror})")
        return Earlier(None, reason) if reason else Earlier(self._relocated(record, image, files))

    def _differences(self, record: RunRecord, image: Path, files: ImageFiles) -> Iterator[str]:
        """Reasons to compute an image anew, those that are found quickly first."""
        if any(getattr(record.model, name) != value for name, value in self._model.items()):
            yield "it was computed with another model"
        if [(step.tensor, step.step, step.arguments) for step in record.processing] != self._steps:
            yield "it was computed with other pre- or postprocessing"
        if record.weights.sha256 != self._weights_sha256(record.weights.file):
            yield "it was computed with other weights"
        before, now = record.options, given_options(self.options)
        for name in sorted((before.keys() | now.keys()) - _SPEED_ONLY):
            if before.get(name) != now.get(name):
                yield f"it was computed with another --{name.replace('_', '-')}"
        yield from _changed_outputs(record, files)
        yield from self._changed_inputs(record, image)

    def _relocated(self, record: RunRecord, image: Path, files: ImageFiles) -> RunRecord:
        """The record with the places where files are now; they may have moved, and outputs are named as they were."""
        given = self._given(image)
        objects = record.objects
        if objects is not None and files.objects is not None:
            objects = replace(objects, **to_json(vars(files.objects)))
        outputs = ((one, _written(one, files)) for one in record.outputs)
        return replace(
            record,
            inputs=tuple(replace(one, file=str(given[one.tensor].absolute())) for one in record.inputs),
            outputs=tuple(replace(one, tiff=to_json(file.tiff), npy=to_json(file.npy)) for one, file in outputs),
            objects=objects,
        )

    def _given(self, image: Path) -> dict[str, Path]:
        return {self.model.spec.inputs[0].id: image, **self.others}

    def _changed_inputs(self, record: RunRecord, image: Path) -> Iterator[str]:
        given = self._given(image)
        recorded = {one.tensor: one for one in record.inputs}
        if recorded.keys() != given.keys():
            yield "it was computed from other inputs"
            return
        for tensor, path in given.items():
            if path.is_file() and path.stat().st_size != recorded[tensor].bytes:
                yield f"{path} has changed"
            if path_hash(path).sha256 != recorded[tensor].sha256:
                yield f"{path} has changed"

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        source = self.model.source
        return {
            **vars(planned_model(self.model.spec)),
            "model_axes": source.model_axes,
            "model_size": source.model_size,
        }

    @cached_property
    def _steps(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Of a description given apart from its weights, whose hash is that of the model."""
        spec = self.model.spec
        steps = step_records(spec, [spec.inputs[0].id, *self.others], [], [])
        return [(step.tensor, step.step, step.arguments) for step in steps]

    def _weights_sha256(self, name: str) -> str:
        """The hash of a weights file of the model as it is now, taken once."""
        if name not in self._weights:
            path = self.model.opened.package.bare_weights or package_file(self.model.spec.root, name)
            self._weights[name] = file_sha256(path)
        return self._weights[name]


def _changed_outputs(record: RunRecord, files: ImageFiles) -> Iterator[str]:
    for output in record.outputs:
        if output.id not in files.targets:
            yield f"its record names {output.id}, which is no output of the model"
        target = _written(output, files)
        for kind, path in target.files.items():
            yield from changed(path, getattr(output.sha256, kind))


def _written(output: OutputRecord, files: ImageFiles) -> Target:
    """The files of an output; one without entries has no TIFF."""
    target = files.targets[output.id]
    filled = bool(prod(output.shape))
    return Target(**{key: path for key, path in target.files.items() if filled or FILE_FORMATS[key].holds_empty})


def changed(path: Path, sha256: str | None) -> Iterator[str]:
    """Why a file is not the one that was written, if it is not."""
    if not path.is_file():
        yield f"{path} is not there"
    elif file_sha256(path) != sha256:
        yield f"{path} has changed"
