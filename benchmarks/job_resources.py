"""Measures the memory and the time of Galaxy's jobs by the size of the image, as a table for administrators.

    python benchmarks/job_resources.py [--sizes 512,2048,8192] [--threads 2] [--memory-mb 8192]

The images are synthetic nuclei. The models are the demo model and a U-Net of 32 channels with random weights, which are
measured with the options of the Galaxy tools. On a busy machine the processor time tells more than the clock.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from compare import peak_kib
from networks import write_model

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "scripts"))
from synthetic_nuclei import render_nuclei  # noqa: E402

PATCH = 1024  # pixels; larger images repeat four rendered patches, because rendering takes longer than predicting
FEATURES = 32  # channels at full resolution, the default of torch-em, from which several models of the zoo come


@dataclass(frozen=True)
class Usage:
    """Peak memory of a finished process in MiB, its seconds by the clock, and its seconds on all processors."""

    peak: float
    wall: float
    processor: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512,2048,8192")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-mb", type=int, default=8192)
    arguments = parser.parse_args()
    print("| image | job | peak memory (MiB) | time (s) | processor time (s) |")
    print("| --- | --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        unet = write_model(Path(folder, "unet"), 2, halo=32, features=FEATURES)
        for size in map(int, arguments.sizes.split(",")):
            image = write_image(Path(folder, f"{size}.tif"), size)
            for job, command in jobs(image, unet, arguments.threads):
                used = measure(command, arguments.memory_mb)
                row = f"| {size}² | {job} | {used.peak:.0f} | {used.wall:.1f} | {used.processor:.1f} |"
                print(row, flush=True)


def write_image(path: Path, size: int) -> Path:
    """Write nuclei of 0.325 µm per pixel, uint16, ``size`` pixels high and wide."""
    patches = [render_nuclei(seed, (min(size, PATCH),) * 2).image for seed in range(4 if size > PATCH else 1)]
    count = -(-size // PATCH)
    rows = [np.hstack([patches[(row + 2 * column) % len(patches)] for column in range(count)]) for row in range(count)]
    tifffile.imwrite(path, np.vstack(rows)[:size, :size], tile=(512, 512))
    return path


def jobs(image: Path, unet: Path, threads: int) -> Iterator[tuple[str, Sequence[str]]]:
    """The name and the command of each job; the objects are those of the demo model's prediction."""
    program = [sys.executable, "-m", "bioimage_inference"]
    for name, model in (("U-Net", unet), ("demo model", ROOT / "test-data" / "demo-model.zip")):
        options = ["--tiff-layout", "pages", "--threads", str(threads), "--device", "cpu", "--overwrite"]
        files = ["--tiff", str(image.with_name("prediction.tif")), "--npy", str(image.with_name("prediction.npy"))]
        yield f"predict, {name}", [*program, "predict", str(model), str(image), *files, *options]
    outputs = {"labels": "labels.tif", "table": "objects.tsv", "overlay": "overlay.png"}
    named = [word for name, file in outputs.items() for word in (f"--{name}", str(image.with_name(file)))]
    yield "segment", [*program, "segment", files[1], "--image", str(image), *named, "--overwrite"]


def measure(command: Sequence[str], memory_mb: int) -> Usage:
    """Run a command to its end, in the environment of a Galaxy job."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"GALAXY_MEMORY_MB": str(memory_mb)}, stdout=subprocess.DEVNULL
    )
    while process.poll() is None:
        peak = max(peak, peak_kib(process.pid))
        time.sleep(0.02)
    wall = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(peak / 1024, wall, processor)


if __name__ == "__main__":
    main()
