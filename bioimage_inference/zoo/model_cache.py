"""The cache of zoo models, in the cache folder of ``bioimageio.spec``. Processes that need one model share a download.

Each version of a model has a folder ``bioimage-inference/ID/VERSION-HASH``, which gets its name when all files are
complete. A cached model is used without a request to the zoo, so results stay the same, also without a network. Every
use compares the files with their hashes.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from ..errors import ModelError, NotPermittedError, UsageError, cannot_write
from ..files.cache_folder import own_cache_folder
from ..files.partial_file import write_whole
from ..files.shared_folders import exclusive_lock, make_folder, with_status
from ..files.system_calls import give_name, is_plain_folder
from ..files.temporary_names import is_own, new_mark
from ..files.typed_path import is_address
from ..model.description import read_description
from ..model.package import file_sha256
from ..model.safe_yaml import MAX_BYTES, load_yaml
from ..model.spec import ModelSpec
from ..terminal import say
from ..text import for_file_name
from .file_download import Progress, description_address, download_progress, fetch_bytes, fetch_file, http_client
from .index import Index
from .model_files import (
    DESCRIPTION,
    File,
    damaged_file,
    folder_name,
    package_files,
    with_local_names,
    write_model_checksums,
)
from .names import ZooName, did_you_mean

if TYPE_CHECKING:
    import httpx

_UNFINISHED = ".incomplete"
_DAMAGED = ".damaged"
_OTHER_WAY = (
    "Or download the model's package at bioimage.io (Download → package), on another computer if necessary, and give "
    "the zip file."
)


def zoo_model(name: ZooName, index: Index, offline: bool = False) -> Path:
    """Return the folder of a zoo model. Downloads the model where it is not in the cache, unless ``offline``.

    ``index`` gives the ids of DOIs. Raises :class:`UsageError` where the model does not exist or cannot be downloaded,
    :class:`OutputError` where the cache cannot be written, :class:`ModelError` where the model is not understood or its
    files have other hashes than the description; with ``offline`` also where cached files are damaged.
    """
    model_id = name.id or _id_of_doi(name, index)
    home = own_cache_folder() / model_id
    try:
        cached = _cached(home, name.version)
        damaged = None if cached is None else damaged_file(cached)
        if cached is not None and damaged is None:
            return cached
        address = description_address(model_id)
        if offline:
            raise _offline_error(name, model_id, index, address, cached or home, damaged)
        if damaged is not None:
            say(f"[{model_id}] {damaged} in the cache was changed or damaged; downloading the model again", error=True)
        make_folder(home)
        waiting = f"[{model_id}] another run is downloading it; waiting"
        with exclusive_lock(home / ".lock", lambda: say(waiting, error=True)):
            cached = _cached(home, name.version)  # the other run may have downloaded it
            if cached is not None and damaged_file(cached) is None:
                return cached
            return _download(name, model_id, index, home, address)
    except OSError as error:
        raise cannot_write(
            f"The model {model_id} cannot be put into the cache {home}: {error.strerror or error}. Free some space "
            "there, or name a folder that can be written in the environment variable BIOIMAGEIO_CACHE_PATH.",
            error,
        ) from error


def newest_version(name: ZooName, index: Index, offline: bool = False) -> tuple[ZooName, bytes]:
    """Return the name of a zoo model with its id and version, and the description that its folder has or would have.

    Asks the zoo for its current version, unless ``name`` has a version that is in the cache. With ``offline``, the
    version that was downloaded last counts. Raises the errors of :func:`zoo_model`.
    """
    model_id = name.id or _id_of_doi(name, index)
    version, content = name.version, None
    if not offline and (version is None or not is_cached(model_id, version)):
        address = description_address(model_id)
        with http_client() as client, _in_our_words(name, model_id, index, address):
            content = fetch_bytes(client, address, MAX_BYTES)
        description, spec = _checked_description(content, model_id, version)
        version, content = spec.version, with_local_names(content, package_files(description, spec))
    if content is None or is_cached(model_id, version):
        content = (zoo_model(replace(name, version=version), index, offline) / DESCRIPTION).read_bytes()
        version = _checked_description(content, model_id, version)[1].version
    return ZooName(model_id, version, typed=name.typed), content


def is_cached(model_id: str, version: str | None = None) -> bool:
    """Return whether the files of a model, in this version or any, are in the cache."""
    return _cached(own_cache_folder() / model_id, version) is not None


def _id_of_doi(name: ZooName, index: Index) -> str:
    entry = index.with_doi(name.doi or "")
    if entry is None:
        raise UsageError(
            f"No model with the DOI {name.typed} is known here. Look it up at bioimage.io, and give its name there "
            "(such as affable-shark) or its package (Download → package)."
        )
    return entry.id


def _cached(home: Path, version: str | None) -> Path | None:
    """Return the folder of this version; without a version, the folder of the latest download."""
    found = [path for path in home.glob(f"{version or '*'}-*") if path.suffix not in (_UNFINISHED, _DAMAGED)]
    downloaded = {path: status.st_mtime_ns for path, status in with_status(found)}
    return max(downloaded, key=downloaded.__getitem__, default=None)


def _download(name: ZooName, model_id: str, index: Index, home: Path, address: str) -> Path:
    with http_client() as client:
        with _in_our_words(name, model_id, index, address):
            content = fetch_bytes(client, address, MAX_BYTES)
        description, spec = _checked_description(content, model_id, name.version)
        files = package_files(description, spec)
        content = with_local_names(content, files)
        folder = home / folder_name(for_file_name(spec.version or "unversioned")[:40], content)
        unfinished = folder.with_name(folder.name + _UNFINISHED)
        with download_progress(model_id, urlsplit(address).netloc) as progress_of:
            for file in files:
                _make_own_folder((unfinished / file.name).parent, unfinished)
                source = file.source if is_address(file.source) else urljoin(address, quote(file.name))
                with _in_our_words(name, model_id, index, source, is_model=False):
                    _fetch(client, file, source, unfinished / file.name, progress_of(file.name))
    _make_own_folder(unfinished, unfinished)
    write_whole(unfinished / DESCRIPTION, content, noted=False)
    write_model_checksums(unfinished)
    _remove_damaged(folder)
    give_name(unfinished, folder)
    return folder


def _make_own_folder(folder: Path, unfinished: Path) -> None:
    """Make ``folder``, which is the folder of an ``unfinished`` download or lies inside of it, where it does not exist.

    Other users can predict these names, and files below a link would be deleted or replaced. Raises
    :class:`NotPermittedError` for a link, and for anything else that is no folder of this user.
    """
    for path in reversed([folder, *folder.parents][: len(folder.relative_to(unfinished.parent).parts)]):
        with suppress(FileExistsError):
            path.mkdir()
        is_folder = is_plain_folder(path)
        if not is_folder or not is_own(path.lstat()):
            found = "a folder of another user" if is_folder else "a link" if path.is_symlink() else "no folder"
            raise NotPermittedError(
                f"The download into {path} was refused: this is {found}, and somebody may have put it there to reach "
                "your files. Remove it, or have its owner remove it, and run again. Or name a cache folder of your own "
                "in the environment variable BIOIMAGEIO_CACHE_PATH."
            )


@contextmanager
def _in_our_words(name: ZooName, model_id: str, index: Index, address: str, *, is_model: bool = True) -> Iterator[None]:
    """Raise :class:`UsageError` where a download in the block fails. ``is_model``: of the model's description."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(_failure(error, name, model_id, address, index, is_model)) from error


