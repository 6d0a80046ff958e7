"""Test-time augmentation: the mean of the predictions of flipped and turned copies, and their standard deviation.

A tile is computed once for each symmetric copy of it. Each result is mapped back, cropped and postprocessed as a result
without augmentation is. The mean grows copy by copy (Welford 1962), so that memory does not depend on the number of
copies.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..array_types import Array
from ..errors import UsageError
from ..image.axes import SPACE
from ..model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, StepSize, TensorSpec
from ..network.network import Inputs
from ..options import Options
from ..text import counted
from ..tiling.plan import Plan
from .operations.dtype_conversion import target_dtype

UNCERTAINTY = "_uncertainty"
"""End of the id of an output with the standard deviation of another output."""

_DIRECTIONS = {
    *("flow", "flows", "vector", "vectors", "direction", "directions", "orientation", "angle", "gradient", "gradients"),
    *("offset", "offsets", "displacement", "displacements", "affinity", "affinities", "ray", "rays", "dx", "dy", "dz"),
}
"""Words in names of outputs and channels whose values turn with the image."""
_LISTS = "ip"
_DIRECTED_STEPS = ("stardist_postprocessing", "cellpose_flow_dynamics", "custom")


@dataclass(frozen=True)
class Copy:
    """A symmetric copy: mirrored along the axes ``flips``, after a quarter turn of the YX plane if it is ``turned``."""

    flips: str
    turned: bool = False

    def of(self, inputs: Inputs, tensors: Sequence[TensorSpec]) -> Inputs:
        """Return the copy of the inputs of a tile; ``None`` stays for an absent input."""
        return [
            None if array is None else self._made(array, tensor.letters)
            for array, tensor in zip(inputs, tensors, strict=True)
        ]

    def undone(self, array: Array, letters: str) -> Array:
        """Return an output of the copy with the directions of the image."""
        return self._turned(np.flip(array, self._mirrored(letters)), letters, -1)

    def _made(self, array: Array, letters: str) -> Array:
        return np.ascontiguousarray(np.flip(self._turned(array, letters, 1), self._mirrored(letters)))

    def _turned(self, array: Array, letters: str, quarters: int) -> Array:
        if self.turned and {"y", "x"} <= set(letters):
            return np.rot90(array, quarters, (letters.index("y"), letters.index("x")))
        return array

    def _mirrored(self, letters: str) -> tuple[int, ...]:
        return tuple(letters.index(letter) for letter in self.flips if letter in letters)


def copies_of(model: ModelSpec, options: Options) -> tuple[Copy, ...]:
    """Return the copies that are computed, the image itself first; only the image without augmentation."""
    if options.augment == "none":
        return (Copy(""),)
    letters = [letter for letter in model.inputs[0].letters if letter in SPACE]
    flips = ["".join(chosen) for chosen in product(*(("", letter) for letter in letters))]
    turns = (False, True) if options.augment == "rotations" else (False,)
    return tuple(Copy(one, turned) for turned in turns for one in flips)


def copies_in_words(model: ModelSpec, options: Options) -> str:
    """Return the remark on the copies for the user; empty without augmentation."""
    if options.augment == "none":
        return ""
    letters = " and ".join(letter for letter in model.inputs[0].letters if letter in SPACE)
    turns = ", each also after a quarter turn of the YX plane" if options.augment == "rotations" else ""
    count = counted(len(copies_of(model, options)), "prediction")
    words = f"The outputs are the mean of {count}: of the image and all its flips along {letters}{turns}."
    if options.uncertainty:
        words += f" Outputs whose names end in {UNCERTAINTY} are the standard deviation of these predictions."
    return words


def with_uncertainty(model: ModelSpec, options: Options) -> ModelSpec:
    """Return the model with the outputs that a run writes: those of the network, then their standard deviations."""
    if not options.uncertainty:
        return model
    return replace(model, outputs=(*model.outputs, *map(uncertainty_of, model.outputs)))


def uncertainty_of(output: TensorSpec) -> TensorSpec:
    """Return the output with the standard deviation of an output."""
    words = f"Standard deviation of {output.id} over the copies of the image."
    return TensorSpec(id=output.id + UNCERTAINTY, axes=output.axes, description=words)


def plan_with_uncertainty(plan: Plan, options: Options) -> Plan:
    """Return the plan with the outputs of :func:`with_uncertainty`."""
    if not options.uncertainty:
        return plan
    return replace(plan, outputs=(*plan.outputs, *(replace(one, id=one.id + UNCERTAINTY) for one in plan.outputs)))


class Average:
    """Mean and standard deviation of arrays of one shape that come one after the other."""

    def __init__(self, *, deviation: bool) -> None:
        self._mean: Array | None = None
        self._squares: Array | None = None
        self._count, self._deviation = 0, deviation

    def add(self, array: Array) -> None:
        """Take the next array of floating-point values."""
        self._count += 1
        if self._mean is None:
            self._mean = array.astype(np.result_type(array, np.float32))
            self._squares = np.zeros_like(self._mean) if self._deviation else None
            return
        with np.errstate(invalid="ignore", over="ignore"):  # infinite values give NaN
            difference = array - self._mean
            self._mean += difference / self._count
            if self._squares is not None:
                self._squares += difference * (array - self._mean)

    @property
    def mean(self) -> Array:
        """The mean of all arrays."""
        assert self._mean is not None
        return self._mean

    @property
    def deviation(self) -> Array:
        """The standard deviation of all arrays, with their number as the divisor, in float32."""
        assert self._squares is not None
        with np.errstate(invalid="ignore"):
            return np.sqrt(self._squares / self._count).astype(np.float32)


def check_values(output: TensorSpec, values: Array) -> None:
    """Raise :class:`UsageError` for computed values of an output that are labels or classes."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        if not finite.size or finite.max() <= 1 or (finite != np.rint(finite)).any():
            return
    raise UsageError(
        f"The output {output.id!r} has whole numbers, as labels and classes have: their mean over copies of the image "
        "means nothing. Leave --augment out."
    )


