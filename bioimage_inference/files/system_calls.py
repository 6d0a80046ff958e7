"""Calls of the operating system on files that differ between Linux, macOS and Windows, with one behaviour for all.

Windows has no positional reads and writes, translates line ends in files that are not opened as binary, and neither
renames nor removes a file that any program has open. The only question to the system is whether a call exists.
"""

import os
import stat
import threading
import time
from pathlib import Path

OPEN_FILES_STAY = os.name == "nt"
"""Whether the system refuses to rename and to remove files that are open or mapped into memory."""
SAFE_FLAGS: int = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
"""Flags of :func:`os.open`: follow no link at the end, close the file in programs that are started, translate nothing.

A descriptor is closed in started programs on Windows by default. Only administrators may make links there by default.
"""
WITHOUT_WAITING: int = getattr(os, "O_NONBLOCK", 0)
"""Flag of :func:`os.open` that does not wait for the other end of a pipe. Windows has no pipes among its files."""
_MOST_PATH = 150
"""Letters of the longest path without the prefix of long paths. Windows takes 260 (MAX_PATH) with the names of
unfinished files (70 letters longer) and of an OME-Zarr's chunks."""
_LONG_PATH = "\\\\?\\"
# Virus scanners and indexers open each new file for some milliseconds.
_ATTEMPTS = 20
_SECONDS_BETWEEN = 0.05

_moving = threading.Lock()


def write_at(descriptor: int, data: memoryview, position: int) -> int:
    """Write bytes to a position of a file and return their number. Threads may write and read at the same time."""
    if hasattr(os, "pwrite"):
        written: int = os.pwrite(descriptor, data, position)
        return written
    with _moving:  # a file of Windows has one place for all threads
        os.lseek(descriptor, position, os.SEEK_SET)
        return os.write(descriptor, data)


def read_at(descriptor: int, data: memoryview, position: int) -> int:
    """Fill ``data`` with bytes from a position of a file and return their number, 0 at its end."""
    if hasattr(os, "preadv"):
        count: int = os.preadv(descriptor, [data], position)
        return count
    with _moving:
        os.lseek(descriptor, position, os.SEEK_SET)
        found = os.read(descriptor, len(data))
    data[: len(found)] = found
    return len(found)


def give_name(source: Path, target: Path) -> None:
    """Rename a file or folder, whose files this process has closed. It replaces a file named ``target``.

    Where open files stay, it waits up to a second for other programs to close them. Raises :class:`OSError`.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            source.replace(target)
            return
        except PermissionError:
            if not OPEN_FILES_STAY or attempt == _ATTEMPTS:
                raise
            time.sleep(_SECONDS_BETWEEN)


def is_plain_folder(folder: Path) -> bool:
    """Return whether a path is a folder, and neither a link nor a junction of Windows. Raises :class:`OSError`."""
    status = folder.lstat()
    links = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
    return stat.S_ISDIR(status.st_mode) and not getattr(status, "st_file_attributes", 0) & links


def long_path(path: Path) -> Path:
    """Return an absolute path in a form that has no limit of length. Only Windows has such a form and needs it."""
    text = str(path)
    if os.name != "nt" or len(text) < _MOST_PATH or text.startswith(_LONG_PATH):
        return path
    return Path(f"{_LONG_PATH}UNC{text[1:]}" if text.startswith("\\\\") else f"{_LONG_PATH}{text}")
