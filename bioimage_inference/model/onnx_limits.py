"""Why TorchScript comes before the ONNX weights of the same model: sizes that ONNX lacks, or operators over a tile.

Operators are those of the ONNX specification (onnx.ai, Operators.md).
"""

from collections.abc import Sequence
from typing import Any

from ..errors import ModelError
from ..text import for_terminal, times
from .package import file_sha256, package_file
from .spec import FixedSize, ModelSpec, WeightsEntry
from .vetting.onnx_graph import NotVettedOnnx, onnx_installed, read_onnx

OVER_IMAGE = frozenset(
    (
        *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "InstanceNormalization", "GroupNormalization"),
        *("MeanVarianceNormalization", "DynamicQuantizeLinear", "Attention", "LSTM", "GRU", "RNN", "DFT", "STFT"),
        *("Det", "Unique", "NonMaxSuppression", "Loop", "Scan"),
    )
)
"""Operators over all axes behind batch and channel."""
ALONG = {"LpNormalization": -1, "TopK": -1, "ArgMax": 0, "ArgMin": 0}
"""Operators along the axis of an attribute, with its default value."""
SOFTMAX = frozenset(("Softmax", "LogSoftmax", "Hardmax"))
FROM_AXIS_ON = frozenset(("LayerNormalization", "RMSNormalization"))
"""Operators over the axis of an attribute and all axes behind it."""
PRODUCTS = frozenset(("MatMul", "Gemm", "Einsum"))
_KINDS = OVER_IMAGE | ALONG.keys() | SOFTMAX | FROM_AXIS_ON | PRODUCTS | {"CumSum"}


def may_read_tile(operator: str) -> bool:
    """Return whether a result of the operator may depend on the whole tile, for some shapes and attributes."""
    return operator in _KINDS or operator.startswith("Reduce")


def onnx_limit(entry: WeightsEntry, model: ModelSpec) -> str | None:
    """Return why TorchScript comes before these ONNX weights, as a clause; ``None`` where ONNX comes first."""
    if not onnx_installed():
        return "which needs the extra onnx"
    try:
        path = package_file(model.root, entry.source)
        network = read_onnx(path, model.root, file_sha256(path))
    except (ModelError, NotVettedOnnx, OSError):  # loading the weights gives the reason
        return "which cannot be loaded"
    return _limit(network.content, model)


def _limit(content: bytes, model: ModelSpec) -> str | None:
    import onnx

    graph = onnx.load_model_from_string(content).graph
    given = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in given]
    named = {one.name: one for one in inputs}
    if {tensor.id for tensor in model.inputs} == named.keys():
        inputs = [named[tensor.id] for tensor in model.inputs]
    for tensor, one in zip(model.inputs, inputs, strict=False):
        sizes: Sequence[Any] = one.type.tensor_type.shape.dim
        for axis, size in zip(tensor.axes, sizes, strict=False):
            if axis.letter != "b" and size.dim_value and axis.size != FixedSize(size.dim_value):
                shape = times(dim.dim_value or for_terminal(dim.dim_param) or "?" for dim in sizes)
                return f"which takes {shape} only"
    operators = dict.fromkeys(node.op_type for node in graph.node if may_read_tile(node.op_type))
    if operators:
        return f"which may look at the tile as a whole ({for_terminal(', '.join(operators))[:80]})"
    return None
