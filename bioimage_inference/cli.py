"""The command line: ``bioimage-inference COMMAND``. :func:`main` returns the exit code of ``errors.py``.

Everything slow is imported inside the commands, so that ``--help`` answers at once.
"""

import argparse
import gc
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ._version import __version__
from .errors import NO_CURRENT_FOLDER, UsageError, has_current_folder, in_our_words
from .files.partial_file import committed_files, forget_committed_files
from .files.typed_path import input_path, user_path
from .terminal import check_output, own_output, say

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
_MOST_NAMED = 4

_EPILOG = """exit codes: 0 done; 1 a bug of this program; 2 wrong usage; 3 model not trusted; 4 model broken or not
supported; 5 image broken or does not fit the model; 6 out of memory; 7 outputs differ from those published or
recorded; 8 outputs may not be written there; 9 no room for outputs"""

_MODEL = "package (.zip), its folder or rdf.yaml, a weights file, or a zoo id such as affable-shark"
_OFFLINE = "touch no network; models of the zoo must be in the cache"
_NO_SANDBOX = "leave the process every file and the network while the model computes"
_OVERWRITE = "replace existing files also where no record beside them says that they are earlier results"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one paragraph, like all our errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help and version, which argparse would print to ``sys.stdout``."""
        del file
        say(*message.splitlines())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to standard error as one paragraph."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    forget_committed_files()
    with own_output():
        try:
            exit_code = _command(arguments)
            if exit_code == 0:
                check_output()
            return exit_code
        except BrokenPipeError:  # whoever reads our output, `head` say, has seen enough
            return EXIT_BROKEN_PIPE
        except (Exception, KeyboardInterrupt) as error:
            if "--debug" in arguments and not isinstance(error, KeyboardInterrupt):
                say(*traceback.format_exc().splitlines(), error=True)
            message, exit_code = _explained(error)
            say(message, error=True)
            return exit_code


def _command(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    try:
        parsed = _parser().parse_args(arguments)
    except SystemExit:  # after --help and --version
        check_output()
        raise
    if not has_current_folder():  # libraries need it; oneMKL ends the process without it
        raise UsageError(NO_CURRENT_FOLDER)
    # the function of the command NAME is NAME_command in commands/NAME.py
    command = import_module(f".commands.{parsed.command}", __package__)
    exit_code: int = getattr(command, f"{parsed.command}_command")(parsed)
    return exit_code


def _explained(error: BaseException) -> tuple[str, int]:
    """What an exception that ended the command means to the user, and the exit code."""
    interruption = _interruption_before(error)
    if interruption:  # runs over many images say in it how far they came
        return str(interruption) or f"Interrupted. {_written()}", EXIT_INTERRUPTED
    ours = in_our_words(error)
    written = _also_written() if ours is error else f" {_written()}"
    return f"{ours}{written}", ours.exit_code


def _interruption_before(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interruption that led to ``error``: an interrupted ``with lock`` fails itself, for one, when it ends."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _written() -> str:
    """Which files have their final names, in a sentence."""
    paths = committed_files()
    if not paths:
        return "Nothing was written."
    named = ", ".join(map(str, paths[:_MOST_NAMED]))
    return f"Written and complete: {named}{f' and {len(paths) - _MOST_NAMED} more' if paths[_MOST_NAMED:] else ''}."


def _also_written() -> str:
    """The same after an error of which the text says what is missing; nothing where nothing was written."""
    return f" {_written()}" if committed_files() else ""


def run() -> NoReturn:
    """Entry point of the installed program."""
    from .machine.process_settings import set_up_process
    from .machine.sandbox import may_be_restricted
    from .network.interruptions import interrupt_for_certain

    interrupt_for_certain()
    set_up_process()
    may_be_restricted()
    gc.set_threshold(100_000)  # what imports make stays, and looking through it again and again takes a tenth of them
    exit_code = main()
    if exit_code == EXIT_INTERRUPTED:  # perhaps in the middle of cleaning up
        from .files.scratch import leave_nothing

        leave_nothing()
    gc.freeze()  # at exit too
    sys.exit(exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bioimage-inference",
        description="Run pre-trained BioImage.IO models on scientific images.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_segment(commands)
    _add_rerun(commands)
    _add_inspect(commands)
    _add_validate(commands)
    _add_models(commands)
    demo = commands.add_parser(
        "demo",
        help="run the bundled model on the bundled image",
        description="Run the bundled model on the bundled image of nuclei, and say what was written.",
        epilog=_EPILOG,
    )
    demo.add_argument("-o", "--output", type=user_path, default=Path("demo-output"), metavar="DIR",
                      help="folder for all outputs (default: %(default)s)")  # fmt: skip
    demo.add_argument("--overwrite", action="store_true", help=_OVERWRITE)
    demo.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="run a model on images",
        description="Run a model on images. Axes, normalisation, tiles and halo come from the model's description.",
        epilog=_EPILOG,
    )
    add = predict.add_argument
    add("model", metavar="MODEL", help=_MODEL)
    add("images", metavar="IMAGE", nargs="+",
        help="TIFF, PNG, JPEG, .npy, OME-Zarr (folder or zip), or a sample sheet (.csv, .tsv) of images")  # fmt: skip

    _add_outputs(predict)

    image = predict.add_argument_group("image").add_argument
    image("--axes", help="axes of the image file, e.g. tzyx, whatever it says itself")
    image("--channels", metavar="C,C",
          help="channels to take, numbers from 0 or names, in the model's order, e.g. 2,1,0 or DAPI,GFP")  # fmt: skip
    image("--input", action="append", default=[], metavar="ID=FILE", help="a further input tensor of the model")

    _add_bare_weights(predict)

    tiling = predict.add_argument_group("size and tiles").add_argument
    tiling("--fit", choices=["tile", "resize", "exact"], default="tile",
           help="images of another size: tile and pad, resize, or refuse (default: %(default)s)")  # fmt: skip
    tiling("--tile", type=_tile, metavar="ZxYxX", help="pixels of a tile, e.g. 512x512 (default: auto)")
    tiling("--border", choices=["natural", "mirror"], default="natural",
           help="beyond the image's border: nothing, or mirrored pixels (default: %(default)s)")  # fmt: skip

    objects = predict.add_argument_group("objects").add_argument
    objects("--segment", action="store_true", help="also find objects: a label image, a table and an overlay picture")
    _add_object_options(objects)

    _add_computing(predict)


def _add_outputs(predict: Any) -> None:
    outputs = predict.add_argument_group("outputs").add_argument
    outputs("-o", "--output", type=user_path, metavar="DIR", help="folder for all outputs (default: the current one)")
    outputs("--tiff", type=user_path, metavar="FILE", help="TIFF of the first output of a single image")
    outputs("--npy", type=user_path, metavar="FILE", help=".npy of the first output of a single image")
    outputs("--tiff-layout", choices=["pages", "labelled"], default="pages",
            help="pages: every channel a page (axes QYX); labelled: axes, channel names and pixel size kept "
            "(default: %(default)s)")  # fmt: skip
    outputs("--report", action="store_true", help="also write a report of each image, a page for the browser")
    outputs("--overwrite", action="store_true", help=_OVERWRITE)
    outputs("--resume", action="store_true", help="skip images that are complete in the folder already")
    outputs("--ro-crate", type=_crate_folder, metavar="DIR",
            help="also describe images, model and outputs as a Process Run Crate in that folder")  # fmt: skip
    outputs("--json", action="store_true", help="print the record of the run as JSON")


def _add_computing(predict: Any) -> None:
    compute = predict.add_argument_group("computing").add_argument
    compute("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    compute(
        "--threads", type=_positive, metavar="N", help="CPU threads (default: the processors available to this job)"
    )
    compute("--precision", choices=["float32", "bfloat16", "float16"], default="float32",
            help="fewer digits compute faster; float16 on a GPU only (default: %(default)s)")  # fmt: skip
    compute("--engine", choices=["auto", "torch", "openvino"], default="auto",
            help="what computes on a CPU; auto is torch (default: %(default)s)")  # fmt: skip
    compute(
        "--memory",
        metavar="SIZE",
        help="memory limit for the run, e.g. 4GiB (default: the memory available to this job)",
    )
    compute("--dask", metavar="ADDRESS",
            help="share the work out: tls:// or tcp://HOST:PORT of a Dask scheduler, "
            "or local:N processes here")  # fmt: skip
    compute("--trust-model-code", action="store_true", help="run Python code that comes with the model")
    compute("--no-sandbox", action="store_true", help=_NO_SANDBOX)
    compute("--dry-run", action="store_true", help="print axes, tiles and outputs; compute nothing")
    compute("--offline", action="store_true", help=_OFFLINE)
    compute("--debug", action="store_true", help="show where an error comes from")


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="say what a model takes and gives, and whether it runs here",
        description="Say what a model is for, what it takes and gives, and whether it runs here. Runs nothing of it.",
        epilog=_EPILOG,
    )
    add = inspect.add_argument
    add("model", metavar="MODEL", help=_MODEL)
    add("--json", action="store_true", help="print the facts as JSON")
    add("--html", type=user_path, metavar="FILE", help="also write them as a page for the browser")
    add("--overwrite", action="store_true", help=_OVERWRITE)
    add("--offline", action="store_true", help=_OFFLINE)
    _add_bare_weights(inspect)
    add("--debug", action="store_true", help="show where an error comes from")


def _add_validate(commands: Any) -> None:
    validate = commands.add_parser(
        "validate",
        help="check that a model reproduces its published outputs here",
        description="Run a model on the test image of its package and compare with the outputs published there.",
        epilog=_EPILOG,
    )
    add = validate.add_argument
    add("model", metavar="MODEL", help=_MODEL)
    add("--weights", choices=["torchscript", "pytorch_state_dict"], help="only these weights (default: all)")
    add("--halo", action="store_true", help="also measure how far the network looks, and whether its halo covers that")
    add("-o", "--output", type=user_path, default=Path(), metavar="DIR",
        help="folder for pictures of differences (default: the current one)")  # fmt: skip
    add("--overwrite", action="store_true", help=_OVERWRITE)
    add("--json", action="store_true", help="print the findings as JSON")
    add(
        "--description", type=input_path, metavar="YAML", help="the description (rdf.yaml) that belongs to bare weights"
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    add("--threads", type=_positive, metavar="N", help="CPU threads (default: the processors available to this job)")
    add("--trust-model-code", action="store_true", help="run Python code that comes with the model")
    add("--no-sandbox", action="store_true", help=_NO_SANDBOX)
    add("--offline", action="store_true", help=_OFFLINE)
    add("--debug", action="store_true", help="show where an error comes from")


def _add_models(commands: Any) -> None:
    models = commands.add_parser(
        "models",
        help="list the models of the BioImage.IO zoo that this program knows",
        description="List the models of the BioImage.IO zoo that this program knows: what each is for, its axes, its "
        "licence, and what it needs here. Give an id as MODEL to predict, inspect or validate.",
        epilog=_EPILOG,
    )
    add = models.add_argument
    add("--search", metavar="WORDS", help="only those with all these words in id, name, tags or authors, e.g. nuclei")
    add("--json", action="store_true", help="print the list as JSON")
    add("--debug", action="store_true", help="show where an error comes from")


def _add_segment(commands: Any) -> None:
    segment = commands.add_parser(
        "segment",
        help="turn predicted foreground and boundary into objects",
        description="Turn a prediction of foreground and boundary into objects: a label image (0 is background), a "
        "table of sizes, places and intensities, and an overlay picture. In 2-D and 3-D; each time point by itself.",
        epilog=_EPILOG,
    )
    add = segment.add_argument
    add("prediction", metavar="PREDICTION", type=input_path, help="TIFF or .npy that predict wrote, or OME-Zarr")
    add(
        "--image",
        type=input_path,
        metavar="IMAGE",
        help="the image that was predicted, for intensities and the overlay",
    )
    add("--axes", help="axes of PREDICTION, e.g. tcyx, whatever it says itself")
    _add_object_options(add)
    outputs = segment.add_argument_group("outputs").add_argument
    outputs("-o", "--output", type=user_path, metavar="DIR", help="folder for all outputs (default: the current one)")
    outputs("--labels", type=user_path, metavar="FILE", help="TIFF of labels")
    outputs("--table", type=user_path, metavar="FILE", help="table of objects: .csv, or .tsv with tabs")
    outputs("--overlay", type=user_path, metavar="FILE", help="PNG of the outlines over the image")
    outputs("--overwrite", action="store_true", help=_OVERWRITE)
    outputs("--json", action="store_true", help="print what was found as JSON")
    add("--debug", action="store_true", help="show where an error comes from")


def _add_object_options(add: Any) -> None:
    """How objects are found; ``segment_options`` in commands/segment.py reads these."""
    add("--foreground", default="0", metavar="CHANNEL",
        help="predicted channel that is high in objects, a number from 0 or a name (default: %(default)s)")  # fmt: skip
    add("--boundary", default="1", metavar="CHANNEL",
        help="predicted channel that is high at their borders, or none (default: %(default)s)")  # fmt: skip
    add("--threshold", type=float, default=0.6, metavar="VALUE",
        help="objects grow from where foreground - boundary exceeds it (default: %(default)s)")  # fmt: skip
    add("--min-size", type=_positive, metavar="N", help="pixels of the smallest object (default: 10, in 3-D 50)")


def _crate_folder(text: str) -> Path:
    """The folder of ``--ro-crate``; that the library for it is there is checked before anything is computed."""
    from .provenance.ro_crate import check_installed

    check_installed()
    return user_path(text)


def _add_rerun(commands: Any) -> None:
    rerun = commands.add_parser(
        "rerun",
        help="repeat a run from its record, and say whether the outputs are identical",
        description="Repeat a run from its record, with the same options, tiles, engine and device, and say whether "
        "the outputs are identical. Model and images must be those of the record.",
        epilog=_EPILOG,
    )
    add = rerun.add_argument
    add("record", metavar="PROVENANCE", type=input_path, help="the *_provenance.json that predict wrote")
    add("-o", "--output", type=user_path, metavar="DIR", help="keep the new outputs there (default: remove them)")
    add("--overwrite", action="store_true", help=_OVERWRITE)
    add("--json", action="store_true", help="print the findings as JSON")
    add("--trust-model-code", action="store_true", help="run Python code that comes with the model")
    add("--no-sandbox", action="store_true", help=_NO_SANDBOX)
    add("--offline", action="store_true", help=_OFFLINE)
    add("--debug", action="store_true", help="show where an error comes from")


def _add_bare_weights(command: Any) -> None:
    add = command.add_argument_group("weights without a description").add_argument
    add("--description", type=input_path, metavar="YAML", help="the description (rdf.yaml) that belongs to the weights")
    add("--model-axes", metavar="AXES", help="without any description: axes of the input, bcyx or bczyx")
    add("--model-size", metavar="X,Y,Z,C", help="without any description: its size, e.g. 256,256,1,1")


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _tile(text: str) -> tuple[int, ...] | None:
    if text == "auto":
        return None
    parts = text.split("x")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 512x512")
    return tuple(map(int, parts))
