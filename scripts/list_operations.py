"""Writes the list of operators that vetted TorchScript may use, from networks that are known to compute and no more.

    python scripts/list_operations.py            # writes bioimage_inference/model/vetting/allowed_operations.tsv
    python scripts/list_operations.py --keep     # the same where a library is missing: keeps the lines seen only there
    python scripts/list_operations.py --check    # loads every network with the list, and compares its results
    python scripts/list_operations.py --check --passed FILE    # the same, and goes on where it was stopped

Needs torchvision, timm, segmentation_models_pytorch and monai beside PyTorch (``pip install --no-deps`` is enough,
with pillow, pyyaml, safetensors, huggingface_hub, einops and scipy). It downloads no weights. The networks of these
libraries and those of ``operation_networks/`` are scripted and traced, saved and loaded. Each operator that the
loaded graphs or the saved code use goes on the list, except those in ``NEVER``.
"""

import argparse
import importlib
import importlib.util
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from operation_networks import Network, networks, same

from bioimage_inference.model.vetting.source_code import NotVetted, vetted_sources
from bioimage_inference.model.vetting.vetted_loading import OPERATIONS, kinds, load_vetted

ROOT = Path(__file__).parents[1]
LIBRARIES = ("torchvision", "timm", "segmentation_models_pytorch", "monai")
EXAMPLES = 3  # networks that a line names

# Operators that no list may hold, seen or not, as patterns of names without ``aten::`` or ``prim::``.
NEVER: Mapping[str, str] = {
    "can reach memory beside the tensor, because sizes and strides are not compared with the storage": (
        "set_ set set_data as_strided* *resize* *storage* _reshape_alias* data_ptr from_blob _alias* share_memory* "
        "is_shared _unsafe_set* _unsafe_index* _unsafe_masked_index* empty_strided* new_empty_strided* _nested* "
        "nested* to_padded_tensor _fw_primal* _make_dual* *_ptr* _debug*"
    ),
    "reads or writes files": "save load from_file *_file",
    "writes to the terminal": "Print _print",
    "runs Python, C++ classes or code that was generated": "PythonOp ModuleContainer* *FusionGroup* TensorExpr*",
    "runs beside the program": "fork *wait* rpc_* Closure forkClosure",
    "belongs to collective communication": "c10d* *all_reduce* *all_gather* broadcast_ send recv",
    "belongs to one backend, and trusts packed data": (
        "*quantize* _make_per_* q_* int_repr choose_qparams* *mkldnn* *cudnn* miopen_* *xnnpack* *prepack* fbgemm_* "
        "*profile* _test* *mps_* *vulkan* _convert_weight* _weight_int* _scaled_* _int_mm* _foreach* _fused* _cslt* "
        "_flash* _efficient* _thnn_* _nnpack* _dyn_quant* _addmm_activation"
    ),
    "changes random numbers or other state of the process": (
        "manual_seed seed get_state set_state *default_generator* set_grad_enabled autocast* _autocast* "
        "set_num_threads set_default* set_flush_denormal"
    ),
    "is recurrent, and trusts the sizes of packed weights": (
        "lstm* gru* rnn_* quantized_* *_cell _pack_padded* _pad_packed*"
    ),
    "makes or reads sparse tensors, whose indices are not checked": (
        "*sparse* *coalesce* _indices _values *csr* *csc* _spmm smm hspmm sspaddmm _dimI _dimV ccol_indices "
        "row_indices crow_indices col_indices"
    ),
    "can crash for whole numbers, and no library needs it": "divmod",
    "pins memory, or uses it at its own time": "*pin_memory record_stream is_pinned",
    "computes gradients": "*backward* grad requires_grad retain_grad* _version Autograd*",
    # Tried with PyTorch 2.13: native_batch_norm and slow_conv* read beyond weights that are too short.
    "reads or writes beyond its tensors where sizes, indices or pivots are wrong": (
        "native_batch_norm* _native_batch_norm* _batch_norm_impl* _weight_norm_* slow_conv* _slow_conv* "
        "max_unpool* fractional_max_pool* *embedding_bag* embedding_renorm_ *ctc_loss* *lu_solve* lu_unpack* *ldl* "
        "ormqr orgqr *householder* segment_reduce *lstsq*"
    ),
}
# These match a pattern above and are harmless.
HARMLESS = frozenset({"prim::is_sparse", "prim::is_quantized", "prim::is_mkldnn", "prim::requires_grad"})


