"""Zip archives from strangers: limits on count, size and ratio, and no name that leaves the folder.

Everything is checked in the archive's directory before a byte is unpacked, and again while it is unpacked.
"""

import io
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import ModelError, cannot_write
from ..files.file_names import is_file_name

END_MAGIC = b"PK\x05\x06"
END_RECORD_BYTES = 22
ZIP_MAGIC = (b"PK\x03\x04", END_MAGIC)

MIB = 2**20
# Limits for archives of strangers: members, bytes of the list of members, unpacked bytes, and unpacked bytes for each
# packed one. A package has some ten members, and weights hardly shrink; deflate packs zeros to a thousandth.
MAX_MEMBERS = 10_000
MAX_DIRECTORY = 4 * MIB
MAX_BYTES = 16 * 2**30
MAX_RATIO = 1000

# Exceptions of zipfile for damaged archives.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
)


class _BoundedReader(io.BufferedReader):
    """Reads a file in pieces that a sound archive needs: zipfile itself believes any size of the directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory takes {size / MIB:.0f} MiB")
        return super().read(size)


@dataclass(frozen=True)
class Archive:
    """An open zip file whose directory has been checked; ``members`` are its files, by cleaned name."""

    path: Path
    members: Mapping[str, zipfile.ZipInfo]
    zip_file: zipfile.ZipFile

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of a member. Raises :class:`ModelError` beyond ``limit`` bytes or where it is damaged."""
        member = self.members[name]
        if member.file_size > limit:
            raise ModelError(
                f"{name} in {self.path.name} takes {member.file_size / MIB:.0f} MiB, expected were at most "
                f"{limit // MIB}: this is no model package."
            )
        with _damage_as_model_error(self.path), self.zip_file.open(member) as stream:
            return stream.read(limit)

    def unpack(self, names: Iterable[str], scratch: Path) -> Path:
        """Unpack members into a new folder below ``scratch`` and return the folder.

        Raises :class:`ModelError` where a member is damaged or its length is not the one in the directory, and
        :class:`OutputError` where the folder cannot be written.
        """
        try:
            folder = Path(tempfile.mkdtemp(prefix="model-", dir=scratch)).absolute()
            for name in names:
                self._unpack_member(name, folder / name)
        except OSError as error:
            raise cannot_write(
                f"{self.path.name} could not be unpacked in {scratch}: {error.strerror or error}. "
                "Free some space there, or name another folder for temporary files in TMPDIR.",
                error,
            ) from error
        return folder

    def _unpack_member(self, name: str, target: Path) -> None:
        member = self.members[name]
        target.parent.mkdir(parents=True, exist_ok=True)
        with _damage_as_model_error(self.path), self.zip_file.open(member) as stream, target.open("xb") as sink:
            # zipfile reads no further than the checked size, and compares the CRC at the end
            shutil.copyfileobj(stream, sink, MIB)
            if sink.tell() != member.file_size:
                raise zipfile.BadZipFile(f"{name} is shorter than announced")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a zip file and check its directory. Raises :class:`ModelError` for damaged and for hostile files."""
    with _BoundedReader(io.FileIO(path)) as stream:
        size = os.fstat(stream.fileno()).st_size
        with _damage_as_model_error(path):
            zip_file = zipfile.ZipFile(stream)
        with zip_file:
            stream.seek(-min(size, END_RECORD_BYTES + len(zip_file.comment)), os.SEEK_END)
            infos = zip_file.infolist()
            fault = "something is appended to it" if stream.read(4) != END_MAGIC else next(_faults(infos, size), None)
            if fault is not None:
                raise ModelError(
                    f"{path.name} is not opened: {fault}. A model package is a zip file of a description and the files "
                    "that it names; download it again from a source that you trust, or pack it again."
                )
            members = {_clean_name(info): info for info in infos if not _is_folder(info)}
            yield Archive(path, members, zip_file)


@contextmanager
def _damage_as_model_error(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ModelError(
            f"{path.name} is a damaged or incomplete zip file ({error}). Download or pack it again."
        ) from error


def check_content(path: Path) -> None:
    """Compare the checksum of every member of a zip file. Raises :class:`ModelError` where a member is damaged.

    A file that is no zip passes.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(ZIP_MAGIC):
            return
    with open_archive(path) as archive, _damage_as_model_error(path):
        damaged = archive.zip_file.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def _faults(infos: list[zipfile.ZipInfo], size: int) -> Iterator[str]:
    """Yield what no honest archive of ``size`` bytes contains."""
    if len(infos) > MAX_MEMBERS:
        yield f"it holds {len(infos)} files, more than {MAX_MEMBERS}"
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_BYTES:
        yield f"unpacked it takes {unpacked / 2**30:.1f} GiB, more than {MAX_BYTES // 2**30}"
    for info in infos:
        yield from _member_faults(info, size)
    if sum(info.compress_size for info in infos) > size:
        yield "its members overlap each other"
    names = Counter(_clean_name(info) for info in infos if not _is_folder(info))
    if "." in names:
        yield "it holds a file without a name"
    for name, count in names.items():
        if count > 1:
            yield f"it holds {name!r} twice, and which of the two is meant cannot be known"
        for parent in map(str, PurePosixPath(name).parents):
            if parent in names:
                yield f"it holds {parent!r} as a file and as a folder"


def _member_faults(info: zipfile.ZipInfo, size: int) -> Iterator[str]:
    name = info.filename
    if info.file_size > max(MIB, MAX_RATIO * info.compress_size):
        yield f"{name!r} grows more than {MAX_RATIO} times when it is unpacked"
    if info.header_offset < 0 or info.header_offset + info.compress_size > size:
        yield f"{name!r} lies outside of the file, which may be cut off"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        yield f"{name!r} is a link or a device, not a file"
    if info.flag_bits & 0x1:
        yield f"{name!r} is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{name!r} is compressed in an unusual way; plain zip (deflate) is read"
    clean = PurePosixPath(_clean_name(info))
    if not all(map(is_file_name, clean.parts)) and not clean.is_absolute():
        yield f"the system takes {name!r} as no name of a file"
    if clean.is_absolute() or PureWindowsPath(name).drive or ".." in clean.parts:
        yield f"{name!r} leads out of the package's folder"


def _is_folder(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(("/", "\\"))


def _clean_name(info: zipfile.ZipInfo) -> str:
    """Return the name with ``/`` between its parts and no ``.`` among them."""
    return str(PurePosixPath(info.filename.replace("\\", "/")))
