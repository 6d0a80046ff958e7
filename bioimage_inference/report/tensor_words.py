"""Tensors of a description in plain words: what image a model expects, what it gives, what is done to the values."""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..image.axes import AXES, SCALED, SPACE
from ..inference.operations.registry import measures_of
from ..model.spec import Axis, FixedSize, FreeSize, Operation, ReferencedSize, StepSize, TensorSpec

_NORMALISING = ("fixed_zero_mean_unit_variance", "scale_linear", "scale_range", "zero_mean_unit_variance")
_MANY_NAMES = 8
_NUMBERED = re.compile(r"(channel|ch|c)?[ _-]?\d*", re.IGNORECASE)  # names that say nothing


def input_in_words(tensor: TensorSpec) -> str:
    """For instance "one channel, 2-D, any size of at least 64×64; intensities are normalised for you: …"."""
    steps = ", then ".join(operations_in_words(tensor))
    values = "intensities" if image_axes(tensor) else "values"
    if not steps:
        return f"{_geometry(tensor)}; {values} are handed to the network as they are"
    normalised = any(operation.name in _NORMALISING for operation in tensor.operations)
    return f"{_geometry(tensor)}; {values} are {'normalised' if normalised else 'prepared'} for you: {steps}"


def output_in_words(tensor: TensorSpec) -> str:
    """For instance "2 channels (foreground, boundary), 2-D, as large as raw; values go through: sigmoid"."""
    steps = operations_in_words(tensor)
    return _geometry(tensor) + (f"; values go through: {', then '.join(steps)}" if steps else "")


def operations_in_words(tensor: TensorSpec) -> list[str]:
    """Every step that changes values, in order; a conversion to a floating point type changes none."""
    return [
        _WORDS[operation.name](operation.kwargs) + _scope(operation, tensor)
        for operation in tensor.operations
        if operation.name != "ensure_dtype" or not str(operation.kwargs["dtype"]).startswith("float")
    ]


def _geometry(tensor: TensorSpec) -> str:
    return ", ".join(part for part in (_channels(tensor), dimensions_in_words(tensor), sizes_in_words(tensor)) if part)


def _channels(tensor: TensorSpec) -> str:
    axis = tensor.axis("c")
    if axis is None:
        return "one channel" if any(letter in SCALED for letter in tensor.letters) else "one number each"
    match axis.size:
        case FixedSize(1):
            count = "one channel"
        case FixedSize(size):
            count = f"{size} channels"
        case ReferencedSize():
            count = f"as many channels as {axis.size.describe()}"
        case StepSize():
            count = f"channels: {axis.size.describe()}"
        case _:
            count = "any number of channels"
    if all(_NUMBERED.fullmatch(name) for name in axis.channel_names):
        return count
    names = [*axis.channel_names[:_MANY_NAMES], *(["…"] if len(axis.channel_names) > _MANY_NAMES else [])]
    return f"{count} ({', '.join(names)})"


def dimensions_in_words(tensor: TensorSpec) -> str:
    """``2-D``, ``3-D over time`` and the like."""
    space = sum(letter in SPACE for letter in tensor.letters)
    words = f"{space}-D" if space else "no image"
    if "t" in tensor.letters:
        words += " over time"
    if "i" in tensor.letters:
        words += ", one entry per object"
    return words


def sizes_in_words(tensor: TensorSpec) -> str:
    """Which sizes along the image axes are legal, or which tensor they follow; empty where there are none."""
    axes = image_axes(tensor)
    if not axes:
        return ""
    order = f" ({'×'.join(axis.letter for axis in axes)})" if len(axes) > 2 else ""
    sizes = [axis.size for axis in axes]
    fixed = [size for size in sizes if isinstance(size, FixedSize)]
    steps = [size for size in sizes if isinstance(size, StepSize)]
    referenced = [size for size in sizes if isinstance(size, ReferencedSize)]
    if len(fixed) == len(sizes):
        return f"exactly {_times(size.size for size in fixed)} pixels{order}"
    if len(steps) == len(sizes):
        return _steps(steps, order)
    if len(referenced) == len(sizes) and len({(one.tensor, one.scale, one.offset) for one in referenced}) == 1:
        return _following(referenced[0])
    if all(isinstance(size, FreeSize) for size in sizes):
        return "any size"
    return ", ".join(f"{axis.letter} {_one_size(axis)}" for axis in axes)


def _one_size(axis: Axis) -> str:
    match axis.size:
        case ReferencedSize(tensor, _, scale, 0) if scale == 1:
            return f"as in {tensor}"
        case _:
            return axis.size.describe()


