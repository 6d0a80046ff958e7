"""A file that grows under a hidden name beside its final one and is renamed when complete.

Writes go to positions in the file rather than through a memory map: a disk that fills is an error then, not the end
of the process, and what was written does not stay in the memory that the system accounts to it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bioimage_inference.errors import DENIED, DiskFullError, NotPermittedError, OutputError

# What file systems answer that cannot reserve space; writing finds a full disk as well, only later.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)
MOST_NAME_BYTES = 255
"""Bytes of the longest file name on Linux and macOS (NAME_MAX in limits.h)."""


class _OfThisProcess:
    """Files that are neither committed nor aborted, and those that were ``committed``.

    After an interruption, ``ended``, none is begun any more.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unfinished: set[Path] = set()
        self.committed: list[Path] = []
        self.ended = False


_process = _OfThisProcess()


class PartialFile:
    """A new file ``.{final name}.{process id}.partial`` that becomes ``path`` by :meth:`commit`.

    A link is followed to the file that it names. The partial file is locked as long as its writer lives, so what a
    killed run left behind is told from what another run is writing, and removed here; on file systems without locks
    it stays.
    ``needed`` is about the size in bytes that the file will have, for the words of errors.
    Raises :class:`OutputError` from every method when the place cannot be written.
    """

    def __init__(self, path: Path, needed: int | None = None) -> None:
        self.path = path
        self.needed = needed
        self._final = Path(os.path.realpath(path))
        self._partial = partial_path(self._final)
        self._descriptor: int | None = None
        try:
            self._refuse_what_is_no_file()
            _remove_left_behind(self._final)
            with _process.lock:
                if _process.ended:
                    raise KeyboardInterrupt
                _process.unfinished.add(self._partial)
                self._descriptor = self._create()
        except OSError as error:
            raise self._explained(error) from error

    def _refuse_what_is_no_file(self) -> None:
        if self._final.is_dir():
            raise OutputError(
                f"The output {self.path} cannot be written because a folder has that name. "
                "Name another file, or move the folder away."
            )
        if self._final.exists() and not self._final.is_file():
            raise OutputError(f"The output {self.path} is a device or a pipe, not a file. Name a file.")
        if self._final.exists() and not os.access(self._final, os.W_OK):
            raise NotPermittedError(
                f"The file {self.path} exists and is write-protected. Name another one, or make it writable."
            )

    def _create(self) -> int:
        while True:
            try:
                descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError as error:
                raise OutputError(
                    f"The output {self.path} is already being written, by this run or by another. Give every output "
                    f"a name of its own. If nothing is running, delete the file {self._partial} and try again."
                ) from error
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)  # another run took it for one left behind before it was locked

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is no longer being written")
        return self._descriptor

    @contextlib.contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """The file as a binary stream, for a library that writes a header."""
        try:
            with self._partial.open("r+b") as stream:
                yield stream
        except OSError as error:
            raise self._explained(error) from error

    @property
    def size(self) -> int:
        """Present size in bytes."""
        return os.fstat(self._open).st_size

    def reserve(self, size: int) -> None:
        """Give the file its final size in bytes, and its room on the disk where the file system can promise that."""
        self.needed = size
        try:
            os.ftruncate(self._open, size)
            allocate(self._open, size)
        except OSError as error:
            os.ftruncate(self._open, 0)  # so that the room that is free is told without what this file took
            raise self._explained(error) from error

    def write(self, position: int, data: memoryview) -> None:
        """Write bytes at a position; several threads may do so at once."""
        try:
            while data:
                written = os.pwrite(self._open, data, position)
                position += written
                data = data[written:]
        except OSError as error:
            raise self._explained(error) from error

    def flush(self) -> None:
        """Wait until all that was written is on the disk."""
        try:
            os.fsync(self._open)
        except OSError as error:
            raise self._explained(error) from error

    def commit(self) -> None:
        """Give the file its final name, replacing what had it."""
        descriptor = self._open
        try:
            self._partial.replace(self._final)
        except OSError as error:
            raise self._explained(error) from error
        self._descriptor = None
        os.close(descriptor)
        _process.unfinished.discard(self._partial)
        note_committed(self.path)

    def abort(self) -> None:
        """Remove the partial file; nothing happens where there is none any more."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            self._partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._explained(error) from error
        finally:
            os.close(descriptor)
        _process.unfinished.discard(self._partial)

    def _explained(self, error: OSError) -> OutputError:
        return output_error(self.path, self._final.parent, self.needed, error)


def partial_path(final: Path) -> Path:
    """Return the path under which this process writes a file or folder until it is complete."""
    return final.with_name(f"{_hidden_name(final)}.{os.getpid()}.partial")


def partial_pattern(final: Path) -> re.Pattern[str]:
    """Return what the names of partial files of all processes match."""
    return re.compile(re.escape(_hidden_name(final)) + r"\.\d+\.partial")


def _hidden_name(final: Path) -> str:
    """Return the beginning of the partial names; the end needs up to 20 bytes."""
    name = os.fsencode(final.name)
    if len(name) <= MOST_NAME_BYTES - 20:
        return f".{final.name}"
    return f".{hashlib.sha256(name).hexdigest()}"


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file, which has its final name only when complete. Raises :class:`OutputError`."""
    file = PartialFile(path, len(data))
    try:
        file.write(0, memoryview(data))
        file.flush()
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def note_committed(path: Path) -> None:
    """Remember that a file has its final name, for the words of errors that come later."""
    _process.committed.append(path)


