"""Small networks that use the operators of PyTorch as networks for images do, for ``scripts/list_operations.py``.

Each is built with random weights from PyTorch alone. The functions hold one group of operators each. Their names are
the names of the networks. ``libraries.py`` has larger networks of other libraries.
"""

from collections.abc import Iterator

import torch

from . import computations, older_names, python_forms, values
from .layers import layer_networks
from .libraries import LIBRARIES, installed, library_networks
from .modules import (
    AttributeNetwork,
    ContainerNetwork,
    FrozenNetwork,
    ObjectNetwork,
    OverloadNetwork,
    RecordNetwork,
    TokenNetwork,
)
from .network import Computation, Network, random, same
from .unets import unet_networks

__all__ = ["LIBRARIES", "Network", "installed", "library_networks", "networks", "same"]


def networks() -> Iterator[Network]:
    """All networks of this folder but those of libraries."""
    yield from layer_networks()
    yield from unet_networks()
    image = random(2, 4, 12, 16)
    for function in (*values.FUNCTIONS, *computations.FUNCTIONS, *python_forms.FUNCTIONS, *older_names.FUNCTIONS):
        yield Network(
            function.__name__,
            lambda function=function: Computation(function),  # type: ignore[misc]
            (image,),
            scripted=function not in older_names.FUNCTIONS,
            traced=function not in python_forms.FUNCTIONS,
        )
    yield Network("record", RecordNetwork, (image,))
    yield Network("containers", ContainerNetwork, (image,), traced=False)
    yield Network("objects", ObjectNetwork, (image,), traced=False)
    yield Network("attributes", AttributeNetwork, (image,), traced=False)
    yield Network("overloads", OverloadNetwork, (image,), traced=False)
    yield Network("tokens", TokenNetwork, (torch.tensor([[1, 2, 3, 0]]),))
    yield Network("frozen", FrozenNetwork, (image,))
