"""The network on the GPU of a Mac (MPS, Metal Performance Shaders), compared with the CPU and with the CPU in reserve.

Written for torch's documented interface (``torch.backends.mps``, ``torch.mps``); no Mac was at hand. So the first tile
is computed on both devices, and the CPU takes over where the results differ, or where MPS lacks an operator.
"""

from copy import deepcopy
from typing import Any

from ..array_types import Array
from ..errors import ModelError, OutOfMemoryError
from .device import Device
from .network import Engine, Inputs, difference, same
from .torch_network import TorchNetwork


class MPSNetwork:
    """A PyTorch module on the device ``mps`` in float32. ``on_cpu`` is the same module on the CPU, also for trials.

    Both share the memory of the Mac, which holds the weights twice.
    """

    def __init__(self, module: Any, device: Device, reason: str, threads: int) -> None:
        self.on_cpu = TorchNetwork(module, Device("cpu", "CPU"), reason=reason, threads=threads)
        self._device, self._reason, self._remark = device, reason, ""
        self._on_gpu: TorchNetwork | None = None
        self._is_compared = self._is_refused = False

    @property
    def engine(self) -> Engine:
        """Torch, why it computes, and which of the devices computed the tiles."""
        return Engine("torch", f"{self._reason}{self._remark}")

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile. Raises the errors of the CPU, and :class:`OutOfMemoryError` of either device."""
        if self._is_refused:
            return self.on_cpu(inputs)
        try:
            found = self._loaded()(inputs)
        except OutOfMemoryError:
            raise
        except ModelError as error:  # an operator that MPS lacks, or a fault of the network, which the CPU has too
            return self._refused(inputs, f"MPS cannot compute this network ({error.__cause__ or error})")
        if self._is_compared:
            return found
        expected = self.on_cpu(inputs)
        apart = f"by {difference(found, expected):.1g} of the range of values"
        if not same(found, expected):
            return self._refused(inputs, f"the first tile differs on MPS {apart}", expected)
        self._is_compared = True
        self._remark = f"; its first tile on MPS differs from the CPU's {apart}"
        return found

    def _loaded(self) -> TorchNetwork:
        """Return the network on the GPU. Raises :class:`ModelError` where its weights cannot be there."""
        if self._on_gpu is None:
            module: Any = self.on_cpu.module
            try:
                self._on_gpu = TorchNetwork(deepcopy(module), self._device, threads=self.on_cpu.threads)
            except (RuntimeError, TypeError) as error:  # torch's TypeError for weights in float64
                raise ModelError("The weights cannot be put on MPS.") from error
        return self._on_gpu

    def _refused(self, inputs: Inputs, reason: str, known: list[Array] | None = None) -> list[Array]:
        """Use the CPU from now on, and return its result of a tile."""
        found = self.on_cpu(inputs) if known is None else known
        self._is_refused, self._on_gpu = True, None
        self._remark = f"; computed on the CPU, because {' '.join(reason.split())[:300]}"
        return found
