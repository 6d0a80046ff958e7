"""Runs the run of a record again, and compares its outputs with the recorded files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ..errors import ImageError, ModelError, UsageError
from ..files.overwriting import check_writable
from ..files.typed_path import Address, ImagePath, check_online, known_path
from ..image.readers.reading import files_beside, files_of_image, prepare_network
from ..inference.augmentation import with_uncertainty
from ..inference.outputs import Target
from ..inference.pipeline import Progress
from ..inference.planning import close, prepare
from ..machine.sandbox import restricted
from ..network.device import choose_device
from ..network.openvino_network import openvino_installed
from ..options import Options
from ..predictor import Predictor, predict_image
from ..provenance.hashing import files_hash, path_hash
from ..provenance.record import RunRecord, from_json, read_record, to_json, write_record
from ..provenance.record_builder import RECORD_DEFAULTS, plan_record
from ..provenance.ro_crate import CRATE
from ..tiling.axis_relations import TILED
from ..zoo.names import recorded_name
from .comparison import largest_difference

Verdict = Literal["identical", "same values", "differs"]

_COMPARED = ("versions", "device", "engine", "plan", "weights")  # parts of a record that can change the result
_EXPECTED = "Give the file NAME_provenance.json that predict wrote beside its outputs."


@dataclass(frozen=True)
class FileFinding:
    """A file of the new run beside the recorded file.

    The verdict is ``identical`` where every byte is the same, ``same values`` where only the metadata differ.
    ``largest`` is the largest difference of two elements. It is ``None`` where the recorded file is gone, was changed,
    or has another shape.
    """

    id: str
    path: Path
    verdict: Verdict
    recorded_sha256: str
    sha256: str
    largest: float | None


@dataclass(frozen=True)
class Change:
    """A value that differs between the records, by its key, for instance ``versions.torch``."""

    key: str
    recorded: Any
    now: Any


@dataclass(frozen=True)
class Rerun:
    """The result of a repeated run: its files, and the changes since the record."""

    outputs: tuple[FileFinding, ...]
    changes: tuple[Change, ...]

    @property
    def identical(self) -> bool:
        """Whether every file has the same bytes."""
        return all(one.verdict == "identical" for one in self.outputs)

    @property
    def reproduced(self) -> bool:
        """Whether every file has the same values."""
        return all(one.verdict != "differs" for one in self.outputs)


@dataclass(frozen=True)
class _Recorded:
    """A record and the file that it was read from."""

    path: Path
    run: RunRecord

    @cached_property
    def files(self) -> dict[tuple[str, str], tuple[Path, str]]:
        """Path and SHA-256 of the files of outputs, by output and format."""
        files = ((output.id, *file) for output in self.run.outputs for file in output.files())
        return {(output, kind): (path, sha256) for output, kind, path, sha256 in files if sha256 is not None}

    def find(self, path: Path, sha256: str | None = None) -> Path | None:
        """Return where a recorded file is now: as recorded, beside the record, or in the record's RO-Crate.

        A crate can have several files of one name, such as ``2_cells.tif``; the file with the hash is preferred.
        """
        beside = self.path.parent
        for place in (path, beside / path.name):
            if place.exists():
                return place
        crates = [folder for folder in (beside, beside.parent) if (folder / CRATE).is_file()]
        wanted = re.compile(rf"(\d+_)?{re.escape(path.name)}")
        found = [one for crate in crates for one in sorted(crate.glob("*/*")) if wanted.fullmatch(one.name)]
        if sha256 is not None and len(found) > 1:
            found.sort(key=lambda one: path_hash(one).sha256 != sha256)
        return next(iter(found), None)

    def find_model(self, path: Path) -> Path:
        """Return where a file of the model is now. Raises :class:`ModelError` where it is gone."""
        found = self.find(path)
        if found is None:
            raise ModelError(
                f"The model file {path} of the record {self.path} is not there any more, nor beside the record. Put it "
                "back, or beside the record, and run again."
            )
        return found


def rerun(
    path: Path,
    folder: Path,
    *,
    offline: bool = False,
    trust_model_code: bool = False,
    overwrite: bool = False,
    sandbox: bool = True,
    progress: Progress | None = None,
) -> Rerun:
    """Repeat the run of the record at ``path`` with outputs in ``folder``, and compare them with the recorded files.

    The model and the images are checked first. Options, tiles, engine, device, threads and precision are those of the
    record; trust never is. ``sandbox`` has an effect in a process of the command line only, see
    :mod:`~bioimage_inference.machine.sandbox`.

    Raises :class:`UsageError` where the file is not a record that can be repeated, :class:`ModelError` and
    :class:`ImageError` where the model or an image is gone or changed, and the errors of a prediction.
    """
    recorded, options = _read(path)
    targets = _targets(recorded, folder)
    written = [folder / path.name, *(file for target in targets.values() for file in target.files.values())]
    check_writable(written, [path], overwrite=overwrite)
    images, problems = _images(recorded)
    for place in images.values():
        check_online(place, offline=offline)
    with _opened(recorded, offline) as model:
        options = replace(_usable(options), trust_model_code=trust_model_code)
        _check(recorded, model, options, problems)
        options = _with_tile(options, recorded, model, images)
        first, *others = images
        earlier = {key: recorded.find(*file) for key, file in recorded.files.items()}
        local = [place for place in images.values() if isinstance(place, Path)]
        addresses = [place for place in images.values() if isinstance(place, Address)]
        known = [path, *local, *(one for one in earlier.values() if one is not None)]
        read = [*model.opened.package.places, *known, *(one for file in local for one in files_beside(file))]
        prepare_network(addresses)
        with restricted(read, [folder], sandbox, network=bool(addresses), gpu=options.may_use_gpu):
            prediction = predict_image(
                model,
                images[first],
                options,
                inputs={tensor: images[tensor] for tensor in others},
                targets=targets,
                overwrite=overwrite,
                progress=progress,
            )
    found = prediction.provenance
    weights = replace(found.weights, reason=recorded.run.weights.reason)  # the choice of the recorded run
    new = replace(found, sample=recorded.run.sample, weights=weights)
    write_record(new, folder / path.name)
    return Rerun(tuple(_findings(recorded, earlier, new)), tuple(_changes(recorded.run, new)))


def _read(path: Path) -> tuple[_Recorded, Options]:
    """Return a record and the options of its run. Raises :class:`UsageError`."""
    if path.exists() and not path.is_file():
        raise UsageError(f"The record {path} is not a file. {_EXPECTED}")
    try:
        run = read_record(path)
        return _Recorded(path, run), _options(run)
    except OSError as error:
        raise UsageError(f"The record {path} cannot be read: {error.strerror or error}. {_EXPECTED}") from error
    except ValueError as error:
        raise UsageError(f"The record {path} cannot be read: {error}. {_EXPECTED}") from error


def _options(run: RunRecord) -> Options:
    """Return the given options, with the device, threads, precision, engine and budget that the run used."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in run.options.items()}
    unknown = given.keys() - vars(Options())
    if unknown:
        raise ValueError(f"there is no option {', '.join(sorted(unknown))}")
    if run.device.threads < 1:
        raise ValueError(f"{run.device.threads} threads cannot compute")
    used = {
        "device": run.device.name,
        "threads": run.device.threads,
        "precision": run.device.precision,
        "engine": run.engine.name,
        "weights": run.weights.format,
        "memory": str(run.memory.bytes),  # the same budget gives the same tiles
        "trust_model_code": False,
    }
    return from_json(Options, {**to_json(RECORD_DEFAULTS), **given, **used})


