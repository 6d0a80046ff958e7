"""Measures this program and its peers on the same model and image: whole processes, in turn, medians and ratios.

    python benchmarks/compare.py [CASE|all] [--runs 5] [--small] [--json FILE] [--model-2d RDF] [--avx2]

``--small`` only checks that everything runs. Peers that are not installed (``pip install .[bench]``) are left out.
``--avx2`` hides newer instructions of the processor. The column ``limit s`` has the time that the network's arithmetic
takes at the rate of the machine's matrix product, if every pixel is computed once in float32.
"""

import argparse
import compileall
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import CASES, HERE, Case, Program, Setting
from limits import Limits, flop_per_pixel, measure_limits
from peers import weights_of

_PACKAGE = HERE.parent / "bioimage_inference"
_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, peak memory in MiB, and what it printed of itself."""

    wall: float
    peak: float
    network: float | None
    computed: float | None


def measure(command: Sequence[str]) -> Run:
    """Run a command to its end and account for it."""
    peak = 0
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, cwd=HERE.parent)
        while process.poll() is None:
            peak = max(peak, peak_kib(process.pid))
            time.sleep(0.02)
        wall = time.perf_counter() - start
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    said = json.loads(printed[printed.index("{") :]) if "{" in printed else {}
    if "plan" in said:
        said = {"network": said["seconds"]["network"], "computed": said["plan"]["computed_per_pixel"]}
    return Run(wall, peak / 1024, said.get("network"), said.get("computed"))


def peak_kib(process: int) -> int:
    """The most memory that a process has held so far; what the system tells at its end would include this one's."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has just ended
        return 0
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) if found else 0


def report(case: Case, runs: Mapping[str, Sequence[Run]], limits: Limits) -> list[dict[str, Any]]:
    """Medians and ratios of one case, printed as a table."""
    heads = ("wall s", "ratio", "network s", "limit s", "s/megapixel", "peak MiB", "computed", "differs")
    flop = flop_per_pixel(weights_of(case.model), case.dimensions)
    print(f"\n{case.name}\n{'program':22}" + "".join(f"{head:>12}" for head in heads))
    reference, *_ = case.programs.values()
    ours, *_ = runs.values()
    rows = []
    for name, done in runs.items():
        program = case.programs[name]
        row = {
            "program": name,
            "wall": round(_median(run.wall for run in done), 2),
            "ours_to_it": round(_median(a.wall / b.wall for a, b in zip(ours, done, strict=True)), 3),
            "network": round(_median(run.network or 0.0 for run in done), 2),
            "limit": round(limits.seconds(flop * program.pixels), 2),
            "seconds_per_megapixel": round(_median(run.wall for run in done) / program.pixels * 1e6, 3),
            "peak_mib": round(max(run.peak for run in done)),
            "computed": done[0].computed,
            "differs": _difference(program, reference),
        }
        print(f"{name:22}" + "".join(f"{_text(value):>12}" for value in list(row.values())[1:]))
        rows.append(row | {"walls": [round(run.wall, 2) for run in done]})
    return rows


def _median(numbers: Any) -> float:
    return float(statistics.median(numbers))


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if 0 < value < 1e-2 else f"{value:g}"


def _difference(program: Program, reference: Program) -> float | None:
    """The largest difference of two results, row by row; ``None`` where their images differ."""
    one, other = (np.load(path, mmap_mode="r") for path in (program.result, reference.result))
    if one.shape != other.shape:
        return None
    return max(float(np.abs(one[..., row, :] - other[..., row, :]).max()) for row in range(one.shape[-2]))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=[*CASES, "all"], default="all")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model-2d", type=Path, help="measure this model in 2-D instead of one with random weights")
    parser.add_argument("--avx2", action="store_true")
    arguments = parser.parse_args()
    if arguments.avx2 and not all(os.environ.get(name) == value for name, value in _AVX2.items()):
        # torch reads these variables when it is imported, here and in the programs
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_AVX2})
    compileall.compile_dir(_PACKAGE, quiet=1)  # the peers are compiled, because pip compiles what it installs
    with tempfile.TemporaryDirectory() as folder:
        limits = measure_limits(Path(folder))
    print(f"{_machine()}: {limits}")
    results = []
    for name in CASES if arguments.what == "all" else [arguments.what]:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name](Setting(Path(folder), arguments.small, arguments.model_2d))
            runs: dict[str, list[Run]] = {program: [] for program in case.programs}
            for _ in range(arguments.runs):
                for program, facts in case.programs.items():
                    runs[program].append(measure(facts.command))
            results.append({"case": case.name, "programs": report(case, runs, limits)})
    if arguments.json is not None:
        about = {
            "date": time.strftime("%Y-%m-%d"),
            "machine": _machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "limits": vars(limits),
            "versions": _versions(),
            "results": results,
        }
        arguments.json.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    processors = f"{len(names)} × {names[0] if names else platform.processor()}"
    return f"{processors}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else processors


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("bioimage_inference", "torch", "bioimageio.core", "monai", "openvino", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
