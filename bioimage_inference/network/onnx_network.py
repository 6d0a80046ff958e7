"""The network on onnxruntime, the engine of ONNX weights (the extra ``onnx``), on a CPU or with CUDA."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array_types import Array
from ..errors import BioimageInferenceError, ModelError, UsageError
from ..model.spec import ModelSpec
from ..model.vetting.onnx_graph import OnnxNetwork
from ..text import counted, for_terminal, reason_of
from .device import Device
from .network import Dependence, Engine, Inputs, failed, memory_is_short, too_large
from .telemetry import import_onnxruntime

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_SILENT = 4  # onnxruntime's level "fatal": its other messages hold text of the model, and errors reach us as exceptions
_DTYPES: "dict[str, type[np.generic]]" = {
    **{"tensor(float16)": np.float16, "tensor(float)": np.float32, "tensor(double)": np.float64},
    **{f"tensor(int{bits})": np.dtype(f"int{bits}").type for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": np.dtype(f"uint{bits}").type for bits in (8, 16, 32, 64)},
    "tensor(bool)": np.bool_,
}


def device_of_onnx(device: Device, wanted: str) -> Device:
    """Return the device for ONNX weights: the ``device`` that torch chose, or the CPU where onnxruntime has no CUDA.

    Raises :class:`UsageError` where the user ``wanted`` a GPU that onnxruntime does not compute on.
    """
    if device.name == "cpu" or (
        device.name.startswith("cuda") and _CUDA in import_onnxruntime().get_available_providers()
    ):
        return device
    if wanted != "auto":
        raise UsageError(
            f"--device {wanted} asks for a GPU, but the installed onnxruntime computes ONNX weights on CPUs only. Use "
            "--device cpu, other --weights, or for CUDA the package onnxruntime-gpu in place of onnxruntime."
        )
    return Device("cpu", "CPU, because the installed onnxruntime has no CUDA")


class ONNXNetwork:
    """A checked ONNX network on a device.

    Inputs and outputs of the network belong to those of the description by name, or by order where names differ. Values
    are converted to the network's floating-point types, and results in float16 to float32.
    """

    def __init__(self, network: OnnxNetwork, spec: ModelSpec, device: Device, threads: int, reason: str) -> None:
        self.device, self.threads = device, threads
        self.engine = Engine("onnxruntime", reason)
        self._network = network
        self._session = new_session(network, device, threads)
        if device.name != "cpu" and _CUDA not in self._session.get_providers():
            raise UsageError(
                "onnxruntime cannot use CUDA here: its libraries (CUDA, cuDNN) are missing or of other versions. Use "
                "--device cpu, or install them."
            )
        self._inputs = _in_order(self._session.get_inputs(), [tensor.id for tensor in spec.inputs])
        outputs = [one.name for one in _in_order(self._session.get_outputs(), [tensor.id for tensor in spec.outputs])]
        self._outputs: list[str] = outputs
        optional = sum(tensor.optional for tensor in spec.inputs)
        if not len(spec.inputs) - optional <= len(self._inputs) <= len(spec.inputs):
            raise ModelError(
                f"The ONNX network takes {counted(len(self._inputs), 'tensor')}, and the description has "
                f"{counted(len(spec.inputs), 'input')}. The description and the weights do not belong together."
            )

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile. Raises the errors of :class:`~.network.Network`."""
        return run_session(self._session, self._feed(inputs), self._outputs, inputs)

    def tensor_memory(self, inputs: Inputs) -> int:
        """Return the peak memory of all tensors while a tile is computed, in bytes. Raises the errors of a call."""
        from .onnx_trials import OnnxTrials

        return OnnxTrials(self._network, self.device, self.threads).memory(self._feed(inputs), inputs)

    def dependence(self, small: Inputs, large: Inputs | None) -> Dependence:
        """Return which operations depend on the tile as a whole, see :mod:`.onnx_trials`.

        Raises the errors of a call.
        """
        from .onnx_trials import OnnxTrials

        trials = OnnxTrials(self._network, self.device, self.threads)
        feeds = [(self._feed(one), one) for one in (small, large) if one is not None]
        operations = trials.over_tile(feeds)
        return Dependence(operations, tuple(array.dtype for array in self(small)))

    def _feed(self, inputs: Inputs) -> dict[str, Array]:
        """Return the tensors by the names of the network. Raises :class:`ModelError` for other types or numbers."""
        given = [(number, array) for number, array in enumerate(inputs) if array is not None]
        if any(number >= len(self._inputs) for number, _ in given):
            raise ModelError(
                f"The ONNX network takes {counted(len(self._inputs), 'tensor')}, not the {len(inputs)} of the "
                "description. Leave the optional inputs out."
            )
        return {self._inputs[number].name: _converted(array, self._inputs[number]) for number, array in given}


