"""Where the files of a zarr hierarchy are: in a folder, in a zip, or at an address. All are read by their keys."""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import ImageError
from ...files.typed_path import Address, ImagePath
from .file_bytes import LARGEST_PIECE, PIECE_RATIO, check_plausible

if TYPE_CHECKING:
    from .remote_files import RemoteFiles

_LARGEST_METADATA = 64 << 20  # of a group or array; far above every image's, and read as a whole


class ZarrFiles(Protocol):
    """The files of a zarr hierarchy."""

    @property
    def place(self) -> ImagePath:
        """The folder, zip or address."""

    def read(self, key: str) -> bytes | None:
        """Return the content of a small file, None if there is none. Raises ImageError for a huge file."""

    def names(self, folder: str) -> Iterable[str] | None:
        """Return the keys of all files in a folder and below, relative to it; None where they cannot be listed."""

    def store(self) -> Any:
        """Return the read-only store of zarr. Close it at the end."""

    def close(self) -> None:
        """Close the files; stores stay open."""


class FolderFiles:
    """The files of a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def read(self, key: str) -> bytes | None:
        """Return the content of a small file."""
        file = self.place / key
        if not file.is_file():
            return None
        check_metadata(self.place.name, key, file.stat().st_size)
        return file.read_bytes()

    def names(self, folder: str) -> Iterable[str]:
        """Return the keys of all files in a folder and below."""
        top = str(self.place / folder)
        return (
            f"{inner[len(top) :]}/{name}".replace(os.sep, "/").lstrip("/")
            for inner, _, names in os.walk(top)
            for name in names
        )

    def store(self) -> Any:
        """Return the store of zarr."""
        from zarr.storage import LocalStore

        return LocalStore(self.place, read_only=True)

    def close(self) -> None:
        """Do nothing, because no file stays open."""


class ZipFiles:
    """The members of a zip. Raises ImageError for paths out of the archive and for huge members."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._archive = zipfile.ZipFile(place)
        try:
            self._members = _checked_members(place.name, self._archive)
        except BaseException:
            self._archive.close()
            raise

    def read(self, key: str) -> bytes | None:
        """Return the content of a small file."""
        if key not in self._members:
            return None
        check_metadata(self.place.name, key, self._members[key].file_size)
        return self._archive.read(key)

    def names(self, folder: str) -> Iterable[str]:
        """Return the keys of all files in a folder and below."""
        return (name.removeprefix(folder) for name in self._members if name.startswith(folder))

    def store(self) -> Any:
        """Return the store of zarr."""
        from zarr.storage import ZipStore

        return ZipStore(self.place, mode="r")

    def close(self) -> None:
        """Close the zip."""
        self._archive.close()


def open_files(place: ImagePath) -> "FolderFiles | ZipFiles | RemoteFiles":
    """Return the files of a folder, a zip or an address."""
    if isinstance(place, Address):
        from .remote_files import RemoteFiles

        return RemoteFiles(place)
    return FolderFiles(place) if place.is_dir() else ZipFiles(place)


def check_metadata(name: str, key: str, size: int) -> None:
    """Raise ImageError if a file of metadata is too large to be one."""
    if size > _LARGEST_METADATA:
        raise ImageError(f"{name} is no usable zarr: its {key} is {size:,} bytes long. Write it again.")


def _checked_members(name: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip by name. Raises ImageError for paths out of the archive and for huge members."""
    members = archive.infolist()
    for member in members:
        if member.filename.startswith("/") or ".." in member.filename.split("/"):
            raise ImageError(f"{name} is refused: its member {member.filename!r} lies outside the archive.")
        check_plausible(name, member.file_size, member.compress_size, PIECE_RATIO)
        if member.file_size > LARGEST_PIECE:
            raise ImageError(
                f"{name} holds a chunk of {member.file_size / 2**30:.1f} GiB, which can only be read as a whole. "
                "Write it again with smaller chunks."
            )
    return {member.filename: member for member in members}
