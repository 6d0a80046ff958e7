"""Brings a model of the zoo into the cache of ``bioimageio.spec``, once for all processes that ask for it.

Each version of a model has a folder there, ``bioimage-inference/ID/VERSION-HASH``, which gets its name when all files
are in it. A model that is there is used without asking the zoo: results stay the same, also without a network. Its
files are compared with their hashes on each use.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from ..errors import ModelError, UsageError, cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder
from ..files.temporary_names import new_mark
from ..files.typed_path import is_address
from ..model.description import read_description
from ..model.package import file_sha256
from ..model.safe_yaml import MAX_BYTES, load_yaml
from ..model.spec import ModelSpec
from ..terminal import say
from ..text import for_file_name
from .checksums import damaged_file, folder_name, write_model_checksums
from .download_progress import Show, shown
from .fetching import fetch_bytes, fetch_file, http_client
from .index import Index
from .model_files import File, package_files, with_local_names
from .names import ZooName
from .typed import did_you_mean

if TYPE_CHECKING:
    import httpx

_UNFINISHED = ".incomplete"
_DAMAGED = ".damaged"
_OTHER_WAY = (
    "Or download the model's package at bioimage.io (Download → package), on another computer if need be, and give the "
    "zip file."
)


def zoo_model(name: ZooName, index: Index, offline: bool = False) -> Path:
    """The folder with a model's files, downloaded if it is not in the cache; ``offline`` forbids that.

    ``index`` knows the ids of DOIs. Raises :class:`UsageError` where there is no such model, or no way to get it here,
    :class:`OutputError` where the cache cannot be written, :class:`ModelError` where the model cannot be understood or
    its files are not those that the description means; with ``offline`` also where cached files are damaged.
    """
    from bioimageio.spec import settings

    model_id = name.id or _id_of_doi(name, index)
    home = settings.cache_path / "bioimage-inference" / model_id
    address = settings.collection_http_pattern.format(bioimageio_id=model_id)
    try:
        cached = _cached(home, name.version)
        damaged = None if cached is None else damaged_file(cached)
        if cached is not None and damaged is None:
            return cached
        if offline:
            raise _unavailable(name, model_id, index, address, cached or home, damaged)
        if damaged is not None:
            say(f"[{model_id}] {damaged} in the cache was changed or damaged; downloading the model again", error=True)
        with _locked(home, model_id):
            cached = _cached(home, name.version)  # another run may have brought it
            if cached is not None and damaged_file(cached) is None:
                return cached
            return _download(name, model_id, index, home, address)
    except OSError as error:
        raise cannot_write(
            f"The model {model_id} cannot be put into the cache {home}: {error.strerror or error}. Make room there, or "
            "name a folder that can be written in the environment variable BIOIMAGEIO_CACHE_PATH.",
            error,
        ) from error


def _id_of_doi(name: ZooName, index: Index) -> str:
    entry = index.with_doi(name.doi or "")
    if entry is None:
        raise UsageError(
            f"No model with the DOI {name.typed} is known here. Look it up at bioimage.io, and give the name that it "
            "has there (such as affable-shark) or its package (Download → package)."
        )
    return entry.id


def _cached(home: Path, version: str | None) -> Path | None:
    """The folder of that version, else the one that was downloaded last."""
    named = home.glob(f"{version or '*'}-*")
    found = [folder for folder in named if folder.suffix not in (_UNFINISHED, _DAMAGED)]
    return max(found, key=lambda folder: folder.stat().st_mtime_ns, default=None)


def _unavailable(
    name: ZooName, model_id: str, index: Index, address: str, place: Path, damaged: str | None
) -> UsageError | ModelError:
    """The error for a model that is not in the cache at ``place``, or has a ``damaged`` file there, with --offline."""
    if damaged is not None:
        return ModelError(
            f"The file {damaged} of the model {name.typed} in the cache ({place}) is missing or not as it was "
            "downloaded: it was changed or damaged. Run once without --offline to download the model again."
        )
    entry, files = index.current().get(model_id), "the files that it names"
    if entry is not None:
        files = ", ".join(dict.fromkeys(str(one["source"]) for one in (*entry.weights.values(), *entry.files())))
    return UsageError(
        f"{_unknown(name, model_id, index)}The model {name.typed} is not in the cache ({place}), and --offline "
        f"forbids to download it. Its description would have been fetched from {address}, and with it {files}. Run "
        f"once without --offline. {_OTHER_WAY}"
    )


@contextmanager
def _locked(home: Path, model_id: str) -> Iterator[None]:
    """Let one process at a time work on a model."""
    from filelock import FileLock, Timeout

    make_folder(home)
    path = home / ".lock"
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    status = os.fstat(descriptor)
    os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise PermissionError(errno.EPERM, f"{path.name} is no lock of this program", str(path))
    lock = FileLock(path, mode=stat.S_IMODE(status.st_mode))  # without a mode it would overrule the umask
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"[{model_id}] another run is downloading it; waiting", error=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(name: ZooName, model_id: str, index: Index, home: Path, address: str) -> Path:
    import httpx

    current = address  # of what is fetched, for the message
    try:
        with http_client() as client:
            content = fetch_bytes(client, address, MAX_BYTES)
            description, spec = _read(content, model_id, name.version)
            files = package_files(description, spec)
            content = with_local_names(content, files)
            folder = home / folder_name(_label(spec), content)
            unfinished = folder.with_name(folder.name + _UNFINISHED)
            with shown(model_id, urlsplit(address).netloc) as show:
                for file in files:
                    current = file.source if is_address(file.source) else urljoin(address, quote(file.name))
                    _fetch(client, file, current, unfinished, show)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(_failed(error, name, model_id, current, index, is_model=current == address)) from error
    make_folder(unfinished)
    write_whole(unfinished / "rdf.yaml", content, noted=False)
    write_model_checksums(unfinished)
    _remove_damaged(folder)
    return unfinished.replace(folder)


def _remove_damaged(folder: Path) -> None:
    """Remove what is in the way of a model that was downloaded again; a run that reads it keeps what it has open."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}.{new_mark()}{_DAMAGED}")), ignore_errors=True)


