"""Files of an OME-Zarr on a server (https) or in object storage (s3), read through fsspec chunk by chunk.

Chunks are read as zarr asks for them. A cache of bounded size keeps the chunks that neighbouring tiles share. A read
that fails for a passing reason is tried again.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from functools import cache
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from ...errors import ImageError, UsageError
from ...files.typed_path import Address
from ...text import reason_of
from .zarr_files import check_metadata

# Tiles of the network overlap and cross chunks, so the same chunks are soon needed again.
_CACHE_BYTES = 64 << 20
_CONNECT_SECONDS, _READ_SECONDS = 20, 60
# Seconds to wait before each further attempt. A server that is overloaded answers again within seconds.
_PAUSES = (0.2, 1.0)
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # status codes of HTTP that ask for another attempt
_FORBIDDEN = (401, 403)
_NO_KEYS: tuple[str, ...] = ()


@cache
def filesystem(scheme: str) -> Any:
    """Return the file system of fsspec for a protocol, made once, with the credentials that the user's settings name.

    Raises :class:`UsageError` if a library is missing.
    """
    try:
        import aiohttp
        import fsspec

        if scheme == "s3":
            import botocore.session
            import s3fs  # noqa: F401 (fsspec imports it by name)
    except ImportError as error:
        raise UsageError(
            f"Images at addresses need the library {error.name}, which is not installed. Type "
            "pip install 'bioimage_inference[remote]', or download the image."
        ) from error
    if scheme == "s3":
        anonymous = botocore.session.get_session().get_credentials() is None
        settings = {
            "config_kwargs": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS},
            "max_concurrency": 1,  # with more connections for one file, s3fs asks for the size of each file first
        }
        return fsspec.filesystem("s3", anon=anonymous, use_listings_cache=False, **settings)
    limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
    return fsspec.filesystem("https", client_kwargs={"timeout": limits, "trust_env": True}, use_listings_cache=False)


class _RefusedError(ImageError):
    """The server refuses a file. Object storage says so of missing files as well, unless it may list its files."""


class RemoteFiles:
    """The files below an address, for any number of threads. ``refused`` is the last refusal of a small file."""

    def __init__(self, place: Address) -> None:
        self.place = place
        self._files = filesystem(place.scheme)
        self._kept: OrderedDict[tuple[str, int | None, int | None], bytes | None] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self.refused: ImageError | None = None

    def read(self, key: str) -> bytes | None:
        """Return the content of a small file, None if there is none or the server refuses it."""
        try:
            found = self.part(key)
        except _RefusedError as error:
            self.refused = error
            return None
        if found is not None:
            check_metadata(self.place.name, key, len(found))
        return found

    def names(self, _folder: str) -> None:
        """Return None: servers do not list files."""
        return

    def store(self) -> Any:
        """Return the store of zarr."""
        return _RemoteStore(self)

    def close(self) -> None:
        """Forget the kept chunks."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def part(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Return bytes ``start`` to ``stop`` of a file (all by default), None if there is no such file.

        Raises :class:`ImageError` if the server refuses or does not answer.
        """
        wanted = (key, start, stop)
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        found = self._fetched(key, start, stop)
        with self._lock:
            if wanted not in self._kept:
                self._kept[wanted] = found
                self._kept_bytes += len(found or b"")
            while self._kept_bytes > _CACHE_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped or b"")
        return found

    def _fetched(self, key: str, start: int | None, stop: int | None) -> bytes | None:
        address = str(self.place / key) if key else str(self.place)
        for pause in (*_PAUSES, None):
            try:
                return _cut(bytes(self._files.cat_file(address, start=start, end=stop)), start, stop)
            except (FileNotFoundError, IsADirectoryError):
                return None
            except Exception as error:  # of aiohttp, botocore, fsspec: they share no base class
                status = getattr(error, "status", None)
                passing = status in _PASSING or (status is None and not isinstance(error, PermissionError))
                if not passing or pause is None:
                    raise _unreachable(address, error, status) from error
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _cut(found: bytes, start: int | None, stop: int | None) -> bytes:
    """Return the wanted part of an answer. A server that knows no ranges answers with the whole file."""
    if start is None:
        return found
    if stop is None:
        return found[start:] if start < 0 else found
    return found[start:stop] if len(found) > stop - start else found


def _unreachable(address: str, error: Exception, status: int | None) -> ImageError:
    if status in _FORBIDDEN or isinstance(error, PermissionError):
        return _RefusedError(
            f"{address} cannot be read, because the server refuses it ({status or 'no permission'}). Check the address "
            "and your access rights. For s3://, set the credentials as for other programs (AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID)."
        )
    return ImageError(
        f"{address} cannot be read, after {len(_PAUSES) + 1} attempts ({reason_of(error)}). Check the address and the "
        "network connection, and try again, or download the image."
        if status is None or status in _PASSING
        else f"{address} cannot be read: the server answers with an error ({status}). Check the address."
    )


class _RemoteStore(Store):
    """The store of zarr over the files below an address."""

    supports_writes = supports_deletes = supports_listing = False
    supports_partial_writes = False  # zarr before 3.1.2 wants this, and `set_partial_values`

    def __init__(self, files: RemoteFiles) -> None:
        super().__init__(read_only=True)
        self._files = files

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _RemoteStore) and other._files is self._files

    def __hash__(self) -> int:
        return id(self._files)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return a file or a part of it."""
        start = stop = None
        if isinstance(byte_range, RangeByteRequest):
            start, stop = byte_range.start, byte_range.end
        elif isinstance(byte_range, OffsetByteRequest):
            start = byte_range.offset
        elif isinstance(byte_range, SuffixByteRequest):
            start = -byte_range.suffix
        found = await asyncio.to_thread(self._files.part, key, start, stop)
        return None if found is None else prototype.buffer.from_bytes(found)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether there is a file of this name."""
        return await asyncio.to_thread(self._files.part, key) is not None

    async def set(self, _key: str, _value: Buffer) -> None:
        """Raise ValueError, because addresses are only read."""
        self._check_writable()

    async def set_partial_values(self, _parts: object) -> None:
        """Raise ValueError, because addresses are only read."""
        self._check_writable()

    async def delete(self, _key: str) -> None:
        """Raise ValueError, because addresses are only read."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Yield nothing, because servers do not list files."""
        for key in _NO_KEYS:
            yield key

    async def list_prefix(self, _prefix: str) -> AsyncIterator[str]:
        """Yield nothing, because servers do not list files."""
        for key in _NO_KEYS:
            yield key

    async def list_dir(self, _prefix: str) -> AsyncIterator[str]:
        """Yield nothing, because servers do not list files."""
        for key in _NO_KEYS:
            yield key

    def close(self) -> None:
        """Close the store and forget the kept chunks."""
        self._files.close()
        super().close()
