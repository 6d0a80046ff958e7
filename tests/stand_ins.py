"""Networks that stand in for those of published models: they take and return tensors as a description declares them.

The descriptions are read here a second time and in a simpler way, straight from the YAML, to check the program's own
reading. A network is Python source, so that it serves as TorchScript and as the architecture of a state dict.
"""

import copy
import importlib.util
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from tests.models import sha256

CHANNELS = 16
"""Longer lists of channels are shortened to this, for speed."""

_TYPES = {"batch": "b", "channel": "c", "time": "t"}


@dataclass(frozen=True)
class Size:
    """``fixed``; ``minimum`` and ``step``; or that of axis ``letter`` of ``tensor`` times ``scale`` plus ``offset``."""

    fixed: int | None = None
    minimum: int = 1
    step: int = 0
    tensor: str | None = None
    letter: str = ""
    scale: Fraction = Fraction(1)
    offset: int = 0


@dataclass(frozen=True)
class Tensor:
    """A declared tensor: ``letters`` of its axes and a size for each."""

    name: str
    letters: str
    sizes: tuple[Size, ...]
    dtype: str
    optional: bool = False

    def shape(self, larger: int = 0) -> tuple[int, ...]:
        """A legal shape, ``larger`` steps above the minimum."""
        return tuple(size.fixed or size.minimum + larger * size.step for size in self.sizes)


@dataclass(frozen=True)
class Declared:
    """All tensors of a description."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def output_shape(self, output: Tensor, inputs: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
        """The declared shape of an output for given shapes of the inputs."""
        return tuple(self._extent(size, inputs) for size in output.sizes)

    def _extent(self, size: Size, inputs: dict[str, tuple[int, ...]]) -> int:
        if size.tensor is None:
            return size.fixed or size.minimum
        tensor = next(one for one in self.inputs if one.name == size.tensor)
        reference = inputs[size.tensor][tensor.letters.index(size.letter)]
        return floor(reference * size.scale) + size.offset


def shortened(content: dict[str, Any]) -> dict[str, Any]:
    """A copy of a description whose long lists of channels are cut."""
    content = copy.deepcopy(content)
    for tensor in (*content["inputs"], *content["outputs"]):
        for axis in tensor["axes"] if isinstance(tensor["axes"], list) else ():
            if axis["type"] == "channel":
                axis["channel_names"] = axis["channel_names"][:CHANNELS]
    return content


def declared(content: dict[str, Any]) -> Declared:
    """The tensors of a description of format 0.3, 0.4 or 0.5."""
    read = _tensor_v0_5 if str(content["format_version"]).startswith("0.5") else _tensor_v0_4
    scales = {
        (tensor.get("id", "input"), axis.get("id", "x")): axis.get("scale", 1.0)
        for tensor in content["inputs"]
        if isinstance(tensor["axes"], list)
        for axis in tensor["axes"]
    }
    inputs = [read(tensor, "input", scales) for tensor in content["inputs"]]
    outputs = [read(tensor, "output", scales) for tensor in content["outputs"]]
    first = _held(inputs[0], outputs)
    return Declared((first, *inputs[1:]), tuple(_following(output, first) for output in outputs))


def _held(first: Tensor, outputs: list[Tensor]) -> Tensor:
    """Where an output is as long as the shortest input allowed, whatever its size, only that size is certain."""
    plain = {(letter, size.fixed) for out in outputs for letter, size in zip(out.letters, out.sizes, strict=True)}
    sizes = [
        Size(fixed=size.minimum) if size.step and size.minimum > 1 and (letter, size.minimum) in plain else size
        for letter, size in zip(first.letters, first.sizes, strict=True)
    ]
    return replace(first, sizes=tuple(sizes))


def _following(output: Tensor, first: Tensor) -> Tensor:
    """Plain sizes that are the input's, or a multiple or a part of it, mean a change of resolution."""
    own = dict(zip(first.letters, first.sizes, strict=True))
    sizes = []
    for letter, size in zip(output.letters, output.sizes, strict=True):
        reference = own[letter].fixed if letter in own and letter in "zyx" else None
        ratio = Fraction(size.fixed, reference) if size.fixed and reference else Fraction(0)
        if ratio > 0 and 1 in (ratio.numerator, ratio.denominator):
            size = Size(tensor=first.name, letter=letter, scale=ratio)
        sizes.append(size)
    return replace(output, sizes=tuple(sizes))


