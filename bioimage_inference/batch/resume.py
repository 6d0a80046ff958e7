"""``--resume``: find the record of an image that is complete already, made by this model, these options and inputs."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from ..api import Model, Target
from ..files.typed_path import Address, ImagePath
from ..image.readers.reading import files_of_image
from ..image.writers.output_formats import FORMATS
from ..model.package import file_sha256, package_file
from ..options import Options
from ..provenance.hashing import files_hash, path_hash
from ..provenance.record import RunRecord, read_record, to_json
from ..provenance.record_builder import given_options, planned_model, step_records
from ..provenance.record_parts import OutputRecord
from .output_files import ImageFiles

# Options that change the duration of a run, but no result; and weights, which are compared with those that were used.
_NOT_COMPARED = {"threads", "memory", "weights"}
_OPTION_NAMES = {"border": "image-border"}  # options whose names differ from the keys of the record


@dataclass(frozen=True)
class EarlierResults:
    """Results of earlier runs with the same model and files of further inputs (``others``)."""

    model: Model
    others: Mapping[str, ImagePath]
    _weights: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def find(self, image: ImagePath, files: ImageFiles, options: Options) -> tuple[RunRecord | None, str]:
        """Return the record of an image with a complete prediction, or ``None`` and the reason to predict it again.

        ``options`` are those of this image.

        Reads the image and its outputs to compare their SHA-256.
        """
        assert files.record is not None
        if not files.record.is_file():
            return None, "there is no record of it"
        try:
            record = read_record(files.record)
        except (OSError, ValueError) as error:
            return None, f"its record cannot be read ({error})"
        try:
            reason = next(self._differences(record, image, files, options), "")
        except OSError as error:
            return None, f"{error.filename} cannot be read ({error.strerror})"
        return (None, reason) if reason else (self._relocated(record, image, files), "")

    def with_recorded_weights(self, options: Options, all_files: Iterable[ImageFiles]) -> Options:
        """Return the options with the weights of the first record of this model, unless the user chose others.

        Otherwise the order of preference could change from one image of a folder to the next.
        """
        formats = {entry.format: entry.format for entry in self.model.spec.weights}
        if options.weights is not None:
            return options
        for files in all_files:
            if files.record is not None and files.record.is_file():
                with suppress(OSError, ValueError):
                    record = read_record(files.record)
                    if record.model.sha256 == self.model.spec.sha256 and record.weights.format in formats:
                        return replace(options, weights=formats[record.weights.format])
        return options

    def _differences(self, record: RunRecord, image: ImagePath, files: ImageFiles, options: Options) -> Iterator[str]:
        """Yield reasons to predict an image again, first the reasons that are found quickly."""
        if any(getattr(record.model, name) != value for name, value in self._model.items()):
            yield "it was computed with another model"
        if [(step.tensor, step.step, step.arguments) for step in record.processing] != self._steps:
            yield "it was computed with other pre- or postprocessing"
        if record.weights.sha256 != self._weights_sha256(record.weights.file):
            yield "it was computed with other weights"
        if options.weights not in (None, record.weights.format):
            yield "it was computed with another --weights"
        before, now = record.options, given_options(options)
        for name in sorted((before.keys() | now.keys()) - _NOT_COMPARED):
            if before.get(name) != now.get(name):
                yield f"it was computed with another --{_OPTION_NAMES.get(name, name).replace('_', '-')}"
        for output in record.outputs:
            if output.id not in files.targets:
                yield f"its record names {output.id}, which is no output of the model"
            target = _written(output, files)
            for kind, path in target.files.items():
                yield from change(path, getattr(output.sha256, kind))
        yield from self._changed_inputs(record, image)

    def _changed_inputs(self, record: RunRecord, image: ImagePath) -> Iterator[str]:
        inputs = self._inputs(image)
        recorded = {one.tensor: one for one in record.inputs}
        if recorded.keys() != inputs.keys():
            yield "it was computed from other inputs"
            return
        for tensor, path in inputs.items():
            if isinstance(path, Address):
                yield f"{path} is an address, so that a change of the image would not be noticed"
                continue
            files = files_of_image(path)
            if path.is_file() and sum(file.stat().st_size for file in files) != recorded[tensor].bytes:
                yield f"{path} has changed"
            if files_hash(files).sha256 != recorded[tensor].sha256:
                yield f"{path} has changed"

    def _relocated(self, record: RunRecord, image: ImagePath, files: ImageFiles) -> RunRecord:
        """Return the record with the present paths of the wanted files, which may have been moved."""
        inputs, objects = self._inputs(image), record.objects
        if objects is not None and files.objects is not None:
            objects = replace(objects, **to_json(vars(files.objects)))
        return replace(
            record,
            inputs=tuple(replace(one, file=str(inputs[one.tensor].absolute())) for one in record.inputs),
            outputs=tuple(replace(one, **to_json(_written(one, files).files)) for one in record.outputs),
            objects=objects,
        )

    def _inputs(self, image: ImagePath) -> dict[str, ImagePath]:
        return {self.model.spec.inputs[0].id: image, **self.others}

    @cached_property
    def _model(self) -> Mapping[str, Any]:
        source = self.model.source
        given = {"model_axes": source.model_axes, "model_size": source.model_size}
        return vars(planned_model(self.model.spec)) | given

    @cached_property
    def _steps(self) -> list[tuple[str, str, Mapping[str, Any]]]:
        """Pre- and postprocessing. A separate description can change them without a change of the model's hash."""
        spec = self.model.spec
        steps = step_records(spec, [spec.inputs[0].id, *self.others], [], [])
        return [(step.tensor, step.step, step.arguments) for step in steps]

    def _weights_sha256(self, name: str) -> str:
        """Return the present hash of a weights file of the model."""
        if name not in self._weights:
            path = self.model.opened.package.bare_weights or package_file(self.model.spec.root, name)
            self._weights[name] = file_sha256(path)
        return self._weights[name]


def change(path: Path, sha256: str | None) -> Iterator[str]:
    """Yield the difference between a file or folder and the recorded one, if there is any."""
    if not path.exists():
        yield f"{path} is not there"
    elif path_hash(path).sha256 != sha256:
        yield f"{path} has changed"


def _written(output: OutputRecord, files: ImageFiles) -> Target:
    """Return the files of an output, without formats that cannot hold an output without entries."""
    target, filled = files.targets[output.id], prod(output.shape) > 0
    return Target(**{key: path for key, path in target.files.items() if filled or FORMATS[key].holds_empty})
