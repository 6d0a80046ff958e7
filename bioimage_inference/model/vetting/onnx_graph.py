"""Reads an ONNX file and checks it before onnxruntime sees it: standard operators only, and tensors of its own package.

The checked content is written anew, and onnxruntime gets these bytes, never the file. So it cannot open a file that
the network names, and it reads the same network as these checks.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ...array_types import Array
from ...errors import ModelError
from ...files.file_names import is_file_name
from ...text import for_terminal
from ..package import package_file, require_sha256
from ..safe_zip import MAX_BYTES

if TYPE_CHECKING:
    import onnx

INSTALL = 'pip install "bioimage_inference[onnx]"'
# Operators that ONNX defines (onnx.ai). Others come from libraries, which this program never registers, or are
# onnxruntime's own (com.microsoft): these run other compiled networks and read files (EPContext).
_DOMAINS = frozenset(("", "ai.onnx", "ai.onnx.ml"))
# Nodes with all functions expanded. The largest networks of the zoo (ViT-L) have some thousands. Functions that call
# functions grow without bound, and onnxruntime expands them all.
_MOST_NODES = 100_000
_MOST_BYTES = (1 << 31) - 1  # protobuf reads no longer message
_DEEPEST = 50  # graphs inside of graphs; protobuf's own limit is 100 messages
_Key = tuple[str, str, str]  # domain, name and overload


class NotVettedOnnx(Exception):
    """The reason why a network is not loaded, as a clause such as "it uses the operator x of another library"."""


@dataclass(frozen=True)
class OnnxNetwork:
    """A checked network: the ``content`` of an ONNX file, and the tensors of its external data by name.

    ``data`` is the file of external data, ``None`` without one.
    """

    content: bytes
    tensors: Mapping[str, Array] = field(default_factory=dict)
    data: Path | None = None
    data_sha256: str | None = None


def onnx_installed() -> bool:
    """Return whether the libraries of the extra ``onnx`` are installed."""
    return find_spec("onnx") is not None and find_spec("onnxruntime") is not None


def operators(network: OnnxNetwork) -> tuple[str, ...]:
    """Return the operators of the outermost graph in the order of their first node."""
    import onnx

    return tuple(dict.fromkeys(node.op_type for node in onnx.load_model_from_string(network.content).graph.node))


def read_onnx(path: Path, root: Path, sha256: str) -> OnnxNetwork:
    """Return the checked network of a file.

    ``root`` is the folder of the package, which the file lies in, and ``sha256`` the hash of the file. Raises
    :class:`NotVettedOnnx` for a network that is not loaded, and :class:`ModelError` for a damaged file or a missing
    library.
    """
    if not onnx_installed():
        raise ModelError(
            f"{path.name} is an ONNX network, and the libraries that run it (onnx, onnxruntime) are not installed. "
            f"Install them with: {INSTALL}"
        )
    model = _parsed(path, sha256)
    _check_nodes(model)
    folder = PurePosixPath(path.resolve().parent.relative_to(root.resolve()))
    tensors, data, data_sha256 = _external_tensors(model, root, folder)
    if model.functions:
        model = _inlined(model)
    return OnnxNetwork(model.SerializeToString(deterministic=True), tensors, data, data_sha256)


def _parsed(path: Path, sha256: str) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(
            f"{path.name} takes {path.stat().st_size >> 20} MiB; an ONNX file has less than 2048. Save the network "
            "with its tensors in a file of external data."
        )
    content = path.read_bytes()
    require_sha256(hashlib.sha256(content).hexdigest(), sha256, path.name)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, RecursionError, ValueError) as error:
        raise ModelError(f"{path.name} is damaged, or no ONNX file ({error}). Download it again.") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path.name} holds no ONNX network. Download it again.")
    model.DiscardUnknownFields()  # onnxruntime may know a field that this version of onnx does not
    return model


def _inlined(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a checked network with the bodies of its functions in place of their calls. Raises NotVettedOnnx."""
    from onnx.inliner import inline_local_functions

    try:
        model = inline_local_functions(model)
    except Exception as error:  # onnx raises anything for calls that do not fit their function
        raise NotVettedOnnx(f"its functions cannot be inlined ({_shown(str(error))})") from error
    if model.functions:  # onnxruntime prefers its own operator to a function of the same name
        raise NotVettedOnnx(f"its function {_shown(model.functions[0].name)} needs another version of ONNX's operators")
    _check_nodes(model)
    return model


def _key(domain: str, name: str, overload: str) -> _Key:
    """Return the identity of an operator or function. For onnx, the domains "" and "ai.onnx" are one."""
    return "" if domain == "ai.onnx" else domain, name, overload


