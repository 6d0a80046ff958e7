"""Where torch computes, and the settings of the process for that time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock
from typing import Any

from ..errors import UsageError
from ..machine.interruptions import late_interruptions
from ..text import counted

MPS = "mps"
"""Torch's name of the GPU of a Mac."""
_MAC = "GPU of Apple silicon"
# The number of threads and the settings of cuDNN belong to the process, so one network computes at a time.
_COMPUTING = RLock()


@dataclass(frozen=True)
class Device:
    """``name`` is torch's name of the device; ``reason`` tells the user why it was chosen."""

    name: str
    reason: str


def free_memory(device: Device) -> int:
    """Return the free memory of a GPU in bytes. On a Mac this is the part of the memory that GPUs should take."""
    import torch

    if device.name == MPS:
        return max(0, int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory()))
    free, _ = torch.cuda.mem_get_info(device.name)
    return int(free)


def devices() -> list[Device]:
    """Return every device that torch sees: the CPU, then the GPUs."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [
        Device("cpu", "CPU"),
        *(Device(f"cuda:{number}", f"GPU {torch.cuda.get_device_name(number)}") for number in range(count)),
        *([Device(MPS, _MAC)] if torch.backends.mps.is_available() else []),
    ]


def choose_device(wanted: str = "auto") -> Device:
    """Return the device for ``--device``; ``auto`` takes the first GPU of CUDA that torch can use, else the CPU.

    The GPU of a Mac is used on request only, because nobody has tried it yet. Raises :class:`UsageError` for a device
    that torch does not see.
    """
    import torch

    if wanted == "cpu":  # the sandbox may then refuse what CUDA needs
        return Device("cpu", "CPU, as asked")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        if count:
            return Device("cuda:0", f"GPU {torch.cuda.get_device_name(0)}")
        if torch.backends.mps.is_available():
            return Device("cpu", "CPU; --device mps would use the GPU of this Mac")
        built = getattr(torch.version, "cuda", None)
        reason = "torch sees no GPU" if built else "torch is installed without GPU support"
        return Device("cpu", f"CPU, because {reason}")
    if wanted == MPS:
        if not torch.backends.mps.is_available():
            raise UsageError(
                "--device mps asks for the GPU of a Mac, but torch sees none. It needs Apple silicon and macOS 14 or "
                "newer. Use --device auto or cpu."
            )
        return Device(MPS, f"{_MAC}, as asked")
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"--device {wanted} is not known. Use auto, cpu, cuda, cuda:N or mps.")
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
