"""Downloads files over HTTP and shows the progress.

A download continues where the connection broke, is compared with its SHA-256, and gets its final name when it is
complete. The downloader of ``bioimageio.spec`` 0.5.12 keeps a whole file in memory and starts again after every
interruption.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..files.shared_folders import continued_file, make_folder, unfinished_bytes
from ..files.system_calls import give_name
from ..model.package import file_sha256, require_sha256
from ..terminal import animated, can_animate, is_quiet, say, text_column

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt, doubled before each further attempt."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived, and the expected bytes where the server tells them."""


def description_address(model_id: str) -> str:
    """Return the address of the current description of a zoo model."""
    from bioimageio.spec import settings

    return settings.collection_http_pattern.format(bioimageio_id=model_id)


@contextmanager
def http_client() -> Iterator["httpx.Client"]:
    """Yield a client with the timeout and the name that ``bioimageio.spec`` is set to use."""
    import httpx
    from bioimageio.spec import settings

    from .._version import __version__

    headers = {
        "User-Agent": settings.user_agent or f"bioimage-inference/{__version__}",
        "Accept-Encoding": "identity",  # a download continues after the last byte of the file, not of compressed data
    }
    with httpx.Client(follow_redirects=True, timeout=settings.http_timeout, headers=headers) as client:
        yield client


def fetch_bytes(client: "httpx.Client", address: str, limit: int) -> bytes:
    """Return a small file. Raises ``httpx.HTTPError``, and :class:`ModelError` beyond ``limit`` bytes."""
    content = b""
    with client.stream("GET", address) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > limit:
                raise ModelError(f"{address} is larger than any description of a model; it is not downloaded.")
    return content


def fetch_file(client: "httpx.Client", address: str, path: Path, sha256: str | None, progress: Progress) -> None:
    """Download a file to ``path``. An unfinished ``path.part`` of an earlier run is continued.

    Without ``sha256`` every attempt starts again, because nothing shows whether old and new bytes belong together.
    Raises ``httpx.HTTPError`` where the connection fails, :class:`ModelError` where the file has another hash, and
    :class:`OSError` where it cannot be written.
    """
    import httpx

    part = path.with_name(path.name + ".part")
    make_folder(path.parent)
    for attempt in range(1, ATTEMPTS + 1):
        continued = 0 if sha256 is None else unfinished_bytes(part)
        try:
            continued = _receive(client, address, part, continued, progress)
        except httpx.TransportError:
            if attempt == ATTEMPTS or not part.exists():  # no byte has ever arrived: there is no network
                raise
            time.sleep(PAUSE * 2 ** (attempt - 1))
            continue
        actual = file_sha256(part)
        if sha256 is None or actual == sha256.strip().lower():
            give_name(part, path)
            return
        part.unlink()
        if not continued:
            require_sha256(actual, sha256, path.name)
    raise ModelError(f"{path.name} could not be downloaded without errors. Try again.")


def _receive(client: "httpx.Client", address: str, part: Path, start: int, progress: Progress) -> int:
    """Append to the first ``start`` bytes, or write the whole file. Return the number of old bytes in the file."""
    with client.stream("GET", address, headers={"Range": f"bytes={start}-"} if start else {}) as response:
        if response.status_code == 416:  # the file has no more bytes than these
            return start
        response.raise_for_status()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        done = start
        with continued_file(part, start) as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                progress(done, total)
    return start


@contextmanager
def download_progress(model: str, host: str) -> Iterator[Callable[[str], Progress]]:
    """Show the downloads of a model on standard error: bars on a terminal, a line per file elsewhere.

    Yields a function that returns the :data:`Progress` of a file by its name.
    """
    if not can_animate():
        yield lambda name: _printed_line(model, name, host)
        return
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with animated(text_column("{task.description}"), *columns) as bars:

        def bar(name: str) -> Progress:
            task = bars.add_task(f"{model}: {name}", total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield bar


def _printed_line(model: str, name: str, host: str) -> Progress:
    """Return a function that prints one line about a download when its first bytes have arrived."""
    begun = False

    def progress(done: int, total: int | None) -> None:
        nonlocal begun
        if not begun and not is_quiet():
            begun = True
            size = f"{total / 2**20:.1f} MiB" if total is not None else f"{done / 2**20:.1f} MiB or more"
            say(f"[{model}] downloading {name} ({size}) from {host}", error=True)

    return progress