def _read(content: bytes, model_id: str, version: str | None) -> tuple[Mapping[str, Any], ModelSpec]:
    """The description, once it is clear that the model can be used, and is the one asked for."""
    description = load_yaml(content, f"The description of {model_id}")
    if not isinstance(description, Mapping):
        raise ModelError(f"What the zoo has as {model_id} is no description of a model.")
    spec = read_description(description, Path())
    if version not in (None, spec.version):
        raise UsageError(
            f"The zoo offers version {spec.version} of {model_id}, not {version}. Give {model_id}/{spec.version}, or "
            f"get the package of version {version} at bioimage.io."
        )
    return description, spec


def _label(spec: ModelSpec) -> str:
    return for_file_name(spec.version or "unversioned")[:40]


def _fetch(client: "httpx.Client", file: File, address: str, folder: Path, show: Show) -> None:
    """Bring a file into the folder, if an earlier run did not; one that is not needed may be missing or changed."""
    import httpx

    path = folder / file.name
    if _is_there(path, file.sha256) or _copied(file, path):
        return
    try:
        fetch_file(client, address, path, file.sha256, show(file.name))
    except (httpx.HTTPStatusError, ModelError) as error:
        if file.needed:
            raise
        reason = error if isinstance(error, ModelError) else f"{address} answered {error.response.status_code}"
        say(f"{file.name} is left out: {reason}", error=True)


def _is_there(path: Path, sha256: str | None) -> bool:
    """Whether an earlier run brought the file; whatever else has its name is removed."""
    if not os.path.lexists(path):
        return False
    if path.is_file() and not path.is_symlink() and sha256 in (None, file_sha256(path)):
        return True
    path.unlink()
    return False


def _copied(file: File, path: Path) -> bool:
    """Take a file that ``bioimageio.spec`` or ``bioimageio.core`` downloaded, if there is one."""
    from bioimageio.spec import settings

    if file.sha256 is None or not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
        return False
    for found in filter(Path.is_file, settings.cache_path.glob(f"entry__url_*_contents_{file.sha256}")):
        make_folder(path.parent)
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with found.open("rb") as content, part.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        if file_sha256(part) == file.sha256:
            part.replace(path)
            return True
        part.unlink()
    return False


def _unknown(name: ZooName, model_id: str, index: Index) -> str:
    """What to say first where the user may have meant a file or another model."""
    if model_id in index.current():
        return ""
    meant = did_you_mean(name.typed, index)
    return f"There is no file or folder {name.typed}, nor a model of that name among those known here.{meant} "


def _failed(error: Exception, name: ZooName, model_id: str, address: str, index: Index, is_model: bool) -> str:
    """Why the download failed, and what to do."""
    import httpx

    if not isinstance(error, httpx.HTTPStatusError):
        return (
            f"{_unknown(name, model_id, index)}The model {model_id} is not here yet and cannot be downloaded: there "
            f"is no connection to {address} ({str(error) or type(error).__name__}). Check the network, and run again: "
            f"what has arrived is kept. {_OTHER_WAY}"
        )
    status = error.response.status_code
    if is_model and status in (400, 403, 404, 410):
        return (
            f"{_unknown(name, model_id, index)}The BioImage.IO zoo has no model {model_id}: {address} answered "
            f"{status}. `bioimage-inference models` lists the models that are known here."
        )
    return (
        f"The model {model_id} cannot be downloaded: {address} answered {status} {error.response.reason_phrase}. "
        f"Try again later. {_OTHER_WAY}"
    )
