"""Connects to a running Dask cluster, or starts worker processes on this machine."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import UsageError
from ..machine.memory import memory_budget, parse_size
from ..machine.processors import available_processors
from ..text import reason_of
from . import worker

_CONNECT_SECONDS = 8  # time for a busy scheduler; a wrong address is told soon enough
_LOCAL = r"local:([1-9]\d*)"


@dataclass(frozen=True)
class Cluster:
    """A connected cluster. Each worker has ``memory`` bytes and ``threads`` threads (``None``: the worker decides)."""

    client: Any
    address: str
    memory: int
    threads: int | None

    def workers(self) -> int:
        """Return the present number of workers."""
        return len(self.client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def connect(address: str, memory: str | None, threads: int | None, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to the scheduler at ``address``, or start ``local:N`` worker processes, for as long as the block lasts.

    ``memory`` and ``threads`` are the user's options for each worker; local workers share the memory. ``say`` receives
    the reason for waiting and the address of the dashboard. Certificates come from Dask's own configuration.

    Raises :class:`UsageError` if Dask is not installed, no scheduler answers, the certificates do not fit, or the
    workers have another version of this program.
    """
    _check_installed("distributed")
    check_address(address)
    local = re.fullmatch(_LOCAL, address)
    connected = _local(address, int(local[1]), memory, threads) if local else _remote(address, memory, threads, say)
    with connected as cluster:
        yield cluster


def check_address(address: str) -> None:
    """Raise :class:`UsageError` unless the address names a scheduler or a number of local processes."""
    if address.partition(":")[0] == "local" and not re.fullmatch(_LOCAL, address):
        raise UsageError(f"--dask {address} is not understood. Give the number of processes, for instance local:4.")
    if ":" not in address:
        raise UsageError(
            f"--dask {address} is no address. Give the address that `dask scheduler` prints, for instance "
            "tcp://node7:8786, or local:4 for processes on this machine."
        )


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        raise UsageError(
            f"--dask needs the package {package}, which is not installed. Install it with: pip install "
            '"bioimage_inference[cluster]"'
        )


@contextmanager
def _local(address: str, number: int, memory: str | None, threads: int | None) -> Iterator[Cluster]:
    """Start processes on this machine, which share its memory and cores."""
    _check_installed("cryptography")
    from .local import local_client

    each = memory_budget(memory).size // number
    cores = available_processors()
    with local_client(number, each) as client:
        yield Cluster(client, address, each - worker.WORKER_BYTES, threads or max(1, cores // number))


@contextmanager
def _remote(address: str, memory: str | None, threads: int | None, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Connect to a running scheduler, whose workers may still wait in the queue of a batch system."""
    from distributed import Client

    with _quiet("distributed"):
        try:
            client = Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError, RuntimeError, TypeError) as error:  # the last two: certificates that Dask misses
            raise UsageError(_no_connection(address, error)) from error
        with client:
            if _is_open_to_others(address):
                say(
                    f"The connection to {address} has no encryption: anyone who reaches this port can run code as you. "
                    "Clusters with tls:// addresses ask for certificates."
                )
            if client.dashboard_link and find_spec("bokeh") is not None:  # without Bokeh a scheduler shows nothing
                say(f"Dashboard of the cluster: {client.dashboard_link}")
            yield _connected(client, address, memory, threads, say)


def _no_connection(address: str, error: Exception) -> str:
    """Return the message for a scheduler that does not answer."""
    reason = reason_of(error)
    if address.startswith("tls://"):
        return (
            f"There is no TLS connection to a Dask scheduler at {address} ({reason}). Name the certificates of the "
            "cluster in Dask's configuration (distributed.comm.tls: ca-file, client.key, client.cert), and check that "
            "the scheduler is running."
        )
    return (
        f"No Dask scheduler answers at {address} ({reason}). Give the address that `dask scheduler` prints, for "
        "instance tcp://node7:8786, or --dask local:4 for processes on this machine."
    )


def _is_open_to_others(address: str) -> bool:
    """Return whether an address has no encryption and leads to another machine."""
    scheme, _, rest = address.rpartition("://")
    host = urlsplit(f"//{rest}").hostname or ""
    with suppress(ValueError):
        return scheme in ("", "tcp") and not ip_address(host).is_loopback
    return scheme in ("", "tcp") and host != "localhost"


def _connected(
    client: Any, address: str, memory: str | None, threads: int | None, say: Callable[[str], None]
) -> Cluster:
    if not client.scheduler_info(n_workers=-1)["workers"]:
        say(f"The scheduler at {address} has no workers yet. Waiting for the first worker.")
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
    """Return the bytes of memory of each worker. Raises :class:`UsageError` for another version of this program."""
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