def _targets(recorded: _Recorded, folder: Path) -> dict[str, Target]:
    """Return files in ``folder`` with the recorded names.

    Raises :class:`UsageError` where these are the recorded files, or where a cluster wrote the outputs.
    """
    if not recorded.files:
        raise UsageError(
            f"The record {recorded.path} names no files of outputs: they were arrays in memory, and there is nothing "
            "to compare with."
        )
    targets: dict[str, Target] = {}
    for (output, kind), (path, sha256) in recorded.files.items():
        if recorded.run.cluster is not None:
            raise UsageError(
                f"The record {recorded.path} is of a run on a cluster, which wrote {path.name}. Repeat it with predict "
                "and --dask."
            )
        new, old = folder / path.name, recorded.find(path, sha256)
        if old is not None and new.resolve() == old.resolve():
            raise UsageError(f"{new} is the recorded output itself and would be replaced. Name another folder with -o.")
        targets[output] = replace(targets.get(output, Target()), **{kind: new})
    return targets


def _images(recorded: _Recorded) -> tuple[dict[str, ImagePath], list[str]]:
    """Return the images by input tensor, and the problems with them in words."""
    images: dict[str, ImagePath] = {}
    problems = []
    for one in recorded.run.inputs:
        if one.file is None:
            problems.append(f"the image for input {one.tensor!r} was an array in memory, which no record holds")
            continue
        place = known_path(one.file)
        if isinstance(place, Address):  # it has no recorded hash, because it was not read as a whole
            images[one.tensor] = place
            continue
        path = recorded.find(place, one.sha256)
        if path is None:
            problems.append(f"the image {one.file} is not there any more, nor beside the record")
            continue
        images[one.tensor] = path
        try:
            sha256 = files_hash(files_of_image(path)).sha256
        except OSError as error:
            problems.append(f"the image {path} cannot be read ({error.strerror or error})")
        else:
            if sha256 != one.sha256:
                problems.append(_changed(f"the image {path}", sha256, one.sha256))
    return images, problems


