"""Opening of images: the list of readers, recognition of a file by its content, and errors in plain words.

A new format is a module with an ``open_…`` function and a line in :data:`READERS`. A new dialect of TIFF is a function
in :mod:`~bioimage_inference.image.readers.tiff_dialects`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...array_types import Array
from ...errors import BioimageInferenceError, ImageError, UsageError
from ...file_kinds.general_formats import is_dicom
from ...file_kinds.vendor_formats import EXPORT_ADVICE, slide_kind
from ...files.typed_path import Address, ImagePath
from ...text import reason_of
from ..axes import parse_axes, with_user_axes
from ..image import Image, Region
from ..series import MAIN, Selection, Series, choose, is_plate, select
from ..units import unusual_size_note
from .czi_reader import czi_series, open_czi
from .leica_reader import is_leica, leica_series, open_leica
from .nd2_reader import nd2_series, open_nd2
from .npy_reader import open_npy
from .ome_xml import is_companion
from .picture_reader import is_picture, open_picture
from .tiff_reader import (
    companion_series,
    files_of_companion,
    files_of_set,
    open_companion,
    open_tiff,
    tiff_series,
)
from .unreadable_files import SUPPORTED, no_image, plain_start, unreadable
from .zarr_reader import metadata_around, open_zarr, zarr_series

_START_BYTES = 1024
_IMAGE_ENDINGS = (".tif", ".tiff", ".npy", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".zarr.zip", ".ozx")


@dataclass(frozen=True)
class Reader:
    """A format that is read.

    ``recognises`` decides by the first bytes of a file (empty for a folder). ``open`` returns None if the content is
    not what its first bytes promise. It lists the images of the file, and opens the result of
    :func:`~bioimage_inference.image.series.choose`. ``beside`` returns further files from which the image takes
    metadata. ``series`` lists the images of a file, none for a format of single images.
    """

    recognises: Callable[[bytes], bool]
    open: Callable[[Path, Selection], Image | None]
    beside: Callable[[Path], Iterable[Path]] = lambda _: ()
    series: Callable[[Path], Sequence[Series]] = lambda _: ()


def _starts(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda start: start.startswith(marks)


def _single(open_file: Callable[[Path], Image | None]) -> Callable[[Path, Selection], Image | None]:
    """Return a function that opens a format of single images, and raises UsageError for a choice of another image."""

    def opened(path: Path, selection: Selection) -> Image | None:
        image = open_file(path)
        if image is not None:
            try:
                choose(image.name, _only(image), selection)
            except UsageError:
                image.close()
                raise
        return image

    return opened


def _only(image: Image) -> tuple[Series]:
    return (Series(0, axes=image.axes, shape=image.shape),)


READERS = (
    Reader(_starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), open_tiff, files_of_set, tiff_series),
    Reader(_starts(b"\x93NUMPY"), _single(open_npy)),
    Reader(
        lambda start: not start or start.startswith((b"PK\x03\x04", b"PK\x05\x06")),
        open_zarr,
        metadata_around,
        zarr_series,
    ),
    Reader(lambda start: is_companion(plain_start(start)), open_companion, files_of_companion, companion_series),
    Reader(is_picture, _single(open_picture)),
    Reader(_starts(b"\xda\xce\xbe\x0a"), open_nd2, series=nd2_series),
    Reader(is_leica, open_leica, series=leica_series),
    Reader(_starts(b"ZISRAWFILE"), open_czi, series=czi_series),
)


def open_image(path: ImagePath, axes: str | None = None, selection: Selection = MAIN) -> Image:
    """Open an image without loading it.

    ``path`` is a TIFF, PNG, JPEG (or other picture), ``.npy``, an OME-Zarr folder or zip, the address of an OME-Zarr,
    or with the extra ``microscopes`` a Nikon ND2, Leica LIF or LOF, or Zeiss CZI. ``axes``, one letter per dimension,
    overrides the axes of the file; dimensions of size 1 may be left out. ``selection`` chooses one of several images
    and resolutions. The image's ``read`` may be called from several threads and raises ImageError for damaged pixels.
    Call ``close`` at the end.

    Raises UsageError if there is no such file or image, or the axes do not fit it, ImageError if it cannot be read.
    """
    given = None if axes is None else parse_axes(axes)
    with _plain_errors(path):
        image = _open(path, selection)
    image = replace(image, read=_checked(image))
    if given is not None:
        try:
            image = with_user_axes(image, given)
        except UsageError:
            image.close()
            raise
    unusual = unusual_size_note(image.pixel_size)
    return image if unusual is None else replace(image, notes=(*image.notes, unusual))


def may_be_image(path: Path) -> bool:
    """Return whether a file in a folder of images is one of them: by its first bytes, or because its name says so.

    A file whose name alone says so is damaged, and opening it raises the error. A zip is an image only by its name.
    """
    if path.name.lower().endswith(_IMAGE_ENDINGS):
        return True
    try:
        start = _first_bytes(path)
    except (BioimageInferenceError, OSError):
        return False
    return any(reader.recognises(start) for reader in READERS if reader.open not in (open_zarr, open_companion))


def list_series(path: ImagePath) -> tuple[Series, ...]:
    """Return the images of a file, of a plate or at an address. Raises the errors of :func:`open_image`."""
    with _plain_errors(path):
        found = _series(path)
        if found:
            return found
        image = _open(path, MAIN)
        image.close()
        return _only(image)


def selected_series(path: ImagePath, selection: Selection) -> list[Series]:
    """Return the images that a run over many images predicts: the selected images, or all fields of a plate.

    The list is empty if that is the main image of the file. Raises the errors of :func:`open_image`.
    """
    if selection.names_series:
        return select(path.name, list_series(path), selection)
    with _plain_errors(path):
        found = _series(path) if isinstance(path, Address) or _may_be_plate(path) else ()
    return list(found) if is_plate(found) else []


def _series(path: ImagePath) -> tuple[Series, ...]:
    """Return the images of a file, none for a format of single images."""
    if isinstance(path, Address):
        return zarr_series(path)
    start = _first_bytes(path)
    return next((tuple(found) for reader in READERS if reader.recognises(start) and (found := reader.series(path))), ())


def _may_be_plate(path: Path) -> bool:
    """Return whether a file has the format of plates. Listing the images of all other files would take time."""
    start = _first_bytes(path)
    return any(reader.series is zarr_series for reader in READERS if reader.recognises(start))


@contextmanager
def _plain_errors(path: ImagePath) -> Iterator[None]:
    """Turn every exception of a library into an ImageError or UsageError, and hide warnings."""
    try:
        with warnings.catch_warnings():
            # Libraries warn of oddities in files. Errors and notes contain the relevant ones.
            warnings.simplefilter("ignore")
            yield
    except BioimageInferenceError:
        raise
    except PermissionError as error:
        raise UsageError(f"{path} may not be read: permission denied. Check the rights of the file.") from error
    except Exception as error:
        raise _damaged(path.name, error) from error


def files_beside(path: Path) -> list[Path]:
    """Return the further files that :func:`open_image` may read: a companion file, the files of a set, groups of zarr.

    The list is empty for a file that cannot be read; opening it raises the error.
    """
    try:
        start = _first_bytes(path)
        return [file for reader in READERS if reader.recognises(start) for file in reader.beside(path)]
    except Exception:  # of any library: nothing has checked this file yet
        return []


def files_of_image(path: Path) -> list[Path]:
    """Return the file or folder of an image, and the further files that :func:`open_image` reads with a file."""
    return [path, *files_beside(path)] if path.is_file() else [path]


def prepare_network(addresses: Iterable[Address]) -> None:
    """Make the connections' settings, with the user's credentials, before a sandbox hides their files.

    Raises UsageError if a library for addresses is missing.
    """
    for address in addresses:
        from .remote_files import filesystem

        filesystem(address.scheme)


def _open(path: ImagePath, selection: Selection) -> Image:
    if isinstance(path, Address):
        return open_zarr(path, selection)
    start = _first_bytes(path)
    slide = slide_kind(path)
    if slide is not None:
        raise no_image(path.name, slide)
    try:
        for reader in READERS:
            image = reader.open(path, selection) if reader.recognises(start) else None
            if image is not None:
                return image
    except Exception:
        if is_dicom(start):  # its first 128 bytes are free, and may be those of a TIFF that is none
            raise unreadable(path, start) from None
        raise
    raise unreadable(path, start)


def _first_bytes(path: Path) -> bytes:
    """Return the start of a file, nothing for a folder. Raises UsageError or ImageError if there is neither."""
    if not path.exists():
        raise UsageError(f"There is no file {path}. Check the name and the folder.")
    if path.is_dir():
        return b""
    if not path.is_file():
        raise ImageError(f"{path} is neither a file nor a folder. {SUPPORTED}")
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if not start:
        raise ImageError(f"{path.name} is empty (0 bytes). The copy, download or job that made it has failed.")
    return start


def _checked(image: Image) -> Callable[[Region], Array]:
    """Return the image's ``read`` with explicit slices, and with ImageError for every exception of a library."""

    def read(region: Region) -> Array:
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
    return ImageError(
        f"{name} cannot be read; it is damaged or of a kind not supported ({reason_of(error)}). {EXPORT_ADVICE}"
    )
