"""Folders and files in places where other users can write, such as the model cache of a group: nothing follows a link
that another user planted there, several runs share one download, and files that another run removes are no error.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .system_calls import SAFE_FLAGS, WITHOUT_WAITING
from .temporary_names import is_own


def make_folder(folder: Path) -> None:
    """Make a folder with its parents where it does not exist.

    A link in its place is followed where this user, root or the owner of the folder around it made the link. Linux has
    the same rule in ``fs.protected_symlinks``. Raises :class:`OSError`, also for a link of another user.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_symlink():
        return
    link, around = folder.lstat(), Path(os.path.abspath(folder)).parent.stat()  # noqa: PTH100
    if not is_own(link) and link.st_uid not in (0, around.st_uid):
        raise PermissionError(errno.EPERM, "it is a link that another user made", str(folder))


def with_status(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield paths with their status; a link has its own. Other runs may remove files that were listed a moment ago.

    Raises :class:`OSError` for other reasons.
    """
    for path in paths:
        with suppress(FileNotFoundError):
            yield path, path.lstat()


@contextmanager
def exclusive_lock(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time run the block. Calls ``waiting`` before it waits for another process.

    The lock file stays, with the access rights that the umask gives. The system frees the lock of a killed process.
    Raises :class:`OSError`, also where ``path`` is a link or no plain file.
    """
    from filelock import FileLock, Timeout

    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | WITHOUT_WAITING | SAFE_FLAGS, 0o666)
    status = os.fstat(descriptor)
    os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise PermissionError(errno.EPERM, f"{path.name} is no lock of this program", str(path))
    lock = FileLock(path, mode=stat.S_IMODE(status.st_mode))  # without a mode, filelock overrules the umask
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def unfinished_bytes(path: Path) -> int:
    """Return how many bytes of a file an earlier run of this user wrote; 0 for links and files of other users."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    return status.st_size if _is_own_file(status) else 0


def continued_file(path: Path, start: int) -> IO[bytes]:
    """Return a stream that appends to the ``start`` bytes of a file; at 0, a new file replaces it.

    Raises :class:`OSError`, also where another user replaced the file in between.
    """
    if not start:
        path.unlink(missing_ok=True)
        return path.open("xb")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | SAFE_FLAGS)
    if not _is_own_file(os.fstat(descriptor)):
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "another user replaced the unfinished download", str(path))
    return os.fdopen(descriptor, "ab")


def read_private(path: Path, most: int) -> bytes:
    """Return a file of up to ``most`` bytes that this user alone can have written.

    Raises :class:`OSError`, also for a link, a larger file, and a file that another user made or may change.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | WITHOUT_WAITING | SAFE_FLAGS), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not _is_own_file(status) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_size > most:
            raise PermissionError(errno.EPERM, "other users can have written it", str(path))
        return stream.read()


def _is_own_file(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and is_own(status)
