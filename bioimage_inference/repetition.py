"""Repeating a run from its record, and saying whether the outputs are the same."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .api import Model, Target, open_model, predict
from .errors import ImageError, ModelError, UsageError
from .files.overwriting import check_writable
from .image.image import Region
from .image.readers.reading import files_beside, open_image
from .image.writers.output_formats import FILE_FORMATS
from .inference.pipeline import Progress
from .inference.planning import close, prepare
from .machine.sandbox import restricted
from .network.device import choose_device
from .network.openvino_network import openvino_installed
from .options import Options
from .provenance.hashing import path_hash
from .provenance.record import describe_plan, write_record
from .provenance.recorded import Recorded, RecordedFile, read_record
from .provenance.ro_crate import CRATE
from .tiling.links import TILED
from .zoo.names import recorded_name

Verdict = Literal["identical", "same values", "differs"]

_BLOCK = 1 << 22  # numbers compared at a time
_COMPARED = ("versions", "device", "engine", "plan", "weights")


@dataclass(frozen=True)
class OutputFinding:
    """One file of the repetition beside the recorded one.

    ``identical``: every byte is the same; ``same values``: the numbers are, the metadata differ. ``largest`` is the
    largest difference of two numbers: 0 where the bytes are the same, ``None`` where the recorded file is not there any
    more, was changed, or has another shape.
    """

    id: str
    path: Path
    verdict: Verdict
    recorded_sha256: str
    sha256: str
    largest: float | None


@dataclass(frozen=True)
class Change:
    """What is not as it was: a key of the record such as ``versions.torch``, its value then and now."""

    key: str
    recorded: Any
    now: Any


@dataclass(frozen=True)
class Repetition:
    """What came of repeating a run: every file, what was not as it was, and the new record."""

    outputs: tuple[OutputFinding, ...]
    changes: tuple[Change, ...]
    record: Mapping[str, Any]

    @property
    def identical(self) -> bool:
        """Whether every file has the same bytes."""
        return all(one.verdict == "identical" for one in self.outputs)

    @property
    def reproduced(self) -> bool:
        """Whether every file has the same numbers."""
        return all(one.verdict != "differs" for one in self.outputs)


def repeat(
    path: Path,
    folder: Path,
    *,
    offline: bool = False,
    trust_model_code: bool = False,
    overwrite: bool = False,
    sandbox: bool = True,
    progress: Progress | None = None,
) -> Repetition:
    """Repeat the run of the record at ``path``, with outputs in ``folder``, and compare them with the recorded ones.

    Model and images are checked first; where they were moved, they are looked for beside the record, and in the
    RO-Crate that it is part of. Options are the recorded ones; tiles, engine, device, threads and precision those that
    were used. Trust is never taken from a record. ``sandbox`` counts in a process of the command line only, see
    :mod:`.sandbox`. Raises :class:`UsageError` for what is no complete record, :class:`ModelError` and
    :class:`ImageError` where model or images are gone or changed, and the errors of a prediction.
    """
    recorded = read_record(path)
    targets = _targets(recorded, folder)
    check_writable([folder / path.name], [path], overwrite=overwrite)
    images, problems = _images(recorded)
    with _opened(recorded, offline) as model:
        options = replace(_usable(recorded.options), trust_model_code=trust_model_code)
        _check(recorded, model, options, problems)
        options = _with_tile(options, recorded, model, images)
        first, *others = images
        earlier = {key: _found(file, path) for key, file in recorded.outputs.items()}
        known = [path, *images.values(), *(one for one in earlier.values() if one is not None)]
        read = [*model.opened.package.places, *known, *(one for file in images.values() for one in files_beside(file))]
        with restricted(read, [folder], sandbox):
            prediction = predict(
                model,
                images[first],
                inputs={tensor: images[tensor] for tensor in others},
                targets=targets,
                overwrite=overwrite,
                progress=progress,
                options=options,
            )
    sample = {key: recorded.content[key] for key in ("sample",) if key in recorded.content}
    record = {**prediction.record, **sample}
    write_record(record, folder / path.name)
    return Repetition(tuple(_findings(recorded, earlier, record)), tuple(_changes(recorded.content, record)), record)


def _targets(recorded: Recorded, folder: Path) -> dict[str, Target]:
    """The same names in another folder. Raises :class:`UsageError` where these are the recorded files themselves."""
    if not recorded.outputs:
        raise UsageError(
            f"The record {recorded.path} names no files of outputs: they were arrays in memory, and there is nothing "
            "to compare with."
        )
    targets: dict[str, Target] = {}
    for (output, kind), file in recorded.outputs.items():
        if kind not in FILE_FORMATS:
            raise UsageError(
                f"The record {recorded.path} is of a run on a cluster, which wrote {file.name}; such runs are repeated "
                "with predict and --dask."
            )
        new, old = folder / file.name, _found(file, recorded.path)
        if old is not None and new.resolve() == old.resolve():
            raise UsageError(f"{new} is the recorded output itself and would be replaced. Name another folder with -o.")
        targets[output] = replace(targets.get(output, Target()), **{kind: new})
    return targets


def _found(file: RecordedFile, record: Path) -> Path | None:
    """Where a file is now: as recorded, beside the record, or in the RO-Crate that the record is part of."""
    if file.path is None:
        return None
    near = next((path for path in (file.path, record.parent / file.path.name) if path.exists()), None)
    return near or _in_crate(file.path.name, file.sha256, record)


def _in_crate(name: str, sha256: str | None, record: Path) -> Path | None:
    """A crate's file of that name; where it has several, as ``2_cells.tif``, the one with the recorded hash."""
    roots = [folder for folder in (record.parent, record.parent.parent) if (folder / CRATE).is_file()]
    wanted = re.compile(rf"(\d+_)?{re.escape(name)}")
    found = [path for root in roots for path in sorted(root.glob("*/*")) if wanted.fullmatch(path.name)]
    if sha256 is not None and len(found) > 1:
        found.sort(key=lambda path: path_hash(path).sha256 != sha256)
    return next(iter(found), None)


