"""The files of an image that is spread over many files: any number of threads reads them, and few are open at once."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .file_bytes import FileBytes

# A process may mostly have 1,024 files open.
_MOST_OPEN = 64
_T = TypeVar("_T")


class _OpenFiles:
    """The files that are open. Opening one more than the limit closes the file that was not used for longest."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, FileBytes] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False

    def use(self, path: Path, action: Callable[[FileBytes], _T]) -> _T:
        """Return what ``action`` returns for the opened file."""
        with self._lock:
            if self._closed:
                raise ValueError("the image is closed")
            if path not in self._files:
                if len(self._files) >= _MOST_OPEN:
                    self._files.popitem(last=False)[1].close()
                self._files[path] = FileBytes(path)
            self._files.move_to_end(path)
            return action(self._files[path])

    def close(self) -> None:
        with self._lock:
            self._closed = True
            while self._files:
                self._files.popitem()[1].close()


class MemberBytes(FileBytes):
    """The bytes of one of many files; it is open only while it is in use. Closing it closes all of them."""

    def __init__(self, path: Path, files: _OpenFiles) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._files = files

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on. Raises ImageError if the file is too short."""
        return self._files.use(self.path, lambda file: file.read(offset, count))

    def read_runs(self, positions: Sequence[int], rows: NDArray[np.uint8]) -> None:
        """Fill each row from its position in the file. Raises ImageError if the file is too short."""
        self._files.use(self.path, lambda file: file.read_runs(positions, rows))

    def close(self) -> None:
        """Close all files of the image; later reads fail."""
        self._files.close()


def member_bytes(paths: Sequence[Path]) -> tuple[MemberBytes, ...]:
    """Return the bytes of each of these files, which share a limit of open files; a file may occur many times."""
    files = _OpenFiles()
    known = {path: MemberBytes(path, files) for path in dict.fromkeys(paths)}
    return tuple(known[path] for path in paths)
