"""How much memory the process may use: as asked, as Galaxy or the container allows, or as the machine has."""

import os
import re
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError

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
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes for the whole process, and in words who set them."""

    size: int
    reason: str


def parse_size(text: str) -> int:
    """Bytes of a text such as ``4GiB``, ``800M`` or ``2.5G``. Raises :class:`UsageError` where it is none."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in _UNITS:
        raise UsageError(f"--memory {text!r} is not understood. Give a size such as 4GiB or 800MiB.")
    return int(float(found[1]) * _UNITS[found[2]])


def memory_budget(wanted: str | None = None, environment: Mapping[str, str] = os.environ) -> MemoryBudget:
    """The budget: ``wanted``, else ``GALAXY_MEMORY_MB``, the cgroup's limit, or what the machine has left."""
    if wanted is not None:
        return MemoryBudget(parse_size(wanted), "as asked with --memory")
    galaxy = environment.get("GALAXY_MEMORY_MB", "")
    if galaxy.isdecimal() and int(galaxy):
        return MemoryBudget(int(galaxy) << 20, "as Galaxy allows (GALAXY_MEMORY_MB)")
    left = _left_on_machine()
    limits = [limit for limit in map(_cgroup_limit, _CGROUP_FILES) if limit is not None]
    if limits and min(limits) < left:
        return MemoryBudget(min(limits), "as the container allows")
    return MemoryBudget(left, "what the machine has left")


def peak_memory() -> int:
    """Bytes of memory that this process has used at most."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found is not None:
        return int(found[1]) << 10
    # on Linux this may be the peak of the process that started this one
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _cgroup_limit(file: str) -> int | None:
    try:
        text = Path(file).read_text().strip()
    except OSError:  # no such control group
        return None
    return int(text) if text.isdecimal() else None


def _left_on_machine() -> int:
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
