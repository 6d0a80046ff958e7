"""The command line: `python -m tests.galaxy run` does everything, the other commands are its steps."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from .browser import check_form
from .checks import lint, tell, test, test_all
from .data_manager import check_data_manager
from .failures import check_failures
from .installation import install
from .layout import CHECKOUT, Failure, Site
from .native_workflows import write_native
from .scheduling import check_rules
from .server import configure, processes, reload, start, stop
from .tutorial import follow, publish

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(site: Site) -> int:
    """Install what is missing, lint, start a fresh Galaxy, run all tests and the form in a browser, stop it."""
    install(site)
    blemished = lint(site)
    with fresh_galaxy(site):
        results = test_all(site) + tell(
            check_rules(site) + check_failures(site) + check_data_manager(site) + check_form(site) + follow(site)
        )
    failed = sum(bool(result.problem) for result in results)
    print(f"{len(results) - failed} passed, {failed} failed" + ", and lint found problems" * blemished)
    return int(failed > 0 or blemished)


@contextmanager
def fresh_galaxy(site: Site) -> Iterator[None]:
    """A Galaxy that is stopped whatever happens; Ctrl-C ends the tests, but not the stopping."""
    configure(site)
    try:
        start(site)
        yield
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        stop(site)


def draw_pictures(site: Site) -> int:
    """Follow the tutorial in the running Galaxy, else in a fresh one, and make its pictures in docs/images/galaxy."""
    install(site)
    with nullcontext() if processes(site) else fresh_galaxy(site):
        results = tell(follow(site))
    if not results or results[0].problem:
        raise Failure("the pictures of the tutorial were not made. They take Chromium, and every step must work.")
    publish(site)
    return 0


COMMANDS: dict[str, Callable[[Site], int | None]] = {
    "run": run,
    "install": install,
    "config": configure,
    "start": start,
    "reload": reload,
    "stop": stop,
    "lint": lint,
    "pictures": draw_pictures,
    "workflows": write_native,
}


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="python -m tests.galaxy", description=sys.modules["tests.galaxy"].__doc__)
    parser.add_argument(
        "--repository", type=Path, default=CHECKOUT, help="checkout with .shed.yml, tools and workflows"
    )
    parser.add_argument("--state", type=Path, default=CHECKOUT / ".galaxy", help="folder for all that is made here")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__)
    commands.add_parser("test", help="planemo test on the running Galaxy: test [planemo's options] FILE...")
    known, rest = parser.parse_known_args()
    if rest and known.command != "test":
        parser.error(f"unknown: {' '.join(rest)}")
    return known, rest


def end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    args, rest = parse()
    for number in ENDING:
        signal.signal(number, end)
    site = Site(args.repository.resolve(), args.state.resolve())
    try:
        return test(site, rest) if args.command == "test" else COMMANDS[args.command](site) or 0
    except Failure as failure:
        print(f"galaxy: {failure}", file=sys.stderr)
        return 1


sys.exit(main())
