"""Memory budget of a process: the size of ``--memory``, else the memory that machine, container and job leave."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import UsageError
from ..text import byte_size, counted
from .control_groups import PROC, memory_of_groups

PROGRAM_BYTES = 320 << 20
"""Memory of the process without weights and tiles, used before torch is imported.

Measured with the 2-D demo model, torch 2.13 for CPUs, Python 3.11 on Linux x86-64: 288 MiB after all imports, and at
most 306 MiB with a budget that is little more than that.
"""
PIPELINE_BYTES = 32 << 20
"""Memory for reading, processing and writing small tiles, without the network (same measurement)."""
STACK_BYTES = 48 << 20
"""Additional memory of 3-D networks, whose convolutions allocate buffers that are no tensors.

Measured with the 3-D demo model: 8 to 42 MiB with tiles from 9×96×96 to 15×184×136.
"""
_RESERVED = 400 << 20
"""Address space that torch reserves but does not use, measured like PROGRAM_BYTES. CUDA reserves more."""
_UNITS = {
    **{"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12},
    **{"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40},
}
_FEWEST_BYTES = 1 << 20
"""Smallest number that is taken as bytes: nobody counts a megabyte of memory in bytes, but many forget the unit."""
# Slurm's units are powers of 1024, and a number without unit is in megabytes (sbatch(1), --mem).
_SLURM_UNITS = {"K": 1 << 10, "": 1 << 20, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Variables for memory per unit, with the variables for the number of these units on this node (sbatch(1)).
_SLURM = {
    "SLURM_MEM_PER_NODE": ((), ""),
    "SLURM_MEM_PER_CPU": (("SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK"), "CPU"),
    "SLURM_MEM_PER_GPU": (("SLURM_GPUS_ON_NODE",), "GPU"),
}


@dataclass(frozen=True)
class MemoryLimit:
    """A memory limit in bytes. ``source`` names it, e.g. ``the cgroup /slurm/job_12``.

    ``allowed`` is the limit. ``left`` is the part that other processes leave to this process, including the memory that
    this process already uses.
    """

    source: str
    allowed: int
    left: int


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes for the whole process. ``reason`` names the limit, e.g. ``limited by GALAXY_MEMORY_MB``.

    ``note`` warns the user where the budget exceeds a limit.
    """

    size: int
    reason: str
    note: str | None = None


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of a process in bytes: ``resident``, the part of it that is ``shared``, and all its ``addresses``."""

    resident: int
    shared: int
    addresses: int


def parse_size(text: str) -> int:
    """Return the bytes of a text such as ``4GiB``, ``800M`` or ``2.5G``.

    Raises :class:`UsageError` for another text, and for a small number without a unit, which cannot mean bytes.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"--memory {text!r} is not understood. Give a size such as 4GiB or 800MiB.")
    size = int(float(found[1]) * _UNITS[found[2]])
    if not found[2] and size < _FEWEST_BYTES:
        raise UsageError(
            f"--memory {text} means {size} bytes, in which no program runs. Type the unit: --memory {found[1]}GiB for "
            f"gibibytes, --memory {found[1]}MiB for mebibytes."
        )
    return size


def memory_budget(wanted: str | None = None, limits: Sequence[MemoryLimit] | None = None) -> MemoryBudget:
    """Return the budget of the process: ``wanted``, a text such as ``4GiB``, else what the tightest limit leaves.

    ``limits`` are by default those of :func:`memory_limits`. A note warns where ``wanted`` exceeds a limit. Raises
    :class:`UsageError` where ``wanted`` is no size.
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
    environment: Mapping[str, str] = os.environ, process: ProcessMemory | None = None, proc: Path = PROC
) -> list[MemoryLimit]:
    """Return all memory limits of this process: of the machine, its control groups, the job, and its address space."""
    process = process or process_memory()
    return [
        _machine_limit(process),
        *_group_limits(process, proc),
        *_slurm_limits(environment),
        *_galaxy_limits(environment),
        *_address_limits(process),
    ]


def process_memory() -> ProcessMemory:
    """Return the present memory of this process."""
    found = psutil.Process().memory_info()
    return ProcessMemory(found.rss, getattr(found, "shared", 0), found.vms)


def resident_memory() -> int:
    """Return the bytes of this process that are in memory now."""
    return process_memory().resident


def peak_memory() -> int:
    """Return the largest number of bytes of this process that were in memory. psutil 7 has it only on Windows."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is not None:
        return int(found[1]) << 10
    import resource

    # On Linux this may be the peak of the process that started this process, so VmHWM comes first.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def address_space_limit() -> int | None:
    """Return the bytes of address space that this process may take (``ulimit -v``), ``None`` without a limit."""
    if not hasattr(psutil, "RLIMIT_AS"):  # macOS, Windows
        return None
    limit, _ = psutil.Process().rlimit(psutil.RLIMIT_AS)
    return None if limit == psutil.RLIM_INFINITY else int(limit)


def _machine_limit(process: ProcessMemory) -> MemoryLimit:
    """Return the limit of the machine. Its available memory already includes the pages of files, mapped pages too."""
    machine = psutil.virtual_memory()
    left = machine.available + process.resident - process.shared
    return MemoryLimit("the memory of this machine", machine.total, left)


def _group_limits(process: ProcessMemory, proc: Path) -> list[MemoryLimit]:
    return [
        MemoryLimit(f"the cgroup {one.group}", one.limit, max(0, one.limit - max(0, one.used - process.resident)))
        for one in memory_of_groups(proc)
    ]


def _slurm_limits(environment: Mapping[str, str]) -> list[MemoryLimit]:
    """Return the limits of a Slurm job on this node. 0 means all memory; without a job the variables are defaults."""
    if not environment.get("SLURM_JOB_ID"):
        return []
    found = []
    for name, (counters, unit) in _SLURM.items():
        size = re.fullmatch(r"(\d+)([KMGT]?)B?", environment.get(name, "").upper())
        counts = [int(text) for counter in counters if (text := environment.get(counter, "")).isdecimal()]
        if size is None or int(size[1]) == 0 or (counters and not counts):
            continue
        number = counts[0] if counters else 1
        times = f" × {counted(number, unit)}" if counters else ""
        found.append(_job_limit(f"{name}{times}", int(size[1]) * _SLURM_UNITS[size[2]] * number))
    return found


def _galaxy_limits(environment: Mapping[str, str]) -> list[MemoryLimit]:
    megabytes = environment.get("GALAXY_MEMORY_MB", "")
    if not megabytes.isdecimal() or not int(megabytes):
        return []
    return [_job_limit("GALAXY_MEMORY_MB", int(megabytes) << 20)]


def _job_limit(source: str, size: int) -> MemoryLimit:
    return MemoryLimit(source, size, size)


def _address_limits(process: ProcessMemory) -> list[MemoryLimit]:
    """Return the limit of address space. Addresses that torch reserves, now or later, are no usable memory."""
    limit = address_space_limit()
    if limit is None:
        return []
    reserved = max(_RESERVED, process.addresses - process.resident)
    return [MemoryLimit("ulimit -v (address space)", limit, max(0, limit - reserved))]
