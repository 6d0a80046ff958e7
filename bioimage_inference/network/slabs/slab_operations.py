"""Layers for the operations of torch. Operations that are not listed here cannot be computed in slabs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional

from ..torch_operations import operation_name, overload_name
from . import NotInSlabs
from .layers import Convolution, Layer, Normalisation, Pointwise, Pooling, TransposedConvolution, Upsampling


@dataclass(frozen=True)
class Call:
    """An operation and its arguments by name; ``number`` returns the number of the value that a tensor stands for.

    Tensors on the ``meta`` device stand for values that are computed later. All other tensors are constants.
    """

    function: Any
    arguments: Mapping[str, Any]
    number: Callable[[torch.Tensor], int]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def name(self) -> str:
        """Torch's name of the operation, without the mark of an operation in place."""
        return operation_name(self.function)

    @property
    def tensor(self) -> torch.Tensor:
        """The main argument of the operation."""
        tensor: torch.Tensor = self.arguments["self"] if "self" in self.arguments else self.arguments["input"]
        return tensor

    @property
    def inputs(self) -> tuple[int]:
        """The number of the main argument's value, for a layer that reads no other."""
        return (self.number(self.tensor),)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The spatial sizes of the main argument."""
        return tuple(self.tensor.shape[2:])

    def each(self, name: str) -> tuple[int, ...]:
        """Return a setting for each spatial axis; torch allows a single number for all axes."""
        setting = self.arguments[name]
        every = (setting,) if isinstance(setting, int) else tuple(setting)
        return every * len(self.lengths) if len(every) == 1 else every

    def pointwise(self, call: Callable[..., torch.Tensor], **changes: Any) -> Pointwise:
        """Return a layer on the main argument alone. Its result has the same shape and dtype but for ``changes``."""
        form = {"shape": tuple(self.tensor.shape), "dtype": self.tensor.dtype, **changes}
        return Pointwise(self.inputs, **form, call=call)


def layer_of(call: Call) -> Layer | int:
    """Return the layer of an operation, or the number of the value that it hands on unchanged.

    Raises :class:`NotInSlabs` for an operation that cannot be computed in slabs.
    """
    if call.name not in _BUILDERS:
        raise NotInSlabs(call.name)
    return _BUILDERS[call.name](call)


def _elementwise(call: Call) -> Layer:
    """Return a layer that reads each pixel by itself. Constants have one row, so they are the same for all rows."""
    tensors = {key: one for key, one in call.arguments.items() if isinstance(one, torch.Tensor)}
    values = {key: one for key, one in tensors.items() if one.is_meta}
    dimensions = max(one.dim() for one in values.values())
    shape = np.broadcast_shapes(*(_spread(key, one, dimensions) for key, one in tensors.items()))
    dtypes = {one.dtype for one in tensors.values() if one.dim()}
    if len(dtypes) > 1 or any(one.shape[2:3] != shape[2:3] for one in values.values()):
        raise NotInSlabs(f"{call.name} of tensors of different rows or types")
    constants = {key: one for key, one in call.arguments.items() if key not in values}
    plain, to_tensor = _variants(call)

    def compute(*parts: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = plain(**constants, **dict(zip(values, parts, strict=True)))
        return result

    def into(*parts: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = to_tensor(**constants, **dict(zip(values, parts, strict=True)), out=out)
        return result

    inputs = tuple(map(call.number, values.values()))
    dtype = next(iter(values.values())).dtype
    return Pointwise(inputs, tuple(shape), dtype, compute, into if to_tensor is not None else None)


def _spread(key: str, tensor: torch.Tensor, dimensions: int) -> tuple[int, ...]:
    """Return the shape that a tensor is broadcast with. A PReLU has one weight for each channel."""
    if key == "weight":
        return (1, tensor.numel(), *[1] * (dimensions - 2))
    if not tensor.is_meta and tensor.dim() >= dimensions - 2 and tensor.shape[2 - dimensions] != 1:
        raise NotInSlabs("a constant that differs from row to row")
    return tuple(tensor.shape)


def _variants(call: Call) -> tuple[Any, Any]:
    """Return the operation with a new result, and the variant that writes into a tensor, ``None`` if there is none."""
    packet, overload = getattr(torch.ops.aten, call.name), overload_name(call.function)
    plain = getattr(packet, overload)
    if call.name == "gelu":  # its variant ignores the memory format of the tensor
        return plain, None
    if call.name == "relu":  # torch has no variant of relu, and computes relu as clamp_min
        return plain, lambda out, **given: torch.clamp_min(given["self"], 0, out=out)
    return plain, getattr(packet, "out" if overload in ("default", "Tensor") else f"{overload}_out", None)


def _same(call: Call) -> Layer | int:
    """Return the values in other memory, or converted to another dtype."""
    if "dropout" in call.name and call["train"]:
        raise NotInSlabs(f"{call.name} in training")
    device, dtype = call.arguments.get("device"), call.arguments.get("dtype") or call.tensor.dtype
    if (device is not None and device.type not in ("cpu", "meta")) or call.arguments.get("other") is not None:
        raise NotInSlabs(f"{call.name} to another device")
    if dtype == call.tensor.dtype:
        return call.number(call.tensor)
    return call.pointwise(lambda part: part.to(dtype), dtype=dtype)


def _reshaped(call: Call) -> int:
    """Accept a reshape to the same shape, as networks often do for one sample."""
    shape = call.tensor.shape
    sizes = call.arguments.get("size", call.arguments.get("shape", ()))
    if len(sizes) != len(shape) or any(one not in (-1, size) for one, size in zip(sizes, shape, strict=True)):
        raise NotInSlabs(f"{call.name} to another shape")
    return call.number(call.tensor)


def _padded(call: Call) -> int:
    """Accept padding by no pixels, as networks often do to make sizes equal."""
    if any(call["pad"]):
        raise NotInSlabs(call.name)
    return call.number(call.tensor)


def _slice(call: Call) -> Layer | int:
    """Return some channels, or accept a slice of everything."""
    axis, tensor = call["dim"], call.tensor
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(tensor.shape[axis])
    if (start, stop, step) == (0, tensor.shape[axis], 1):
        return call.number(tensor)
    if axis != 1:
        raise NotInSlabs("a slice of the image")
    shape = (tensor.shape[0], len(range(start, stop, step)), *call.lengths)
    return call.pointwise(lambda part: part[:, start:stop:step], shape=shape)


def _cat(call: Call) -> Layer:
    tensors = call["tensors"]
    first = tensors[0]
    if call["dim"] not in (1, 1 - first.dim()) or len({(one.shape[2:], one.dtype) for one in tensors}) > 1:
        raise NotInSlabs("cat along another axis than that of channels")
    shape = (first.shape[0], sum(one.shape[1] for one in tensors), *first.shape[2:])
    return Pointwise(
        tuple(map(call.number, tensors)),
        shape,
        first.dtype,
        lambda *parts: torch.cat(parts, 1),
        lambda *parts, out: torch.cat(parts, 1, out=out),
    )


def _softmax(call: Call) -> Layer:
    if call["dim"] not in (1, 1 - call.tensor.dim()) or call["dtype"] not in (None, call.tensor.dtype):
        raise NotInSlabs("softmax along another axis than that of channels")
    return call.pointwise(lambda part: torch.softmax(part, 1))


def _batch_norm(call: Call) -> Layer:
    """Normalise with the stored moments, or with the moments of the sample."""
    mean, variance, weight, bias, eps = (call[key] for key in ("running_mean", "running_var", "weight", "bias", "eps"))
    if not call.arguments.get("training", call.arguments.get("use_input_stats")):
        return call.pointwise(lambda part: functional.batch_norm(part, mean, variance, weight, bias, eps=eps))
    if mean is not None:
        raise NotInSlabs(f"{call.name} in training")
    return _normalisation(call, call.tensor.shape[1])


def _normalisation(call: Call, groups: int) -> Layer:
    form = tuple(call.tensor.shape), call.tensor.dtype
    return Normalisation(call.inputs, *form, groups, call["weight"], call["bias"], call["eps"])


def _convolution(call: Call) -> Layer:
    """Return the layer of any of torch's convolutions, transposed or not."""
    weight, bias, groups = call["weight"], call["bias"], call["groups"]
    if isinstance(call["padding"], str) or call.tensor.dtype != weight.dtype or weight.is_meta:
        raise NotInSlabs("a convolution with named padding, or with a weight that is computed")
    stride, padding, dilation = call.each("stride"), call.each("padding"), call.each("dilation")
    size, form = tuple(weight.shape[2:]), (call.tensor.shape[0], call.tensor.dtype)
    if not call.arguments.get("transposed", "transpose" in call.name):
        shape = (form[0], weight.shape[0], *_windows(call.lengths, size, stride, padding, dilation))
        window = size, stride, padding, dilation, call.lengths[0]
        return Convolution(call.inputs, shape, form[1], *window, weight, bias, groups)
    extra = call.each("output_padding")
    each = zip(call.lengths, stride, padding, dilation, size, extra, strict=True)
    sizes = [
        (length - 1) * step - 2 * pad + apart * (width - 1) + more + 1 for length, step, pad, apart, width, more in each
    ]
    settings = stride, padding, extra, dilation, groups, call.lengths[0]
    shape = (form[0], weight.shape[1] * groups, *sizes)
    return TransposedConvolution(call.inputs, shape, form[1], weight, bias, *settings)


