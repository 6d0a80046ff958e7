"""Says on standard error what is downloaded: a bar on a terminal, a line for each file elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..terminal import animated, can_animate, say, text_column
from .fetching import Progress

Show = Callable[[str], Progress]
"""Given the name of a file, what its download is to report to."""


@contextmanager
def shown(model: str, host: str) -> Iterator[Show]:
    """Show the progress of all files of a model."""
    if can_animate():
        with _bars(model) as show:
            yield show
    else:
        yield lambda name: _line(model, name, host)


def _line(model: str, name: str, host: str) -> Progress:
    begun = False

    def progress(done: int, total: int | None) -> None:
        nonlocal begun
        if not begun:
            begun = True
            size = f"{total / 2**20:.1f} MiB" if total is not None else f"{done / 2**20:.1f} MiB or more"
            say(f"[{model}] downloading {name} ({size}) from {host}", error=True)

    return progress


@contextmanager
def _bars(model: str) -> Iterator[Show]:
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        text_column("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with animated(*columns) as bars:

        def show(name: str) -> Progress:
            task = bars.add_task(f"{model}: {name}", total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield show
