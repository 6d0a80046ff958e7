"""The program: it parses the command line, runs a command, and explains every error in one paragraph."""

import argparse
import gc
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from .._version import __version__
from ..errors import NO_CURRENT_FOLDER, UsageError, has_current_folder, in_our_words
from ..files.partial_file import committed_files, forget_committed_files
from ..machine.interruptions import EXIT_INTERRUPTED, interrupt_for_certain
from ..terminal import be_quiet, check_output, own_output, say
from . import compare, completion, demo, doctor, download, inspect, models, predict, rerun, segment, validate
from .shared_options import EPILOG
from .typed_options import check_understood

COMMANDS = (predict, segment, compare, rerun, inspect, validate, models, download, demo, doctor, completion)
EXIT_BROKEN_PIPE = 141
_MOST_NAMED = 4  # files in an error message


class _Parser(argparse.ArgumentParser):
    """An argument parser that reports errors and prints help as the rest of the program does.

    It takes no abbreviations of options: a script with one would change its meaning with a new option.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")

    # A private method of argparse, tested with Python 3.11. argparse itself prints help to sys.stdout, which here is
    # the log (see own_output).
    def _print_message(self, message: str, file: Any = None) -> None:
        del file
        say(*message.splitlines())


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands. The parsed ``func`` runs the command and returns its exit code."""
    parser = _Parser(
        prog="bioimage-inference",
        description="Run pre-trained BioImage.IO models on scientific images.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(quiet=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, which ``errors.py`` lists. Print errors to standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    forget_committed_files()
    with own_output():
        try:
            exit_code = _run_command(arguments)
            if exit_code == 0:
                check_output()
            return exit_code
        except BrokenPipeError:  # the reader of the output, for example `head`, has closed it
            return EXIT_BROKEN_PIPE
        except (Exception, KeyboardInterrupt) as error:
            if "--debug" in arguments and not isinstance(error, KeyboardInterrupt):
                say(*traceback.format_exc().splitlines(), error=True)
            message, exit_code = _explain(error)
            say(message, error=True)
            return exit_code


def run() -> NoReturn:
    """Run the installed program: set up the process, run one command, and exit."""
    from ..machine.process_settings import set_up_process
    from ..machine.sandbox import may_be_restricted

    interrupt_for_certain()
    set_up_process()
    may_be_restricted()
    # Objects created by imports live until exit. Rare garbage collections make start-up 10 % faster.
    gc.set_threshold(100_000)
    exit_code = main()
    if exit_code == EXIT_INTERRUPTED:  # the interruption may have stopped a removal of temporary files
        from ..files.scratch import leave_nothing

        leave_nothing()
    gc.freeze()  # no collection of these objects at exit either
    sys.exit(exit_code)


def _run_command(arguments: Sequence[str]) -> int:
    try:
        parsed, unknown = make_parser().parse_known_args(arguments)
    except SystemExit:  # after --help and --version
        check_output()
        raise
    check_understood(parsed, unknown)
    if parsed.quiet:
        be_quiet()
    if not has_current_folder():  # oneMKL ends the process without an error message if there is none
        raise UsageError(NO_CURRENT_FOLDER)
    exit_code: int = parsed.func(parsed)
    return exit_code


def _explain(error: BaseException) -> tuple[str, int]:
    """Return the message and the exit code for an exception that ended the command."""
    written = _written_files()
    interruption = _interruption(error)
    if interruption is not None:  # a run over many images puts its progress into the exception
        return str(interruption) or f"Interrupted. {written or 'Nothing was written.'}", EXIT_INTERRUPTED
    explained = in_our_words(error)
    if explained is not error:
        written = written or "Nothing was written."
    return f"{explained} {written}".rstrip(), explained.exit_code


def _interruption(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interruption that led to ``error``: an interrupted ``with lock``, for one, fails when it ends."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _written_files() -> str:
    """Return a sentence with the files that are complete, or an empty text if there are none."""
    paths = committed_files()
    if not paths:
        return ""
    more = f" and {len(paths) - _MOST_NAMED} more" if paths[_MOST_NAMED:] else ""
    return f"Written and complete: {', '.join(map(str, paths[:_MOST_NAMED]))}{more}."
