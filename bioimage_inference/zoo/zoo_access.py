"""Whether models of the zoo can be had here: the cache folder, and the connection to the zoo."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..files.cache_folder import own_cache_folder
from ..files.shared_folders import with_status
from .file_download import description_address, http_client

_PROBE = "affable-shark"
"""The model whose description is asked for: the nuclei model of the README."""
_SECONDS = 10.0
"""A connection that takes longer than this counts as none. Runs wait as long as bioimageio.spec is set to."""


@dataclass(frozen=True)
class CacheFolder:
    """The folder of the cache, and the number and bytes of the models in it.

    ``problem`` is the reason why no file can be written there, or empty.
    """

    folder: Path
    models: int
    size: int
    problem: str


@dataclass(frozen=True)
class Connection:
    """The address of the zoo, and the seconds until it answered. ``problem`` is the reason for no answer, or empty."""

    address: str
    seconds: float
    problem: str


def cache_folder() -> CacheFolder:
    """Return the facts of the cache. Makes no folder."""
    home = own_cache_folder()
    folder = home.parent
    models, size = 0, 0
    for place, _, names in os.walk(home):
        models += "rdf.yaml" in names
        size += sum(status.st_size for _, status in with_status(Path(place, name) for name in names))
    existing = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            problem = ""
    except OSError as error:
        problem = error.strerror or str(error)
    return CacheFolder(folder, models, size, problem)


def connection() -> Connection:
    """Ask the zoo for the description of a model, and return how that went."""
    import httpx

    address = description_address(_PROBE)
    start = time.perf_counter()
    problem = ""
    try:
        with http_client() as client, client.stream("GET", address, timeout=_SECONDS) as response:
            if not response.is_success:
                problem = f"it answered {response.status_code} {response.reason_phrase}".rstrip()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = f"there is no connection ({str(error) or type(error).__name__})"
    return Connection(address, time.perf_counter() - start, problem)
