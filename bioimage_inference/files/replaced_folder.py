"""A folder that a new folder of the same name replaces.

No system renames over a folder with files. So the earlier folder is named ``.{final name}.{mark}.old`` first, as long
as it is complete and its final name is free. The next run of the same output removes what a killed run left under such
a name, or gives the folder its final name back if nothing has that name.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .partial_file import PARTIAL, partial_path, partial_pattern
from .system_calls import give_name
from .temporary_names import add_proof, has_proof, keep_folder, left_behind, remove_folder

_OLD = ".old"


@contextlib.contextmanager
def replaced(final: Path) -> Iterator[None]:
    """Free the name ``final`` for the block, which gives this name to a new folder.

    The earlier folder is removed after the block. If the block fails before the new folder has the name, the earlier
    folder gets it back. Of a link at ``final``, the link alone is removed. Raises :class:`OSError`.
    """
    if final.is_symlink():
        final.unlink()
    if not os.path.lexists(final):
        yield
        return
    old = partial_path(final).with_suffix(_OLD)
    add_proof(final, old.name)  # before the rename, so that a later run finds no folder without it
    try:
        give_name(final, old)
    except OSError:
        keep_folder(final, old.name)
        raise
    try:
        yield
    finally:
        _settle(old, final)


def settle_replaced(final: Path) -> None:
    """Remove folders that dead runs of this user replaced at ``final``, or give one its name back where that is free.

    Raises :class:`OSError` where the folder around ``final`` does not exist.
    """
    for old in left_behind(final.parent, partial_pattern(final, _OLD)):
        with contextlib.suppress(OSError):  # another run does this at the same time, or a folder is read-only
            if has_proof(old):
                _settle(old, final)


def _settle(old: Path, final: Path) -> None:
    if os.path.lexists(final):
        # Half a folder must not be named as a complete one: a run that is killed now might leave one.
        unneeded = old.with_suffix(PARTIAL)
        give_name(old, unneeded)
        remove_folder(unneeded)
    else:
        give_name(old, final)
        keep_folder(final, old.name)
