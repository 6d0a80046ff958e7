"""Recognises the kind of a file by its content, and by its name only where the content decides nothing."""

import codecs
import re
from pathlib import Path

from .containers import container_kind
from .file_kind import FileKind
from .general_formats import general_kind, text_kind
from .networks import PICKLE, is_pickle, network_kind
from .vendor_formats import vendor_kind

_CONTROL = re.compile(rb"[^\x09\x0a\x0c\x0d\x20-\xff]")


def recognised_kind(path: Path, start: bytes) -> FileKind | None:
    """Return the kind of a file that is neither read as an image nor as a model, ``None`` for an unknown kind.

    ``start`` are the first 1024 bytes of the file. A zip is of no kind here, see
    :func:`~bioimage_inference.file_kinds.containers.zip_kind`. Raises OSError.
    """
    if is_text(start):
        return vendor_kind(start) or text_kind(start)
    kind = container_kind(path, start) or general_kind(start) or network_kind(path, start) or vendor_kind(start)
    return PICKLE if kind is None and is_pickle(start) else kind


def is_text(start: bytes) -> bool:
    """Return whether the first bytes of a file are text in UTF-8, without control characters."""
    if _CONTROL.search(start):
        return False
    try:
        # Incremental decoding accepts a letter that is cut at the end of the first bytes.
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
