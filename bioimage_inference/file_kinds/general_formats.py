"""Movies, archives, documents, tables and other files that people take for an image, by their first bytes."""

import csv
import re

from .file_kind import FileKind, Signature, has_signature
from .vendor_formats import SAVE_AS_TIFF

_ORIGINAL = "Give the file that the microscope or its program wrote"
_FRAMES = {"AVI": f"open the movie in Fiji, and {SAVE_AS_TIFF}"}
_OTHER_FRAMES = "make pictures of its frames, for example with `ffmpeg -i MOVIE frame_%04d.png`, and give the pictures"
_UNPACK = "Unpack it, and give the file or folder that is inside"
_PICTURE_IN_DOCUMENT = f"A document holds small copies of pictures, without pixel sizes. {_ORIGINAL}."
_PHOTO = "Open it in a program for photos, and save it as TIFF or PNG."

_MOVIES: tuple[tuple[str, Signature], ...] = (
    ("AVI", {0: b"RIFF", 8: b"AVI "}),
    ("Matroska or WebM", {0: b"\x1a\x45\xdf\xa3"}),
    ("MPEG", {0: b"\0\0\x01\xba"}),
    ("MPEG", {0: b"\0\0\x01\xb3"}),
    ("WMV", {0: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"}),
    ("FLV", {0: b"FLV\x01"}),
    ("QuickTime, MOV", {4: b"moov"}),
    ("QuickTime, MOV", {4: b"mdat"}),
    ("QuickTime, MOV", {4: b"wide"}),
)
_ARCHIVES: tuple[tuple[str, Signature], ...] = (
    ("a 7z archive", {0: b"7z\xbc\xaf\x27\x1c"}),
    ("a RAR archive", {0: b"Rar!"}),
    ("a tar archive", {257: b"ustar"}),
    ("a bzip2 file", {0: b"BZh"}),
    ("an xz file", {0: b"\xfd7zXZ\0"}),
    ("a Zstandard file", {0: b"\x28\xb5\x2f\xfd"}),
    ("an lz4 file", {0: b"\x04\x22\x4d\x18"}),
)
_DICOM: Signature = {128: b"DICM"}
_OTHERS: tuple[tuple[Signature, FileKind], ...] = (
    ({0: b"%PDF"}, FileKind("a PDF document", _PICTURE_IN_DOCUMENT)),
    ({0: b"%!PS"}, FileKind("a PostScript document", _PICTURE_IN_DOCUMENT)),
    ({0: b"{\\rtf"}, FileKind("a text document (RTF)", _PICTURE_IN_DOCUMENT)),
    ({0: b"8BPS"}, FileKind("a Photoshop file", "Open it in Photoshop or Fiji, and save it as TIFF.", "image")),
    ({0: b"gimp xcf"}, FileKind("a GIMP file", "Open it in GIMP, and export it as TIFF.", "image")),
    (
        _DICOM,
        FileKind(
            "a DICOM file", f"Open it in Fiji (a series: File > Import > Image Sequence), and {SAVE_AS_TIFF}.", "image"
        ),
    ),
    (
        {0: b"MATLAB 5.0 MAT"},
        FileKind("a MATLAB file", "Write the array as TIFF in MATLAB, for example with imwrite."),
    ),
    ({0: b"Iout"}, FileKind("a region of interest of ImageJ", "Give the image on which it was drawn.")),
    (
        {0: b"SQLite format 3"},
        FileKind("a database (SQLite)", "Export the image from the program that wrote the database."),
    ),
    ({0: b"PAR1"}, FileKind("a table (Parquet)", "Give the image that the table belongs to.")),
    (
        {0: b"\x00\x05\x16\x07"},
        FileKind(
            "a hidden file of macOS, which only belongs to the file that it is named after",
            "Give the file without ._ in front of its name.",
            "another file",
        ),
    ),
    ({0: b"\x7fELF"}, FileKind("a program for Linux", f"{_ORIGINAL}.")),
)
# Brands of ISO media files, which begin with the size of a box and "ftyp".
_PHOTO_BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"crx ": "Canon CR3",
}
_POINTERS = (
    (b"version https://git-lfs", "Git LFS", "git lfs pull"),
    (b"/annex/objects/", "git-annex", "git annex get"),
)


def general_kind(start: bytes) -> FileKind | None:
    """Return the kind of a binary file by its first 1024 bytes, and ``None`` for a file of another kind."""
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        if brand in _PHOTO_BRANDS:
            return FileKind(f"a photo ({_PHOTO_BRANDS[brand]})", _PHOTO, "image")
        return _movie("QuickTime, MOV" if brand == b"qt  " else "MP4")
    for name, signature in _MOVIES:
        if has_signature(start, signature):
            return _movie(name)
    for words, signature in _ARCHIVES:
        if has_signature(start, signature):
            return archive_kind(words)
    return next((kind for signature, kind in _OTHERS if has_signature(start, signature)), None)


def is_dicom(start: bytes) -> bool:
    """Return whether a file is DICOM, by its first bytes."""
    return has_signature(start, _DICOM)


def archive_kind(words: str) -> FileKind:
    """Return the kind of an archive, which ``words`` name with an article."""
    command = "tar -xf" if "tar" in words else "gunzip" if "gzip" in words else "7z x"
    return FileKind(words, f"{_UNPACK}: {command} FILE, or a double click in most file managers.", "another file")


def document_kind(words: str) -> FileKind:
    """Return the kind of an office document, which ``words`` name with an article."""
    if "workbook" in words:
        return FileKind(words, "Give the image that the table belongs to. A list of images is read as CSV.")
    return FileKind(words, _PICTURE_IN_DOCUMENT)


def text_kind(start: bytes) -> FileKind | None:
    """Return the kind of a text by its first 1024 bytes, and ``None`` for a text without a known form."""
    plain = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = plain.lower()
    for mark, program, command in _POINTERS:
        if plain.startswith(mark):
            return FileKind(
                f"a pointer of {program} to a file that is not here",
                f"Fetch the file itself: {command}, in the folder of the repository.",
                "another file",
            )
    if lower.startswith((b"<!doctype html", b"<html")) or (lower.startswith(b"<?xml") and b"<html" in lower):
        return FileKind(
            "a web page",
            "The download has probably failed or asked for a login. Download the file again, and look at it in a "
            "browser.",
            "another file",
        )
    if lower.startswith(b"<svg") or (lower.startswith(b"<?xml") and b"<svg" in lower):
        return FileKind("a drawing (SVG)", "Drawings have no pixels. Give the image that was drawn on.")
    if lower.startswith(b"<?xml"):
        return FileKind("a text file (XML)", "Give the image that it describes.")
    if plain.startswith(b'"NDInfoFile"'):
        return FileKind(
            "a text file (MetaMorph ND, a list of other files)", "Give the .stk or .tif files that it lists."
        )
    return _data_text(plain)


def _movie(name: str) -> FileKind:
    frames = _FRAMES.get(name, _OTHER_FRAMES)
    lossy = "Movies are compressed, so measured intensities are not exact."
    return FileKind(f"a movie ({name})", f"{_ORIGINAL}. If there is no such file, {frames}. {lossy}")


def _data_text(plain: bytes) -> FileKind | None:
    """Return the kind of a text that holds a table or JSON, else ``None``."""
    text = plain.decode("utf-8", "replace")
    if re.match(r'[\[{]\s*["\[{\d]', text):
        return FileKind("a text file (JSON)", "Give the image that it describes.")
    lines = text.splitlines()[:-1] if len(text) > 900 else text.splitlines()  # the last line may be cut
    for delimiter, name in ((",", "CSV"), ("\t", "TSV"), (";", "CSV")):
        widths = {len(row) for row in csv.reader(lines[:5], delimiter=delimiter)}
        if len(lines) > 1 and len(widths) == 1 and widths.pop() > 1:
            return FileKind(f"a text file (a table, {name})", "Give the image that the table belongs to.")
    return None