def _checked_description(content: bytes, model_id: str, version: str | None) -> tuple[Mapping[str, Any], ModelSpec]:
    """Return a description and its facts. Raises an error for a model that cannot run, and for another version."""
    description = load_yaml(content, f"The description of {model_id}")
    if not isinstance(description, Mapping):
        raise ModelError(f"The file of the zoo for {model_id} is no description of a model.")
    spec = read_description(description, Path())
    if version not in (None, spec.version):
        raise UsageError(
            f"The zoo offers version {spec.version} of {model_id}, not {version}. Give {model_id}/{spec.version}, or "
            f"download the package of version {version} at bioimage.io."
        )
    return description, spec


def _fetch(client: "httpx.Client", file: File, address: str, path: Path, progress: Progress) -> None:
    """Download a file to ``path``, if no earlier run did. A file that is not needed may be missing or changed."""
    import httpx

    if _is_complete(path, file.sha256) or _copied(file, path):
        return
    try:
        fetch_file(client, address, path, file.sha256, progress)
    except (httpx.HTTPStatusError, ModelError) as error:
        if file.needed:
            raise
        reason = error if isinstance(error, ModelError) else f"{address} answered {error.response.status_code}"
        say(f"{file.name} is left out: {reason}", error=True)


def _is_complete(path: Path, sha256: str | None) -> bool:
    """Return whether an earlier run downloaded the file. Removes anything else with its name."""
    if not os.path.lexists(path):
        return False
    if path.is_file() and not path.is_symlink() and sha256 in (None, file_sha256(path)):
        return True
    path.unlink()
    return False


