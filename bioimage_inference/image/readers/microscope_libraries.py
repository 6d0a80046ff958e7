"""The libraries that read the files of microscopes' vendors (extra ``microscopes``), and the errors of such files.

The sentences on a library that is not installed and on a damaged file are written here, for all vendors.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import BioimageInferenceError, ImageError
from ...file_kinds.vendor_formats import EXPORT_ADVICE
from ...text import reason_of

_INSTALL = "pip install 'bioimage_inference[microscopes]'"


@contextmanager
def vendor_library(name: str, path: Path, kind: str) -> Iterator[Any]:
    """Provide the library ``name`` for the file at ``path``; ``kind`` is the format in words.

    Raises ImageError that names the extra if the library is not installed, and for every exception of the library.
    """
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        raise ImageError(
            f"{path.name} is {kind}, and the library that reads it ({name}) is not installed. Install it with "
            f"{_INSTALL}. {EXPORT_ADVICE}"
        ) from error
    try:
        yield library
    except (BioimageInferenceError, PermissionError):
        raise
    except Exception as error:
        raise damaged_file(path.name, kind, reason_of(error)) from error


def damaged_file(name: str, kind: str, reason: str) -> ImageError:
    """Return the error for a file whose structure is wrong; ``reason`` is a clause such as ``it has no directory``."""
    return ImageError(
        f"{name} is {kind}, but it is damaged, incomplete or of a kind that is not supported: {reason}. Copy the file "
        f"again. {EXPORT_ADVICE}"
    )
