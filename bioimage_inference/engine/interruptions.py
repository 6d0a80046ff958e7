"""Interruptions that wait: Ctrl-C and SIGTERM take effect once a network has computed its tile."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
