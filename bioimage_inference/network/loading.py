"""From an opened model to a network on its device."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..machine.memory import address_space_limit, resident_memory
from ..machine.process_settings import give_back_buffers
from ..machine.processors import available_processors
from ..model.spec import ModelSpec, WeightsEntry, WeightsFormat
from ..model.trust import TrustPolicy
from ..model.vetting.onnx_graph import OnnxNetwork
from ..model.weights import load_weights
from ..model.weights_order import WeightsChoice
from ..options import Options
from .device import MPS, Device, choose_device, torch_settings
from .mps_network import MPSNetwork
from .network import NO_BFLOAT16, Engine, MeasuredNetwork, Network
from .onnx_network import ONNXNetwork, device_of_onnx
from .openvino_network import OpenVINONetwork, openvino_installed
from .torch_network import TorchNetwork


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that is ready to compute, and its facts for the record.

    ``module`` is the PyTorch module, ``None`` for ONNX and if the caller brought a network. ``spec`` is the model's,
    with the model's own functions loaded. ``entry`` is the weights entry in use, ``reason`` why it is used, and
    ``sha256`` the hash of its file. ``threads`` is the number of CPU threads. ``resident`` is the memory of the process
    in bytes after loading.
    """

    network: Network
    module: Any
    spec: ModelSpec
    device: Device
    entry: WeightsEntry
    sha256: str
    notes: tuple[str, ...]
    threads: int
    resident: int
    reason: str = ""
    external_data_sha256: str | None = None

    @property
    def engine(self) -> Engine:
        """The library that computed the latest tiles, and why."""
        return self.network.engine

    @property
    def for_trials(self) -> MeasuredNetwork | None:
        """The network on torch in float32 or on onnxruntime, for trials; ``None`` for a network of the caller."""
        if isinstance(self.network, ONNXNetwork):
            return self.network
        if isinstance(self.network, MPSNetwork):
            return self.network.on_cpu
        if isinstance(self.network, TorchNetwork) and self.network.precision == "float32":
            return self.network
        return None if self.module is None else TorchNetwork(self.module, self.device, threads=self.threads)


def load_network(spec: ModelSpec, bare_weights: Path | None, policy: TrustPolicy, options: Options) -> LoadedNetwork:
    """Load the first weights that can be used, and put the network on its device.

    ``spec`` has the code of its own operations loaded. ``bare_weights`` is the weights file that the user gave as the
    model, if any. Raises :class:`ModelError`, :class:`TrustError`, or :class:`UsageError` for a device or engine that
    does not exist here.
    """
    device = choose_device(options.device)
    if options.precision == "float16" and device.name == "cpu":
        raise UsageError(
            "--precision float16 is for GPUs, and this run is on the CPU. Use bfloat16, which CPUs compute, or float32."
        )
    if options.precision != "float32" and device.name == MPS:
        raise UsageError(f"--precision {options.precision} is not offered on MPS. Use float32.")
    loaded = load_weights(spec, policy, bare_weights, _choice(options))
    threads = options.threads or default_threads()
    network: Network
    if isinstance(loaded.module, OnnxNetwork):
        device = device_of_onnx(device, options.device)
        reason = "the engine of the weights" if options.engine == "auto" else "as asked"
        network = ONNXNetwork(loaded.module, spec, device, threads, reason)
    else:
        network = _on_engine(loaded.module, device, options, threads)
    give_back_buffers()  # loading leaves free buffers, which would count as memory of the program
    resident = resident_memory()
    # without such a limit, the system ends a program rather than refuse it memory
    if isinstance(network, TorchNetwork) and address_space_limit() is not None:
        from .cpu_kernels import prepare_matrix_products

        with torch_settings(threads):
            prepare_matrix_products()
    return LoadedNetwork(
        network=network,
        module=None if isinstance(loaded.module, OnnxNetwork) else loaded.module,
        spec=spec,
        device=device,
        entry=loaded.entry,
        sha256=loaded.sha256,
        notes=loaded.notes,
        threads=threads,
        resident=resident,
        reason=loaded.reason,
        external_data_sha256=loaded.external_data_sha256,
    )


def _choice(options: Options) -> WeightsChoice:
    """Return which weights the options allow: each engine has its own, and onnxruntime computes in float32 only."""
    onnx: tuple[WeightsFormat, ...] = ("onnx",)
    if options.engine == "onnxruntime":
        return WeightsChoice(options.weights, ("torchscript", "pytorch_state_dict"), "--engine onnxruntime")
    if options.engine != "auto":
        return WeightsChoice(options.weights, onnx, f"--engine {options.engine}")
    if options.precision != "float32":
        return WeightsChoice(options.weights, onnx, f"--precision {options.precision}")
    if options.device == MPS:
        return WeightsChoice(options.weights, onnx, f"--device {MPS}")
    return WeightsChoice(options.weights)


def given_network(network: Network, spec: ModelSpec, options: Options) -> LoadedNetwork:
    """Return the facts of a network that the caller brings in place of the model's weights; nothing is loaded."""
    on_torch = network if isinstance(network, TorchNetwork) else None
    return LoadedNetwork(
        network=network,
        module=None,
        spec=spec,
        device=on_torch.device if on_torch is not None else Device("cpu", "CPU, with the caller's network"),
        entry=WeightsEntry("torchscript", "a network of the caller"),
        sha256="0" * 64,
        notes=("The caller's network computed the prediction, not the weights of the model.",),
        threads=on_torch.threads if on_torch is not None else options.threads or 1,
        resident=resident_memory(),
    )


def default_threads() -> int:
    """Return torch's number of threads (``OMP_NUM_THREADS``, or the cores), within the processors of this process."""
    import torch

    return min(torch.get_num_threads(), available_processors())


def _on_engine(module: Any, device: Device, options: Options, threads: int) -> Network:
    """Return the module on the engine that the options and the device call for."""
    if options.engine == "openvino" and device.name == "cpu":
        if not openvino_installed():
            raise UsageError(
                "--engine openvino needs OpenVINO, which is not installed. Install it with "
                'pip install "bioimage_inference[openvino]", or leave --engine out.'
            )
        return OpenVINONetwork(module, options.precision, threads)
    reasons = {
        "auto": "the engine of the weights",
        "torch": "as asked",
        "openvino": "OpenVINO is used on CPUs only",
    }
    if device.name == MPS:
        return MPSNetwork(module, device, reasons[options.engine], threads)
    precision, reason = options.precision, reasons[options.engine]
    if precision == "bfloat16" and device.name == "cpu":
        from .cpu_kernels import computes_bfloat16

        if not computes_bfloat16():
            precision, reason = "float32", f"{reason}{NO_BFLOAT16}"
    return TorchNetwork(module, device, precision, reason, threads)
