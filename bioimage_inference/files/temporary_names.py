"""Names of temporary files and folders. A name identifies the run that made it, so no lock is needed.

The name holds a mark: a hash of the host, the number and the start of the process, and random digits. A later run
removes what a killed run left behind. It never removes files of a living run, on this host or on another one, and never
files that somebody else put there under such a name.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from .system_calls import SAFE_FLAGS, is_plain_folder

MARK_BYTES = 61
"""Bytes of the longest mark."""
_MARK = "[0-9a-f]{16}-[1-9][0-9]{0,9}-[0-9a-f]{1,16}-[0-9a-f]{16}"
_MARKED = re.compile(_MARK)
# A listing of a folder serves further calls, one for this many of its entries, so that the ten-thousandth image of a
# folder takes no longer than the first. Listing 100 entries takes 0.2 to 0.5 ms, and a small image about 25 ms.
_ENTRIES_PER_CALL = 100
_LISTED_FOLDERS = 8  # outputs, label maps and temporary files may have a folder each
_listings: dict[Path, tuple[int, list[str]]] = {}
"""Of the folders that were listed last: how many calls the listing still serves, and the names that hold a mark."""
# This host cannot see whether a process of another host lives. A run that writes nothing for a week counts as dead.
_ABANDONED_SECONDS = 7 * 24 * 3600


def new_mark() -> str:
    """Return a mark of this process that nobody can predict: host, process, start, random digits."""
    process = os.getpid()
    return f"{_host()}-{process}-{_own_start(process):x}-{secrets.token_hex(8)}"


def marked(before: str, after: str = "") -> re.Pattern[str]:
    """Return a pattern for names with a mark between two texts. Its group ``mark`` is the mark."""
    return re.compile(f"{re.escape(before)}(?P<mark>{_MARK}){re.escape(after)}")


def make_folder(folder: Path, mode: int) -> None:
    """Make a temporary folder whose name holds a mark, with a file in it that proves who made it.

    Without this proof, another user could rename any folder of this user to have it removed. The umask limits ``mode``.
    Raises :class:`OSError`, also where anything has this name already.
    """
    folder.mkdir(mode=mode)
    try:
        add_proof(folder, folder.name)
    except OSError:
        folder.rmdir()
        raise


def add_proof(folder: Path, name: str) -> None:
    """Put the proof into a folder that gets a temporary ``name`` with a mark. Raises :class:`OSError`."""
    (folder / _proof(Path(name)).name).touch(exist_ok=False)


def has_proof(folder: Path) -> bool:
    """Return whether a path with a temporary name is a folder that holds the proof. Raises :class:`OSError`."""
    return is_plain_folder(folder) and os.path.lexists(_proof(folder))


def keep_folder(folder: Path, name: str) -> None:
    """Remove the proof from a folder that is no longer temporary. ``name`` is its former name."""
    with contextlib.suppress(OSError):  # the folder is complete, and an empty hidden file harms nobody
        (folder / _proof(Path(name)).name).unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder that :func:`make_folder` made. A folder without the proof stays.

    The proof goes last, so that a later run can continue a removal that was killed. Raises :class:`OSError`.
    """
    proof = _proof(folder).name
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        _remove_by_path(folder, proof)
        return
    try:
        # All work goes through this descriptor: nobody can put another folder in its place after the check.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | SAFE_FLAGS)
    except OSError:  # the folder is gone, or the path is a link or a file
        return
    try:
        names = os.listdir(opened)  # noqa: PTH208 (pathlib takes no descriptor)
        if names and proof not in names:
            return
        for name in sorted(names, key=proof.__eq__):
            if stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=opened)
            else:
                os.unlink(name, dir_fd=opened)
    finally:
        os.close(opened)
    folder.rmdir()


