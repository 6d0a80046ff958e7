"""SHA-256 of files, of folders such as OME-Zarr, and of arrays in memory.

A thread hashes the images while the network computes. It reads in blocks, and ``hashlib`` releases the interpreter
lock.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..image.writers.zarr_additions import ADDITIONS
from ..image.writers.zarr_metadata import version_of
from ..machine.processors import thread_pool

_BLOCK = 4 << 20  # bytes


@dataclass(frozen=True)
class Hashed:
    """SHA-256 in lower case, and the number of hashed bytes."""

    sha256: str
    size: int


def path_hash(path: Path, stopped: Event | None = None) -> Hashed:
    """Return the hash of a file, or of the list of all files of a folder.

    The list has one line ``HASH  NAME`` per file, as ``sha256sum`` prints it. Names are relative to the folder and
    sorted by their bytes. ``find . -xtype f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`` in
    the folder gives the same hash, but for an OME-Zarr with label maps, whose folder ``labels`` is left out. Links to
    files are followed. Links to folders and to nothing are left out. Raises :class:`OSError` with the name of the file,
    and :class:`CancelledError` once ``stopped`` is set.
    """
    if not path.is_dir():
        return _file_hash(path, stopped)
    return _list_hash({name: path / name for name in _file_names(path)}, stopped)


def files_hash(paths: Sequence[Path], stopped: Event | None = None) -> Hashed:
    """Return the hash of an image: that of its file or folder, or of the list of its files if there are several.

    The list is that of :func:`path_hash`, with the plain names of the files, which lie in one folder.
    """
    if len(paths) == 1:
        return path_hash(paths[0], stopped)
    names = sorted({path.name: path for path in paths}.items(), key=lambda one: os.fsencode(one[0]))
    return _list_hash(dict(names), stopped)


def _list_hash(files: Mapping[str, Path], stopped: Event | None) -> Hashed:
    lines, size = hashlib.sha256(), 0
    for name, path in files.items():
        one = _file_hash(path, stopped)
        lines.update(os.fsencode(f"{one.sha256}  {name}\n"))
        size += one.size
    return Hashed(lines.hexdigest(), size)


def array_hash(array: NDArray[Any], stopped: Event | None = None) -> Hashed:
    """Return the hash of an array's bytes in C order and the array's byte order, as ``sha256(array.tobytes())``."""
    digest = hashlib.sha256()
    rows = array[None] if array.ndim == 0 else array
    step = max(1, _BLOCK // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), step):
        _check(stopped)
        digest.update(np.ascontiguousarray(rows[start : start + step]).reshape(-1).view(np.uint8).data)
    return Hashed(digest.hexdigest(), array.nbytes)


class InputHashes:
    """The hashes of the images of a run. A thread computes them from the beginning of the ``with`` block.

    ``inputs`` has an array or the files by input tensor: a file, a folder, or all files of an image. Leaving the block
    stops the thread.
    """

    def __init__(self, inputs: Mapping[str, Sequence[Path] | NDArray[Any]]) -> None:
        self._inputs = inputs
        self._stopped = Event()
        self._pool = thread_pool()
        self._begun: dict[str, Future[tuple[Hashed, str]]] = {}

    def __enter__(self) -> "InputHashes":
        self._begun = {tensor: self._pool.submit(self._hash, one) for tensor, one in self._inputs.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def results(self) -> dict[str, Hashed]:
        """Wait for the hashes, and return them by input tensor.

        Raises :class:`ImageError` where an image changed since the block began, or cannot be read any more.
        """
        found = {}
        for tensor, one in self._inputs.items():
            try:
                found[tensor], before = self._begun[tensor].result()
                changed = not isinstance(one, np.ndarray) and _state(one) != before
            except OSError as error:
                raise ImageError(
                    f"The hash of {_shown(one)} for the record could not be computed, because {error.filename} cannot "
                    f"be read: {error.strerror}. Nothing was written. Make this file readable, and run again."
                ) from error
            if changed:
                raise ImageError(
                    f"{_shown(one)} was changed while it was read, so that the record could not name the image of the "
                    "result; nothing was written. Run again when no program writes to it."
                )
        return found

    def _hash(self, one: Sequence[Path] | NDArray[Any]) -> tuple[Hashed, str]:
        if isinstance(one, np.ndarray):
            return array_hash(one, self._stopped), ""
        before = _state(one)
        return files_hash(one, self._stopped), before


def _file_hash(path: Path, stopped: Event | None) -> Hashed:
    digest, size, block = hashlib.sha256(), 0, bytearray(_BLOCK)
    try:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(block):
                _check(stopped)
                digest.update(memoryview(block)[:count])
                size += count
    except OSError as error:  # an error of reading does not name the file
        raise OSError(error.errno, error.strerror, str(path)) from error
    return Hashed(digest.hexdigest(), size)


def _file_names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, relative to it, with slashes, sorted by their bytes.

    Label maps and predictions in an OME-Zarr image are left out: they are no part of the image, and may be added later.
    Links to nothing are left out too: git-annex has them for files that nobody fetched, such as those of other levels.
    """
    added = {folder / name for name in ADDITIONS} if version_of(folder) is not None else set()
    places = ((Path(place), names) for place, _, names in os.walk(folder))
    files = (place / name for place, names in places if added.isdisjoint((place, *place.parents)) for name in names)
    return sorted((file.relative_to(folder).as_posix() for file in files if file.is_file()), key=os.fsencode)


def _shown(files: Sequence[Path] | NDArray[Any]) -> object:
    return "the array" if isinstance(files, np.ndarray) else files[0]


def _state(paths: Sequence[Path]) -> str:
    """Return a hash of the sizes and modification times of files, and of all files of folders."""
    seen = hashlib.sha256()
    for file in (
        one for path in paths for one in ((path / name for name in _file_names(path)) if path.is_dir() else (path,))
    ):
        status = file.stat()
        seen.update(os.fsencode(f"{file} {status.st_size} {status.st_mtime_ns}\n"))
    return seen.hexdigest()


def _check(stopped: Event | None) -> None:
    if stopped is not None and stopped.is_set():
        raise CancelledError
