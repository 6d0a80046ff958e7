"""What the files of an image are called in the output folder, and that no two of them are the same."""

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
from ..image.writers.output_formats import FILE_FORMATS
from ..text import for_file_name
from .sample_sheet import Sample

if TYPE_CHECKING:
    from ..segmentation.segmenting import SegmentFiles

SUMMARY, INDEX, OBJECTS = TABLES = ("summary.csv", "index.html", "objects.csv")
SUMMARY_BEGINNING = "image,status,exit_code,message"
"""How the first line of the summary begins."""


@dataclass(frozen=True)
class ImageFiles:
    """Everything that is written for one image. Where ``record`` is, the prediction is complete.

    ``targets`` are the outputs of the model by their ids; ``report`` is a page (with its pictures in the folder
    ``report.with_suffix("")``) and ``objects`` what the segmentation gives, ``None`` where they are not wanted.
    """

    targets: Mapping[str, Target]
    record: Path
    report: Path | None = None
    objects: "SegmentFiles | None" = None

    def predicted(self) -> Iterator[Path]:
        """The predicted tensors and the record."""
        for target in self.targets.values():
            yield from target.files.values()
        yield self.record

    def outputs(self) -> Iterator[Path]:
        """The predicted tensors, then what the segmentation found."""
        yield from (path for path in self.predicted() if path != self.record)
        if self.objects is not None:
            yield from self.objects.paths

    def all(self) -> list[Path]:
        """Every file."""
        return [*self.outputs(), self.record, *([self.report] if self.report is not None else [])]


@dataclass(frozen=True)
class Wanted:
    """What is written for each image besides the outputs ``ids`` of the model and the record."""

    ids: Sequence[str]
    report: bool = False
    objects: bool = False


def name_files(samples: Sequence[Sample], folder: Path, wanted: Wanted) -> list[ImageFiles]:
    """The files of every image in ``folder``.

    They are called after the image without its suffix. Images that share this name get the names of as many of their
    folders in front as tell them apart: ``day1_cells`` and ``day2_cells``. Raises :class:`UsageError` where two would
    be the same file.
    """
    named = [_image_files(folder / stem, wanted) for stem in _stems(samples)]
    owners: dict[Path, Sample] = {}
    for sample, files in zip(samples, named, strict=True):
        if len(set(files.all())) < len(files.all()):
            instead = (
                "Leave --segment away, and find the objects afterwards with bioimage-inference segment."
                if wanted.objects
                else "Name the files of the first output with --tiff and --npy."
            )
            raise UsageError(
                f"Two files of {sample.name} would have the same name, because the model's outputs are called "
                f"{', '.join(wanted.ids)}. {instead}"
            )
        for path in files.all():
            if (other := owners.setdefault(path, sample)) is not sample:
                raise UsageError(
                    f"{other.name} and {sample.name} would both write {path}. Predict them separately, with another "
                    "folder as -o."
                )
    return named


def own_tables(folder: Path) -> list[Path]:
    """The tables of an earlier run in the folder; none where ``summary.csv`` there is not one of this program."""
    if not (folder / SUMMARY).is_file():  # a pipe would be waited for
        return []
    try:
        with (folder / SUMMARY).open(encoding="utf-8") as file:
            is_own = file.readline().startswith(f"{SUMMARY_BEGINNING},")
    except (OSError, ValueError):  # something else
        is_own = False
    return [folder / name for name in TABLES] if is_own else []


def is_own(folder: Path) -> bool:
    """Whether there are results of this program in the folder: its tables, or a record."""
    return bool(own_tables(folder)) or next(folder.glob(f"*{RECORD_END}"), None) is not None


def relative(path: Path, folder: Path) -> str:
    """The path as seen from a folder, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


@contextlib.contextmanager
def output_folder(folder: Path, *, keep_empty: bool = True) -> Iterator[None]:
    """Make the output folder; a new one in which nothing was written is removed where the block fails.

    Without ``keep_empty`` it is removed where the block succeeds, too.

    Raises :class:`OutputError` where it cannot be made.
    """
    new = not folder.exists()
    make_output_folder(folder)
    try:
        yield
    except BaseException:
        if new:
            _remove_empty(folder)
        raise
    if new and not keep_empty:
        _remove_empty(folder)


def make_output_folder(folder: Path) -> None:
    """Make the folder of ``-o`` where there is none. Raises :class:`OutputError` where it cannot be made."""
    try:
        make_folder(folder)
    except OSError as error:
        raise cannot_write(
            f"The folder {folder} cannot be made: {error.strerror}. Choose another with -o.", error
        ) from error


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # something was written
        folder.rmdir()


def _image_files(start: Path, wanted: Wanted) -> ImageFiles:
    def named(end: str) -> Path:
        return start.with_name(f"{start.name}_{end}")

    objects = None
    if wanted.objects:
        from ..segmentation.segmenting import SegmentFiles

        objects = SegmentFiles(named("labels.tif"), named("objects.csv"), named("overlay.png"))
    return ImageFiles(
        targets={
            one: Target(**{form.key: named(for_file_name(one) + form.suffix) for form in FILE_FORMATS.values()})
            for one in wanted.ids
        },
        record=named("provenance.json"),
        report=named("report.html") if wanted.report else None,
        objects=objects,
    )


def _stems(samples: Sequence[Sample]) -> list[str]:
    """The name of every image without suffix, preceded by those of its folders where several share it."""
    paths = [Path(_absolute(sample.image)) for sample in samples]
    sharing: dict[str, list[Path]] = {}
    for path in paths:
        sharing.setdefault(stem_of(path), []).append(path)
    depths = {stem: _depth(group) for stem, group in sharing.items()}
    return [_with_folders(path, depths[stem_of(path)]) for path in paths]


def _depth(group: Sequence[Path]) -> int:
    """How many of their folders tell images with the same name apart. Raises :class:`UsageError` where none does."""
    depth = 0
    while len({_with_folders(path, depth) for path in group}) < len(group):
        if all(len(path.parts) - 2 <= depth for path in group):
            names = [_with_folders(path, depth) for path in group]
            first, second = [path for path, name in zip(group, names, strict=True) if names.count(name) > 1][:2]
            raise UsageError(
                f"{first} and {second} would both write {stem_of(first)}_…. Predict them separately, with another "
                "folder as -o."
            )
        depth += 1
    return depth


def _with_folders(path: Path, depth: int) -> str:
    folders = path.parts[1:-1]
    return "_".join((*folders[max(len(folders) - depth, 0) :], stem_of(path)))


def stem_of(path: Path) -> str:
    """The name without its suffix, also without those of ``.ome.tif`` and ``.ome.zarr``."""
    return path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem


def _absolute(path: Path) -> str:
    """The place as the user names it: links are not followed, so a link gives its own name to the outputs."""
    return os.path.abspath(path)  # noqa: PTH100
