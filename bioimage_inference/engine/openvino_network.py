"""The network on OpenVINO, an engine for CPUs that is installed on request (the extra ``openvino``)."""

import sys
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import BioimageInferenceError, ModelError
from ..options import Precision
from .allocator import give_back_buffers
from .network import Engine, Inputs, difference, failed, memory_is_short, too_large
from .statistics import Array
from .tracing import trace

# Compiled networks that are kept, each for its own shapes and with buffers of its own.
_KEPT = 8


def openvino_installed() -> bool:
    """Whether OpenVINO can be asked for."""
    return find_spec("openvino") is not None


class OpenVINONetwork:
    """A PyTorch module converted to OpenVINO, for each shape of the inputs when that first comes.

    Raises :class:`ModelError` where OpenVINO cannot run the network, :class:`OutOfMemoryError` where a tile does not
    fit.
    """

    def __init__(self, module: Any, precision: Precision, threads: int) -> None:
        # with telemetry OpenVINO reports to its makers whenever it is imported; without, it uses a stand-in
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self._openvino = openvino
        self._core = openvino.Core()
        self._module = module
        self._compiled: dict[Any, _Compiled] = {}
        self._settings = {
            # the default is what the CPU does fastest, which may be less than float32
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_HYPER_THREADING": True,  # threads are as many as told, whatever the cores
            "ENABLE_CPU_PINNING": False,  # or processes side by side would share a core
        }
        self.engine = Engine("openvino", "as asked")
        self._remark = ""
        if precision == "bfloat16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            self._remark = "; in float32, because this CPU computes no bfloat16"

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile; outputs have the types that torch gives them."""
        shapes = tuple(None if array is None else (array.shape, array.dtype) for array in inputs)
        try:
            if shapes not in self._compiled:
                compiled, expected = self._compile(inputs)
                outputs = compiled(inputs)
                if not self._compiled:
                    apart = f"{difference(outputs, expected):.1g} from torch's in float32"
                    reason = f"as asked; on the first tile the network's outputs are at most {apart}{self._remark}"
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
        """The network for inputs of these shapes, and what torch gives for these inputs."""
        present = [array for array in inputs if array is not None]
        try:
            traced, expected = trace(self._module, inputs)
            model = self._openvino.convert_model(
                traced,
                example_input=tuple(map(np.ascontiguousarray, present)),
                input=[(list(array.shape), array.dtype.type) for array in present],
            )
        except (MemoryError, BioimageInferenceError):
            raise
        except Exception as error:  # torch's tracer and OpenVINO's converter raise anything
            if memory_is_short(error):
                raise
            raise _not_convertible(str(error)) from error
        give_back_buffers()  # torch needs none of them from here on
        if model.is_dynamic():
            raise _not_convertible("the shapes of its results depend on the values of its inputs")
        if len(model.outputs) != len(expected):
            raise _not_convertible(f"it returns {len(expected)} tensors, as converted {len(model.outputs)}")
        compiled = self._core.compile_model(model, "CPU", self._settings)
        return _Compiled(compiled.create_infer_request(), [array.dtype for array in expected]), expected


class _Compiled:
    """A network for one shape of each input; ``dtypes`` are those of the outputs."""

    def __init__(self, request: Any, dtypes: "list[np.dtype[Any]]") -> None:
        self._request, self._dtypes = request, dtypes

    def __call__(self, inputs: Inputs) -> list[Array]:
        present = [np.ascontiguousarray(array) for array in inputs if array is not None]
        self._request.infer(present, share_inputs=True)
        tensors = (self._request.get_output_tensor(number) for number in range(len(self._dtypes)))
        return [np.array(tensor.data, dtype) for tensor, dtype in zip(tensors, self._dtypes, strict=True)]


def _not_convertible(reason: str) -> ModelError:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "no reason given"
    return ModelError(f"OpenVINO cannot run this network: {last}. Leave --engine out to compute with torch.")