def new_session(network: OnnxNetwork, device: Device, threads: int, optimised: bool = True) -> Any:
    """Return onnxruntime's session of a network. Raises :class:`ModelError` where onnxruntime does not take it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _SILENT
    # The arena keeps all buffers for the next tile: 183 MiB instead of 103 for the nuclei U-Net at 512², in the same
    # time (2 cores of a Xeon, onnxruntime 1.32).
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # waiting threads leave the cores to others
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else the first bytes may name another
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # TF32 has the precision of float16
    cuda = (_CUDA, {"device_id": int(device.name.partition(":")[2] or 0), "use_tf32": 0})
    try:
        if network.tensors:
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.array(one)) for one in network.tensors.values()]
            options.add_external_initializers([*network.tensors], values)
        return onnxruntime.InferenceSession(
            network.content, options, providers=[_CPU] if device.name == "cpu" else [cuda, _CPU]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise ModelError(
            f"onnxruntime cannot load the ONNX network: {_text(error)}. Install a newer onnxruntime, or use other "
            "weights of the model."
        ) from error


def run_session(session: Any, feed: dict[str, Array], outputs: Sequence[str], inputs: Inputs) -> list[Array]:
    """Return the outputs of these names; results in float16 become float32. ``inputs`` are those of the message."""
    options = import_onnxruntime().RunOptions()
    options.log_severity_level = _SILENT
    try:
        found = session.run(outputs, feed, options)
    except MemoryError as error:
        raise too_large(inputs, "not enough memory") from error
    except BioimageInferenceError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no common base
        if memory_is_short(error):
            raise too_large(inputs, "not enough memory") from error
        message = failed(inputs, RuntimeError(_text(error)))
        raise ModelError(f"{message} If the model has other weights, try them with --weights.") from error
    if not all(isinstance(array, np.ndarray) for array in found):
        raise ModelError("The ONNX network returns lists or maps; expected were tensors. It cannot run here.")
    return [array.astype(np.float32) if array.dtype == np.float16 else array for array in found]


def _in_order(nodes: Sequence[Any], ids: Sequence[str]) -> list[Any]:
    """Return the inputs or outputs of a session in the order of the description, by name if all names agree."""
    named = {node.name: node for node in nodes}
    return [named[one] for one in ids] if {*ids} == named.keys() else list(nodes)


def _converted(array: Array, node: Any) -> Array:
    """Return a tensor in the type of an input. Integers become floating-point numbers, and never the reverse."""
    dtype = _DTYPES.get(node.type)
    if dtype is None or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ModelError(
            f"The ONNX network takes {for_terminal(node.type)} for its input {for_terminal(node.name[:80])}, and the "
            f"description prepares {array.dtype.name}. The description and the weights do not belong together."
        )
    return np.require(array, dtype, requirements="C")


def _text(error: Exception) -> str:
    """Return the error of onnxruntime as one line, without its prefix."""
    return for_terminal(reason_of(error).removeprefix("[ONNXRuntimeError] : "))
