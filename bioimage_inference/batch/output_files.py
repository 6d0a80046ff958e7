"""The output folder, and the names of the files of each image in it."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..api import Target
from ..errors import UsageError, cannot_write
from ..files.file_names import name_key
from ..files.overwriting import PREDICTIONS, RECORD_END
from ..files.shared_folders import make_folder
from ..files.typed_path import Address, ImagePath
from ..image.writers.output_formats import FORMATS
from ..image.writers.zarr_additions import LABELS, addition_place
from ..options import USUAL_FORMATS
from ..provenance.record_parts import OBJECT_FILES
from ..text import for_file_name
from .output_name import OutputName
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
    it is ``None`` for outputs whose files have options of their own, such as ``--tiff``. ``report`` is a page, whose
    pictures are in the folder ``report.with_suffix("")``, ``objects`` holds the files of the segmentation, and
    ``key_values`` is the table of key-value pairs; all three may be ``None``.
    """

    targets: Mapping[str, Target]
    record: Path | None = None
    report: Path | None = None
    objects: "SegmentFiles | None" = None
    key_values: Path | None = None

    def tensors(self) -> list[Path]:
        """Return the files of the predicted tensors."""
        return [path for target in self.targets.values() for path in target.files.values()]

    def outputs(self) -> list[Path]:
        """Return the files of the predicted tensors, then the files of the segmentation."""
        return self.tensors() + (self.objects.paths if self.objects is not None else [])

    def all(self) -> list[Path]:
        """Return every file."""
        return self.outputs() + [path for path in (self.record, self.report, self.key_values) if path is not None]


def name_files(
    samples: Sequence[Sample],
    folder: Path,
    ids: Sequence[str],
    formats: Sequence[str] = USUAL_FORMATS,
    *,
    report: bool = False,
    objects: bool = False,
    added_labels: str | None = None,
    added_prediction: str | None = None,
    rois: bool = False,
    pattern: OutputName | None = None,
    model: str = "",
) -> list[ImageFiles]:
    """Return the files of every image in ``folder``, for the outputs ``ids`` of a ``model``, in these ``formats``.

    ``added_labels`` is the name of a label map of the objects in the OME-Zarr of the image. Without it, the label map
    goes to the OME-Zarr of the first output, if there is one. ``added_prediction`` is the name of the OME-Zarr of the
    outputs in the OME-Zarr of the image. ``rois`` adds regions of interest.

    The ``pattern`` gives their names. In a name, ``{image}`` ends with the label of an image among several of a file.
    Images with equal names get as many names of their folders in front as distinguish them: ``day1_cells`` and
    ``day2_cells``. Raises :class:`UsageError` if two files would have the same path.
    """
    pattern = pattern or OutputName()
    named = []
    for stem, sample in zip(_stems(samples), samples, strict=True):
        values = _values(stem, sample, model)
        start = folder / pattern.beginning(values)
        names = {one: pattern.output(values, for_file_name(one)) for one in ids}
        targets = {
            one: Target(**{key: folder / (name + FORMATS[key].suffix) for key in formats})
            for one, name in names.items()
        }
        if added_prediction is not None:
            targets = _added_targets(sample.image, added_prediction, targets)
        labels = _label_place(sample.image, added_labels, targets[ids[0]].zarr)
        named.append(
            ImageFiles(
                targets=targets,
                record=_path(start, "provenance.json"),
                report=_path(start, "report.html") if report else None,
                objects=object_files(start, labels, rois=rois) if objects else None,
            )
        )
    owners: dict[str, Sample] = {}
    for sample, files in zip(samples, named, strict=True):
        if len(set(map(name_key, files.all()))) < len(files.all()):
            raise _same_name(sample, ids, pattern, objects)
        for path in files.all():
            if (other := owners.setdefault(name_key(path), sample)) is not sample:
                raise _same_output(other.name, sample.name, path, pattern)
    return named


def _added_targets(image: ImagePath, name: str, targets: Mapping[str, Target]) -> dict[str, Target]:
    """Return the files of each output with its OME-Zarr in the image: ``name``, of several outputs ``name_id``."""
    names = {one: name if len(targets) == 1 else f"{name}_{for_file_name(one)}" for one in targets}
    places = {one: addition_place(image, PREDICTIONS, named) for one, named in names.items()}
    return {one: replace(target, zarr=places[one]) for one, target in targets.items()}