def check_augmentation(model: ModelSpec, present: Mapping[str, object], options: Options) -> None:
    """Raise :class:`UsageError` if copies of the image cannot be averaged with this model.

    ``present`` has the inputs that are given. The description tells: names of outputs and channels, data types, steps
    of postprocessing, axes and sizes. :func:`check_values` sees the values.
    """
    if options.augment == "none":
        return
    inputs = [tensor for tensor in model.inputs if tensor.id in present]
    for tensor in inputs:
        if set(tensor.letters) & set(_LISTS) or not set(tensor.letters) & set(SPACE):
            raise UsageError(
                f"--augment flips images only, but the model's input {tensor.id!r} (axes {tensor.letters}) is no image."
            )
    for output in model.outputs:
        reason = _not_averaged(output)
        if reason is not None:
            raise UsageError(f"--augment cannot average the output {output.id!r}: {reason}. Leave --augment out.")
    if options.augment == "rotations":
        for tensor in (*inputs, *model.outputs):
            _check_turn(tensor)


def _not_averaged(output: TensorSpec) -> str | None:
    """Return why the mean of an output over copies means nothing, ``None`` if the description names no reason."""
    channels = output.axis("c")
    names = (output.id, *(channels.channel_names if channels is not None else ()))
    directed = next((name for name in names if _words(name) & _DIRECTIONS), None)
    if directed is not None:
        return f"by the name {directed!r} its values are directions, which turn with the image"
    if set(output.letters) & set(_LISTS):
        return f"it is a list of objects or points (axes {output.letters})"
    steps = [step.name for step in output.operations]
    assembled = next((name for name in steps if name in _DIRECTED_STEPS), None)
    if assembled is not None:
        return f"its postprocessing step {assembled} works on directions or objects, not on values of pixels"
    kinds = [target_dtype(step) for step in output.operations if not step.kwargs.get("keep_floats")]
    final = kinds[-1] if kinds and kinds[-1] is not None else np.dtype(output.dtype)
    if final.kind != "f" or output.listed:
        return f"the description declares whole numbers ({final}) or classes for it, as label maps have"
    return None


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _check_turn(tensor: TensorSpec) -> None:
    """Raise :class:`UsageError` unless y and x of a tensor can change places."""
    y, x = tensor.axis("y"), tensor.axis("x")
    if y is None and x is None:
        return
    if y is None or x is None or _turned_size(y) != _turned_size(x):
        sizes = " and ".join(f"{axis.size.describe()} along {axis.letter}" for axis in (y, x) if axis is not None)
        raise UsageError(
            f"--augment rotations turns the image, but {tensor.id!r} of the model has {sizes}, so that it cannot be "
            "turned. Use --augment flips."
        )


def _turned_size(axis: Axis) -> object:
    """Return what the sizes of y and x must have in common."""
    match axis.size:
        case ReferencedSize(tensor, _, scale, offset):
            return tensor, scale, offset
        case FixedSize() | StepSize() as size:
            return size
        case _:
            return None