def _copied(file: File, path: Path) -> bool:
    """Copy a file that ``bioimageio.spec`` downloaded into its own cache, and return whether it had an intact copy.

    The names of files in that cache are private to bioimageio.spec; tested with 0.5.12.0.
    """
    if file.sha256 is None or not re.fullmatch(r"[0-9a-f]{64}", file.sha256):
        return False
    for found in filter(Path.is_file, own_cache_folder().parent.glob(f"entry__url_*_contents_{file.sha256}")):
        make_folder(path.parent)
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        with found.open("rb") as content, part.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        if file_sha256(part) == file.sha256:
            give_name(part, path)
            return True
        part.unlink()
    return False


def _remove_damaged(folder: Path) -> None:
    """Remove a damaged model, which has the final name of the new one. Runs that read it keep their open files."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        damaged = folder.with_name(f"{folder.name}.{new_mark()}{_DAMAGED}")
        give_name(folder, damaged)
        shutil.rmtree(damaged, ignore_errors=True)


def _offline_error(
    name: ZooName, model_id: str, index: Index, address: str, place: Path, damaged: str | None
) -> UsageError | ModelError:
    """Return the error for a model that --offline cannot use: it is not in the cache, or has a ``damaged`` file."""
    if damaged is not None:
        return ModelError(
            f"The file {damaged} of the model {name.typed} in the cache ({place}) is missing, or was changed or "
            "damaged after its download. Run once without --offline to download the model again."
        )
    entry, files = index.current().get(model_id), "the files that it names"
    if entry is not None:
        files = ", ".join(dict.fromkeys(str(one["source"]) for one in (*entry.weights.values(), *entry.code_files())))
    return UsageError(
        f"{_unknown(name, model_id, index)}The model {name.typed} is not in the cache ({place}), and --offline "
        f"forbids its download: {address}, and with it {files}. Run once without --offline. {_OTHER_WAY}"
    )


def _unknown(name: ZooName, model_id: str, index: Index) -> str:
    """Return a first sentence for a name that may mean a file or another model; empty for a known model."""
    if model_id in index.current():
        return ""
    meant = did_you_mean(name.typed, index)
    return f"There is no file or folder {name.typed}, and no known model has this name.{meant} {index.age_in_words} "


def _failure(error: Exception, name: ZooName, model_id: str, address: str, index: Index, is_model: bool) -> str:
    """Return the message for a failed download. ``is_model``: the description of the model failed, not a file."""
    import httpx

    if not isinstance(error, httpx.HTTPStatusError):
        return (
            f"{_unknown(name, model_id, index)}The model {model_id} is not in the cache and cannot be downloaded: "
            f"there is no connection to {address} ({str(error) or type(error).__name__}). Check the network, and "
            f"run again: what has arrived is kept. {_OTHER_WAY}"
        )
    status = error.response.status_code
    if is_model and status in (400, 403, 404, 410):
        return (
            f"{_unknown(name, model_id, index)}The BioImage.IO zoo has no model {model_id}: {address} answered "
            f"{status}. `bioimage-inference models` lists the known models."
        )
    return (
        f"The model {model_id} cannot be downloaded: {address} answered {status} {error.response.reason_phrase}. "
        f"Try again later. {_OTHER_WAY}"
    )
