"""Bars on a terminal: one over the images, one over the tiles of the present one."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

TileProgress = Callable[[int, int], None]
Show = Callable[[str], TileProgress | None]
"""Called with the name of the image whose turn it is; gives what is told of tiles that are done and of all tiles."""


@contextmanager
def shown(images: int) -> Iterator[Show]:
    """Bars on standard error as long as the block lasts; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # what is printed meanwhile goes above the bars, but only where it would be seen there anyway
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as bars:
        all_images = bars.add_task("images", total=images, visible=images > 1, unit="images")
        tiles = bars.add_task("", total=None, unit="tiles")
        done_before = count()

        def show(name: str) -> TileProgress:
            bars.update(all_images, completed=next(done_before))
            bars.reset(tiles, total=None, description=name)
            return lambda done, total: bars.update(tiles, completed=done, total=total)

        yield show


def _nothing(name: str) -> None:
    """No progress is shown."""
    del name
