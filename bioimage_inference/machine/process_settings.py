"""Settings of a whole process, for processes of this program's own: the command line, and the workers that it starts.

Most of this concerns glibc's allocator. By default it maps each big buffer anew and unmaps it when it is freed, so a
network that allocates the same buffers for every tile faults in the same pages again and again. Keeping the buffers
saves 20 to 40 % of the time of a U-Net (2 cores of an Intel Xeon, torch 2.13). A call of the Python API changes no
setting. With other C libraries the functions for the allocator do nothing.
"""

import ctypes
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NO_CACHE = "/nonexistent/.cache"
"""A cache for users without a home folder. Debian gives this name to a home folder that must not exist."""
# Parameters of mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
# At most so many buffers are mapped singly (glibc's default), each of at least so many bytes.
_MAPPINGS = 65536
_BIG = 4 << 20

_is_own_process = False


def set_up_process() -> None:
    """Set up a process of this program: its allocator, logging, standard descriptors, access rights, and cache."""
    global _is_own_process
    _is_own_process = True
    if _address_space_is_limited():
        # By default each thread reserves 64 MiB of address space, which may exceed the limit.
        _set_allocator({_M_ARENA_MAX: 1})
    keep_big_buffers()
    # This program reports tifffile's remarks in its own words.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    _open_standard_descriptors()
    os.umask(os.umask(0o077) & ~0o700)  # umask 777 would forbid this program to read its own new files
    try:
        Path.home()
    except RuntimeError:  # no HOME, and no entry in the list of users
        os.environ.setdefault("XDG_CACHE_HOME", _NO_CACHE)  # bioimageio.spec cannot be imported without a cache


def _open_standard_descriptors() -> None:
    """Open the descriptors 0 to 2 that were closed when the process started.

    The next file would get such a number, and printed text would go into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed, and the system gives the lowest free number
            os.open(os.devnull, os.O_RDWR)


def is_managed() -> bool:
    """Return whether predictions may set the allocator of this process."""
    return _is_own_process


def keep_big_buffers() -> None:
    """Keep freed buffers for the next tile, where predictions may set the allocator."""
    if _is_own_process:
        _set_allocator({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1})


def return_big_buffers() -> None:
    """Return freed buffers to the system: now, and where predictions may set the allocator, from now on.

    Peak memory halves, because buffers leave no gaps; each pixel costs 1.5 times the time.
    """
    if _is_own_process:
        _set_allocator({_M_MMAP_MAX: _MAPPINGS, _M_MMAP_THRESHOLD: _BIG, _M_TRIM_THRESHOLD: _BIG})
    give_back_buffers()


def give_back_buffers() -> None:
    """Return buffers that are free now to the system."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _address_space_is_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _set_allocator(parameters: Mapping[int, int]) -> None:
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
