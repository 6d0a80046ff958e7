"""``bioimage-inference predict``: run a model on one or more images."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import UsageError
from ..files.typed_path import ImagePath, image_path, user_path
from ..options import (
    FORMAT_TITLES,
    USUAL_FORMATS,
    Augment,
    EngineName,
    TiffLayout,
    WeightsName,
    ZarrVersion,
    parse_formats,
)
from ..terminal import progress_display, say, say_json
from .shared_options import (
    BARE_WEIGHTS,
    DEBUG,
    DEVICE,
    JSON,
    MODEL,
    OBJECT_OPTIONS,
    OBJECTS,
    OFFLINE,
    OVERWRITE,
    QUIET,
    SELECTION,
    TRUST,
    add_command,
    add_renamed,
    option_parser,
)
from .typed_options import refuse_unused

if TYPE_CHECKING:
    from ..api import Model
    from ..batch.image_arguments import Images
    from ..batch.one_image import Task
    from ..batch.output_name import OutputName


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    add_command(
        commands,
        run,
        "predict",
        parents=[
            MODEL,
            _options(),
            SELECTION,
            OVERWRITE,
            JSON,
            OBJECTS,
            DEVICE,
            TRUST,
            BARE_WEIGHTS,
            OFFLINE,
            QUIET,
            _verbose(),
            DEBUG,
        ],
        help="run a model on images",
        description="Run a model on images. Axes, normalisation, tiles and halo come from the model's description.",
    )


def _options() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+",
        help="TIFF, PNG, JPEG, .npy, OME-Zarr (folder, zip, https:// or s3:// address), a folder of images, a pattern "
        "such as 'day1/*.tif', or a sample sheet (.csv, .tsv) that lists images",
    )  # fmt: skip
    add("--recursive", action="store_true", help="take also the images in the folders inside of a folder")
    add("--single", action="store_true", help="refuse more than one image, for instance all images of a plate")
    add("--dry-run", action="store_true",
        help="print axes, tiles, outputs, and the memory, disk space and time that they may take; compute nothing",
    )  # fmt: skip
    add = parser.add_argument_group("outputs").add_argument
    add("-o", "--output", type=user_path, metavar="DIR", help="folder for all outputs (default: the current folder)")
    add("--format", type=parse_formats, metavar="FORMATS",
        help=f"formats in the folder: one or several of {','.join(FORMAT_TITLES)} "
        f"(default: {','.join(USUAL_FORMATS)}; for a single image with --dask: zarr)")  # fmt: skip
    for key, title in FORMAT_TITLES.items():
        add(f"--{key}", type=user_path, metavar="FILE", help=f"{title} for the first output of a single image")
    add("--output-name", type=_output_name, metavar="PATTERN",
        help="names of the outputs in the folder, of {image}, {output}, {model} and {folder} "
        "(default: {image}_{output})")  # fmt: skip
    add("--tiff-layout", choices=get_args(TiffLayout),
        help="labelled: with axes, channel names and pixel size; pages: every channel is a page (axes QYX); pyramid: "
        "labelled, in compressed tiles with smaller levels, as any labelled TIFF over 4 GiB "
        "(default: labelled)")  # fmt: skip
    add("--zarr-version", choices=get_args(ZarrVersion), help="version of the OME-Zarr format (default: 0.5)")
    add("--add-prediction", metavar="NAME",
        help="also add the prediction as NAME to the OME-Zarr of the image")  # fmt: skip
    add("--report", action="store_true", help="also write an HTML report of each image")
    add("--resume", action="store_true", help="skip images whose results in the folder are complete")
    add("--ro-crate", type=_crate_folder, metavar="DIR",
        help="also describe images, model and outputs as a Process Run Crate in this folder")  # fmt: skip
    add("--key-values", type=user_path, metavar="FILE",
        help="also write model, image and settings of a single image as key-value pairs for OMERO (.tsv)",
    )  # fmt: skip
    add = parser.add_argument_group("image").add_argument
    add("--axes", help="axes of the image file, e.g. tzyx; overrides the file's own metadata")
    add("--channels", metavar="C,C",
        help="channels of the image in the model's order: numbers from 0 or names, e.g. 2,1,0 or DAPI,GFP")  # fmt: skip
    add("--input", action="append", default=[], metavar="ID=FILE", help="image for a further input of the model")
    add("--pixel-size", metavar="SIZE",
        help="pixel size of the image in µm, e.g. 0.1, or 1,0.1,0.1 for z,y,x; overrides the file's own metadata",
    )  # fmt: skip
    add("--rescale", action="store_true",
        help="resample the image to the pixel size that the network was trained with, and the outputs back",
    )  # fmt: skip
    add("--model-pixel-size", metavar="SIZE",
        help="pixel size that the network was trained with in µm (default: as the model's description states)",
    )  # fmt: skip
    group = parser.add_argument_group("size and tiles")
    group.add_argument("--fit", choices=["tile", "resize", "exact"], default="tile",
        help="tile: cut larger images into tiles, pad smaller ones; resize: resample the image; exact: refuse images "
        "of another size (default: %(default)s)")  # fmt: skip
    group.add_argument(
        "--tile",
        type=_tile,
        metavar="ZxYxX",
        help="tile size in pixels, e.g. 512x512, or whole for one tile (default: auto)",
    )
    add_renamed(group, "--image-border", "--border", choices=["natural", "mirror"], default="natural",
        help="natural: the image ends at its border; mirror: mirrored pixels surround it (default: %(default)s)",
    )  # fmt: skip
    add = parser.add_argument_group("mean over copies").add_argument
    add("--augment", choices=get_args(Augment), default="none",
        help="average over copies of the image. flips: all flips of the axes of space; rotations: these flips, and "
        "quarter turns of the YX plane (default: %(default)s)")  # fmt: skip
    add("--uncertainty", action="store_true",
        help="also write the standard deviation over the copies, for each output")  # fmt: skip
    parser.add_argument_group("objects").add_argument(
        "--segment", action="store_true", help="also find objects: write a label map, a table and an overlay picture"
    )
    add = parser.add_argument_group("computing").add_argument
    add("--precision", choices=["float32", "bfloat16", "float16"], default="float32",
        help="lower precision is faster; float16 needs a GPU (default: %(default)s)")  # fmt: skip
    add("--weights", choices=get_args(WeightsName),
        help="weights that compute (default: the first that run: a state dict of a known network, TorchScript, ONNX)",
    )  # fmt: skip
    add("--engine", choices=get_args(EngineName), default="auto",
        help="library that computes; auto is onnxruntime for ONNX weights, else torch (default: %(default)s)",
    )  # fmt: skip
    add("--memory", type=_memory, metavar="SIZE",
        help="memory limit for the run, e.g. 4GiB (default: the memory available to this job)")  # fmt: skip
    add("--dask", type=_dask, metavar="ADDRESS",
        help="run on a Dask cluster: tls:// or tcp://HOST:PORT of the scheduler, or local:N for N worker "
        "processes")  # fmt: skip
    return parser


def _tile(text: str) -> tuple[int, ...] | str | None:
    if text in ("auto", "whole"):
        return None if text == "auto" else text
    parts = text.split("x")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 512x512")
    return tuple(map(int, parts))


def _verbose() -> argparse.ArgumentParser:
    """Return the parser of ``-v``. It stands beside ``-q`` in the help."""
    parser = option_parser()
    parser.add_argument_group("options").add_argument(
        "-v", "--verbose", action="store_true", help="print also processing steps, engine, memory and sandbox"
    )
    return parser


def _memory(text: str) -> str:
    """Return the text of ``--memory``. Raises :class:`UsageError` unless it is a size."""
    from ..machine.memory import parse_size

    parse_size(text)
    return text


def _dask(text: str) -> str:
    """Return the text of ``--dask``. Raises :class:`UsageError` unless it is an address."""
    from ..cluster.connect import check_address

    check_address(text)
    return text


def _output_name(text: str) -> "OutputName":
    """Return the pattern of ``--output-name``. Raises :class:`UsageError` for one that names no files."""
    from ..batch.output_name import OutputName

    return OutputName(text)


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
    from ..batch.image_arguments import find_images
    from ..batch.sample_sheet import is_sheet, read_samples
    from ..provenance.record import to_json

    options = RunOptions(**{field.name: getattr(arguments, field.name) for field in fields(RunOptions)})
    if options.names_files:
        _check_named_files(arguments)
    images = find_images(arguments.images, recursive=arguments.recursive)
    samples = read_samples(images.names)
    _check_used(arguments, images, single=len(samples) == 1)
    if not arguments.quiet:
        say(*images.notes, error=True)
    sheets = [path for path in map(user_path, images.names) if is_sheet(path)]
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
        # a single file may hold many images
        many = bool(sheets) or max(len(samples), len(result.outcomes), len(result.records)) > 1
        say_json(to_json(result.records if many else result.records[0]))
    return result.exit_code


def _check_named_files(arguments: argparse.Namespace) -> None:
    """Raise :class:`UsageError` for options that need a folder."""
    if arguments.output is not None:
        named = " and ".join(f"--{key}" for key in FORMAT_TITLES if getattr(arguments, key) is not None)
        raise UsageError(f"-o names a folder for all outputs, {named} names a file; give one or the other.")
    for name in ("format", "resume", "report", "segment", "ro_crate", "dask", "output_name", "add_prediction"):
        if getattr(arguments, name):
            raise UsageError(
                f"--{name.replace('_', '-')} needs a folder for its files. Give -o DIR instead of names of files."
            )


def _check_used(arguments: argparse.Namespace, images: "Images", *, single: bool) -> None:
    """Raise :class:`UsageError` for an option that changes nothing beside the other options."""
    if not arguments.segment:
        refuse_unused(arguments, OBJECT_OPTIONS, "without --segment", "Add --segment to find objects")
    on_cluster = arguments.dask is not None and single
    named = tuple(key for key in FORMAT_TITLES if getattr(arguments, key) is not None)
    formats = named or arguments.format or (("zarr",) if on_cluster else USUAL_FORMATS)
    if "tiff" not in formats:
        reason = (
            "with --dask and a single image, which is written as OME-Zarr" if on_cluster else "without a TIFF output"
        )
        refuse_unused(arguments, ["--tiff-layout"], reason, "" if on_cluster else "Write a TIFF as well")
    if arguments.add_prediction is not None:
        refuse_unused(
            arguments, ["--zarr-version"], "with --add-prediction: the prediction has the version of its image"
        )
    elif "zarr" not in formats:
        refuse_unused(arguments, ["--zarr-version"], "without an OME-Zarr output", "Add zarr to --format")
    if arguments.device.startswith(("cuda", "mps")) and arguments.engine == "openvino":
        refuse_unused(
            arguments, ["--engine"], f"with --device {arguments.device}: OpenVINO computes on CPUs", "Give --device cpu"
        )
    if not images.folders:
        refuse_unused(arguments, ["--recursive"], "because no IMAGE is a folder of images")
    if arguments.quiet:
        refuse_unused(arguments, ["--verbose"], "with --quiet")


def _task(arguments: argparse.Namespace, model: "Model") -> "Task":
    from ..batch.one_image import Task, check_object_channels
    from ..batch.resume import EarlierResults
    from ..inference.planning import check_inputs
    from ..options import Options, parse_channels
    from .segment import object_options

    typed = {field.name: getattr(arguments, field.name) for field in fields(Options)}
    options = Options(**{name: value for name, value in typed.items() if value is not None})
    others = _other_inputs(arguments.input)
    check_inputs(model.spec, others)
    earlier = EarlierResults(model, others) if arguments.resume else None
    objects = None
    if arguments.segment:
        channel = parse_channels(arguments.channels)[0] if arguments.channels else 0
        objects = object_options(arguments, image_axes=arguments.axes, image_channel=channel)
        check_object_channels(objects, model.spec.outputs[0])
    return Task(model, options, others, objects, earlier)


def _other_inputs(texts: Sequence[str]) -> dict[str, ImagePath]:
    """Return the files of ``--input`` by the ids of their inputs. Raises :class:`UsageError`."""
    found: dict[str, ImagePath] = {}
    for name, path in map(_named_file, texts):
        if name in found:
            raise UsageError(f"--input names {name!r} twice, {found[name]} and {path}. Give each input one file.")
        found[name] = path
    return found


def _named_file(text: str) -> tuple[str, ImagePath]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(f"--input {text!r} is not understood. Give ID=FILE, for instance --input mask=mask.tif.")
    return name, image_path(file)
