"""The network on OpenVINO, an engine for CPUs that users install on request (the extra ``openvino``)."""

from importlib.util import find_spec
from typing import Any

import numpy as np

from ..array_types import Array
from ..errors import BioimageInferenceError, ModelError
from ..machine.process_settings import give_back_buffers
from ..options import Precision
from ..text import counted, reason_of
from .device import torch_settings
from .network import NO_BFLOAT16, Engine, Inputs, difference, failed, memory_is_short, too_large
from .telemetry import import_openvino
from .tracing import trace

# Compiled networks in memory, one for each combination of input shapes. Each has its own buffers; an image in tiles
# has one shape, or two with optional inputs, so that eight serve images of several sizes by turns.
_KEPT = 8
_PRECISION = "INFERENCE_PRECISION_HINT"


def openvino_installed() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class OpenVINONetwork:
    """A PyTorch module, converted to OpenVINO when an input shape first occurs.

    A call raises :class:`ModelError` if OpenVINO cannot run the network, :class:`OutOfMemoryError` if a tile does not
    fit into memory.
    """

    def __init__(self, module: Any, precision: Precision, threads: int) -> None:
        openvino = import_openvino()
        self._openvino = openvino
        self._threads = threads
        self._core = openvino.Core()
        self._module = module
        self._compiled: dict[Any, _Compiled] = {}
        self._settings = {
            # the default is the fastest precision of the CPU, which may be less than float32
            _PRECISION: "bf16" if precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_HYPER_THREADING": True,  # otherwise OpenVINO takes no more threads than cores
            "ENABLE_CPU_PINNING": False,  # otherwise processes side by side share a core
        }
        self.engine = Engine("openvino", "as asked")
        self._remark = ""
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            self._remark = NO_BFLOAT16

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile. Outputs have the dtypes that torch gives them."""
        shapes = tuple(None if array is None else (array.shape, array.dtype) for array in inputs)
        try:
            if shapes not in self._compiled:
                compiled, expected = self._compile(inputs)
                outputs = compiled(inputs)
                if not self._compiled:
                    apart = f"{difference(outputs, expected):.1g} of the range of values"
                    reason = f"as asked; its first tile differs from torch's in float32 by {apart}{self._remark}"
                    self.engine = Engine("openvino", reason)
                self._compiled = dict(list(self._compiled.items())[1 - _KEPT :]) | {shapes: compiled}
                return outputs
            return self._compiled[shapes](inputs)
        except MemoryError as error:
            raise too_large(inputs, "not enough memory") from error
        except RuntimeError as error:
            if memory_is_short(error):
                raise too_large(inputs, "not enough memory") from error
            raise failed(inputs, error) from error

    def _compile(self, inputs: Inputs) -> "tuple[_Compiled, list[Array]]":
        """Return the network compiled for inputs of these shapes, and torch's outputs for these inputs."""
        present = [array for array in inputs if array is not None]
        try:
            with torch_settings(self._threads):
                traced, expected = trace(self._module, inputs)
            model = self._openvino.convert_model(
                traced,
                example_input=tuple(np.array(array, order="C") for array in present),
                input=[(list(array.shape), array.dtype.type) for array in present],
            )
        except (MemoryError, BioimageInferenceError):
            raise
        except Exception as error:  # torch's tracer and OpenVINO's converter raise anything
            if memory_is_short(error):
                raise
            raise _not_convertible(reason_of(error, last_line=True)) from error
        give_back_buffers()  # torch does not need its buffers from here on
        if model.is_dynamic():
            raise _not_convertible("the shapes of its results depend on the values of its inputs")
        if len(model.outputs) != len(expected):
            raise _not_convertible(f"it returns {counted(len(expected), 'tensor')}, as converted {len(model.outputs)}")
        request = self._compiled_for_cpu(model).create_infer_request()
        return _Compiled(request, [array.dtype for array in expected]), expected

    def _compiled_for_cpu(self, model: Any) -> Any:
        """Compile the model in the chosen precision, or in float32 if OpenVINO cannot compile it in less."""
        try:
            return self._core.compile_model(model, "CPU", self._settings)
        except RuntimeError as error:
            if memory_is_short(error):
                raise
            if self._settings[_PRECISION] == "f32":
                raise _not_convertible(reason_of(error, last_line=True)) from error
        self._settings[_PRECISION] = "f32"
        self._remark = "; in float32, because OpenVINO cannot compile this network in bfloat16 on this CPU"
        return self._compiled_for_cpu(model)


class _Compiled:
    """A network compiled for one shape of each input. ``dtypes`` belong to the outputs."""

    def __init__(self, request: Any, dtypes: "list[np.dtype[Any]]") -> None:
        self._request, self._dtypes = request, dtypes

    def __call__(self, inputs: Inputs) -> list[Array]:
        # copies: tiles are views of the image, and OpenVINO does not promise to leave its inputs unchanged
        present = [np.array(array, order="C") for array in inputs if array is not None]
        self._request.infer(present, share_inputs=True)
        tensors = (self._request.get_output_tensor(number) for number in range(len(self._dtypes)))
        return [np.array(tensor.data, dtype) for tensor, dtype in zip(tensors, self._dtypes, strict=True)]


def _not_convertible(reason: str) -> ModelError:
    return ModelError(f"OpenVINO cannot run this network: {reason}. Leave --engine out to compute with torch.")
