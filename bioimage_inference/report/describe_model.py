"""A model in plain words: its tensors with their sizes, and the operations on their values."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ..image.axes import SCALED, SPACE
from ..inference.operations.registry import operation_of, step_in_words
from ..model.spec import Axis, FixedSize, FreeSize, ReferencedSize, StepSize, TensorSpec
from ..text import counted, times

NO_LICENCE = "none named: ask the authors before you publish results"
FEW_NAMES = 8  # channels that a line lists by name


def input_in_words(tensor: TensorSpec) -> str:
    """Return e.g. "one channel, 2-D, any size of at least 64×64; intensities are normalised for you: …"."""
    steps = ", then ".join(operations_in_words(tensor))
    values = "intensities" if image_axes(tensor) else "values"
    if not steps:
        return f"{_geometry(tensor)}; {values} are handed to the network as they are"
    is_normalised = any(operation_of(step).scaling != "none" for step in tensor.operations)
    return f"{_geometry(tensor)}; {values} are {'normalised' if is_normalised else 'prepared'} for you: {steps}"


def image_in_words(tensor: TensorSpec) -> str:
    """Return what image an input takes, in few words, e.g. "2-D, one channel"."""
    return f"{_dimensions(tensor)}, {_channel_count(tensor)}"


def output_in_words(tensor: TensorSpec) -> str:
    """Return e.g. "2 channels (foreground, boundary), 2-D, as large as raw; values go through: sigmoid"."""
    steps = ", then ".join(operations_in_words(tensor))
    return _geometry(tensor) + (f"; values go through: {steps}" if steps else "")


def pixel_size_in_words(sizes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return declared pixel sizes by axis, ``{value, unit}`` each, for example ``y 0.3 µm, x 0.3 µm``."""
    return ", ".join(f"{letter} {one['value']:g} {one['unit'] or '(without a unit)'}" for letter, one in sizes.items())


def image_axes(tensor: TensorSpec) -> list[Axis]:
    """Return the axes of time and space, in the order t z y x."""
    return [axis for letter in SCALED if (axis := tensor.axis(letter)) is not None]


def sizes_in_words(tensor: TensorSpec) -> str:
    """Return the legal sizes along the image axes, or the tensor that they follow; empty without image axes."""
    axes = image_axes(tensor)
    sizes = [axis.size for axis in axes]
    order = f" ({times(axis.letter for axis in axes)})" if len(axes) > 2 else ""
    fixed = [size for size in sizes if isinstance(size, FixedSize)]
    steps = [size for size in sizes if isinstance(size, StepSize)]
    referenced = {(size.tensor, size.scale, size.offset) for size in sizes if isinstance(size, ReferencedSize)}
    if not axes:
        return ""
    if len(fixed) == len(sizes):
        return f"exactly {times(size.size for size in fixed)} pixels{order}"
    if len(steps) == len(sizes):
        return _steps(steps, order)
    if len(referenced) == 1 and all(isinstance(size, ReferencedSize) for size in sizes):
        return _relative_size(*referenced.pop())
    if all(isinstance(size, FreeSize) for size in sizes):
        return "any size"
    return ", ".join(f"{axis.letter} {_axis_size(axis)}" for axis in axes)


def operations_in_words(tensor: TensorSpec) -> list[str]:
    """Return a phrase for each step that changes values, in order."""
    return [words for step in tensor.operations if (words := step_in_words(step, tensor))]


def _geometry(tensor: TensorSpec) -> str:
    return ", ".join(part for part in (_channels(tensor), _dimensions(tensor), sizes_in_words(tensor)) if part)


def _channel_count(tensor: TensorSpec) -> str:
    axis = tensor.axis("c")
    if axis is None:
        return "one channel" if image_axes(tensor) else "one number each"
    match axis.size:
        case FixedSize(size):
            return "one channel" if size == 1 else f"{size} channels"
        case ReferencedSize():
            return f"as many channels as {axis.size.describe()}"
        case StepSize():
            return f"channels: {axis.size.describe()}"
        case _:
            return "any number of channels"


def _channels(tensor: TensorSpec) -> str:
    axis, count = tensor.axis("c"), _channel_count(tensor)
    names = [] if axis is None else axis.channel_names
    if all(re.fullmatch(r"(channel|ch|c)?[ _-]?\d*", name, re.IGNORECASE) for name in names):  # mere numbers
        return count
    return f"{count} ({', '.join((*names[:FEW_NAMES], *(['…'] if len(names) > FEW_NAMES else [])))})"


def _dimensions(tensor: TensorSpec) -> str:
    space = sum(letter in SPACE for letter in tensor.letters)
    words = f"{space}-D" if space else "no image"
    words += " over time" if "t" in tensor.letters else ""
    return words + (", one entry per object" if "i" in tensor.letters else "")


def _steps(sizes: Sequence[StepSize], order: str) -> str:
    words = "any size"
    if any(size.minimum > 1 for size in sizes):
        words += f" of at least {times(size.minimum for size in sizes)}"
    steps = [size.step for size in sizes]
    if set(steps) != {1}:
        words += f" in steps of {steps[0] if len(set(steps)) == 1 else times(steps)}"
    return words + (order if words != "any size" else "")


def _relative_size(tensor: str, scale: Fraction, offset: int) -> str:
    factor = f"{scale} times" if scale > 1 else f"{scale} of"
    words = f"as large as {tensor}" if scale == 1 else f"{factor} the size of {tensor}"
    if offset:
        words += f", {counted(abs(offset), 'pixel')} {'larger' if offset > 0 else 'smaller'} along each axis"
    return words


def _axis_size(axis: Axis) -> str:
    match axis.size:
        case ReferencedSize(tensor, _, scale, 0) if scale == 1:
            return f"as in {tensor}"
        case _:
            return axis.size.describe()
