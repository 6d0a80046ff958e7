"""Builds the record of a run, part by part: before anything is computed, once all pixels are, and once files are."""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..errors import OutputError
from ..files.typed_path import known_path
from ..image.axis_mapping import AxisMapping
from ..image.image import Image, PixelSize
from ..image.writers.output_formats import FORMATS
from ..inference.augmentation import plan_with_uncertainty, with_uncertainty
from ..inference.operations.registry import measures_of
from ..inference.pixel_scale import restored_sizes
from ..inference.planning import PreparedImages
from ..inference.statistics import Measure, Statistics
from ..machine.processors import thread_pool
from ..machine.sandbox import walls
from ..model.spec import FixedSize, ModelSpec, Operation, TensorSpec
from ..options import Options
from ..tiling.plan import Plan
from ..zoo.names import ZooName
from . import record_parts as parts
from .hashing import Hashed, path_hash
from .record import SCHEMA, RunPlan, RunRecord, to_json

if TYPE_CHECKING:
    from ..inference.sample_layout import Stack
    from ..network.loading import LoadedNetwork

RECORD_DEFAULTS: Mapping[str, Any] = MappingProxyType({**vars(Options()), "tiff_layout": "pages"})
"""The values of options that a record does not name. They never change, whatever the defaults of the program become:
``pages`` was the default layout when this version of the record began."""
_LIBRARIES = ("torch", "numpy", "bioimageio.core", "bioimageio.spec", "tifffile")


@dataclass(frozen=True)
class ComputedRun:
    """The parts of a record that are known once all pixels are computed and before the outputs have their names.

    ``hashes`` are those of the images by input tensor, without the images that are neither a file nor an array.
    """

    planned: RunPlan
    network: parts.NetworkRecord
    processing: tuple[parts.StepRecord, ...]
    hashes: Mapping[str, Hashed]
    sandbox: parts.SandboxRecord

    @property
    def inputs(self) -> tuple[parts.InputRecord, ...]:
        """The images with their hashes."""
        hashes = ((one, self.hashes.get(one.tensor)) for one in self.planned.inputs)
        return tuple(
            parts.InputRecord(
                **vars(one), sha256=None if found is None else found.sha256, bytes=None if found is None else found.size
            )
            for one, found in hashes
        )

    @property
    def versions(self) -> dict[str, str]:
        """Versions of this program, Python, and the libraries that results depend on."""
        libraries = dict.fromkeys((*_LIBRARIES, self.network.engine.name))
        own = {"bioimage_inference": __version__, "python": platform.python_version()}
        return own | {library: _installed(library) for library in libraries}

    def complete(
        self,
        *,
        started: str,
        source: parts.SourceRecord,
        outputs: Sequence[parts.OutputRecord],
        peak_bytes: int,
        seconds: Mapping[str, float],
        notes: Iterable[str],
        cluster: parts.ClusterRecord | None = None,
    ) -> RunRecord:
        """Return the record of the run, which ends now. ``outputs`` come from :func:`with_files`."""
        planned = self.planned
        return RunRecord(
            schema=SCHEMA,
            started=started,
            ended=now(),
            model=parts.ModelRecord(**vars(planned.model), **vars(source)),
            inputs=self.inputs,
            plan=planned.plan,
            outputs=tuple(outputs),
            memory=parts.MemoryRecord(**vars(planned.memory), peak_bytes=peak_bytes),
            options=planned.options,
            notes=tuple(dict.fromkeys(notes)),
            **vars(self.network),
            processing=self.processing,
            seconds={stage: round(value, 3) for stage, value in seconds.items()},
            versions=self.versions,
            sandbox=self.sandbox,
            cluster=cluster,
        )


@cache
def _installed(library: str) -> str:
    """Return the version of a library. It takes a millisecond to look up, and each of many images asks."""
    try:
        return version(library)
    except PackageNotFoundError:  # onnxruntime for CUDA
        return version(f"{library}-gpu")


def run_plan(spec: ModelSpec, prepared: PreparedImages, options: Options) -> RunPlan:
    """Return the part of the record that is known before anything is computed."""
    budget, plan = prepared.budget, plan_with_uncertainty(prepared.plan, options)
    return RunPlan(
        model=planned_model(spec),
        inputs=tuple(_planned_input(tensor, one) for tensor, one in prepared.matched.items()),
        plan=plan_record(prepared.plan),
        outputs=tuple(
            _planned_output(output, plan, prepared.leading) for output in with_uncertainty(spec, options).outputs
        ),
        memory=parts.PlannedMemory(bytes=budget.size, reason=budget.reason, program_bytes=prepared.program),
        options=given_options(options),
        notes=(*spec.notes, *prepared.notes),
    )


