"""How much memory the process may use: what ``--memory`` sets, else what machine, container and job leave to it."""

import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import UsageError
from ..text import byte_size
from .control_groups import PROC, USUAL, memory_of_groups

PROGRAM_BYTES = 320 << 20
"""Memory of the process without weights and tiles, estimated before torch is imported.

Measured with the 2-D demo model, torch 2.13 for CPUs, Python 3.11 on Linux x86-64: 288 MiB once all is imported, and
306 MiB at most where little more than that is allowed.
"""
PIPELINE_BYTES = 32 << 20
"""Memory that reading, processing and writing small tiles takes beside the network (same measurement)."""
STACK_BYTES = 48 << 20
"""Additional memory of 3-D networks, whose convolutions take buffers that are no tensors.

Measured with the 3-D demo model: 8 to 42 MiB with tiles from 9×96×96 to 15×184×136.
"""
# Address space that is reserved but not used once torch is loaded: 400 MiB (same measurement), and more with CUDA.
_RESERVED = 400 << 20
_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
# Slurm's units are powers of 1024, a number without unit is in megabytes (sbatch(1), --mem).
_SLURM_UNITS = {"K": 1 << 10, "": 1 << 20, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Memory per something, with the variables that say how many of these the job has on this node (sbatch(1)).
_SLURM = {
    "SLURM_MEM_PER_NODE": ((), ""),
    "SLURM_MEM_PER_CPU": (("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"), "CPU"),
    "SLURM_MEM_PER_GPU": (("SLURM_GPUS_ON_NODE",), "GPU"),
}


@dataclass(frozen=True)
class MemoryLimit:
    """A limit of memory: ``source`` names it, e.g. ``the cgroup /slurm/job_12``.

    ``allowed`` are the bytes of the limit. Other processes leave ``left`` of them to this process, the bytes that it
    uses already included.
    """

    source: str
    allowed: int
    left: int


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes for the whole process. ``reason`` names the limit, e.g. ``limited by GALAXY_MEMORY_MB``.

    ``note`` is a remark for the user where the budget is more than a limit.
    """

    size: int
    reason: str
    note: str | None = None


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of a process: ``resident`` in memory, of which others may use the ``shared`` too, and of address space."""

    resident: int
    shared: int
    addresses: int


def parse_size(text: str) -> int:
    """Bytes of a text such as ``4GiB``, ``800M`` or ``2.5G``. Raises :class:`UsageError` where it is none."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"--memory {text!r} is not understood. Give a size such as 4GiB or 800MiB.")
    return int(float(found[1]) * _UNITS[found[2]])


def memory_budget(wanted: str | None = None, limits: Sequence[MemoryLimit] | None = None) -> MemoryBudget:
    """The budget of the process: ``wanted``, a text such as ``4GiB``, else what the tightest limit leaves.

    ``limits`` are those of :func:`memory_limits` where they are not given. A remark says where ``wanted`` is more than
    a limit allows. Raises :class:`UsageError` where ``wanted`` is no size.
    """
    limits = memory_limits() if limits is None else limits
    if wanted is None:
        tightest = min(limits, key=lambda limit: limit.left)
        return MemoryBudget(tightest.left, f"limited by {tightest.source}")
    size, reason = parse_size(wanted), "set by --memory"
    tightest = min(limits, key=lambda limit: limit.allowed)
    if size <= tightest.allowed:
        return MemoryBudget(size, reason)
    note = (
        f"--memory is {byte_size(size)}, but {tightest.source} limits the program to {byte_size(tightest.allowed)}. "
        "The system may end the program when it uses more."
    )
    return MemoryBudget(size, reason, note)


def memory_limits(
    environment: Mapping[str, str] = os.environ,
    process: ProcessMemory | None = None,
    proc: Path = PROC,
    usual: Path = USUAL,
) -> list[MemoryLimit]:
    """All limits of this process's memory: of the machine, its control groups, the job, and its address space."""
    process = process or process_memory()
    return [
        _machine_limit(process),
        *_group_limits(process, proc, usual),
        *_slurm_limits(environment),
        *_galaxy_limits(environment),
        *_address_limits(process, resource.getrlimit(resource.RLIMIT_AS)[0]),
    ]


def process_memory() -> ProcessMemory:
    """The memory of this process now."""
    found = psutil.Process().memory_info()
    return ProcessMemory(found.rss, getattr(found, "shared", 0), found.vms)


def resident_memory() -> int:
    """Bytes of this process that are in memory now."""
    return process_memory().resident


def peak_memory() -> int:
    """Bytes of memory that this process has used at most."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is not None:
        return int(found[1]) << 10
    # on Linux this may be the peak of the process that started this one
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _machine_limit(process: ProcessMemory) -> MemoryLimit:
    """Available memory includes the page cache. Pages of files that the process maps are part of that already."""
    machine = psutil.virtual_memory()
    left = machine.available + process.resident - process.shared
    return MemoryLimit("the memory of this machine", machine.total, left)


def _group_limits(process: ProcessMemory, proc: Path, usual: Path) -> list[MemoryLimit]:
    return [
        MemoryLimit(f"the cgroup {one.group}", one.limit, max(0, one.limit - max(0, one.used - process.resident)))
        for one in memory_of_groups(proc, usual)
    ]


def _slurm_limits(environment: Mapping[str, str]) -> list[MemoryLimit]:
    """What a Slurm job may use on this node; 0 means all memory, and variables without a job are wishes for one."""
    if not environment.get("SLURM_JOB_ID"):
        return []
    found = []
    for name, (counters, unit) in _SLURM.items():
        size = re.fullmatch(r"(\d+)([KMGT]?)B?", environment.get(name, "").upper())
        counts = [int(text) for counter in counters if (text := environment.get(counter, "")).isdecimal()]
        if size is None or int(size[1]) == 0 or (counters and not counts):
            continue
        number = counts[0] if counters else 1
        times = f" × {number} {unit}{'s' * (number > 1)}" if counters else ""
        found.append(_plain_limit(f"{name}{times}", int(size[1]) * _SLURM_UNITS[size[2]] * number))
    return found


def _galaxy_limits(environment: Mapping[str, str]) -> list[MemoryLimit]:
    megabytes = environment.get("GALAXY_MEMORY_MB", "")
    if not megabytes.isdecimal() or not int(megabytes):
        return []
    return [_plain_limit("GALAXY_MEMORY_MB", int(megabytes) << 20)]


def _address_limits(process: ProcessMemory, limit: int) -> list[MemoryLimit]:
    """A process takes more addresses than memory: those that it reserves, now or once torch is loaded, do not count."""
    if limit == resource.RLIM_INFINITY:
        return []
    reserved = max(_RESERVED, process.addresses - process.resident)
    return [MemoryLimit("ulimit -v (address space)", limit, max(0, limit - reserved))]


def _plain_limit(source: str, size: int) -> MemoryLimit:
    return MemoryLimit(source, size, size)
