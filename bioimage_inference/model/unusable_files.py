"""Errors for files and folders that are given as a model and are none: what they are, and what a model is."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import ModelError
from ..file_kinds.file_kind import FileKind
from ..file_kinds.recognition import is_text, recognised_kind

WHAT_IS_A_MODEL = (
    "A model is a BioImage.IO package (the zip file, its unpacked folder, or the rdf.yaml in there) "
    "or a TorchScript weights file."
)
_IMAGE_MAGIC: Mapping[bytes | tuple[bytes, ...], str] = {
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"): "a TIFF image",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x93NUMPY": "a NumPy array",
}
_MOST_LOOKED_AT = 20  # files of a folder without a description


def refuse_other_files(source: Path, head: bytes) -> None:
    """Raise :class:`ModelError` for the files that users take for a model by mistake, and for any other binary file."""
    if not head:
        raise ModelError(
            f"{source.name} is empty (0 bytes). The copy or download that made it has failed. {WHAT_IS_A_MODEL}"
        )
    image = _image_kind(head)
    if image is not None:
        raise ModelError(swapped(source, image))
    recognised = recognised_kind(source, head)
    if recognised is not None and not (is_text(head) and recognised.content == "other"):  # a text may be YAML
        raise no_model(source, recognised)
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ModelError(f"{source.name} is of an unknown kind. {WHAT_IS_A_MODEL}")


def no_model(source: Path, kind: FileKind) -> ModelError:
    """Return the error for a file or folder of a recognised kind that is given as a model."""
    match kind.content:
        case "image":
            return ModelError(swapped(source, kind.words))
        case "network":
            return ModelError(f"{source.name} is {kind.words}, which does not run here. {kind.next_step}")
        case "another file":
            return ModelError(f"{source.name} is {kind.words}, not a model. {kind.next_step} {WHAT_IS_A_MODEL}")
        case _:
            return ModelError(f"{source.name} is {kind.words}, not a model. {WHAT_IS_A_MODEL}")


def swapped(source: Path, kind: str) -> str:
    """Return the message for an image of a kind, e.g. ``a TIFF image``, in place of a model."""
    return f"{source} is {kind}, not a model; the order is MODEL IMAGE. {WHAT_IS_A_MODEL}"


def image_in(folder: Path) -> str | None:
    """Return the name of an image among the first files of a folder, ``None`` if there is none."""
    for path in sorted(folder.iterdir())[:_MOST_LOOKED_AT]:
        if path.is_file():
            with path.open("rb") as stream:
                if _image_kind(stream.read(8)) is not None:
                    return path.name
    return None


def _image_kind(head: bytes) -> str | None:
    return next((kind for magic, kind in _IMAGE_MAGIC.items() if head.startswith(magic)), None)
