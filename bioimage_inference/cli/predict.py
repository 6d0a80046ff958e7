"""``bioimage-inference predict``: run a model on one or more images."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files.typed_path import ImagePath, image_path, user_path
from ..terminal import progress_display, say_json
from .shared_options import (
    BARE_WEIGHTS,
    DEBUG,
    DEVICE,
    JSON,
    MODEL,
    OBJECTS,
    OFFLINE,
    OVERWRITE,
    SELECTION,
    TRUST,
    add_command,
    add_renamed,
    option_parser,
)

if TYPE_CHECKING:
    from ..api import Model
    from ..batch.one_image import Task


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    add_command(
        commands,
        run,
        "predict",
        parents=[MODEL, _options(), SELECTION, OVERWRITE, JSON, OBJECTS, DEVICE, TRUST, BARE_WEIGHTS, OFFLINE, DEBUG],
        help="run a model on images",
        description="Run a model on images. Axes, normalisation, tiles and halo come from the model's description.",
    )


def _options() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+",
        help="TIFF, PNG, JPEG, .npy, OME-Zarr (folder, zip, https:// or s3:// address), or a sample sheet (.csv, .tsv) "
        "that lists images",
    )  # fmt: skip
    add("--dry-run", action="store_true", help="print axes, tiles and outputs; compute nothing")
    add = parser.add_argument_group("outputs").add_argument
    add("-o", "--output", type=user_path, metavar="DIR", help="folder for all outputs (default: the current folder)")
    add("--tiff", type=user_path, metavar="FILE", help="TIFF for the first output of a single image")
    add("--npy", type=user_path, metavar="FILE", help=".npy for the first output of a single image")
    add("--tiff-layout", choices=["pages", "labelled"], default="pages",
        help="pages: every channel is a page (axes QYX); labelled: with axes, channel names and pixel size "
        "(default: %(default)s)")  # fmt: skip
    add("--report", action="store_true", help="also write an HTML report of each image")
    add("--resume", action="store_true", help="skip images whose results in the folder are complete")
    add("--ro-crate", type=_crate_folder, metavar="DIR",
        help="also describe images, model and outputs as a Process Run Crate in this folder")  # fmt: skip
    add = parser.add_argument_group("image").add_argument
    add("--axes", help="axes of the image file, e.g. tzyx; overrides the file's own metadata")
    add("--channels", metavar="C,C",
        help="channels of the image in the model's order: numbers from 0 or names, e.g. 2,1,0 or DAPI,GFP")  # fmt: skip
    add("--input", action="append", default=[], metavar="ID=FILE", help="image for a further input of the model")
    group = parser.add_argument_group("size and tiles")
    group.add_argument("--fit", choices=["tile", "resize", "exact"], default="tile",
        help="tile: cut larger images into tiles, pad smaller ones; resize: resample the image; exact: refuse images "
        "of another size (default: %(default)s)")  # fmt: skip
    group.add_argument("--tile", type=_tile, metavar="ZxYxX", help="tile size in pixels, e.g. 512x512 (default: auto)")
    add_renamed(group, "--image-border", "--border", choices=["natural", "mirror"], default="natural",
        help="natural: the image ends at its border; mirror: mirrored pixels surround it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument_group("objects").add_argument(
        "--segment", action="store_true", help="also find objects: write a label map, a table and an overlay picture"
    )
    add = parser.add_argument_group("computing").add_argument
    add("--precision", choices=["float32", "bfloat16", "float16"], default="float32",
        help="lower precision is faster; float16 needs a GPU (default: %(default)s)")  # fmt: skip
    add("--engine", choices=["auto", "torch", "openvino"], default="auto",
        help="library that computes on a CPU; auto is torch (default: %(default)s)")  # fmt: skip
    add("--memory", metavar="SIZE",
        help="memory limit for the run, e.g. 4GiB (default: the memory available to this job)")  # fmt: skip
    add("--dask", metavar="ADDRESS",
        help="run on a Dask cluster: tls:// or tcp://HOST:PORT of the scheduler, or local:N for N worker "
        "processes")  # fmt: skip
    return parser


def _tile(text: str) -> tuple[int, ...] | None:
    if text == "auto":
        return None
    parts = text.split("x")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 512x512")
    return tuple(map(int, parts))


def _crate_folder(text: str) -> Path:
    """Return the folder of ``--ro-crate``. Raises :class:`UsageError` if the library for crates is missing."""
    from ..provenance.ro_crate import check_installed

    check_installed()
    return user_path(text)


def run(arguments: argparse.Namespace) -> int:
    """Predict every image. The exit code is the exit code of the first failed image, or 0."""
    from ..api import open_model
    from ..batch.all_images import RunOptions
    from ..batch.batch_run import predict_images
    from ..batch.sample_sheet import is_sheet, read_samples
    from ..provenance.record import to_json

    options = RunOptions(**{field.name: getattr(arguments, field.name) for field in fields(RunOptions)})
    if options.names_files:
        _check_named_files(arguments)
    samples = read_samples(arguments.images)
    sheets = [path for path in map(user_path, arguments.images) if is_sheet(path)]
    with progress_display() as display:
        display.wait("reading the model")
        with open_model(
            arguments.model,
            description=arguments.description,
            model_axes=arguments.model_axes,
            model_size=arguments.model_size,
            offline=arguments.offline,
        ) as model:
            model.check_weights()
            result = predict_images(_task(arguments, model), samples, sheets, options, display)
    if arguments.json:
        say_json(to_json(result.records if len(samples) > 1 or sheets else result.records[0]))
    return result.exit_code


def _check_named_files(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for options that need a folder."""
    if arguments.output is not None:
        raise UsageError("-o names a folder for all outputs, --tiff and --npy name files; give one or the other.")
    for name in ("resume", "report", "segment", "ro_crate", "dask"):
        if getattr(arguments, name):
            raise UsageError(
                f"--{name.replace('_', '-')} needs a folder for its files. Give -o DIR instead of --tiff and --npy."
            )


def _task(arguments: argparse.Namespace, model: "Model") -> "Task":
    from ..batch.one_image import Task, check_object_channels
    from ..batch.resume import EarlierResults
    from ..options import Options, parse_channels
    from .segment import object_options

    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    others = dict(_named_file(text) for text in arguments.input)
    earlier = EarlierResults(model, others) if arguments.resume else None
    objects = None
    if arguments.segment:
        channel = parse_channels(arguments.channels)[0] if arguments.channels else 0
        objects = object_options(arguments, image_axes=arguments.axes, image_channel=channel)
        check_object_channels(objects, model.spec.outputs[0])
    return Task(model, options, others, objects, earlier)


def _named_file(text: str) -> tuple[str, ImagePath]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"--input {text!r} is not understood. Give ID=FILE, for instance --input mask=mask.tif.")
    return name, image_path(file)
