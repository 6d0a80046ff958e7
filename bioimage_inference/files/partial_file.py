"""A file that grows under a hidden name beside its final place, and gets its final name when it is complete.

Data are written to positions in the file, not through a memory map. So a full disk raises an error instead of ending
the process, and the system does not count written data as memory of the process.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ..errors import DENIED, DiskFullError, NotPermittedError, OutputError
from ..text import byte_size
from .file_names import MOST_NAME_BYTES
from .system_calls import OPEN_FILES_STAY, SAFE_FLAGS, give_name, long_path, read_at, write_at
from .temporary_names import MARK_BYTES, marked, new_mark, remove_folder, remove_left_behind

# Errors of file systems that cannot reserve space. Writing finds a full disk as well, only later.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)
PARTIAL = ".partial"
"""End of the name of an output until it is complete."""
_SYSTEM_FOLDERS = (Path("/dev"), Path("/proc"))


class _ProcessOutputs:
    """Outputs of a process: final places of ``unfinished`` files and folders by partial path; ``committed`` files.

    After an interruption ``ended`` is true, and no output begins any more.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unfinished: dict[Path, Path] = {}
        self.committed: list[Path] = []
        self.ended = False


_process = _ProcessOutputs()


class PartialFile:
    """A new file ``.{final name}.{mark}.partial`` that becomes ``path`` by :meth:`commit`.

    The file replaces a symbolic or hard link at ``path``. The target of the link stays as it is. A new file removes
    what killed runs left of the same output, see :mod:`.temporary_names`. ``needed`` is the expected size in bytes, for
    error messages. :func:`committed_files` lists only ``noted`` files. ``place`` is the final path of a file that is
    part of the output ``path``, which messages name. The umask limits the access rights ``mode``.

    Every method raises :class:`OutputError` where the place cannot be written.
    """

    def __init__(
        self,
        path: Path,
        needed: int | None = None,
        *,
        noted: bool = True,
        place: Path | None = None,
        mode: int = 0o666,
    ) -> None:
        self.path = path
        self.needed = needed
        self._noted = noted
        self._final = final_place(place or path)
        self._descriptor: int | None = None
        self._ended = False
        with self._explained():
            self._check_place()
            with beginning(path, self._final) as self._partial:
                self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE_FLAGS, mode)

    def _check_place(self) -> None:
        """Raise :class:`OutputError` where a folder, a device or a write-protected file has the final name."""
        if self._final.is_dir():
            raise OutputError(
                f"The output {self.path} cannot be written because a folder has that name. "
                "Name another file, or move the folder away."
            )
        if not self._final.exists():
            return
        if not self._final.is_file():
            raise OutputError(f"The output {self.path} is a device or a pipe, not a file. Name a file.")
        if not self._final.is_symlink() and not os.access(self._final, os.W_OK):
            raise NotPermittedError(
                f"The file {self.path} exists and is write-protected. Name another file, or make this file writable."
            )

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is no longer being written")
        return self._descriptor

    @contextlib.contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """Yield the file as a binary stream, for a library that writes a header."""
        # tifffile needs a name, but the path is not opened again: another user may have put a link there.
        with self._explained(), open(self._partial, "r+b", opener=lambda *_: os.dup(self._open)) as stream:
            stream.seek(0)
            yield stream

    @property
    def size(self) -> int:
        """Present size in bytes."""
        return os.fstat(self._open).st_size

    def reserve(self, size: int) -> None:
        """Give the file its final size in bytes, and reserve the space where the file system can do that."""
        self.needed = size
        with self._explained():
            try:
                os.ftruncate(self._open, size)
                allocate(self._open, size)
            except OSError:
                os.ftruncate(self._open, 0)  # so that the message counts the space of this file as free
                raise

    def write(self, positions: Sequence[int], data: memoryview) -> None:
        """Write equal parts of ``data``, one to each position. Several threads may write at the same time."""
        with self._explained():
            for position, part in _parts(positions, data):
                while part:
                    written = write_at(self._open, part, position)
                    position += written
                    part = part[written:]

    def read(self, positions: Sequence[int], data: memoryview) -> None:
        """Fill equal parts of ``data``, one from each position. Raises :class:`OutputError` also at the file's end."""
        with self._explained():
            for position, part in _parts(positions, data):
                while part:
                    count = read_at(self._open, part, position)
                    if not count:
                        raise OSError(errno.EIO, "the unfinished file was shortened")
                    position += count
                    part = part[count:]

    def flush(self) -> None:
        """Wait until all data are on the disk."""
        with self._explained():
            os.fsync(self._open)

    def commit(self) -> None:
        """Give the file its final name. It replaces a file of that name."""
        with self._explained():
            self._check_partial()
            self._close()
            give_name(self._partial, self._final)
        self._ended = True
        finished(self._partial)
        if self._noted:
            note_committed(self.path)

    def _check_partial(self) -> None:
        """Raise :class:`OutputError` where the partial path leads to another file than the open one."""
        own, here = os.fstat(self._open), self._partial.lstat()
        if (here.st_dev, here.st_ino) != (own.st_dev, own.st_ino):
            raise OutputError(
                f"The output {self.path} cannot be completed, because another program replaced the unfinished file "
                f"{self._partial}. Write to a folder in which others cannot rename your files."
            )

    def abort(self) -> None:
        """Remove the partial file. Does nothing after :meth:`commit` or a first call."""
        if self._ended:
            return
        self._ended = True
        try:
            with self._explained():
                self._close()
                self._partial.unlink(missing_ok=True)
        finally:
            finished(self._partial)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise output_error(self.path, self._final.parent, self.needed, error) from error


