"""Functions of the values, shapes and indexes of tensors. They can be scripted and traced."""
# The functions show forms of Python that networks contain, also where ruff knows a better one.
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def trigonometry(x: Tensor) -> list[Tensor]:
    """Angles."""
    return [
        torch.sin(x), torch.cos(x), torch.tan(x), torch.asin(x), torch.acos(x), torch.atan(x), torch.sinh(x),
        torch.cosh(x), torch.tanh(x), torch.asinh(x), torch.acosh(x + 1), torch.atanh(x), torch.atan2(x, x + 1),
        torch.arctan2(x, x), torch.deg2rad(x), torch.rad2deg(x), torch.hypot(x, x), torch.sinc(x), torch.arcsin(x),
        torch.arccos(x), torch.arctan(x), torch.arcsinh(x), torch.arccosh(x + 1), torch.arctanh(x),
    ]  # fmt: skip


def exponentials(x: Tensor) -> list[Tensor]:
    """Powers, roots and logarithms."""
    return [
        torch.exp(x), torch.exp2(x), torch.expm1(x), torch.log(x + 1), torch.log2(x + 1), torch.log10(x + 1),
        torch.log1p(x), torch.pow(x, 2.0), torch.pow(2.0, x), torch.pow(x, x), x**2, x**0.5, 2.0**x, torch.sqrt(x),
        torch.rsqrt(x + 1), torch.square(x), torch.sigmoid(x), torch.logit(x, 1e-6), torch.logaddexp(x, x),
        torch.logaddexp2(x, x), torch.xlogy(x, x + 1), torch.reciprocal(x + 1), torch.erf(x), torch.erfc(x),
        torch.erfinv(x), torch.lgamma(x + 1), torch.digamma(x + 1), torch.ldexp(x, x), torch.float_power(x, 2.0),
        torch.special.expit(x), torch.special.entr(x), torch.special.xlog1py(x, x), torch.special.ndtr(x),
        torch.special.log_ndtr(x), torch.special.i0e(x), torch.i0(x), torch.mvlgamma(x + 1, 1),
        torch.polygamma(1, x + 1),
        torch.special.erfcx(x), torch.special.i1(x), torch.frexp(x)[0], torch.special.log_softmax(x, 1),
        torch.special.softmax(x, 1), torch.special.logsumexp(x, [1]),
    ]  # fmt: skip


def rounding(x: Tensor) -> list[Tensor]:
    """Rounding, clamping and signs."""
    return [
        torch.round(x), torch.round(x, decimals=2), torch.floor(x), torch.ceil(x), torch.trunc(x), torch.fix(x),
        torch.frac(x), torch.clamp(x, 0.2, 0.8), torch.clamp(x, min=0.2), torch.clamp(x, max=0.8), x.clamp_min(0.1),
        x.clamp_max(0.9), torch.clip(x, 0.0, 0.5), torch.abs(x), torch.absolute(x), torch.neg(x), -x, torch.positive(x),
        torch.negative(x), torch.sign(x), torch.sgn(x), torch.signbit(x), torch.copysign(x, -x), torch.nan_to_num(x),
        torch.heaviside(x, x), torch.nextafter(x, x + 1), torch.relu(x), x.relu(), torch.clamp(x, x - 1, x + 1),
    ]  # fmt: skip


def arithmetic(x: Tensor) -> list[Tensor]:
    """Sums, products and remainders."""
    whole = (x * 10).long()
    return [
        x + x, x + 1, 1 + x, x - x, 1 - x, x * x, x * 2, 2 * x, x / (x + 1), x / 2, 2 / (x + 1), x // 0.3,
        x % 0.3, whole % 3, whole // 3, torch.add(x, x, alpha=2), torch.sub(x, x, alpha=2), torch.rsub(x, x),
        torch.mul(x, 2.5), torch.div(x, 0.3), torch.div(x, 0.3, rounding_mode="floor"), torch.true_divide(x, 2),
        torch.div(whole, 3, rounding_mode="trunc"), torch.floor_divide(x, 0.5), torch.fmod(x, 0.3),
        torch.remainder(x, 0.3), torch.addcmul(x, x, x), torch.addcdiv(x, x, x + 1), torch.lerp(x, x + 1, 0.5),
        torch.lerp(x, x + 1, x), torch.maximum(x, x), torch.minimum(x, x), torch.fmax(x, x), torch.fmin(x, x),
        torch.multiply(x, x), torch.divide(x, 2), torch.subtract(x, 1), torch.gcd(whole, whole),
        torch.lcm(whole, whole),
        torch.diff(x), torch.cross(x[:, :3], x[:, :3], dim=1), torch.gradient(x[0, 0])[0], torch.trapezoid(x),
    ]  # fmt: skip


