"""How many processors this process may use: not those of the machine, where a job has a part of it."""

import os
from collections.abc import Mapping
from math import ceil
from pathlib import Path

from .control_groups import PROC, USUAL, processors_of_groups


def available_processors(
    environment: Mapping[str, str] = os.environ, affinity: int | None = None, proc: Path = PROC, usual: Path = USUAL
) -> int:
    """Processors that this process may use, at least 1: an upper bound for the default number of threads.

    The smallest of three numbers counts: the processors that the system may run the process on (taskset, cpuset,
    Slurm), the quota of processor time of its control groups (``docker run --cpus``, Kubernetes), rounded up, and
    ``SLURM_CPUS_PER_TASK`` in a Slurm job, whose site need not enforce it. ``affinity`` stands for the first.
    """
    counts = [affinity or _affinity()]
    quota = processors_of_groups(proc, usual)
    if quota is not None:
        counts.append(ceil(quota))
    asked = environment.get("SLURM_CPUS_PER_TASK", "")
    if environment.get("SLURM_JOB_ID") and asked.isdecimal():
        counts.append(int(asked))
    return max(1, min(counts))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS
