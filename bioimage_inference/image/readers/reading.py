"""Opening an image of any supported kind, recognised by its content and never by its name, and describing it."""

import codecs
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import BioimageInferenceError, ImageError, UsageError
from ..axes import parse_axes, with_user_axes
from ..image import Image, Region
from ..units import unusual_size_note

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ADVICE = "Open it in Fiji (Bio-Formats reads most microscope formats) and save it as TIFF or OME-TIFF."
_SUPPORTED = "Give a TIFF, OME-Zarr, PNG, JPEG or .npy file."
# Where each starts, what it starts with, and what it is: formats that are recognised in order to say so.
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


def open_image(path: Path, axes: str | None = None) -> Image:
    """Open an image without loading it.

    ``path`` is a TIFF, PNG, JPEG (or other picture), ``.npy``, or an OME-Zarr folder or zip. ``axes``, one letter per
    dimension, overrules what the file says; dimensions of size 1 may be left out. The image's ``read`` may be called
    from several threads and raises ImageError for what turns out damaged; ``close`` must be called in the end.

    Raises UsageError when there is no such file or the axes do not fit it, ImageError when it cannot be read.
    """
    path = Path(path)
    wanted = None if axes is None else parse_axes(axes)
    try:
        with warnings.catch_warnings():
            # Libraries warn of oddities in files; what matters of them is in our errors and notes.
            warnings.simplefilter("ignore")
            image = _opener(path)(path)
    except BioimageInferenceError:
        raise
    except PermissionError as error:
        raise UsageError(f"{path} may not be read: permission denied. Check the rights of the file.") from error
    except Exception as error:
        raise _damaged(path.name, error) from error
    image = replace(image, read=_guarded(image))
    if wanted is not None:
        try:
            image = with_user_axes(image, wanted)
        except UsageError:
            image.close()
            raise
    unusual = unusual_size_note(image.pixel_size)
    return image if unusual is None else replace(image, notes=(*image.notes, unusual))


def files_beside(path: Path) -> list[Path]:
    """The further files that :func:`open_image` may read: companions of a TIFF, groups around an array of a zarr.

    A file that cannot be read has none; opening it raises the error.
    """
    from .ome_xml import companion_files, metadata_file

    try:
        if path.is_dir():
            from .zarr_reader import metadata_around

            return metadata_around(path)
        if not path.is_file():
            return []
        with path.open("rb") as file:
            start = file.read(1024)
        if start[:4] in _TIFF:
            from .tiff_reader import ome_xml

            found = metadata_file(ome_xml(path), path)
            return [] if found is None else [found]
        return list(companion_files(path)) if b"<ome" in _plain_start(start) else []
    except Exception:  # of any library, which meets the image before it is known to be one
        return []


def _opener(path: Path) -> Callable[[Path], Image]:
    """The function that opens a file of this content. Raises UsageError or ImageError where there is none."""
    if not path.exists():
        raise UsageError(f"There is no file {path}. Check the name and the folder.")
    if path.is_dir():
        return _open_zarr
    if not path.is_file():
        raise ImageError(f"{path} is neither a file nor a folder. {_SUPPORTED}")
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise ImageError(f"{path.name} is empty (0 bytes). The copy, download or job that made it has failed.")
    if start[:4] in _TIFF:
        from .tiff_reader import open_tiff

        return open_tiff
    if start.startswith(b"\x93NUMPY"):
        from .array_readers import open_npy

        return open_npy
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_zarr
    return lambda path: _open_other(path, start)