class Recorder(set[str]):
    """A vocabulary that allows every operator, and holds the operators that were looked up."""

    def __contains__(self, name: object) -> bool:
        self.add(str(name))
        return True


def main() -> None:
    """Write the list, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="write although a library is missing, and keep its lines")
    parser.add_argument("--check", action="store_true", help="write nothing, load every network with the list")
    parser.add_argument("--only", default="", help="with --check: networks whose name contains this text")
    parser.add_argument(
        "--passed", type=Path, help="with --check: a file of networks that passed, to go on after a stop"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Not installed: {', '.join(missing)}.", file=sys.stderr)
    if options.check:
        sys.exit(check(options.only, options.passed))
    if missing and not options.keep:
        sys.exit("Install the missing libraries, or keep the lines that were seen in them with --keep.")
    seen: dict[str, list[str]] = defaultdict(list)
    for name, file, _ in files():
        for operator in used_operators(file):
            seen[operator].append(name)
    write_list(seen, missing)


def write_list(seen: Mapping[str, list[str]], missing: list[str]) -> None:
    """Write the operators that were seen, each with the networks in which it was."""
    lines = {operator: f"{operator}\t{len(found)}\t{', '.join(found[:EXAMPLES])}" for operator, found in seen.items()}
    if missing:
        lines = {**dict(earlier_lines()), **lines}
    for operator in sorted(lines):
        if reason := why_never(operator):
            networks_that_use = lines.pop(operator).split("\t")[2]
            print(f"Left out: {operator}, because it {reason}. It was seen in: {networks_that_use}")
    text = "\n".join([*header(missing), *(lines[operator] for operator in sorted(lines)), ""])
    OPERATIONS.write_text(text, encoding="utf-8")
    print(f"{OPERATIONS.relative_to(ROOT)}: {len(lines)} operators")


def header(missing: Iterable[str]) -> list[str]:
    """Comments at the top of the list."""
    versions = [f"torch {torch.__version__.partition('+')[0]}"]
    for name in LIBRARIES:
        if name not in missing:
            versions.append(f"{name} {importlib.import_module(name).__version__.partition('+')[0]}")
    return [
        "# Operators that TorchScript may use without anybody's consent. All others are refused.",
        "# scripts/list_operations.py writes this file and says which operators it leaves out. Do not edit the file.",
        f"# Seen with {', '.join(versions)}.",
        "# operator, number of files in which it was seen, some of them",
    ]


def earlier_lines() -> Iterator[tuple[str, str]]:
    """Operators on the list as it is, with their lines."""
    if OPERATIONS.exists():
        for line in OPERATIONS.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                yield line.split("\t")[0], line


def why_never(operator: str) -> str:
    """Why an operator may not be on the list, as a clause; the empty text where it may."""
    namespace, _, name = operator.partition("::")
    if operator in HARMLESS:
        return ""
    if namespace not in ("aten", "prim"):
        return "belongs to a library of C++"
    for reason, patterns in NEVER.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return reason
    return ""


def used_operators(file: Path) -> set[str]:
    """Operators in the graphs of a TorchScript file, and in its code."""
    unit: Any = torch._C.CompilationUnit()
    load: Any = torch._C.import_ir_module  # its types are wrong in torch
    load(unit, str(file), torch.device("cpu"), {}, False)
    found = {kind for function in unit.get_functions() for kind in kinds(function.graph)}
    reader: Any = torch._C.PyTorchFileReader(str(file))
    code = {name: reader.get_record(name) for name in reader.get_all_records() if name.endswith(".py")}
    recorder = Recorder()
    try:
        vetted_sources(code, recorder, lambda _: False)
    except NotVetted as error:
        print(f"The code of {file.stem} is refused: {error}")
    return found | recorder


def check(only: str, passed_before: Path | None) -> int:
    """Load every network with and without vetting, and compare results and times; the number of failures.

    Networks named in the file ``passed_before`` are left out, and those that pass now are added to it.
    """
    refused, different, slower, unused = [], [], [], []
    before: set[str] = set()
    if passed_before is not None and passed_before.exists():
        before.update(passed_before.read_text(encoding="utf-8").splitlines())
    passed = len(before)
    for name, file, inputs in files(only, before):
        start = time.perf_counter()
        known = torch.jit.load(str(file))
        between = time.perf_counter()
        try:
            vetted = load_vetted(file)
        except NotVetted as error:
            refused.append(f"{name}: {error}")
            continue
        slower.append((time.perf_counter() - between - (between - start), name, file.stat().st_size))
        try:
            expected = result(known, inputs)
        except (RuntimeError, torch.jit.Error):  # some networks cannot run as TorchScript, or with this input
            unused.append(name)
        else:
            if not _computes(vetted, inputs, expected):
                different.append(name)
                continue
        passed += 1
        if passed_before is not None:
            with passed_before.open("a", encoding="utf-8") as file_of_names:
                print(name, file=file_of_names)
    print(f"{passed} passed, {len(refused)} refused, {len(different)} with other results")
    for line in (*refused, *(f"other results: {name}" for name in different)):
        print(line)
    print(f"Loaded, but PyTorch cannot run them even without vetting: {', '.join(unused) or 'none'}")
    if slower:
        longest = max(slower)
        print(
            f"Vetting adds {statistics.median(seconds for seconds, *_ in slower):.3f} s (median), at most "
            f"{longest[0]:.3f} s ({longest[1]}, {longest[2] >> 10} KiB)."
        )
    return len(refused) + len(different)


def _computes(network: Any, inputs: tuple[Any, ...], expected: Any) -> bool:
    try:
        return same(expected, result(network, inputs))
    except (RuntimeError, torch.jit.Error) as error:
        print(last_line(error), file=sys.stderr)
        return False


def result(network: Any, inputs: tuple[Any, ...]) -> Any:
    """What a network returns; random numbers are the same each time."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return network(*(one.clone() if isinstance(one, torch.Tensor) else one for one in inputs))


