"""Fetches files over HTTP: continued where a connection broke, compared with their SHA-256, in place when complete.

The downloader of ``bioimageio.spec`` holds a whole file in memory and begins anew after every interruption.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import ModelError
from ..files.shared_folders import make_folder
from ..model.package import file_sha256, require_sha256

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 4
PAUSE = 1.0
"""Seconds before the second attempt; twice as long before each further one."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and that there will be, where the server says how many."""


@contextmanager
def http_client() -> Iterator["httpx.Client"]:
    """A client with the timeout and the name that ``bioimageio.spec`` is set to use."""
    import httpx
    from bioimageio.spec import settings

    from .._version import __version__

    headers = {
        "User-Agent": settings.user_agent or f"bioimage-inference/{__version__}",
        "Accept-Encoding": "identity",  # bytes must be those of the file, to go on from the last one
    }
    with httpx.Client(follow_redirects=True, timeout=settings.http_timeout, headers=headers) as client:
        yield client


def fetch_bytes(client: "httpx.Client", address: str, limit: int) -> bytes:
    """The content of a small file; raises ``httpx.HTTPError``, and :class:`ModelError` beyond ``limit`` bytes."""
    content = b""
    with client.stream("GET", address) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > limit:
                raise ModelError(f"{address} is larger than any description of a model; it is not downloaded.")
    return content


def fetch_file(client: "httpx.Client", address: str, path: Path, sha256: str | None, progress: Progress) -> None:
    """Fetch a file to ``path``, going on with ``path.part`` where an earlier attempt left that.

    Without a ``sha256`` nothing tells whether old and new bytes belong together, and every attempt begins anew. Raises
    ``httpx.HTTPError`` when the connection cannot be made or kept, :class:`ModelError` when the file is not the one
    meant, :class:`OSError` when it cannot be written.
    """
    import httpx

    part = path.with_name(path.name + ".part")
    make_folder(path.parent)
    for attempt in range(1, ATTEMPTS + 1):
        continued = 0 if sha256 is None else _own_bytes(part)
        try:
            continued = _receive(client, address, part, continued, progress)
        except httpx.TransportError:
            if attempt == ATTEMPTS or not part.exists():  # nothing ever came: there is no network
                raise
            time.sleep(PAUSE * 2 ** (attempt - 1))
            continue
        actual = file_sha256(part)
        if sha256 is None or actual == sha256.strip().lower():
            part.replace(path)
            return
        part.unlink()
        if not continued:
            require_sha256(actual, sha256, path.name)
    raise ModelError(f"{path.name} could not be downloaded without errors. Try again.")


def _receive(client: "httpx.Client", address: str, part: Path, start: int, progress: Progress) -> int:
    """Append to the first ``start`` bytes, or write anew; returns with how many old bytes the file begins."""
    with client.stream("GET", address, headers={"Range": f"bytes={start}-"} if start else {}) as response:
        if response.status_code == 416:  # there is nothing behind these bytes
            return start
        response.raise_for_status()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        done = start
        with _opened(part, start) as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                progress(done, total)
    return start


def _own_bytes(part: Path) -> int:
    """Return how many bytes an earlier attempt of this user left; 0 where it is a link or of somebody else."""
    try:
        status = part.lstat()
    except FileNotFoundError:
        return 0
    return status.st_size if _is_own(status) else 0


def _is_own(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def _opened(part: Path, start: int) -> IO[bytes]:
    """Open the part for writing behind its first ``start`` bytes; begun anew, it replaces what has its name."""
    if not start:
        part.unlink(missing_ok=True)
        return part.open("xb")
    descriptor = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not _is_own(os.fstat(descriptor)):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "another user replaced the unfinished download", str(part))
    return os.fdopen(descriptor, "ab")
