"""The connection to a Dask cluster: one that is running somewhere, or processes on this machine."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..memory import memory_budget, parse_size
from ..own_process import set_up_process
from ..processors import available_processors
from . import worker

_CONNECT_SECONDS = 8


@dataclass(frozen=True)
class Cluster:
    """A connected cluster. Each worker may use ``memory`` bytes, and computes with ``threads`` (``None``: its own)."""

    client: Any
    address: str
    memory: int
    threads: int | None

    def workers(self) -> int:
        """How many there are now."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def connect(address: str, memory: str | None, threads: int | None, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to the scheduler at ``address``, or start ``local:N`` worker processes, for as long as the block lasts.

    ``memory`` and ``threads`` are what the user says of each worker; local ones share the memory. ``say`` is told what
    is waited for, and the address of the dashboard. Raises :class:`UsageError` where Dask is not installed, nobody
    answers, or workers have another version of this program.
    """
    if find_spec("distributed") is None:
        raise UsageError(
            '--dask needs Dask, which is not installed. Install it with: pip install "bioimage_inference[cluster]"'
        )
    local = re.fullmatch(r"local:([1-9]\d*)", address)
    if address.startswith("local") and local is None:
        raise UsageError(f"--dask {address} is not understood. Give the number of processes, for instance local:4.")
    with ExitStack() as stack:
        if local is not None:
            cluster = stack.enter_context(_local(address, int(local[1]), memory, threads))
        else:
            cluster = stack.enter_context(_remote(address, memory, threads, say))
        if cluster.client.dashboard_link and _has_dashboard():
            say(f"Dashboard of the cluster: {cluster.client.dashboard_link}")
        yield cluster


@contextmanager
def _local(address: str, number: int, memory: str | None, threads: int | None) -> Iterator[Cluster]:
    """Processes on this machine, which share its memory and cores."""
    from distributed import Client, LocalCluster

    each = memory_budget(memory).size // number
    cores = available_processors()
    with (
        LocalCluster(
            n_workers=number,
            processes=True,
            threads_per_worker=1,
            memory_limit=each,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(set_up_process)
        yield Cluster(client, address, each, threads or max(1, cores // number))


@contextmanager
def _remote(address: str, memory: str | None, threads: int | None, say: Callable[[str], None]) -> Iterator[Cluster]:
    """A scheduler that is running; its workers may still be waiting in the queue of a batch system."""
    from distributed import Client

    with _quiet("distributed"):
        try:
            client = Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"No Dask scheduler answers at {address} ({error}). Give the address that `dask scheduler` prints, "
                "for instance tcp://node7:8786, or --dask local:4 for processes on this machine."
            ) from error
        with client:
            yield _connected(client, address, memory, threads, say)


def _connected(
    client: Any, address: str, memory: str | None, threads: int | None, say: Callable[[str], None]
) -> Cluster:
    if not client.scheduler_info(n_workers=-1)["workers"]:
        say(f"The scheduler at {address} has no workers yet; waiting for the first.")
        client.wait_for_workers(1)
    known = _identify(client, address)
    return Cluster(client, address, min(known) if memory is None else parse_size(memory), threads)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's logger: errors reach the user in this program's own words."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _identify(client: Any, address: str) -> list[int]:
    """Bytes that each worker may use. Raises :class:`UsageError` where one has another version of this program."""
    try:
        found = client.run(worker.identify)
    except ImportError as error:
        raise UsageError(
            f"The workers at {address} do not have bioimage-inference {__version__} ({error}). Install it, with "
            "its extra 'cluster', where they run."
        ) from error
    for name, (version, _) in found.items():
        if version != __version__:
            raise UsageError(
                f"The worker {name} has bioimage-inference {version}, but you have {__version__}. Install the same "
                "version in both places."
            )
    return [memory for _, memory in found.values()]


def _has_dashboard() -> bool:
    """Whether Bokeh is installed, without which a scheduler shows nothing."""
    return find_spec("bokeh") is not None
