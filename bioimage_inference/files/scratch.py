"""Folders for temporary files: removed in the end, and by a later run where a run was killed before its end."""

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
from .temporary_names import make_folder, marked, new_mark, remove_folder, remove_left_behind

PREFIX = "bioimage-inference-"
# The folders of this process that were not removed yet.
_in_use: set[Path] = set()


@contextlib.contextmanager
def scratch_folder(beside: Path | None = None) -> Iterator[Path]:
    """A new folder for temporary files, which is removed when the block ends.

    It is made in ``TMPDIR``, or, hidden, ``beside`` an output, where files may be as large as outputs. Only its owner
    may look into it. What killed runs of the same user left there is removed as well, see :mod:`.temporary_names`.
    Raises :class:`OutputError` where no folder can be made.
    """
    try:
        parent = Path(tempfile.gettempdir()) if beside is None else beside.absolute().parent
        prefix = PREFIX if beside is None else f".{PREFIX}"
        remove_left_behind(parent, marked(prefix))
        folder = parent / f"{prefix}{new_mark()}"
        _in_use.add(folder)  # first, because an interruption may come at any moment
        make_folder(folder, 0o700)
    except OSError as error:
        if beside is not None:
            raise output_error(beside, parent, None, error) from error
        raise cannot_write(
            f"No folder for temporary files can be made: {error.strerror or error}. Free some space, or name another "
            "place for them in TMPDIR.",
            error,
        ) from error
    try:
        yield folder
    finally:
        remove_folder(folder)
        _in_use.discard(folder)


def folders_in_use() -> tuple[Path, ...]:
    """The folders for temporary files that this process has now."""
    return tuple(_in_use)


def leave_nothing() -> None:
    """Remove temporary folders and unfinished outputs of this process, which was interrupted and ends."""
    remove_unfinished()
    for folder in _in_use:
        with contextlib.suppress(OSError):  # the next run removes it
            remove_folder(folder)


def scratch_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array in a new ``.npy`` file, mapped into memory; its room on the disk is taken before, so that writing it
    cannot fail where the file system can promise room.

    Raises :class:`OutputError` where there is no room.
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
