"""Settings of a whole process, for processes of this program's own: the command line, and the workers that it starts.

The most important is one of glibc's allocator. By default it maps each big buffer anew and unmaps it when it is freed.
A network allocates the same buffers for every tile, so the same pages are faulted in again and again. The nuclei U-Net
takes 0.29 s of processor time for a tile of 576×576 by default, 0.35 s if every buffer goes back to the system, and
0.20 s if buffers stay (1 thread of an Intel Xeon, torch 2.13; the peak memory is the same by default). A call of the
Python API changes no setting. With other C libraries the functions for the allocator do nothing.
"""

import ctypes
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ..files.cache_folder import NO_CACHE

# Parameters of mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8
# How often a thread of libgomp looks for the others before it sleeps. By default it looks so long that a thread which
# waits for a descheduled one takes the processor from it. Beside a program that kept one of two cores busy, a U-Net
# took 1.7 s for a megapixel by default, 1.0 with 3000 and 1.3 with 10,000; on the quiet machine 0.5 each time, and with
# 1000 slabs of a plane took a third longer (tiles of 256², AMD EPYC, torch 2.13).
_SPINS = "3000"
# Buffers of this many bytes go back to the system when they are freed, where the address space is limited. glibc would
# raise its threshold to 32 MiB, which is more than a tile's buffer.
_BIG = 4 << 20


def set_up_process() -> None:
    """Set up a process of this program: allocator, waiting threads, logging, descriptors, access rights, and cache.

    It must run before torch is imported: libgomp reads its settings once.
    """
    _set_allocator()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    # This program reports the remarks of these libraries on files in its own words.
    for library in ("tifffile", "czifile", "liffile"):
        logging.getLogger(library).addHandler(logging.NullHandler())
    _open_standard_descriptors()
    os.umask(os.umask(0o077) & ~0o700)  # umask 777 would forbid this program to read its own new files
    try:
        Path.home()
    except RuntimeError:  # no HOME, and no entry in the list of users
        os.environ.setdefault("XDG_CACHE_HOME", NO_CACHE)  # bioimageio.spec cannot be imported without a cache


def _open_standard_descriptors() -> None:
    """Open the descriptors 0 to 2 that were closed when the process started.

    The next file would get such a number, and printed text would go into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # it is closed, and the system gives the lowest free number
            os.open(os.devnull, os.O_RDWR)


def _set_allocator() -> None:
    """Keep freed buffers in this process from now on, unless its address space is limited.

    The gaps between kept buffers count as address space. After a tile that did not fit, they would leave no room for a
    smaller tile.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    if _address_space_is_limited():
        # By default each thread reserves 64 MiB of address space, which may exceed the limit.
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _BIG)
        mallopt(_M_TRIM_THRESHOLD, _BIG)
    else:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


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


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