def committed_files() -> list[Path]:
    """The files that have got their final names, since they were forgotten, without removed temporary files."""
    return [path for path in _process.committed if os.path.lexists(path)]


def forget_committed_files() -> None:
    """Begin anew: what follows is another run."""
    _process.committed.clear()


def remove_unfinished() -> None:
    """Remove the partial files of this process, which was interrupted and ends; its threads can begin no others."""
    with _process.lock:
        _process.ended = True
        for partial in _process.unfinished:
            with contextlib.suppress(OSError):  # the next run removes it
                partial.unlink(missing_ok=True)


def allocate(descriptor: int, size: int) -> None:
    """Take room on the disk for the first ``size`` bytes of a file, where its file system can promise room."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def output_error(path: Path, folder: Path, needed: int | None, error: OSError) -> OutputError:
    """What an error of the system means for the output ``path`` in ``folder``, which takes ``needed`` bytes."""
    size = "" if needed is None else f" of {byte_size(needed)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = byte_size(shutil.disk_usage(folder).free)
        return DiskFullError(
            f"There is no room for the output {path}{size}: {free} are free in the folder {folder}"
            f"{' and the quota is used up' if error.errno == errno.EDQUOT else ''}. "
            "Free some space, or write to another disk."
        )
    if error.errno == errno.EFBIG:
        return DiskFullError(
            f"The output {path}{size} is larger than files may be in the folder {folder}, by its file system or by "
            "a limit set for this process (ulimit -f). Write to another disk, or raise the limit."
        )
    if error.errno in _NO_FOLDER:
        return OutputError(
            f"The output {path} cannot be written: there is no folder {folder}. Make it, or name another."
        )
    if error.errno in DENIED:
        return NotPermittedError(
            f"The output {path} cannot be written: the folder {folder} does not allow it ({error.strerror}). "
            "Name a folder that you may write to."
        )
    return OutputError(
        f"The output {path} cannot be written in the folder {folder}: {error.strerror}. "
        "Check the disk, or name another folder."
    )


def byte_size(count: int) -> str:
    """A number of bytes for the reader, e.g. ``1.5 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _remove_left_behind(final: Path) -> None:
    """Remove partial files of that final name whose writer is gone."""
    pattern = partial_pattern(final)
    with os.scandir(final.parent) as entries:
        candidates = [
            final.parent / entry.name
            for entry in entries
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for candidate in candidates:
        with (
            contextlib.suppress(FileNotFoundError, PermissionError),  # gone meanwhile, or another user's
            candidate.open("r+b") as file,
        ):
            if _has_no_writer(file.fileno()):
                candidate.unlink()


def _has_no_writer(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # locked by its living writer, or the file system has no locks
    # A file that another run has removed already: its name may belong to a living writer by now.
    return os.fstat(descriptor).st_nlink > 0
