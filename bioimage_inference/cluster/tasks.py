"""Handing tasks to a cluster a few at a time, and what becomes of errors on the way."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..errors import OutOfMemoryError, UsageError
from . import worker
from .connect import Cluster

Name = TypeVar("Name")

# Tasks that each worker has waiting: enough that none is idle while the client is told of results.
_WAITING = 3


def in_turn(cluster: Cluster, tasks: Iterable[tuple[Name, tuple[Any, ...]]]) -> Generator[tuple[Name, Any], None, None]:
    """Names of tasks, which are a function and its arguments, with their futures, as they are done.

    ``tasks`` may depend on results: the first is done before the second is asked for. However many there are, the
    scheduler knows a few of them only. Closing it early cancels what has not begun, and waits for what has.
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
    """Turn what Dask raises into errors of ours; those of the workers come as they are."""
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise OutOfMemoryError(
            f"{error.allowed_failures + 1} workers were lost one after another over the same part of the image. Most "
            "often they need more memory than they have: give workers more of it, or make tiles smaller with --tile or "
            "--memory. The log of the worker tells more."
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise UsageError(
            f"The Dask scheduler at {cluster.address} went away, or gave up the tasks; nothing was written. Look "
            "whether it is still running, and predict again."
        ) from error
