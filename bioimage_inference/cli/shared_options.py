"""Options of several commands, as parents of their parsers, and the types of option values.

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


def option_parser() -> argparse.ArgumentParser:
    """Return a parser for ``parents=``. Groups with the same title in several parents become one group."""
    return argparse.ArgumentParser(add_help=False)


def add_command(commands: Any, run: Callable[[argparse.Namespace], int], name: str, **settings: Any) -> None:
    """Add the parser of a command to the subparsers ``commands``. ``run`` returns the command's exit code."""
    commands.add_parser(name, epilog=EPILOG, **settings).set_defaults(func=run)


def add_renamed(group: Any, name: str, old_name: str, **settings: Any) -> None:
    """Add an option under its name and, for existing scripts and workflows, under an old name that help hides.

    The parsed value has the old name.
    """
    settings["dest"] = old_name.removeprefix("--").replace("-", "_")
    group.add_argument(name, **settings)
    group.add_argument(old_name, **settings | {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS})


def positive(text: str) -> int:
    """Return a positive whole number."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number that a map can exceed. Give one such as 0.6")
    return value


def _model() -> argparse.ArgumentParser:
    parser = option_parser()
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="model package (.zip), its folder or rdf.yaml, a weights file, or a zoo id such as affable-shark",
    )
    return parser


def _bare_weights() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument_group("weights without a description").add_argument
    add("--description", type=input_path, metavar="YAML", help="description (rdf.yaml) of the weights")
    add("--model-axes", metavar="AXES", help="axes of the input, bcyx or bczyx, if there is no description")
    add("--model-size", metavar="X,Y,Z,C", help="size of the input, e.g. 256,256,1,1, if there is no description")
    return parser


def _objects() -> argparse.ArgumentParser:
    parser = option_parser()
    group = parser.add_argument_group("objects")
    add_renamed(group, "--object-foreground", "--foreground", default="0", metavar="CHANNEL",
                help="channel of the prediction that is high inside objects: its number from 0, or its name "
                "(default: %(default)s)")  # fmt: skip
    add_renamed(group, "--object-boundary", "--boundary", default="1", metavar="CHANNEL",
                help="channel of the prediction that is high at the outlines of objects, or none "
                "(default: %(default)s)")  # fmt: skip
    add_renamed(group, "--object-threshold", "--threshold", type=_finite, default=0.6, metavar="VALUE",
                help="objects grow from pixels where foreground minus boundary exceeds this value "
                "(default: %(default)s)")  # fmt: skip
    add_renamed(group, "--object-min-size", "--min-size", type=positive, metavar="N",
                help="smallest object, in pixels (default: 10 in 2-D, 50 in 3-D)")  # fmt: skip
    return parser


def _device() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument_group("computing").add_argument
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--threads", type=positive, metavar="N", help="CPU threads (default: the processors available to this job)")
    return parser


def _trust() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument_group("computing").add_argument
    add("--trust-model-code", action="store_true", help="run the model's Python code, and load its weights unchecked")
    add("--no-sandbox", action="store_true", help="let the model read and write all files, and use the internet")
    return parser


def _switch(name: str, words: str, group: str | None = None) -> argparse.ArgumentParser:
    parser = option_parser()
    (parser.add_argument_group(group) if group else parser).add_argument(name, action="store_true", help=words)
    return parser


MODEL = _model()
BARE_WEIGHTS = _bare_weights()
OBJECTS = _objects()
DEVICE = _device()
TRUST = _trust()
OVERWRITE = _switch("--overwrite", "replace existing files, also files that are no earlier results", "outputs")
JSON = _switch("--json", "print the result as JSON", "outputs")
OFFLINE = _switch("--offline", "do not use the internet; a model of the zoo must be in the cache")
DEBUG = _switch("--debug", "show where in the program an error occurs")
