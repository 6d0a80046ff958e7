"""Kernels that give the same values with any number of CPU threads, in place of the kernels that torch chooses.

Two choices of torch depend on the number of threads. A 1×1 convolution of fewer than 16 samples runs on oneDNN, but
not with one thread (``ConvParams::use_mkldnn`` in ``aten/src/ATen/native/Convolution.cpp``). Group normalisation of
channels-last tensors adds up partial sums by thread, in float32 (``GroupNormKernelImplChannelsLast`` in
``aten/src/ATen/native/cpu/group_norm_kernel.cpp``), which also loses digits: 2e-3 of 32×96×128×128 values. So does
batch normalisation by the values of the batch: 2e-4 of 16×64×128×128.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as functional

from .torch_operations import Operation, OperationMode

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Memory formats in which the channels of a pixel lie together, by the number of axes of the tensor."""

# Values added up in float32 before their sum is added up in float64. Sums of 256 values of a U-Net lose no more than
# the result's own rounding: tests/unit/test_cpu_kernels.py compares with float64.
_SUMMED = 256
_aten: Any = torch.ops.aten


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the axes b, c and two or three spatial axes with the channels of a pixel together.

    All layouts of a single channel are the same, and torch takes it for one in planes. Then the first convolution of a
    grey image returns planes, which the second one copies: together they took twice as long, 5 % of a U-Net's time (AMD
    EPYC, torch 2.13). Strides of channels that lie together decide it.
    """
    tensor = tensor.contiguous(memory_format=FORMATS[tensor.dim()])
    if tensor.shape[1] > 1:
        return tensor
    spatial = tensor.shape[2:]
    steps = [prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    return tensor.as_strided(tensor.shape, (prod(spatial), 1, *steps))


def prepare_matrix_products() -> None:
    """Let oneDNN generate the matrix products that some convolutions are made of, while there is memory.

    It does so once in a process. If memory is short then, all these convolutions fail from that time on, also when
    there is memory again (oneDNN 3.12). Takes 10–30 ms with AVX2, which runs convolutions of few channels so, and
    less than 2 ms with AVX-512 (Intel Xeon, torch 2.13).
    """
    functional.conv2d(torch.zeros(1, 1, 9, 9), torch.zeros(8, 1, 9, 9), padding=4)


def computes_bfloat16() -> bool:
    """Return whether oneDNN computes bfloat16 on this CPU. Otherwise it takes seven times as long as float32.

    Torch 2.10 has no public function for this.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class ChannelMoments:
    """Mean and variance of each channel of one sample, in float64, added up from some rows at a time.

    Partial results are combined after Chan, Golub and LeVeque (1983, The American Statistician 37, 242).
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, rows: torch.Tensor) -> None:
        """Take more rows, a tensor of the axes b (one sample), c and the spatial axes."""
        values = rows.movedim(1, -1).reshape(-1, rows.shape[1])
        count = len(values)
        mean = _sum(values) / count
        rounded = mean.to(values.dtype)
        squares = _sum((values - rounded).square_()) - count * (mean - rounded) ** 2
        if self._count:
            total, apart = self._count + count, mean - self._mean
            squares = self._squares + squares + apart**2 * (self._count * count / total)
            mean = self._mean + apart * (count / total)
        self._count, self._mean, self._squares = self._count + count, mean, squares

    def of_groups(self, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return for each channel the mean and the variance of the group that it belongs to."""
        channels = len(self._mean)
        means, variances = (one.reshape(groups, -1) for one in (self._mean, self._squares / self._count))
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean) ** 2).mean(1, keepdim=True)
        repeats = channels // groups
        return mean.expand(-1, repeats).reshape(-1), variance.expand(-1, repeats).reshape(-1)


def _sum(values: torch.Tensor) -> torch.Tensor:
    """Return the sum along the first of two axes in float64.

    A matrix product adds up blocks of values in float32, several times faster than ``sum`` in float64.
    """
    whole = len(values) // _SUMMED * _SUMMED
    parts = values.new_ones(_SUMMED) @ values[:whole].reshape(-1, _SUMMED, values.shape[1])
    return parts.sum(0, dtype=torch.float64) + values[whole:].sum(0, dtype=torch.float64)


