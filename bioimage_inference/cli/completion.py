"""``bioimage-inference completion``: print a script that completes commands, options and file names in a shell."""

import argparse
from typing import Any

from ..terminal import say
from .shared_options import DEBUG, add_command, option_parser

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/bioimage-inference",
    "zsh": "a folder of $fpath, as the file _bioimage-inference",
    "fish": "~/.config/fish/completions/bioimage-inference.fish",
}
# Names of values that are files or folders; all others, such as numbers, are not completed.
_FILES = ("FILE", "IMAGE", "MODEL", "PREDICTION", "PROVENANCE", "YAML")
_FOLDERS = ("DIR",)


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument("shell", metavar="SHELL", choices=list(SHELLS), help=", ".join(SHELLS))
    add_command(
        commands,
        run,
        "completion",
        parents=[own, DEBUG],
        help="print a script that completes commands and options in your shell",
        description="Print a script that completes commands, options and file names when you press the tab key. Save "
        "it where your shell looks for such scripts. "
        + " ".join(f"{shell.capitalize()}: {place}." for shell, place in SHELLS.items()),
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    import shtab

    from .program import make_parser

    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            if action.metavar in (*_FILES, *_FOLDERS):
                action.complete = shtab.FILE if action.metavar in _FILES else shtab.DIRECTORY
    say(*shtab.complete(parser, arguments.shell).splitlines())
    return 0