def _images(recorded: Recorded) -> tuple[dict[str, Path], list[str]]:
    """The images by input tensor, and what is wrong with them."""
    images, problems = {}, []
    for tensor, file in recorded.images.items():
        if file.path is None:
            problems.append(f"the image for input {tensor!r} was an array in memory, which no record holds")
            continue
        path = _found(file, recorded.path)
        if path is None:
            problems.append(f"the image {file.path} is not there any more, nor beside the record")
            continue
        images[tensor] = path
        try:
            sha256 = path_hash(path).sha256
        except OSError as error:
            problems.append(f"the image {path} cannot be read ({error.strerror or error})")
        else:
            if sha256 != file.sha256:
                problems.append(_changed(f"the image {path}", sha256, file.sha256))
    return images, problems


def _opened(recorded: Recorded, offline: bool) -> AbstractContextManager[Model]:
    """The model, to be entered. Raises :class:`ModelError` where it is not there any more."""
    model = recorded.model
    known = recorded_name(model.source) is not None
    source = model.source if known else _model_file(Path(model.source), recorded)
    description = None if model.description is None else _model_file(model.description, recorded)
    return open_model(source, description=description, model_axes=model.axes, model_size=model.size, offline=offline)


def _model_file(path: Path, recorded: Recorded) -> Path:
    found = _found(RecordedFile(path.name, path, None), recorded.path)
    if found is None:
        raise ModelError(
            f"The model file {path} of the record {recorded.path} is not there any more, nor beside the record. Put it "
            "back, or beside the record, and run again."
        )
    return found


def _usable(options: Options) -> Options:
    """The recorded device and engine where they are here, else what there is; the comparison tells of the change."""
    try:
        choose_device(options.device)
    except UsageError:
        precision = "float32" if options.precision == "float16" else options.precision  # float16 is for GPUs
        options = replace(options, device="auto", precision=precision)
    if options.engine == "openvino" and not openvino_installed():
        options = replace(options, engine="torch")
    return options


