"""Files that hold named parts: zip, OLE, HDF5 and gzip. The names of the parts tell what such a file is.

Only the beginning of a file is read, and nothing is unpacked but 1 KiB of a gzip.
"""

import zlib
from collections.abc import Collection
from pathlib import Path

from .file_kind import FileKind, Signature, has_signature
from .general_formats import archive_kind, document_kind
from .networks import KERAS, STARDIST, TENSORFLOW
from .vendor_formats import EXPORT_ADVICE, SAVE_AS_TIFF

_GZIP: Signature = {0: b"\x1f\x8b"}
_OLE: Signature = {0: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MATLAB_HDF5: Signature = {0: b"MATLAB 7.3 MAT"}
_HDF5_SEARCHED = 1 << 20  # names of groups and attributes of the root are near the beginning
_OLE_SEARCHED = 1 << 16
# Parts of a zip by the beginning of their names.
_OFFICE = {"xl/": "an Excel workbook (XLSX)", "word/": "a Word document (DOCX)", "ppt/": "a PowerPoint file (PPTX)"}
_OPEN_DOCUMENT = {
    "content.xml": "a document of LibreOffice or OpenOffice",
    "index/document.iwa": "a document of Apple iWork",
}
# Parts of an OLE file, in UTF-16.
_OLE_PARTS = {
    "OibInfo.txt": FileKind("an Olympus OIB file", EXPORT_ADVICE, "image"),
    "WordDocument": document_kind("a Word document (DOC)"),
    "PowerPoint Document": document_kind("a PowerPoint file (PPT)"),
    "Workbook": document_kind("an Excel workbook (XLS)"),
    "Book": document_kind("an Excel workbook (XLS)"),
}
_OTHER_OLE = FileKind("an OLE file, perhaps Zeiss ZVI", EXPORT_ADVICE, "image")
_READ_HDF5 = (
    "Read the array in Python, for example with h5py.File(FILE)[NAME][:], and save it with numpy.save or "
    "tifffile.imwrite."
)
# Names in an HDF5 file, the rarest first.
_HDF5_NAMES = (
    ((b"DataSetInfo", b"ImarisDataSet"), FileKind("an Imaris file", EXPORT_ADVICE, "image")),
    (
        (b"PixelClassification", b"ilastikVersion"),
        FileKind(
            "an ilastik project",
            "In ilastik, export images or probabilities as TIFF. ilastik itself runs the project.",
            "network",
        ),
    ),
    (
        (b"exported_data",),
        FileKind("an HDF5 file of ilastik", "In ilastik, choose the export format tiff or multipage tiff.", "image"),
    ),
    (
        (b"s00", b"t00000"),
        FileKind(
            "an HDF5 file of BigDataViewer",
            f"Open its XML file in Fiji with Plugins > BigDataViewer > Open XML/HDF5 as stack, and {SAVE_AS_TIFF}.",
            "image",
        ),
    ),
)
_OTHER_HDF5 = FileKind("an HDF5 file, a container for any data", _READ_HDF5)
_MATLAB = FileKind("a MATLAB file (HDF5)", "Write the array as TIFF in MATLAB, for example with imwrite.")


def zip_kind(names: Collection[str]) -> FileKind | None:
    """Return the kind of a zip by the names of its parts, ``None`` for a zip of unknown content."""
    for beginning, words in _OFFICE.items():
        if "[Content_Types].xml" in names and any(name.startswith(beginning) for name in names):
            return document_kind(words)
    for name, words in _OPEN_DOCUMENT.items():
        if name in {part.lower() for part in names}:
            return document_kind(words)
    bases = {name.rpartition("/")[2] for name in names}
    if "model.weights.h5" in bases:
        return KERAS
    if "saved_model.pb" in bases:
        return TENSORFLOW
    return STARDIST if {"config.json", "thresholds.json"} <= bases else None


def container_kind(path: Path, start: bytes) -> FileKind | None:
    """Return the kind of a gzip, OLE or HDF5 file, ``None`` for other files. Raises OSError."""
    if has_signature(start, _GZIP):
        return _gzip_kind(start)
    if has_signature(start, _OLE):
        return _ole_kind(path, start)
    if has_signature(start, _MATLAB_HDF5):
        return _MATLAB
    return _hdf5_kind(path) if start.startswith(_HDF5) else None


def _gzip_kind(start: bytes) -> FileKind:
    try:
        inside = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 1024)
    except zlib.error:
        inside = b""
    if has_signature(inside, {344: b"n+1\0"}):
        return FileKind("a NIfTI file, packed with gzip", f"Unpack it: gunzip FILE. {EXPORT_ADVICE}", "image")
    return archive_kind("an archive of files (tar.gz)" if has_signature(inside, {257: b"ustar"}) else "a gzip file")


def _ole_kind(path: Path, start: bytes) -> FileKind:
    """Return the kind of an OLE file by the names in its directory ([MS-CFB] 2.2: its place is in the header)."""
    sector = 1 << min(int.from_bytes(start[30:32], "little"), 12)
    with path.open("rb") as file:
        file.seek(sector * (1 + int.from_bytes(start[48:52], "little")))
        directory = file.read(_OLE_SEARCHED)
    for name, kind in _OLE_PARTS.items():
        if f"{name}\0".encode("utf-16-le") in directory:
            return kind
    return _OTHER_OLE


def _hdf5_kind(path: Path) -> FileKind:
    with path.open("rb") as file:
        content = file.read(_HDF5_SEARCHED)
    if b"keras_version" in content or b"model_weights" in content or b"layer_names" in content:
        return KERAS
    return next((kind for names, kind in _HDF5_NAMES if all(name in content for name in names)), _OTHER_HDF5)
