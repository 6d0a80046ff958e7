"""The tasks of a Dask worker. The worker hands each of them to a process that computes, see :mod:`.process`."""

import asyncio
import atexit
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from .._version import __version__
from ..array_types import Index
from ..errors import OutOfMemoryError
from ..machine.memory import memory_budget
from ..options import Options
from .messages import UnreadableAnswerError, unreadable_answer
from .process import ComputingProcess, ProcessLostError
from .tile_blocks import Block
from .work import ComputedBlock, ImageJob, MeasuredSamples, Place, Work

Same = TypeVar("Same")

WORKER_BYTES = 128 << 20
"""Memory of a Dask worker beside the process that computes for it.

Measured with distributed 2026.8 and Python 3.11 on Linux x86-64: 68 MiB. The rest is for answers in transit.
"""
# Attempts for a task whose computing process dies. Dask makes as many attempts for a task whose worker dies.
_MOST_ATTEMPTS = 4


class _Computing:
    """The computing process of this worker. A task holds ``lock`` while it runs."""

    lock = Lock()
    process: ComputingProcess | None = None

    @classmethod
    def close(cls) -> None:
        """End the process."""
        if cls.process is not None:
            process, cls.process = cls.process, None
            process.close()


atexit.register(_Computing.close)


def identify(dask_worker: Any) -> tuple[str, int]:
    """Return the version of this program, and the bytes of memory that are left for the computing process."""
    limit, budget = dask_worker.memory_manager.memory_limit, memory_budget().size
    return __version__, (min(limit, budget) if limit else budget) - WORKER_BYTES


async def settle() -> None:
    """Wait until no task computes or writes for this worker."""
    await asyncio.to_thread(_wait)


def _wait() -> None:
    with _Computing.lock:
        pass


def same(value: Same) -> Same:
    """Return the value. As the result of a task it travels to each worker once, for any number of tasks."""
    return value


def measure(place: Place, work: Work, indices: list[Index], pooled: bool) -> MeasuredSamples:
    """Return statistics of samples: either those that pool samples, with notes on the values, or the others."""
    found: MeasuredSamples = _ask(place, "measure", work, indices, pooled)
    return found


def compute(
    place: Place, work: Work, block: Block, pooled: MeasuredSamples, own: MeasuredSamples, create: bool
) -> ComputedBlock:
    """Compute a block, and write it into the stores, which the first task creates.

    Raises the errors of :mod:`bioimage_inference.errors`, as a single process does.
    """
    found: ComputedBlock = _ask(place, "compute", work, block, pooled, own, create)
    return found


def complete(place: Place, folder: Path) -> float:
    """Compute the smaller levels of a store that holds all blocks, and return the seconds that this takes."""
    found: dict[str, Any] = _ask(place, "complete", folder)
    try:
        return float(found["seconds"])
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable_answer() from error


def predict_whole(place: Place, job: ImageJob, options: Options) -> dict[str, Any]:
    """Predict an image as without a cluster, and return its record, which is not written."""
    found: dict[str, Any] = _ask(place, "predict_whole", job, options)
    return found


def _ask(place: Place, task: str, *arguments: Any) -> Any:
    """Return the result of a task of the computing process. Another model starts a new process, and so does a loss."""
    with _Computing.lock:
        for _ in range(_MOST_ATTEMPTS):
            try:
                if _Computing.process is None or _Computing.process.place != place:
                    _Computing.close()
                    _Computing.process = ComputingProcess(place)
                return _Computing.process.ask(task, *arguments)
            except ProcessLostError as error:
                _Computing.close()
                reason = str(error)
            except UnreadableAnswerError:
                _Computing.close()
                raise
    raise OutOfMemoryError(
        f"The process that computes ended {_MOST_ATTEMPTS} times over the same part of the image ({reason}). Most "
        "often it needs more memory than there is: give workers more, or make tiles smaller with --tile or --memory. "
        "The log of the worker tells more."
    )
