"""ONNX networks that would do more than compute are refused before onnxruntime sees them."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bioimage_inference.errors import ModelError
from bioimage_inference.model.trust import HASHES_VARIABLE, TRUST_VARIABLE
from bioimage_inference.model.vetting.onnx_graph import NotVettedOnnx, read_onnx
from tests.machine import HANG_SECONDS
from tests.models import sha256, simple_tensors
from tests.onnx_models import graph, identity, node, write_onnx_model

from .conftest import Refused
from .corpus import zipped

pytestmark = pytest.mark.usefixtures("installed_onnx")

FOREIGN = {"domain": "com.microsoft"}


def branch(inner: Any) -> Any:
    """A network whose branch has this node, with the result ``inner``."""
    from onnx import helper

    body = helper.make_graph([inner], "body", [], [helper.make_tensor_value_info("inner", 1, None)])
    return graph(
        [node("If", "condition", "out", then_branch=body, else_branch=body)], tensors={"condition": np.bool_(True)}
    )


def nested(depth: int) -> Any:
    """Branches within branches."""
    from onnx import helper

    body = helper.make_graph(
        [node("Identity", "raw", "inner")], "body", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    for _ in range(depth):
        again = node("If", "condition", "inner", then_branch=body, else_branch=body)
        body = helper.make_graph([again], "body", [], [helper.make_tensor_value_info("inner", 1, None)])
    network = identity()
    network.graph.node.append(node("If", "condition", "x", then_branch=body, else_branch=body))
    return network


def functions(*bodies: tuple[str, list[Any]]) -> Any:
    """A network that calls the first of these functions."""
    from onnx import helper

    own = [helper.make_opsetid("own", 1), helper.make_opsetid("", 18)]
    made = [helper.make_function("own", name, ["x"], ["y"], nodes, own) for name, nodes in bodies]
    return graph([node(bodies[0][0], "raw", "out", domain="own")], functions=made, opset_imports=own)


def bomb() -> Any:
    """Functions that call the next one ten times each: 10¹² operations from 120 nodes."""
    bodies = []
    for level in range(12):
        calls = [node(f"f{level + 1}", f"x{n}" if n else "x", f"x{n + 1}", domain="own") for n in range(10)]
        bodies.append((f"f{level}", [*calls, node("Identity", "x10", "y")]))
    return functions(*bodies, ("f12", [node("Identity", "x", "y")]))


def spelled(*domains: str, name: str = "f0", calls: int = 2, levels: int = 1) -> Any:
    """Functions of the first domain that call the next one under the second domain, the last one the first."""
    from onnx import helper

    own = [helper.make_opsetid("", 18)]
    made = []
    for level in range(levels):
        callee = f"f{level + 1}" if level + 1 < levels else name
        nodes = [node(callee, f"x{n}", f"x{n + 1}", domain=domains[1]) for n in range(calls)]
        made.append(helper.make_function(domains[0], f"f{level}", ["x0"], [f"x{calls}"], nodes, own))
    return graph([node("f0", "raw", "out", domain=domains[1])], functions=made)


def hidden(version: int = 18, overload: str = "") -> Any:
    """A function with the name of onnxruntime's own operator, which onnx does not inline: onnxruntime runs its own."""
    network = functions(("EPContext", [node("Identity", "x", "y")]))
    network.functions[0].domain = network.graph.node[0].domain = "com.microsoft"
    network.functions[0].opset_import[1].version = version
    network.functions[0].overload = overload
    network.opset_import.add(domain="com.microsoft", version=1)
    return network


def repeated(default: bool = False) -> Any:
    """A function that uses the graph of its argument, or of the argument's default, in two operators."""
    from onnx import helper

    condition = node("Constant", "", "condition", value_int=1)
    branches = [node("If", "condition", f"y{n}") for n in range(2)]
    for one in branches:
        for name in ("then_branch", "else_branch"):
            one.attribute.add(name=name, ref_attr_name="given", type=5)
    network = functions(("f", [condition, *branches, node("Identity", "x", "y")]))
    given = branch(node("Identity", "raw", "inner")).graph.node[0].attribute[0].g
    attribute = helper.make_attribute("given", given)
    if default:
        network.functions[0].attribute_proto.append(attribute)
    else:
        network.functions[0].attribute.append("given")
        network.graph.node[0].attribute.append(attribute)
    return network


