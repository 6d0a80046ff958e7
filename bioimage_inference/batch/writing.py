"""Small text files that appear under their names only when complete, and the paths that stand in them."""

import os
from pathlib import Path

from ..image.partial_file import PartialFile


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8. Raises :class:`OutputError` where it cannot be written."""
    data = text.encode()
    file = PartialFile(path, len(data))
    try:
        file.write(0, memoryview(data))
        file.flush()
        file.commit()
    finally:
        file.abort()  # does nothing after the commit


def relative(path: Path, folder: Path) -> str:
    """The path as seen from a folder, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()