def _same_name(sample: Sample, ids: Sequence[str], pattern: OutputName, objects: bool) -> UsageError:
    """Return the error for an image of which two files would have the same name."""
    if "output" not in pattern.fields and len(ids) > 1:
        return UsageError(
            f"--output-name {pattern.pattern!r} gives the outputs {', '.join(ids)} of {sample.name} the same name. Put "
            "{output} into it."
        )
    instead = (
        "Omit --segment, and find the objects afterwards with bioimage-inference segment."
        if objects
        else "Name the files of the first output with --tiff, --npy or --zarr."
    )
    return UsageError(
        f"Two files of {sample.name} would have the same name, because the model's outputs are called "
        f"{', '.join(ids)}. {instead}"
    )


def object_files(start: Path, zarr: Path | None = None, *, rois: bool = False) -> "SegmentFiles":
    """Return the files of the segmentation of an image.

    ``start`` is the beginning of their paths, ``zarr`` the label map in an OME-Zarr. ``rois`` adds regions of interest.
    """
    from ..segmentation.segmenting import SegmentFiles

    wanted = (kind for kind, end in OBJECT_FILES.items() if end and (rois or not kind.startswith("rois")))
    return SegmentFiles(**{kind: _path(start, OBJECT_FILES[kind]) for kind in wanted}, zarr=zarr)


def _values(stem: str, sample: Sample, model: str) -> dict[str, str]:
    """Return the values of the fields of :class:`OutputName` for an image, without the output."""
    return {"image": stem, "model": for_file_name(model), "folder": _full(sample.given or sample.image).parent.name}


def _label_place(image: ImagePath, name: str | None, store: Path | None) -> Path | None:
    """Return the folder of the label map in the OME-Zarr of the image or of the first output, ``None`` without both."""
    if name is not None:
        return addition_place(image, LABELS, name)
    return None if store is None else store / LABELS / "objects"


def _path(start: Path, end: str) -> Path:
    return start.with_name(f"{start.name}_{end}")


def _stems(samples: Sequence[Sample]) -> list[str]:
    """Return the name of every image without suffix, preceded by names of its folders if several images share it."""
    paths = [_full(sample.given or sample.image) for sample in samples]
    labels = [f"_{one.label}" if one.label else "" for one in samples]
    names = [stem_of(path) + label for path, label in zip(paths, labels, strict=True)]
    sharing: dict[str, list[ImagePath]] = {}
    for name, path in zip(names, paths, strict=True):
        sharing.setdefault(name_key(name), []).append(path)
    depths = {name: _depth(group) for name, group in sharing.items()}
    return [
        _with_folders(path, depths[name_key(name)]) + label
        for name, path, label in zip(names, paths, labels, strict=True)
    ]


def _full(image: ImagePath) -> ImagePath:
    """Return the absolute path of an image. Links are not followed: the outputs of a link have its name."""
    return image if isinstance(image, Address) else Path(os.path.abspath(image))  # noqa: PTH100


def _depth(group: Sequence[ImagePath]) -> int:
    """Return how many folder names distinguish images of equal names. Raises :class:`UsageError` if none do."""
    for depth in range(max(len(path.parts) for path in group)):
        names = [name_key(_with_folders(path, depth)) for path in group]
        if len(set(names)) == len(names):
            return depth
    first, second = [path for path, name in zip(group, names, strict=True) if names.count(name) > 1][:2]
    raise _same_output(str(first), str(second), f"{stem_of(first)}_…", OutputName())


def _with_folders(path: ImagePath, depth: int) -> str:
    folders = path.parts[1:-1]
    return "_".join((*folders[max(len(folders) - depth, 0) :], stem_of(path)))


def _same_output(first: str, second: str, path: Path | str, pattern: OutputName) -> UsageError:
    advice = "Predict them separately, with another folder as -o."
    if "image" not in pattern.fields:
        advice = f"Put {{image}} into --output-name {pattern.pattern!r}."
    return UsageError(f"{first} and {second} would both write {path}. {advice}")


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
