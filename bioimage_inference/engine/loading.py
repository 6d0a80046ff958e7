"""From an opened model to a network on its device."""

from dataclasses import dataclass, replace

from ..model.opening import OpenedModel
from ..model.spec import ModelSpec, Operation, TensorSpec, WeightsEntry
from ..model.trust import TrustPolicy
from ..model.weights import load_weights
from ..options import Options
from .allocator import keep_big_buffers
from .device import Device, choose_device
from .network import Network, TorchNetwork
from .samplewise import check_packages


@dataclass(frozen=True)
class Loaded:
    """A network that is ready to compute, and what the record says of it.

    ``spec`` is the model's, its own functions among the operations loaded; ``entry`` is the weights entry that was
    used, ``sha256`` that of its file.
    """

    network: Network
    spec: ModelSpec
    device: Device
    entry: WeightsEntry
    sha256: str
    notes: tuple[str, ...]


def load_network(opened: OpenedModel, options: Options) -> Loaded:
    """Load the first weights that can be used, and put the network on its device.

    Raises :class:`ModelError`, :class:`TrustError` or, for a device that is not there, :class:`UsageError`.
    """
    policy = TrustPolicy.from_environment(options.trust_model_code)
    spec = _with_functions(opened.spec, policy)
    keep_big_buffers()
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    loaded = load_weights(spec, policy, opened.package.bare_weights)
    network = TorchNetwork(loaded.module, device, options.precision)
    return Loaded(network, spec, device, loaded.entry, loaded.sha256, loaded.notes)


def _with_functions(spec: ModelSpec, policy: TrustPolicy) -> ModelSpec:
    """Check that every operation can be applied, and load those that the model brings as Python code."""

    def usable(tensor: TensorSpec) -> TensorSpec:
        check_packages(tensor.operations)
        return replace(tensor, operations=tuple(_with_function(step, spec, policy) for step in tensor.operations))

    return replace(spec, inputs=tuple(map(usable, spec.inputs)), outputs=tuple(map(usable, spec.outputs)))


def _with_function(step: Operation, spec: ModelSpec, policy: TrustPolicy) -> Operation:
    if step.name != "custom":
        return step
    from ..model.architecture import load_function

    return replace(step, kwargs={**step.kwargs, "function": load_function(step, spec.root, policy)})
