"""Standard output and standard error: the lines of this program, the log, and progress bars below them.

All text passes :func:`~bioimage_inference.text.for_terminal`.
"""

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .errors import cannot_write
from .text import for_json, for_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

TileProgress = Callable[[int, int], None]
"""Called with the number of finished tiles and the number of all tiles."""

# The animations of this process. Only the last one is visible, because two would overwrite each other.
_animations: "list[Progress]" = []


class _HarmlessStream(io.TextIOBase):
    """A stream that writes whole lines, without control characters, above the progress bars.

    After a ``failure``, for example a full disk, the stream drops all text. If ``can_break`` is true, a reader that
    closes its end of a pipe raises :class:`BrokenPipeError`.
    """

    def __init__(self, stream: TextIO | None, *, can_break: bool) -> None:
        self.stream = stream
        self.failure: OSError | None = None
        self._can_break = can_break
        self._unfinished = ""
        self._lock = threading.RLock()  # a signal may write while its thread writes

    @property
    def is_ascii(self) -> bool:
        """Whether the stream's encoding may lack letters."""
        return not self._charset.lower().startswith("utf")

    @property
    def _charset(self) -> str:
        return getattr(self.stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            if lines:
                self._put(lines)
        return len(text)

    def finish(self) -> None:
        """Write an unfinished line."""
        if self._unfinished:
            self.write("\n")

    def _put(self, lines: list[str]) -> None:
        if self.stream is None or self.failure is not None:
            return
        shown = "".join(f"{for_terminal(line)}\n" for line in lines)
        try:
            with _hidden():
                self.stream.write(shown.encode(self._charset, "backslashreplace").decode(self._charset))
                self.stream.flush()
        except OSError as error:
            self.failure = error
            self._discard()
            if self._can_break and isinstance(error, BrokenPipeError):
                raise

    def _discard(self) -> None:
        """Redirect the stream to nowhere. Otherwise Python tries to write the rest at exit, and fails again."""
        assert self.stream is not None
        with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())


class _Streams:
    """The streams of :func:`own_output`, or None outside its block, and whether :func:`be_quiet` was called in it."""

    out: _HarmlessStream | None = None
    log: _HarmlessStream | None = None
    quiet = False


@contextmanager
def own_output() -> Iterator[None]:
    """Keep standard output for :func:`say` and :func:`say_json` until the block ends.

    Text that a network, a library or C++ code prints appears on standard error.
    """
    before = sys.stdout, sys.stderr
    log = _HarmlessStream(sys.stderr, can_break=False)
    with _moved(sys.stdout) as stdout:
        out = _HarmlessStream(stdout, can_break=True)
        _Streams.out, _Streams.log = out, log
        sys.stdout = sys.stderr = log
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            _Streams.out = _Streams.log = None
            _Streams.quiet = False
            log.finish()


@contextmanager
def _moved(stdout: TextIO | None) -> Iterator[TextIO | None]:
    """Redirect descriptor 1, to which C++ code prints, to standard error. Yield a stream to standard output."""
    try:
        is_descriptor = stdout is not None and stdout.fileno() == 1
    except (OSError, ValueError):  # a stream in memory
        is_descriptor = False
    if stdout is None or not is_descriptor:
        yield stdout
        return
    stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(saved, "w", encoding=stdout.encoding, newline="", closefd=False) as moved:
            yield moved
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def be_quiet() -> None:
    """Drop the lines of :func:`say` on standard output and all progress until the block of :func:`own_output` ends."""
    _Streams.quiet = True


def is_quiet() -> bool:
    """Return whether the user asked for errors and JSON only."""
    return _Streams.quiet


def check_output() -> None:
    """Raise :class:`OutputError` if writing lines of this program to standard output has failed."""
    failure = _Streams.out.failure if _Streams.out is not None else None
    if failure is not None:
        raise cannot_write(
            f"Standard output cannot be written: {failure.strerror}. Lines of this program are missing there.", failure
        )