def planned_model(spec: ModelSpec) -> parts.PlannedModel:
    """Return the model as its description gives it."""
    return parts.PlannedModel(
        name=spec.name,
        id=spec.id,
        version=spec.version,
        format_version=spec.format_version,
        authors=tuple(spec.authors),
        licence=spec.licence,
        sha256=spec.sha256,
        cite=tuple(
            parts.CitationRecord(text=one.text or None, doi=one.doi or None, url=one.url or None)
            for one in spec.citations
        ),
    )


def source_record(
    model: ZooName | Path | str, description: Path | str | None, model_axes: str | None, model_size: str | None
) -> parts.SourceRecord:
    """Return where the model came from: the arguments with which it was opened."""
    return parts.SourceRecord(
        source=str(model if isinstance(model, ZooName) else Path(model).absolute()),
        description_file=None if description is None else str(Path(description).absolute()),
        model_axes=model_axes,
        model_size=model_size,
    )


def given_options(options: Options) -> dict[str, Any]:
    """Return the options that differ from :data:`RECORD_DEFAULTS`."""
    return {key: to_json(value) for key, value in vars(options).items() if value != RECORD_DEFAULTS[key]}


def plan_record(plan: Plan) -> parts.PlanRecord:
    """Return tiles, halo and padding."""
    return parts.PlanRecord(
        tiles=len(plan),
        grid={axis.letter: len(axis.starts) for axis in plan.axes},
        starts={axis.letter: tuple(axis.starts) for axis in plan.axes},
        tile=dict(plan.tile_shape),
        halo=dict(plan.halo),
        padding={axis.letter: axis.padding for axis in plan.axes if any(axis.padding)},
        border=plan.border,
        batch=plan.batch,
        computed_per_pixel=round(plan.computed, 3),
    )


def network_record(loaded: "LoadedNetwork", precision: str) -> parts.NetworkRecord:
    """Return weights, device and engine as they were used."""
    return parts.NetworkRecord(
        weights=parts.WeightsRecord(
            format=loaded.entry.format,
            file=loaded.entry.source,
            sha256=loaded.sha256,
            reason=loaded.reason or None,
            external_data_sha256=loaded.external_data_sha256,
        ),
        device=parts.DeviceRecord(
            name=loaded.device.name,
            reason=loaded.device.reason,
            processor=_processor(),
            threads=loaded.threads,
            precision=precision,
        ),
        engine=parts.EngineRecord(name=loaded.engine.name, reason=loaded.engine.reason),
    )


def sandbox_record() -> parts.SandboxRecord:
    """Return the restrictions of this process."""
    return parts.SandboxRecord(landlock=walls().landlock, seccomp=walls().seccomp, network=walls().network or None)


def step_records(
    spec: ModelSpec,
    present: Sequence[str],
    statistics: Sequence[Statistics],
    measured: Sequence[Mapping[tuple[str, int], Statistics]],
) -> tuple[parts.StepRecord, ...]:
    """Return every step of the inputs that are ``present``, then of the outputs, with the statistics that it used.

    ``statistics`` are those of the inputs, one entry per sample. ``measured`` are those of the outputs, one entry per
    sample, by output and number of the step.
    """
    tensors = [*(one for one in spec.inputs if one.id in present), *spec.outputs]
    steps = []
    for tensor in tensors:
        for number, step in enumerate(tensor.operations):
            samples = [
                {**common, **own.get((tensor.id, number), {})} for common, own in zip(statistics, measured, strict=True)
            ]
            found = [
                entry
                for one in measures_of(step, tensor.id)
                # outputs are measured sample by sample, whatever their axes
                for entry in _statistics(one, samples, pooled=one.pooled and one.tensor in present)
            ]
            steps.append(
                parts.StepRecord(tensor=tensor.id, step=step.name, arguments=_arguments(step), statistics=tuple(found))
            )
    return tuple(steps)


def computed_output(
    output: TensorSpec, stack: "Stack", dtype: "np.dtype[Any]", pixel_size: Mapping[str, PixelSize]
) -> parts.ComputedOutput:
    """Return an output whose pixels are computed, without its files."""
    axis = output.axis("c")
    return parts.ComputedOutput(
        id=output.id,
        axes=stack.tensor_axes,
        shape=tuple(stack.shape(stack.tensor_axes)),
        dtype=dtype.name,
        channel_names=tuple(axis.channel_names) if axis is not None else (),
        pixel_size=pixel_sizes(pixel_size),
        origin=_origin(pixel_size),
    )


