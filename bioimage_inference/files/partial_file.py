"""A file that grows under a hidden name beside its final one and is renamed when complete.

Writes go to positions in the file rather than through a memory map: a disk that fills is an error then, not the end
of the process, and what was written does not stay in the memory that the system accounts to it.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bioimage_inference.files.temporary_names import MARK_BYTES, marked, new_mark, remove_folder, remove_left_behind

from ..errors import DENIED, DiskFullError, NotPermittedError, OutputError
from ..text import byte_size

# What file systems answer that cannot reserve space; writing finds a full disk as well, only later.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)
MOST_NAME_BYTES = 255
"""Bytes of the longest file name on Linux and macOS (NAME_MAX in limits.h)."""
_PARTIAL = ".partial"
_SYSTEM_FOLDERS = (Path("/dev"), Path("/proc"))


class _OfThisProcess:
    """Final places of files and folders by their partial paths while they are ``unfinished``, and ``committed`` files.

    After an interruption, ``ended``, none is begun any more.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unfinished: dict[Path, Path] = {}
        self.committed: list[Path] = []
        self.ended = False


_process = _OfThisProcess()


class PartialFile:
    """A new file ``.{final name}.{mark}.partial`` that becomes ``path`` by :meth:`commit`.

    Nothing is written through links: the file replaces a symbolic or hard link at ``path``, and the file that the link
    leads to stays as it is. What killed runs left behind of the same output is removed, see
    :mod:`bioimage_inference.files.temporary_names`.
    ``needed`` is about the size in bytes that the file will have, for the words of errors. Only ``noted`` files are
    named by :func:`committed_files`.
    Raises :class:`OutputError` from every method when the place cannot be written.
    """

    def __init__(self, path: Path, needed: int | None = None, *, noted: bool = True) -> None:
        self.path = path
        self.needed = needed
        self._noted = noted
        self._final = final_place(path)
        self._descriptor: int | None = None
        try:
            self._refuse_what_is_no_file()
            with beginning(path, self._final) as self._partial:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self._partial, flags, 0o666)
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
        if self._final.is_symlink():
            return
        if self._final.exists() and not os.access(self._final, os.W_OK):
            raise NotPermittedError(
                f"The file {self.path} exists and is write-protected. Name another one, or make it writable."
            )

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is no longer being written")
        return self._descriptor

    @contextlib.contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """The file as a binary stream, for a library that writes a header."""
        try:
            # tifffile wants to know a name, but the path is not opened again: somebody may have put a link there
            with open(self._partial, "r+b", opener=lambda *_: os.dup(self._open)) as stream:
                stream.seek(0)
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
            self._check_that_it_is_there()
            self._partial.replace(self._final)
        except OSError as error:
            raise self._explained(error) from error
        self._descriptor = None
        os.close(descriptor)
        finished(self._partial)
        if self._noted:
            note_committed(self.path)

    def _check_that_it_is_there(self) -> None:
        here, own = self._partial.lstat(), os.fstat(self._open)
        if (here.st_dev, here.st_ino) != (own.st_dev, own.st_ino):
            raise OutputError(
                f"The output {self.path} cannot be completed, because another program replaced the unfinished file "
                f"{self._partial}. Write to a folder in which others cannot rename your files."
            )

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
            finished(self._partial)

    def _explained(self, error: OSError) -> OutputError:
        return output_error(self.path, self._final.parent, self.needed, error)


def final_place(path: Path) -> Path:
    """Return the place that an output takes: links among its folders are followed, a link at its end is replaced.

    The system's own links such as ``/dev/stdout`` stay, and lead to what they stand for.
    """
    folder = Path(os.path.realpath(path.parent))
    if folder == _SYSTEM_FOLDERS[0] or _SYSTEM_FOLDERS[1] in (folder, *folder.parents):
        return Path(os.path.realpath(path))
    return folder / path.name


@contextlib.contextmanager
def beginning(path: Path, final: Path) -> Iterator[Path]:
    """Yield the partial path for an output, under which the block makes a file or folder.

    What dead runs left behind of the same output is removed first. Raises :class:`OutputError` where this process is
    writing an output with the same ``final`` place already, and :class:`OSError`.
    """
    remove_left_behind(final.parent, partial_pattern(final))
    partial = partial_path(final)
    with _process.lock:
        if _process.ended:
            raise KeyboardInterrupt
        if final in _process.unfinished.values():
            raise OutputError(
                f"The output {path} is already being written by this run. Give every output a name of its own."
            )
        _process.unfinished[partial] = final  # first, because an interruption may come at any moment
        try:
            yield partial
        except Exception:
            del _process.unfinished[partial]
            raise


def finished(partial: Path) -> None:
    """Note that an output has its final name, or was removed."""
    _process.unfinished.pop(partial, None)


def partial_path(final: Path) -> Path:
    """Return a path for a file or folder until it is complete; nobody can predict it."""
    return final.with_name(f"{_hidden_name(final)}.{new_mark()}{_PARTIAL}")


def partial_pattern(final: Path) -> re.Pattern[str]:
    """Return a pattern for the partial names of all runs that write ``final``."""
    return marked(f"{_hidden_name(final)}.", _PARTIAL)


def _hidden_name(final: Path) -> str:
    """Return the beginning of the partial names, which leaves room for two dots, the mark and the suffix."""
    name = os.fsencode(final.name)
    if len(name) <= MOST_NAME_BYTES - MARK_BYTES - len(_PARTIAL) - 2:
        return f".{final.name}"
    return f".{hashlib.sha256(name).hexdigest()}"


def write_whole(path: Path, data: bytes, *, noted: bool = True) -> None:
    """Write a small file, which has its final name only when complete.

    Errors that come later name the file among those that are complete, unless ``noted`` is false. Raises
    :class:`OutputError`.
    """
    file = PartialFile(path, len(data), noted=noted)
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
    """Remove what this process has not finished; it was interrupted and ends, and its threads can begin no more."""
    with _process.lock:
        _process.ended = True
        for partial in _process.unfinished:
            with contextlib.suppress(OSError):  # the next run removes it
                if partial.is_dir():
                    remove_folder(partial)
                else:
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
