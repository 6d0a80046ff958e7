"""Networks with containers, attributes, methods and results that need a class of their own."""
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Record(NamedTuple):
    """A result with named parts."""

    mask: Tensor
    score: Tensor


class RecordNetwork(nn.Module):
    """Returns a named tuple."""

    def forward(self, x: Tensor) -> Record:
        """A mask and its score."""
        result = Record(x > 0.5, x.mean())
        return Record(mask=result.mask, score=result.score * 2)


class Scale:
    """A class that TorchScript compiles."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def of(self, x: Tensor) -> Tensor:
        """The scaled values."""
        return x * self.factor


class ObjectNetwork(nn.Module):
    """Makes an object of a class of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """The scaled image."""
        return Scale(2.0).of(x)


class ContainerNetwork(nn.Module):
    """Lists and dictionaries of layers; results in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({"first": nn.Conv2d(4, 4, 1), "second": nn.ReLU()})
        self.steps = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid()])
        self.weights = nn.ParameterList([nn.Parameter(torch.rand(4, 1, 1)) for _ in range(2)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The result of every step."""
        results: dict[str, Tensor] = {}
        for name, block in self.blocks.items():
            x = block(x)
            results[name] = x
        for step in self.steps:
            x = step(x)
        results["step"] = self.steps[0](x)
        for weight in self.weights:
            x = x * weight
        results["last"] = x
        return results


class AttributeNetwork(nn.Module):
    """Attributes of every type, some of which change."""

    shape: tuple[int, int]
    kept: dict[str, Tensor]
    last: Tensor | None
    __constants__ = ("levels",)

    def __init__(self) -> None:
        super().__init__()
        self.levels = [1, 2]
        self.scales = [0.5, 1.5]
        self.far = float("-inf")
        self.none = None
        self.flags = [True, False]
        self.name = "µ-network"
        self.shape = (2, 3)
        self.names = {"a": 1}
        self.kept = {"x": torch.ones(2)}
        self.tensors = [torch.ones(3), torch.zeros(3)]
        self.last = None
        self.big = 1 << 40
        self.negative = -7
        self.mapping = {1: [1, 2], 2: [3]}
        self.texts = ["a", "b"]
        self.pairs = [(1, 2.5), (3, 4.5)]
        self.layer = nn.utils.fusion.fuse_conv_bn_eval(nn.Conv2d(4, 4, 1).eval(), nn.BatchNorm2d(4).eval())

    def forward(self, x: Tensor) -> tuple[Tensor, str, int]:
        """A value that needs every attribute."""
        total = self.shape[0] + self.names["a"] + len(self.kept) + len(self.tensors) + self.negative + len(self.texts)
        self.last = x.mean()
        for level in self.levels:
            x = x + level
        x = x.clamp(min=self.far) * self.scales[0] + self.kept["x"].sum() + self.pairs[0][1]
        if self.flags[0] and self.none is None:
            x = self._scale(self.layer(x), total)
        return x, self.name, self.big + self.mapping[1][0]

    def _scale(self, x: Tensor, by: int, offset: float = 0.5) -> Tensor:
        return x * by + offset


class OverloadNetwork(nn.Module):
    """A second method that the file keeps, and an ignored one that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    @torch.jit.export
    def features(self, x: Tensor, many: bool = False) -> list[Tensor]:
        """Features on one or two levels."""
        return [self.layer(x), F.max_pool2d(x, 2)] if many else [self.layer(x)]

    @torch.jit.unused
    def plot(self, x: Tensor) -> Tensor:
        """Nothing that a file can keep."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        """All features."""
        if x.size(1) == 99:
            return [self.plot(x)]
        return self.features(x, many=True)


class TokenNetwork(nn.Module):
    """Embeddings of words, positions, and a sum of them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 8, padding_idx=0)
        self.position = nn.Parameter(torch.zeros(1, 4, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Words with positions."""
        return self.embedding(x) + self.position[:, : x.shape[1]]


class FrozenNetwork(nn.Module):
    """A small network whose weights tools fold into constants."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.register_buffer("grid", torch.arange(14.0))

    def forward(self, x: Tensor) -> Tensor:
        """The layers' result with a gradient added."""
        return self.layers(x) + self.grid + torch.tensor([0.5])