def sparse() -> Any:
    from onnx import helper, numpy_helper

    network = identity()
    values = numpy_helper.from_array(np.ones(1, "float32"), "huge")
    places = numpy_helper.from_array(np.zeros(1, "int64"), "huge_indices")
    network.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 40]))
    return network


def huge() -> Any:
    network = graph([node("Add", "raw added", "out")], tensors={"added": np.ones(1, "float32")})
    network.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]
    return network


def external(location: str, tensor: Any = None, **facts: int) -> Any:
    """A network that adds a tensor from a file."""
    network = graph([node("Add", "raw added", "out")], tensors={"added": np.ones(8, "float32")})
    tensor = network.graph.initializer[0] if tensor is None else tensor
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=str(value))
    return network


def external_attribute() -> Any:
    from onnx import numpy_helper

    tensor = numpy_helper.from_array(np.ones(8, "float32"))
    external("beside.data", tensor)
    return graph([node("Constant", "", "added", value=tensor), node("Add", "raw added", "out")])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "onnxruntime's own": (lambda: graph([node("EPContext", "raw", "out", **FOREIGN)]), "EPContext of com.microsoft"),
    "another library": (lambda: graph([node("Evil", "raw", "out", domain="evil")]), "Evil of evil"),
    "training": (lambda: graph([node("Adam", "raw", "out", domain="ai.onnx.preview.training")]), "Adam"),
    "in a branch": (lambda: branch(node("Evil", "raw", "inner", domain="evil")), "Evil of evil"),
    "in a function": (lambda: functions(("f", [node("Evil", "x", "y", domain="evil")])), "Evil of evil"),
    "control characters": (lambda: graph([node("E\x1b[2J", "raw", "out", domain="evil")]), r"E\\x1b\[2J of evil"),
    "a function of itself": (lambda: functions(("f", [node("f", "x", "y", domain="own")])), "without end"),
    "a bomb of functions": (bomb, "more than 100,000 operations"),
    "a function of itself in another spelling": (lambda: spelled("", "ai.onnx"), "without end"),
    "a function of itself in the first spelling": (lambda: spelled("ai.onnx", ""), "without end"),
    "a bomb in another spelling": (lambda: spelled("", "ai.onnx", name="Relu", levels=24), "more than 100,000"),
    "too many arguments": (
        lambda: functions(("f", [node("f2", "x x", "y", domain="own")]), ("f2", [node("Relu", "x", "y")])),
        "cannot be inlined",
    ),
    "an operator behind a function of another overload": (lambda: hidden(overload="x"), "EPContext of com.microsoft"),
    "an operator behind a function of another version": (lambda: hidden(version=17), "another version"),
    "a graph for a function": (repeated, "a graph as its argument"),
    "a graph as a default of a function": (lambda: repeated(default=True), "a graph as its argument"),
    "sparse": (sparse, "sparse tensors"),
    "impossible size": (huge, "impossible size"),
    "absolute": (lambda: external("/etc/passwd"), "no file name inside"),
    "up": (lambda: external("../secret.data"), "no file name inside"),
    "up from a folder": (lambda: external("folder/../../secret.data"), "no file name inside"),
    "an address": (lambda: external("*/_ORT_MEM_ADDR_/*", offset=1 << 40), "missing"),
    "no name": (lambda: external(""), "no file name inside"),
    "a link": (lambda: external("link.data"), "a link"),
    "missing": (lambda: external("missing.data"), "missing in the package"),
    "behind the end": (lambda: external("beside.data", offset=8), "does not lie in its file"),
    "before the start": (lambda: external("beside.data", offset=-8), "does not lie in its file"),
    "of another length": (lambda: external("beside.data", length=64), "does not lie in its file"),
    "in an attribute": (external_attribute, "an attribute of an operator names a file"),
}


def hostile_model(folder: Path, network: Any) -> Path:
    description = write_onnx_model(folder / "model", network, *simple_tensors())
    (folder / "model" / "beside.data").write_bytes(bytes(32))
    (folder / "secret.data").write_bytes(bytes(32))
    (folder / "model" / "link.data").symlink_to(folder / "secret.data")
    return description


