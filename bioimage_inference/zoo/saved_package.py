"""Saves models of the zoo as packages: one zip for each version, for other programs, other users and other machines.

The same version gives the same bytes on every machine, so that its SHA-256 can be listed and compared.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError, UsageError
from ..files.partial_file import PartialFile
from ..model.package import file_sha256
from ..model.safe_yaml import MAX_BYTES
from ..model.safe_zip import open_archive
from .index import Index
from .model_cache import newest_version, zoo_model
from .model_files import DESCRIPTION
from .names import ZooName

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_ACCESS = 0o100644 << 16
"""A plain file that everybody can read, as ``zipfile`` stores the access rights of Unix."""


@dataclass(frozen=True)
class SavedPackage:
    """A version of a zoo model, and the place of its package. ``is_new``: it was not there before.

    ``sha256`` is ``None`` for a package that a dry run did not save.
    """

    name: ZooName
    path: Path
    is_new: bool
    sha256: str | None


def save_package(
    name: ZooName, index: Index, folder: Path, *, offline: bool = False, overwrite: bool = False, dry_run: bool = False
) -> SavedPackage:
    """Save a zoo model as ``folder/ID-VERSION.zip``, in its current version unless ``name`` has another one.

    Downloads nothing but the description if the package is there, and with ``dry_run``, which writes nothing either.
    Raises :class:`UsageError` where another file has the name of the package, unless ``overwrite`` is true; and the
    errors of :func:`.model_cache.zoo_model`.
    """
    name, description = newest_version(name, index, offline)
    path = folder / f"{'-'.join(filter(None, (name.id, name.version)))}.zip"
    if path.exists():
        if _is_package(path, description):
            return SavedPackage(name, path, is_new=False, sha256=file_sha256(path))
        if not overwrite:
            raise UsageError(
                f"{path} exists, and is damaged or is not the package of {name} that the zoo offers. Name another "
                "folder, or replace it with --overwrite."
            )
    if dry_run:
        return SavedPackage(name, path, is_new=True, sha256=None)
    _write_package(zoo_model(name, index, offline), path)
    return SavedPackage(name, path, is_new=True, sha256=file_sha256(path))


def _is_package(path: Path, description: bytes) -> bool:
    """Return whether a file is an intact package with this description."""
    try:
        with open_archive(path) as archive:
            found = archive.read(DESCRIPTION, MAX_BYTES) if DESCRIPTION in archive.members else None
            return found == description and archive.zip_file.testzip() is None
    except (ModelError, zipfile.BadZipFile):
        return False


def _write_package(source: Path, path: Path) -> None:
    """Write the files of a model's folder to a zip, uncompressed: weights hardly become smaller."""
    files = sorted(file for file in source.rglob("*") if file.is_file() and not file.name.startswith("."))
    needed = sum(file.stat().st_size for file in files)
    partial = PartialFile(path, needed)
    try:
        with partial.stream() as stream, zipfile.ZipFile(stream, "w") as archive:
            for file in files:
                member = zipfile.ZipInfo(file.relative_to(source).as_posix(), _ZIP_TIME)
                member.external_attr, member.file_size = _ACCESS, file.stat().st_size
                with file.open("rb") as content, archive.open(member, "w") as target:
                    while chunk := content.read(2**20):
                        target.write(chunk)
        partial.flush()
        partial.commit()
    finally:
        partial.abort()  # does nothing after the commit
