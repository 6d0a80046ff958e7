"""The operations of a network along the rows of a tensor: which rows of its inputs each one reads, and how it computes.

A row is all that lies at one place along the first spatial axis: a line of a 2-D tile, a plane of a 3-D one. Tensors
have the axes b, c and the spatial ones. Every layer gives for some of its rows what the operation gives there for
the whole tensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, prod
from typing import Any

import torch
import torch.nn.functional as functional

from ..cpu_kernels import ChannelMoments

Span = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """An operation on the values with the numbers ``inputs``, or an input of the network, which has none.

    ``shape`` and ``dtype`` are those of the result.
    """

    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def rows(self) -> int:
        """How many rows the result has."""
        return self.shape[2]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the result."""
        return prod(self.shape) // self.rows * self.dtype.itemsize

    @property
    def pixels(self) -> int:
        """Places in the result, each with all channels."""
        return prod(self.shape[2:])

    @property
    def cheap(self) -> bool:
        """Whether rows are rather computed again than kept."""
        return True

    def reads(self, span: Span) -> Span:
        """The rows of every input that the given rows of the result depend on; they may lie beyond the edges."""
        return span

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """The given rows, from those of the inputs that :meth:`reads` names and that there are."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pointwise(Layer):
    """Each row of the result from the same row of every input.

    ``into`` does what ``call`` does, and puts the result into the tensor ``out``, where torch has that.
    """

    call: Callable[..., torch.Tensor]
    into: Callable[..., torch.Tensor] | None = None

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """One call with all parts, which have the rows of the result."""
        del span
        return self.call(*parts)

    def fill(self, out: torch.Tensor, parts: Sequence[torch.Tensor]) -> None:
        """Put rows of the result, from the same rows of the inputs, into a tensor."""
        if self.into is not None:
            self.into(*parts, out=out)
        else:
            out.copy_(self.call(*parts))


@dataclass(frozen=True)
class Window(Layer):
    """Along each spatial axis windows of ``size`` places, ``dilation`` apart, that advance by ``stride``.

    ``padding`` is what is added on both sides; ``length`` is the number of rows of the input.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    length: int

    @property
    def cheap(self) -> bool:
        """Not for a convolution; a pool has fewer rows to keep."""
        return False

    def reads(self, span: Span) -> Span:
        """From the first place of the first window to the last place of the last."""
        first = span[0] * self.stride[0] - self.padding[0]
        last = (span[1] - 1) * self.stride[0] - self.padding[0] + self.dilation[0] * (self.size[0] - 1)
        return first, last + 1

    def _padded(self, part: torch.Tensor, span: Span, value: float) -> torch.Tensor:
        """The rows that :meth:`reads` names, those beyond the edges filled with a value."""
        start, stop = self.reads(span)
        beyond = max(0, -start), max(0, stop - self.length)
        if beyond == (0, 0):
            return part
        return functional.pad(part, (0, 0) * (len(self.size) - 1) + beyond, value=value)


@dataclass(frozen=True)
class Convolution(Window):
    """A convolution; the padding is zeros."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    groups: int

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """By oneDNN, as the whole tensor would be: torch takes something slower for tensors of few rows."""
        part, padding = self._padded(parts[0], span, 0.0), [0, *self.padding[1:]]
        if torch.backends.mkldnn.is_available() and part.dtype == torch.float32:
            oned: Any = torch.mkldnn_convolution
            result: torch.Tensor = oned(part, self.weight, self.bias, padding, self.stride, self.dilation, self.groups)
            return result
        return torch.convolution(
            part,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            False,  # not transposed
            [0] * len(padding),
            self.groups,
        )


@dataclass(frozen=True)
class Pooling(Window):
    """The largest value of each window, or the mean of windows without padding along the rows."""

    call: Callable[..., torch.Tensor]

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """The padding is lower than any value."""
        return self.call(self._padded(parts[0], span, -torch.inf), (0, *self.padding[1:]))


@dataclass(frozen=True)
class TransposedConvolution(Layer):
    """A transposed convolution of an input of ``length`` rows."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    extra: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    length: int

    @property
    def cheap(self) -> bool:
        """It is a convolution."""
        return False

    def reads(self, span: Span) -> Span:
        """All rows of which one of the given ones gets a share, and at least one."""
        begin, end = span[0] + self.padding[0], span[1] - 1 + self.padding[0]
        reach = self.dilation[0] * (self.weight.shape[2] - 1)
        # between the shares of two rows there may be rows without any
        first = min(-((reach - begin) // self.stride[0]), begin // self.stride[0], self.length - 1)
        return first, max(first, end // self.stride[0]) + 1

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """All that the rows of the input give, and of that the rows wanted."""
        first = max(0, self.reads(span)[0]) * self.stride[0] - self.padding[0]
        given = (parts[0].shape[2] - 1) * self.stride[0] + self.dilation[0] * (self.weight.shape[2] - 1) + 1
        missing = max(0, span[1] - first - given)  # rows that have the bias alone
        result = torch.convolution(
            parts[0],
            self.weight,
            self.bias,
            self.stride,
            [0, *self.padding[1:]],
            self.dilation,
            True,  # transposed
            [missing, *self.extra[1:]],
            self.groups,
        )
        return result.narrow(2, span[0] - first, span[1] - span[0])


@dataclass(frozen=True)
class Upsampling(Layer):
    """Nearest or linear interpolation to ``scale`` times the rows; ``length`` is the number of rows of the input.

    ``call`` takes a tensor and the spatial sizes of the result.
    """

    call: Callable[..., torch.Tensor]
    linear: bool
    scale: int
    length: int

    def reads(self, span: Span) -> Span:
        """The rows that lie at the given ones, or on either side of them (without ``align_corners``)."""
        if not self.linear:
            return span[0] // self.scale, (span[1] - 1) // self.scale + 1
        first, last = ((row + 0.5) / self.scale - 0.5 for row in (span[0], span[1] - 1))
        return floor(first), floor(last) + 2

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """All that lies at the rows of the input, and of that the rows wanted."""
        first = max(0, self.reads(span)[0]) * self.scale
        result = self.call(parts[0], [parts[0].shape[2] * self.scale, *self.shape[3:]])
        return result.narrow(2, span[0] - first, span[1] - span[0])


@dataclass(frozen=True)
class Normalisation(Layer):
    """Group or instance normalisation: groups of channels to mean 0 and variance 1, then ``weight`` and ``bias``."""

    groups: int
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    eps: float

    def normalise(self, part: torch.Tensor, moments: ChannelMoments) -> torch.Tensor:
        """Some rows, from the moments of all of them."""
        mean, variance = moments.of_groups(self.groups)
        mean, variance = mean.to(part.dtype), variance.to(part.dtype)
        return functional.batch_norm(part, mean, variance, self.weight, self.bias, eps=self.eps)
