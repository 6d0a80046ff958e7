"""Gives tasks to a cluster, a few at a time, and translates the errors of Dask."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..errors import OutOfMemoryError, UsageError
from ..text import counted
from . import worker
from .connect import Cluster

Name = TypeVar("Name")

# Tasks that wait at each worker, so that no worker is idle while a result travels to the client.
_WAITING = 3


def in_turn(cluster: Cluster, tasks: Iterable[tuple[Name, tuple[Any, ...]]]) -> Generator[tuple[Name, Any], None, None]:
    """Yield the names of tasks with their futures, in the order in which the tasks end.

    A task is a function with its arguments. ``tasks`` may depend on results: the first task ends before the second one
    is taken. The scheduler knows only a few tasks at a time. Closing the generator cancels the tasks that have not
    begun, and waits for the others.
    """
    from distributed import as_completed

    todo = iter(tasks)
    names: dict[Any, Name] = {}
    running = as_completed([])

    def submit(wanted: int) -> None:
        while len(names) < wanted:
            task = next(todo, None)
            if task is None:
                return
            future = cluster.client.submit(*task[1], pure=False)
            names[future] = task[0]
            running.add(future)

    try:
        submit(1)
        for future in running:
            yield names.pop(future), future
            submit(_WAITING * max(1, cluster.workers()))
    finally:
        if names:
            cluster.client.cancel(list(names))
            with suppress(OSError, TimeoutError):  # of a cluster that is gone, nobody writes any more
                cluster.client.run(worker.settle)


@contextmanager
def as_ours(cluster: Cluster) -> Iterator[None]:
    """Translate the errors of Dask into errors of this program. Errors of the workers stay as they are."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise OutOfMemoryError(
            f"Workers were lost {counted(error.allowed_failures + 1, 'time')} over the same part of the image. "
            "Most often they need more memory than they have: give workers more of it, or make tiles smaller with "
            "--tile or --memory. The log of the worker tells more."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise UsageError(
            f"The Dask scheduler at {cluster.address} went away, or gave up the tasks; nothing was written. Look "
            "whether it is still running, and predict again."
        ) from error
