"""Number of processors of this process, and threads."""

import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from .control_groups import PROC, processors_of_groups

_THREAD_BYTES = 10 << 20
"""Address space of a new thread: its stack (8 MiB on Linux, ``ulimit -s``), and its first allocations."""


@dataclass(frozen=True)
class ProcessorLimit:
    """A number of processors, and its ``source`` in words, e.g. ``the quota of the control groups``."""

    source: str
    count: int


def processor_limits(
    environment: Mapping[str, str] = os.environ, affinity: int | None = None, proc: Path = PROC
) -> list[ProcessorLimit]:
    """Return all limits of the processors of this process.

    The first is ``affinity``, by default the processors that the system may run the process on (taskset, cpuset,
    Slurm). The second is the quota of processor time of the control groups (``docker run --cpus``, Kubernetes), rounded
    up. The third is ``SLURM_CPUS_PER_TASK`` in a Slurm job, because not every site enforces it.
    """
    limits = [ProcessorLimit("the processors that the system gives this process", affinity or _affinity())]
    quota = processors_of_groups(proc)
    if quota is not None:
        limits.append(ProcessorLimit("the quota of the control groups", ceil(quota)))
    requested = environment.get("SLURM_CPUS_PER_TASK", "")
    if environment.get("SLURM_JOB_ID") and requested.isdecimal():
        limits.append(ProcessorLimit("SLURM_CPUS_PER_TASK", int(requested)))
    return limits


def available_processors(
    environment: Mapping[str, str] = os.environ, affinity: int | None = None, proc: Path = PROC
) -> int:
    """Return the processors that this process may use, at least 1: the smallest of :func:`processor_limits`.

    It is an upper bound for the default number of threads.
    """
    return max(1, min(limit.count for limit in processor_limits(environment, affinity, proc)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS, Windows


def thread_pool(threads: int = 1) -> ThreadPoolExecutor:
    """Return a pool of threads. Raises :class:`MemoryError` where there is no memory for a thread.

    Without this check, Python waits forever for a thread that found no memory for its first steps.
    """
    try:
        mmap.mmap(-1, _THREAD_BYTES).close()  # uses addresses but no memory, because nobody writes to it
    except OSError as error:
        raise MemoryError("there is no room for a thread") from error
    return ThreadPoolExecutor(threads)