def files(only: str = "", without: Collection[str] = ()) -> Iterator[tuple[str, Path, tuple[Any, ...]]]:
    """Saved networks, each with its name and inputs; a file lives until the next one is asked for."""
    numbers: dict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        for network in (*networks(), *library_networks()):
            if only not in network.name:
                continue
            numbers["networks"] += 1
            for kind in ("scripted", "traced"):
                name = f"{network.name} ({kind})"
                if not getattr(network, kind) or name in without:
                    continue
                file = Path(folder) / "network.pt"
                try:
                    save(network, kind, file)
                except Exception as error:  # a library raises anything where its network cannot be scripted
                    numbers[f"cannot be {kind}"] += 1
                    print(f"{network.name} cannot be {kind}: {last_line(error)}", file=sys.stderr)
                    continue
                numbers[kind] += 1
                yield name, file, network.inputs
    print(", ".join(f"{number} {name}" for name, number in numbers.items()))


def last_line(error: Exception) -> str:
    """The beginning of an error's text."""
    return " ".join(str(error).split())[:160]


def save(network: Network, kind: str, file: Path) -> None:
    """Script or trace a network."""
    torch.manual_seed(0)
    module = network.build().eval()
    with torch.no_grad():
        if kind == "scripted":
            program = torch.jit.script(module)
        else:
            program = torch.jit.trace(module, network.inputs, check_trace=False, strict=False)
        torch.jit.save(program, str(file))


def library_networks() -> Iterator[Network]:
    """Networks of the libraries that are installed."""
    for name, of in (
        ("torchvision", _torchvision),
        ("timm", _timm),
        ("segmentation_models_pytorch", _segmentation_models),
        ("monai", _monai),
    ):
        if importlib.util.find_spec(name) is not None:
            yield from of()


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
    return (torch.rand(*size, generator=torch.Generator().manual_seed(0)),)


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


if __name__ == "__main__":
    main()