def image_axes(tensor: TensorSpec) -> list[Axis]:
    """The axes of time and space, in the order t z y x."""
    return [axis for letter in SCALED if (axis := tensor.axis(letter)) is not None]


def _steps(sizes: Sequence[StepSize], order: str) -> str:
    words = "any size"
    if any(size.minimum > 1 for size in sizes):
        words += f" of at least {_times(size.minimum for size in sizes)}"
    by = {size.step for size in sizes}
    if by != {1}:
        words += f" in steps of {by.pop() if len(by) == 1 else _times(size.step for size in sizes)}"
    return words + (order if words != "any size" else "")


def _following(size: ReferencedSize) -> str:
    words = f"as large as {size.tensor}" if size.scale == 1 else f"{_factor(size.scale)} the size of {size.tensor}"
    if size.offset:
        words += f", {abs(size.offset)} pixels {'larger' if size.offset > 0 else 'smaller'} along each axis"
    return words


def _factor(scale: Fraction) -> str:
    return f"{scale} times" if scale > 1 else f"{scale} of"


def _times(numbers: Any) -> str:
    return "×".join(str(number) for number in numbers)


def _numbers(values: Any) -> str:
    """One number, or one for each channel; equal ones only once."""
    listed: list[Any] = list(values) if isinstance(values, list | tuple) else [values]
    shown = [f"{float(value):.4g}" for value in listed]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)


def _scope(operation: Operation, tensor: TensorSpec) -> str:
    """Of what statistics are taken, where that is not simply the whole image."""
    if not measures_of(operation, tensor.id):
        return ""
    axes: str | None = operation.kwargs.get("axes")
    if axes is None or "b" in axes:
        return ", of all samples together"
    apart = [
        AXES[axis.letter].entry
        for axis in tensor.axes
        if axis.letter not in axes and axis.letter != "b" and axis.size != FixedSize(1)
    ]
    return f", each {' and '.join(apart)} on its own" if apart else ""


Words = Callable[[Mapping[str, Any]], str]


def _fixed_zero_mean_unit_variance(kwargs: Mapping[str, Any]) -> str:
    return f"minus a fixed mean of {_numbers(kwargs['mean'])}, divided by {_numbers(kwargs['std'])}"


def _scale_range(kwargs: Mapping[str, Any]) -> str:
    low, high = float(kwargs.get("min_percentile", 0)), float(kwargs.get("max_percentile", 100))
    lowest = "the smallest value" if low == 0 else f"percentile {low:g}"
    highest = "the largest" if high == 100 else f"percentile {high:g}"
    of = kwargs.get("reference_tensor")
    return f"{lowest}{f' of {of}' if of is not None else ''} becomes 0 and {highest} 1"


def _scale_linear(kwargs: Mapping[str, Any]) -> str:
    return f"times {_numbers(kwargs.get('gain', 1.0))} plus {_numbers(kwargs.get('offset', 0.0))}"


def _clip(kwargs: Mapping[str, Any]) -> str:
    def limit(name: str) -> str | None:
        if kwargs.get(f"{name}_percentile") is not None:
            return f"percentile {float(kwargs[f'{name}_percentile']):g}"
        return f"{float(kwargs[name]):g}" if kwargs.get(name) is not None else None

    low, high = limit("min"), limit("max")
    if low is not None and high is not None:
        return f"limited to {low} … {high}"
    return f"not below {low}" if low is not None else f"not above {high}"


def _softmax(kwargs: Mapping[str, Any]) -> str:
    letter = str(kwargs.get("axis", "c"))
    return f"softmax (each {AXES[letter].entry}'s share, between 0 and 1)"


def _ensure_dtype(kwargs: Mapping[str, Any]) -> str:
    dtype = str(kwargs["dtype"])
    return "yes or no (bool)" if dtype == "bool" else f"whole numbers ({dtype})"


_WORDS: Mapping[str, Words] = {
    "binarize": lambda kwargs: f"above {_numbers(kwargs['threshold'])}, yes or no",
    "cellpose_flow_dynamics": lambda _: "objects, found along Cellpose's flows",
    "clip": _clip,
    "custom": lambda kwargs: f"the model's own Python function {kwargs['callable']}",
    "ensure_dtype": _ensure_dtype,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean_unit_variance,
    "scale_linear": _scale_linear,
    "scale_mean_variance": lambda kwargs: f"brought to the mean and variance of {kwargs['reference_tensor']}",
    "scale_range": _scale_range,
    "sigmoid": lambda _: "sigmoid (between 0 and 1)",
    "softmax": _softmax,
    "stardist_postprocessing": lambda _: "objects, assembled from StarDist's star-convex shapes",
    "zero_mean_unit_variance": lambda _: "zero mean, unit variance",
}
