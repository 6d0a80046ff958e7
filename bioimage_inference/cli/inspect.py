"""``bioimage-inference inspect``: describe a model, its inputs and outputs, and whether it runs here."""

import argparse
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files.typed_path import user_path
from ..terminal import line_width, say, say_json
from .shared_options import BARE_WEIGHTS, DEBUG, JSON, MODEL, OFFLINE, OVERWRITE, add_command, option_parser
from .typed_options import refuse_unused

if TYPE_CHECKING:
    from ..zoo.resolving import OpenedModel

_INDENT = 12


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument_group("outputs").add_argument(
        "--html", type=user_path, metavar="FILE", help="also write the description as an HTML page"
    )
    add_command(
        commands,
        run,
        "inspect",
        parents=[MODEL, own, OVERWRITE, JSON, BARE_WEIGHTS, OFFLINE, DEBUG],
        help="describe a model, its inputs and outputs, and whether it runs here",
        description="Describe what a model is for, its inputs and outputs, and whether it runs here. Runs no part of "
        "the model.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the description of a model: as lines, or with ``--json`` the result of ``model_facts``.

    Returns 0 also for a model that cannot run here. The description gives the reason.
    """
    from ..files.overwriting import check_writable
    from ..files.partial_file import write_whole
    from ..report.model_facts import model_facts
    from ..zoo.index import trust_policy

    if arguments.html is None:
        refuse_unused(arguments, ["--overwrite"], "without --html, because nothing is written", "Add --html FILE")
    policy = trust_policy()
    with _opened(arguments) as opened:
        if arguments.html is not None:
            check_writable([arguments.html], opened.package.files, overwrite=arguments.overwrite)
        facts = model_facts(opened, policy)
        if arguments.html is not None:
            from ..report.model_card import cover_picture, model_card

            write_whole(arguments.html, model_card(facts, cover_picture(opened)).encode())
    if arguments.json:
        say_json(facts)
    else:
        say(*_lines(facts, line_width(100)))
    return 0


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator["OpenedModel"]:
    """Open the model's files, also a TorchScript file without any description, or a zoo model's line in the index."""
    from ..api import open_model
    from ..model.package import weights_kind
    from ..zoo.resolving import model_in_index

    described = {name: getattr(arguments, name) for name in ("description", "model_axes", "model_size")}
    known = None if any(described.values()) else model_in_index(arguments.model)
    if known is not None:
        yield known
        return
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_model(arguments.model, **described, offline=arguments.offline)).opened
        except UsageError as error:
            path = Path(arguments.model)
            # os.path.isfile is False for a text that cannot be a file name; Path.is_file raises an error.
            if any(described.values()) or not os.path.isfile(path) or weights_kind(path) != "torchscript":  # noqa: PTH113
                raise
            opened = _undescribed(path, str(error))
        yield opened


def _undescribed(weights: Path, note: str) -> "OpenedModel":
    """Return a model that consists of a TorchScript file."""
    from ..model.package import Package, file_sha256
    from ..model.spec import ModelSpec, WeightsEntry
    from ..zoo.resolving import OpenedModel

    root, sha256 = weights.absolute().parent, file_sha256(weights)
    entry = WeightsEntry("torchscript", weights.name)
    spec = ModelSpec(weights.name, (), (), (entry,), root, sha256=sha256, notes=(note,))
    return OpenedModel(spec, Package(root, None, None, weights, sha256, weights))


def _lines(facts: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield the facts of ``model_facts``, in lines of at most ``width`` letters unless a word is longer."""
    width = max(width, 40)
    known = [part for part in (facts["id"], facts["version"] and f"version {facts['version']}") if part]
    yield facts["name"] + (f" ({', '.join(known)})" if known else "")
    if facts["description"]:
        yield from textwrap.wrap(facts["description"], width, initial_indent="  ", subsequent_indent="  ")
    for label, text in _labelled(facts):
        yield from textwrap.wrap(
            text,
            width,
            initial_indent=f"  {label:<{_INDENT - 2}}",
            subsequent_indent=" " * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _said_by_authors(tensor: Mapping[str, Any]) -> Iterator[str]:
    """Yield the description and the pixel size of an input, in the words and numbers of the model's authors."""
    from ..report.describe_model import pixel_size_in_words

    if tensor["description"]:
        yield f"Its authors say: {tensor['description']}"
    if tensor["pixel_size"]:
        yield f"Pixel size of its images: {pixel_size_in_words(tensor['pixel_size'])}"


def _labelled(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from ..model.spec import WEIGHTS_TITLES
    from ..report.describe_model import NO_LICENCE

    yield "licence", facts["licence"] or NO_LICENCE
    if facts["authors"]:
        yield "authors", ", ".join(facts["authors"])
    for citation in facts["citations"]:
        yield "cite", " ".join(part for part in (citation["text"], citation["url"]) if part)
    for number, tensor in enumerate(facts["inputs"]):
        how = "" if number == 0 else f" ({tensor['give_as']}{', optional' if tensor['optional'] else ''})"
        yield "input" if number else "image", f"{tensor['id']}{how}: {tensor['in_words']}"
        yield from (("", line) for line in _said_by_authors(tensor))
    for tensor in facts["outputs"]:
        yield "output", f"{tensor['id']}: {tensor['in_words']}; {tensor['dtype']}"
    for entry in facts["weights"]:
        yield "weights", f"{WEIGHTS_TITLES[entry['format']]} ({entry['file']}): {entry['reason']}"
        if entry["trust"]["reason"] not in entry["reason"]:
            yield "", entry["trust"]["in_words"]
    if facts["other_weights"]:
        yield "weights", f"{', '.join(facts['other_weights'])}: these do not run here."
    yield "runs here", f"{'yes' if facts['runs_here'] else 'no'}. {facts['verdict']}"
    yield from (("missing", package["advice"]) for package in facts["missing_packages"])
    yield from (("beware", trap) for trap in facts["traps"])
    yield from (("note", note) for note in facts["notes"])
