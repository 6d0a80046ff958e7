"""Errors for files that no reader opens: they name the format if it can be recognised, and the way out."""

import codecs
from pathlib import Path

from ...errors import ImageError

EXPORT_ADVICE = "Open it in Fiji (Bio-Formats reads most microscope formats) and save it as TIFF or OME-TIFF."
SUPPORTED = "Give a TIFF, OME-Zarr, PNG, JPEG or .npy file."
# Offset and first bytes of formats that are not read, and the words for them.
_FOREIGN = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (such as Imaris, ilastik or BigDataViewer write)"),
    (0, b"ZISRAWFILE", "a Zeiss CZI file"),
    (0, b"\xda\xce\xbe\x0a", "a Nikon ND2 file"),
    (0, b"\x70\x00\x00\x00\x2a", "a Leica LIF file"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Olympus OIB or ZVI file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"NRRD", "an NRRD file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (0, b"%PDF", "a PDF document"),
)
_PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"7z\xbc\xaf", "7-Zip"), (b"Rar!", "RAR"))


def plain_start(start: bytes) -> bytes:
    """Return the first bytes of a text in lower case, without byte order mark and empty lines."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def unreadable(path: Path, start: bytes) -> ImageError:
    """Return the error for a file that no reader opens; ``start`` are its first bytes."""
    for offset, mark, kind in _FOREIGN:
        if start[offset:].startswith(mark):
            return ImageError(f"{path.name} is {kind}, which is not read here. {EXPORT_ADVICE}")
    for mark, packer in _PACKED:
        if start.startswith(mark):
            return ImageError(f"{path.name} is packed with {packer}. Unpack it and give the image inside.")
    if plain_start(start).startswith((b"<!doctype html", b"<html")):
        return ImageError(
            f"{path.name} is a web page, not an image: the download has probably failed or asked for a login. "
            "Download the file again and look at it in a browser."
        )
    if b"\0" in start:
        return ImageError(f"{path.name} is no image of a known kind: it starts with {start[:8]!r}. {EXPORT_ADVICE}")
    try:
        # Incremental decoding accepts a letter that is cut at the end of the first bytes.
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError as error:
        return ImageError(f"{path.name} is no image of a known kind ({error.reason}). {SUPPORTED}")
    return ImageError(f"{path.name} is a text file, not an image. {SUPPORTED}")
