"""Small networks that use the operators of PyTorch as networks for images do, for ``scripts/list_operations.py``.

Each network is built with random weights from PyTorch alone. The functions below hold one group of operators each.
Their names are the names of the networks.
"""
# The functions show forms of Python that networks contain, also where ruff knows a better one.
# ruff: noqa: RUF005, SIM905, UP031
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRACTION = 0.3


@dataclass(frozen=True)
class Network:
    """A network with inputs that it accepts. ``build`` makes it anew, in evaluation mode."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Any, ...]
    scripted: bool = True
    traced: bool = True


def networks() -> Iterator[Network]:
    """All networks of this module."""
    yield from _layer_networks()
    yield from _unet_networks()
    image = _random(2, 4, 12, 16)
    for function in (*FUNCTIONS, *SCRIPTED_ONLY, *TRACED_ONLY):
        yield Network(
            function.__name__,
            lambda function=function: Computation(function),  # type: ignore[misc]
            (image,),
            scripted=function not in TRACED_ONLY,
            traced=function not in SCRIPTED_ONLY,
        )
    yield Network("record", RecordNetwork, (image,))
    yield Network("containers", ContainerNetwork, (image,), traced=False)
    yield Network("attributes", AttributeNetwork, (image,), traced=False)
    yield Network("overloads", OverloadNetwork, (image,), traced=False)
    yield Network("tokens", TokenNetwork, (torch.tensor([[1, 2, 3, 0]]),))
    yield Network("frozen", FrozenNetwork, (image,))


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


def _random(*size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0))


class Computation(nn.Module):
    """A network without weights that applies one function."""

    def __init__(self, function: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> list[Tensor]:
        """The results of the function."""
        return self.function(x)


# Layers


def _layer_networks() -> Iterator[Network]:
    layers: dict[str, list[nn.Module]] = {}
    for dims in (1, 2, 3):
        convolution, transposed = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "ConvTranspose"))
        layers[f"convolutions {dims}d"] = [
            *(convolution(4, 4, 3, padding=1, padding_mode=m) for m in ("zeros", "reflect", "replicate", "circular")),
            convolution(4, 8, 3, padding="same", dilation=2, groups=2),
            convolution(4, 4, 3, padding="valid", stride=2, bias=False),
            transposed(4, 4, 2, stride=2),
            transposed(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        ]
        layers[f"poolings {dims}d"] = [
            getattr(nn, f"{name}{dims}d")(*arguments)
            for name, arguments in (
                ("MaxPool", (2, 1)),
                ("MaxPool", (3, 2, 1, 1, False, True)),
                ("AvgPool", (2, 1)),
                ("LPPool", (2, 2, 1)),
                ("AdaptiveMaxPool", (4,)),
                ("AdaptiveAvgPool", (4,)),
            )
        ]
        layers[f"normalisations {dims}d"] = [
            getattr(nn, f"BatchNorm{dims}d")(4),
            getattr(nn, f"InstanceNorm{dims}d")(4),
            getattr(nn, f"InstanceNorm{dims}d")(4, affine=True, track_running_stats=True),
            nn.GroupNorm(2, 4),
            nn.LocalResponseNorm(2),
        ]
        layers[f"paddings {dims}d"] = [
            getattr(nn, f"{mode}Pad{dims}d")(1) for mode in ("Zero", "Reflection", "Replication", "Circular")
        ] + [getattr(nn, f"ConstantPad{dims}d")(1, 0.5)]
        layers[f"dropouts {dims}d"] = [getattr(nn, f"Dropout{dims}d")(0.2)]
        modes = {1: ("nearest", "linear"), 2: ("nearest", "bilinear", "bicubic"), 3: ("nearest", "trilinear")}[dims]
        layers[f"upsamplings {dims}d"] = [
            *(nn.Upsample(scale_factor=2, mode=mode) for mode in (*modes, "nearest-exact")),
            *(nn.Upsample(scale_factor=1.5, mode=mode, align_corners=True) for mode in modes[1:]),
        ]
    layers["activations"] = [
        nn.ReLU(), nn.ReLU(True), nn.ReLU6(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.1, True), nn.PReLU(), nn.PReLU(4),
        nn.RReLU(), nn.ELU(), nn.ELU(inplace=True), nn.CELU(), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(),
        nn.SiLU(True), nn.Mish(), nn.Mish(True), nn.Hardswish(), nn.Hardswish(True), nn.Hardsigmoid(), nn.Hardtanh(),
        nn.Hardtanh(inplace=True), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink(), nn.Softplus(), nn.Softsign(),
        nn.Sigmoid(), nn.LogSigmoid(), nn.Tanh(), nn.Threshold(0.1, 0.0), nn.Threshold(0.1, 0.0, True),
        nn.Softmax(1), nn.Softmax2d(), nn.LogSoftmax(1), nn.Softmin(1), nn.GLU(1), nn.Identity(),
    ]  # fmt: skip
    layers["more layers"] = [
        nn.LayerNorm([4, 12, 16]), nn.LayerNorm([16], elementwise_affine=False), nn.RMSNorm([16]),
        nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4, affine=False),
        nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2), nn.UpsamplingNearest2d(scale_factor=2),
        nn.UpsamplingBilinear2d(scale_factor=2), nn.Linear(16, 8), nn.Linear(16, 8, bias=False),
        nn.Flatten(), nn.Unflatten(1, (2, 2)), nn.Dropout(0.1), nn.AlphaDropout(0.1), nn.FeatureAlphaDropout(0.1),
        nn.Unfold(3, padding=1), nn.Sequential(nn.Flatten(2), nn.Fold((12, 16), 1)),
    ]  # fmt: skip
    layers["reparametrised layers"] = [
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
        nn.utils.weight_norm(nn.Conv2d(4, 4, 3)),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
        nn.utils.spectral_norm(nn.Conv2d(4, 4, 3)),
    ]
    for name, group in layers.items():
        dims = int(name[-2]) if name.endswith("d") else 2
        image = _random(2, 4, *(12, 16, 10)[:dims])
        yield Network(
            name,
            lambda group=group: LayerNetwork(group),  # type: ignore[misc]
            (image,),
            scripted=name != "reparametrised layers",
        )
    pair = (_random(2, 4, 16), _random(2, 4, 16))
    yield Network("cosine similarity", lambda: nn.CosineSimilarity(1), pair)
    yield Network("distance", lambda: nn.PairwiseDistance(2.0), pair)
    yield Network("bilinear", lambda: nn.Bilinear(16, 16, 4), (_random(3, 16), _random(3, 16)))
    yield Network("attention layer", lambda: nn.MultiheadAttention(16, 2, batch_first=True), (_random(2, 5, 16),) * 3)
    yield Network(
        "transformer layer",
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True),
        (_random(2, 5, 16),),
    )
    # nn.TransformerEncoder scripts into code that uses nested tensors, which vetting refuses; traces do not use these.
    transformer = (16, 2, 1, 1, 32)
    words = (_random(2, 5, 16), _random(2, 5, 16))
    yield Network("transformer", lambda: nn.Transformer(*transformer, batch_first=True), words, scripted=False)
    yield Network("own activation", OwnActivation, (_random(2, 4, 12, 16),))


class LayerNetwork(nn.Module):
    """Applies several layers to one image."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The result of each layer."""
        results: list[Tensor] = []
        for layer in self.layers:
            results.append(layer(x.clone()))  # some layers change their input
        return results


