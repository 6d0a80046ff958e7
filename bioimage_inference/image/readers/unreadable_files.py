"""Errors for files that no reader opens: they name the kind of the file if it can be recognised, and the way out."""

from pathlib import Path

from ...errors import ImageError
from ...file_kinds.file_kind import FileKind
from ...file_kinds.recognition import is_text, recognised_kind
from ...file_kinds.vendor_formats import EXPORT_ADVICE

SUPPORTED = "Give a TIFF, OME-Zarr, PNG, JPEG or .npy file."


def plain_start(start: bytes) -> bytes:
    """Return the first bytes of a text in lower case, without byte order mark and empty lines."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def unreadable(path: Path, start: bytes) -> ImageError:
    """Return the error for a file that no reader opens; ``start`` are its first bytes."""
    kind = recognised_kind(path, start)
    if kind is not None:
        return no_image(path.name, kind)
    if is_text(start):
        return ImageError(f"{path.name} is a text file, not an image. {SUPPORTED}")
    if b"\0" in start:
        return ImageError(f"{path.name} is no image of a known kind: it starts with {start[:8]!r}. {EXPORT_ADVICE}")
    return ImageError(f"{path.name} is no image of a known kind. {SUPPORTED}")


def no_image(name: str, kind: FileKind) -> ImageError:
    """Return the error for a file of a recognised kind that is given as an image."""
    match kind.content:
        case "image":
            return ImageError(f"{name} is {kind.words}, which is not read here. {kind.next_step}")
        case "network":
            return ImageError(f"{name} is {kind.words}, not an image; the order is MODEL IMAGE. {SUPPORTED}")
        case _:
            return ImageError(f"{name} is {kind.words}, not an image. {kind.next_step}")
