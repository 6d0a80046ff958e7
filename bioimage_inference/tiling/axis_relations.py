"""How the axes of a model's tensors follow the axes of the leading input, which the tiles are chosen for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ..image.axes import SCALED
from ..model.spec import Axis, FixedSize, ModelSpec, ReferencedSize, TensorSpec

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


def links(model: ModelSpec, leading: TensorSpec) -> Mapping[tuple[str, str], Link]:
    """Return the link of every tileable axis that has one, by (tensor id, axis letter)."""
    found: dict[tuple[str, str], Link] = {}
    for tensor in (*model.inputs, *model.outputs):
        for axis in tensor.axes:
            link = _link(model, leading, tensor, axis)
            if link is not None and axis.letter in TILED and link.letter in TILED:
                found[tensor.id, axis.letter] = link
    return found


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