def comparisons(x: Tensor) -> list[Tensor]:
    """Comparisons, logic and bits."""
    whole = (x * 10).long()
    low, high = x < 0.3, x > 0.7
    return [
        low, high, x <= 0.3, x >= 0.3, x == 0.3, x != 0.3, x < x, x == x, torch.eq(x, x), torch.ne(x, x),
        torch.gt(x, 1),
        torch.ge(x, 1), torch.lt(x, 1), torch.le(x, 1), torch.greater(x, x), torch.less(x, x), torch.not_equal(x, x),
        torch.greater_equal(x, x), torch.less_equal(x, x), low & high, low | high, low ^ high, ~low,
        torch.logical_and(low, high), torch.logical_or(low, high), torch.logical_xor(low, high), torch.logical_not(low),
        torch.bitwise_and(whole, 3), torch.bitwise_or(whole, 3), torch.bitwise_xor(whole, 3), torch.bitwise_not(whole),
        whole << 1, whole >> 1, torch.bitwise_left_shift(whole, 1), torch.bitwise_right_shift(whole, 1),
        torch.isnan(x), torch.isinf(x), torch.isfinite(x), torch.isneginf(x), torch.isposinf(x), torch.isclose(x, x),
        torch.isreal(x), torch.any(low), torch.all(low), low.any(1), low.all(1), low.any(dim=1, keepdim=True),
        torch.isin(whole, torch.tensor([1, 2])), torch.bucketize(x, x[0, 0, 0].sort()[0]),
        torch.searchsorted(x[0, 0, 0].sort()[0], x),
    ]  # fmt: skip


def reductions(x: Tensor) -> list[Tensor]:
    """Values over axes."""
    return [
        x.sum(), x.sum(1), x.sum((2, 3), keepdim=True), x.mean(), x.mean(dim=[2, 3]), x.mean(1, keepdim=True), x.prod(),
        x.prod(1), x.std(), x.std(1), x.std(dim=(2, 3), keepdim=True, unbiased=False), x.var(), x.var(1), x.max(),
        x.var((2, 3), unbiased=False), x.min(), x.max(1)[0], x.max(dim=1)[1], x.min(1)[0], x.amax(1), x.amin((2, 3)),
        x.argmax(), x.argmax(1), x.argmin(dim=1, keepdim=True), x.median(), x.median(1)[0], x.nanmedian(), x.mode(1)[0],
        torch.logsumexp(x, 1), torch.norm(x), x.norm(), x.norm(2, 1), torch.norm(x, p=2, dim=1, keepdim=True),
        torch.linalg.vector_norm(x, 2.0, [1]), torch.quantile(x, 0.5), torch.quantile(x, 0.1, dim=1, keepdim=True),
        torch.nanquantile(x, 0.5), torch.aminmax(x)[0], torch.std_mean(x)[0], torch.var_mean(x, [1])[1], x.nansum(),
        x.nanmean(), torch.count_nonzero(x), torch.cumsum(x, 1), x.cumprod(1), torch.cummax(x, 1)[0], x.logcumsumexp(1),
        torch.cummin(x, 1)[0], torch.kthvalue(x, 2, 1)[0], torch.trace(x[0, 0]), torch.dist(x, x + 1),
        x.sum(dtype=torch.float64),
        torch.quantile(x, torch.tensor([0.1, 0.9])), torch.histc(x, 10, 0.0, 1.0), x.flatten().dot(x.flatten()),
        torch.renorm(x, 2.0, 1, 1.0), torch.corrcoef(x[0, 0]), torch.cov(x[0, 0]),
        torch.bincount((x * 3).long().flatten()),
    ]  # fmt: skip