class SameForAnyThreads(OperationMode):
    """A context in which convolutions run on oneDNN and normalisations of channels-last tensors sum in float64.

    Both concern float32 on a CPU; torch's own kernels run all other operations. Dispatch takes about 15 µs for each
    operation: 0.7 ms of the 90 ms that a U-Net of 45 operations takes for 512×512 pixels (2 cores, torch 2.13).
    """

    def __init__(self) -> None:
        super().__init__()
        self._raised: Exception | None = None

    def operation(self, function: Operation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run one operation."""
        try:
            if function in _COMPOSITE:  # in inference mode these arrive whole; their parts come back here
                with self:
                    return function.decompose(*args, **kwargs)  # type: ignore[attr-defined]
            return _KERNELS.get(function, function)(*args, **kwargs)
        except Exception as error:
            self._raised = error
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Raise the operation's own error: TorchScript wraps it into another one."""
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        raised, self._raised = self._raised, None  # an error holds the tensors of all functions that it passed
        if raised is not None and isinstance(error, RuntimeError) and error is not raised:
            raise raised from None


def _convolution(
    tensor: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    *settings: bool,
) -> torch.Tensor:
    """Run ``aten::convolution``, or ``aten::_convolution``, which has four more ``settings`` for cuDNN."""
    if not transposed and _for_onednn(tensor, weight, bias):
        onednn: Any = torch.mkldnn_convolution
        result: torch.Tensor = onednn(tensor, weight, bias, padding, stride, dilation, groups)
        return result
    usual = _aten._convolution.default if settings else _aten.convolution.default
    own: torch.Tensor = usual(
        tensor, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *settings
    )
    return own


def _for_onednn(tensor: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    given = [tensor, weight] if bias is None else [tensor, weight, bias]
    spatial = tensor.dim() in FORMATS and tensor.numel() > 0
    return spatial and all(map(_is_plain, given)) and torch.backends.mkldnn.is_available()


def _group_norm(
    tensor: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    samples: int,
    channels: int,
    places: int,
    groups: int,
    eps: float,
) -> tuple[torch.Tensor, ...]:
    """Run ``aten::native_group_norm``.

    Return the result, and mean and reciprocal standard deviation of each group with the axes b and group.
    """
    if not _is_channels_last(tensor):
        usual: tuple[torch.Tensor, ...] = _aten.native_group_norm.default(
            tensor, weight, bias, samples, channels, places, groups, eps
        )
        return usual
    per_sample = [_normalised(sample, weight, bias, groups, eps) for sample in tensor.split(1)]
    normalised, means, reciprocals = (
        parts[0] if samples == 1 else torch.cat(parts) for parts in zip(*per_sample, strict=True)
    )
    return normalised, means, reciprocals


def _normalised(
    sample: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, groups: int, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalise one sample; the tensor has the batch axis."""
    moments = ChannelMoments()
    moments.add(sample)
    mean, variance = moments.of_groups(groups)
    normalised = functional.batch_norm(sample, mean.float(), variance.float(), weight, bias, eps=eps)
    mean, variance = (one.view(1, groups, -1)[..., 0] for one in (mean, variance))
    return normalised, mean.float(), (variance + eps).rsqrt().float()


def _batch_norm(
    tensor: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool,
) -> torch.Tensor:
    """Run ``aten::batch_norm``. It uses the moments of the batch if ``training`` is true and none are stored."""
    if training and mean is None and variance is None and _is_channels_last(tensor):
        moments = ChannelMoments()
        moments.add(tensor)
        mean, variance = (one.float() for one in moments.of_groups(tensor.shape[1]))
        training = False
    result: torch.Tensor = _aten.batch_norm.default(
        tensor, weight, bias, mean, variance, training, momentum, eps, cudnn
    )
    return result


def _is_channels_last(tensor: torch.Tensor) -> bool:
    last = FORMATS.get(tensor.dim())
    if last is None or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=last) and _is_plain(tensor)


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.dtype is torch.float32 and tensor.layout is torch.strided and tensor.is_cpu


_COMPOSITE = {
    *(_aten.conv2d.default, _aten.conv2d.padding, _aten.conv3d.default, _aten.conv3d.padding),
    _aten.group_norm.default,
}
_KERNELS: Mapping[Any, Callable[..., Any]] = {
    _aten.convolution.default: _convolution,
    _aten._convolution.default: _convolution,
    _aten.native_group_norm.default: _group_norm,
    _aten.batch_norm.default: _batch_norm,
}
