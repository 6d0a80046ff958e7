"""Decides which files may be written: never a file that the run reads, and an existing file only when it is an earlier
result. A file is an earlier result where a record of this program (``*_provenance.json``) lies beside it and names it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import OutputError, UsageError
from ..text import parse_json
from .file_names import MOST_NAME_BYTES, is_file_name, name_key
from .partial_file import final_place

REPLACED = "Results of an earlier run were replaced."
RECORD_END = "_provenance.json"
_SCHEMA = "urn:bioimage_inference:provenance:"
_MOST_RECORD = 64 << 20
"""Bytes of the largest record that is read."""
_MOST_FILES = 100_000
"""Files of an OME-Zarr that are compared with a hard-linked output; the search ends there."""
_OLDEST_OBJECTS = ("labels", "table", "overlay")
PREDICTIONS = "predictions"
"""The folder in an OME-Zarr image to which predictions are added, which changes nothing else in the image."""
_ZARR_FILES = (".zgroup", ".zarray", "zarr.json")


def check_writable(
    written: Sequence[Path], read: Iterable[Path], *, overwrite: bool = False, claimed: Iterable[Path] = ()
) -> list[Path]:
    """Check output files before the run computes anything, and return the earlier results that it replaces.

    ``read`` are the files and folders that the run reads, under any path. An existing file must be an earlier result,
    empty, or in ``claimed``, unless ``overwrite`` is true. Raises :class:`UsageError` for any other existing file, for
    two paths of the same file in ``written``, for a file that the run reads (also through symbolic and hard links),
    and for a file inside an OME-Zarr that the run reads, unless it is an addition to ``predictions/``. Raises
    :class:`OutputError` for a file name that is too long or impossible on this system.
    """
    inputs, places = _Inputs(read), set[str]()
    named = cache(_named_files)
    records = [path for path in written if path.name.endswith(".json")]
    replaced = []
    for path in written:
        if len(os.fsencode(path.name)) > MOST_NAME_BYTES:
            raise OutputError(
                f"The output {path} cannot be written, because a file name has at most {MOST_NAME_BYTES} bytes. Give "
                "the image a shorter name, or name the files of the outputs with --tiff, --npy or --zarr."
            )
        if not is_file_name(path.name):
            raise OutputError(
                f"The output {path} cannot be written, because the system takes {path.name} as no name of a file. Name "
                "it with other letters: --output-name, or --tiff, --npy or --zarr."
            )
        if (place := name_key(final_place(path))) in places:
            raise UsageError(f"Two outputs of this run name the same file, {path}. Give every output its own name.")
        places.add(place)
        if (source := inputs.changed_by(path)) is not None:
            raise UsageError(
                f"{path} cannot be written, because this run reads {source}. Name another file or folder for the "
                "output."
            )
        if not _has_content(path):
            continue
        beside = (record for record in _records_of(path, records) if record.parent == path.parent)
        if path in claimed or any(path.name in named(record) for record in beside):
            replaced.append(path)
        elif not overwrite:
            raise UsageError(
                f"{path} exists, and no record of this program beside it names it as an earlier result. Name another "
                "file or folder for the output, or replace it with --overwrite."
            )
    return replaced


def earlier_results(folder: Path) -> set[Path]:
    """Return the files in a folder that are results of this program, with the pictures of its reports.

    Raises :class:`OSError` if the folder cannot be read.
    """
    found = {folder / name for record in folder.glob(f"*{RECORD_END}") for name in _named_files(record)}
    if folder.name.endswith("_report") and (folder.parent / f"{folder.name[:-7]}{RECORD_END}").is_file():
        found.update(folder.iterdir())
    return found


def _has_content(path: Path) -> bool:
    """Return whether a file or folder has content. Galaxy and other programs make empty files first."""
    try:
        return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0
    except OSError:
        return True


class _Inputs:
    """The files and folders that a run reads: by place, and by identity on the disk, which hard links share."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[Path, Path] = {}
        self._identities: dict[tuple[int, int], Path] = {}
        self._stores: dict[Path, Path] = {}
        for path in paths:
            try:
                place, identity = Path(os.path.realpath(path)), _identity(path)
                store = _outermost_store(place) if path.is_dir() else None
            except (OSError, ValueError):  # the file does not exist, or a description names what is no file name
                continue
            self._places[place] = self._identities[identity] = path
            if store is not None:
                self._stores[store] = path

    def changed_by(self, written: Path) -> Path | None:
        """Return the input that writing ``written`` would change, if any."""
        real = Path(os.path.realpath(written))
        if real in self._places:
            return self._places[real]
        for place, path in self._stores.items():
            if place in real.parents and not _is_addition(real):
                return path
        if written.is_dir() and _outermost_store(real) is not None:
            return next((path for place, path in self._places.items() if real in place.parents), None)
        try:
            identity, links = _identity(written), written.stat().st_nlink
        except OSError:  # the file does not exist
            return None
        if links > 1:
            for place, path in self._stores.items():
                if any(_identity(file) == identity for file in _files(place)):
                    return path
        return self._identities.get(identity)


