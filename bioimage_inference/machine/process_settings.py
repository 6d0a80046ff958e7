"""Settings of a whole process, for processes of this program's own: the command line, and the workers that it starts.

A call of the Python interface changes none of them.
"""

import logging
import os
from pathlib import Path

from .allocator import keep_big_buffers

_NO_CACHE = "/nonexistent/.cache"  # Debian's name for a home folder that must not exist


def set_up_process() -> None:
    """Keep big buffers for the next tile, silence tifffile, and make up for what the process was started without."""
    keep_big_buffers()
    # this program gives tifffile's remarks in its own words
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    _occupy_standard_descriptors()
    _keep_own_rights()
    _name_cache()


def _occupy_standard_descriptors() -> None:
    """Open what the process was started without of descriptors 0 to 2.

    The next file would get the number, and what is printed would be written into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed, and the lowest free number is the next one given
            os.open(os.devnull, os.O_RDWR)


def _keep_own_rights() -> None:
    """Let the owner read and write new files and folders, which ``umask 777`` would forbid this program as well."""
    os.umask(os.umask(0o077) & ~0o700)


def _name_cache() -> None:
    """Name a cache where the user has no home folder; bioimageio.spec cannot be imported without a name for it."""
    try:
        Path.home()
    except RuntimeError:  # no HOME, and no entry in the list of users
        os.environ.setdefault("XDG_CACHE_HOME", _NO_CACHE)
