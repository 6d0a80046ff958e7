"""How much memory and how many processors a process may use: the tightest limit counts, and the user is told which."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioimage_inference.errors import UsageError
from bioimage_inference.machine.control_groups import GroupMemory, memory_of_groups, processors_of_groups
from bioimage_inference.machine.memory import (
    MemoryBudget,
    MemoryLimit,
    ProcessMemory,
    memory_budget,
    memory_limits,
    parse_size,
    peak_memory,
    resident_memory,
)
from bioimage_inference.machine.processors import available_processors

ROOT = Path(__file__).parents[2]
MIB, GIB = 1 << 20, 1 << 30
PROCESS = ProcessMemory(resident=300 * MIB, shared=100 * MIB, addresses=900 * MIB)
UNLIMITED_V1 = 9223372036854771712


@dataclass
class Kernel:
    """A tree of control groups, and what the kernel tells a process about its own."""

    folder: Path
    groups: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    def process_in(self, line: str) -> None:
        """A line of ``/proc/self/cgroup``."""
        self.groups.append(line)
        self._write(self.proc / "cgroup", "\n".join(self.groups))

    def mount(self, point: str, kind: str, options: str = "rw", root: str = "/") -> None:
        """A line of ``/proc/self/mountinfo``; the mount point is below the folder."""
        (self.folder / point).mkdir(parents=True, exist_ok=True)
        where = str(self.folder / point).replace(" ", "\\040")
        self.mounts.append(f"31 23 0:28 {root} {where} rw,relatime shared:9 - {kind} {kind} {options}")
        self._write(self.proc / "mountinfo", "\n".join(self.mounts))

    def group(self, path: str, **files: object) -> None:
        """Files of a group, with ``_`` for the dot in their names."""
        for name, content in files.items():
            self._write(self.folder / path / name.replace("_", ".", 1), f"{content}\n")

    def _write(self, file: Path, content: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    def memory(self) -> list[GroupMemory]:
        return memory_of_groups(self.proc)

    def limits(self, **environment: str) -> dict[str, int]:
        """What the limits of groups and jobs leave, by name; those of the machine at hand are left out."""
        found = memory_limits(environment, PROCESS, self.proc)
        return {one.source: one.left for one in found if "machine" not in one.source and "ulimit" not in one.source}

    def processors(self, affinity: int = 64, **environment: str) -> int:
        return available_processors(environment, affinity, self.proc)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture
def v2(kernel: Kernel) -> Kernel:
    kernel.process_in("0::/slurm/job_12/step_0")
    kernel.mount("sys", "cgroup2")
    kernel.group("sys/slurm/job_12/step_0", memory_max="max", memory_current=600 * MIB)
    return kernel


@pytest.fixture
def v1(kernel: Kernel) -> Kernel:
    kernel.process_in("4:memory:/slurm/job_12")
    kernel.process_in("3:cpu,cpuacct:/slurm/job_12")
    kernel.mount("sys/memory", "cgroup", "rw,memory")
    kernel.mount("sys/cpu,cpuacct", "cgroup", "rw,cpuacct,cpu")
    kernel.group("sys/memory", memory_limit_in_bytes=UNLIMITED_V1)
    kernel.group("sys/memory/slurm", memory_limit_in_bytes=UNLIMITED_V1)
    kernel.group("sys/memory/slurm/job_12", memory_limit_in_bytes=UNLIMITED_V1, memory_usage_in_bytes=600 * MIB)
    return kernel


# Control groups


def test_a_limit_of_version_2_counts_without_the_page_cache(v2: Kernel) -> None:
    group = "sys/slurm/job_12/step_0"
    v2.group(group, memory_max=4 * GIB, memory_current=3 * GIB, memory_stat=f"anon 5\ninactive_file {GIB}\nfile 7")
    assert v2.memory() == [GroupMemory("/slurm/job_12/step_0", 4 * GIB, 2 * GIB)]


def test_a_limit_of_version_1_counts_without_the_page_cache(v1: Kernel) -> None:
    stat = f"inactive_file 3\ntotal_inactive_file {GIB}"
    v1.group("sys/memory/slurm/job_12", memory_limit_in_bytes=4 * GIB, memory_usage_in_bytes=3 * GIB, memory_stat=stat)
    assert v1.memory() == [GroupMemory("/slurm/job_12", 4 * GIB, 2 * GIB)]


def test_processes_of_the_same_group_leave_less_but_this_process_itself_does_not(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", memory_max=4 * GIB, memory_current=1300 * MIB)
    assert v2.limits() == {"the cgroup /slurm/job_12/step_0": 4 * GIB - 1000 * MIB}


def test_a_group_that_others_have_filled_leaves_nothing(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", memory_max=GIB, memory_current=2 * GIB)
    assert v2.limits() == {"the cgroup /slurm/job_12/step_0": 0}


def test_a_parent_may_have_the_tighter_limit(v1: Kernel, tmp_path: Path) -> None:
    other = Kernel(tmp_path / "v2")
    other.process_in("0::/slurm/job_12/step_0")
    other.mount("sys", "cgroup2")
    for kernel, folder, limit in (
        (v1, "sys/memory/slurm", "memory_limit_in_bytes"),
        (other, "sys/slurm", "memory_max"),
    ):
        leaf = f"{folder}/job_12" if kernel is v1 else f"{folder}/job_12/step_0"
        kernel.group(leaf, **{limit: 8 * GIB})
        kernel.group(folder, **{limit: 2 * GIB})
        tightest = min(kernel.memory(), key=lambda one: one.limit)
        assert (tightest.group, tightest.limit) == ("/slurm", 2 * GIB)


def test_what_other_jobs_use_of_a_parent_is_gone(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", memory_max=4 * GIB)
    v2.group("sys/slurm", memory_max=16 * GIB, memory_current=15 * GIB)
    assert v2.limits()["the cgroup /slurm"] == GIB + PROCESS.resident


def test_the_limit_from_which_on_the_kernel_slows_a_group_down_counts(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", memory_max=4 * GIB, memory_high=3 * GIB)
    assert [one.limit for one in v2.memory()] == [3 * GIB]


def test_no_limit_is_none(v1: Kernel, v2: Kernel) -> None:
    assert v1.memory() == []
    assert v1.limits() == {}
    assert v1.processors() == 64


def test_both_versions_at_once(v1: Kernel) -> None:
    v1.process_in("0::/user.slice")
    v1.mount("sys/unified", "cgroup2")
    v1.group("sys/memory/slurm/job_12", memory_limit_in_bytes=4 * GIB)
    v1.group("sys/unified/user.slice", cgroup_controllers="")
    v1.group("sys/cpu,cpuacct/slurm", cpu_cfs_quota_us=200_000, cpu_cfs_period_us=100_000)
    assert [one.group for one in v1.memory()] == ["/slurm/job_12"]
    assert v1.processors() == 2


def test_a_container_with_a_namespace_of_its_own_sees_its_group_as_the_root(kernel: Kernel) -> None:
    kernel.process_in("0::/")
    kernel.mount("sys", "cgroup2")
    kernel.group("sys", memory_max=2 * GIB, memory_current=PROCESS.resident, cpu_max="150000 100000")
    assert kernel.limits() == {"the cgroup /": 2 * GIB}
    assert kernel.processors() == 2


def test_a_container_that_mounts_its_group_alone(kernel: Kernel) -> None:
    kernel.process_in("4:memory:/docker/12ab")
    kernel.mount("sys/memory", "cgroup", "rw,memory", root="/docker/12ab")
    kernel.group("sys/memory", memory_limit_in_bytes=2 * GIB, memory_usage_in_bytes=PROCESS.resident)
    assert kernel.limits() == {"the cgroup /docker/12ab": 2 * GIB}


@pytest.mark.parametrize("path", ["/kubepods/pod7/12ab", "/../../pod7"])
def test_a_container_whose_path_is_not_to_be_seen(kernel: Kernel, path: str) -> None:
    kernel.process_in(f"0::{path}")
    kernel.mount("sys", "cgroup2")
    kernel.group("sys", memory_max=2 * GIB)
    assert [one.limit for one in kernel.memory()] == [2 * GIB]


def test_a_parent_outside_of_the_container_is_known_to_version_1(kernel: Kernel) -> None:
    kernel.process_in("4:memory:/docker/12ab")
    kernel.mount("sys/memory", "cgroup", "rw,memory", root="/docker/12ab")
    stat = f"hierarchical_memory_limit {GIB}"
    kernel.group("sys/memory", memory_limit_in_bytes=UNLIMITED_V1, memory_stat=stat)
    assert [one.limit for one in kernel.memory()] == [GIB]


def test_a_mount_point_with_a_space(kernel: Kernel) -> None:
    kernel.process_in("0::/a")
    kernel.mount("my groups", "cgroup2")
    kernel.group("my groups/a", memory_max=GIB)
    assert [one.group for one in kernel.memory()] == ["/a"]


def test_without_control_groups_nothing_is_limited(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    assert (kernel.memory(), processors_of_groups(kernel.proc)) == ([], None)


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_nothing_that_the_files_may_hold_ends_the_program(
    tmp_path_factory: pytest.TempPathFactory, group: str, mounts: str, limit: str, quota: str
) -> None:
    kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    kernel.process_in("0::/a")
    kernel.mount("sys", "cgroup2")
    kernel.groups.append(group)
    kernel.mounts.append(mounts)
    for file, lines in (("cgroup", kernel.groups), ("mountinfo", kernel.mounts)):
        (kernel.proc / file).write_text("\n".join(lines), encoding="utf-8", errors="replace")
    kernel.group("sys/a", memory_current=5, memory_stat="\n inactive_file\nx")
    for name, text in (("memory.max", limit), ("cpu.max", quota)):
        (kernel.folder / "sys/a" / name).write_text(text, encoding="utf-8", errors="replace")
    assert all(one.limit >= 0 for one in kernel.memory())
    assert 1 <= kernel.processors() <= 64


# Jobs


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, {"SLURM_MEM_PER_NODE": 4 * GIB}),
        ({"SLURM_MEM_PER_NODE": "4G"}, {"SLURM_MEM_PER_NODE": 4 * GIB}),
        ({"SLURM_MEM_PER_NODE": "0"}, {}),
        ({"SLURM_MEM_PER_NODE": "all"}, {}),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_ON_NODE": "4"}, {"SLURM_MEM_PER_CPU × 4 CPUs": 8000 * MIB}),
        ({"SLURM_MEM_PER_CPU": "2000", "SLURM_CPUS_PER_TASK": "1"}, {"SLURM_MEM_PER_CPU × 1 CPU": 2000 * MIB}),
        ({"SLURM_MEM_PER_CPU": "2000"}, {}),
        ({"SLURM_MEM_PER_GPU": "8G", "SLURM_GPUS_ON_NODE": "2"}, {"SLURM_MEM_PER_GPU × 2 GPUs": 16 * GIB}),
    ],
)
def test_a_slurm_job(kernel: Kernel, environment: dict[str, str], expected: dict[str, int]) -> None:
    assert kernel.limits(SLURM_JOB_ID="12", **environment) == expected
    assert kernel.limits(**environment) == {}, "they are wishes for jobs to come where there is no job"


@pytest.mark.parametrize(("text", "expected"), [("1536", 1536 * MIB), ("0", None), ("-1", None), ("much", None)])
def test_a_galaxy_job(kernel: Kernel, text: str, expected: int | None) -> None:
    assert kernel.limits(GALAXY_MEMORY_MB=text).get("GALAXY_MEMORY_MB") == expected


def test_the_smallest_limit_counts_and_is_named(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", memory_max=1 << 20, memory_current=PROCESS.resident)
    found = memory_limits({"GALAXY_MEMORY_MB": "2"}, PROCESS, v2.proc)
    assert memory_budget(None, found) == MemoryBudget(1 << 20, "limited by the cgroup /slurm/job_12/step_0")
    found = memory_limits({"GALAXY_MEMORY_MB": "1"}, PROCESS, v2.proc)
    v2.group("sys/slurm/job_12/step_0", memory_max="max")
    found = memory_limits({"GALAXY_MEMORY_MB": "1"}, PROCESS, v2.proc)
    assert memory_budget(None, found) == MemoryBudget(1 << 20, "limited by GALAXY_MEMORY_MB")


# The machine and the process


def test_memory_that_is_full_of_cached_files_is_available(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    """What the process uses already is part of its budget; the files that it maps are available memory already."""
    machine = psutil.virtual_memory()._replace(total=16 * GIB, available=10 * GIB, free=GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    first = memory_limits({}, PROCESS, kernel.proc)[0]
    assert first == MemoryLimit("the memory of this machine", 16 * GIB, 10 * GIB + 200 * MIB)


def test_what_a_process_is_found_to_use() -> None:
    """A new array of 64 MiB is in memory once it is written."""
    before = resident_memory()
    array = bytearray(b"\1") * (64 * MIB)
    assert len(array) <= resident_memory() - before + 8 * MIB
    assert resident_memory() <= peak_memory() + 8 * MIB


@pytest.mark.parametrize("wanted", ["4 gib", "4294967296", "4096MiB", "4194304Ki", "4294.967296M"])
def test_sizes_as_people_write_them(wanted: str) -> None:
    assert parse_size(wanted) == 4 * GIB


@pytest.mark.parametrize("wanted", ["", "much", "-4GiB", "4 4", "4PB", "1e9", "GiB"])
def test_what_is_no_size(wanted: str) -> None:
    with pytest.raises(UsageError, match="Give a size such as"):
        parse_size(wanted)


def test_the_user_decides_and_is_told_of_limits() -> None:
    limits = [MemoryLimit("the memory of this machine", 16 * GIB, GIB), MemoryLimit("the cgroup /a", 8 * GIB, 4 * GIB)]
    assert memory_budget("8GiB", limits) == MemoryBudget(8 * GIB, "set by --memory")
    more = memory_budget("9GiB", limits)
    assert more.size == 9 * GIB
    assert more.note is not None
    assert "the cgroup /a limits the program to 8.0 GiB" in more.note


BUDGET_UNDER_A_LIMIT = """
import resource
from bioimage_inference.machine.memory import memory_budget, memory_limits, process_memory
free, process = memory_limits({}), process_memory()
limit = process.addresses + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
budget = memory_budget()
print(len(free), len(memory_limits({})), budget.size, process.resident, budget.reason)
bytearray(budget.size - process.resident)  # what the budget promises can be had
"""


def test_a_limit_of_address_space() -> None:
    """Addresses that a process reserves without using them, 400 MiB for torch, are no memory to plan with."""
    run = subprocess.run(
        [sys.executable, "-c", BUDGET_UNDER_A_LIMIT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, after, size, resident, reason = run.stdout.split(maxsplit=4)
    assert int(after) == int(before) + 1
    assert reason.strip() == "limited by ulimit -v (address space)"
    assert GIB < int(size) < 2 * GIB + int(resident)


# Processors


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("nonsense", 64), ("", 64)],
)
def test_a_quota_of_processor_time_bounds_the_threads(v2: Kernel, quota: str, expected: int) -> None:
    v2.group("sys/slurm/job_12/step_0", cpu_max=quota)
    assert v2.processors() == expected


def test_the_quota_of_a_parent_bounds_them_too(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", cpu_max="800000 100000")
    v2.group("sys/slurm", cpu_max="300000 100000")
    assert v2.processors() == 3


@pytest.mark.parametrize(("quota", "expected"), [(-1, 64), (250_000, 5)])
def test_a_quota_of_version_1(v1: Kernel, quota: int, expected: int) -> None:
    v1.group("sys/cpu,cpuacct/slurm/job_12", cpu_cfs_quota_us=quota, cpu_cfs_period_us=50_000)
    assert v1.processors() == expected


def test_processors_that_the_process_may_not_run_on_do_not_count(v2: Kernel) -> None:
    v2.group("sys/slurm/job_12/step_0", cpu_max="800000 100000")
    assert v2.processors(affinity=4) == 4
    assert v2.processors(affinity=4, SLURM_JOB_ID="12", SLURM_CPUS_PER_TASK="2") == 2
    assert v2.processors(affinity=4, SLURM_CPUS_PER_TASK="2") == 4, "there is no job"


def test_the_processors_at_hand(kernel: Kernel) -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from bioimage_inference.machine.processors import available_processors; print(available_processors({}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"