def _parts(positions: Sequence[int], data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield each position with its part of ``data``."""
    size = len(data) // max(len(positions), 1)
    return ((position, data[number * size : (number + 1) * size]) for number, position in enumerate(positions))


def final_place(path: Path) -> Path:
    """Return the place of an output. Links among its folders are followed, a link at its end is replaced.

    Links of the system such as ``/dev/stdout`` are followed and stay. On Windows the place may be a long path.
    """
    folder = Path(os.path.realpath(path.parent))
    if folder == _SYSTEM_FOLDERS[0] or _SYSTEM_FOLDERS[1] in (folder, *folder.parents):
        return Path(os.path.realpath(path))
    return long_path(folder / path.name)


@contextlib.contextmanager
def beginning(path: Path, final: Path) -> Iterator[Path]:
    """Yield the partial path of an output. The block makes a file or folder there.

    Removes what dead runs left of the same output first. Raises :class:`OutputError` where this process already writes
    an output with the same ``final`` place, and :class:`OSError`.
    """
    remove_left_behind(final.parent, partial_pattern(final))
    partial = partial_path(final)
    with _process.lock:
        if _process.ended:
            raise KeyboardInterrupt
        if final in _process.unfinished.values():
            raise OutputError(
                f"The output {path} is already being written by this run. Give every output its own name."
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
    """Return a path for a file or folder until it is complete. Nobody can predict this path."""
    return final.with_name(f"{_hidden_name(final)}.{new_mark()}{PARTIAL}")


def partial_pattern(final: Path, end: str = PARTIAL) -> re.Pattern[str]:
    """Return a pattern for the hidden names, with this end, of all runs that write ``final``."""
    return marked(f"{_hidden_name(final)}.", end)


def _hidden_name(final: Path) -> str:
    """Return the beginning of the partial names. It leaves room for two dots, the mark and the suffix."""
    name = os.fsencode(final.name)
    if len(name) <= MOST_NAME_BYTES - MARK_BYTES - len(PARTIAL) - 2:
        return f".{final.name}"
    return f".{hashlib.sha256(name).hexdigest()}"


def write_whole(path: Path, data: bytes, *, noted: bool = True, mode: int = 0o666) -> None:
    """Write a small file, which gets its final name when it is complete.

    ``noted`` and ``mode`` are as in :class:`PartialFile`. Raises :class:`OutputError`.
    """
    file = PartialFile(path, len(data), noted=noted, mode=mode)
    try:
        file.write([0], memoryview(data))
        file.flush()
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def note_committed(path: Path) -> None:
    """Add a file with its final name to :func:`committed_files`."""
    _process.committed.append(path)


def committed_files() -> list[Path]:
    """Return the complete files of this run that still exist, for the messages of later errors."""
    return [path for path in _process.committed if os.path.lexists(path)]


def forget_committed_files() -> None:
    """Empty :func:`committed_files`, because another run begins."""
    _process.committed.clear()


def remove_unfinished() -> None:
    """Remove all unfinished outputs of this process, which ends after an interruption. No output begins afterwards."""
    with _process.lock:
        _process.ended = True
        for partial in tuple(_process.unfinished):  # other threads still finish outputs
            with contextlib.suppress(OSError):  # the next run removes it
                if partial.is_dir():
                    remove_folder(partial)
                else:
                    partial.unlink(missing_ok=True)


def allocate(descriptor: int, size: int) -> None:
    """Reserve disk space for the first ``size`` bytes of a file, where its file system can do that."""
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_RESERVE:
            raise


def output_error(path: Path, folder: Path, needed: int | None, error: OSError) -> OutputError:
    """Return the error of this program for a system error in writing ``path``, of ``needed`` bytes, to ``folder``."""
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
            f"The output {path}{size} is too large for the folder {folder}: its file system, or a limit of this "
            "process (ulimit -f), does not allow files of this size. Write to another disk, or raise the limit."
        )
    if error.errno in _NO_FOLDER:
        return OutputError(
            f"The output {path} cannot be written: there is no folder {folder}. Make it, or name another folder."
        )
    if error.errno in DENIED:
        in_use = ", or another program has a file of this name open" if OPEN_FILES_STAY else ""
        return NotPermittedError(
            f"The output {path} cannot be written: the folder {folder} does not allow it{in_use} ({error.strerror}). "
            f"{'Close that program, or name' if in_use else 'Name'} a folder that you may write to."
        )
    return OutputError(
        f"The output {path} cannot be written in the folder {folder}: {error.strerror}. "
        "Check the disk, or name another folder."
    )
