"""The output folder, and the names of the files of each image in it."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..api import Target
from ..errors import UsageError, cannot_write
from ..files.overwriting import RECORD_END
from ..files.shared_folders import make_folder
from ..files.typed_path import Address, ImagePath
from ..image.writers.output_formats import FILE_FORMATS
from ..text import for_file_name
from .sample_sheet import Sample

if TYPE_CHECKING:
    from ..segmentation.segmenting import SegmentFiles

SUMMARY, INDEX, OBJECTS = TABLES = ("summary.csv", "index.html", "objects.csv")
SUMMARY_COLUMNS = (
    "image", "status", "exit_code", "message", "axes", "shape", "dtype", "tiles", "seconds", "outputs", "objects"
)  # fmt: skip
_SUMMARY_BEGINNING = ",".join(SUMMARY_COLUMNS[:4]) + ","


@dataclass(frozen=True)
class ImageFiles:
    """The output files of one image.

    ``targets`` holds the files of each output of the model. Once the ``record`` exists, the prediction is complete;
    it is ``None`` for outputs named by ``--tiff`` and ``--npy``. ``report`` is a page, whose pictures are in the folder
    ``report.with_suffix("")``, and ``objects`` holds the files of the segmentation; both may be ``None``.
    """

    targets: Mapping[str, Target]
    record: Path | None = None
    report: Path | None = None
    objects: "SegmentFiles | None" = None

    def tensors(self) -> list[Path]:
        """Return the files of the predicted tensors."""
        return [path for target in self.targets.values() for path in target.files.values()]

    def outputs(self) -> list[Path]:
        """Return the files of the predicted tensors, then the files of the segmentation."""
        return self.tensors() + (self.objects.paths if self.objects is not None else [])

    def all(self) -> list[Path]:
        """Return every file."""
        return self.outputs() + [path for path in (self.record, self.report) if path is not None]


def name_files(
    samples: Sequence[Sample], folder: Path, ids: Sequence[str], *, report: bool = False, objects: bool = False
) -> list[ImageFiles]:
    """Return the files of every image in ``folder``, for the outputs ``ids`` of a model.

    Their names begin with the name of the image without its suffix, and with the label of an image among several of a
    file. Images with equal names get as many names of
    their folders in front as distinguish them: ``day1_cells`` and ``day2_cells``. Raises :class:`UsageError` if two
    files would have the same path.
    """
    named = [_image_files(folder / stem, ids, report, objects) for stem in _stems(samples)]
    owners: dict[Path, Sample] = {}
    for sample, files in zip(samples, named, strict=True):
        if len(set(files.all())) < len(files.all()):
            instead = (
                "Omit --segment, and find the objects afterwards with bioimage-inference segment."
                if objects
                else "Name the files of the first output with --tiff and --npy."
            )
            raise UsageError(
                f"Two files of {sample.name} would have the same name, because the model's outputs are called "
                f"{', '.join(ids)}. {instead}"
            )
        for path in files.all():
            if (other := owners.setdefault(path, sample)) is not sample:
                raise _same_output(other.name, sample.name, str(path))
    return named


def object_files(start: Path) -> "SegmentFiles":
    """Return the files of the segmentation of an image. ``start`` is the beginning of their paths."""
    from ..segmentation.segmenting import SegmentFiles

    return SegmentFiles(*(_path(start, end) for end in ("labels.tif", "objects.csv", "overlay.png")))


def _image_files(start: Path, ids: Sequence[str], report: bool, objects: bool) -> ImageFiles:
    return ImageFiles(
        targets={
            one: Target(**{key: _path(start, for_file_name(one) + form.suffix) for key, form in FILE_FORMATS.items()})
            for one in ids
        },
        record=_path(start, "provenance.json"),
        report=_path(start, "report.html") if report else None,
        objects=object_files(start) if objects else None,
    )


def _path(start: Path, end: str) -> Path:
    return start.with_name(f"{start.name}_{end}")


def _stems(samples: Sequence[Sample]) -> list[str]:
    """Return the name of every image without suffix, preceded by names of its folders if several images share it."""
    paths = [_full(sample.given or sample.image) for sample in samples]
    names = [f"{stem_of(path)}_{one.label}".rstrip("_") for path, one in zip(paths, samples, strict=True)]
    sharing: dict[str, list[ImagePath]] = {}
    for name, path in zip(names, paths, strict=True):
        sharing.setdefault(name, []).append(path)
    depths = {name: _depth(group) for name, group in sharing.items()}
    return [
        f"{_with_folders(path, depths[name])}{name.removeprefix(stem_of(path))}"
        for name, path in zip(names, paths, strict=True)
    ]


def _full(image: ImagePath) -> ImagePath:
    # Links are not followed: the outputs of a link have its name.
    return image if isinstance(image, Address) else Path(os.path.abspath(image))  # noqa: PTH100


def _depth(group: Sequence[ImagePath]) -> int:
    """Return how many folder names distinguish images of equal names. Raises :class:`UsageError` if none do."""
    for depth in range(max(len(path.parts) for path in group)):
        names = [_with_folders(path, depth) for path in group]
        if len(set(names)) == len(names):
            return depth
    first, second = [path for path, name in zip(group, names, strict=True) if names.count(name) > 1][:2]
    raise _same_output(str(first), str(second), f"{stem_of(first)}_…")


def _with_folders(path: ImagePath, depth: int) -> str:
    folders = path.parts[1:-1]
    return "_".join((*folders[max(len(folders) - depth, 0) :], stem_of(path)))


def _same_output(first: str, second: str, path: str) -> UsageError:
    return UsageError(
        f"{first} and {second} would both write {path}. Predict them separately, with another folder as -o."
    )


def stem_of(path: ImagePath) -> str:
    """Return the name of an image without its suffix, or without the two suffixes of ``.ome.tif`` and ``.ome.zarr``."""
    return path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem


def own_tables(folder: Path) -> list[Path]:
    """Return the tables of an earlier run in the folder: none, unless ``summary.csv`` comes from this program."""
    if not (folder / SUMMARY).is_file():  # opening a pipe would block
        return []
    try:
        with (folder / SUMMARY).open(encoding="utf-8") as file:
            is_own = file.readline().startswith(_SUMMARY_BEGINNING)
    except (OSError, ValueError):  # unreadable, or no text
        is_own = False
    return [folder / name for name in TABLES] if is_own else []


def has_own_results(folder: Path) -> bool:
    """Return whether the folder holds tables or a record of this program."""
    return bool(own_tables(folder)) or next(folder.glob(f"*{RECORD_END}"), None) is not None


def relative(path: Path, folder: Path) -> str:
    """Return the path relative to a folder, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


@contextlib.contextmanager
def output_folder(folder: Path, *, keep_empty: bool = True) -> Iterator[Path]:
    """Make the output folder. If the block fails, remove a new folder that is still empty.

    Without ``keep_empty``, remove it after success as well. Raises :class:`OutputError` if it cannot be made.
    """
    new = not folder.exists()
    make_output_folder(folder)
    done = False
    try:
        yield folder
        done = True
    finally:
        if new and not (done and keep_empty):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()


def make_output_folder(folder: Path) -> None:
    """Make the folder of ``-o`` if it does not exist. Raises :class:`OutputError`."""
    try:
        make_folder(folder)
    except OSError as error:
        raise cannot_write(
            f"The folder {folder} cannot be made: {error.strerror}. Choose another with -o.", error
        ) from error
