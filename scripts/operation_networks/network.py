"""The class of all networks in this folder, and the comparison of results."""
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network with inputs that it accepts. ``build`` makes it anew, in evaluation mode."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    scripted: bool = True
    traced: bool = True


def same(first: Any, second: Any) -> bool:
    """Whether two results are equal to the last bit; two values that are not numbers are equal."""
    if isinstance(first, Tensor):
        if not isinstance(second, Tensor) or first.dtype != second.dtype or first.shape != second.shape:
            return False
        left, right = first.detach().contiguous().flatten(), second.detach().contiguous().flatten()
        return torch.equal(left.view(torch.uint8), right.view(torch.uint8)) if left.numel() else True
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return bool(first == second) or (first != first and second != second)


def random(*size: int) -> Tensor:
    """Random numbers, the same each time."""
    return torch.rand(*size, generator=torch.Generator().manual_seed(0))


class Computation(nn.Module):
    """A network without weights that applies one function."""

    def __init__(self, function: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of the function."""
        return self.function(x)
