"""Options of several commands, as parents of their parsers.

The modules of this room import slow libraries inside functions only, so that ``--help`` answers at once.
"""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from ..files.typed_path import input_path

EPILOG = """exit codes: 0 done; 1 a bug of this program; 2 wrong usage; 3 model not trusted; 4 model broken or not
supported; 5 image broken or does not fit the model; 6 out of memory; 7 outputs differ from the published or recorded
outputs; 8 no permission to write the outputs; 9 no room for the outputs"""


def add_command(commands: Any, run: Callable[[argparse.Namespace], int], name: str, **settings: Any) -> None:
    """Add the parser of a command to the subparsers ``commands``. ``run`` returns the command's exit code.

    The parsed ``func`` is ``run``, and ``parser`` the command's parser.
    """
    parser = commands.add_parser(name, epilog=EPILOG, **settings)
    parser.set_defaults(func=run, parser=parser)


def option_parser() -> argparse.ArgumentParser:
    """Return a parser for ``parents=``. Groups with the same title in several parents become one group."""
    return argparse.ArgumentParser(add_help=False)


def add_renamed(group: Any, name: str, old_name: str, **settings: Any) -> None:
    """Add an option under its name and, for existing scripts and workflows, under an old name that help hides.

    The parsed value has the old name.
    """
    settings["dest"] = old_name.removeprefix("--").replace("-", "_")
    group.add_argument(name, **settings)
    group.add_argument(old_name, **settings | {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS})


def _switch(*names: str, words: str, group: str = "options") -> argparse.ArgumentParser:
    parser = option_parser()
    parser.add_argument_group(group).add_argument(*names, action="store_true", help=words)
    return parser


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not known. Use auto, cpu, cuda, cuda:N or mps")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number that a map can exceed. Give one such as 0.6")
    return value


def _overlap(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0 and up to 1. Give one such as 0.25, or put the option behind the files"
        )
    return value


OVERWRITE = _switch(
    "--overwrite", words="replace existing files, also files that are no earlier results", group="outputs"
)
JSON = _switch("--json", words="print the result as JSON", group="outputs")
OFFLINE = _switch(
    "--offline", words="do not use the internet; a model of the zoo must be in the cache, and an image must be a file"
)
QUIET = _switch("-q", "--quiet", words="print errors only, and the result of --json")
DEBUG = _switch("--debug", words="show where in the program an error occurs")

MODEL = option_parser()
MODEL.add_argument(
    "model",
    metavar="MODEL",
    help="model package (.zip), its folder or rdf.yaml, a weights file, or a zoo id such as affable-shark",
)


def _selection(series: str, well: str, field: str) -> argparse.ArgumentParser:
    """Return the options that choose images of a file, with their own words for three of them."""
    parser = option_parser()
    add = parser.add_argument_group("image").add_argument
    words = f"image of a file with several images: {series} (default: the first image that is no preview)"
    add("--series", "--scene", metavar="N|NAME", help=words)
    words = "level of the image's pyramid (default: 0, the full resolution)"
    add("--level", type=_number, default=0, metavar="N", help=words)
    add("--well", metavar="WELL", help=well)
    add("--field", metavar="N", help=field)
    return parser


SELECTION = _selection(
    "its number from 0 or its name, a list such as 0,2, or all",
    "wells of an OME-Zarr plate, e.g. B03 or B03,C04 (default: all)",
    "fields of view in each well: names or numbers from 0, e.g. 0,1 (default: all)",
)
ONE_IMAGE = _selection(
    "its number from 0 or its name",
    "well of an OME-Zarr plate, e.g. B03",
    "field of view in the well: its name or its number from 0",
)
"""The options of commands that take a single image."""

BARE_WEIGHTS = option_parser()
_add = BARE_WEIGHTS.add_argument_group("weights without a description").add_argument
_add("--description", type=input_path, metavar="YAML", help="description (rdf.yaml) of the weights")
_add("--model-axes", metavar="AXES", help="axes of the input, bcyx or bczyx, if there is no description")
_add("--model-size", metavar="X,Y,Z,C", help="size of the input, e.g. 256,256,1,1, if there is no description")

DEVICE = option_parser()
_add = DEVICE.add_argument_group("computing").add_argument
_add(
    "--device",
    type=_device,
    default="auto",
    help="auto, cpu, cuda, cuda:N, or mps for the GPU of a Mac (default: %(default)s)",
)
_add("--threads", type=_positive, metavar="N", help="CPU threads (default: the processors available to this job)")

TRUST = option_parser()
_add = TRUST.add_argument_group("computing").add_argument
_add("--trust-model-code", action="store_true", help="run the model's Python code, and load its weights unchecked")
_add("--no-sandbox", action="store_true", help="let the model read and write all files, and use the internet")

OBJECT_OPTIONS = (
    *("--rois", "--add-labels", "--object-foreground", "--object-boundary", "--object-threshold", "--object-min-size"),
    *("--object-max-size", "--object-exclude-border", "--object-fill-holes", "--object-stitch"),
)
_OBJECT_FILES = option_parser()
_group = _OBJECT_FILES.add_argument_group("objects")
_group.add_argument("--rois", action="store_true",
                    help="also write regions of interest: a ROI set for ImageJ (.zip), GeoJSON for QuPath, a table for "
                    "OMERO (.tsv)")  # fmt: skip
_group.add_argument("--add-labels", metavar="NAME",
                    help="also add the label map as NAME to the OME-Zarr of the image")  # fmt: skip

# Without a default value: an option that was typed for nothing is an error. The defaults are those of SegmentOptions.
OBJECT_CHOICES = option_parser()
_group = OBJECT_CHOICES.add_argument_group("objects")
add_renamed(_group, "--object-foreground", "--foreground", metavar="CHANNEL",
            help="predicted channel that is high inside objects: its number from 0, or its name (default: 0)",
)  # fmt: skip
add_renamed(_group, "--object-boundary", "--boundary", metavar="CHANNEL",
            help="predicted channel that is high at outlines of objects, or none (default: 1)")  # fmt: skip
add_renamed(_group, "--object-threshold", "--threshold", type=_finite, metavar="VALUE",
            help="objects grow from pixels where foreground minus boundary exceeds this value (default: 0.6)",
)  # fmt: skip
add_renamed(_group, "--object-min-size", "--min-size", type=_positive, metavar="N",
            help="smallest object, in pixels (default: 10 in 2-D, 50 in 3-D)")  # fmt: skip
add_renamed(_group, "--object-max-size", "--max-size", type=_positive, metavar="N",
            help="largest object, in pixels (default: no limit)")  # fmt: skip
add_renamed(_group, "--object-exclude-border", "--exclude-border", action="store_true",
            help="leave out objects that touch the border of the image")  # fmt: skip
add_renamed(_group, "--object-fill-holes", "--fill-holes", action="store_true",
            help="give background that an object encloses to the object")  # fmt: skip
add_renamed(_group, "--object-stitch", "--stitch", type=_overlap, nargs="?", const=0.25, metavar="IOU",
            help="find objects in each plane of a stack, and join objects of neighbouring planes whose intersection "
            "over union is at least IOU (0.25 if no number follows)")  # fmt: skip

OBJECTS = argparse.ArgumentParser(add_help=False, parents=[_OBJECT_FILES, OBJECT_CHOICES])
