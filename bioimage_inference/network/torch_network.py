"""The network on torch: a PyTorch module on a device, computed whole or slab by slab."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from copy import copy
from functools import partial
from traceback import clear_frames
from typing import Any, TypeVar

import numpy as np

from ..array_types import Array
from ..machine.processors import thread_pool
from ..options import Precision
from ..text import reason_of
from .device import Device, torch_settings
from .network import Dependence, Engine, Inputs, difference, failed, memory_is_short, too_large
from .slabs import NotInSlabs

Result = TypeVar("Result")


class TorchNetwork:
    """A PyTorch module on a device.

    ``slabs`` computes the same slab by slab. It is ``None`` on a GPU and in reduced precision, where torch decides
    which operations take less than float32. On a CPU, values depend on the number of ``threads`` by rounding alone.
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

        from .cpu_kernels import FORMATS, SameForAnyThreads, channels_last
        from .slabs.slab_network import SlabNetwork

        self.device, self.precision, self.threads = device, precision, threads
        self._reason, self._remark = reason, ""
        self._torch = torch
        self._on = torch.device(device.name)
        self._on_gpu = self._on.type != "cpu"
        self._is_cuda = self._on.type == "cuda"
        self._settings = partial(torch_settings, threads, self._is_cuda)
        self._kernels = nullcontext if self._on_gpu else SameForAnyThreads
        # the documentation of MPS promises no memory format
        self._formats = {} if self._on.type == "mps" else FORMATS
        self._channels_last = channels_last
        self._module = module.to(self._on)
        self._use_channels_last()
        self.slabs: SlabNetwork | None = None
        if not self._on_gpu and precision == "float32":
            self.slabs = SlabNetwork(self._module)
        self._slabwise = False

    @property
    def module(self) -> Any:
        """The PyTorch module, on the device."""
        return self._module

    @property
    def engine(self) -> Engine:
        """Torch, why it computes, and how: in which precision, in slabs."""
        slabwise = "; large tiles are computed slab by slab" if self._slabwise else ""
        return Engine("torch", f"{self._reason}{self._remark}{slabwise}")

    def slabwise(self) -> "TorchNetwork":
        """Return this network as one that computes large tiles slab by slab."""
        network = copy(self)
        network._slabwise = True
        return network

    def __call__(self, inputs: Inputs) -> list[Array]:
        """Compute one tile on the device. Results come back in float32 if the network computed in less.

        Raises :class:`OutOfMemoryError` if the tile does not fit, :class:`ModelError` if the module fails otherwise.
        """
        return self._with_errors(inputs, lambda: self._computed(inputs))

    def computes_in_slabs(self, inputs: Inputs) -> bool:
        """Return whether this network computes a tile of these inputs slab by slab."""
        return self._slabwise and self.slabs is not None and self.slabs.large(inputs)

    def side_by_side(self, tiles: Sequence[Inputs]) -> list[list[Array]]:
        """Compute several tiles in slabs at the same time. Each takes its part of the threads.

        Threads that share a tile wait for each other after every operation. Beside a program that kept one of two
        cores busy, two tiles side by side took 0.6 times as long (nuclei U-Net, AMD EPYC, torch 2.13). Raises the
        errors of a call.
        """
        torch, threads = self._torch, max(1, self.threads // len(tiles))

        def compute(inputs: Inputs) -> list[Array]:
            # torch and oneDNN take the number of threads from the thread that calls them
            torch.set_num_threads(threads)
            return self._with_errors(inputs, lambda: self._compute_in_slabs(inputs))

        with torch_settings(threads), thread_pool(len(tiles)) as pool:
            return list(pool.map(compute, tiles))

    def tensor_memory(self, inputs: Inputs) -> int:
        """Return the peak memory of all tensors while a tile is computed, in bytes. Raises the errors of a call."""
        from .torch_operations import TensorMemory

        with TensorMemory() as memory:
            self(inputs)
        return int(memory.most)

    def dependence(self, small: Inputs, large: Inputs | None) -> Dependence:
        """Return which operations depend on the tile as a whole, see :func:`.trials.dependence`.

        Raises the errors of a call.
        """
        from .trials import dependence

        def compute() -> Dependence:
            with self._settings():
                tiles = [None if one is None else self._tensors(one, shared=False) for one in (small, large)]
                assert tiles[0] is not None
                return dependence(self._module, tiles[0], tiles[1])

        return self._with_errors(small, compute)

    def independence(self, small: Inputs, large: Inputs) -> Dependence | None:
        """Return that no operation depends on the tile as a whole, ``None`` if one may, without computing anything."""
        try:
            return self.slabs.independence(small, large) if self.slabs is not None else None
        except NotInSlabs:
            return None

    def check_slabs(self, tiles: Iterable[Inputs]) -> None:
        """Compare slabs and whole tiles, once for each network.

        Raises :class:`~.slabs.NotInSlabs` if their results differ, or if the network cannot be computed in slabs.
        """
        if self.slabs is None:
            raise NotInSlabs("it is computed whole")
        with self._settings(), self._kernels():
            self.slabs.check(tiles)

    def _computed(self, inputs: Inputs) -> list[Array]:
        if self.precision == "float32":
            return self._compute(inputs)
        outputs = self._compute(inputs, reduced=True)
        if not self._remark:
            apart = difference(outputs, self._compute(inputs))
            self._remark = f"; its first tile differs from float32 by {apart:.1g} of the range of values"
        return outputs

    def _compute(self, inputs: Inputs, reduced: bool = False) -> list[Array]:
        """Compute one tile, in float32 or in ``reduced`` precision."""
        from .torch_operations import flat

        torch = self._torch
        dtype = torch.float16 if self.precision == "float16" else torch.bfloat16
        with self._settings():
            if self.computes_in_slabs(inputs):
                return self._compute_in_slabs(inputs)
            with torch.inference_mode(), torch.autocast(self._on.type, dtype, enabled=reduced), self._kernels():
                outputs = flat(self._module(*self._tensors(inputs, shared=False)))
                return [self._array(tensor) for tensor in outputs]

    def _compute_in_slabs(self, inputs: Inputs) -> list[Array]:
        assert self.slabs is not None
        with self._torch.inference_mode():
            return [self._array(tensor) for tensor in self.slabs(*self._tensors(inputs, shared=True))]

    def _with_errors(self, inputs: Inputs, compute: Callable[[], Result]) -> Result:
        """Return the result of a computation. Torch's errors become errors for the user.

        Torch puts an error that passes a module into a reference cycle, which would hold the tensors of a tile that did
        not fit until the garbage collector runs. Therefore its frames are cleared.
        """
        torch = self._torch
        try:
            return compute()
        except torch.OutOfMemoryError as error:
            clear_frames(error.__traceback__)
            raise too_large(inputs, reason_of(error)) from error
        except (RuntimeError, torch.jit.Error) as error:
            if memory_is_short(error):
                clear_frames(error.__traceback__)
                raise too_large(inputs, "not enough memory") from error
            raise failed(inputs, error) from error
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise failed(inputs, error) from error

    def _use_channels_last(self) -> None:
        """Store weights with their channels together.

        Convolutions are 1.6 times faster then on a CPU (U-Net of 512×512 pixels, 2 cores of an Intel Xeon, torch 2.13),
        and no slower on a GPU.
        """
        with self._torch.no_grad():
            for parameter in self._module.parameters():
                if parameter.dim() in self._formats:
                    parameter.data = self._channels_last(parameter.data)

    def _tensors(self, inputs: Inputs, shared: bool) -> list[Any]:
        """Return the inputs on the device. Absent optional inputs at the end keep their defaults."""
        tensors: list[Any] = [None if array is None else self._tensor(array, shared) for array in inputs]
        while tensors and tensors[-1] is None:
            tensors.pop()
        return tensors

    def _tensor(self, array: Array, shared: bool) -> Any:
        """Return the array on the device; ``shared`` memory is for slabs, which do not change their inputs."""
        # otherwise a copy: networks may compute in place, and a tile may be a view of the image
        array = np.require(array, requirements=["C", "W"]) if shared else np.array(array, order="C")
        tensor = self._torch.from_numpy(array)
        if self._is_cuda:  # from pinned memory the copy to the GPU runs while this process goes on
            tensor = tensor.pin_memory()
        tensor = tensor.to(self._on, non_blocking=self._is_cuda)
        if tensor.dim() in self._formats and tensor.is_floating_point():
            tensor = self._channels_last(tensor)
        return tensor

    def _array(self, tensor: Any) -> Array:
        if tensor.dtype in (self._torch.bfloat16, self._torch.float16):
            tensor = tensor.float()
        array: Array = tensor.cpu().numpy()
        return array
