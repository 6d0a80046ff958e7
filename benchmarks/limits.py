"""Measures the limits of the machine: the rates of its arithmetic, of its memory and of its disk."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

_MATRIX = 2048
_BYTES = 256 << 20
_TRIALS = 5


@dataclass(frozen=True)
class Limits:
    """Rates with torch's number of threads: float32 operations, bytes copied in memory, bytes written to disk."""

    gflop_per_second: float
    memory_gb_per_second: float
    disk_mb_per_second: float

    def __str__(self) -> str:
        return (
            f"matrix product {self.gflop_per_second:.0f} GFLOP/s, memory {self.memory_gb_per_second:.1f} GB/s copied, "
            f"disk {self.disk_mb_per_second:.0f} MB/s written"
        )

    def seconds(self, flop: float) -> float:
        """Return the least time for so many float32 operations."""
        return flop / self.gflop_per_second / 1e9


def measure_limits(folder: Path) -> Limits:
    """Measure the limits in about 3 s. The disk is the one that holds ``folder``."""
    one, other = torch.ones(_MATRIX, _MATRIX), torch.ones(_MATRIX, _MATRIX)
    source = torch.ones(_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    content, file = bytes(_BYTES), folder / "disk-limit"

    def write() -> None:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    limits = Limits(
        2 * _MATRIX**3 / _least_seconds(lambda: torch.mm(one, other)) / 1e9,
        _BYTES / _least_seconds(lambda: target.copy_(source)) / 1e9,
        _BYTES / _least_seconds(write) / 1e6,
    )
    file.unlink()
    return limits


def flop_per_pixel(weights: Path, dimensions: int) -> float:
    """Return the float32 operations for each pixel of a tile of 128² or 64³.

    The TorchScript network takes one channel.
    """
    network = torch.jit.load(str(weights)).eval()
    shape = (128,) * 2 if dimensions == 2 else (64,) * 3
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, *shape))
    return float(counter.get_total_flops()) / prod(shape)


def _least_seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TRIALS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
