"""How the axes of a model's tensors follow the axes of the leading input, which the tiles are chosen for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor, lcm

from ..errors import ModelError
from ..image.axes import SCALED
from ..model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, Size, StepSize, TensorSpec
from .axis_tiling import legal_size

TILED = SCALED
"""Axes along which an image may be cut into tiles."""


@dataclass(frozen=True)
class Link:
    """``size = floor(size of the leading input's axis ``letter`` * scale) + offset``."""

    letter: str
    scale: Fraction = Fraction(1)
    offset: int = 0

    def size(self, leading: int) -> int:
        """Return the pixels along the linked axis for ``leading`` pixels of the leading axis."""
        return floor(leading * self.scale) + self.offset

    def span(self, start: int, length: int) -> tuple[int, int]:
        """Return (start, stop) along the linked axis for ``length`` pixels from ``start`` on along the leading axis."""
        first = int(start * self.scale)
        return first, first + self.size(length)


def leading_input(model: ModelSpec, given: Collection[str]) -> TensorSpec:
    """Return the first of the given inputs whose axes depend on no other tensor."""
    present = [tensor for tensor in model.inputs if tensor.id in given]
    for tensor in present:
        references = {axis.size.tensor for axis in tensor.axes if isinstance(axis.size, ReferencedSize)}
        if references <= {tensor.id}:
            return tensor
    return present[0]


def links(model: ModelSpec, leading: TensorSpec, given: Collection[str]) -> Mapping[tuple[str, str], Link]:
    """Return the link of every tileable axis of the ``given`` inputs and of all outputs that has one.

    The keys are (tensor id, axis letter).
    """
    found: dict[tuple[str, str], Link] = {}
    for tensor in (*(one for one in model.inputs if one.id in given), *model.outputs):
        for axis in tensor.axes:
            link = _link(model, leading, tensor, axis)
            if link is not None and axis.letter in TILED and link.letter in TILED:
                found[tensor.id, axis.letter] = link
    return found


def common_size(model: ModelSpec, linked: Mapping[tuple[str, str], Link], letter: str, size: Size) -> Size:
    """Return the legal ones of ``size``, along an axis of the leading input, for all inputs that are as large there.

    Raises :class:`ModelError` if there are none.
    """
    for tensor in model.inputs:
        for axis in tensor.axes:
            if linked.get((tensor.id, axis.letter)) == Link(letter) and isinstance(axis.size, StepSize):
                found = _common(size, axis.size)
                if found is None:
                    raise ModelError(
                        f"The inputs of the model show the same place, but take no common size along {letter}: "
                        f"{size.describe()}, and {axis.size.describe()} for {tensor.id!r}. Its authors have to correct "
                        "the description."
                    )
                size = found
    return size


def _common(size: Size, other: StepSize) -> Size | None:
    least = legal_size(size, other.minimum)
    step = size.step if isinstance(size, StepSize) else 1
    tried = (least,) if isinstance(size, FixedSize) else range(least, least + step * other.step, step)
    first = next((one for one in tried if legal_size(other, one) == one), None)
    if first is None or isinstance(size, FixedSize):
        return None if first is None else size
    return StepSize(first, lcm(step, other.step))


def _link(model: ModelSpec, leading: TensorSpec, tensor: TensorSpec, axis: Axis, depth: int = 0) -> Link | None:
    if tensor.id == leading.id:
        return Link(axis.letter)
    if isinstance(axis.size, ReferencedSize):
        reference = model.tensor(axis.size.tensor)
        target = next(other for other in reference.axes if other.id == axis.size.axis)
        if depth > len(model.inputs) + len(model.outputs):  # a circle
            return None
        link = _link(model, leading, reference, target, depth + 1)
        if link is None:
            return None
        scale = axis.size.scale
        return Link(link.letter, link.scale * scale, floor(link.offset * scale) + axis.size.offset)
    # inputs of independent sizes show the same place, so the same axis means the same pixels
    is_input = any(other.id == tensor.id for other in model.inputs)
    own = leading.axis(axis.letter)
    if is_input and own is not None and (not isinstance(axis.size, FixedSize) or axis.size == own.size):
        return Link(axis.letter)
    return None