def _opened(recorded: _Recorded, offline: bool) -> Predictor:
    """Return the model, open until its block ends. Raises :class:`ModelError` where it is gone."""
    model = recorded.run.model
    known = recorded_name(model.source) is not None
    source = model.source if known else recorded.find_model(Path(model.source))
    description = None if model.description_file is None else recorded.find_model(Path(model.description_file))
    return Predictor.open(
        source, description=description, model_axes=model.model_axes, model_size=model.model_size, offline=offline
    )


def _usable(options: Options) -> Options:
    """Return the options with a device and engine that this machine has; the result lists them as changes."""
    try:
        choose_device(options.device)
    except UsageError:
        precision = "float32" if options.precision == "float16" else options.precision  # float16 is for GPUs
        options = replace(options, device="auto", precision=precision)
    if options.engine == "openvino" and not openvino_installed():
        options = replace(options, engine="torch")
    return options


def _check(recorded: _Recorded, model: Predictor, options: Options, problems: list[str]) -> None:
    """Raise one error for all files that are not as recorded, or for a tensor that the model does not have."""
    model_problems, known = [], recorded.run.model
    if model.spec.sha256 != known.sha256:
        model_problems.append(_changed(f"the model {known.source}", model.spec.sha256, known.sha256))
    else:
        loaded, weights = model.load(options), recorded.run.weights
        pairs = ((loaded.sha256, weights.sha256), (loaded.external_data_sha256, weights.external_data_sha256))
        model_problems += [_changed(f"the weights of {known.source}", *pair) for pair in pairs if pair[0] != pair[1]]
    found = [*model_problems, *problems]
    if found:
        kind = ModelError if model_problems else ImageError
        raise kind(
            f"The run of {recorded.path} cannot be repeated: {'; '.join(found)}. Bring back the files of the record. A "
            "prediction from the present files is made with predict."
        )
    named = {*(one.tensor for one in recorded.run.inputs), *(output for output, _ in recorded.files)}
    spec = with_uncertainty(model.spec, options)
    unknown = named - {tensor.id for tensor in (*spec.inputs, *spec.outputs)}
    if unknown:
        raise UsageError(
            f"The record {recorded.path} is damaged: it names {', '.join(sorted(unknown))}, which is neither input nor "
            "output of the model."
        )


def _changed(file: str, now: str | None, recorded: str | None) -> str:
    return (
        f"{file} was changed (its SHA-256 begins with {(now or 'none')[:12]}, recorded is {(recorded or 'none')[:12]})"
    )


def _with_tile(options: Options, recorded: _Recorded, model: Predictor, images: Mapping[str, ImagePath]) -> Options:
    """Return options that give the recorded tiles: the same options, or with the recorded tile size."""
    first, *others = images
    prepared = prepare(model.spec, images[first], {tensor: images[tensor] for tensor in others}, options)
    close(prepared)
    plan = recorded.run.plan
    letters = [letter for letter in model.spec.inputs[0].letters if letter in TILED]
    if plan_record(prepared.plan) == plan or not set(letters) <= set(plan.tile):
        return options
    return replace(options, tile=tuple(plan.tile[letter] for letter in letters))


def _findings(
    recorded: _Recorded, earlier: Mapping[tuple[str, str], Path | None], new: RunRecord
) -> Iterator[FileFinding]:
    """Yield every recorded file beside the new file. ``earlier`` has the present paths of the recorded files."""
    written = {(output.id, kind): (path, sha256) for output in new.outputs for kind, path, sha256 in output.files()}
    for key, (_, recorded_sha256) in recorded.files.items():
        path, sha256 = written[key]
        verdict: Verdict = "identical"
        largest: float | None = 0.0
        if sha256 != recorded_sha256:
            old = earlier[key]
            unchanged = old is not None and path_hash(old).sha256 == recorded_sha256
            largest = largest_difference(old, path) if old is not None and unchanged else None
            verdict = "same values" if largest == 0 else "differs"
        yield FileFinding(key[0], path, verdict, recorded_sha256, str(sha256), largest)


def _changes(recorded: RunRecord, new: RunRecord) -> Iterator[Change]:
    """Yield the changes of versions, device, engine, tiling and weights, without the reasons in words."""
    for part in _COMPARED:
        then, now = to_json(getattr(recorded, part)), to_json(getattr(new, part))
        for key in dict.fromkeys((*then, *now)):
            if key != "reason" and then.get(key) != now.get(key):
                yield Change(f"{part}.{key}", then.get(key), now.get(key))
