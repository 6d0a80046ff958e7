"""Predicts the test image of a model as ``predict`` does, and compares the result with the published output."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ..array_types import Array
from ..errors import (
    BioimageInferenceError,
    ImageError,
    ModelError,
    OutOfMemoryError,
    TrustError,
    UsageError,
)
from ..files.overwriting import check_writable
from ..image.array_images import array_image
from ..image.image import Image
from ..inference.planning import close, prepare
from ..inference.receptive_field import receptive_field
from ..inference.trial_inputs import network_inputs
from ..model.package import check_sha256, package_file
from ..model.spec import FixedSize, ModelSpec, TensorSpec, WeightsEntry
from ..network.device import devices
from ..options import Options
from ..predictor import Predictor, predict_image
from ..text import for_file_name
from ..tiling.axis_relations import TILED, leading_input, links
from ..tiling.plan import Plan
from ..tiling.tile_size import Request, choose_tiles, declared_halo
from .comparison import compare
from .findings import HaloFinding, OutputFinding, TileFinding, WeightsFinding
from .tile_advice import tile_advice
from .tolerance import Tolerance, tolerance_of

# Largest difference between tiles and the whole image that counts as rounding, as a part of the output's range.
_ROUNDING = 1e-5
# Tile lengths that are tried, as parts of the test image's length.
_PARTS = (0.5, 0.625, 0.75, 0.875)


@dataclass(frozen=True)
class _Tests:
    """The test tensors of a package: the image, further inputs, and the published outputs, by their ids."""

    image: Image
    others: Mapping[str, Image]
    expected: Mapping[str, Array]


def validate(
    model: Predictor,
    options: Options,
    pictures: Path | None,
    halo: bool = False,
    *,
    advice: bool = False,
    every_device: bool = False,
    overwrite: bool = False,
) -> list[WeightsFinding]:
    """Return the result of every weights entry, or of the entries of the format ``options.weights``.

    Pictures of differences go into the folder ``pictures``, or are not made if it is ``None``. Only ``overwrite``
    replaces existing pictures. ``halo`` measures the receptive field too, and compares it with the halo between tiles.
    ``advice`` finds out how a large image is best cut into tiles. ``every_device`` repeats all on each device here.

    Raises :class:`ModelError` where the model has no weights that run here or no test tensors, :class:`UsageError` for
    weights or a device that do not exist, :class:`OutputError` where a picture cannot be written.
    """
    model.check_weights()
    entries = _entries(model, options.weights)
    if halo and options.engine == "openvino":  # a change of engine would look like a part of the receptive field
        options = replace(options, engine="torch")
    names = [one.name for one in devices()] if every_device else [options.device]
    runs = [
        _Run(entry, replace(options, device=name), _ending(name) if every_device else "", halo, advice)
        for entry in entries
        for name in names
    ]
    if pictures is not None:
        named = [_picture(pictures, run, output) for run in runs for output in run.model.spec.outputs]
        check_writable(named, model.opened.package.files, overwrite=overwrite)
    tests = _read_tests(model)
    return [_validate(run, tests, pictures) for run in runs]


@dataclass(frozen=True)
class _Run:
    """A weights entry on a device. ``ending`` ends the names of its pictures."""

    model: Predictor
    options: Options
    ending: str
    halo: bool
    advice: bool


def _ending(device: str) -> str:
    """Return what tells the pictures of a device from those of the CPU."""
    return "" if device == "cpu" else f"_{device.replace(':', '')}"


def _entries(model: Predictor, wanted: str | None) -> list[Predictor]:
    """Return a model for each weights entry, so that no other entry can be loaded in its place."""
    entries = [entry for entry in model.spec.weights if wanted in (None, entry.format)]
    if wanted is not None and not entries:
        offered = ", ".join(dict.fromkeys(entry.format for entry in model.spec.weights)) or "none that run here"
        raise UsageError(f"The model has no {wanted} weights; it offers {offered}. Leave --weights out.")
    if model.opened.package.bare_weights is not None:  # the file is one of the entries
        return [model]
    opened = [replace(model.opened, spec=replace(model.spec, weights=(entry,))) for entry in entries]
    return [Predictor(one, policy=model.policy) for one in opened]


def _read_tests(model: Predictor) -> _Tests:
    """Return the test tensors, without optional inputs that have none. Raises :class:`ModelError`."""
    described, spec = model.opened.described, model.spec
    if described is None:
        raise ModelError(f"{spec.name} came without a description and a test image. Give the model's complete package.")
    arrays = {
        tensor.id: _load(spec, tensor, _declared_sha256(described[key][number]))
        for key, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs))
        for number, tensor in enumerate(tensors)
        if tensor.test_tensor is not None or not tensor.optional
    }
    try:
        images = {
            tensor.id: array_image(arrays[tensor.id], tensor.letters, f"The test tensor of {tensor.id}")
            for tensor in spec.inputs
            if tensor.id in arrays
        }
    except (ImageError, UsageError) as error:
        raise _unfit(error) from error
    image = images.pop(spec.inputs[0].id, None)
    if image is None:
        raise ModelError(f"The description names no test tensor for {spec.inputs[0].id!r}; there is nothing to run.")
    return _Tests(image, images, {output.id: arrays[output.id] for output in spec.outputs})


def _declared_sha256(tensor: Any) -> str | None:
    """Return the SHA-256 of a test tensor, which format 0.5 declares."""
    test = tensor.get("test_tensor") if isinstance(tensor, Mapping) else None
    sha256 = test.get("sha256") if isinstance(test, Mapping) else None
    return str(sha256) if sha256 else None


def _load(spec: ModelSpec, tensor: TensorSpec, sha256: str | None) -> Array:
    if tensor.test_tensor is None:
        raise ModelError(
            f"The description names no test tensor for {tensor.id!r}, so there is nothing to compare with. The model "
            "may work all the same."
        )
    path = package_file(spec.root, tensor.test_tensor)
    check_sha256(path, sha256, path.name)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"The test tensor {path.name} cannot be read: {error}. Download the model again.") from error
    if not isinstance(array, np.ndarray):
        raise ModelError(f"The test tensor {path.name} is an archive of arrays; expected was one array (.npy).")
    return array


def _unfit(error: BioimageInferenceError) -> ModelError:
    return ModelError(f"The model's own test tensors do not fit its description. {error}")


def _validate(run: _Run, tests: _Tests, pictures: Path | None) -> WeightsFinding:
    model, options = run.model, run.options
    entry, device, name = model.spec.weights[0], None, None
    try:
        loaded = model.load(options)
        entry, device, name = loaded.entry, loaded.device.reason, loaded.device.name
        whole = _predict(model, tests, replace(options, fit="exact"))
        tiles = _in_tiles(model, tests, options, whole)
    except (ModelError, TrustError, OutOfMemoryError) as error:
        return WeightsFinding(entry, device, name, error=error)
    found = tuple(_output(run, output, tests, whole, entry, pictures) for output in model.spec.outputs)
    finding = WeightsFinding(entry, device, name, found, tiles)
    if run.halo:
        try:
            finding = replace(finding, halo=_halo(model, tests, options))
        except (ModelError, OutOfMemoryError) as error:
            finding = replace(finding, halo_error=error)
    if run.advice:
        try:
            finding = replace(finding, advice=tile_advice(model, tests.image, options))
        except (ModelError, OutOfMemoryError) as error:
            finding = replace(finding, advice_error=error)
    return finding


def _predict(model: Predictor, tests: _Tests, options: Options) -> dict[str, Array]:
    try:
        prediction = predict_image(model, tests.image, options, inputs=tests.others)
    except ImageError as error:
        raise _unfit(error) from error
    arrays = {}
    for key, output in prediction.outputs.items():
        assert output.array is not None  # outputs without target files are arrays
        arrays[key] = output.array
    return arrays


def _output(
    run: _Run,
    output: TensorSpec,
    tests: _Tests,
    whole: Mapping[str, Array],
    entry: WeightsEntry,
    pictures: Path | None,
) -> OutputFinding:
    got, expected = whole[output.id], tests.expected[output.id]
    described = run.model.opened.described
    assert described is not None  # test tensors come with a description
    tolerance = tolerance_of(described, run.model.spec, entry.format, output, expected)
    comparison = compare(got, expected, tolerance) if got.shape == expected.shape else None
    finding = OutputFinding(output.id, got.shape, expected.shape, tolerance, comparison)
    if comparison is None or finding.verdict != "differs" or pictures is None:
        return finding
    from ..report.charts import write_difference_picture

    path = _picture(pictures, run, output)
    write_difference_picture(path, expected, got, output.letters, comparison.worst)
    return replace(finding, picture=path)


def _picture(folder: Path, run: _Run, output: TensorSpec) -> Path:
    """Return the file for the picture of an output's difference."""
    return folder / f"difference_{run.model.spec.weights[0].format}_{for_file_name(output.id)}{run.ending}.png"


