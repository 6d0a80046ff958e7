"""Lines for the user on standard output, and animated lines below them on standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

# The animations of this process; the last one is visible. Two at a time would overwrite each other.
_animations: "list[Progress]" = []


def can_animate() -> bool:
    """Return whether standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@contextmanager
def animated(*columns: "ProgressColumn") -> Iterator["Progress"]:
    """Show animated lines with these columns until the block ends; an animation around the block is hidden meanwhile.

    What a library prints appears above the lines, unless standard output goes elsewhere.
    """
    from rich.console import Console
    from rich.progress import Progress

    lines = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with _hidden():
        _animations.append(lines)
        try:
            with lines:
                yield lines
        finally:
            _animations.pop()


def say(text: str, *, error: bool = False) -> None:
    """Print lines at once, on standard output or (``error``) standard error. They stay above the animated lines."""
    with _hidden():
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


@contextmanager
def _hidden() -> Iterator[None]:
    """Take the animated lines off the terminal until the block ends."""
    visible = _animations[-1] if _animations else None
    if visible is not None:
        visible.stop()
    try:
        yield
    finally:
        if visible is not None:
            visible.start()
