"""Folders for temporary files: removed in the end, and by a later run where a run was killed before its end.

A folder is locked as long as the run lives that made it, so that what is left behind is told from what is in use.
"""

import contextlib
import fcntl
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import cannot_write
from .image.partial_file import allocate, output_error, remove_unfinished

PREFIX = "bioimage-inference-"
# A folder is locked within a moment of being made; only older ones are taken for left behind.
_YOUNG_SECONDS = 60
# The folders of this process that were not removed yet.
_in_use: set[Path] = set()


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """A new folder for temporary files, which is removed when the block ends.

    It is made in ``TMPDIR``, or, hidden, ``beside`` an output, where files may be as large as outputs. What killed runs
    of the same user left there is removed as well; on file systems without locks it stays. Raises :class:`OutputError`
    where no folder can be made.
    """
    try:
        parent = Path(tempfile.gettempdir()) if beside is None else beside.absolute().parent
        prefix = PREFIX if beside is None else f".{PREFIX}"
        _remove_left_behind(parent, prefix)
        folder = parent / f"{prefix}{secrets.token_hex(8)}"
        _in_use.add(folder)  # first, because an interruption may come at any moment
        folder.mkdir(mode=0o700)
    except OSError as error:
        if beside is not None:
            raise output_error(beside, parent, None, error) from error
        raise cannot_write(
            f"No folder for temporary files can be made: {error.strerror or error}. Free some space, or name another "
            "place for them in TMPDIR.",
            error,
        ) from error
    with _locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
            _in_use.discard(folder)


def folders_in_use() -> tuple[Path, ...]:
    """The folders for temporary files that this process has now."""
    return tuple(_in_use)


def leave_nothing() -> None:
    """Remove temporary folders and unfinished outputs of this process, which was interrupted and ends."""
    remove_unfinished()
    for folder in _in_use:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_left_behind(parent: Path, prefix: str) -> None:
    """Remove our folders whose run is gone."""
    for folder in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, being removed by another run, or another user's
            status = folder.lstat()
            ours = status.st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()
            if ours and time.time() - status.st_mtime > _YOUNG_SECONDS and _has_no_owner(folder):
                shutil.rmtree(folder)


def _has_no_owner(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # locked by its living run, or the file system has no locks
    finally:
        os.close(descriptor)
    return True


def scratch_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array in a new ``.npy`` file, mapped into memory; its room on the disk is taken before, so that writing it
    cannot fail where the file system can promise room.

    Raises :class:`OutputError` where there is no room.
    """
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    size = math.prod(shape) * dtype.itemsize
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, facts)
            size += file.tell()
            file.truncate(size)
            allocate(file.fileno(), size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise output_error(path, path.parent, size, error) from error
    return np.lib.format.open_memmap(path, mode="r+")
