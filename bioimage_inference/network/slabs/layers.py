"""The operations of a network along the rows of a tensor: the rows of its inputs that each reads, and its computation.

A row holds all values at one position of the first spatial axis: a line of a 2-D tile, a plane of a 3-D tile. Tensors
have the axes b, c and the spatial axes. Every layer computes some of its rows with the same result as the operation on
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
    """An operation on the values with the numbers ``inputs``; an input of the network has no such numbers.

    ``shape`` and ``dtype`` belong to the result.
    """

    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def rows(self) -> int:
        """Number of rows of the result."""
        return self.shape[2]

    @property
    def row_bytes(self) -> int:
        """Memory of one row of the result in bytes."""
        return prod(self.shape) // self.rows * self.dtype.itemsize

    @property
    def pixels(self) -> int:
        """Number of pixels of the result; a pixel has all channels."""
        return prod(self.shape[2:])

    @property
    def cheap(self) -> bool:
        """Whether computing rows again is better than keeping them."""
        return True

    @property
    def reach(self) -> tuple[Any, ...]:
        """The settings that decide which pixels of its inputs a pixel of the result depends on."""
        return ()

    def reads(self, span: Span) -> Span:
        """Return the rows of every input that these rows of the result depend on. They may lie beyond the edges."""
        return span

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Return these rows, computed from the rows of the inputs that :meth:`reads` returns and that exist."""
        raise NotImplementedError


@dataclass(frozen=True)
class Pointwise(Layer):
    """Each row of the result depends on the same row of every input.

    ``into`` is the variant of ``call`` that writes its result into the tensor ``out``, if torch has one.
    """

    call: Callable[..., torch.Tensor]
    into: Callable[..., torch.Tensor] | None = None

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Call the operation with the rows of all inputs."""
        del span
        return self.call(*parts)

    def fill(self, out: torch.Tensor, parts: Sequence[torch.Tensor]) -> None:
        """Write rows of the result, computed from the same rows of the inputs, into a tensor."""
        if self.into is not None:
            self.into(*parts, out=out)
        else:
            out.copy_(self.call(*parts))


@dataclass(frozen=True)
class Window(Layer):
    """Windows of ``size`` pixels along each spatial axis, ``dilation`` apart, that advance by ``stride``.

    ``padding`` is added on both sides. ``length`` is the number of rows of the input.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    length: int

    @property
    def cheap(self) -> bool:
        """No: a convolution takes long, and a pool has few rows to keep."""
        return False

    @property
    def reach(self) -> tuple[Any, ...]:
        """Size, stride, padding and dilation of the window. A pool over the whole tile has another size in another."""
        return self.size, self.stride, self.padding, self.dilation

    def reads(self, span: Span) -> Span:
        """Return the rows from the first row of the first window to the last row of the last window."""
        first = span[0] * self.stride[0] - self.padding[0]
        last = (span[1] - 1) * self.stride[0] - self.padding[0] + self.dilation[0] * (self.size[0] - 1)
        return first, last + 1

    def _padded(self, part: torch.Tensor, span: Span, value: float) -> torch.Tensor:
        """Return the rows of :meth:`reads`, with a value in the rows beyond the edges."""
        start, stop = self.reads(span)
        beyond = max(0, -start), max(0, stop - self.length)
        if beyond == (0, 0):
            return part
        return functional.pad(part, (0, 0) * (len(self.size) - 1) + beyond, value=value)


@dataclass(frozen=True)
class Convolution(Window):
    """A convolution with zeros as padding."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    groups: int

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Convolve by oneDNN, as torch does for the whole tensor. For few rows torch takes a slower kernel."""
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
    """The largest value of each window, or the mean of each window without padding along the rows."""

    call: Callable[..., torch.Tensor]

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Pool the windows. The padding is lower than any value."""
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
        """No: a convolution takes long."""
        return False

    @property
    def reach(self) -> tuple[Any, ...]:
        """Size of the weight, stride, padding and dilation."""
        return tuple(self.weight.shape), self.stride, self.padding, self.dilation

    def reads(self, span: Span) -> Span:
        """Return all rows that contribute to these rows, and at least one row."""
        begin, end = span[0] + self.padding[0], span[1] - 1 + self.padding[0]
        reach = self.dilation[0] * (self.weight.shape[2] - 1)
        # some rows of the result may get no contribution
        first = min(-((reach - begin) // self.stride[0]), begin // self.stride[0], self.length - 1)
        return first, max(first, end // self.stride[0]) + 1

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Compute all rows that the rows of the input contribute to, and return these rows of them."""
        first = max(0, self.reads(span)[0]) * self.stride[0] - self.padding[0]
        given = (parts[0].shape[2] - 1) * self.stride[0] + self.dilation[0] * (self.weight.shape[2] - 1) + 1
        missing = max(0, span[1] - first - given)  # rows of the bias alone
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
    """Nearest or linear interpolation; ``length`` is the number of rows of the input.

    ``call`` takes a tensor and the spatial sizes of the result. ``scales`` has the scale along every spatial axis.
    """

    call: Callable[..., torch.Tensor]
    linear: bool
    scales: tuple[int, ...]
    length: int

    @property
    def scale(self) -> int:
        """Scale along the rows."""
        return self.scales[0]

    @property
    def reach(self) -> tuple[Any, ...]:
        """The scales: a result of fixed size has another scale in another tile."""
        return self.scales

    def reads(self, span: Span) -> Span:
        """Return the rows at the position of these rows, or on either side of it (without ``align_corners``)."""
        if not self.linear:
            return span[0] // self.scale, (span[1] - 1) // self.scale + 1
        first, last = ((row + 0.5) / self.scale - 0.5 for row in (span[0], span[1] - 1))
        return floor(first), floor(last) + 2

    def compute(self, parts: Sequence[torch.Tensor], span: Span) -> torch.Tensor:
        """Interpolate all rows of the input, and return these rows of the result."""
        first = max(0, self.reads(span)[0]) * self.scale
        result = self.call(parts[0], [parts[0].shape[2] * self.scale, *self.shape[3:]])
        return result.narrow(2, span[0] - first, span[1] - span[0])


@dataclass(frozen=True)
class Normalisation(Layer):
    """Group or instance normalisation: mean 0 and variance 1 in each channel group, then ``weight`` and ``bias``."""

    groups: int
    weight: torch.Tensor | None
    bias: torch.Tensor | None
    eps: float

    def normalise(self, part: torch.Tensor, moments: ChannelMoments) -> torch.Tensor:
        """Normalise some rows with the moments of all rows."""
        mean, variance = moments.of_groups(self.groups)
        mean, variance = mean.to(part.dtype), variance.to(part.dtype)
        return functional.batch_norm(part, mean, variance, self.weight, self.bias, eps=self.eps)
