"""``bioimage-inference download``: save models of the zoo as packages, for other machines and for servers."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files.typed_path import user_path
from ..terminal import say, say_json
from ..text import byte_size
from .shared_options import DEBUG, JSON, OFFLINE, OVERWRITE, QUIET, add_command, option_parser

if TYPE_CHECKING:
    from ..zoo.saved_package import SavedPackage


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument(
        "models", nargs="+", metavar="MODEL", help="id, title, DOI or page of a model of the zoo; affable-shark/1.2 is "
        "a version"
    )  # fmt: skip
    own.add_argument_group("outputs").add_argument(
        "-o", "--output", type=user_path, default=Path(), metavar="DIR",
        help="folder for the packages, which are called ID-VERSION.zip (default: the current folder)",
    )  # fmt: skip
    own.add_argument("--dry-run", action="store_true", help="look up the versions in the zoo; save nothing")
    add_command(
        commands,
        run,
        "download",
        parents=[own, OVERWRITE, JSON, OFFLINE, QUIET, DEBUG],
        help="save models of the BioImage.IO zoo as packages",
        description="Save models of the BioImage.IO zoo as packages, one zip for each model in its current version. A "
        "package that is in the folder is not downloaded again. Interrupted downloads continue.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Save the packages, and print a line for each, or with ``--json`` a list of :func:`_facts`."""
    from ..batch.output_files import make_output_folder
    from ..zoo.index import load_index
    from ..zoo.names import typed_name
    from ..zoo.saved_package import save_package

    index = load_index()
    names = {typed: typed_name(typed, index) for typed in arguments.models}
    unknown = next((typed for typed, name in names.items() if name is None), None)
    if unknown is not None:
        raise UsageError(
            f"{unknown!r} is not the name of a model of the zoo. Give an id such as affable-shark. "
            "`bioimage-inference models WORD` finds models by a word."
        )
    if not arguments.dry_run:
        make_output_folder(arguments.output)
    options = {name: getattr(arguments, name) for name in ("offline", "overwrite", "dry_run")}
    saved = []
    for name in names.values():
        assert name is not None
        saved.append(save_package(name, index, arguments.output, **options))
        if not (arguments.json or arguments.quiet):
            say(_line(saved[-1], arguments.dry_run))
    if arguments.json:
        say_json([_facts(one) for one in saved])
    return 0


def _line(saved: "SavedPackage", dry_run: bool) -> str:
    if not saved.is_new:
        return f"{saved.name}: {saved.path} is there already"
    return f"{saved.name}: {saved.path}" + ("" if dry_run else f" ({byte_size(saved.path.stat().st_size)})")


def _facts(saved: "SavedPackage") -> dict[str, Any]:
    """Return the facts of a package.

    =============  ====================================================================
    id, version    of the model; ``version`` may be null
    file           path of the package
    sha256         of the package; null if it is not there (``--dry-run``)
    new            false if the package was there before
    =============  ====================================================================
    """
    return {
        "id": saved.name.id,
        "version": saved.name.version,
        "file": str(saved.path),
        "sha256": saved.sha256,
        "new": saved.is_new,
    }