def shapes(x: Tensor) -> list[Tensor]:
    """Views and copies of other shapes."""
    n, c, h, w = x.shape
    a, b = x.chunk(2, 1)
    return [
        x.view(n, -1), x.reshape(n, c, h * w), torch.reshape(x, [-1]), x.flatten(1), torch.flatten(x, 2),
        x.unflatten(1, [2, 2]),
        x.permute(0, 2, 3, 1), torch.permute(x, [0, 2, 3, 1]), x.transpose(1, 2), x[0, 0].t(), x.swapaxes(1, 2),
        x.movedim(1, -1), torch.moveaxis(x, [1], [-1]), x.unsqueeze(0), x.squeeze(), x.unsqueeze(0).squeeze(0), x[None],
        x.expand(3, n, c, h, w), x[:1].expand_as(x), x.repeat(1, 2, 1, 1), torch.tile(x, [1, 2]),
        torch.narrow(x, 1, 0, 2),
        x.repeat_interleave(2, 1), torch.roll(x, 1, 2), torch.roll(x, [1, 2], [2, 3]), torch.flip(x, [2, 3]),
        x.fliplr(),
        torch.rot90(x, 1, [2, 3]), x.contiguous(), x.clone(), x.detach(), torch.flipud(x), x.select(1, 0), x.T,
        torch.stack([x, x], 1), torch.cat([x, x], 1), torch.cat([a, b]), torch.concat([x, x]), torch.hstack([x, x]),
        torch.vstack([x, x]), torch.dstack([x, x]), torch.stack(x.unbind(1)), torch.stack(torch.split(x, 2, 1)),
        torch.cat(x.split([1, 3], 1), 1), torch.cat(torch.chunk(x, 2, 1)), torch.cat(x.tensor_split(3, 1), 1), x.mT,
        torch.broadcast_to(x[:1], [2, 4, 12, 16]), torch.broadcast_tensors(x, x[:1])[0], torch.atleast_3d(x), x.ravel(),
        x.unfold(2, 3, 1), torch.diagonal(x[0, 0]), torch.diag(x[0, 0]), torch.tril(x), torch.triu(x), x.view_as(x),
        torch.diag_embed(x[0]), torch.block_diag(x[0, 0], x[0, 1]), x.reshape_as(x), torch.column_stack([x, x]),
        x.sum_to_size([1, 4, 12, 16]), torch.adjoint(x), x.contiguous(memory_format=torch.channels_last),
        x.view(x.shape),
        x.to(memory_format=torch.channels_last), torch.combinations(x[0, 0, 0]),
        torch.cartesian_prod(x[0, 0, 0], x[0, 0, 1]),
    ]  # fmt: skip