def can_animate() -> bool:
    """Return whether standard error is a terminal that can move its cursor."""
    stream = _standard_error()
    if stream is None or is_quiet():
        return False
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _standard_error() -> TextIO | None:
    return _Streams.log.stream if _Streams.log is not None else sys.stderr


@contextmanager
def animated(*columns: "ProgressColumn") -> Iterator["Progress"]:
    """Show animated lines with these columns until the block ends, in place of an animation around the block.

    Columns with text come from :func:`text_column`.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(file=_standard_error())
    lines = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    with _hidden():
        _animations.append(lines)
        try:
            with lines:
                yield lines
        finally:
            _animations.pop()


def text_column(template: str) -> "ProgressColumn":
    """Return a column of animated lines that shows a text such as ``{task.description}``."""
    from rich.progress import TextColumn
    from rich.text import Text

    class HarmlessColumn(TextColumn):
        def render(self, task: "Task") -> "Text":
            return Text(for_terminal(self.text_format.format(task=task)), justify=self.justify)

    return HarmlessColumn(template)


class Display:
    """Progress of a command: a bar for the images, a bar for the tiles of an image, and the activity in words.

    Without ``bars`` it shows nothing.
    """

    def __init__(self, bars: "Progress | None" = None) -> None:
        self._bars = bars
        if bars is not None:
            self._images, self._tiles, self._waiting = (
                bars.add_task(name, total=None, visible=False, count="") for name in ("images", "tiles", "waiting")
            )

    def wait(self, activity: str) -> None:
        """Show a moving bar beside the activity of the program, until the first tile is finished."""
        if self._bars is not None:
            self._bars.update(self._tiles, visible=False)
            self._bars.update(self._waiting, description=activity, visible=True)

    def image(self, name: str, done: int = 0, images: int = 1) -> TileProgress | None:
        """Show the name of the next image, after ``done`` of all ``images``. Return the progress of its tiles."""
        bars = self._bars
        if bars is None:
            return None
        bars.update(self._images, completed=done, total=images, count=f"{done}/{images} images", visible=images > 1)
        bars.reset(self._tiles)
        self.wait(name)

        def progress(done: int, total: int) -> None:
            count = f"{done}/{total} tiles"
            bars.update(self._waiting, visible=False)
            bars.update(self._tiles, description=name, completed=done, total=total, count=count, visible=True)

        return progress


@contextmanager
def progress_display() -> Iterator[Display]:
    """Show progress on standard error until the block ends, if standard error is a terminal."""
    if not can_animate():
        yield Display()
        return
    from rich.progress import BarColumn, TimeRemainingColumn

    description, count = text_column("{task.description}"), text_column("{task.fields[count]}")
    with animated(description, BarColumn(), count, TimeRemainingColumn()) as bars:
        yield Display(bars)


def say(*lines: str, error: bool = False) -> None:
    """Print lines at once to standard output or, with ``error``, to standard error. They stay above progress bars.

    Each argument becomes one line.
    """
    if lines and (error or not is_quiet()):
        _print("\n".join(map(for_terminal, lines)), error)


def say_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    out = _Streams.out
    _print(for_json(value, ascii_only=out is not None and out.is_ascii), error=False)


def _print(text: str, error: bool) -> None:
    own = _Streams.log if error else _Streams.out
    if own is not None:
        own.write(f"{text}\n")
        return
    stream = sys.stderr if error else sys.stdout  # in a call of the Python API
    if stream is not None:
        with _hidden():
            print(text, file=stream, flush=True)


@contextmanager
def _hidden() -> Iterator[None]:
    """Remove the animated lines from the terminal until the block ends."""
    visible = _animations[-1] if _animations else None
    if visible is not None:
        visible.stop()
    try:
        yield
    finally:
        if visible is not None:
            visible.start()


def line_width(fallback: int) -> int:
    """Return the width of standard output in letters: ``COLUMNS``, the terminal's width, or ``fallback``."""
    width = os.environ.get("COLUMNS", "")
    if width.isdecimal() and int(width):
        return int(width)
    stream = _Streams.out.stream if _Streams.out is not None else sys.stdout
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream is not None else fallback
    except (OSError, ValueError):  # no terminal
        return fallback
