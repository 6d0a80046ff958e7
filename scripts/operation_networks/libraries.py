"""Networks of torchvision, timm, segmentation_models_pytorch and monai, as far as these are installed."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from .network import Network, random


def installed() -> list[str]:
    """Return the names of :data:`LIBRARIES` that can be imported."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]


def library_networks() -> Iterator[Network]:
    """Networks of the libraries that are installed."""
    for networks_of in map(_NETWORKS.__getitem__, installed()):
        yield from networks_of()


def _library(name: str) -> Any:
    if importlib.util.find_spec("torchvision") is not None and "torchvision" not in sys.modules:
        try:
            importlib.import_module("torchvision")
        except RuntimeError:  # PyPI's wheel has operators for CUDA builds only; their names are enough to import it
            for known in [one for one in sys.modules if one.startswith("torchvision")]:
                del sys.modules[known]
            for operator in ("nms", "qnms"):
                schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", schema)
    return importlib.import_module(name)


def _image(*size: int) -> tuple[torch.Tensor]:
    return (random(*size),)


def _network(name: str, build: Callable[..., Any], *arguments: Any, inputs: tuple[Any, ...], **options: Any) -> Network:
    return Network(name, lambda: build(*arguments, **options), inputs)


def _torchvision() -> Iterator[Network]:
    models = _library("torchvision.models")
    image = _image(1, 3, 64, 64)
    names = (
        "alexnet densenet121 efficientnet_b0 efficientnet_v2_s googlenet mnasnet0_5 mobilenet_v2 mobilenet_v3_small "
        "regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 vgg11_bn convnext_tiny swin_t "
        "swin_v2_t"
    )
    for name in names.split():
        yield _network(f"torchvision {name}", models.get_model, name, weights=None, inputs=image)
    large = _image(1, 3, 96, 96)
    yield _network("torchvision inception_v3", models.get_model, "inception_v3", weights=None, inputs=large)
    vit = {"image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    yield _network("torchvision vit", models.VisionTransformer, **vit, inputs=image)
    yield _network("torchvision maxvit_t", models.get_model, "maxvit_t", weights=None, inputs=_image(1, 3, 224, 224))
    for name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
        options = {"weights": None, "weights_backbone": None}
        yield _network(f"torchvision {name}", models.get_model, name, **options, inputs=image)
    detection = _library("torchvision.models.detection.backbone_utils")
    backbone = {"backbone_name": "resnet18", "weights": None}
    yield _network("torchvision resnet18 with pyramid", detection.resnet_fpn_backbone, **backbone, inputs=image)
    video = _library("torchvision.models.video")
    yield _network("torchvision r3d_18", video.r3d_18, weights=None, inputs=_image(1, 3, 4, 32, 32))


def _timm() -> Iterator[Network]:
    create = _library("timm").create_model
    small = (
        "resnet18 resnet26d seresnet18 ecaresnet26t resnetv2_50 res2net50_14w_8s resnest14d skresnet18 densenet121 "
        "dla34 efficientnet_lite0 efficientnet_b0 tf_efficientnetv2_b0 mobilenetv2_050 mobilenetv3_small_050 "
        "mobilenetv4_conv_small fbnetc_100 mixnet_s mnasnet_small ghostnet_050 lcnet_050 tinynet_e hrnet_w18_small "
        "regnetx_002 regnety_002 rexnet_100 repvgg_a0 convnext_atto convnextv2_atto cspresnet50 cspdarknet53 darknet53 "
        "vovnet39a selecsls42b xception41 inception_v4 nfnet_f0 dm_nfnet_f0 fastvit_t8 mobileone_s0 repghostnet_050 "
        "edgenext_xx_small inception_next_atto poolformer_s12 caformer_s18 convmixer_768_32 starnet_s1 efficientvit_b0 "
        "hgnetv2_b0 focalnet_tiny_srf visformer_tiny"
    )
    image = _image(1, 3, 64, 64)
    for name in small.split():
        yield _network(f"timm {name}", create, name, pretrained=False, inputs=image)
    fixed = (
        "vit_tiny_patch16_224 deit_tiny_patch16_224 swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 mixer_s32_224 "
        "gmlp_ti16_224 resmlp_12_224 levit_128s efficientformer_l1 mobilevit_xxs mobilevitv2_050 coat_lite_tiny "
        "maxvit_tiny_rw_224 coatnet_nano_rw_224 crossvit_9_240 pit_ti_224 tnt_s_patch16_224 xcit_nano_12_p16_224 "
        "cait_xxs24_224 beit_base_patch16_224 eva02_tiny_patch14_224 twins_svt_small pvt_v2_b0 davit_tiny "
        "tiny_vit_5m_224 gcvit_xxtiny efficientvit_m0 repvit_m0_9 volo_d1_224 hiera_tiny_224 nextvit_small convit_tiny"
    )
    for name in fixed.split():
        yield Network(f"timm {name}", *_fixed_size(create, name))


def _fixed_size(create: Callable[..., Any], name: str) -> tuple[Callable[[], Any], tuple[Any, ...]]:
    size = next((int(part) for part in name.split("_")[::-1] if part.isdigit() and int(part) >= 160), 224)
    return lambda: create(name, pretrained=False), _image(1, 3, size, size)


def _segmentation_models() -> Iterator[Network]:
    library = _library("segmentation_models_pytorch")
    image = _image(1, 3, 64, 64)
    kinds = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet PAN DeepLabV3 DeepLabV3Plus UPerNet Segformer"
    for kind in kinds.split():
        for encoder in ("resnet18", "mobilenet_v2", "timm-efficientnet-b0"):
            options = {"encoder_name": encoder, "encoder_weights": None, "classes": 2}
            yield _network(f"smp {kind} {encoder}", getattr(library, kind), **options, inputs=image)
    encoders = (
        "resnet18 densenet121 efficientnet-b0 vgg11_bn se_resnet50 mit_b0 xception timm-regnetx_002 tu-resnet18 dpn68"
    )
    for encoder in encoders.split():
        options = {"encoder_name": encoder, "encoder_weights": None, "decoder_attention_type": "scse"}
        if encoder == "mit_b0":
            options["decoder_attention_type"] = None
        yield _network(f"smp Unet {encoder} scse", library.Unet, **options, inputs=image)
    dpt = {"encoder_name": "tu-vit_tiny_patch16_224", "encoder_weights": None, "dynamic_img_size": True}
    yield _network("smp DPT", library.DPT, **dpt, inputs=image)


def _monai() -> Iterator[Network]:
    nets = _library("monai.networks.nets")
    flat, block = _image(1, 1, 32, 32), _image(1, 1, 32, 32, 32)
    for dims, image in ((2, flat), (3, block)):
        both = {"spatial_dims": dims, "in_channels": 1, "out_channels": 2}
        levels: dict[str, Any] = {"channels": (4, 8, 16), "strides": (2, 2)}
        transformer: dict[str, Any] = {
            "spatial_dims": dims,
            "in_channels": 1,
            "img_size": 32,
            "hidden_size": 24,
            "mlp_dim": 32,
            "num_heads": 2,
        }
        efficient: dict[str, Any] = {"spatial_dims": dims, "in_channels": 1, "pretrained": False}
        dynamic: dict[str, Any] = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)}
        quantised: dict[str, Any] = {
            "channels": (8, 8),
            "num_res_channels": (8, 8),
            "num_res_layers": 1,
            "num_embeddings": 8,
            "embedding_dim": 4,
            "downsample_parameters": ((2, 4, 1, 1),) * 2,
            "upsample_parameters": ((2, 4, 1, 1, 0),) * 2,
        }
        cases: list[tuple[str, dict[str, Any]]] = [
            ("UNet", {**both, **levels, "num_res_units": 2}),
            ("UNet", {**both, **levels, "norm": "batch", "act": "leakyrelu"}),
            ("UNet", {**both, **levels, "norm": ("group", {"num_groups": 2}), "act": "swish", "dropout": 0.1}),
            ("BasicUNet", {**both, "features": (4, 4, 8, 8, 16, 4)}),
            ("BasicUNet", {**both, "features": (4, 4, 8, 8, 16, 4), "upsample": "nontrainable"}),
            ("BasicUNetPlusPlus", {**both, "features": (4, 4, 8, 8, 16, 4)}),
            ("SegResNet", {**both, "init_filters": 8}),
            ("SegResNet", {**both, "init_filters": 8, "upsample_mode": "deconv"}),
            ("SegResNetDS", {**both, "init_filters": 8}),
            ("DynUNet", {**both, **dynamic}),
            ("DynUNet", {**both, **dynamic, "res_block": True}),
            ("AttentionUnet", {**both, **levels}),
            ("VNet", both),
            ("HighResNet", both),
            ("DenseNet121", both),
            ("AutoEncoder", {**both, "channels": (4, 8), "strides": (2, 2)}),
            ("EfficientNetBN", {**efficient, "model_name": "efficientnet-b0"}),
            ("SENet154" if dims == 2 else "SEResNet50", {"spatial_dims": dims, "in_channels": 1}),
            ("AHNet", {**both, "psp_block_num": 0}),
            ("UNETR", {**transformer, "out_channels": 2, "feature_size": 4}),
            ("SwinUNETR", {**both, "feature_size": 12}),
            ("SwinUNETR", {**both, "feature_size": 12, "use_v2": True}),
            ("ViT", {**transformer, "patch_size": 16, "num_layers": 2}),
            ("MedNeXtS", both),
            ("FlexibleUNet", {**both, "backbone": "resnet18"}),
            ("VQVAE", {**both, **quantised}),
        ]
        for index, (name, options) in enumerate(cases):
            if name in (
                "SwinUNETR",
                "SENet154",
                "EfficientNetBN",
                "DenseNet121",
                "FlexibleUNet",
                "AHNet",
                "SEResNet50",
            ):
                inputs = _image(1, 1, *(64,) * dims)
            else:
                inputs = image
            yield _network(f"monai {name} {dims}d {index}", getattr(nets, name), **options, inputs=inputs)
    yield _network("monai HoVerNet", nets.HoVerNet, mode="fast", inputs=_image(1, 3, 256, 256))


_NETWORKS: Mapping[str, Callable[[], Iterator[Network]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "segmentation_models_pytorch": _segmentation_models,
    "monai": _monai,
}
LIBRARIES = tuple(_NETWORKS)
"""The libraries of networks that the list of operators is made with."""
