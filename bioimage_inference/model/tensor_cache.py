"""Keeps the tensors of descriptions that ``bioimageio.spec`` validated in a folder of the user.

Its import takes 0.9 s, more than half as long as torch's (2 cores of an Intel Xeon, bioimageio.spec 0.5.12.0). So a
description is validated once, and later runs read a file of some kilobytes.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import OutputError
from ..files.partial_file import write_whole
from ..files.shared_folders import make_folder, read_private, with_status
from ..image import axes
from .tensor_rules import Tensors

_MOST_FILES = 500  # about 2 MB
_MOST_BYTES = 1 << 20  # the largest of the zoo's 95 has 6 kB


@dataclass(frozen=True)
class _KeptTensors:
    """The content of a file. ``key`` is also the name of the file, so a renamed file does not count."""

    key: str
    tensors: Tensors


def cached_tensors(content: Mapping[str, Any], folder: Path, read: Callable[[Mapping[str, Any]], Tensors]) -> Tensors:
    """Return the tensors of a description that ``folder`` keeps, else those of ``read``, which are kept from then on.

    A file counts only where this user alone can have written it. Where the folder cannot be written, nothing is kept.
    Raises the errors of ``read``.
    """
    from pydantic import ValidationError

    key = _key(content)
    path = folder / f"{key}.json"
    with contextlib.suppress(OSError, ValidationError):
        kept: _KeptTensors = _adapter().validate_json(read_private(path, _MOST_BYTES))
        if kept.key == key:
            return kept.tensors
    tensors = read(content)
    with contextlib.suppress(OSError, OutputError):  # the next run validates again
        _keep(path, _KeptTensors(key, tensors))
    return tensors


def _keep(path: Path, kept: _KeptTensors) -> None:
    data = _adapter().dump_json(kept)
    if _adapter().validate_json(data) != kept:  # an argument of an operation that JSON cannot hold
        return
    make_folder(path.parent)
    write_whole(path, data, noted=False, mode=0o600)
    written = {file: status.st_mtime for file, status in with_status(path.parent.glob("*.json"))}
    for file in sorted(written, key=written.__getitem__)[:-_MOST_FILES]:
        file.unlink(missing_ok=True)


def _key(content: Mapping[str, Any]) -> str:
    """Return a hash of the description and of all programs that read it."""
    return hashlib.sha256(f"{_readers()}\n{content!r}".encode(errors="surrogatepass")).hexdigest()


@cache
def _readers() -> str:
    code = hashlib.sha256()
    for path in (
        *sorted(Path(__file__).parent.glob("*.py")),
        Path(axes.__file__),
    ):  # a checkout changes between versions
        code.update(path.read_bytes())
    libraries = (version(name) for name in ("bioimageio.spec", "pydantic"))
    return " ".join((__version__, *libraries, code.hexdigest()))


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_KeptTensors)
