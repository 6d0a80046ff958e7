"""Which files may be written: never one that the run reads, and an existing one only where it is an earlier result.

A file is an earlier result where a record of this program (``*_provenance.json``) lies beside it and names it.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import OutputError, UsageError
from .partial_file import MOST_NAME_BYTES

REPLACED = "Results of an earlier run were replaced."
RECORD_END = "_provenance.json"
_SCHEMA = "urn:bioimage_inference:provenance:"
_MOST_RECORD = 64 << 20
# A folder that is read has files that are linked from elsewhere; beyond so many nobody looks for them.
_MOST_FILES = 100_000


def check_writable(
    written: Sequence[Path], read: Iterable[Path], *, overwrite: bool = False, claimed: Iterable[Path] = ()
) -> list[Path]:
    """Check files before anything is computed; returns the earlier results that are to be replaced.

    ``read`` are files and folders that the run reads, by any path. Raises :class:`UsageError` where one of ``written``
    is one of them (links are followed, and hard links are told by what they are), or lies in an image that is a folder.
    An existing file must be an earlier result, empty, or among ``claimed``, unless ``overwrite`` is true.
    """
    given = _Read(read)
    earlier = _Earlier([path for path in written if path.name.endswith(".json")])
    replaced = []
    for path in written:
        if len(os.fsencode(path.name)) > MOST_NAME_BYTES:
            raise OutputError(
                f"The output {path} cannot be written, because a file name has at most {MOST_NAME_BYTES} bytes. Give "
                "the image a shorter name, or name the outputs with --tiff and --npy."
            )
        if (source := given.hit_by(path)) is not None:
            raise UsageError(
                f"{path} cannot be written, because this run reads {source}. Name another file or folder for the "
                "output."
            )
        if not _holds_something(path):
            continue
        if path in claimed or earlier.names(path):
            replaced.append(path)
        elif not overwrite:
            raise UsageError(
                f"{path} exists, and no record of this program beside it says that it is an earlier result. Name "
                "another file or folder for the output, or replace it with --overwrite."
            )
    return replaced


def make_folder(folder: Path) -> None:
    """Make a folder for outputs where there is none, with the folders above it.

    A link in its place counts where this user, root or the owner of the folder around it made the link. Linux follows
    the same rule with ``fs.protected_symlinks``. Raises :class:`OSError`, for a link of somebody else too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_symlink():
        return
    owner, around = folder.lstat().st_uid, Path(os.path.abspath(folder)).parent.stat().st_uid  # noqa: PTH100
    if owner not in (os.geteuid(), 0, around):
        raise PermissionError(errno.EPERM, "it is a link that another user made", str(folder))


def _holds_something(path: Path) -> bool:
    """Whether there is a file or folder with content; Galaxy and others make empty files first."""
    try:
        return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0
    except OSError:
        return True


class _Read:
    """What a run reads: by its place, and by what it is on the disk, which hard links share."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[Path, Path] = {}
        self._identities: dict[tuple[int, int], Path] = {}
        self._stores: dict[Path, Path] = {}
        for path in paths:
            try:
                place, identity = Path(os.path.realpath(path)), _identity(path)
                store = _outermost_store(place) if path.is_dir() else None
            except (OSError, ValueError):  # it is not there, or a text of the description that can be no file's name
                continue
            self._places[place] = self._identities[identity] = path
            if store is not None:
                self._stores[store] = path

    def hit_by(self, written: Path) -> Path | None:
        """What is read under the name ``written``, or the image in a folder that it would change."""
        real = Path(os.path.realpath(written))
        if real in self._places:
            return self._places[real]
        for place, path in self._stores.items():
            if place in real.parents:
                return path
        if written.is_dir() and _outermost_store(real) is not None:
            return next((path for place, path in self._places.items() if real in place.parents), None)
        try:
            status = written.stat()
        except OSError:  # nothing is there
            return None
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1:
            for place, path in self._stores.items():
                if any(_identity(file) == identity for file in _files(place)):
                    return path
        return self._identities.get(identity)


def _outermost_store(folder: Path) -> Path | None:
    """The outermost zarr that a folder is or lies in: an image takes its scale from the groups around it."""
    return next((one for one in (*reversed(folder.parents), folder) if _is_group_or_array(one)), None)


def _is_group_or_array(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in (".zgroup", ".zarray", "zarr.json"))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _files(folder: Path) -> Iterator[Path]:
    """Files of a folder, as far as anybody would look."""
    walked = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return islice((file for file in walked if file.is_file()), _MOST_FILES)


class _Earlier:
    """What the records beside files say; ``records`` are files to be written, which may be records of any name."""

    def __init__(self, records: Sequence[Path]) -> None:
        self._records = records
        self._known: dict[Path, frozenset[str]] = {}

    def names(self, path: Path) -> bool:
        """Whether a record in the folder of ``path`` names it, or is it.

        The record of ``cells_prediction.tif`` is called ``cells_provenance.json``, or is to be written as well.
        """
        parts = path.name.split("_")
        beside = (path.with_name("_".join(parts[:count]) + RECORD_END) for count in range(1, len(parts)))
        return any(path.name in self._names(one) for one in (*beside, *self._records) if one.parent == path.parent)

    def _names(self, record: Path) -> frozenset[str]:
        if record not in self._known:
            self._known[record] = frozenset(_named(record))
        return self._known[record]


def _named(record: Path) -> Iterator[str]:
    """The names of the files that belong to a record, its own among them; none where it is no record."""
    content = _content(record)
    if content is None:
        return
    yield record.name
    if record.name.endswith(RECORD_END):
        yield f"{record.name.removesuffix(RECORD_END)}_report.html"
    outputs = content.get("outputs")
    entries = [*(outputs if isinstance(outputs, list) else []), content.get("objects")]
    for entry in entries:
        if isinstance(entry, dict):
            for key in ("tiff", "npy", "zarr", "labels", "table", "overlay"):
                if isinstance(entry.get(key), str):
                    yield Path(entry[key]).name


def _content(record: Path) -> dict[str, Any] | None:
    try:
        if not record.is_file() or record.stat().st_size > _MOST_RECORD:
            return None
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not a record, so it claims nothing
        return None
    is_record = isinstance(content, dict) and str(content.get("schema")).startswith(_SCHEMA)
    return content if is_record else None
