"""Writer of a label map in the folder ``labels/`` of an OME-Zarr image, which it leaves as it is otherwise."""

import contextlib
from pathlib import Path

from ...errors import OutputError, UsageError
from ...files.partial_file import output_error
from ...files.typed_path import ImagePath
from ...options import ZarrVersion
from ...text import for_file_name
from .base import Layout
from .ome_zarr_writer import OmeZarrWriter
from .zarr_metadata import GROUP_FILES, group_content, version_of, write_group

LABELS = "labels"


def label_place(image: ImagePath, name: str) -> Path:
    """Return the folder of the label map ``name`` of an OME-Zarr image.

    Raises :class:`UsageError` if ``image`` is not the folder of an image, or the name cannot be that of a folder.
    """
    if not isinstance(image, Path) or not _is_image(image):
        raise UsageError(
            f"A label map cannot be added to {image}, because it is not the folder of an OME-Zarr image. Leave "
            "--add-labels out, and the label map becomes a file of its own."
        )
    if not name or name != for_file_name(name) or name.startswith(".") or name in GROUP_FILES.values():
        raise UsageError(f"{name!r} cannot be the name of a label map. Give --add-labels a plain word such as nuclei.")
    return image / LABELS / name


def _is_image(folder: Path) -> bool:
    """Return whether a folder is the group of an OME-Zarr image, whose metadata can be read."""
    try:
        version = version_of(folder)
        return version is not None and "multiscales" in group_content(folder, version)[1]
    except (OSError, ValueError, AttributeError, TypeError):  # damaged metadata
        return False


def check_new(path: Path) -> None:
    """Raise :class:`UsageError` if an image has a label map at ``path`` already."""
    if path.exists():
        raise UsageError(
            f"{path.parents[1]} has a label map {path.name} already, and label maps of an image are never replaced. "
            f"Give another name with --add-labels, or remove the folder {path}."
        )


class LabelMapWriter(OmeZarrWriter):
    """A label map that appears in ``labels/`` of an image, and in the list there, when it is complete.

    Its version of OME-Zarr is that of the image. Raises :class:`OutputError` if there is no image two folders above
    ``path``, or the place cannot be written.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        version = version_of(path.parents[1])
        if version is None:
            raise OutputError(f"The label map {path} cannot be written: {path.parents[1]} is not an OME-Zarr any more.")
        self._version: ZarrVersion = version
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(path, path.parents[1], None, error) from error
        try:
            super().__init__(path, layout, version, label=True)
        except BaseException:
            self._remove_empty_folder(path)
            raise

    def commit(self) -> None:
        """Give the label map its final name, and add it to the list of label maps."""
        super().commit()
        _list(self.path, self._version)

    def abort(self) -> None:
        """Remove an incomplete label map; does nothing after :meth:`commit`."""
        super().abort()
        self._remove_empty_folder(self.path)

    @staticmethod
    def _remove_empty_folder(path: Path) -> None:
        with contextlib.suppress(OSError):  # it holds other label maps
            path.parent.rmdir()


def _list(path: Path, version: ZarrVersion) -> None:
    """Add a label map to the list of its folder."""
    try:
        content, ome = group_content(path.parent, version)
        ome["labels"] = list(dict.fromkeys([*ome.get("labels", ()), path.name]))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise OutputError(
            f"The label map {path} is complete, but it is missing in the list of label maps, because the metadata of "
            f"{path.parent} cannot be read. Write the OME-Zarr of the image again."
        ) from error
    write_group(path.parent, version, content)
