"""Functions with older and rare names of operators. They can be traced only."""
# The functions show forms of Python that networks contain, also where ruff knows a better one.
# ruff: noqa: SIM905
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def names_of_old(x: Tensor) -> list[Tensor]:
    """Other names of common operators, and calls that scripting does not know."""
    mask = x > 0.5
    return [
        torch.nn.functional.upsample(x, scale_factor=2) if hasattr(F, "upsample") else x, x.new([1.0]), x.bfloat16(),
        x.bool(), x.new_tensor([1.0]), mask.nonzero(as_tuple=True)[0], 2 // (x + 1), 2 - x, x.detach().cpu(),
        torch.sum(x, axis=1), x.mean(axis=(2, 3)), torch.functional.norm(x, dim=(1, 2)),
        x[:, torch.tensor([True, False, True, True])],
        x[torch.arange(2), torch.tensor([0, 1])], x.cuda() if torch.cuda.is_available() else x,
        torch.split(x, [1, 3], dim=1)[0],
        torch.tensor_split(x, [1], 1)[0], torch.stack(torch.meshgrid(x[0, 0, 0], x[0, 0, 1], indexing="xy")),
        torch.special.gammaln(x + 1), torch.nn.functional.max_pool2d(x, 2, return_indices=True)[1],
        x.index_select(-1, torch.arange(3)),
        torch.nn.functional.interpolate(x, scale_factor=(2, 2)), torch.lu(x[..., :4, :4])[0], x.nelement() * x,
        torch.concatenate([x, x]),
        torch.hsplit(x, 2)[0], torch.vsplit(x, 2)[0], torch.einsum("bchw->bhwc", x), torch.vmap(torch.sin)(x),
        x.transpose(1, 2).contiguous(),
    ]  # fmt: skip


def operators_of_older_files(x: Tensor) -> list[Tensor]:
    """Operators that files of older versions of PyTorch name, where today's functions use others."""
    aten = torch.ops.aten
    line, block, kernel = x.flatten(2), x.unsqueeze(2), torch.ones(4, 4, 3, 3)
    vector = torch.ones(4)
    return [
        aten.upsample_nearest1d(line, [8]), aten.upsample_nearest2d(x, [6, 8]),
        aten.upsample_nearest3d(block, [2, 6, 8]),
        aten.upsample_linear1d(line, [8], False), aten.upsample_bilinear2d(x, [6, 8], False),
        aten.upsample_bicubic2d(x, [6, 8], False), aten.upsample_trilinear3d(block, [2, 6, 8], False), aten.silu(x),
        aten.gelu(x),
        aten._convolution(x, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, False, False, True, True),
        aten.convolution(x, kernel, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1),
        aten.constant_pad_nd(x, [1, 1], 0.0),
        aten.reflection_pad1d(line, [1, 1]), aten.reflection_pad2d(x, [1, 1, 1, 1]),
        aten.replication_pad1d(line, [1, 1]),
        aten.replication_pad2d(x, [1, 1, 1, 1]), aten.replication_pad3d(block, [1, 1, 1, 1, 0, 0]),
        aten.frobenius_norm(x, [2, 3]),
        aten.reflection_pad3d(block, [1, 1, 1, 1, 0, 0]),
        aten.native_layer_norm(x, [16], None, None, 1e-5)[0],
        aten.native_group_norm(x, None, None, 2, 4, 192, 2, 1e-5)[0],
        aten.nuclear_norm(x[0, 0]), aten.max_pool2d_with_indices(x, [2, 2])[0],
        aten.max_pool3d_with_indices(block, [1, 2, 2])[0],
        aten._softmax(x, 1, False), aten._log_softmax(x, 1, False), aten.one_hot((x * 3).long(), 4),
        aten.feature_dropout(x, 0.1, False), aten._weight_norm(kernel, kernel[:, :1, :1, :1], 0),
        aten.dropout(x, 0.1, False), aten.alpha_dropout(x, 0.1, False),
        aten.linear(x, torch.ones(5, 16)), aten.mish(x), aten.std(x, True), aten.var(x, True), aten.rsub(x, 1.0),
        aten.stft(x[0, 0], 16, return_complex=True).abs(),
        aten.where(x > 0.5, x, x),
        aten.norm(x, 2),
        aten.unsafe_chunk(x, 2, 1)[0],
        aten.unsafe_split(x, 2, 1)[0], aten.avg_pool2d(x, [2, 2]), aten.adaptive_avg_pool2d(x, [2, 2]),
        aten._adaptive_avg_pool2d(x, [2, 2]), aten.hardtanh(x, 0.0, 6.0),
        aten.adaptive_max_pool2d(x, [2, 2])[0],
        aten._unsafe_view(x, [2, -1]),
        aten.glu(x, 1), aten.prelu(x, vector), aten.relu6(x),
        aten.log_sigmoid(x), aten.im2col(x, [3, 3], [1, 1], [0, 0], [1, 1]),
    ]  # fmt: skip


def functions_of_one_tensor(x: Tensor) -> list[Tensor]:
    """Every operator of one tensor by its name, in place, too."""
    names = (
        "abs acos acosh asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 fix floor "
        "frac i0 lgamma log log10 log1p log2 logit nan_to_num neg negative rad2deg reciprocal relu round rsqrt sgn "
        "sigmoid sign sin sinc sinh sqrt square tan tanh trunc"
    ).split()
    return [getattr(x, name)() for name in names] + [getattr(x.clone(), f"{name}_")() for name in names]


def functions_of_two_tensors(x: Tensor) -> list[Tensor]:
    """Every operator of two tensors by its name, in place, too."""
    names = (
        "add sub mul div true_divide floor_divide remainder fmod pow atan2 hypot copysign xlogy multiply divide "
        "subtract"
    ).split()
    tests = "eq ne lt le gt ge logical_and logical_or logical_xor".split()
    whole = "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift".split()
    numbers, y = (x * 3).long(), x + 1
    return [
        *(getattr(x, name)(y) for name in (*names, *tests)),
        *(getattr(x.clone(), f"{name}_")(y) for name in (*names, *tests)),
        *(getattr(numbers, name)(numbers) for name in whole),
        *(getattr(numbers.clone(), f"{name}_")(numbers) for name in whole),
    ]


FUNCTIONS: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    names_of_old,
    operators_of_older_files,
    functions_of_one_tensor,
    functions_of_two_tensors,
)
