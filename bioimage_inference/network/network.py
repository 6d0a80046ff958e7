"""The seam between the pipeline and whatever computes a tile: the protocol of a network, its errors, its comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ..array_types import Array
from ..errors import ModelError, OutOfMemoryError
from ..machine.sandbox import advice
from ..text import reason_of

Inputs = Sequence[Array | None]
"""The input tensors of a tile in the order of the description; ``None`` for an optional input that is absent."""

TOLERANCE = 1e-4
"""Largest difference between two ways to compute a network, as a part of each output's range, that we accept.

float32 sums in another order differ by 1e-6 of the range; a wrong operation differs by far more than 1e-4.
"""

NO_BFLOAT16 = "; in float32, because this CPU computes no bfloat16"
"""End of an engine's reason, where bfloat16 was asked for in vain."""

# Differences of up to four units in the last place of an output's largest value are rounding.
_ROUNDING = 4
# Words in the errors of torch's CPU allocator, oneDNN, C++ and OpenVINO for a lack of memory (torch 2.13, OpenVINO
# 2026.4). These errors have no type of their own.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "could not create a primitive", "could not execute a primitive"),
    "could not create a memory",
    *("bad_alloc", "Failed to allocate", "MPS backend out of memory"),
)


@dataclass(frozen=True)
class Engine:
    """The library that computes, and why it was chosen, in words for the user."""

    name: Literal["torch", "openvino", "onnxruntime"]
    reason: str


@dataclass(frozen=True)
class Dependence:
    """``operations`` depend on the whole tile; ``dtypes`` are the dtypes of the outputs, any float as float32."""

    operations: tuple[str, ...]
    dtypes: tuple["np.dtype[Any]", ...]


class Network(Protocol):
    """Maps the input tensors of a tile to its output tensors. Tests and callers may bring their own."""

    @property
    def engine(self) -> Engine:
        """The library that computed the latest tile."""
        ...

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile, or several along the batch axes. Arrays have the axes of the description.

        Raises :class:`OutOfMemoryError` if the tile does not fit into memory, :class:`ModelError` for other failures.
        """
        ...


class MeasuredNetwork(Network, Protocol):
    """A network that small trials can measure before tiles are chosen."""

    def tensor_memory(self, inputs: Inputs) -> int:
        """Return the peak memory of all tensors while a tile is computed, in bytes. Raises the errors of a call."""
        ...

    def dependence(self, small: Inputs, large: Inputs | None) -> Dependence:
        """Return which operations depend on the tile as a whole, from a small tile and perhaps a larger one.

        Raises the errors of a call.
        """
        ...


def memory_is_short(error: Exception) -> bool:
    """Return whether a library's error reports a lack of memory."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def too_large(inputs: Inputs, reason: str) -> OutOfMemoryError:
    """Return the error for a tile that does not fit into memory."""
    return OutOfMemoryError(
        f"A tile of {_shapes(inputs)} does not fit into memory ({reason}). Give more memory, or "
        "choose a smaller tile with --tile or --memory."
    )


def failed(inputs: Inputs, error: Exception) -> ModelError:
    """Return the error for a network that fails on a tile."""
    return ModelError(
        f"The network failed on an input of {_shapes(inputs)}: {reason_of(error, last_line=True)}. The description and "
        f"the weights may not belong together, or the network does not take this size.{advice(error)}"
    )


def _shapes(inputs: Inputs) -> str:
    return ", ".join("nothing" if array is None else "×".join(map(str, array.shape)) for array in inputs)


def difference(got: Sequence[Array], expected: Sequence[Array]) -> float:
    """Return the largest difference between two computations of the outputs, as a part of each output's own range.

    Rounding counts as 0; otherwise a constant output, whose range is 0, would never be the same. The difference is
    infinite if number, shapes, types, NaN or infinities differ.
    """
    if [(one.shape, one.dtype) for one in got] != [(one.shape, one.dtype) for one in expected]:
        return np.inf
    return max(map(_difference, got, expected), default=0.0)


def same(got: Sequence[Array], expected: Sequence[Array]) -> bool:
    """Return whether two computations may replace each other.

    Whole numbers must be equal, floating-point values within :data:`TOLERANCE` of their output's range.
    """
    found = difference(got, expected)
    whole = (pair for pair in zip(got, expected, strict=False) if pair[0].dtype.kind not in "fc")
    return found <= TOLERANCE and all(np.array_equal(*pair) for pair in whole)


def _difference(got: Array, expected: Array) -> float:
    alike = (got == expected) | (np.isnan(got) & np.isnan(expected))  # equal infinities cannot be subtracted
    if alike.all():
        return 0.0
    apart = np.zeros(got.shape)
    np.subtract(got, expected, dtype=np.float64, out=apart, where=~alike)
    largest = float(np.abs(np.where(np.isnan(apart), np.inf, apart)).max())
    known = expected[np.isfinite(expected)].astype(np.float64)
    if got.dtype.kind == "f" and largest <= _ROUNDING * np.spacing(np.abs(known).max(initial=0).astype(got.dtype)):
        return 0.0
    span = float(np.ptp(known)) if known.size else 0.0
    return largest / span if span > 0 else np.inf
