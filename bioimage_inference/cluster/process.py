"""Starts the computing process of a Dask worker, and sends it one task after the other.

A worker needs sockets and the keys of its cluster. A network gets neither: it runs in this process of its own, around
which the sandbox stands. See :mod:`.computing` for the inside.
"""

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from typing import IO, Any

from .messages import read_answer, write_message
from .work import Place

# Seconds in which an idle process removes its temporary files. A busy one ends at once.
_CLOSING_SECONDS = 10


class ProcessLostError(Exception):
    """The computing process ended in the middle of a task. The text gives its exit code or signal."""


class ComputingProcess:
    """A process that has opened the model of ``place``. Raises the errors of opening the model."""

    def __init__(self, place: Place) -> None:
        self.place = place
        command = [sys.executable, "-P", "-m", f"{__package__}.computing"]
        # Dask's configuration can hold keys, which the process does not need
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        try:
            self._ask(place)
        except BaseException:
            self.close()
            raise

    def ask(self, task: str, *arguments: Any) -> Any:
        """Return the result of a task. Raises the error of the task, or :class:`ProcessLostError`."""
        return self._ask((task, arguments))

    def close(self) -> None:
        """End the process, even in the middle of a task."""
        requests, answers = self._pipes()
        with suppress(OSError):  # the process is gone
            requests.close()
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        answers.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the streams for requests and answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _ask(self, request: Any) -> Any:
        requests, answers = self._pipes()
        try:
            write_message(requests, pickle.dumps(request))
            return read_answer(answers)
        except (OSError, EOFError) as error:
            raise ProcessLostError(self._how_it_ended()) from error

    def _how_it_ended(self) -> str:
        self._process.kill()  # it may have closed the pipe and live on
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
