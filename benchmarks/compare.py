"""Measures this program and its peers on the same model and image: whole processes, in turn, medians and ratios.

    python benchmarks/compare.py [2d|3d|start|all] [--runs 5] [--small] [--json FILE] [--model-2d RDF]

``--small`` only checks that everything runs. Peers that are not installed (``pip install .[bench]``) are left out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from networks import write_image, write_model

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One model and image, and the programs that run on it: commands by name."""

    name: str
    commands: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, peak memory in MiB, and what it printed of itself."""

    wall: float
    peak: float
    network: float | None
    computed: float | None


def ours(model: Path, image: Path, out: Path, *options: str) -> list[str]:
    """The command line of this program."""
    files = ["--tiff", str(out.with_suffix(".tif")), "--npy", str(out)]
    return [sys.executable, "-m", "bioimage_inference", "predict", str(model), str(image), *files, "--json", *options]


def peer(name: str, model: Path, image: Path, out: Path, tile: str) -> list[str]:
    """The command line of a peer."""
    return [sys.executable, str(HERE / "peers.py"), name, str(model), str(image), str(out), "--tile", tile]


def measure(command: Sequence[str]) -> Run:
    """Run a command to its end and account for it."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE.parent)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed with {os.waitstatus_to_exitcode(status)}")
    said = json.loads(printed[printed.index("{") :]) if "{" in printed else {}
    if "plan" in said:
        said = {"network": said["seconds"]["network"], "computed": said["plan"]["computed_per_pixel"]}
    return Run(wall, usage.ru_maxrss / 1024, said.get("network"), said.get("computed"))


def cases(what: str, folder: Path, small: bool, model_2d: Path | None) -> list[Case]:
    """The models, images and programs to measure."""
    peers = [
        name for name, package in (("core", "bioimageio.core"), ("monai", "monai"), ("loop", "torch")) if _has(package)
    ]
    found = []
    if what in ("2d", "all"):
        model = model_2d or write_model(folder / "2d", 2, halo=32)
        image = write_image(folder / "2d.tif", (256, 256) if small else (4096, 4096))
        tile = "128x128" if small else "512x512"
        commands = {"ours": ours(model, image, folder / "ours.npy")}
        if _has("openvino"):
            commands["ours, openvino"] = ours(model, image, folder / "openvino.npy", "--engine", "openvino")
        commands["ours, bfloat16"] = ours(model, image, folder / "bfloat16.npy", "--precision", "bfloat16")
        found.append(
            Case("2-D 4096×4096", commands | {n: peer(n, model, image, folder / f"{n}.npy", tile) for n in peers})
        )
    if what in ("3d", "all"):
        model = write_model(folder / "3d", 3, halo=16)
        image = write_image(folder / "3d.tif", (40, 64, 64) if small else (64, 256, 256))
        tile = "40x48x48" if small else "64x128x128"
        commands = {"ours": ours(model, image, folder / "ours.npy")}
        found.append(
            Case("3-D 64×256×256", commands | {n: peer(n, model, image, folder / f"{n}.npy", tile) for n in peers})
        )
    if what in ("start", "all"):
        model = model_2d or write_model(folder / "start", 2, halo=32)
        image = write_image(folder / "start.tif", (128, 128) if small else (512, 512))
        commands = {"ours": ours(model, image, folder / "ours.npy")}
        commands["whole"] = peer("whole", model, image, folder / "whole.npy", "512x512")
        if _has("bioimageio.core"):
            commands["bioimageio predict"] = _reference_command(model, image, folder)
        found.append(Case("512×512", commands))
    return found


def _reference_command(model: Path, image: Path, folder: Path) -> list[str]:
    """The reference's own command line, which takes arrays with batch and channel."""
    np.save(folder / "tensor.npy", tifffile.imread(image)[None, None])
    outputs = str(folder / "reference_{output_id}.npy")
    program = str(Path(sys.executable).with_name("bioimageio"))
    files = ["--inputs", str(folder / "tensor.npy"), "--outputs", outputs, "--overwrite"]
    return [program, "predict", str(model), *files, "--weight-format", "torchscript"]


def _result(name: str, case: Case, folder: Path) -> Path:
    """Where a program wrote its prediction."""
    command = case.commands[name]
    if name == "bioimageio predict":
        return folder / "reference_prediction.npy"
    return Path(command[command.index("--npy") + 1] if "--npy" in command else command[5])


def _has(package: str) -> bool:
    return find_spec(package.partition(".")[0]) is not None


def report(case: Case, runs: Mapping[str, Sequence[Run]], folder: Path) -> list[dict[str, Any]]:
    """Medians and ratios of one case, printed as a table."""
    heads = ("wall s", "ratio", "network s", "peak MiB", "computed", "differs")
    print(f"\n{case.name}\n{'program':18}" + "".join(f"{head:>10}" for head in heads))
    reference = np.load(folder / "ours.npy", mmap_mode="r")
    rows = []
    for name, done in runs.items():
        wall = statistics.median(run.wall for run in done)
        ratio = statistics.median(a.wall / b.wall for a, b in zip(runs["ours"], done, strict=True))
        network = statistics.median(run.network or 0.0 for run in done)
        differs = float(np.abs(np.load(_result(name, case, folder), mmap_mode="r") - reference).max())
        row = {
            "program": name,
            "wall": round(wall, 2),
            "ours_to_it": round(ratio, 3),
            "network": round(network, 2),
            "peak_mib": round(max(run.peak for run in done)),
            "computed": done[0].computed,
            "differs": differs,
            "walls": [round(run.wall, 2) for run in done],
        }
        rows.append(row)
        numbers = (
            f"{wall:.2f}",
            f"{ratio:.2f}",
            f"{network:.2f}",
            f"{row['peak_mib']}",
            f"{done[0].computed or 0:.2f}",
        )
        print(f"{name:18}" + "".join(f"{number:>10}" for number in (*numbers, f"{differs:.1e}")))
    return rows


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["2d", "3d", "start", "all"], default="all")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model-2d", type=Path, help="measure this model in 2-D instead of one with random weights")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(arguments.what, folder, arguments.small, arguments.model_2d):
            runs: dict[str, list[Run]] = {program: [] for program in case.commands}
            for _ in range(arguments.runs):
                for program, command in case.commands.items():
                    runs[program].append(measure(command))
            results.append({"case": case.name, "programs": report(case, runs, folder)})
    if arguments.json is not None:
        facts = {"date": time.strftime("%Y-%m-%d"), "machine": _machine(), "versions": _versions(), "results": results}
        arguments.json.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{len(names)} × {names[0] if names else platform.processor()}"


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