def _tensor_v0_4(tensor: dict[str, Any], kind: str, scales: dict[Any, float]) -> Tensor:
    del scales
    shape, letters = tensor["shape"], tensor["axes"]
    reference = shape.get("reference_tensor", shape.get("reference_input")) if isinstance(shape, dict) else None
    sizes = []
    for number, letter in enumerate(letters):
        if isinstance(shape, list):
            sizes.append(Size(fixed=shape[number]))
        elif reference is None:
            sizes.append(Size(minimum=shape["min"][number], step=shape["step"][number]))
        elif not shape["scale"][number]:
            sizes.append(Size(fixed=int(2 * shape["offset"][number])))
        else:
            offset = int(2 * shape["offset"][number])
            sizes.append(Size(tensor=reference, letter=letter, scale=Fraction(shape["scale"][number]), offset=offset))
    # a network of format 0.4 is given float32, whatever its inputs declare
    dtype = "float32" if kind == "input" else tensor["data_type"]
    return Tensor(tensor["name"], letters, tuple(sizes), dtype)


def _tensor_v0_5(tensor: dict[str, Any], kind: str, scales: dict[Any, float]) -> Tensor:
    letters, sizes = "", []
    for axis in tensor["axes"]:
        name, size = axis.get("id", "x"), axis.get("size")
        lists = "ip" if axis["type"] == "index" else "ic"
        own = name if axis["type"] == "space" and name in ("x", "y", "z") else _TYPES.get(axis["type"])
        letters += own or next(letter for letter in lists if letter not in letters)
        if axis["type"] == "channel":
            sizes.append(Size(fixed=len(axis["channel_names"])))
        elif size is None or isinstance(size, int):
            sizes.append(Size(fixed=size or 1))
        elif "tensor_id" in size:
            scale = Fraction(scales[size["tensor_id"], size["axis_id"]] / axis.get("scale", 1.0))
            sizes.append(Size(None, 1, 0, size["tensor_id"], size["axis_id"], scale, size.get("offset", 0)))
        else:  # a list that only the data give a length is 3 long here
            sizes.append(Size(minimum=size["min"], step=size["step"]) if "step" in size else Size(fixed=3))
    data = tensor.get("data") or {}
    return Tensor(
        tensor.get("id", kind), letters, tuple(sizes), data.get("type", "float32"), tensor.get("optional", False)
    )


_HELPERS = '''
from typing import List, Optional, Tuple

import torch


def check(x: torch.Tensor, dtype: torch.dtype, minima: List[int], steps: List[int], name: str) -> None:
    assert x.dtype == dtype, "input " + name + " has the wrong dtype"
    assert x.dim() == len(minima), "input " + name + " has the wrong number of axes"
    for number, minimum in enumerate(minima):
        more = x.size(number) - minimum
        legal = more == 0 if steps[number] == 0 else more >= 0 and more % steps[number] == 0
        assert legal, "input " + name + " has no legal size along axis " + str(number)


def made_of(
    x: torch.Tensor, dropped: List[int], order: List[int], new: List[int], sizes: List[int], scales: List[float]
):
    """Drop axes of x, put the others in order, add new ones; pixel k of an axis is then pixel k / scale of x."""
    for axis in dropped:
        x = x.select(axis, 0)
    x = x.permute(order)
    for axis in new:
        x = x.unsqueeze(axis)
    for axis, size in enumerate(sizes):
        places = (torch.arange(size, dtype=torch.float64) / scales[axis]).floor().long()
        x = x.index_select(axis, places % x.size(axis))
    return x


class StandIn(torch.nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))
'''


def source(tensors: Declared) -> str:
    """A network that checks its inputs and makes every output of the first one."""
    names = [f"x{number}" for number in range(len(tensors.inputs))]
    arguments = [
        f"{name}: Optional[torch.Tensor] = None" if tensor.optional else f"{name}: torch.Tensor"
        for name, tensor in zip(names, tensors.inputs, strict=True)
    ]
    outputs = ", ".join("torch.Tensor" for _ in tensors.outputs)
    result = outputs if len(tensors.outputs) == 1 else f"Tuple[{outputs}]"
    lines = [f"    def forward(self, {', '.join(arguments)}) -> {result}:"]
    for name, tensor in zip(names, tensors.inputs, strict=True):
        minima = [size.fixed or size.minimum for size in tensor.sizes]
        steps = [size.step for size in tensor.sizes]
        check = f"check({name}, torch.{tensor.dtype}, {minima}, {steps}, {tensor.name!r})"
        lines.append(f"        if {name} is not None:\n            {check}" if tensor.optional else f"        {check}")
    made = []
    for output in tensors.outputs:
        moves = ", ".join(map(str, _moves(tensors.inputs[0].letters, output.letters)))
        sizes = ", ".join(_size_expression(size, tensors) for size in output.sizes)
        scales = _scales(output, tensors.inputs[0])
        made.append(f"made_of(x0 * self.one.to(x0.dtype), {moves}, [{sizes}], {scales}).to(torch.{output.dtype})")
    lines.append(f"        return {', '.join(made)}")
    return _HELPERS + "\n" + "\n".join(lines) + "\n"


