"""A Dask cluster of processes on this machine that no other user can reach.

Every connection is TLS, in both directions with a certificate that is made for the run and lives in memory. Worker
processes get it through the pipe by which they are started.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.security import Security
from distributed.worker import Worker

from ..files.scratch import scratch_folder
from ..machine.process_settings import set_up_process

_HOST = "127.0.0.1"
# Dask starts a web server in every process. It has neither TLS nor a password, so it shows no pages.
_NO_PAGES: dict[str, list[str]] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}


class _NoWebServer(WorkerPlugin):
    """Closes the web server of each worker, also of workers that replace lost ones."""

    def setup(self, worker: Worker) -> None:
        worker.http_server.stop()


@contextmanager
def local_client(number: int, memory: int) -> Iterator[Client]:
    """Start processes with ``memory`` bytes each, and connect to them, until the block ends."""
    # by default Dask's temporary files lie where another user can prepare the folder, and workers unpickle them
    with (
        scratch_folder() as scratch,
        dask.config.set({**_NO_PAGES, "temporary-directory": str(scratch)}),
        LocalCluster(
            n_workers=number,
            processes=True,
            threads_per_worker=1,
            memory_limit=memory,
            host=_HOST,
            protocol="tls://",
            security=Security.temporary(),
            scheduler_kwargs={"dashboard": False, "dashboard_address": f"{_HOST}:0"},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        cluster.scheduler.http_server.stop()
        client.register_plugin(_NoWebServer())
        client.run(set_up_process)
        yield client