def _remove_by_path(folder: Path, proof: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not is_plain_folder(folder):
            return
        inside = list(folder.iterdir())
        if inside and folder / proof not in inside:
            return
        for path in sorted(inside, key=(folder / proof).__eq__):
            if is_plain_folder(path):
                shutil.rmtree(path)
            else:
                path.unlink()
        folder.rmdir()


def remove_left_behind(parent: Path, names: re.Pattern[str]) -> None:
    """Remove files and folders in ``parent`` that dead runs of this user left under these names.

    ``names`` comes from :func:`marked`. Raises :class:`OSError` where the folder does not exist.
    """
    for path in left_behind(parent, names):
        with contextlib.suppress(OSError):  # another run removes it at the same time, or its folder is read-only
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                remove_folder(path)
            elif stat.S_ISREG(status.st_mode):
                path.unlink()


def left_behind(parent: Path, names: re.Pattern[str]) -> Iterator[Path]:
    """Yield the paths in ``parent`` that dead runs of this user left under these names. Only a folder has a proof.

    ``names`` comes from :func:`marked`. Raises :class:`OSError` where the folder does not exist.
    """
    try:
        found = _marked_names(parent)
    except PermissionError:  # the user may write to the folder, but not list it
        return
    for match in filter(None, map(names.fullmatch, found)):
        path, dead = parent / match.string, False
        with contextlib.suppress(OSError):  # another run removes it at the same time
            dead = is_own(path.lstat()) and _is_left_behind(path, match["mark"])
        if dead:
            yield path


def _marked_names(folder: Path) -> list[str]:
    """Return the names with a mark in a folder, from its last listing while that serves. Raises :class:`OSError`."""
    calls, marked_names = _listings.pop(folder, (0, []))
    if calls == 0:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        calls, marked_names = 1 + len(names) // _ENTRIES_PER_CALL, [name for name in names if _MARKED.search(name)]
    _listings[folder] = (calls - 1, marked_names)
    for other in list(_listings)[:-_LISTED_FOLDERS]:
        _listings.pop(other, None)  # another thread may have removed it
    return marked_names


def is_own(status: os.stat_result) -> bool:
    """Return whether a file belongs to this user. Windows does not tell the owner in ``status``."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _proof(folder: Path) -> Path:
    found = re.search(_MARK, folder.name)
    if found is None:
        raise ValueError(f"{folder.name} holds no mark")
    return folder / f".{found[0]}"


def _is_left_behind(path: Path, mark: str) -> bool:
    host, process, start, _ = mark.split("-")
    if host == _host():
        now = _start(int(process))
        return now is None or (now != int(start, 16) and now != 0 and int(start, 16) != 0)
    limit = time.time() - _ABANDONED_SECONDS
    if path.lstat().st_mtime > limit:
        return False
    inside = (Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files))
    return all(one.lstat().st_mtime <= limit for one in inside)


@functools.cache
def _host() -> str:
    """Return a hash of everything within which a process number has a meaning.

    That is the host with its boot, and the namespaces of a container: two containers may share the name of their host.
    """
    parts = [os.uname().nodename if hasattr(os, "uname") else platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    except OSError:  # not Linux
        import uuid

        parts.append(f"{uuid.getnode():x}")
    for name in ("pid", "time"):
        with contextlib.suppress(OSError):  # a system without namespaces, or without this one
            parts.append(str(Path(f"/proc/self/ns/{name}").readlink()))
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


@functools.cache
def _own_start(process: int) -> int:
    """Return the start of this process, which has this number until it forks."""
    return _start(process) or 0


def _start(process: int) -> int | None:
    """Return when a process started, in 1/100 s since boot; ``None`` for a process that has ended, 0 where unknown.

    Only Linux counts from boot. On other systems the start moves when somebody sets the clock.
    """
    try:
        booted = psutil.boot_time()  # comes first: psutil 6 keeps the value, and create_time adds the same value
        found = psutil.Process(process)
        if found.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return round(100 * (found.create_time() - booted)) if psutil.LINUX else 0
    except psutil.NoSuchProcess:
        return None
    except (psutil.Error, OSError, RuntimeError):  # the system or a sandbox hides its processes
        return 0
