"""Process-wide settings of torch: set while a network computes, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

from .interruptions import late_interruptions

_CPU = torch.device("cpu")
# The settings belong to the process, so one thread of it computes at a time.
_COMPUTING = RLock()


@contextmanager
def torch_settings(threads: int, device: torch.device = _CPU) -> Iterator[None]:
    """Compute with ``threads`` CPU threads, and on a GPU in full float32 by the fastest algorithms.

    Other threads of the process that want to compute wait. Setting and restoring takes less than a microsecond, so
    each tile does it.
    """
    with late_interruptions(), _COMPUTING, _cudnn(device):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _cudnn(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark = True  # tiles have few shapes, so trying all algorithms pays off soon
    cudnn.allow_tf32 = False  # TF32 has the precision of float16
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before