def _is_addition(folder: Path) -> bool:
    """Return whether a folder is, or would be, a prediction that is added to an OME-Zarr image."""
    return folder.parent.name == PREDICTIONS and any((folder.parents[1] / name).is_file() for name in _ZARR_FILES)


def _outermost_store(folder: Path) -> Path | None:
    """Return the outermost zarr group or array around a folder. An image takes its scale from the groups around it."""
    around = (*reversed(folder.parents), folder)
    return next((one for one in around if any((one / name).is_file() for name in _ZARR_FILES)), None)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, at most ``_MOST_FILES``."""
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return islice((path for path in paths if path.is_file()), _MOST_FILES)


def _records_of(path: Path, records: Iterable[Path]) -> Iterator[Path]:
    """Yield records that may name a file: ``cells_provenance.json`` for ``cells_prediction.tif``, and ``records``."""
    parts = path.name.split("_")
    yield from (path.with_name("_".join(parts[:count]) + RECORD_END) for count in range(1, len(parts)))
    yield from records


def files_of_earlier_runs(record: Path, content: Mapping[str, Any]) -> list[str]:
    """Return the names of files that a record names, but not the new ``content`` that replaces it.

    They stay results of this program: a later run may replace them, and does not take them for images.
    """
    names = _named_files(record) - _names_in(content, record) - {"", ".."}  # of paths that end in no name
    return sorted(name for name in names if os.path.lexists(record.parent / name))


def _named_files(record: Path) -> frozenset[str]:
    """Return the names of the files that a record names, with its own name; nothing for a file that is no record."""
    content = _content(record)
    if content is None:
        return frozenset()
    earlier = content.get("earlier_files")
    paths = earlier if isinstance(earlier, list) else ()
    return _names_in(content, record) | {Path(path).name for path in paths if isinstance(path, str)}


def _names_in(content: Mapping[str, Any], record: Path) -> frozenset[str]:
    """Return the names of the files of a run, with that of its ``record``."""
    names = {record.name}
    if record.name.endswith(RECORD_END):
        names.add(f"{record.name.removesuffix(RECORD_END)}_report.html")
    outputs = content.get("outputs")
    for entry in (*(outputs if isinstance(outputs, list) else ()), content.get("objects")):
        if isinstance(entry, dict):
            hashes = entry.get("sha256")  # has the keys of all files, but in the oldest records
            paths = (entry.get(key) for key in (hashes if isinstance(hashes, dict) else _OLDEST_OBJECTS))
            names.update(Path(path).name for path in paths if isinstance(path, str))
    return frozenset(names)


def _content(record: Path) -> dict[str, Any] | None:
    try:
        if not record.is_file() or record.stat().st_size > _MOST_RECORD:
            return None
        content = parse_json(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_record = isinstance(content, dict) and str(content.get("schema")).startswith(_SCHEMA)
    return content if is_record else None
