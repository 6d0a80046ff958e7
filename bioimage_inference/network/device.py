"""Where torch computes, and the settings of the process for that time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

from ..errors import UsageError
from ..text import counted
from .interruptions import late_interruptions

# The number of threads and the settings of cuDNN belong to the process, so one of its threads computes at a time.
_COMPUTING = RLock()


@dataclass(frozen=True)
class Device:
    """``name`` is torch's name of the device; ``reason`` tells the user why it was chosen."""

    name: str
    reason: str


def free_memory(device: Device) -> int:
    """Return the free memory of a GPU in bytes."""
    import torch

    free, _ = torch.cuda.mem_get_info(device.name)
    return int(free)


def choose_device(wanted: str = "auto") -> Device:
    """Return the device for ``--device``; ``auto`` takes the first GPU that torch can use, else the CPU.

    Raises :class:`UsageError` for a device that torch does not see.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        if count:
            return Device("cuda:0", f"GPU {torch.cuda.get_device_name(0)}")
        built = getattr(torch.version, "cuda", None)
        reason = "torch sees no GPU" if built else "torch is installed without GPU support"
        return Device("cpu", f"CPU, because {reason}")
    if wanted == "cpu":
        return Device("cpu", "CPU, as asked")
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"--device {wanted} is not known. Use auto, cpu, cuda or cuda:N.")
    if int(number or 0) >= count:
        raise UsageError(
            f"--device {wanted} asks for a GPU, but torch sees {counted(count, 'GPU')}. Use --device auto or cpu."
        )
    return Device(f"cuda:{number or 0}", f"GPU {torch.cuda.get_device_name(int(number or 0))}, as asked")


@contextmanager
def torch_settings(threads: int, on_gpu: bool = False) -> Iterator[None]:
    """Compute with ``threads`` CPU threads, and on a GPU in full float32 by the fastest algorithms.

    The settings are restored at the end of the block. Other threads of the process that compute wait until then.
    Setting and restoring takes less than a microsecond, so each tile does it.
    """
    import torch

    with late_interruptions(), _COMPUTING:
        cudnn: Any = torch.backends.cudnn
        before = torch.get_num_threads(), cudnn.benchmark, cudnn.allow_tf32
        torch.set_num_threads(threads)
        if on_gpu:
            cudnn.benchmark = True  # tiles have few shapes, so that the comparison of all algorithms soon pays off
            cudnn.allow_tf32 = False  # TF32 has the precision of float16
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            if on_gpu:
                cudnn.benchmark, cudnn.allow_tf32 = before[1:]
