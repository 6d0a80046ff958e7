"""Reads paths as users type them. It looks at the text first, because ``Path`` turns ``https://`` into ``https:/``."""

import os
from pathlib import Path

from ..errors import UsageError


def user_path(typed: Path | str) -> Path:
    """Return the path, with the home folder for ``~`` at its beginning. Raises :class:`UsageError` without a home."""
    try:
        return Path(typed).expanduser()
    except RuntimeError as error:
        raise UsageError(f"There is no home folder for {typed}. Write out the folder.") from error


def input_path(typed: Path | str) -> Path:
    """Return the path of a file to read. Raises :class:`UsageError` for an empty text and for an internet address."""
    text = str(typed)
    if not text.strip():
        raise UsageError("The file name is an empty text. Give the file; perhaps a variable of a script is empty.")
    if is_address(text) and not os.path.lexists(text):
        raise UsageError(f"{text} is an address, and this program reads only files. Download it, and give the file.")
    return user_path(typed)


def is_address(text: str) -> bool:
    """Return whether a text is an address such as ``https://…`` rather than a path."""
    return "://" in text
