"""Reads the tensors of a description in a process of its own, while this one does something else that takes as long.

The official validator takes most of a second to import, and so does torch. Threads would share one lock; processes do
not.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..errors import ModelError
from .tensors import Tensors

# The other process must import what this one would, and nothing from the folder that it happens to run in.
_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from bioimage_inference.model.reading_process import answer
answer()
"""


def worth_it() -> bool:
    """Whether two cores are there, and both imports still lie ahead."""
    return (os.cpu_count() or 1) > 1 and not {"torch", "bioimageio.spec"} & sys.modules.keys()


def read_tensors_beside(content: Mapping[str, Any], meanwhile: Callable[[], object]) -> Tensors | None:
    """What :func:`~.description.read_tensors` returns for ``content``, while ``meanwhile`` runs in this process.

    ``None`` where the other process failed for reasons of its own. Raises :class:`ModelError` as that function does.
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it ended early, which its exit code tells
                process.stdin.write(pickle.dumps(sys.path) + pickle.dumps(dict(content)))
                process.stdin.close()
            meanwhile()
            reply = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        return None
    result: Tensors | ModelError = pickle.loads(reply)
    if isinstance(result, ModelError):
        raise result
    return result


def answer() -> None:
    """The other process: a description comes in, its tensors or the error go out."""
    from .description import read_tensors

    content = pickle.load(sys.stdin.buffer)
    result: Tensors | ModelError
    try:
        result = read_tensors(content)
    except ModelError as error:
        result = error
    sys.stdout.buffer.write(pickle.dumps(result))
