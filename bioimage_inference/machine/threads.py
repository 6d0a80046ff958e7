"""Threads, started only where there is memory for them."""

import mmap
from concurrent.futures import ThreadPoolExecutor

_ROOM = 10 << 20
"""Bytes of address space that a thread takes at its start: its stack, and what it allocates first."""


def thread_pool(threads: int = 1) -> ThreadPoolExecutor:
    """A pool of threads. Raises :class:`MemoryError` where there is no room for one.

    Without that check, Python waits for ever for a thread that found no memory for its first steps.
    """
    try:
        mmap.mmap(-1, _ROOM).close()  # never touched, so that it takes no memory
    except OSError as error:
        raise MemoryError("there is no room for a thread") from error
    return ThreadPoolExecutor(threads)
