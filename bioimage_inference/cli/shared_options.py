"""Options of several commands, as parents of their parsers.

The modules of this room import slow libraries inside functions only, so that ``--help`` answers at once.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

from ..files.typed_path import input_path

EPILOG = """exit codes: 0 done; 1 a bug of this program; 2 wrong usage; 3 model not trusted; 4 model broken or not
supported; 5 image broken or does not fit the model; 6 out of memory; 7 outputs differ from the published or recorded
outputs; 8 no permission to write the outputs; 9 no room for the outputs"""


def add_command(commands: Any, run: Callable[[argparse.Namespace], int], name: str, **settings: Any) -> None:
    """Add the parser of a command to the subparsers ``commands``. ``run`` returns the command's exit code."""
    commands.add_parser(name, epilog=EPILOG, **settings).set_defaults(func=run)


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


def _switch(name: str, words: str, group: str = "options") -> argparse.ArgumentParser:
    parser = option_parser()
    parser.add_argument_group(group).add_argument(name, action="store_true", help=words)
    return parser


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


OVERWRITE = _switch("--overwrite", "replace existing files, also files that are no earlier results", "outputs")
JSON = _switch("--json", "print the result as JSON", "outputs")
OFFLINE = _switch(
    "--offline", "do not use the internet; a model of the zoo must be in the cache, and an image must be a file"
)
DEBUG = _switch("--debug", "show where in the program an error occurs")

MODEL = option_parser()
MODEL.add_argument(
    "model",
    metavar="MODEL",
    help="model package (.zip), its folder or rdf.yaml, a weights file, or a zoo id such as affable-shark",
)

SELECTION = option_parser()
_add = SELECTION.add_argument_group("image").add_argument
_add("--series", "--scene", metavar="N|NAME",
     help="image of a file with several images: its number from 0 or its name, a list such as 0,2, or all "
     "(default: the first image that is no preview)")  # fmt: skip
_add("--level", type=_number, default=0, metavar="N",
     help="level of the image's pyramid (default: 0, the full resolution)")  # fmt: skip
_add("--well", metavar="WELL", help="wells of an OME-Zarr plate, e.g. B03 or B03,C04 (default: all)")
_add("--field", metavar="N", help="fields of view in each well: names or numbers from 0, e.g. 0,1 (default: all)")

BARE_WEIGHTS = option_parser()
_add = BARE_WEIGHTS.add_argument_group("weights without a description").add_argument
_add("--description", type=input_path, metavar="YAML", help="description (rdf.yaml) of the weights")
_add("--model-axes", metavar="AXES", help="axes of the input, bcyx or bczyx, if there is no description")
_add("--model-size", metavar="X,Y,Z,C", help="size of the input, e.g. 256,256,1,1, if there is no description")

DEVICE = option_parser()
_add = DEVICE.add_argument_group("computing").add_argument
_add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
_add("--threads", type=_positive, metavar="N", help="CPU threads (default: the processors available to this job)")

TRUST = option_parser()
_add = TRUST.add_argument_group("computing").add_argument
_add("--trust-model-code", action="store_true", help="run the model's Python code, and load its weights unchecked")
_add("--no-sandbox", action="store_true", help="let the model read and write all files, and use the internet")

OBJECTS = option_parser()
_group = OBJECTS.add_argument_group("objects")
add_renamed(_group, "--object-foreground", "--foreground", default="0", metavar="CHANNEL",
            help="predicted channel that is high inside objects: its number from 0, or its name "
            "(default: %(default)s)")  # fmt: skip
add_renamed(_group, "--object-boundary", "--boundary", default="1", metavar="CHANNEL",
            help="predicted channel that is high at outlines of objects, or none (default: %(default)s)")  # fmt: skip
add_renamed(_group, "--object-threshold", "--threshold", type=_finite, default=0.6, metavar="VALUE",
            help="objects grow from pixels where foreground minus boundary exceeds this value "
            "(default: %(default)s)")  # fmt: skip
add_renamed(_group, "--object-min-size", "--min-size", type=_positive, metavar="N",
            help="smallest object, in pixels (default: 10 in 2-D, 50 in 3-D)")  # fmt: skip