@pytest.mark.parametrize("kind", REFUSED)
def test_networks_that_do_more_than_compute_are_refused(
    tmp_path: Path, image: Path, refused: Refused, kind: str
) -> None:
    build, message = REFUSED[kind]
    description = hostile_model(tmp_path, build())
    file = description.with_name("weights.onnx")
    with pytest.raises((NotVettedOnnx, ModelError), match=message):
        read_onnx(file, file.parent, sha256(file))
    assert refused("predict", description, image, "--trust-model-code") in (3, 4)


def test_graphs_within_graphs_end(tmp_path: Path) -> None:
    file = tmp_path / "deep.onnx"
    file.write_bytes(nested(16).SerializeToString())
    with pytest.raises((NotVettedOnnx, ModelError)):
        read_onnx(file, tmp_path, sha256(file))


@pytest.mark.parametrize("content", [b"", b"\x08\x09", b"\x00" * 64, b"ORTM" * 16, os.urandom(1000), b"\x0a" * 500])
def test_files_that_are_no_networks_are_refused(tmp_path: Path, image: Path, refused: Refused, content: bytes) -> None:
    assert refused("predict", hostile_model(tmp_path, content), image) == 4
    assert refused("validate", tmp_path / "model" / "rdf.yaml") == 4


def test_a_cut_or_changed_file_is_refused_or_computes(tmp_path: Path) -> None:
    whole = bytearray(
        graph([node("Add", "raw added", "out")], tensors={"added": np.ones(8, "float32")}).SerializeToString()
    )
    chance = random.Random(0)
    for number in range(300):
        content = bytearray(whole)
        if number % 2:
            content = content[: chance.randrange(len(whole))]
        for _ in range(chance.randrange(4)):
            if content:
                content[chance.randrange(len(content))] = chance.randrange(256)
        file = tmp_path / "weights.onnx"
        file.write_bytes(content)
        try:
            read_onnx(file, tmp_path, sha256(file))
        except (NotVettedOnnx, ModelError):
            continue


def test_a_file_with_another_hash_is_refused(tmp_path: Path, image: Path, refused: Refused) -> None:
    description = hostile_model(tmp_path, identity())
    description.with_name("weights.onnx").write_bytes(graph([node("Neg", "raw", "out")]).SerializeToString())
    assert refused("predict", description, image) == 4


def test_only_known_networks_and_data_run_where_the_administrator_says_so(
    tmp_path: Path, image: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = hostile_model(tmp_path, external("beside.data"))
    listed = tmp_path / "known.txt"
    monkeypatch.setenv(TRUST_VARIABLE, "known")
    monkeypatch.setenv(HASHES_VARIABLE, str(listed))
    listed.write_text("")
    assert refused("predict", description, image) == 3
    listed.write_text(sha256(description.with_name("weights.onnx")) + "\n")
    assert refused("predict", description, image) == 3


def test_external_data_in_a_zip_is_unpacked_if_the_description_names_it(
    tmp_path: Path, image: Path, refused: Refused
) -> None:
    description = write_onnx_model(tmp_path / "model", external("beside.data"), *simple_tensors())
    (tmp_path / "model" / "beside.data").write_bytes(bytes(32))
    assert refused("predict", zipped(description.parent, tmp_path / "model.zip"), image) == 4


def test_onnxruntime_computes_in_the_sandbox(tmp_path: Path, image: Path, needs_walls: None) -> None:
    data = {"source": "beside.data"}
    network = external("beside.data")
    del network.graph.initializer[0].dims[:]
    network.graph.initializer[0].dims.append(1)
    description = write_onnx_model(tmp_path / "model", network, *simple_tensors(), onnx={"external_data": data})
    (tmp_path / "model" / "beside.data").write_bytes(np.float32(7).tobytes())
    model = zipped(description.parent, tmp_path / "model.zip")
    command = [sys.executable, "-m", "bioimage_inference", "predict", model, image, "-o", tmp_path / "out", "--threads"]
    done = subprocess.run([*map(str, command), "2", "--debug"], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "Landlock" in done.stderr
    assert (np.load(tmp_path / "out" / "image_out.npy") == 7).all()
