"""``bioimage-inference inspect``: what a model is for, what it takes and gives, and whether it runs here."""

import argparse
import os
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..api import open_model
from ..errors import UsageError
from ..files.overwriting import check_writable
from ..files.partial_file import write_whole
from ..model.package import Package, file_sha256, weights_kind
from ..model.spec import ModelSpec, WeightsEntry
from ..report.model_facts import WEIGHTS_NAMES, Facts, model_facts
from ..terminal import line_width, say, say_json
from ..zoo.index import trust_policy
from ..zoo.resolving import OpenedModel

_INDENT = 12


def inspect_command(arguments: argparse.Namespace) -> int:
    """Print what a model is, as lines or (``--json``) as :func:`model_facts`; ``--html`` writes the card as well.

    Returns 0 also for a model that cannot run here: it was inspected, and the verdict says why.
    """
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
        say(*fact_lines(facts, line_width(100)))
    return 0


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[OpenedModel]:
    """The model's files; of weights that nothing is known of, what the file itself tells."""
    described = {name: getattr(arguments, name) for name in ("description", "model_axes", "model_size")}
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_model(arguments.model, **described, offline=arguments.offline)).opened
        except UsageError as error:
            path = Path(arguments.model)
            # os.path answers no for a name that no file can have, where Path raises an error
            if any(described.values()) or not os.path.isfile(path) or weights_kind(path) != "torchscript":  # noqa: PTH113
                raise
            opened = _undescribed(path, str(error))
        yield opened


def _undescribed(weights: Path, note: str) -> OpenedModel:
    """A TorchScript file alone."""
    root, sha256 = weights.absolute().parent, file_sha256(weights)
    entry = WeightsEntry("torchscript", weights.name)
    spec = ModelSpec(weights.name, (), (), (entry,), root, sha256=sha256, notes=(note,))
    return OpenedModel(spec, Package(root, None, None, weights, sha256, weights))


def fact_lines(facts: Facts, width: int = 100) -> Iterator[str]:
    """The facts for people, each under its label; lines are ``width`` characters wide at most, where words allow."""
    known = [part for part in (facts["id"], facts["version"] and f"version {facts['version']}") if part]
    yield facts["name"] + (f" ({', '.join(known)})" if known else "")
    width = max(width, 40)
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


def _labelled(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "licence", facts["licence"] or "none named: ask the authors before you publish results"
    if facts["authors"]:
        yield "authors", ", ".join(facts["authors"])
    for citation in facts["citations"]:
        yield "cite", " ".join(part for part in (citation["text"], citation["url"]) if part)
    for number, tensor in enumerate(facts["inputs"]):
        how = "" if number == 0 else f" ({tensor['give_as']}{', optional' if tensor['optional'] else ''})"
        yield "input" if number else "image", f"{tensor['id']}{how}: {tensor['in_words']}"
    for tensor in facts["outputs"]:
        yield "output", f"{tensor['id']}: {tensor['in_words']}; {tensor['dtype']}"
    for one in facts["weights"]:
        yield "weights", f"{WEIGHTS_NAMES[one['format']]} ({one['file']}): {one['reason']}"
        if one["trust"]["reason"] not in one["reason"]:
            yield "", one["trust"]["in_words"]
    if facts["other_weights"]:
        yield "weights", f"{', '.join(facts['other_weights'])}: PyTorch cannot load these."
    yield "runs here", f"{'yes' if facts['runs_here'] else 'no'}. {facts['verdict']}"
    for one in facts["missing_packages"]:
        yield "missing", one["advice"]
    for trap in facts["traps"]:
        yield "beware", trap
    for note in facts["notes"]:
        yield "note", note
