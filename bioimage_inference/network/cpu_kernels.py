"""Kernels that give the same values with any number of CPU threads, in place of those that torch chooses.

Two choices of torch depend on the number of threads. A 1×1 convolution of fewer than 16 samples runs on oneDNN, but
not with one thread (``ConvParams::use_mkldnn`` in ``aten/src/ATen/native/Convolution.cpp``). Group normalisation of
channels-last tensors adds up partial sums by thread, in float32 (``GroupNormKernelImplChannelsLast`` in
``aten/src/ATen/native/cpu/group_norm_kernel.cpp``), which also loses digits: 2e-3 of 32×96×128×128 values. So does
batch normalisation by the values of the batch: 2e-4 of 16×64×128×128.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch.utils._python_dispatch import TorchDispatchMode

from .channel_moments import ChannelMoments

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Memory formats in which the channels of a place lie together, by the number of axes."""

_aten: Any = torch.ops.aten


class SameForAnyThreads(TorchDispatchMode):
    """Within this context, convolutions run on oneDNN, and normalisations of channels-last tensors sum in float64.

    Both concern float32 on a CPU; all other operations are torch's. Looking at an operation takes about 15 µs: 0.7 ms
    of the 90 ms that a U-Net of 45 operations takes for 512×512 pixels (2 cores, torch 2.13).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._raised: Exception | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to say so would import the compiler

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute an operation."""
        del types
        try:
            if func in _COMPOSITE:  # in inference mode these arrive whole; their parts come back here
                with self:
                    return func.decompose(*args, **(kwargs or {}))  # type: ignore[attr-defined]
            return _KERNELS.get(func, func)(*args, **(kwargs or {}))
        except Exception as error:
            self._raised = error
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Raise what an operation raised: TorchScript turns it into an error of its own."""
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        if self._raised is not None and isinstance(error, RuntimeError) and error is not self._raised:
            raise self._raised from None


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
    """``aten::convolution``, or ``aten::_convolution``, which has four more ``settings`` for cuDNN."""
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
    """``aten::native_group_norm``: the result, and mean and reciprocal deviation of each group, axes b and group."""
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
    """One sample, its batch axis included."""
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
    """``aten::batch_norm``; by the values of the batch where ``training`` is true and no moments are kept."""
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
