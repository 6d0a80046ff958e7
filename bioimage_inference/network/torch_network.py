"""The network as the engine sees it: arrays in, arrays out. Tests put their own function here."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from ..array_types import Array
from ..errors import ModelError, OutOfMemoryError
from ..machine.sandbox import advice
from ..options import Precision
from .device import Device
from .slabs import NotInSlabs
from .tile_tensors import Inputs, difference, flat

if TYPE_CHECKING:
    from .tile_dependence import Dependence

Result = TypeVar("Result")
# How torch's allocator on a CPU, oneDNN, C++ and OpenVINO say that memory is short.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "could not create a primitive", "could not create a memory"),
    *("bad_alloc", "Failed to allocate"),
)


@dataclass(frozen=True)
class Engine:
    """What computes: ``torch`` or ``openvino``, and in words why."""

    name: Literal["torch", "openvino"]
    reason: str


class Network(Protocol):
    """Anything that maps input tensors to output tensors."""

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile; arrays have the axes of the description."""
        ...


class TorchNetwork:
    """A PyTorch module on a device.

    ``slabs`` computes the same slab by slab, ``None`` where that is not to be: on a GPU, or where torch decides which
    operations take less than float32. It does so for large tiles while ``in_slabs`` is true.
    On a CPU it computes with ``threads``, and the values depend on their number by rounding alone.
    Raises :class:`OutOfMemoryError` where a tile does not fit, :class:`ModelError` where the module fails otherwise.
    """

    def __init__(
        self,
        module: Any,
        device: Device,
        precision: Precision = "float32",
        reason: str = "the engine of the weights",
        threads: int = 1,
    ) -> None:
        import torch

        from .cpu_kernels import FORMATS, SameForAnyThreads
        from .slabs.slab_network import SlabNetwork
        from .torch_settings import torch_settings

        self.engine = Engine("torch", reason)
        self._torch = torch
        self._device = torch.device(device.name)
        self._precision = precision
        self._on_gpu = self._device.type == "cuda"
        self._settings = partial(torch_settings, threads, self._device)
        self._kernels = nullcontext if self._on_gpu else SameForAnyThreads
        self._reduced = torch.float16 if precision == "float16" else torch.bfloat16
        self._compared = False
        self._module = module.to(self._device)
        self._formats = FORMATS
        self._use_channels_last()
        self.slabs = None if self._on_gpu or precision != "float32" else SlabNetwork(self._module)
        self.in_slabs = False

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile on the device; results come back in float32 where the network computed in less."""
        return self._told(inputs, lambda: self._computed(inputs))

    def _computed(self, inputs: Inputs) -> list[Array]:
        if self._precision == "float32":
            return self._compute(inputs, reduced=False)
        outputs = self._compute(inputs, reduced=True)
        if not self._compared:
            self._compared = True
            apart = difference(outputs, self._compute(inputs, reduced=False))
            words = f"its first tile differs from float32 by {apart:.1g} of the range of values"
            self.engine = Engine("torch", f"{self.engine.reason}; {words}")
        return outputs

    def _told(self, inputs: Inputs, compute: Callable[[], Result]) -> Result:
        """What a computation returns; what torch raises in it comes as an error for the user."""
        torch = self._torch
        try:
            return compute()
        except torch.OutOfMemoryError as error:
            raise too_large(inputs, str(error)) from error
        except (RuntimeError, torch.jit.Error) as error:
            if memory_is_short(error):
                raise too_large(inputs, "not enough memory") from error
            raise failed(inputs, error) from error
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise failed(inputs, error) from error

    def held(self, inputs: Inputs) -> int:
        """Bytes that all tensors hold at once, at most, while a tile is computed. Raises what a call raises."""
        from .footprint import Held

        with Held() as held:
            self(inputs)
        return int(held.most)

    def dependence(self, small: Inputs, large: Inputs | None) -> "Dependence":
        """What of the result depends on the tile as a whole, see there. Raises what a call raises."""
        from .tile_dependence import dependence

        def compute() -> "Dependence":
            with self._settings():
                tiles = [None if one is None else self._tensors(one, shared=False) for one in (small, large)]
                assert tiles[0] is not None
                return dependence(self._module, tiles[0], tiles[1])

        return self._told(small, compute)

    def _compute(self, inputs: Inputs, reduced: bool) -> list[Array]:
        """Compute one tile, ``reduced`` in the precision asked for."""
        torch = self._torch
        with self._settings(), torch.inference_mode():
            slabs = self.slabs if self.in_slabs and self.slabs is not None and self.slabs.large(inputs) else None
            tensors = self._tensors(inputs, slabs is not None)
            network, kernels = (slabs, nullcontext) if slabs is not None else (self._module, self._kernels)
            with torch.autocast(self._device.type, self._reduced, enabled=reduced), kernels():
                outputs = flat(network(*tensors))
            return [self._array(tensor) for tensor in outputs]

    def _tensors(self, inputs: Inputs, shared: bool) -> list[Any]:
        """The inputs on the device; absent optional ones at the end keep their defaults."""
        tensors: list[Any] = [None if array is None else self._tensor(array, shared) for array in inputs]
        while tensors and tensors[-1] is None:
            tensors.pop()
        return tensors

    def check_slabs(self, tiles: Iterable[Inputs]) -> None:
        """See, once, whether slabs give for small tiles what the module gives.

        Raises :class:`~.slabs.NotInSlabs` where they do not, or where nothing can be computed in slabs.
        """
        if self.slabs is None:
            raise NotInSlabs("it is computed whole")
        with self._settings(), self._kernels():
            self.slabs.check(tiles)

    def _use_channels_last(self) -> None:
        """Convolutions are about 1.6 times faster on a CPU when channels lie together, and no slower on a GPU."""
        with self._torch.no_grad():
            for parameter in self._module.parameters():
                if parameter.dim() in self._formats:
                    parameter.data = parameter.data.contiguous(memory_format=self._formats[parameter.dim()])

    def _tensor(self, array: Array, shared: bool) -> Any:
        """The array on the device; ``shared`` with it for slabs, which do not change their inputs."""
        # else a copy: networks may compute in place, and tiles are parts of the image, which others need as it is
        array = np.require(array, requirements=["C", "W"]) if shared else np.array(array, order="C")
        tensor = self._torch.from_numpy(array)
        if self._on_gpu:  # from pinned memory the copy goes on while this process does
            tensor = tensor.pin_memory()
        tensor = tensor.to(self._device, non_blocking=True)
        if tensor.dim() in self._formats and tensor.is_floating_point():
            tensor = tensor.contiguous(memory_format=self._formats[tensor.dim()])
        return tensor

    def _array(self, tensor: Any) -> Array:
        if tensor.dtype in (self._torch.bfloat16, self._torch.float16):
            tensor = tensor.float()
        array: Array = tensor.cpu().numpy()
        return array


def _shapes(inputs: Inputs) -> str:
    return ", ".join("nothing" if array is None else "×".join(map(str, array.shape)) for array in inputs)


def memory_is_short(error: Exception) -> bool:
    """Whether an error of a library, which has no type of its own, says that there is not enough memory."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def too_large(inputs: Inputs, reason: str) -> OutOfMemoryError:
    """The error for a tile that does not fit into memory."""
    return OutOfMemoryError(
        f"A tile of {_shapes(inputs)} does not fit into memory ({reason.splitlines()[0][:200]}). Give more memory, or "
        "choose a smaller tile with --tile or --memory."
    )


def failed(inputs: Inputs, error: Exception) -> ModelError:
    """The error for a network that fails on a tile."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1][:300] if lines else type(error).__name__
    return ModelError(
        f"The network failed on an input of {_shapes(inputs)}: {last}. The description and the weights may not belong "
        f"together, or the size is not one that the network takes.{advice(error)}"
    )
