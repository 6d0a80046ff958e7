"""The table of microscopes' own formats that are not read, and the way from them to a format that is read.

A format that a reader opens leaves this table.
"""

from pathlib import Path

from .file_kind import FileKind, Signature, has_signature

SAVE_AS_TIFF = "save it with File > Save As > Tiff"
EXPORT_ADVICE = f"Open it in Fiji, where Bio-Formats reads most microscope formats, and {SAVE_AS_TIFF}."
_SLIDE_ADVICE = (
    "Open the slide in QuPath, and export the region of interest with File > Export images > OME TIFF. Give the "
    "OME-TIFF."
)

VENDOR_FORMATS: tuple[tuple[str, Signature], ...] = (
    ("a Zeiss CZI file", {0: b"ZISRAWFILE"}),
    ("a Nikon ND2 file", {0: b"\xda\xce\xbe\x0a"}),
    ("a Leica LIF file", {0: b"\x70\0\0\0", 8: b"\x2a"}),
    ("an Olympus OIR file", {0: b"OLYMPUSRAWFORMAT"}),
    ("an Olympus OIF file", {0: "\ufeff[ProfileSaveInfo]".encode("utf-16-le")}),
    ("an Olympus ETS file (the pixels of a VSI slide)", {0: b"SIS\0"}),
    ("an Andor SIF file", {0: b"Andor Technology Multi-Channel File"}),
    ("a DeltaVision file", {96: b"\xa0\xc0"}),
    ("a DeltaVision file", {96: b"\xc0\xa0"}),
    ("an MRC file", {208: b"MAP "}),
    ("a Gatan DM3 file", {0: b"\0\0\0\x03"}),
    ("a Gatan DM4 file", {0: b"\0\0\0\x04"}),
    ("an ICS file", {0: b"\t\nics_version"}),
    ("an NRRD file", {0: b"NRRD"}),
    ("a MetaImage file (MHA)", {0: b"ObjectType = Image"}),
    ("a NIfTI file", {344: b"n+1\0"}),
    ("a FITS file", {0: b"SIMPLE  ="}),
)
"""Formats by their first bytes. The first entry that fits counts, so weak signatures are last."""

# Formats whose main file shows a small picture of a slide; the pixels lie in a folder beside it.
_SLIDES = (
    ("an Olympus VSI slide", ".vsi", "_{}_"),
    ("a 3DHISTECH MIRAX slide", ".mrxs", "{}"),
)


def vendor_kind(start: bytes) -> FileKind | None:
    """Return the kind of a microscope file by its first bytes, and ``None`` for other files."""
    for words, signature in VENDOR_FORMATS:
        if has_signature(start, signature):
            return FileKind(words, EXPORT_ADVICE, "image")
    return None


def slide_kind(path: Path) -> FileKind | None:
    """Return the kind of a slide whose main file would be read as a small TIFF or JPEG, ``None`` for other files.

    The first bytes of such a file are those of a TIFF or JPEG, so its name and the folder beside it decide.
    """
    for words, suffix, folder in _SLIDES:
        if path.suffix.lower() == suffix:
            beside = f" The folder {folder.format(path.stem)} beside it belongs to the slide."
            return FileKind(words, _SLIDE_ADVICE + beside, "image")
    return None
