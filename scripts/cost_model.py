"""Seconds and bytes per megapixel on a cluster of local processes, and what a terabyte would take.

    python scripts/cost_model.py [--model MODEL] [--workers N] [--repeat N] [--megapixels 1,4,16]

Images of these sizes are made of the demo image and predicted with ``--dask local:N``; every number comes from the
records of the runs. On a busy machine the processor time tells more than the clock. A straight line (fixed + per
megapixel) is fitted to the medians of all sizes; how far such lines are to be trusted is told by another one, through
all sizes but the largest, which foretells the largest. The terabyte is one of 16-bit pixels, 500 000 megapixels.
"""

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import tifffile

from bioimage_inference.api import Target, open_model
from bioimage_inference.cluster.cluster_run import predict_on_cluster
from bioimage_inference.cluster.connect import connect
from bioimage_inference.cluster.work import ImageJob
from bioimage_inference.errors import BioimageInferenceError
from bioimage_inference.machine.processors import available_processors
from bioimage_inference.options import Options
from bioimage_inference.provenance.record import to_json

DATA = Path(__file__).parents[1] / "test-data"
TERABYTE = 500_000  # megapixels of two bytes
SERIAL = ("statistics", "hashing")
"""Stages that one process does for all of a single image."""


@dataclass(frozen=True)
class Line:
    """``fixed + slope * megapixels``."""

    fixed: float
    slope: float

    def at(self, megapixels: float) -> float:
        """The value for an image of this size."""
        return self.fixed + self.slope * megapixels


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(DATA / "demo-model.zip"))
    parser.add_argument("--workers", type=int, default=available_processors())
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--megapixels", default="1,4,16")
    arguments = parser.parse_args()
    sizes = [float(size) for size in arguments.megapixels.split(",")]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.workers} workers, "
          f"median of {arguments.repeat} runs, load before {psutil.getloadavg()[0]:.1f}")  # fmt: skip
    runs = [measured(arguments.model, size, arguments.workers, arguments.repeat) for size in sizes]
    versions = runs[0][0]["versions"]
    print(", ".join(f"{name} {versions[name]}" for name in ("bioimage_inference", "python", "torch")))
    exact = [megapixels(of_size[0]) for of_size in runs]
    values = [medians([quantities(record) for record in of_size]) for of_size in runs]
    lines = {name: fit(exact, [one[name] for one in values]) for name in values[0]}
    foretold = {name: fit(exact[:-1], [one[name] for one in values[:-1]]).at(exact[-1]) for name in values[0]}
    print("\n".join((*table(exact, values, lines, foretold), "", *terabyte(lines))))


def measured(model: str, size: float, workers: int, repeat: int) -> list[Mapping[str, Any]]:
    """The records of some runs on an image of about ``size`` megapixels."""
    with tempfile.TemporaryDirectory() as name, open_model(model) as opened:
        folder = Path(name)
        image = make_image(folder / "image.tif", round(sqrt(size * 1e6)))
        targets = {one.id: Target(folder / f"{one.id}.tif", folder / f"{one.id}.npy") for one in opened.spec.outputs}
        job = ImageJob(image, {}, targets)
        found = []
        for _ in range(repeat):
            with connect(f"local:{workers}", None, None, print) as cluster:
                ((_, record),) = predict_on_cluster(cluster, opened, [job], Options(), silent, tiles=True)
            if isinstance(record, BioimageInferenceError):
                raise record
            found.append(to_json(record))
        return found


def silent(done: int, total: int) -> None:
    """Show no progress."""
    del done, total


def make_image(path: Path, length: int) -> Path:
    """A square of copies of the demo image, stored in tiles."""
    cells = tifffile.imread(DATA / "nuclei.tif")
    repeats = [ceil(length / size) for size in cells.shape]
    tifffile.imwrite(path, np.tile(cells, repeats)[:length, :length], tile=(256, 256))
    return path


def megapixels(record: Mapping[str, Any]) -> float:
    """Pixels of the image in millions."""
    return float(np.prod(record["inputs"][0]["shape"])) / 1e6


def quantities(record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of every stage, all workers together, and megabytes."""
    cpu = {"processor time (s)": record["cluster"]["cpu_seconds"]}
    seconds = {f"{stage} (s)": value for stage, value in record["seconds"].items() if stage != "total"}
    data = {f"bytes {name} (MB)": value / 1e6 for name, value in record["cluster"]["bytes"].items()}
    return {**cpu, **seconds, "from start to end (s)": record["seconds"]["total"], **data}


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of every quantity."""
    return {name: median(one[name] for one in runs) for name in runs[0]}


def fit(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """The straight line of least squares through (megapixels, value)."""
    slope, fixed = np.polyfit(sizes, values, 1)
    return Line(float(fixed), float(slope))


def table(
    sizes: Sequence[float],
    values: Sequence[Mapping[str, float]],
    lines: Mapping[str, Line],
    foretold: Mapping[str, float],
) -> Iterator[str]:
    """Measured values, the line through them, and what smaller images foretell for the largest, as Markdown."""
    measured_at = " | ".join(f"{size:.0f} MP" for size in sizes)
    yield f"| quantity | {measured_at} | fixed | per MP | {sizes[-1]:.0f} MP foretold | off by |"
    yield "| --- |" + " ---: |" * (len(sizes) + 4)
    for name, line in lines.items():
        row = " | ".join(f"{one[name]:.2f}" for one in values)
        last = values[-1][name]
        off = f"{100 * (foretold[name] / last - 1):+.0f} %" if last >= 0.05 else "-"
        yield f"| {name} | {row} | {line.fixed:.2f} | {line.slope:.3f} | {foretold[name]:.2f} | {off} |"


def terabyte(lines: Mapping[str, Line]) -> Iterator[str]:
    """What 1 TB takes by the lines; what is fixed does not count any more."""
    shared = lines["processor time (s)"].slope * TERABYTE / 3600
    serial = sum(lines[f"{stage} (s)"].slope for stage in SERIAL) * TERABYTE / 3600
    yield f"1 TB ({TERABYTE} MP of 16 bit):"
    yield f"  {shared:.0f} hours of processors, all together: {shared / 24:.1f} days with 1 of them, "
    yield f"  {shared / 16:.1f} hours with 16, {shared / 100:.1f} hours with 100"
    yield f"  {serial:.1f} hours for statistics and for hashing the outputs, in one process however many there are"
    for name in ("read", "computed", "stored"):
        yield f"  {lines[f'bytes {name} (MB)'].slope * TERABYTE / 1e6:.2f} TB {name}"


if __name__ == "__main__":
    main()