def _open_zarr(path: Path) -> Image:
    from .zarr_reader import open_zarr
    from .zarr_tree import find_zarr

    tree = find_zarr(path)
    if tree is not None:
        with closing(tree):
            return open_zarr(tree)
    if path.is_dir():
        raise ImageError(
            f"{path} is a folder without an OME-Zarr image in it (no zarr.json, .zattrs or .zarray). "
            f"Give the image files in it ({path.name}/*.tif names all TIFFs), or the folder of an OME-Zarr."
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("data.pkl", "rdf.yaml", "bioimageio.yaml")) for name in names):
        raise ImageError(f"{path.name} is a model, but an image is expected here. {_SUPPORTED}")
    if any(name.endswith(".npy") for name in names):
        raise ImageError(
            f"{path.name} is an .npz archive of {len(names)} arrays ({', '.join(names[:5])}). Save the one that is the "
            "image with numpy.save as an .npy file, or as TIFF."
        )
    raise ImageError(f"{path.name} is a zip archive without an OME-Zarr image in it. Unpack it and give the image.")


def _open_other(path: Path, start: bytes) -> Image:
    """A picture; what is none gets an error that says what it is instead."""
    for offset, mark, kind in _FOREIGN:
        if start[offset:].startswith(mark):
            raise ImageError(f"{path.name} is {kind}, which is not read here. {_ADVICE}")
    for mark, kind in _PACKED:
        if start.startswith(mark):
            raise ImageError(f"{path.name} is packed with {kind}. Unpack it and give the image inside.")
    if b"<ome" in _plain_start(start):
        return _open_companion(path)
    from .picture_reader import open_picture

    picture = open_picture(path)
    if picture is None:
        raise ImageError(_what_it_is(path, start))
    return picture


def _open_companion(path: Path) -> Image:
    """The first file of the set that a companion file describes. Raises ImageError where none is beside it."""
    from .ome_xml import companion_files
    from .tiff_reader import open_tiff

    files = companion_files(path)
    if not files:
        raise ImageError(
            f"{path.name} is OME-XML that describes an image kept in other files, none of which is beside it. "
            "Give the OME-TIFF file itself."
        )
    image = open_tiff(files[0])
    if len(files) == 1:
        return image
    others = ", ".join(file.name for file in files[1:6]) + (", ..." if len(files) > 6 else "")
    note = f"{path.name} describes {len(files)} files; {image.name} was read, not {others}. Give these one by one."
    return replace(image, notes=(note, *image.notes))


def _plain_start(start: bytes) -> bytes:
    """The beginning of a text in lower case, without the mark of its encoding and empty lines."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def _what_it_is(path: Path, start: bytes) -> str:
    """The error for a file that is no image, saying what it is where that can be seen."""
    text = _plain_start(start)
    if text.startswith((b"<!doctype html", b"<html")):
        return (
            f"{path.name} is a web page, not an image: the download has probably failed or asked for a login. "
            "Download the file again and look at it in a browser."
        )
    if b"\0" not in start:
        try:
            # Incremental, because the end of what was looked at may split a letter.
            codecs.getincrementaldecoder("utf-8")().decode(start)
        except UnicodeDecodeError as error:
            return f"{path.name} is no image of a known kind ({error.reason}). {_SUPPORTED}"
        return f"{path.name} is a text file, not an image. {_SUPPORTED}"
    return f"{path.name} is no image of a known kind: it starts with {start[:8]!r}. {_ADVICE}"


def _guarded(image: Image) -> Callable[[Region], NDArray[np.generic]]:
    """The image's ``read`` with slices made explicit and every library's exception turned into ours."""

    def read(region: Region) -> NDArray[np.generic]:
        if len(region) != len(image.shape):
            raise ValueError(f"{len(region)} slices for the {len(image.shape)} dimensions of {image.name}")
        explicit = [part.indices(size) for part, size in zip(region, image.shape, strict=True)]
        if any(step != 1 for _, _, step in explicit):
            raise ValueError("images are read by slices of step 1")
        if any(stop <= start for start, stop, _ in explicit):
            return np.empty([max(stop - start, 0) for start, stop, _ in explicit], image.dtype)
        try:
            return image.read(tuple(slice(start, stop) for start, stop, _ in explicit))
        except (BioimageInferenceError, MemoryError):
            raise
        except Exception as error:
            raise _damaged(image.name, error) from error

    return read


def _damaged(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ImageError(f"{name} cannot be read; it is damaged or of a kind not supported ({reason}). {_ADVICE}")
