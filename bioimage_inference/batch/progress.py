"""Progress on a terminal: what the program waits for, a bar for all images, a bar for the tiles of one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..terminal import animated, can_animate, text_column

if TYPE_CHECKING:
    from rich.progress import Progress

TileProgress = Callable[[int, int], None]
"""Called with the number of tiles that are done, and the number of all tiles."""


class Display:
    """The progress of a run; without ``bars`` nothing is shown."""

    def __init__(self, bars: "Progress | None" = None) -> None:
        self._bars = bars
        if bars is not None:
            self._images, self._tiles, self._waiting = (
                bars.add_task(name, total=None, visible=False, count="") for name in ("images", "tiles", "waiting")
            )

    def wait(self, text: str) -> None:
        """Show a moving bar beside what the program is busy with, until tiles are done."""
        if self._bars is not None:
            self._bars.update(self._tiles, visible=False)
            self._bars.update(self._waiting, description=text, visible=True)

    def image(self, name: str, done: int = 0, images: int = 1) -> TileProgress | None:
        """Show that it is the turn of the image ``name``, after ``done`` others; returns the progress of its tiles."""
        bars = self._bars
        if bars is None:
            return None
        count = f"{done}/{images} images"
        bars.update(self._images, completed=done, total=images, count=count, visible=images > 1)
        bars.reset(self._tiles)
        self.wait(name)

        def progress(done: int, total: int) -> None:
            bars.update(self._waiting, visible=False)
            bars.update(
                self._tiles, description=name, completed=done, total=total, count=f"{done}/{total} tiles", visible=True
            )

        return progress


@contextmanager
def shown() -> Iterator[Display]:
    """Show progress on standard error until the block ends; nothing where that is no terminal."""
    if not can_animate():
        yield Display()
        return
    from rich.progress import BarColumn, TimeRemainingColumn

    description, count = text_column("{task.description}"), text_column("{task.fields[count]}")
    with animated(description, BarColumn(), count, TimeRemainingColumn()) as bars:
        yield Display(bars)
