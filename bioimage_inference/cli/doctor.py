"""``bioimage-inference doctor``: whether the installation works, in a text for bug reports."""

import argparse
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import BioimageInferenceError
from ..terminal import line_width, say, say_json
from ..text import byte_size, counted
from .shared_options import DEBUG, JSON, OFFLINE, add_command

_INDENT = 13
_LEAST_MEMORY = 512 << 20
"""Bytes for the program and the smallest tiles of a 2-D network (see ``machine/memory.py``), with some room."""


@dataclass(frozen=True)
class Problem:
    """Advice on a part that does not work, and the exit code of a run that needs this part."""

    text: str
    exit_code: int


@dataclass(frozen=True)
class Section:
    """One subject: labelled ``lines`` for people, ``facts`` for ``--json``, and what does not work."""

    name: str
    lines: Sequence[tuple[str, str]]
    facts: Any
    problems: Sequence[Problem] = field(default=())


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    add_command(
        commands,
        run,
        "doctor",
        parents=[JSON, OFFLINE, DEBUG],
        help="check the installation, and print what a bug report needs",
        description="Check the installation: versions, devices and their numbers, memory, processors, cache, sandbox, "
        "and the connection to the zoo (without --offline). Put the text into a bug report. The exit code is 0 if "
        "everything works. Otherwise it is the exit code of the run that meets the first problem.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print each subject as soon as it is known, or with ``--json`` all of them as one object."""
    sections: list[Section] = []
    for subject in _subjects(arguments.offline):
        section = subject()
        sections.append(section)
        if not arguments.json:
            say(*_wrapped(section.lines))
    problems = [problem for section in sections for problem in section.problems]
    exit_code = problems[0].exit_code if problems else 0
    if arguments.json:
        facts = {section.name: section.facts for section in sections}
        say_json(facts | {"problems": [asdict(problem) for problem in problems], "exit_code": exit_code})
    else:
        say("", *_wrapped(_verdict(problems, exit_code)))
    return exit_code


def _subjects(offline: bool) -> list[Callable[[], Section]]:
    """Return the checks, the fastest first. The sandbox comes last, because nothing can be opened behind it."""
    found = [_installation, _memory, _processors, _cache, _devices]
    return [*found, *([] if offline else [_zoo]), _sandbox]


def _wrapped(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield labelled texts in lines that fit the terminal. A text without a label continues the one above it."""
    for label, text in lines:
        yield from textwrap.wrap(
            text,
            max(line_width(100), 40),
            initial_indent=f"  {label:<{_INDENT - 2}}",
            subsequent_indent=" " * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _verdict(problems: Sequence[Problem], exit_code: int) -> list[tuple[str, str]]:
    if not problems:
        return [("result", "Everything works.")]
    lines = [("problem", f"{problem.text} (exit code {problem.exit_code})") for problem in problems]
    return [*lines, ("result", f"{counted(len(problems), 'problem')}. The exit code is {exit_code}.")]


def _installation() -> Section:
    from ..machine.installation import installation

    found = installation()
    lines = [
        ("program", f"bioimage-inference {found.program}"),
        ("python", found.python),
        ("system", found.system),
        ("libraries", ", ".join(f"{name} {version or 'is missing'}" for name, version in found.libraries.items())),
    ]
    for number, extra in enumerate(found.extras):
        versions = ", ".join(f"{name} {version}" for name, version in extra.versions.items() if version)
        missing = "" if extra.is_complete else f"{'; the rest: ' if versions else 'not installed: '}{extra.install}"
        lines.append(("" if number else "extras", f"{extra.name}: {versions}{missing}"))
    absent = [name for name, version in found.libraries.items() if version is None]
    problems = [Problem(f"Install {name} with: pip install {name}. Every run needs it.", 1) for name in absent]
    return Section("installation", lines, asdict(found), problems)


def _memory() -> Section:
    from ..machine.memory import memory_budget, memory_limits

    limits = memory_limits()
    budget = memory_budget(limits=limits)
    lines = [("memory", f"{byte_size(budget.size)} for a run, {budget.reason}")]
    lines += [("", f"{one.source}: {byte_size(one.left)} left of {byte_size(one.allowed)}") for one in limits]
    problems = []
    if budget.size < _LEAST_MEMORY:
        text = (
            f"A run has {byte_size(budget.size)} of memory, {budget.reason}. Close other programs, or raise the limit."
        )
        problems.append(Problem(text, 6))
    facts = {"budget": budget.size, "reason": budget.reason, "limits": [asdict(one) for one in limits]}
    return Section("memory", lines, facts, problems)


def _processors() -> Section:
    from ..machine.processors import available_processors, processor_limits

    count, limits = available_processors(), processor_limits()
    tightest = min(limits, key=lambda limit: limit.count)
    lines = [("processors", f"{count} for a run, limited by {tightest.source}")]
    lines += [("", f"{one.source}: {one.count}") for one in limits if one is not tightest]
    return Section("processors", lines, {"count": count, "limits": [asdict(one) for one in limits]})


def _cache() -> Section:
    from ..zoo.zoo_access import cache_folder

    found = cache_folder()
    state = "can be written" if not found.problem else f"cannot be written ({found.problem})"
    models = f"{counted(found.models, 'model')} of the zoo" + (f", {byte_size(found.size)}" if found.models else "")
    problems = []
    if found.problem:
        text = (
            f"Models of the zoo cannot be kept in {found.folder} ({found.problem}). Name a folder that can be written "
            "in the environment variable BIOIMAGEIO_CACHE_PATH."
        )
        problems.append(Problem(text, 8))
    facts = {"folder": str(found.folder), "models": found.models, "size": found.size, "problem": found.problem}
    return Section("cache", [("cache", f"{found.folder}: {models}; the folder {state}")], facts, problems)


def _devices() -> Section:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of the system is missing
        text = f"torch cannot be imported ({error}). Install it anew: pip install --force-reinstall torch."
        return Section("devices", [("devices", f"unknown: {error}")], {"problem": str(error)}, [Problem(text, 1)])
    from ..network.device import choose_device
    from ..network.device_check import check_devices
    from ..network.loading import default_threads

    threads, chosen = default_threads(), choose_device()
    lines, facts, problems = [("torch", f"{torch.__version__}, {counted(threads, 'thread')} for a run")], [], []
    for number, check in enumerate(check_devices(threads)):
        name = check.device.name if check.device.reason == "CPU" else f"{check.device.name} ({check.device.reason})"
        within = f" (within {check.difference:.0e} of their range)" if check.difference else ""
        state = check.problem or f"right numbers{within}"
        used = "; used by --device auto" if check.device.name == chosen.name else ""
        lines.append(("" if number else "devices", f"{name}: {state}{used}"))
        facts.append({"name": check.device.name, "difference": check.difference, "problem": check.problem})
        if check.problem:
            other = "Install torch anew" if check.device.name == "cpu" else "Update its driver, or give --device cpu"
            problems.append(Problem(f"The device {check.device.name} cannot be used: {check.problem}. {other}.", 4))
    lines.append(("", f"--device auto: {chosen.reason}"))
    return Section("devices", lines, {"torch": torch.__version__, "threads": threads, "checked": facts}, problems)


def _zoo() -> Section:
    from ..zoo.zoo_access import connection

    found = connection()
    state = found.problem or f"answers in {found.seconds:.1f} s"
    problems = []
    if found.problem:
        text = (
            f"Models of the zoo cannot be downloaded from {found.address}: {found.problem}. Check the network and the "
            "proxy (HTTPS_PROXY), or give models as files. --offline leaves out this check."
        )
        problems.append(Problem(text, 2))
    return Section("zoo", [("zoo", f"{found.address}: {state}")], asdict(found), problems)


def _sandbox() -> Section:
    """Put up the walls around this process, as a run does, and return which stand."""
    from ..machine.sandbox import Walls, restricted, walls

    problems = []
    try:
        with restricted([], []):
            found = walls()
    except BioimageInferenceError as error:  # there is no folder for temporary files
        found = Walls(reason="no folder for temporary files can be made")
        problems.append(Problem(str(error), error.exit_code))
    missing = not (found.landlock or found.seccomp)
    lines = [("sandbox", found.in_words())]
    if missing:
        lines.append(("", "Only the checks of a model's code protect this machine: see docs/explanation/trust.md."))
    facts = {"landlock": found.landlock, "seccomp": found.seccomp, "reason": found.reason if missing else ""}
    return Section("sandbox", lines, facts, problems)
