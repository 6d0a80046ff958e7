"""``bioimage-inference predict``: one model, one or more images."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..api import Model, Target, describe_run, open_model, predict
from ..engine.prepare import close, prepare
from ..errors import BioimageInferenceError, OutputError, UsageError
from ..model.spec import ModelSpec
from ..options import Options
from ..report.summary import plan_lines, result_lines


def predict_command(arguments: argparse.Namespace) -> int:
    """Predict every image; a failed one does not stop the others, and its exit code is returned in the end."""
    options = _options(arguments)
    others = dict(_named_file(text) for text in arguments.input)
    images = [Path(image) for image in arguments.images]
    with open_model(
        arguments.model,
        description=arguments.description,
        model_axes=arguments.model_axes,
        model_size=arguments.model_size,
        offline=arguments.offline,
        preload=not arguments.dry_run,
    ) as model:
        targets = _targets(arguments, images, model.spec)
        records, exit_code = [], 0
        for image in images:
            try:
                records.append(_predict_one(arguments, model, image, others, targets[image], options))
            except BioimageInferenceError as error:
                if len(images) == 1:
                    raise
                print(f"[{image.name}] {error}", file=sys.stderr)
                exit_code = exit_code or error.exit_code
    if arguments.json:
        print(json.dumps(records[0] if len(images) == 1 else records, indent=2, ensure_ascii=False))
    return exit_code


def _predict_one(
    arguments: argparse.Namespace,
    model: Model,
    image: Path,
    others: Mapping[str, Path],
    files: "_Files",
    options: Options,
) -> Mapping[str, Any]:
    if arguments.dry_run:
        prepared = prepare(model.spec, image, others, options)
        close(prepared)
        record = describe_run(model.spec, prepared, options)
        for output in record["outputs"]:
            target = files.targets[output["id"]]
            output |= {"tiff": _name(target.tiff), "npy": _name(target.npy)}
    else:
        with _progress_bar(image.name) as progress:
            prediction = predict(
                model,
                image,
                inputs=others,
                targets=files.targets,
                record=files.record,
                progress=progress,
                options=options,
            )
        record = dict(prediction.record)
    if not arguments.json:
        print("\n".join((*plan_lines(record), *result_lines(record))))
    return record


class _Files:
    """Where the outputs of one image go."""

    def __init__(self, targets: Mapping[str, Target], record: Path | None) -> None:
        self.targets, self.record = targets, record


def _targets(arguments: argparse.Namespace, images: Sequence[Path], spec: ModelSpec) -> dict[Path, _Files]:
    """Files of every image. Raises :class:`UsageError` where options or names get in each other's way."""
    outputs = [output.id for output in spec.outputs]
    if arguments.tiff is not None or arguments.npy is not None:
        if arguments.output is not None:
            raise UsageError("-o names a folder for all outputs, --tiff and --npy name files; give one or the other.")
        if len(images) > 1:
            raise UsageError(f"--tiff and --npy are for a single image, but {len(images)} are given. Use -o DIR.")
        targets = {output: Target() for output in outputs} | {outputs[0]: Target(arguments.tiff, arguments.npy)}
        return {images[0]: _Files(targets, None)}
    folder = arguments.output or Path()
    stems: dict[str, Path] = {}
    found = {}
    for image in images:
        stem = _stem(image)
        if stem in stems and stems[stem] != image:
            raise UsageError(
                f"{stems[stem]} and {image} would both write {folder / stem}_….tif. Predict them separately."
            )
        stems[stem] = image
        targets = {
            output: Target(folder / f"{stem}_{_safe(output)}.tif", folder / f"{stem}_{_safe(output)}.npy")
            for output in outputs
        }
        found[image] = _Files(targets, folder / f"{stem}_provenance.json")
    if not arguments.dry_run:
        _make_folder(folder)
    return found


def _safe(name: str) -> str:
    """An output's id as part of a file name: descriptions may hold anything."""
    return re.sub(r"[^\w.-]", "_", name)


def _stem(image: Path) -> str:
    """The name without its suffix, also without those of ``.ome.tif`` and ``.ome.zarr``."""
    name = image.resolve().name
    stem = Path(name).stem
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be made: {error.strerror}. Choose another with -o.") from error


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"--input {text!r} is not understood. Give ID=FILE, for instance --input mask=mask.tif.")
    return name, Path(file)


def _options(arguments: argparse.Namespace) -> Options:
    return Options(**{name: getattr(arguments, name) for name in vars(Options())})


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar over tiles on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
