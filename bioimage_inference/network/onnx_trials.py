"""Trials of an ONNX network: the memory of its tensors, and which operations depend on the tile as a whole.

The network runs with its own nodes alone and returns the shape of each tensor. Operators are those of the ONNX
specification (onnx.ai, Operators.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..array_types import Array
from ..model.onnx_limits import ALONG, FROM_AXIS_ON, OVER_IMAGE, PRODUCTS, SOFTMAX, may_read_tile
from ..model.vetting.onnx_graph import OnnxNetwork
from .device import Device
from .network import Inputs

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

# Operators whose result has no values of their input.
_UNREAD = frozenset(("Shape", "Size", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike"))
_NO_TENSORS = ("Sequence", "SplitToSequence", "Optional")
_BYTES = 4  # of a value in float32, in which onnxruntime computes on a CPU
_SOFTMAX_ALONG_ONE_AXIS = 13  # the version of ONNX; before, softmax went over all axes from its axis on


class OnnxTrials:
    """A network that returns the shapes of all its tensors in place of its results."""

    def __init__(self, network: OnnxNetwork, device: Device, threads: int) -> None:
        import onnx

        from .onnx_network import new_session

        model = onnx.load_model_from_string(network.content)
        self._nodes = list(model.graph.node)
        self._results = [output.name for output in model.graph.output]
        self._constants = _constants(model, network)
        self._version = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)
        self._names = [
            name
            for node in self._nodes
            if not node.op_type.startswith(_NO_TENSORS)
            for name in node.output
            if name and name not in self._constants
        ]
        del model.graph.output[:]
        for number, name in enumerate(self._names):
            shape = onnx.helper.make_node("Shape", [name], [f"bioimage_inference shape {number}"])
            model.graph.node.append(shape)
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(shape.output[0], onnx.TensorProto.INT64, [None])
            )
        self._session = new_session(
            OnnxNetwork(model.SerializeToString(), network.tensors), device, threads, optimised=False
        )

    def memory(self, feed: dict[str, Array], inputs: Inputs) -> int:
        """Return the peak memory of the tensors of a tile in bytes, if each lives until its last use."""
        shapes = self._shapes(feed, inputs)
        sizes = {name: _BYTES * prod(shape) for name, shape in shapes.items()}
        last = {name: number for number, node in enumerate(self._nodes) for name in _read_by(node)}
        last |= dict.fromkeys(self._results, len(self._nodes))
        alive = {name: sizes[name] for name in feed}
        most = 0
        for number, node in enumerate(self._nodes):
            alive |= {name: sizes[name] for name in node.output if name in sizes}
            most = max(most, sum(alive.values()))
            alive = {name: size for name, size in alive.items() if last.get(name, -1) > number}
        return most

    def over_tile(self, feeds: Sequence[tuple[dict[str, Array], Inputs]]) -> tuple[str, ...]:
        """Return the operators whose result depends on the whole tile, from a small tile and perhaps a larger one.

        Without a larger tile, tensors are assumed to have the axes b, c and then the axes that the image is cut along.
        """
        small = self._shapes(*feeds[0])
        large = self._shapes(*feeds[1]) if len(feeds) > 1 else {name: _longer(shape) for name, shape in small.items()}
        found = (
            node.op_type
            for node in self._nodes
            if _Call(node, small, large, self._constants, self._version).reads_tile()
        )
        return tuple(dict.fromkeys(found))

    def _shapes(self, feed: dict[str, Array], inputs: Inputs) -> dict[str, Shape]:
        from .onnx_network import run_session

        outputs = [one.name for one in self._session.get_outputs()]
        found = run_session(self._session, feed, outputs, inputs)
        shapes = {name: tuple(map(int, shape)) for name, shape in zip(self._names, found, strict=True)}
        return shapes | {name: array.shape for name, array in feed.items()}


@dataclass(frozen=True)
class _Call:
    """A node, with the shapes of all tensors for two tiles of different sizes."""

    node: "onnx.NodeProto"
    small: Shapes
    large: Shapes
    constants: Mapping[str, Array]
    version: int

    def reads_tile(self) -> bool:
        """Return whether a value of the result depends on the whole tile."""
        cut = {name: axes for name in _read_by(self.node) if (axes := self._cut(name))}
        kind = self.node.op_type
        if not cut or kind in _UNREAD:
            return False
        first, axes = next(iter(cut.items()))
        known = self._by_rule(axes, len(self.small[first]))
        if known is not None:
            return known
        if kind == "If":
            return any(may_read_tile(inner.op_type) for inner in _inner_nodes(self.node))
        if kind in PRODUCTS:
            return self._sums_over(cut)
        return all(self.small.get(name) == self.large.get(name) for name in self.node.output)

    def _by_rule(self, axes: frozenset[int], rank: int) -> bool | None:
        """Return the answer from the axes and the rank of the first input that differs; ``None`` without a rule."""
        kind = self.node.op_type
        if kind in OVER_IMAGE:
            return True
        if kind == "BatchNormalization":
            return bool(self._attribute("training_mode", 0))
        if kind in ("Resize", "Upsample"):  # positions count from the outermost pixels of the tile, not of the image
            mode = self._attribute("coordinate_transformation_mode", b"")
            return mode in (b"align_corners", b"tf_crop_and_resize")
        if kind.startswith("Reduce"):
            return bool(axes & self._named_axes(rank))
        if kind == "CumSum":
            return bool(axes & self._axes_of_input(1, rank))
        if kind in ALONG or (kind in SOFTMAX and self.version >= _SOFTMAX_ALONG_ONE_AXIS):
            return self._attribute("axis", ALONG.get(kind, -1)) % rank in axes
        if kind in SOFTMAX or kind in FROM_AXIS_ON:
            first = self._attribute("axis", 1 if kind in SOFTMAX else -1) % rank
            return any(axis >= first for axis in axes)
        return None

    def _sums_over(self, cut: Mapping[str, frozenset[int]]) -> bool:
        """Return whether a product of matrices sums over an axis that differs between the tiles."""
        if self.node.op_type == "Einsum":  # a label that is not in the result is summed over
            terms, _, result = self._attribute("equation", b"").decode().replace(" ", "").partition("->")
            labels = zip(self.node.input, terms.split(","), strict=False)
            return any(
                "." in term or term[axis] not in result for name, term in labels for axis in cut.get(name, frozenset())
            )
        first = self.node.input[0]
        rank = len(self.small.get(first, self.constants.get(first, np.empty(0)).shape))
        summed = 0 if self.node.op_type == "Gemm" and self._attribute("transA", 0) else rank - 1
        return summed in cut.get(first, frozenset())

    def _cut(self, name: str) -> frozenset[int]:
        """Return the axes of a tensor that differ between the tiles."""
        pairs = zip(self.small.get(name, ()), self.large.get(name, ()), strict=False)
        return frozenset(axis for axis, (size, other) in enumerate(pairs) if size != other)

    def _attribute(self, name: str, default: Any) -> Any:
        import onnx

        found = (one for one in self.node.attribute if one.name == name)
        return next((onnx.helper.get_attribute_value(one) for one in found), default)

    def _named_axes(self, rank: int) -> set[int]:
        """Return the axes of a reduction: of its attribute, or of its second input; all if it names none."""
        named = self._attribute("axes", None)
        if named is not None:
            return {axis % rank for axis in named}
        if len(self.node.input) < 2 and self._attribute("noop_with_empty_axes", 0):
            return set()
        return self._axes_of_input(1, rank)

    def _axes_of_input(self, number: int, rank: int) -> set[int]:
        """Return the axes that a constant input names; all if it is missing or computed."""
        name = self.node.input[number] if len(self.node.input) > number else ""
        named = self.constants.get(name)
        return set(range(rank)) if named is None else {int(axis) % rank for axis in np.ravel(named)}


def _constants(model: "onnx.ModelProto", network: OnnxNetwork) -> dict[str, Array]:
    """Return the tensors of the file, and those of its constants."""
    from onnx.numpy_helper import to_array

    found = {one.name: to_array(one) for one in model.graph.initializer if not one.data_location}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            found[node.output[0]] = to_array(node.attribute[0].t)
    return found | dict(network.tensors)


def _inner_nodes(node: Any) -> "Iterator[onnx.NodeProto]":
    """Yield the nodes of the branches or the loop of a node, in any depth."""
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            for inner in graph.node:
                yield inner
                yield from _inner_nodes(inner)


def _read_by(node: Any) -> Iterator[str]:
    """Yield the tensors that a node and its inner graphs read."""
    yield from node.input
    for inner in _inner_nodes(node):
        yield from inner.input


def _longer(shape: Shape) -> Shape:
    """Return the shape for a tile of twice the size, if it is that of an image."""
    if len(shape) not in (4, 5):
        return shape
    return (*shape[:2], *(2 * size if size > 1 else size for size in shape[2:]))