def _in_tiles(model: Predictor, tests: _Tests, options: Options, whole: Mapping[str, Array]) -> TileFinding | None:
    """Predict the test image in tiles that are cut along every possible axis, ``None`` where there is no such axis."""
    spec = model.spec
    letters = [letter for letter in spec.inputs[0].letters if letter in TILED]
    sizes = {letter: tests.image.size(letter) for letter in letters}
    chosen = {letter: _shortest(spec, tests, options, sizes, letter) for letter in letters}
    if chosen == sizes:
        return None
    tiled = replace(options, tile=tuple(chosen.values()))
    plan = _plan(spec, tests, tiled)
    got = _predict(model, tests, tiled)
    largest, agrees = {}, {}
    for output, array in got.items():
        expected = whole[output].astype(np.float64)
        found = compare(array, expected, Tolerance(0, 0, 0, ""))
        known = expected[np.isfinite(expected)]
        span = float(np.ptp(known)) if known.size else 0.0
        largest[output] = found.largest
        agrees[output] = found.largest <= _ROUNDING * span and isfinite(found.largest)
    declared = any(axis.halo for output in spec.outputs for axis in output.axes)
    return TileFinding(plan.tile_shape, len(plan), plan.halo, declared, largest, agrees)


def _halo(model: Predictor, tests: _Tests, options: Options) -> tuple[HaloFinding, ...]:
    """Return the measured receptive field and the halo along each axis."""
    loaded = model.load(options)
    prepared = prepare(loaded.spec, tests.image, tests.others, replace(options, fit="exact"))
    try:
        inputs = network_inputs(loaded.spec, prepared)
    finally:
        close(prepared)
    fields = receptive_field(loaded.spec, loaded.network, inputs)
    given = [tensor.id for tensor, array in zip(loaded.spec.inputs, inputs, strict=True) if array is not None]
    leading = leading_input(loaded.spec, given)
    linked = links(loaded.spec, leading, given)
    used = choose_tiles(loaded.spec, leading, linked, prepared.matched[leading.id].sizes, Request()).halo
    return tuple(
        HaloFinding(declared_halo(loaded.spec, linked, field.letter), used[field.letter], field) for field in fields
    )


def _shortest(spec: ModelSpec, tests: _Tests, options: Options, sizes: Mapping[str, int], letter: str) -> int:
    """Return the shortest possible tile length along one axis, of those tried, or the whole length."""
    axis = spec.inputs[0].axis(letter)
    if axis is None or isinstance(axis.size, FixedSize):
        return sizes[letter]
    for part in _PARTS:
        wanted = {**sizes, letter: max(1, round(sizes[letter] * part))}
        try:
            plan = _plan(spec, tests, replace(options, tile=tuple(wanted.values())))
        except UsageError:  # too short for this model
            continue
        if len(plan) > 1:
            return plan.tile_shape[letter]
    return sizes[letter]


def _plan(spec: ModelSpec, tests: _Tests, options: Options) -> Plan:
    prepared = prepare(spec, tests.image, tests.others, options)
    close(prepared)
    return prepared.plan
