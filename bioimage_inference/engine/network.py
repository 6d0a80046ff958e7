"""The network as the engine sees it: arrays in, arrays out. Tests put their own function here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ..errors import ModelError, OutOfMemoryError
from .device import Device
from .statistics import Array

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Engine:
    """What computes: ``torch`` or ``openvino``, and in words why."""

    name: Literal["torch", "openvino"]
    reason: str


class Network(Protocol):
    """Anything that maps input tensors (``None`` for an optional one that is absent) to output tensors."""

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array]:
        """Compute one tile; arrays have the axes of the description."""
        ...


class TorchNetwork:
    """A PyTorch module on a device.

    Raises :class:`OutOfMemoryError` where a tile does not fit, :class:`ModelError` where the module fails otherwise.
    """

    def __init__(
        self, module: Any, device: Device, precision: Precision = "float32", reason: str = "the engine of the weights"
    ) -> None:
        import torch

        self.engine = Engine("torch", reason)
        self._torch = torch
        self._device = torch.device(device.name)
        self._precision = precision
        self._module = module.to(self._device)
        self._formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        self._use_channels_last()

    def __call__(self, inputs: Sequence[Array | None]) -> list[Array]:
        """Compute one tile on the device; results come back in float32 where the network computed in less."""
        torch = self._torch
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"),
            ):
                tensors = [None if array is None else self._tensor(array) for array in inputs]
                while tensors and tensors[-1] is None:  # absent optional inputs keep their defaults
                    tensors.pop()
                return [self._array(tensor) for tensor in flat(self._module(*tensors))]
        except torch.OutOfMemoryError as error:
            raise too_large(inputs, str(error)) from error
        except (RuntimeError, torch.jit.Error) as error:
            if "can't allocate memory" in str(error):
                raise too_large(inputs, "not enough memory") from error
            raise failed(inputs, error) from error
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, NotImplementedError) as error:
            raise failed(inputs, error) from error

    def _use_channels_last(self) -> None:
        """Convolutions are about 1.6 times faster on a CPU when channels lie together, and no slower on a GPU."""
        with self._torch.no_grad():
            for parameter in self._module.parameters():
                if parameter.dim() in self._formats:
                    parameter.data = parameter.data.contiguous(memory_format=self._formats[parameter.dim()])

    def _tensor(self, array: Array) -> Any:
        tensor = self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        if tensor.dim() in self._formats and tensor.is_floating_point():
            tensor = tensor.contiguous(memory_format=self._formats[tensor.dim()])
        return tensor

    def _array(self, tensor: Any) -> Array:
        if tensor.dtype in (self._torch.bfloat16, self._torch.float16):
            tensor = tensor.float()
        array: Array = tensor.cpu().numpy()
        return array


def flat(result: Any) -> list[Any]:
    """A network returns a tensor, or a tuple, list or dict of them, in the order of the description."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [tensor for part in result for tensor in flat(part)]
    if not hasattr(result, "cpu"):
        raise TypeError(f"the network returned a {type(result).__name__}, not a tensor")
    return [result]


def _shapes(inputs: Sequence[Array | None]) -> str:
    return ", ".join("nothing" if array is None else "×".join(map(str, array.shape)) for array in inputs)


def too_large(inputs: Sequence[Array | None], reason: str) -> OutOfMemoryError:
    """The error for a tile that does not fit into memory."""
    return OutOfMemoryError(
        f"A tile of {_shapes(inputs)} does not fit into memory ({reason.splitlines()[0][:200]}). Give more memory, or "
        "choose a smaller tile with --tile or --memory."
    )


def failed(inputs: Sequence[Array | None], error: Exception) -> ModelError:
    """The error for a network that fails on a tile."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1][:300] if lines else type(error).__name__
    return ModelError(
        f"The network failed on an input of {_shapes(inputs)}: {last}. The description and the weights may not belong "
        "together, or the size is not one that the network takes."
    )
