"""Every failure a user can meet, one class per exit code of the command line.

::

    BioimageInferenceError          1   a bug of ours, when raised as it is
    ├── UsageError                  2   the command line, or the place of an output, is wrong
    │   └── OutputError             2   the outputs cannot be written (no such folder, a device)
    │       ├── NotPermittedError   8   the user may not write the outputs there
    │       └── DiskFullError       9   the disk has no room for the outputs
    ├── TrustError                  3   the model would run code that nobody vouches for
    ├── ModelError                  4   the model is broken or not supported
    ├── ImageError                  5   the image is broken or does not fit the model
    ├── OutOfMemoryError            6   too little memory for the program or the smallest legal tile
    └── ReproductionError           7   the outputs differ from the published or recorded outputs

The text of an error is one plain paragraph: what happened, what was expected, what to do next.
"""

import contextlib
import errno
import os
from typing import ClassVar

# Errors of the system without room (EFBIG: a file is too large), and without permission.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
# Messages for limits of the process, of the machine and of the file system.
_LIMITS = {
    errno.EMFILE: "The program may open no more files (ulimit -n). Raise this limit.",
    errno.ENFILE: "All programs on this machine together may open no more files. Try again later.",
    errno.ENAMETOOLONG: "The name {name} is longer than the file system allows. Give a shorter name.",
}
_NO_STACK = "can't start new thread"  # Python's RuntimeError for a thread whose stack found no memory


class BioimageInferenceError(Exception):
    """Root of the tree. The command line ends with its ``exit_code``."""

    exit_code: ClassVar[int] = 1


class UsageError(BioimageInferenceError):
    """Options contradict each other, are malformed, or name something that does not exist."""

    exit_code = 2


class OutputError(UsageError):
    """The place of an output cannot be written: no such folder, a device, another kind of file."""


class NotPermittedError(OutputError):
    """The user may not write there: missing rights, or a write-protected file or file system."""

    exit_code = 8


class DiskFullError(OutputError):
    """The disk, the quota or the limit of file sizes leaves no room for the outputs."""

    exit_code = 9


def cannot_write(text: str, error: OSError) -> OutputError:
    """Return an error with this text, of the class that fits the error of the system."""
    if error.errno in NO_ROOM:
        return DiskFullError(text)
    return NotPermittedError(text) if error.errno in DENIED else OutputError(text)


class TrustError(BioimageInferenceError):
    """The model has code or weights that the trust policy refuses."""

    exit_code = 3


class ModelError(BioimageInferenceError):
    """The model package is broken, incomplete, or needs something that this program does not support."""

    exit_code = 4


class ImageError(BioimageInferenceError):
    """The image cannot be read, or does not fit the model."""

    exit_code = 5


class OutOfMemoryError(BioimageInferenceError):
    """The budget is too small for the program, or for the smallest tile that the model allows."""

    exit_code = 6


class ReproductionError(BioimageInferenceError):
    """The model runs, but its outputs differ from the outputs that were published with it or recorded."""

    exit_code = 7


def in_our_words(error: BaseException) -> BioimageInferenceError:
    """Return the error for the user, for an exception that ended a command. An unforeseen exception is a bug."""
    if isinstance(error, BioimageInferenceError):
        return error
    if isinstance(error, MemoryError) or str(error) == _NO_STACK:
        return OutOfMemoryError(
            "The program ran out of memory. Give it more memory, or make tiles smaller with --tile or --memory."
        )
    if isinstance(error, OSError):
        if error.errno in NO_ROOM:
            return DiskFullError(f"There is no room on the disk for {error.filename or 'a file'}. Free some space.")
        if error.errno in _LIMITS:
            return UsageError(_LIMITS[error.errno].format(name=error.filename))
    if isinstance(error, FileNotFoundError) and not has_current_folder():
        return UsageError(NO_CURRENT_FOLDER)
    from ._version import __version__

    return BioimageInferenceError(
        f"This is a bug of bioimage-inference {__version__}: {type(error).__name__}: {error}. Please report it with "
        "the output of the same command and --debug."
    )


NO_CURRENT_FOLDER = "The current folder does not exist any more. Change to another folder (cd), and try again."


def has_current_folder() -> bool:
    """Return whether the current folder of the process exists."""
    with contextlib.suppress(OSError):
        os.getcwd()  # noqa: PTH109 (this module imports no pathlib)
        return True
    return False