def _check_nodes(model: "onnx.ModelProto") -> None:
    """Check operators and tensors of the graph, of graphs inside of it, and of functions. Raises NotVettedOnnx."""
    functions = {_key(one.domain, one.name, one.overload): one for one in model.functions}
    if len(functions) != len(model.functions):
        raise NotVettedOnnx("it has two functions of one name")
    sizes: dict[_Key, int] = {}
    _check_graph_tensors(model.graph, outermost=True)

    def function_size(key: _Key, callers: tuple[_Key, ...]) -> int:
        if key in callers or len(callers) > _DEEPEST:
            raise NotVettedOnnx(f"its functions call each other without end ({_shown(key[1])})")
        if key not in sizes:
            _check_arguments(functions[key].attribute_proto)
            sizes[key] = expanded(functions[key].node, (*callers, key), 0)
        return sizes[key]

    def expanded(nodes: Any, callers: tuple[_Key, ...], depth: int) -> int:
        """Return the number of nodes with their functions and inner graphs."""
        if depth > _DEEPEST:
            raise NotVettedOnnx(f"its graphs lie within each other more than {_DEEPEST} deep")
        count = 0
        for node in nodes:
            key = _key(node.domain, node.op_type, node.overload)
            if key in functions:
                _check_arguments(node.attribute)
                count += function_size(key, callers)
            elif node.domain not in _DOMAINS:
                raise NotVettedOnnx(
                    f"it uses the operator {_shown(node.op_type)} of {_shown(node.domain)}, which is not of ONNX itself"
                )
            count += 1 + sum(expanded(graph.node, callers, depth + 1) for graph in _inner_graphs(node.attribute))
            if count > _MOST_NODES:
                raise NotVettedOnnx(f"it has more than {_MOST_NODES:,} operations")
        return count

    expanded(model.graph.node, (), 0)
    for key in functions:
        function_size(key, ())


def _check_arguments(attributes: Any) -> None:
    """Raise NotVettedOnnx for a graph as an argument of a function, because the function can repeat it."""
    if any(True for _ in _inner_graphs(attributes)):
        raise NotVettedOnnx("a function takes a graph as its argument")


def _inner_graphs(attributes: Any) -> Iterator[Any]:
    """Yield the graphs of branches and loops. Raises NotVettedOnnx for their tensors, or those of the attributes."""
    for attribute in attributes:
        tensors = [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
        if any(tensor.data_location for tensor in tensors):
            raise NotVettedOnnx("an attribute of an operator names a file")
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise NotVettedOnnx("it has sparse tensors, whose size in memory is not that in the file")
        graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
        for graph in graphs:
            _check_graph_tensors(graph, outermost=False)
        yield from graphs


def _check_graph_tensors(graph: Any, outermost: bool) -> None:
    if graph.sparse_initializer:
        raise NotVettedOnnx("it has sparse tensors, whose size in memory is not that in the file")
    if not outermost and any(tensor.data_location for tensor in graph.initializer):
        raise NotVettedOnnx("a branch or loop names a file")
    for tensor in graph.initializer:
        if any(size < 0 for size in tensor.dims) or 8 * math.prod(tensor.dims) > MAX_BYTES:
            raise NotVettedOnnx(f"the tensor {_shown(tensor.name)} has an impossible size")


def _external_tensors(
    model: Any, root: Path, folder: PurePosixPath
) -> tuple[dict[str, Array], Path | None, str | None]:
    """Return the tensors of external data by name, their file, and its hash."""
    outside = [tensor for tensor in model.graph.initializer if tensor.data_location]
    if not outside:
        return {}, None, None
    facts = [{entry.key: entry.value for entry in tensor.external_data} for tensor in outside]
    files = {one.get("location", "") for one in facts}
    if len(files) > 1:
        raise NotVettedOnnx(f"its tensors lie in {len(files)} files; save them in one file (onnx.save)")
    path = _data_file(files.pop(), root, folder)
    content = path.read_bytes()  # as a whole, so that the hash is that of the values
    values = np.frombuffer(content, np.uint8)
    tensors = {tensor.name: _tensor(tensor, one, values) for tensor, one in zip(outside, facts, strict=True)}
    return tensors, path, hashlib.sha256(content).hexdigest()


def _data_file(location: str, root: Path, folder: PurePosixPath) -> Path:
    """Return the file of external data, which is a plain file of the package. Raises NotVettedOnnx for other names."""
    parts = PurePosixPath(location).parts
    if not parts or location.startswith("/") or not all(map(is_file_name, parts)) or {".", ".."} & {*parts}:
        raise NotVettedOnnx(f"it takes tensors from {_shown(location)!r}, which is no file name inside of its package")
    name = folder / location
    path = package_file(root, str(name))
    if path != root.resolve() / name:
        raise NotVettedOnnx(f"it takes tensors from {_shown(location)!r}, which is a link")
    return path


def _tensor(tensor: Any, facts: Mapping[str, str], content: Array) -> Array:
    from onnx.helper import tensor_dtype_to_np_dtype

    try:
        dtype, shape = tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        needed = math.prod(shape) * dtype.itemsize
        start, length = int(facts.get("offset", 0)), int(facts.get("length", needed))
    except (KeyError, TypeError, ValueError) as error:
        raise NotVettedOnnx(f"the place of the tensor {_shown(tensor.name)} cannot be read") from error
    if dtype.kind not in "fiub" or length != needed or not 0 <= start <= content.size - length:
        raise NotVettedOnnx(f"the tensor {_shown(tensor.name)} does not lie in its file of external data")
    return content[start : start + length].view(dtype).reshape(shape)


def _shown(name: str) -> str:
    return for_terminal(name[:80]) or "nothing"
