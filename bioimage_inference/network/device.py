"""Where to compute: the device that was asked for, or the best there is, and why."""

from dataclasses import dataclass

from ..errors import UsageError


@dataclass(frozen=True)
class Device:
    """``name`` as torch calls it; ``reason`` says in words why it was chosen."""

    name: str
    reason: str


def free_memory(device: Device) -> int:
    """Bytes of a GPU's memory that nobody uses."""
    import torch

    free, _ = torch.cuda.mem_get_info(device.name)
    return int(free)


def choose_device(wanted: str = "auto") -> Device:
    """``auto`` takes the first GPU that torch can use, else the CPU.

    Raises :class:`UsageError` for a device that is not there.
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
        raise UsageError(f"--device {wanted} asks for a GPU, but torch sees {count}. Use --device auto or cpu.")
    return Device(f"cuda:{number or 0}", f"GPU {torch.cuda.get_device_name(int(number or 0))}, as asked")
