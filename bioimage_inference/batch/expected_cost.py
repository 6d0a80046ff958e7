"""The probable cost of a run: memory, room on the disk, and time. For ``--dry-run``, without torch.

The time comes from a record of the same model in the output folder, if there is one. Otherwise it is the work of a
U-Net with as many parameters as the weights file holds, over the speed of matrix products on this machine.
"""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from ..files.overwriting import RECORD_END
from ..inference.augmentation import copies_of, with_uncertainty
from ..inference.planning import weights_size
from ..machine.processors import available_processors
from ..model.spec import ModelSpec
from ..options import Options
from ..provenance.record import RunPlan, RunRecord, read_record
from ..provenance.record_builder import given_options
from ..provenance.record_parts import ExpectedCost, PlanRecord
from ..report.describe_run import cost_lines
from ..tiling.tile_size import BYTES_PER_PIXEL, dimensions_of
from .one_image import Task
from .output_files import ImageFiles

# Floating-point operations for a pixel: a part for every network, and a part for each parameter. A line through the
# times of U-Nets with 0.05 to 31 million parameters in 2-D, and with 0.01 to 6 million in 3-D (2 cores of an AMD EPYC,
# torch 2.13), times the speed of matrix products there. Networks of other kinds differ by a factor of ten.
_OPERATIONS = {2: (23_000, 0.0123), 3: (18_500, 0.037)}
_PARAMETER_BYTES = 4  # float32
_START_SECONDS = 1.4
"""Import of torch, loading of the nuclei U-Net and its first tile (docs/benchmarks.md, Start)."""
_BYTES_PER_SECOND = 145e6
"""Output bytes that are postprocessed and written in a second (docs/explanation/cost.md, 8 MB in 0.055 s)."""
_LABEL_BYTES = 4  # uint32
_MATRIX = 512  # rows of the matrices whose product shows the speed of this machine
_MOST_RECORDS = 50  # of earlier runs, which are read for their speed
# Options that change the duration of the network.
_SPEED_OPTIONS = ("device", "engine", "precision", "threads", "augment")


@dataclass(frozen=True)
class Speed:
    """Seconds before the first pixel, seconds for a computed pixel, and where these numbers come from.

    ``pixel`` is ``None`` where the speed is unknown; ``source`` then completes the sentence "The time is unknown …".
    """

    start: float
    pixel: float | None
    source: str


_ON_A_CLUSTER = Speed(0, None, "on a cluster")
_ON_A_GPU = Speed(0, None, "for this GPU until a first run has left its record in the folder")


class Rehearsal:
    """The cost of the images of a ``--dry-run``. The time is unknown on a ``cluster``."""

    def __init__(self, task: Task, folder: Path, *, cluster: bool = False) -> None:
        self._task, self._folder = task, folder
        self._speed = _ON_A_CLUSTER if cluster else None
        self._costs: list[ExpectedCost] = []

    def with_cost(self, plan: RunPlan, files: ImageFiles) -> RunPlan:
        """Return the plan of an image with its cost."""
        spec, options = self._task.model.spec, self._task.options
        written = [path for target in files.targets.values() for path in target.files.values()]
        folder = written[0].parent if files.record is None and written else self._folder
        if self._speed is None:
            self._speed = expected_speed(spec, plan, options, folder)
        written_spec, copies = with_uncertainty(spec, options), len(copies_of(spec, options))
        disk = _disk_bytes(written_spec, plan, files, objects=self._task.objects is not None)
        cost = expected_cost(plan, disk, folder, self._speed, copies)
        self._costs.append(cost)
        return replace(plan, expected=cost)

    def lines(self) -> Iterator[str]:
        """Yield the cost of all images together, where there are several."""
        if self._speed is not None and len(self._costs) > 1:
            yield f"[{len(self._costs)} images] together"
            yield from cost_lines(total_cost(self._costs, self._speed))


