"""Reads the paths that users type, before a path changes the text: ``Path`` makes ``https:/`` of ``https://``."""

import os
from pathlib import Path

from ..errors import UsageError


def user_path(typed: Path | str) -> Path:
    """A path as the user wrote it, ``~`` at its beginning being the home folder. Raises :class:`UsageError`."""
    try:
        return Path(typed).expanduser()
    except RuntimeError as error:
        raise UsageError(f"There is no home folder for {typed}. Write out the folder.") from error


def input_path(typed: Path | str) -> Path:
    """The path of a file to read. Raises :class:`UsageError` for an empty text, and for an address of the internet."""
    text = str(typed)
    if not text.strip():
        raise UsageError("The name of a file is an empty text. Give the file; perhaps a variable of a script is empty.")
    if is_address(text) and not os.path.lexists(text):
        raise UsageError(f"{text} is an address, and this program reads files only. Download it, and give the file.")
    return user_path(typed)


def is_address(text: str) -> bool:
    """Whether a text names something by its address instead of its place in a folder."""
    return "://" in text