def _moves(letters: str, wanted: str) -> tuple[list[int], list[int], list[int]]:
    """Axes to drop (the last first), the order of the others, and the places of new ones."""
    kept = [letter for letter in letters if letter in wanted]
    dropped = [number for number, letter in enumerate(letters) if letter not in wanted]
    order = [kept.index(letter) for letter in wanted if letter in kept]
    return dropped[::-1], order, [number for number, letter in enumerate(wanted) if letter not in kept]


def _size_expression(size: Size, tensors: Declared) -> str:
    if size.tensor is None:
        return str(size.fixed or size.minimum)
    number = next(number for number, tensor in enumerate(tensors.inputs) if tensor.name == size.tensor)
    axis = tensors.inputs[number].letters.index(size.letter)
    return f"x{number}.size({axis}) * {size.scale.numerator} // {size.scale.denominator} + {size.offset}"


def _scales(output: Tensor, first: Tensor) -> list[float]:
    """How much finer the axes of an output are than those of the first input; plain sizes are stretched over it."""
    own = {letter: size for letter, size in zip(first.letters, first.sizes, strict=True) if letter in "zyx"}
    return [
        size.fixed / (own[letter].fixed or own[letter].minimum) if size.fixed and letter in own else float(size.scale)
        for letter, size in zip(output.letters, output.sizes, strict=True)
    ]


def pixel_scales(output: Tensor, first: Tensor) -> dict[str, float]:
    """How much finer the pixels of an output are than those of the first input, along axes that follow it."""
    sizes = zip(output.letters, output.sizes, strict=True)
    return {letter: float(size.scale) for letter, size in sizes if size.tensor == first.name and letter in "zyx"}


def expected(first: NDArray[Any], tensors: Declared, output: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
    """The output of ``shape`` that the stand-in makes of its first input."""
    dropped, order, new = _moves(tensors.inputs[0].letters, output.letters)
    for axis in dropped:
        first = first.take(0, axis)
    first = np.expand_dims(first.transpose(order), new)
    for axis, (size, scale) in enumerate(zip(shape, _scales(output, tensors.inputs[0]), strict=True)):
        places = np.floor(np.arange(size) / scale).astype(int)
        first = first.take(places % first.shape[axis], axis)
    return first


def write_package(content: dict[str, Any], folder: Path) -> str | None:
    """A package with a stand-in: TorchScript where the description has that, else a state dict and its architecture.

    All else stays as it was. Returns the SHA-256 of the architecture, where there is one.
    """
    folder.mkdir()
    code = folder / "stand_in.py"
    code.write_text(source(declared(content)))
    weights = dict(content["weights"])
    scripted = [key for key in ("torchscript", "pytorch_script") if key in weights]
    if scripted:
        compiled: Any = torch.jit.script(network(code))
        compiled.save(folder / "stand_in.pt")
    else:
        torch.save(network(code).state_dict(), folder / "stand_in.pt")
    key = scripted[0] if scripted else "pytorch_state_dict"
    weights[key] = {**weights[key], "source": "stand_in.pt", "sha256": sha256(folder / "stand_in.pt")}
    if not scripted:
        weights[key] |= _architecture(weights[key], sha256(code))
    (folder / "rdf.yaml").write_text(yaml.safe_dump({**content, "weights": weights}, sort_keys=False))
    return None if scripted else sha256(code)


def _architecture(entry: dict[str, Any], code_sha256: str) -> dict[str, Any]:
    """The fields of a weights entry that name the architecture, in the way of its format."""
    described = entry["architecture"]
    if isinstance(described, str):
        return {"architecture": "stand_in.py:StandIn", "architecture_sha256": code_sha256}
    kept = {key: value for key, value in described.items() if key == "kwargs"}
    return {"architecture": kept | {"source": "stand_in.py", "sha256": code_sha256, "callable": "StandIn"}}


def network(code: Path) -> torch.nn.Module:
    """The network of such a file."""
    spec = importlib.util.spec_from_file_location("stand_in", code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: torch.nn.Module = module.StandIn()
    return built