def _max_pool(call: Call) -> Layer:
    size, padding, dilation = call.each("kernel_size"), call.each("padding"), call.each("dilation")
    stride = call.each("stride") or size

    def pool(part: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
        result: torch.Tensor = call.function(part, size, stride, padding, dilation)
        return result

    return _pooling(call, (size, stride, padding, dilation), pool)


def _avg_pool(call: Call) -> Layer:
    size, padding = call.each("kernel_size"), call.each("padding")
    stride = call.each("stride") or size
    rest = {key: call[key] for key in ("count_include_pad", "divisor_override")}
    if padding[0]:
        raise NotInSlabs("avg_pool with padding")

    def pool(part: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
        result: torch.Tensor = call.function(part, size, stride, padding, **rest)
        return result

    return _pooling(call, (size, stride, padding, (1,) * len(size)), pool)


def _pooling(call: Call, window: tuple[tuple[int, ...], ...], pool: Callable[..., torch.Tensor]) -> Layer:
    if call["ceil_mode"]:
        raise NotInSlabs(f"{call.name} with ceil_mode")
    shape = (*call.tensor.shape[:2], *_windows(call.lengths, *window))
    size, stride, padding, dilation = window
    return Pooling(call.inputs, shape, call.tensor.dtype, size, stride, padding, dilation, call.lengths[0], pool)


def _windows(
    lengths: Sequence[int], size: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """Return the number of windows along each axis."""
    each = zip(lengths, size, stride, padding, dilation, strict=True)
    return tuple((length + 2 * pad - apart * (width - 1) - 1) // step + 1 for length, width, step, pad, apart in each)


def _upsample(call: Call) -> Layer:
    lengths, scales = call.lengths, call.arguments.get("scale_factors") or ()
    sizes = tuple(call["output_size"] or (int(length * scale) for length, scale in zip(lengths, scales, strict=True)))
    if any(size % length for size, length in zip(sizes, lengths, strict=True)) or call.arguments.get("align_corners"):
        raise NotInSlabs("interpolation by a fraction, or with align_corners")
    linear = "linear" in call.name
    mode = ("bilinear" if len(lengths) == 2 else "trilinear") if linear else "nearest"
    how: dict[str, Any] = {"mode": mode} | ({"align_corners": False} if linear else {})
    return Upsampling(
        call.inputs,
        (*call.tensor.shape[:2], *sizes),
        call.tensor.dtype,
        lambda part, size: functional.interpolate(part, size, **how),
        linear,
        tuple(size // length for size, length in zip(sizes, lengths, strict=True)),
        lengths[0],
    )


_ELEMENTWISE = (
    *("abs", "celu", "clamp", "clamp_max", "clamp_min", "elu", "exp", "gelu", "hardsigmoid", "hardswish", "hardtanh"),
    *("leaky_relu", "log", "log_sigmoid", "mish", "neg", "pow", "relu", "relu6", "rsqrt", "selu", "sigmoid", "silu"),
    *("softplus", "sqrt", "square", "tanh"),
    *("add", "div", "mul", "prelu", "rsub", "sub"),
)
_SAME = (
    *("_to_copy", "alias", "clone", "contiguous", "detach", "to"),
    *("alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout"),
)
_BUILDERS: Mapping[str, Callable[[Call], Layer | int]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("expand", "reshape", "view"), _reshaped),
    **dict.fromkeys(("constant_pad_nd", "pad"), _padded),
    "slice": _slice,
    "cat": _cat,
    "softmax": _softmax,
    **dict.fromkeys(("batch_norm", "instance_norm"), _batch_norm),
    "group_norm": lambda call: _normalisation(call, call["num_groups"]),
    **dict.fromkeys(("_convolution", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("avg_pool2d", "avg_pool3d"), _avg_pool),
    **dict.fromkeys(("max_pool2d", "max_pool3d"), _max_pool),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_trilinear3d"), _upsample),
    **dict.fromkeys(("upsample_nearest2d", "upsample_nearest3d"), _upsample),
}
