"""Interruptions by Ctrl-C and SIGTERM: each ends the process, after a network has computed its tile.

On Windows Ctrl-Break (SIGBREAK) does the same as SIGTERM.
"""

import os
import signal
import sys
from _thread import interrupt_main, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, current_thread, main_thread
from time import process_time, sleep
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name))
_SIGNALS = (signal.SIGINT, *_ENDING)
_SECONDS_BETWEEN = 0.001  # mostly enough for Python to leave the finalizer
_SECONDS_AT_REST = 5.0  # some schedulers kill 10 s after SIGTERM
_WORK = 0.01  # of a processor; a process that uses less is at rest

_watched = Lock()


def interrupt_for_certain() -> None:
    """Let SIGTERM end this process as Ctrl-C does, and let neither be lost.

    Python calls handlers of signals at any moment. In a finalizer, it drops the exception: it is raised again. In a
    function of :mod:`threading` or :mod:`concurrent.futures` that has just taken a lock, nobody gives the lock back,
    and a thread may wait for it forever: the process is ended when it does nothing any more.
    """
    for number in _ENDING:
        signal.signal(number, _terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # some shells have their children ignore it
        signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = _raise_again


def _terminate(number: int, frame: FrameType | None) -> None:
    """End the process as Ctrl-C does, which removes half-written files. A second SIGTERM does not disturb that."""
    while frame is not None:
        if frame.f_code is _raise_again.__code__:  # Python would drop the exception once more
            return
        frame = frame.f_back
    signal.signal(number, signal.SIG_IGN)
    _interrupt()


def _interrupt(*_: object) -> None:
    if _watched.acquire(blocking=False):
        with suppress(RuntimeError):  # where there is no memory for a thread, the process most likely ends all the same
            # not threading.Thread, for whose lock the interrupted function may have come
            start_new_thread(_end_when_at_rest, ())
    raise KeyboardInterrupt


def _end_when_at_rest() -> None:
    """End the process, which was interrupted, as soon as it rests."""
    is_working = True
    while is_working:
        before = process_time()
        sleep(_SECONDS_AT_REST)
        is_working = process_time() - before > _WORK * _SECONDS_AT_REST
    from ..files.scratch import leave_nothing  # imports numpy, which must not be imported before the process is set up

    leave_nothing()
    os.write(2, b"Interrupted. The run did not end by itself; what it had not completed was removed.\n")
    os._exit(EXIT_INTERRUPTED)


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    signal.signal(signal.SIGTERM, _terminate)
    start_new_thread(_terminate_main_thread, ())


def _terminate_main_thread() -> None:
    """Send SIGTERM to the main thread, which may wait in a system call, until it has raised the interruption."""
    main = main_thread().ident
    assert main is not None
    while True:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(main, signal.SIGTERM)
        else:  # Windows sends no signals to threads
            interrupt_main(signal.SIGTERM)
        sleep(_SECONDS_BETWEEN)
        if signal.getsignal(signal.SIGTERM) is not _terminate:
            return


@contextmanager
def late_interruptions() -> Iterator[None]:
    """Call the process's own handlers of SIGINT and SIGTERM when the block ends.

    TorchScript turns every exception of Python code that it calls, KeyboardInterrupt too, into a RuntimeError without
    the original. Handlers in C, among them the one that ends the process, are left alone.
    """
    if current_thread() is not main_thread():  # Python runs handlers in the main thread only
        yield
        return
    arrived: list[tuple[int, Any]] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    own = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in own:
        signal.signal(number, lambda *call: arrived.append(call))
    try:
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
        for code, frame in arrived:
            own[signal.Signals(code)](code, frame)
