"""Names of files on the system of this process: which are possible, and which mean the same file."""

import os
import sys
import unicodedata

from ..text import is_windows_name

MOST_NAME_BYTES = 255
"""Bytes of the longest file name on Linux and macOS (NAME_MAX in limits.h). Windows allows 255 units of UTF-16."""


def is_file_name(name: str) -> bool:
    """Return whether the system takes a text as the name of a file, apart from its length.

    On Windows ``cells.tif:1`` would write into a hidden part of ``cells.tif``, and ``nul.tif`` would write nothing.
    """
    if os.name == "nt":
        return is_windows_name(name)
    return bool(name) and "/" not in name and "\0" not in name


def name_key(path: object) -> str:
    """Return a text that is equal for two paths if the system takes them as the same.

    macOS and Windows ignore case by default, and macOS the difference between composed and decomposed letters. Links
    are not followed.
    """
    if os.name != "nt" and sys.platform != "darwin":
        return str(path)
    return unicodedata.normalize("NFC", str(path)).casefold()
