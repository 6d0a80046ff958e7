"""Write ``docs/reference/cli.md`` from the program's own parser.

python scripts/make_cli_reference.py
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from bioimage_inference.cli.program import make_parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
_INTRODUCTION = """\
# Command line

`scripts/make_cli_reference.py` writes this page from the program itself, and `bioimage-inference COMMAND --help` shows
the same.
`python -m bioimage_inference` is the same program. Another page lists the [exit codes](exit-codes.md).
"""


def page() -> str:
    """Return the page, with a section for each command."""
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    lines = [_INTRODUCTION, "| command | what it does |", "| --- | --- |"]
    lines += [f"| [`{name}`](#{name}) | {summaries[name]} |" for name in commands.choices]
    for name, command in commands.choices.items():
        lines += ["", f"## {name}", "", *_section(command, summaries[name])]
    return "\n".join(lines) + "\n"


def _section(command: argparse.ArgumentParser, summary: str) -> Iterator[str]:
    """Yield the lines on a command: its usage, its description, and a table for each group of its arguments."""
    arguments = [action for action in command._actions if not action.option_strings]
    usage = " ".join([command.prog, *(_metavar(action) for action in arguments), "[options]"])
    yield from ("```text", usage, "```", "", command.description or f"{summary[:1].upper()}{summary[1:]}.")
    for group in command._action_groups:
        actions = [
            action
            for action in group._group_actions
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
        ]
        if not actions:
            continue
        title = {"positional arguments": "argument", "options": "option"}.get(group.title or "", group.title)
        yield from ("", f"| {title} | meaning |", "| --- | --- |")
        for action in actions:
            yield f"| {_call(action)} | {_cell(_help(command, action))} |"


def _call(action: argparse.Action) -> str:
    """Return an argument as the user types it."""
    if not action.option_strings:
        return f"`{_metavar(action)}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    if action.choices is not None:
        return f"{names} {' or '.join(f'`{choice}`' for choice in action.choices)}"
    return names if action.nargs == 0 else f"{names} `{_metavar(action)}`"


def _metavar(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    return {"+": f"{name}...", "*": f"[{name}...]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _help(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    return (action.help or "") % (vars(action) | {"prog": command.prog})


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