class OwnActivation(nn.Module):
    """An activation with a parameter and a buffer of its own, as many networks write it."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.2))
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, -1, 1, 1))
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("half_values", torch.rand(4).half())
        self.register_buffer("brain_values", torch.rand(4).bfloat16())
        self.register_buffer("double_values", torch.rand(4).double())
        self.register_buffer("truth_values", torch.tensor([True, False]))
        self.register_buffer("byte_values", torch.tensor([1, 2], dtype=torch.uint8))
        self.register_buffer("short_values", torch.tensor([1, 2], dtype=torch.int16))
        self.register_buffer("integer_values", torch.tensor([1, 2], dtype=torch.int32))
        self.register_buffer("complex_values", torch.tensor([1 + 2j]))
        self.register_buffer("view_values", torch.arange(12.0).view(3, 4).t()[1:, ::2])
        self.register_buffer("empty_values", torch.zeros(0, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The activation, and values of every type of number."""
        parts = [
            self.half_values, self.brain_values, self.double_values, self.byte_values, self.short_values,
            self.integer_values, self.truth_values, self.complex_values.real, self.view_values, self.empty_values,
        ]  # fmt: skip
        numbers = torch.stack([part.float().sum() for part in parts])
        activated: Tensor = torch.where(x > 0, x, x * self.slope) - self.mean * self.count
        return activated, numbers


# U-Nets

NORMALISATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda dims, n: nn.BatchNorm3d(n) if dims == 3 else nn.BatchNorm2d(n),
    "instance": lambda dims, n: nn.InstanceNorm3d(n) if dims == 3 else nn.InstanceNorm2d(n, affine=True),
    "group": lambda _, n: nn.GroupNorm(2, n),
    "layer": lambda _, n: ChannelNorm(n),
    "none": lambda *_: nn.Identity(),
}


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of an image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The normalised image."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class UNet(nn.Module):
    """A U-Net with two levels; ``up`` is the way to the finer level."""

    def __init__(self, dims: int, norm: str, up: str, residual: bool) -> None:
        super().__init__()
        convolution, transposed, pool = (
            (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d)
            if dims == 3
            else (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d)
        )

        def block(before: int, after: int) -> nn.Module:
            return nn.Sequential(
                convolution(before, after, 3, padding=1), NORMALISATIONS[norm](dims, after), nn.LeakyReLU(inplace=True)
            )

        self.down = nn.ModuleList([block(4, 4), block(4, 8)])
        self.pool = pool(2)
        self.deep = block(8, 8)
        self.up = nn.ModuleList(
            [
                transposed(8, 8, 2, stride=2)
                if up == "transposed"
                else nn.Upsample(scale_factor=2, mode=up, align_corners=None if up == "nearest" else False)
                for _ in range(2)
            ]
        )
        self.join = nn.ModuleList([block(16, 8), block(12, 8)])
        self.head = convolution(8, 2, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Two channels of probabilities."""
        kept: list[Tensor] = []
        for block in self.down:
            x = block(x)
            kept.append(x)
            x = self.pool(x)
        deep = self.deep(x)
        x = deep + x if self.residual else deep
        for index, (up, join) in enumerate(zip(self.up, self.join, strict=False)):
            x = up(x)
            beside = kept[-1 - index]
            if x.shape[2:] != beside.shape[2:]:
                x = F.interpolate(x, size=beside.shape[2:])
            x = join(torch.cat([x, beside], dim=1))
        return torch.softmax(self.head(x), dim=1)


def _unet_networks() -> Iterator[Network]:
    for index, (dims, norm) in enumerate(product((2, 3), NORMALISATIONS)):
        up = ("transposed", "nearest", "trilinear" if dims == 3 else "bilinear")[index % 3]
        yield Network(
            f"unet {dims}d {norm} {up}",
            lambda arguments=(dims, norm, up, index % 2 == 0): UNet(*arguments),  # type: ignore[misc]
            (_random(1, 4, *(12, 8, 10)[:dims]),),
        )


# Functions that can be scripted and traced


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


def interpolations(x: Tensor) -> list[Tensor]:
    """Images of other sizes."""
    line, block = x.flatten(2), x.unsqueeze(2)
    return [
        F.interpolate(x, scale_factor=2.0), F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=False),
        F.interpolate(x, scale_factor=2.0, mode="bicubic"), F.interpolate(x, size=[7, 9], mode="area"),
        F.interpolate(x, size=x.shape[2:], mode="nearest-exact"), F.interpolate(line, scale_factor=2.0, mode="linear"),
        F.interpolate(block, scale_factor=[1.0, 2.0, 2.0], mode="trilinear"),
        F.interpolate(block, size=[2, 7, 9], mode="area"),
        F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        F.interpolate(line, scale_factor=2.0, mode="area"),
        F.interpolate(x, scale_factor=0.5, mode="bicubic", antialias=True), F.interpolate(block, scale_factor=2.0),
        F.interpolate(x, scale_factor=1.5, recompute_scale_factor=True), F.interpolate(line, scale_factor=2.0),
        F.interpolate(line, scale_factor=2.0, mode="nearest-exact"),
        F.interpolate(block, scale_factor=2.0, mode="nearest-exact"),
        F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 2),
    ]  # fmt: skip


def pads(x: Tensor) -> list[Tensor]:
    """Images with margins."""
    line, block = x.flatten(2), x.unsqueeze(0)
    return [
        F.pad(x, [1, 1, 2, 2]), F.pad(x, [1, 1], "constant", 0.5), F.pad(x, [1, 1, 2, 2], mode="reflect"),
        F.pad(x, [-1, -1]),
        F.pad(x, [1, 1, 2, 2], mode="replicate"), F.pad(x, [1, 1, 2, 2], mode="circular"),
        F.pad(line, [1, 1], "reflect"),
        F.pad(line, [1, 1], "replicate"), F.pad(line, [1, 1], "circular"), F.pad(block, [1, 1, 1, 1, 1, 1], "reflect"),
        F.pad(block, [1, 1, 1, 1, 1, 1], "replicate"), F.pad(block, [1, 1, 1, 1, 1, 1], "circular"),
    ]  # fmt: skip


def sampling(x: Tensor) -> list[Tensor]:
    """Images at given coordinates."""
    theta = torch.tensor([[[1.0, 0.1, 0.0], [0.0, 1.0, 0.1]]]).repeat(2, 1, 1)
    grid = F.affine_grid(theta, [2, 4, 6, 8], align_corners=False)
    block = x.unsqueeze(2)
    volume = F.affine_grid(torch.eye(3, 4).unsqueeze(0).repeat(2, 1, 1), [2, 4, 1, 12, 16], align_corners=True)
    return [
        grid, F.grid_sample(x, grid, align_corners=False), F.grid_sample(x, grid, "nearest", "border", True),
        F.grid_sample(x, grid, "bicubic", "reflection", False), F.grid_sample(block, volume, align_corners=True),
        F.grid_sample(block, volume, "nearest", "border", True), F.unfold(x, 3),
        F.fold(F.unfold(x, 3), [12, 16], [3, 3]),
    ]  # fmt: skip


def products(x: Tensor) -> list[Tensor]:
    """Matrix products and attention."""
    rows = x.flatten(0, 1)
    query = x.transpose(1, 2)
    weights = torch.ones(5, 16)
    return [
        torch.matmul(x, x.transpose(-1, -2)), x @ x.mT, torch.bmm(rows, rows.transpose(1, 2)),
        torch.mm(x[0, 0], x[0, 0].t()),
        torch.mv(x[0, 0], x[0, 0, 0]), torch.einsum("bchw,bcij->bhwij", x, x[:, :, :2, :2]),
        torch.dot(x[0, 0, 0], x[0, 0, 1]),
        torch.baddbmm(torch.zeros(8, 12, 12), rows, rows.transpose(1, 2)),
        torch.addmm(torch.zeros(12, 12), x[0, 0], x[0, 0].t()),
        F.scaled_dot_product_attention(query, query, query), F.scaled_dot_product_attention(x, x, x, is_causal=True),
        F.softmax(x, dim=-1), F.softmax(x, 1, dtype=torch.float64), torch.softmax(x, dim=1), F.log_softmax(x, 1),
        F.linear(x, weights), F.linear(x, weights, torch.zeros(5)), F.normalize(x, dim=1), F.cosine_similarity(x, x, 1),
        torch.cdist(rows, rows), torch.outer(x[0, 0, 0], x[0, 0, 1]), torch.tensordot(x, x, dims=[[1], [1]]),
        torch.inner(x, x),
        torch.kron(x[0, 0, :2, :2], x[0, 1, :2, :2]), torch.addmv(torch.zeros(12), x[0, 0], x[0, 0, 0]),
        torch.ger(x[0, 0, 0], x[0, 0, 1]),
        torch.addbmm(torch.zeros(12, 12), rows, rows.transpose(1, 2)), torch.chain_matmul(x[0, 0], x[0, 0].t()),
        torch.addr(torch.zeros(16, 16), x[0, 0, 0], x[0, 0, 1]), torch.vdot(x[0, 0, 0], x[0, 0, 1]),
        F.pairwise_distance(x, x),
        torch.linalg.matmul(x, x.mT), torch.linalg.multi_dot([x[0, 0], x[0, 0].t()]), F.softmin(x, 1),
        F.gumbel_softmax(x, dim=1),
    ]  # fmt: skip


def functional_layers(x: Tensor) -> list[Tensor]:
    """Layers as functions, with weights that the function makes."""
    kernel = torch.ones(4, 1, 3, 3) / 9
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    line, block = x.flatten(2), x.unsqueeze(2)
    return [
        F.conv2d(x, kernel, padding=1, groups=4), F.conv1d(line, torch.ones(2, 4, 3)),
        F.conv3d(block, torch.ones(2, 4, 1, 3, 3)),
        F.conv_transpose2d(x, torch.ones(4, 2, 2, 2), stride=2),
        F.conv_transpose1d(line, torch.ones(4, 2, 2), stride=2),
        F.conv_transpose3d(block, torch.ones(4, 2, 1, 2, 2), stride=2),
        F.conv2d(x, torch.ones(2, 4, 3, 3), padding="same"),
        F.batch_norm(x, mean, variance), F.instance_norm(x), F.group_norm(x, 2), F.layer_norm(x, [16]),
        F.local_response_norm(x, 2),
        F.max_pool2d(x, 2), F.avg_pool2d(x, 2), F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1),
        F.lp_pool2d(x, 2.0, 2),
        F.max_pool1d(line, 2), F.max_pool3d(block, [1, 2, 2]), F.avg_pool3d(block, [1, 2, 2]),
        F.adaptive_avg_pool3d(block, 1),
        F.max_pool2d(x, 3, 1, 1, ceil_mode=True), F.relu(x), F.relu6(x), F.elu(x), F.selu(x),
        F.leaky_relu(x), F.gelu(x), F.silu(x), F.mish(x), F.hardswish(x), F.hardsigmoid(x), F.hardtanh(x),
        F.softplus(x),
        F.softsign(x), F.logsigmoid(x), F.tanhshrink(x), F.softshrink(x), F.hardshrink(x), F.threshold(x, 0.1, 0.0),
        F.glu(x, 1),
        F.prelu(x, torch.tensor([0.1])), F.rrelu(x), F.celu(x), F.dropout(x, training=False), F.rms_norm(x, [16]),
        F.alpha_dropout(x),
        F.dropout2d(x, training=False), F.dropout3d(block, training=False), torch.sigmoid(x), torch.tanh(x),
        F.dropout1d(line, training=False),
        F.mse_loss(x, x), F.l1_loss(x, x), F.smooth_l1_loss(x, x), F.binary_cross_entropy(x, x), F.huber_loss(x, x),
        F.binary_cross_entropy_with_logits(x, x), F.kl_div(x, x, reduction="sum"),
        F.cross_entropy(x, torch.zeros(2, 12, 16).long()),
        F.nll_loss(x, torch.zeros(2, 12, 16).long()), F.cosine_similarity(x, x),
        torch.bilinear(x, x, torch.ones(3, 16, 16), None),
    ]  # fmt: skip


def fourier(x: Tensor) -> list[Tensor]:
    """Fourier transforms."""
    spectrum = torch.fft.fft2(x)
    return [
        torch.fft.ifft2(spectrum).real, torch.fft.irfft2(torch.fft.rfft2(x)), torch.fft.irfft(torch.fft.rfft(x)),
        spectrum.imag,
        torch.fft.ifft(torch.fft.fft(x)).abs(), torch.fft.ifftn(torch.fft.fftn(x, dim=[2, 3])).abs(),
        torch.fft.fftfreq(8),
        torch.fft.irfftn(torch.fft.rfftn(x, dim=[2, 3]), dim=[2, 3]), torch.fft.fftshift(x, [2, 3]),
        torch.fft.ifftshift(x, [2, 3]),
        torch.fft.rfftfreq(8), torch.view_as_real(spectrum), (spectrum * spectrum.conj()).real, torch.fft.hfft(x),
        torch.fft.ihfft(x).real,
        torch.fft.fft2(x, norm="ortho").angle(),
    ]  # fmt: skip


def algebra(x: Tensor) -> list[Tensor]:
    """Linear algebra."""
    square = x[..., :4, :4] + torch.eye(4) * 4
    definite = square @ square.mT
    left, values, right = torch.linalg.svd(square)
    q, r = torch.linalg.qr(square)
    return [
        left, values, right, q, r, torch.linalg.inv(square), torch.inverse(square), torch.linalg.solve(square, square),
        torch.det(square), torch.linalg.det(square), torch.logdet(definite), torch.slogdet(square)[1],
        torch.linalg.norm(x[0, 0]),
        torch.linalg.matrix_norm(x), torch.linalg.eigh(definite)[0], torch.linalg.eigvalsh(definite),
        torch.linalg.svdvals(square),
        torch.linalg.cholesky(definite), torch.linalg.pinv(square), torch.linalg.matrix_power(square, 2),
        torch.cholesky(definite),
        torch.linalg.slogdet(square)[1], torch.linalg.matrix_rank(square), torch.svd(square)[1],
        torch.cholesky_solve(square, torch.linalg.cholesky(definite)),
        torch.linalg.solve_triangular(r, square, upper=True),
        torch.matrix_exp(square / 100), torch.linalg.cross(x[..., :3], x[..., :3]), torch.linalg.eigvals(square).abs(),
        torch.pinverse(square[0, 0]),
        torch.linalg.cond(square), torch.matrix_power(square, 2), torch.triangular_solve(square, r)[0],
        torch.linalg.norm(x, dim=1),
        torch.linalg.inv_ex(square)[0], torch.linalg.cholesky_ex(definite)[0], torch.linalg.diagonal(square),
        torch.linalg.lu_factor(square)[0],
    ]  # fmt: skip


def in_place(x: Tensor) -> list[Tensor]:
    """Operators that change a tensor."""
    y = x.clone()
    whole = (x * 3).long()
    mask = x > 0.5
    y += 1
    y -= 0.5
    y *= 2
    y /= 3
    y += x
    y -= x
    y *= x
    y /= x + 1
    y.add_(1).sub_(1).mul_(2).div_(2).pow_(2).sqrt_().abs_().neg_().exp_().log_().clamp_(0.1, 0.9).clamp_min_(0.0)
    y.clamp_max_(1.0).sigmoid_().tanh_().relu_().round_().floor_().ceil_().add_(x, alpha=2).addcmul_(x, x).addcdiv_(
        x, x + 1
    )
    y.masked_fill_(mask, 0.0).copy_(x).lerp_(x, 0.5).scatter_(1, whole, 0.5).scatter_add_(1, whole, x).zero_().fill_(
        1.0
    )
    y.index_fill_(1, torch.tensor([0]), 2.0).index_add_(
        1, torch.tensor([0, 1]), x[:, :2]
    ).reciprocal_().rsqrt_().square_()
    y.unsqueeze_(0).squeeze_(0).transpose_(2, 3).transpose_(2, 3).sin_().cos_().nan_to_num_().trunc_().frac_().clip_(
        0.0, 1.0
    )
    y.masked_scatter_(mask, x).index_copy_(1, torch.tensor([0]), x[:, :1]).index_put_((torch.tensor([0]),), x[0])
    y.remainder_(0.7).fmod_(0.6).erf_().expm1_().log1p_().atan_().sign_().detach_()
    z = whole.clone()
    z.bitwise_and_(3).bitwise_or_(1)
    truth = mask.clone()
    truth.logical_not_()
    truth |= mask
    truth &= mask
    w = x.clone()
    F.relu_(w)
    F.leaky_relu_(w)
    F.elu_(w)
    F.hardtanh_(w)
    F.threshold_(w, 0.1, 0.0)
    return [
        y,
        z,
        truth,
        w,
        F.silu(x.clone(), inplace=True),
        F.hardswish(x.clone(), inplace=True),
        F.mish(x.clone(), inplace=True),
    ]


def sizes(x: Tensor) -> list[Tensor]:
    """Sizes that the result depends on."""
    half = [x.size(2) // 2, x.shape[3] // 2]
    crop = x[:, :, half[0] - 2 : half[0] + 2, half[1] - 2 : half[1] + 2]
    missing = (-x.shape[2]) % 8
    padded = F.pad(x, [0, (8 - x.shape[3] % 8) % 8, 0, missing])
    scale = x.shape[1] ** -0.5
    return [crop, padded, x * scale, x.view(x.size(0), x.size(1), -1), x / x.numel(), x * x.dim(), x.new_zeros(half)]


def draws(x: Tensor) -> list[Tensor]:
    """Random numbers."""
    return [
        torch.rand(2, 3), torch.randn(2, 3), torch.rand_like(x), torch.randn_like(x), torch.randint(0, 5, [2, 3]),
        torch.randperm(5),
        torch.bernoulli(x), torch.normal(x, x), F.dropout(x), F.dropout2d(x), F.dropout3d(x.unsqueeze(2)),
        torch.multinomial(x[0, 0], 2),
        torch.poisson(x), x.clone().uniform_(), x.clone().normal_(), x.clone().bernoulli_(0.5),
        torch.normal(0.0, 1.0, [2, 3]),
        x.clone().exponential_(), torch.randint_like(x, 5), F.alpha_dropout(x, training=True),
        F.feature_alpha_dropout(x, training=True),
    ]  # fmt: skip


FUNCTIONS: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    trigonometry, exponentials, rounding, arithmetic, comparisons, reductions, shapes, indexing, creation, conversions,
    interpolations, pads, sampling, products, functional_layers, fourier, algebra, in_place, sizes, draws,
)  # fmt: skip


# Functions that can be scripted only


def numbers(x: Tensor) -> list[Tensor]:
    """Numbers outside tensors."""
    n = x.size(2)
    f = float(n) / 3.0
    results: list[float] = [
        math.sqrt(f), math.exp(f), math.log(f), math.log10(f), math.log1p(f), math.sin(f), math.cos(f), math.tan(f),
        math.asin(0.1), math.acos(f / n), math.atan(f), math.atan2(f, 1.0), math.sinh(f), math.cosh(f), math.tanh(f),
        math.pow(f, 2.0), math.fabs(f),
        math.fmod(f, 2.0), math.copysign(f, -1.0), math.ldexp(f, 1), math.erf(f), math.erfc(f), math.gamma(f),
        math.lgamma(f), math.degrees(f), math.radians(f), math.expm1(f), math.asinh(f), math.acosh(f),
        math.atanh(f / n), float(math.ceil(f)),
        float(math.floor(f)), float(math.gcd(n, 8)), float(math.factorial(3)), math.pi, math.e, math.inf, f + n, f - n,
        f * n, f / n, f // n, f % n,
        f**2, n**0.5, -f, abs(f), float(abs(-n)), float(round(f)), float(int(f)), float(n // 5), float(n % 5), n / 5,
        float(n**2), max(f, 1.0),
        min(f, 1.0), float(max(n, 3)), float(min(n, 3)), float(n << 1), float(n >> 1), float(n & 3), float(n | 3),
        float(n ^ 3),
        float("inf"), float(max([1, 2, n])), float(min([1, 2, n])), float(sum([1, 2, n])), math.frexp(f)[0],
        math.modf(f)[0],
        1.0 if math.isnan(f) else 2.0, 1.0 if math.isinf(f) else 2.0,
        1.0 if math.isfinite(f) else 2.0,
        1e-12, 1e22, -1e-7, 12345678901234567890.0, float(bool(n)), float((n > 3 and f < 2) or not f < n),
        float(-n // 2), math.nan,
    ]  # fmt: skip
    total = [float(x.max()), float(int(x.max() * 10)), float(bool(x.min() > 0)), float(x.mean())]
    axis, slope = torch.tensor(1), torch.tensor(0.1)  # numbers in tensors, which PyTorch converts where numbers belong
    implied = F.layer_norm(torch.unsqueeze(x, axis), [16], eps=slope) + F.leaky_relu(x, slope).unsqueeze(axis)
    comparison = (
        n == 3
        or n != 4
        or n < 5
        or n <= 5
        or n > 6
        or n >= 6
        or f == 1.0
        or f != 1.0
        or f < 1
        or f <= 1.0
        or f > n
        or f >= n
    )
    return [
        torch.tensor(results),
        torch.tensor(total),
        implied,
        x * x.max().item(),
        x * float(comparison),
        x * f,
        x + n,
        f - x,
        n / (x + 1),
        x**n,
    ]


def loops(x: Tensor) -> list[Tensor]:
    """Loops and branches."""
    results: list[Tensor] = []
    total = 0
    for index in range(3):
        results.append(x[:, index] * index)
    for index in range(1, 10, 2):
        if index == 5:
            continue
        if index > 7:
            break
        total += index
    while total > 3:
        total -= 2
    for part in x:
        results.append(part + total)
    for index, part in enumerate(x.unbind(1)):
        results.append(part * index)
    for index, part in enumerate([1, 2], 5):
        total += index * part
    for first, second in zip(x.unbind(1), x.unbind(1)):  # noqa: B905
        results.append(first * second)
    results += [part * 2 for part in results]
    sizes = [int(size * 0.5) for size in x.shape[2:]]
    while True:
        total += 1
        if total > 20:
            break
    for index in range(len(results) - 1, -1, -1):
        if results[index].dim() != 3:
            results.pop(index)
    if x.sum() > 0 and x.mean() < 1:
        results.append(x * 2)
    elif x.max() > 5:
        results.append(x)
    else:
        results.append(x * 3)
    results.append(torch.tensor(sizes + [total]))
    results.append(x if total > 3 else -x)
    return results


def texts(x: Tensor) -> list[Tensor]:
    """Texts."""
    mode = "linear"
    if x.dim() == 4:
        mode = "bi" + mode
    name = f"{mode} of {x.size(1)} channels, {x.dim()} axes"
    parts = name.split(" ")
    known = mode == "bilinear" and mode != "nearest" and mode in ["bilinear", "nearest"] and "linear" in mode
    count = (
        len(name)
        + len(parts)
        + len(mode.upper())
        + len(mode.lower())
        + len(" ".join(parts))
        + len(mode.replace("bi", "tri"))
    )
    count += (
        int(mode.startswith("bi"))
        + int(mode.endswith("ar"))
        + int("12")
        + int(float("2.5"))
        + len(str(x.size(0)) + str(2.5))
    )
    count += (
        len(mode.strip()) + mode.find("lin") + len(mode[2:]) + len(mode[0]) + len("%d of %s" % (count, mode)) + ord("a")
    )
    count += len("{:s}".format("a")) + len("quotes \" and ' and \\ and \n lines and \t") + len("µm · é")
    if not known:
        raise ValueError(f"unknown mode {mode}")
    return [F.interpolate(x, scale_factor=2.0, mode=mode), x * count]


def checks(x: Tensor) -> list[Tensor]:
    """Assertions and errors."""
    assert x.dim() == 4, "an image with four axes is needed"
    assert x.size(0) > 0, f"no images in {x.shape}"
    assert x.is_floating_point()
    if x.size(1) == 17:
        raise RuntimeError("seventeen channels")
    if x.dtype not in [torch.float32, torch.float64]:
        raise TypeError("wrong numbers")
    if x.device != torch.device("cpu") and x.is_cuda:
        raise NotImplementedError
    if x.requires_grad or x.is_complex() or x.is_sparse or x.is_quantized or not x.is_contiguous():
        x = x.detach()
    if torch.is_floating_point(x) and x.ndim == 4 and len(x) == 2 and x.shape[0] == x.size()[0]:
        x = x + 1
    if x.dtype == torch.float32 and x.device.type == "cpu" and x.layout == torch.strided and not torch.jit.is_tracing():
        x = x + 2
    if (
        torch.jit.is_scripting()
        and torch.numel(x) > 3
        and x.element_size() == 4
        and x.stride(0) > 1
        and x.stride()[1] > 1
    ):
        x = x + 3
    if torch.equal(x, x) and torch.allclose(x, x) and not torch.is_nonzero(x[0, 0, 0, 0]):
        x = x + 4
    return [x, x.detach().requires_grad_(False)]


def optional_values(x: Tensor) -> list[Tensor]:
    """Values that may be missing."""

    a = _or_none(x, 5.0)
    b = _or_none(x, 0.0)
    results: list[Tensor] = []
    if a is not None:
        results.append(a)
    results.append(b if b is not None else x)
    first, second, third = _pair(x, None)
    if third is None:
        results.append(first * second)
    kept: list[Tensor | None] = [a, None, b]
    for one in kept:
        if one is not None:
            results.append(one + 1)
    some = torch.jit.annotate(list[int], [])
    some.append(3)
    one = _either(x, 3) + _either(x, [1, 2]) + _either(x, 2.0)
    assert a is not None
    results.append(_default(a))
    results.append(_default(x, scale=2.0, flag=True, name="other"))
    return results + [x * one, x * some[0]]


def _or_none(x: Tensor, limit: float) -> Tensor | None:
    return x if bool(x.max() < limit) else None


def _pair(x: Tensor, scale: float | None) -> tuple[Tensor, float, int | None]:
    return x, 1.0 if scale is None else scale, None


def _either(x: Tensor, value: int | float | list[int]) -> float:
    if isinstance(value, int):
        return float(value * x.dim())
    if isinstance(value, float):
        return value
    return float(len(value))


def _default(
    x: Tensor,
    scale: float = -1.5,
    far: float = float("inf"),
    flag: bool = False,
    name: str = "name",
    weight: Tensor | None = None,
    pair: tuple[int, float] = (1, -2.0),
) -> Tensor:
    if flag and weight is None and name == "other" and far > scale:
        return x * scale
    return x * pair[0] + pair[1]


def collections_(x: Tensor) -> list[Tensor]:
    """Lists, dictionaries and tuples."""
    kept: dict[str, Tensor] = {"a": x, "b": x + 1}
    kept["c"] = x * 2
    numbers: dict[int, float] = {1: 2.0}
    numbers.update({3: 4.0})
    results = list(kept.values())
    for name in kept.keys():  # noqa: SIM118
        results.append(kept[name])
    for name, value in kept.items():
        if name != "a":
            results.append(value)
    if "a" in kept and len(kept) == 3:
        kept.pop("a")
    results.append(kept.get("z", x))
    results.append(kept.setdefault("d", x))
    del kept["b"]
    found = kept.get("c")
    if found is not None:
        results.append(found)
    copy = kept.copy()
    copy.clear()
    whole = [3, 1, 2]
    whole.sort()
    whole.reverse()
    whole.insert(0, 7)
    whole.extend([8, 9])
    whole.remove(7)
    whole[0] = 5
    del whole[1]
    whole = (
        whole
        + [1] * 3
        + whole[1:]
        + whole[:-1]
        + sorted(whole)
        + list(range(3))
        + [len(whole), whole.index(8), whole.count(8)]
    )
    pair = (x, [x, x])
    first, rest = pair
    (a, b), c = (1, 2), 3
    nested = [[1, 2], [3, 4]]
    strides = nested[0] + nested[1][::2] + whole.copy() + [a, b, c]
    results.append(first + rest[0] + pair[1][1])
    results.append(torch.tensor(strides) * (1 in whole) * (whole != [1]))
    results.append(torch.tensor([1.0, 2.0] + [numbers[1]] + [float(key) for key in numbers]))
    results.append(torch.tensor([all([True, False]), any([True, False]), bool(whole), not whole]))
    halves = torch.jit.annotate(list[list[Tensor]], [[x], [x]])
    halves[0].append(x)
    chosen = {"p": [1, 2], "q": [3]}
    return results + [halves[0][1], x * chosen["p"][1], torch.stack(halves[0])]


SCRIPTED_ONLY: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    numbers,
    loops,
    texts,
    checks,
    optional_values,
    collections_,
)


# Functions that can be traced only


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


TRACED_ONLY: tuple[Callable[[Tensor], list[Tensor]], ...] = (
    names_of_old,
    operators_of_older_files,
    functions_of_one_tensor,
    functions_of_two_tensors,
)


# Networks with parts that need classes of their own


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
