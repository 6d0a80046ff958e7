"""Checks of what the user typed, before any file is opened: unknown words, and options that would change nothing."""

import argparse
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from ..errors import UsageError


def check_understood(parsed: argparse.Namespace, unknown: Sequence[str]) -> None:
    """Raise :class:`UsageError` for words of the command line that its parser left over, with the likely option."""
    if not unknown:
        return
    parser: argparse.ArgumentParser = parsed.parser
    word = unknown[0]
    name = word.partition("=")[0]
    known = _options(parser)
    if not word.startswith("-"):
        raise UsageError(
            f"{word!r} is one argument too many. Put all arguments of a kind side by side, and quote names with "
            f"spaces. See {parser.prog} --help."
        )
    if name in known:
        raise UsageError(f"{name} belongs after the command: {parser.prog} … {name}. See {parser.prog} --help.")
    longer = [option for option in known if option.startswith(name) and name.startswith("--")]
    meant = longer or get_close_matches(name, known, n=2)
    question = f" Did you mean {' or '.join(meant[:4])}?" if meant else ""
    raise UsageError(
        f"{name} is no option of {parser.prog}.{question} Options are not abbreviated. See {parser.prog} --help."
    )


def refuse_unused(arguments: argparse.Namespace, options: Iterable[str], reason: str, cure: str = "") -> None:
    """Raise :class:`UsageError` for the first of these options that was typed: it would change nothing.

    ``options`` are long names as help shows them. ``reason`` completes the sentence "--tile has no effect …". ``cure``
    is what gives the option an effect, such as "Add --segment". An option counts as typed unless its value is ``None``
    or false.
    """
    for option in options:
        if getattr(arguments, _value_name(arguments.parser, option)) not in (None, False):
            leave = f"{cure}, or leave" if cure else "Leave"
            raise UsageError(f"{option} has no effect {reason}. {leave} {option} out.")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Return all options that help shows. argparse has no public list of them."""
    return [name for action in parser._actions if action.help != argparse.SUPPRESS for name in action.option_strings]


def _value_name(parser: argparse.ArgumentParser, option: str) -> str:
    return next(action.dest for action in parser._actions if option in action.option_strings)
