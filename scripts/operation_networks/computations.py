"""Functions that compute as layers do, by products, transforms and draws. They can be scripted and traced."""
# The functions show forms of Python that networks contain, also where ruff knows a better one.
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


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
    interpolations, pads, sampling, products, functional_layers, fourier, algebra, in_place, sizes, draws,
)  # fmt: skip