def with_files(outputs: Iterable[tuple[parts.ComputedOutput, Mapping[str, Path | None]]]) -> list[parts.OutputRecord]:
    """Return complete outputs with their files, by kind, and the SHA-256 of each file.

    Two files are read at a time. Raises :class:`OutputError` where a file cannot be read.
    """
    described = list(outputs)
    named = [(one.id, kind, path) for one, files in described for kind, path in files.items() if path is not None]
    with thread_pool(2) as pool:
        hashes = pool.map(path_hash, [path for _, _, path in named])
        try:
            known = {(output, kind): one.sha256 for (output, kind, _), one in zip(named, hashes, strict=True)}
        except OSError as error:
            raise OutputError(
                f"The outputs were written, but {error.filename} cannot be read again ({error.strerror or error}), so "
                "that they have no record. Check the disk."
            ) from error
    return [
        parts.OutputRecord(
            **vars(one),
            **{kind: to_json(files.get(kind)) for kind in FORMATS},
            sha256=parts.OutputHashes(**{kind: known.get((one.id, kind)) for kind in FORMATS}),
        )
        for one, files in described
    ]


def pixel_sizes(sizes: Mapping[str, PixelSize]) -> dict[str, parts.PixelSizeRecord]:
    """Return the pixel sizes by axis, without their origins."""
    return {letter: parts.PixelSizeRecord(value=size.value, unit=size.unit) for letter, size in sizes.items()}


def now() -> str:
    """Return the time in UTC, e.g. ``2026-11-21T09:17:03.123+00:00``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _origin(sizes: Mapping[str, PixelSize]) -> dict[str, float]:
    """Return the position of the first pixel by axis, or nothing where it is 0 along all axes."""
    origin = {letter: size.origin for letter, size in sizes.items()}
    return origin if any(origin.values()) else {}


def _planned_input(tensor: str, one: AxisMapping) -> parts.PlannedInput:
    image = one.given
    sizes = zip(one.axes, one.image.shape, image.shape, strict=True)
    return parts.PlannedInput(
        tensor=tensor,
        name=image.name,
        file=str(known_path(image.path).absolute()) if image.path else None,
        series=_series(image),
        axes=one.axes,
        axes_from=image.axes_source,
        shape=tuple(image.shape),
        dtype=image.dtype.name,
        resized={letter: size for letter, size, given in sizes if size != given},
        rescaled_pixel_size=pixel_sizes(one.image.pixel_size) if one.rescaled else {},
        pixel_size=pixel_sizes(image.pixel_size),
        origin=_origin(image.pixel_size),
        tensor_axes=one.letters,
        iterated_axes=one.iterated,
        samples=prod(one.samples),
        channels=None if one.channels is None else tuple(one.channels),
    )


def _series(image: Image) -> parts.SeriesRecord | None:
    """Return which image of its file this is; ``None`` for a file with a single image."""
    one = image.series
    if one is None:
        return None
    return parts.SeriesRecord(
        number=one.number,
        level=image.level,
        name=one.name or None,
        well=one.well,
        field=one.field,
        levels=one.levels or None,
    )


def _planned_output(output: TensorSpec, plan: Plan, leading: AxisMapping) -> parts.PlannedOutput:
    """Return an output before it is computed. Sizes that depend on the network's result are ``None``."""
    part = plan.output(output.id)
    planned = restored_sizes(part.sizes, part.links, leading)
    sizes = {axis.letter: axis.size.size for axis in output.axes if isinstance(axis.size, FixedSize)}
    sizes |= {"b": prod(leading.samples), **planned}
    shape = tuple(sizes.get(letter) for letter in output.letters)
    return parts.PlannedOutput(id=output.id, axes=output.letters, shape=shape, dtype=None)


def _statistics(measure: Measure, samples: Sequence[Statistics], pooled: bool) -> Iterator[parts.StatisticRecord]:
    """Yield one entry per statistic, with its values of every sample, or of all samples where these are pooled."""
    for number, name in enumerate(measure.names):
        values = (np.ravel(sample[measure].values[number]) for sample in (samples[:1] if pooled else samples))
        yield parts.StatisticRecord(
            statistic=name,
            tensor=measure.tensor,
            axes=measure.axes,
            pooled=pooled,
            values=tuple(tuple(to_json(one)) for one in values),
        )


def _arguments(step: Operation) -> dict[str, Any]:
    # of a custom step, the source and its hash are facts; the loaded function is not
    return {key: to_json(value) for key, value in step.kwargs.items() if key != "function"}


def _processor() -> str:
    """Return the processor's name. Results depend on its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
