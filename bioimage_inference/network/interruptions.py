"""Interruptions by Ctrl-C and SIGTERM: none is lost, and they take effect after a network has computed its tile.

On Windows Ctrl-Break (SIGBREAK) does the same as SIGTERM.
"""

import signal
import sys
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from time import sleep
from types import FrameType
from typing import Any

_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGBREAK") if hasattr(signal, name))
_SIGNALS = (signal.SIGINT, *_ENDING)
_SECONDS_BETWEEN = 0.001  # mostly enough for Python to leave the finalizer


def interrupt_for_certain() -> None:
    """Let SIGTERM end this process as Ctrl-C does, and raise an interruption again where Python drops it.

    Python calls handlers of signals at any moment, in a finalizer too, and an exception there has nobody to go to.
    """
    for number in _ENDING:
        signal.signal(number, _terminate)
    sys.unraisablehook = _raise_again


def _terminate(number: int, frame: FrameType | None) -> None:
    """End the process as Ctrl-C does, which removes half-written files. A second SIGTERM does not disturb that."""
    while frame is not None:
        if frame.f_code is _raise_again.__code__:  # Python would drop the exception once more
            return
        frame = frame.f_back
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)
        return
    signal.signal(signal.SIGTERM, _terminate)
    Thread(target=_terminate_main_thread, daemon=True).start()


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