def expected_cost(plan: RunPlan, disk: int, folder: Path, speed: Speed, copies: int = 1) -> ExpectedCost:
    """Return what an image costs. ``disk`` is the size of its outputs in bytes, which go to ``folder``.

    ``copies`` of the image are computed.
    """
    pixels = _computed_pixels(plan.plan, plan.inputs[0].samples) * copies
    tile = list(plan.plan.tile.values())
    tiles = prod(tile) * (plan.plan.batch or 1) * BYTES_PER_PIXEL[dimensions_of(tile)]
    memory = (plan.memory.program_bytes or 0) + tiles
    seconds = None if speed.pixel is None else speed.start + speed.pixel * pixels + disk / _BYTES_PER_SECOND
    return ExpectedCost(
        computed_pixels=pixels,
        memory_bytes=min(memory, plan.memory.bytes),
        disk_bytes=disk,
        free_bytes=_free_bytes(folder),
        folder=str(folder),
        seconds=None if seconds is None else round(seconds, 1),
        seconds_from=speed.source,
    )


def total_cost(costs: Sequence[ExpectedCost], speed: Speed) -> ExpectedCost:
    """Return what several images cost together. The program starts once, and has one image at a time in memory."""
    started = speed.start * (len(costs) - 1)
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    return ExpectedCost(
        computed_pixels=sum(cost.computed_pixels for cost in costs),
        memory_bytes=max(cost.memory_bytes for cost in costs),
        disk_bytes=sum(cost.disk_bytes for cost in costs),
        free_bytes=costs[0].free_bytes,
        folder=costs[0].folder,
        seconds=round(sum(seconds) - started, 1) if seconds else None,
        seconds_from=costs[0].seconds_from,
    )


def expected_speed(spec: ModelSpec, plan: RunPlan, options: Options, folder: Path) -> Speed:
    """Return the speed of a model, measured by an earlier run or else estimated."""
    measured = _measured_speed(spec, options, folder)
    if measured is not None:
        return measured
    if options.device.startswith(("cuda", "mps")):
        return _ON_A_GPU
    constant, each = _OPERATIONS[dimensions_of(list(plan.plan.tile.values()))]
    operations = constant + each * weights_size(spec) / _PARAMETER_BYTES
    processors = available_processors()
    speed = _matrix_speed() * min(options.threads or processors, processors) / processors
    return Speed(
        _START_SECONDS,
        operations / speed,
        "a rough estimate for a U-Net of this size on this CPU; other networks differ by a factor of ten",
    )


def _measured_speed(spec: ModelSpec, options: Options, folder: Path) -> Speed | None:
    """Return the speed of the longest earlier run of this model with these options whose record is in the folder."""
    wanted = given_options(options)
    found: dict[int, Speed] = {}
    for path in sorted(folder.glob(f"*{RECORD_END}"))[:_MOST_RECORDS]:
        try:
            record = read_record(path)
        except (OSError, ValueError):  # no record, or one of another version
            continue
        if spec.sha256 is not None and record.model.sha256 == spec.sha256 and _same_speed(record.options, wanted):
            copies = len(copies_of(spec, options))
            pixels = _computed_pixels(record.plan, record.inputs[0].samples) * copies
            loading = record.seconds["loading"]
            each = (record.seconds["total"] - loading) / max(pixels, 1)
            found[pixels] = Speed(loading, each, f"estimated from the {_took(record)} that {path.name} tells of")
    return found[max(found)] if found else None


def _same_speed(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(one.get(name) == other.get(name) for name in _SPEED_OPTIONS)


def _took(record: RunRecord) -> str:
    return f"{record.seconds['total']:.3g} s"


def _computed_pixels(plan: PlanRecord, samples: int) -> int:
    return plan.tiles * prod(plan.tile.values()) * samples


def _disk_bytes(spec: ModelSpec, plan: RunPlan, files: ImageFiles, *, objects: bool) -> int:
    """Return the bytes of all files of tensors, and of the label map, without sizes that only the network decides."""
    found = 0
    for number, output in enumerate(plan.outputs):
        shape = [size for size in output.shape if size is not None]
        if len(shape) < len(output.shape):
            continue
        copies = len(files.targets[output.id].files)
        found += prod(shape) * np.dtype(spec.tensor(output.id).dtype).itemsize * copies
        if objects and number == 0:
            found += _LABEL_BYTES * prod(size for letter, size in zip(output.axes, shape, strict=True) if letter != "c")
    return found


def _free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the disk on which the folder is or will be; ``None`` if the system does not tell."""
    there = next((one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


@cache
def _matrix_speed() -> float:
    """Return the floating-point operations in a second of matrix products here: the best of some, 0.1 s at most."""
    matrix = np.ones((_MATRIX, _MATRIX), np.float32)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(2 * _MATRIX**3 / min(seconds))
