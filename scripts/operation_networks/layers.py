"""Networks of single layers, and of a layer's parts."""
# The stubs of PyTorch do not know all that TorchScript accepts, such as tensors where numbers belong.
# mypy: disable-error-code="arg-type, assignment, attr-defined, call-overload, no-any-return, no-untyped-call, operator"

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .network import Network, random


def layer_networks() -> Iterator[Network]:
    """Networks of layers, by kinds and dimensions."""
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
        image = random(2, 4, *(12, 16, 10)[:dims])
        yield Network(
            name,
            lambda group=group: LayerNetwork(group),  # type: ignore[misc]
            (image,),
            scripted=name != "reparametrised layers",
        )
    pair = (random(2, 4, 16), random(2, 4, 16))
    yield Network("cosine similarity", lambda: nn.CosineSimilarity(1), pair)
    yield Network("distance", lambda: nn.PairwiseDistance(2.0), pair)
    yield Network("bilinear", lambda: nn.Bilinear(16, 16, 4), (random(3, 16), random(3, 16)))
    yield Network("attention layer", lambda: nn.MultiheadAttention(16, 2, batch_first=True), (random(2, 5, 16),) * 3)
    yield Network(
        "transformer layer",
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True),
        (random(2, 5, 16),),
    )
    # nn.TransformerEncoder scripts into code that uses nested tensors, which vetting refuses; traces do not use these.
    transformer = (16, 2, 1, 1, 32)
    words = (random(2, 5, 16), random(2, 5, 16))
    yield Network("transformer", lambda: nn.Transformer(*transformer, batch_first=True), words, scripted=False)
    yield Network("own activation", OwnActivation, (random(2, 4, 12, 16),))


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
