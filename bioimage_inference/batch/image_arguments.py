"""The images that the command line names: files as they are, the images in folders, the matches of patterns."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from ..errors import UsageError
from ..files.overwriting import earlier_results
from ..files.typed_path import is_address, user_path
from ..image.readers.reading import may_be_image
from ..image.readers.zarr_tree import METADATA
from ..text import counted

_MOST_NAMED = 3


@dataclass(frozen=True)
class Images:
    """The images as file names. ``folders`` tells whether one of the arguments was a folder of images.

    ``notes`` are lines for the user on files of the folders that are left out.
    """

    names: Sequence[str]
    folders: bool
    notes: Sequence[str]


def find_images(given: Sequence[str], *, recursive: bool = False) -> Images:
    """Return the images that ``given`` names, in order; those of a folder or pattern sorted by name.

    A folder stands for the images in it, with ``recursive`` also for those in the folders inside of it. Results of this
    program and files of other kinds are left out. An OME-Zarr is an image, not a folder of images. A name with ``*``,
    ``?`` or ``[`` is a pattern if there is no file of this name; ``**`` stands for folders in any depth. A name without
    a file is returned as it is.

    Raises :class:`UsageError` for a folder without images and a pattern without matches.
    """
    names: list[str] = []
    notes: list[str] = []
    folders = False
    for text in given:
        for name in _matches(text):
            path = user_path(name)
            if name.strip() and path.is_dir() and not _is_zarr(path):
                folders = True
                names += map(str, _images_in(path, recursive, notes))
            else:
                names.append(name)
    return Images(names, folders, notes)


def _matches(text: str) -> list[str]:
    """Return the files that a pattern matches, or the text itself if it is no pattern."""
    if not any(mark in text for mark in "*?[") or is_address(text) or os.path.lexists(user_path(text)):
        return [text]
    found = sorted(glob(str(user_path(text)), recursive=True))  # noqa: PTH207 (Path.glob needs the folder apart)
    if not found:
        raise UsageError(f"No file matches the pattern {text}. Check the folder and the ending of the names.")
    return found


def _images_in(folder: Path, recursive: bool, notes: list[str]) -> list[Path]:
    """Return the images in a folder, sorted. Adds a line on the files that are left out to ``notes``."""
    try:
        found = list(_files(folder, recursive))
    except OSError as error:
        raise UsageError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error
    results = {path for inner in {file.parent for file in found} for path in earlier_results(inner)}
    images = [path for path in found if path not in results and (path.is_dir() or may_be_image(path))]
    others = [path for path in found if path not in images and path not in results]
    if not images:
        inside = "" if recursive or not _has_folders(folder) else " Add --recursive for the folders inside of it."
        raise UsageError(f"There is no image in the folder {folder}.{inside}")
    if results.intersection(found):
        count = len(results.intersection(found))
        notes.append(f"[{folder.name}] {counted(count, 'result')} of earlier runs left out")
    if others:
        more = ", …" if others[_MOST_NAMED:] else ""
        listed = ", ".join(path.name for path in others[:_MOST_NAMED])
        notes.append(f"[{folder.name}] {counted(len(others), 'other file')} left out: {listed}{more}")
    return images


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield visible files and OME-Zarr folders, sorted. Symbolic links to folders are not followed."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    yield from (path for path in entries if path.is_file() or (path.is_dir() and _is_zarr(path)))
    if recursive:
        for path in entries:
            if path.is_dir() and not path.is_symlink() and not _is_zarr(path):
                yield from _files(path, recursive)


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in folder.iterdir())


def _is_zarr(folder: Path) -> bool:
    """Return whether a folder is an OME-Zarr or zarr array, or is called so: then opening it tells what is missing."""
    return folder.name.lower().endswith(".zarr") or any((folder / name).is_file() for name in METADATA)
