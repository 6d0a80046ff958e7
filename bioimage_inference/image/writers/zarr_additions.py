"""Images that are added to an OME-Zarr image: label maps in ``labels/``, predictions in ``predictions/``.

An addition is a folder and an entry in the metadata of the folder around it. The image stays as it is otherwise.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import OutputError, UsageError
from ...files.overwriting import PREDICTIONS
from ...files.partial_file import output_error
from ...files.typed_path import ImagePath
from ...options import ZarrVersion
from ...text import for_file_name
from .zarr_metadata import GROUP_FILES, group_content, version_of, write_group

LABELS = "labels"
ADDITIONS = (LABELS, PREDICTIONS)
"""The folders in an OME-Zarr image that are no part of the image."""
_OPTIONS = {LABELS: ("label map", "--add-labels"), PREDICTIONS: ("prediction", "--add-prediction")}


def addition_place(image: ImagePath, kind: str, name: str) -> Path:
    """Return the folder of the addition ``name`` of an OME-Zarr image; ``kind`` is one of :data:`ADDITIONS`.

    Raises :class:`UsageError` if ``image`` is not the folder of an image, or the name cannot be that of a folder.
    """
    noun, option = _OPTIONS[kind]
    if not isinstance(image, Path) or not _is_image(image):
        raise UsageError(
            f"A {noun} cannot be added to {image}, because it is not the folder of an OME-Zarr image. Leave {option} "
            f"out, and the {noun} becomes a file of its own."
        )
    if not name or name != for_file_name(name) or name.startswith(".") or name in GROUP_FILES.values():
        raise UsageError(f"{name!r} cannot be the name of a {noun}. Give {option} a plain word such as nuclei.")
    return image / kind / name


def _is_image(folder: Path) -> bool:
    """Return whether a folder is the group of an OME-Zarr image, whose metadata can be read."""
    try:
        version = version_of(folder)
        return version is not None and "multiscales" in group_content(folder, version)[1]
    except (OSError, ValueError, AttributeError, TypeError):  # damaged metadata
        return False


def check_new_labels(path: Path) -> None:
    """Raise :class:`UsageError` if an image has a label map at ``path`` already."""
    if path.exists():
        raise UsageError(
            f"{path.parents[1]} has a label map {path.name} already, and label maps of an image are never replaced. "
            f"Give another name with --add-labels, or remove the folder {path}."
        )


def written_folder(path: Path) -> Path:
    """Return the folder that is written for an output at ``path``: the image, for the first addition of a kind."""
    first = addition_group(path) is not None and not path.parent.exists()
    return path.parents[1] if first else path.parent


@dataclass(frozen=True)
class AdditionGroup:
    """The folder around the additions of one kind in an image, and the version of OME-Zarr of that image."""

    folder: Path
    version: ZarrVersion

    def make(self) -> None:
        """Make the folder if it does not exist. Raises :class:`OutputError`."""
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, self.folder.parent, None, error) from error

    def remove_empty(self) -> None:
        """Remove the folder if it holds nothing."""
        with contextlib.suppress(OSError):  # it holds other additions
            self.folder.rmdir()

    def add(self, name: str) -> None:
        """Write the metadata of the folder, which list all label maps in it, after the folder ``name`` was added.

        Other runs may add label maps at the same time, on other hosts too. Every run looks again after it has written,
        so the run that writes last has seen all label maps. A lock file would stay in the folder, and zarr warns of
        such a file. Raises :class:`OutputError`.
        """
        while (content := self._incomplete(name)) is not None:
            write_group(self.folder, self.version, content)

    def _incomplete(self, name: str) -> dict[str, Any] | None:
        """Return the content that the metadata should have, or ``None`` if they have it."""
        try:
            content, ome = group_content(self.folder, self.version)
            listed = ome.get("labels", [])
            if self.folder.name == LABELS:
                found = {path.name for path in self.folder.glob("[!.]*") if _is_image(path)}
                ome["labels"] = list(dict.fromkeys([*listed, *sorted({name, *found})]))
            complete = ome.get("labels", []) == listed and (self.folder / GROUP_FILES[self.version]).exists()
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise OutputError(
                f"{self.folder / name} is complete, but viewers may not find it, because the metadata of {self.folder} "
                "cannot be read. Write the OME-Zarr of the image again."
            ) from error
        return None if complete else content


def addition_group(path: Path) -> AdditionGroup | None:
    """Return the group around an addition at ``path``; ``None`` for a path that is not inside of an image."""
    version = version_of(path.parents[1]) if path.parent.name in ADDITIONS else None
    return None if version is None else AdditionGroup(path.parent, version)


def version_at(path: Path, wanted: ZarrVersion) -> ZarrVersion:
    """Return the version of a new OME-Zarr at ``path``: the version of the image around it, or the ``wanted`` one."""
    group = addition_group(path)
    return wanted if group is None else group.version
