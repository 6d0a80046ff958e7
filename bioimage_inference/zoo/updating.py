"""Fetches the descriptions of all models of the zoo, and writes the list of the models that PyTorch can run."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, UsageError, cannot_write
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder
from ..model.safe_yaml import MAX_BYTES, load_yaml
from ..terminal import say
from ..text import parse_json
from .file_download import fetch_bytes, http_client
from .index import Index, read_index, updated_list
from .index_lines import ZOO_ID, Content, Line, index_lines

if TYPE_CHECKING:
    import httpx

_COLLECTION = "bioimage.io/children?limit=10000"
"""Address of the list of all models, beside the addresses of the models (Hypha's artifact manager, November 2026)."""
_MOST_LIST_BYTES = 64 << 20
"""Bytes of the longest list that is read. The list had less than 3 MB in November 2026."""
_AT_ONCE = 8
"""Descriptions that are fetched at the same time. The zoo has some hundred descriptions of 10 kB."""


def update_list() -> tuple[Path, Index]:
    """Fetch the list of today into the cache. Return its place and its models.

    Raises :class:`UsageError` where the zoo cannot be reached, and :class:`OutputError` where the cache cannot be
    written. The earlier list then stays.
    """
    lines = index_lines(published_descriptions())
    if not lines:
        raise UsageError("The BioImage.IO zoo lists no model that PyTorch can run. The earlier list stays. Try later.")
    path = updated_list()
    try:
        make_folder(path.parent)
        write_whole(path, index_text(lines, today()).encode(), noted=False)
    except OSError as error:
        raise cannot_write(f"The list of models {path} cannot be written: {error.strerror or error}.", error) from error
    return path, read_index(path)


def today() -> str:
    """Return the date in UTC, as 2026-11-29."""
    return datetime.now(UTC).date().isoformat()


def index_text(lines: Iterable[Line], date: str) -> str:
    """Return the text of an index: a line with its date, then a line for each description."""
    return "".join(
        json.dumps(line, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")) + "\n"
        for line in ({"date": date}, *lines)
    )


def published_descriptions() -> list[tuple[str, Content]]:
    """Return id and description of each model that is published in the zoo today, sorted by id.

    Standard error names a model without a description. Raises :class:`UsageError` where the zoo cannot be reached.
    """
    import httpx
    from bioimageio.spec import settings

    address_of = settings.collection_http_pattern
    collection = address_of.partition("{bioimageio_id}")[0] + _COLLECTION
    try:
        with http_client() as client, ThreadPoolExecutor(_AT_ONCE) as threads:
            ids = sorted(_listed_models(fetch_bytes(client, collection, _MOST_LIST_BYTES), collection))
            contents = threads.map(lambda one: _description(client, one, address_of.format(bioimageio_id=one)), ids)
            return [(one, content) for one, content in zip(ids, contents, strict=True) if content is not None]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(
            f"The list of models cannot be fetched from {collection} ({str(error) or type(error).__name__}). Check the "
            "network, and run again. The earlier list stays."
        ) from error


def _listed_models(content: bytes, collection: str) -> set[str]:
    try:
        names = [str(item["id"]).rpartition("/")[2] for item in parse_json(content) if item["type"] == "model"]
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"{collection} is no list of models. The environment variable BIOIMAGEIO_COLLECTION_HTTP_PATTERN names "
            "the zoo. The earlier list stays."
        ) from error
    return {name for name in names if ZOO_ID.fullmatch(name)}


def _description(client: "httpx.Client", model_id: str, address: str) -> Content | None:
    """Return the description of a model, ``None`` where it has none that can be read."""
    import httpx

    try:
        content: Any = load_yaml(fetch_bytes(client, address, MAX_BYTES), model_id)
    except httpx.HTTPStatusError as error:
        if error.response.is_server_error:
            raise
        say(f"{model_id}: left out, the server answered {error.response.status_code}", error=True)
        return None
    except ModelError as error:
        say(f"{model_id}: left out. {error}", error=True)
        return None
    if not isinstance(content, Mapping):
        say(f"{model_id}: left out, its file is no description", error=True)
        return None
    return content
