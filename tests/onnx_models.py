"""ONNX networks for tests: exported from torch, or put together node by node."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tests.models import FACTS, sha256

Tensors = Sequence[tuple[str, Sequence[Any]]]


def exported(
    network: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    names: tuple[Sequence[str], Sequence[str]] = (("raw",), ("out",)),
    free: str = "bcyx",
) -> bytes:
    """A network as torch exports it; ``free`` are the letters of its axes, of any size but c; empty for fixed sizes."""
    stream = io.BytesIO()
    sizes = {number: letter for number, letter in enumerate(free) if letter != "c"}
    axes = dict.fromkeys((*names[0], *names[1]), sizes) if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this export is deprecated, and the other one needs one more library
        torch.onnx.export(
            network.eval(),
            tuple(inputs),
            stream,  # type: ignore[arg-type]
            dynamo=False,
            input_names=list(names[0]),
            output_names=list(names[1]),
            dynamic_axes=axes,
        )
    return stream.getvalue()


def graph(
    nodes: Sequence[Any],
    inputs: Tensors = (("raw", ["b", "c", "y", "x"]),),
    outputs: Tensors = (("out", ["b", "c", "y", "x"]),),
    tensors: Mapping[str, Any] | None = None,
    dtype: int = 1,
    **more: Any,
) -> Any:
    """A network from nodes; ``more`` are further arguments of ``onnx.helper.make_model``."""
    from onnx import helper, numpy_helper

    described = [
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name, shape in tensors_]
        for tensors_ in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in (tensors or {}).items()]
    made = helper.make_graph(list(nodes), "network", *described, initializer=initializers)
    return helper.make_model(made, **{"opset_imports": [helper.make_opsetid("", 18)], "ir_version": 9, **more})


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node with inputs and outputs as names with spaces between them."""
    from onnx import helper

    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def identity() -> Any:
    """The network that returns its input."""
    return graph([node("Identity", "raw", "out")])


def write_onnx_model(
    folder: Path,
    network: bytes | Any,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    **weights: Any,
) -> Path:
    """Write a package of format 0.5 with ONNX weights, and other ``weights`` entries; return its ``rdf.yaml``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "weights.onnx"
    file.write_bytes(network if isinstance(network, bytes) else network.SerializeToString())
    (folder / "README.md").write_text("# A model for tests\n")
    for number, tensor in enumerate((*inputs, *outputs)):
        tensor.setdefault("test_tensor", {"source": f"test{number}.npy"})
    entry = {"source": file.name, "sha256": sha256(file), "opset_version": 18}
    content = {
        **FACTS,
        "format_version": "0.5.4",
        "inputs": inputs,
        "outputs": outputs,
        "weights": {**weights, "onnx": {**entry, **weights.get("onnx", {})}},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "rdf.yaml"