def _check(recorded: Recorded, model: Model, options: Options, problems: list[str]) -> None:
    """Raise one error for all that is not what was recorded, or for a record that names what the model has not."""
    model_problems, source = [], recorded.model.source
    if model.spec.sha256 != recorded.model.sha256:
        model_problems.append(_changed(f"the model {source}", model.spec.sha256, recorded.model.sha256))
    elif (weights := model.load(options).sha256) != recorded.model.weights_sha256:
        model_problems.append(_changed(f"the weights of {source}", weights, recorded.model.weights_sha256))
    found = [*model_problems, *problems]
    if found:
        kind = ModelError if model_problems else ImageError
        raise kind(
            f"The run of {recorded.path} cannot be repeated: {'; '.join(found)}. Bring back what the record names; a "
            "prediction from what is here now is made with predict."
        )
    named = {*recorded.images, *(output for output, _ in recorded.outputs)}
    unknown = named - {tensor.id for tensor in (*model.spec.inputs, *model.spec.outputs)}
    if unknown:
        raise UsageError(
            f"The record {recorded.path} is damaged: it names {', '.join(sorted(unknown))}, which is neither input nor "
            "output of the model."
        )


def _changed(what: str, now: str | None, recorded: str | None) -> str:
    return (
        f"{what} was changed (its SHA-256 begins with {(now or 'none')[:12]}, recorded is {(recorded or 'none')[:12]})"
    )


def _with_tile(options: Options, recorded: Recorded, model: Model, images: Mapping[str, Path]) -> Options:
    """Options that give the recorded tiles: as they are, else with the tile that was used."""
    first, *others = images
    prepared = prepare(model.spec, images[first], {tensor: images[tensor] for tensor in others}, options)
    close(prepared)
    letters = [letter for letter in model.spec.inputs[0].letters if letter in TILED]
    if describe_plan(prepared.plan) == recorded.plan or not set(letters) <= set(recorded.tile):
        return options
    return replace(options, tile=tuple(recorded.tile[letter] for letter in letters))


def _findings(
    recorded: Recorded, earlier: Mapping[tuple[str, str], Path | None], record: Mapping[str, Any]
) -> Iterator[OutputFinding]:
    """Every recorded file beside the new one; ``earlier`` says where the recorded files are now."""
    outputs = {output["id"]: output for output in record["outputs"]}
    for (output, kind), file in recorded.outputs.items():
        new, sha256 = Path(outputs[output][kind]), outputs[output]["sha256"][kind]
        verdict: Verdict = "identical"
        largest: float | None = 0.0
        if sha256 != file.sha256:
            old = earlier[output, kind]
            unchanged = old is not None and path_hash(old).sha256 == file.sha256
            largest = largest_difference(old, new) if old is not None and unchanged else None
            verdict = "same values" if largest == 0 else "differs"
        yield OutputFinding(output, new, verdict, str(file.sha256), sha256, largest)


def largest_difference(one: Path, other: Path) -> float | None:
    """The largest difference of two images' numbers; ``None`` where shape or type differ.

    A number beside one that is none (NaN) is infinitely far from it. Reads both block by block.
    """
    with closing(open_image(one)) as first, closing(open_image(other)) as second:
        if first.shape != second.shape or first.dtype != second.dtype:
            return None
        largest = 0.0
        for region in _blocks(first.shape):
            a, b = (image.read(region).astype(np.float64) for image in (first, second))
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
            largest = max(largest, float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0)))
        return largest


def _blocks(shape: tuple[int, ...]) -> Iterator[Region]:
    """Regions of at most about ``_BLOCK`` numbers that make up an array."""
    steps = [max(1, _BLOCK // prod(shape[axis + 1 :])) for axis in range(len(shape))]
    for place in product(*(range(0, size, step) for size, step in zip(shape, steps, strict=True))):
        yield tuple(slice(start, start + step) for start, step in zip(place, steps, strict=True))


def _changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """What differs of versions, device, engine, tiling and weights; reasons in words are left out."""
    for part in _COMPARED:
        for key in dict.fromkeys((*recorded[part], *now[part])):
            then, value = recorded[part].get(key), now[part].get(key)
            if key != "reason" and then != value:
                yield Change(f"{part}.{key}", then, value)
