"""From an opened model to a network on its device."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..machine.memory import resident_memory
from ..machine.process_settings import give_back_buffers
from ..machine.processors import available_processors
from ..model.spec import ModelSpec, WeightsEntry
from ..model.trust import TrustPolicy
from ..model.weights import load_weights
from ..options import Options
from .device import Device, choose_device
from .openvino_network import OpenVINONetwork, openvino_installed
from .slabs import NotInSlabs
from .tile_tensors import Inputs
from .torch_network import Engine, TorchNetwork

if TYPE_CHECKING:
    from .slabs.slab_network import SlabNetwork
    from .tile_dependence import Dependence


@dataclass(frozen=True)
class Loaded:
    """A network that is ready to compute, and what the record says of it.

    ``torch`` is the network where torch computes it, ``module`` the network as it was loaded;
    ``spec`` is the model's, its own functions among the operations loaded;
    ``entry`` is the weights entry that was used, ``sha256`` that of its file; ``threads`` is the number of CPU threads;
    ``resident`` is the memory of the process in bytes once the network is loaded.
    """

    network: TorchNetwork | OpenVINONetwork
    torch: TorchNetwork | None
    module: Any
    spec: ModelSpec
    device: Device
    entry: WeightsEntry
    sha256: str
    notes: tuple[str, ...]
    threads: int
    resident: int

    @property
    def engine(self) -> Engine:
        """What computed the latest tiles, and why."""
        engine = self.network.engine
        if self.torch is None or not self.torch.in_slabs:
            return engine
        return replace(engine, reason=f"{engine.reason}; large tiles are computed slab by slab")

    @property
    def slabs(self) -> "SlabNetwork | None":
        """The network slab by slab; ``None`` where it is always computed whole."""
        return self.torch.slabs if self.torch is not None else None

    def use_slabs(self, on: bool) -> None:
        """Compute large tiles slab by slab from now on, or all of them whole."""
        if self.torch is not None:
            self.torch.in_slabs = on

    def held(self, inputs: Inputs) -> int:
        """Bytes that all tensors of the network hold at once, at most, while torch computes a tile."""
        return TorchNetwork(self.module, self.device, threads=self.threads).held(inputs)

    def dependence(self, small: Inputs, large: Inputs | None) -> "Dependence":
        """What of the result depends on the tile as a whole; see :func:`.tile_dependence.dependence`.

        Raises :class:`ModelError` where the network fails, :class:`OutOfMemoryError` where a tile does not fit.
        """
        return TorchNetwork(self.module, self.device, threads=self.threads).dependence(small, large)

    def check_slabs(self, tiles: Iterable[Inputs]) -> None:
        """Compare slabs and whole tiles. Raises :class:`~.slabs.NotInSlabs` where they differ, or there are none."""
        if self.torch is None:
            raise NotInSlabs("torch does not compute it")
        self.torch.check_slabs(tiles)


def load_network(spec: ModelSpec, bare_weights: Path | None, policy: TrustPolicy, options: Options) -> Loaded:
    """Load the first weights that can be used, and put the network on its device.

    ``spec`` has the code of its own operations loaded. ``bare_weights`` is the file that the user gave as the model, if
    it is one. Raises :class:`ModelError`, :class:`TrustError` or, for a device that is not there, :class:`UsageError`.
    """
    device = choose_device(options.device)
    if options.precision == "float16" and device.name == "cpu":
        raise UsageError(
            "--precision float16 is for GPUs, and this run is on the CPU. Use bfloat16, which CPUs compute, or float32."
        )
    loaded = load_weights(spec, policy, bare_weights)
    threads = options.threads or _default_threads()
    network, on_torch = _on_engine(loaded.module, device, options, threads)
    give_back_buffers()  # of an earlier prediction, which the tiles of the next one take again
    return Loaded(
        network=network,
        torch=on_torch,
        module=loaded.module,
        spec=spec,
        device=device,
        entry=loaded.entry,
        sha256=loaded.sha256,
        notes=loaded.notes,
        threads=threads,
        resident=resident_memory(),
    )


def _default_threads() -> int:
    """As many as torch would take (``OMP_NUM_THREADS``, or the cores), within what this process may use."""
    import torch

    return min(torch.get_num_threads(), available_processors())


def _on_engine(
    module: Any, device: Device, options: Options, threads: int
) -> tuple[TorchNetwork | OpenVINONetwork, TorchNetwork | None]:
    """Return the network on the engine that computes it, and the same where that is torch."""
    if options.engine == "openvino" and device.name == "cpu":
        if not openvino_installed():
            raise UsageError(
                "--engine openvino needs OpenVINO, which is not installed. Install it with "
                'pip install "bioimage_inference[openvino]", or leave --engine out.'
            )
        return OpenVINONetwork(module, options.precision, threads), None
    reasons = {
        "auto": "the engine of the weights",
        "torch": "as asked",
        "openvino": "OpenVINO is used on CPUs only",
    }
    on_torch = TorchNetwork(module, device, options.precision, reasons[options.engine], threads)
    return on_torch, on_torch
