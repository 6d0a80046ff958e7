"""Folders for temporary files. The run removes them at its end; a later run removes those of a killed run."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import cannot_write
from .partial_file import allocate, output_error, remove_unfinished
from .system_calls import OPEN_FILES_STAY, long_path
from .temporary_names import make_folder, marked, new_mark, remove_folder, remove_left_behind

PREFIX = "bioimage-inference-"
# The temporary folders of this process that still exist.
_in_use: set[Path] = set()


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """Yield a new folder for temporary files, and remove it after the block. Only its owner can read it.

    It lies in ``TMPDIR``, or, hidden, ``beside`` an output, where there is room for files as large as outputs. Folders
    that killed runs of the same user left there are removed, see :mod:`.temporary_names`. Raises :class:`OutputError`
    where the folder cannot be made.
    """
    try:
        parent = Path(tempfile.gettempdir()) if beside is None else beside.absolute().parent
        prefix = PREFIX if beside is None else f".{PREFIX}"
        remove_left_behind(parent, marked(prefix))
        folder = long_path(parent / f"{prefix}{new_mark()}")
        _in_use.add(folder)  # first, because an interruption may come at any moment
        make_folder(folder, 0o700)
    except OSError as error:
        if beside is not None:
            raise output_error(beside, parent, None, error) from error
        raise cannot_write(
            f"No folder for temporary files can be made: {error.strerror or error}. Free some space, or name another "
            "folder for temporary files in TMPDIR.",
            error,
        ) from error
    try:
        yield folder
    finally:
        try:
            remove_folder(folder)
        except PermissionError:
            if not OPEN_FILES_STAY:  # a library has a file in it open, so the next run removes the folder
                raise
        _in_use.discard(folder)


def folders_in_use() -> tuple[Path, ...]:
    """Return the temporary folders of this process."""
    return tuple(_in_use)


def leave_nothing() -> None:
    """Remove temporary folders and unfinished outputs of this process, which ends after an interruption."""
    remove_unfinished()
    for folder in tuple(_in_use):
        with contextlib.suppress(OSError):  # the next run removes it
            remove_folder(folder)


def scratch_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array in a new ``.npy`` file, mapped into memory.

    The disk space is reserved first, where the file system can do that, because a full disk ends a process that writes
    to mapped memory. Raises :class:`OutputError` where there is no room.
    """
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    size = math.prod(shape) * dtype.itemsize
    try:
        path.unlink(missing_ok=True)
        with path.open("x+b") as file:
            np.lib.format.write_array_header_1_0(file, facts)
            start = file.tell()
            size += start
            file.truncate(size)
            allocate(file.fileno(), size)
            return np.memmap(file, dtype, "r+", start, shape)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise output_error(path, path.parent, size, error) from error
