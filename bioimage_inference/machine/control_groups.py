"""Memory and processor limits of the control groups (cgroups, versions 1 and 2) of this process.

A limit of a group holds for all groups below it, so every parent counts. Files and units follow the kernel's
documentation: ``admin-guide/cgroup-v1/memory.rst``, ``scheduler/sched-bwc.rst`` and ``admin-guide/cgroup-v2.rst``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""The folder in which the kernel describes this process."""
# Version 1 writes "no limit" as the largest multiple of the page size below 2**63.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class _Group:
    """A control group of this process, or a parent of such a group.

    ``name`` is its path in the hierarchy, e.g. ``/slurm/job_12``; ``folder`` contains its files; ``version`` is 1 or 2;
    ``top`` is true where this process sees no parent of the group.
    """

    name: str
    folder: Path
    version: int
    top: bool


@dataclass(frozen=True)
class GroupMemory:
    """Memory of a group in bytes: the ``limit`` of all its processes, and the memory ``used`` now.

    ``used`` leaves out inactive pages of files, which the kernel reclaims first.
    """

    group: str
    limit: int
    used: int


def memory_of_groups(proc: Path = PROC) -> list[GroupMemory]:
    """Return the groups that limit the memory of this process. A missing or unreadable file is no limit."""
    found = []
    for group in _groups("memory", proc):
        limits = list(_memory_limits(group))
        if limits:
            usage = "memory.usage_in_bytes" if group.version == 1 else "memory.current"
            inactive = "total_inactive_file" if group.version == 1 else "inactive_file"
            used = (_number(group.folder / usage) or 0) - _statistics(group).get(inactive, 0)
            found.append(GroupMemory(group.name, min(limits), max(0, used)))
    return found


def processors_of_groups(proc: Path = PROC) -> float | None:
    """Return the processors that the tightest quota of processor time allows, e.g. 1.5; ``None`` without a quota."""
    quotas = [quota for group in _groups("cpu", proc) if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def _groups(controller: str, proc: Path) -> Iterator[_Group]:
    """Yield the groups of this process under a controller, each followed by its parents."""
    mounts = list(_mounts(controller, proc))
    for line in _lines(proc / "cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 1 if controller in controllers.split(",") else 2 if controllers == "" else None
        for mounted, root, point in mounts:
            if mounted == version:
                yield from _with_parents(path, root, point, mounted)


def _with_parents(path: str, root: str, point: Path, version: int) -> Iterator[_Group]:
    """Yield the group of a path, and its parents up to the mount point.

    ``root`` is the mounted part of the hierarchy, which is not all of it in a container. In a container the path of the
    process may also lie outside the mount point; then only the mounted group is visible.
    """
    below = PurePosixPath(path)
    name = PurePosixPath(root)
    relative = below.relative_to(name) if below.is_relative_to(name) and ".." not in below.parts else PurePosixPath()
    for one in (relative, *relative.parents):
        yield _Group(str(name / one), point / one, version, top=one == PurePosixPath())


def _mounts(controller: str, proc: Path) -> Iterator[tuple[int, str, Path]]:
    """Yield version, root and mount point of the hierarchies that may limit by a controller."""
    for line in _lines(proc / "mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        root, point = _unescaped(fields[3]), Path(_unescaped(fields[4]))
        if kind[0] == "cgroup2":
            yield 2, root, point
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            yield 1, root, point


def _memory_limits(group: _Group) -> Iterator[int]:
    names = ["memory.limit_in_bytes"] if group.version == 1 else ["memory.max", "memory.high"]
    limits = [_number(group.folder / name) for name in names]
    if group.version == 1 and group.top:  # includes parents that a container does not see
        limits.append(_statistics(group).get("hierarchical_memory_limit"))
    return (limit for limit in limits if limit is not None and limit < _NO_LIMIT)


def _quota(group: _Group) -> float | None:
    """Return the time that the group may compute per period, divided by the period; both are in microseconds."""
    if group.version == 1:
        quota, period = (_number(group.folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    else:
        words = " ".join(_lines(group.folder / "cpu.max")).split()
        quota, period = (_integer(word) for word in words) if len(words) == 2 else (None, None)
    return quota / period if quota and period else None


def _statistics(group: _Group) -> dict[str, int]:
    pairs = (line.partition(" ") for line in _lines(group.folder / "memory.stat"))
    return {name: number for name, _, text in pairs if (number := _integer(text)) is not None}


def _number(file: Path) -> int | None:
    return _integer(" ".join(_lines(file)))


def _integer(text: str) -> int | None:
    """Return a number of at least 0; ``None`` for ``max``, and for -1, which means the same."""
    return int(text) if text.isascii() and text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system, or a group without this controller
        return []


def _unescaped(text: str) -> str:
    r"""Return a field of ``mountinfo``, which contains a space as the octal number ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