def indexing(x: Tensor) -> list[Tensor]:
    """Parts of a tensor, and tensors with parts that changed."""
    mask = x > 0.5
    index = torch.tensor([0, 2])
    whole = (x * 3).long()
    filled, other, third, fourth, fifth = x.clone(), x.clone(), x.clone(), x.clone(), x.clone()
    filled[mask] = 0.0
    other[:, 0] = 1.0
    other[:, 1, ::2, 1:-1] = x[:, 2, ::2, 1:-1]
    third[:, index] = 2.0
    third[..., -1] += 1.0
    fourth[0, 1, 2, 3] = 4.0
    fourth[:, :, 2:4].fill_(0.5)
    fifth[:, 1:3] *= 2
    return [
        filled, other, third, fourth, fifth, x[mask], x[..., ::2], x[:, index], x[0], x[-1, 1:], x[:, None], x[..., 0],
        x[:, [0, 2]], x[index.new_zeros(1)], torch.where(mask, x, -x), torch.where(mask, x, 0.0), torch.where(mask)[0],
        x.masked_fill(mask, 0.0), torch.masked_select(x, mask), x.masked_fill(mask, float("-inf")), torch.nonzero(mask),
        torch.gather(x, 1, whole), torch.scatter(x, 1, whole, 1.0), torch.argwhere(mask),
        x.scatter(1, whole, x), x.scatter_add(1, whole, x), torch.index_select(x, 1, index),
        x.index_fill(1, index, 0.0),
        x.index_add(1, index, x[:, :2]), x.index_copy(1, index, x[:, :2]), torch.take(x, index),
        x.take_along_dim(whole, 1),
        x.masked_scatter(mask, x), torch.topk(x, 2, 1)[0], torch.sort(x, 1)[0],
        torch.sort(x, dim=1, descending=True)[1],
        torch.argsort(x, 1), torch.unique(whole), torch.unique(whole, return_inverse=True)[1], torch.msort(x),
        torch.unique_consecutive(whole), x.scatter_reduce(1, whole, x, "amax"), F.one_hot(whole, 4),
        x.index_put((index[:1],), x[0]),
        torch.put(x, index, x[0, 0, 0, :2]), torch.sort(x, stable=True, dim=1)[0],
        torch.select_scatter(x, x[:, 0], 1, 0),
        torch.slice_scatter(x, x[:, :1], 1, 0, 1), torch.diagonal_scatter(x[0, 0], x[0, 0, 0, :12]),
    ]  # fmt: skip


def creation(x: Tensor) -> list[Tensor]:
    """New tensors."""
    h, w = x.shape[-2:]
    ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return [
        torch.zeros(2, 3), torch.ones([2, 3]), torch.full([2, 3], 0.5), torch.eye(3), torch.eye(3, 4), torch.arange(5),
        torch.arange(1, 5), torch.arange(0.0, 1.0, 0.1), torch.linspace(0, 1, 5), torch.logspace(0, 1, 5), ys, xs,
        torch.zeros_like(x), torch.ones_like(x), torch.full_like(x, 2.0), torch.empty_like(x).fill_(0.0),
        x.new_zeros(3),
        torch.empty(2, 2).zero_(), x.new_ones([2]), x.new_full([2], 3.0), x.new_empty([2]).zero_(),
        torch.tensor([1.0, 2.0]), torch.tensor(3), torch.tensor([[1, 2], [3, 4]]), torch.scalar_tensor(2.0),
        torch.zeros([h, w], dtype=x.dtype, device=x.device), torch.ones(3, dtype=torch.long), torch.tril_indices(3, 3),
        torch.arange(h, device=x.device, dtype=torch.float32), torch.triu_indices(3, 3), torch.hann_window(8),
        torch.zeros(x.shape), torch.zeros(x.size(0), x.size(1)), torch.hamming_window(8), torch.complex(x, x).abs(),
        torch.as_tensor(x), torch.blackman_window(8), torch.kaiser_window(8), torch.bartlett_window(8),
        torch.polar(x, x).real,
        torch.vander(x[0, 0, 0]), torch.heaviside(x, torch.tensor([0.5])),
    ]  # fmt: skip


def conversions(x: Tensor) -> list[Tensor]:
    """Types of numbers."""
    return [
        x.float(), x.double(), x.half(), x.long(), x.int(), x.short(), x.char(), x.byte(),
        x.to(torch.float64), x.to(torch.uint8), x.to(x), x.to(x.device), x.to(x.dtype), x.type_as(x), x.cpu(),
        x.to(x.device, torch.float16), x.to("cpu"), x.type(torch.int32), x.to(dtype=torch.int64),
        x.to(torch.complex64).real,
        torch.view_as_real(torch.view_as_complex(x.reshape(2, 4, 12, 8, 2).contiguous())), torch.abs(x.cfloat()),
        torch.angle(x.to(torch.complex64)), torch.real(x), torch.imag(x.cfloat()), torch.conj(x.cfloat()).real,
        x.to(torch.complex64).conj().resolve_conj().imag,
        x.half().float(), x.to(torch.float16, non_blocking=True), x.to(torch.float32, copy=True),
    ]  # fmt: skip


FUNCTIONS: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    trigonometry, exponentials, rounding, arithmetic, comparisons, reductions, shapes, indexing, creation, conversions,
)  # fmt: skip
