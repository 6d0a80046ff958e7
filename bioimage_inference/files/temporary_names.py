"""Names of temporary files and folders: they identify the run that made them, so that no lock is needed.

The name holds a mark: a hash of the host, the process and its start time, and random digits. A later run removes what
a killed run left behind. It never removes what a living run uses, on this host or on another one, nor what somebody
else put there under such a name.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from pathlib import Path

MARK_BYTES = 61
"""Bytes of the longest mark."""
_MARK = "[0-9a-f]{16}-[1-9][0-9]{0,9}-[0-9a-f]{1,16}-[0-9a-f]{16}"
# Nobody can tell from here whether a process of another host lives. Runs that write nothing for a week are dead.
_ABANDONED_SECONDS = 7 * 24 * 3600
_START_FIELD = 19  # of /proc/PID/stat, counted behind the command's name, see proc_pid_stat(5)
_ENDED = (b"Z", b"X")  # states of a process that has ended and that its parent has not asked for yet


def new_mark() -> str:
    """Return a mark of this process that nobody can predict: host, process, start time, random digits."""
    process = os.getpid()
    _, start = _state(process) or (b"", 0)
    return f"{_host()}-{process}-{start:x}-{secrets.token_hex(8)}"


def marked(before: str, after: str = "") -> re.Pattern[str]:
    """Return a pattern for names with a mark between two texts; its group ``mark`` is the mark."""
    return re.compile(f"{re.escape(before)}(?P<mark>{_MARK}){re.escape(after)}")


def make_folder(folder: Path, mode: int) -> None:
    """Make a temporary folder whose name holds a mark, with a file in it that proves who made it.

    Without this proof somebody could give another folder of the user such a name, to have it removed. The umask limits
    ``mode``. Raises :class:`OSError`, also where anything has this name already.
    """
    folder.mkdir(mode=mode)
    try:
        _proof(folder).touch(exist_ok=False)
    except OSError:
        folder.rmdir()
        raise


def keep_folder(folder: Path, name: str) -> None:
    """Remove the proof from a folder that is no longer temporary; ``name`` is its former name."""
    with contextlib.suppress(OSError):  # the folder is complete, and an empty hidden file harms nobody
        (folder / _proof(Path(name)).name).unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder that :func:`make_folder` made; another one of this name stays.

    The proof goes last, so that a later run can go on where this one is killed. Raises :class:`OSError` where the
    folder cannot be removed.
    """
    proof = _proof(folder).name
    try:
        # everything goes through this descriptor: nobody can put another folder in its place after the check
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it is gone, a link, or no folder
        return
    try:
        names = os.listdir(opened)  # noqa: PTH208 (pathlib takes no descriptor)
        if names and proof not in names:
            return
        for name in (*(one for one in names if one != proof), *(one for one in names if one == proof)):
            if stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=opened)
            else:
                os.unlink(name, dir_fd=opened)
    finally:
        os.close(opened)
    folder.rmdir()


def remove_left_behind(parent: Path, names: re.Pattern[str]) -> None:
    """Remove files and folders in ``parent`` that dead runs of this user left under such names.

    ``names`` comes from :func:`marked`. Raises :class:`OSError` where there is no such folder.
    """
    try:
        with os.scandir(parent) as entries:
            matches = [match for entry in entries if (match := names.fullmatch(entry.name))]
    except PermissionError:  # a folder that may be written but not listed
        return
    found = [(parent / match.string, match["mark"]) for match in matches]
    for path, mark in found:
        with contextlib.suppress(OSError):  # another run removes it at the same time, or its folder is read-only
            status = path.lstat()
            if status.st_uid != os.geteuid() or not _is_left_behind(path, mark):
                continue
            if stat.S_ISDIR(status.st_mode):
                remove_folder(path)
            elif stat.S_ISREG(status.st_mode):
                path.unlink()


def _proof(folder: Path) -> Path:
    found = re.search(_MARK, folder.name)
    if found is None:
        raise ValueError(f"{folder.name} holds no mark")
    return folder / f".{found[0]}"


def _is_left_behind(path: Path, mark: str) -> bool:
    host, process, start, _ = mark.split("-")
    if host == _host():
        return not _lives(int(process), int(start, 16))
    limit = time.time() - _ABANDONED_SECONDS
    if path.lstat().st_mtime > limit:
        return False
    inside = (Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files))
    return all(one.lstat().st_mtime <= limit for one in inside)


def _lives(process: int, start: int) -> bool:
    """Return whether a process of this host lives. One that started at another time is another one."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to somebody else, or a sandbox hides it
        pass
    found = _state(process)
    if found is None:  # the system does not say more
        return True
    state, now = found
    return state not in _ENDED and (not start or now == start)


@functools.cache
def _host() -> str:
    """Return a hash of everything within which a process number has a meaning.

    That is the host with its boot, and the namespaces of a container: two containers may share the name of their host.
    """
    parts = [os.uname().nodename]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    except OSError:  # not Linux
        import uuid

        parts.append(f"{uuid.getnode():x}")
    for name in ("pid", "time"):
        with contextlib.suppress(OSError):  # a system without namespaces, or without this one
            parts.append(str(Path(f"/proc/self/ns/{name}").readlink()))
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:16]


def _state(process: int) -> tuple[bytes, int] | None:
    """Return the state of a process and when it started, in clock ticks since boot; ``None`` where nobody says."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0], int(fields[_START_FIELD])
    return None
