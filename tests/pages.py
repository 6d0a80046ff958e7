"""The blocks of a documentation page, and what it takes to run them.

======================  ==========================================================================================
block                   what is done with it
======================  ==========================================================================================
``console``             lines after ``$`` are run, in a folder with the project's test data; the lines that follow
                        must be what they print, where ``...`` stands for anything
``bash``                every line is run
``python``              run, all blocks of a page in one namespace
``pycon``               a doctest in the same namespace
``yaml``, ``json``      read
``xml``, ``slurm``      read; a batch script as bash reads it
``text``                anything but commands
======================  ==========================================================================================

A command that ends with another exit code than 0 must be followed by ``$ echo $?``.
"""

import doctest
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from bioimage_inference.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```\s*$", re.DOTALL | re.MULTILINE
)
_EXAMPLES = {"model.zip": "demo-model.zip", "cells.tif": "nuclei.tif"}
"""What pages call a model and an image that could be any."""
_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_OF_A_SHELL = re.compile(r"[|&;<>$*`]|^\w+=")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the number of its first line on the page."""

    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _FENCED.finditer(page):
        yield Block(found["language"], textwrap.dedent(found["text"]), page[: found.start()].count("\n") + 2)


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Commands of a console or bash block, each with what it is said to print; a backslash continues a line."""
    text = block.text.replace("\\\n", " ")
    if block.language == "bash":
        yield from ((line, "") for line in text.splitlines() if line.partition("#")[0].strip())
        return
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command.strip(), output


@dataclass
class Reader:
    """Somebody who types what a page says, in ``folder``."""

    page: Path
    folder: Path
    names: dict[str, object] = field(default_factory=dict)
    exit_code: int = 0

    def read(self, block: Block) -> None:
        """Do what the block says. Raises :class:`AssertionError` where the page is wrong."""
        place = f"{self.page.relative_to(ROOT)}, line {block.line}"
        match block.language:
            case "console" | "bash":
                self._console(block, place)
            case "python":
                exec(compile(block.text, place, "exec"), self.names)
            case "pycon":
                self._pycon(block, place)
            case "yaml":
                assert list(yaml.safe_load_all(block.text)), place
            case "json":
                json.loads(block.text)
            case "xml":
                ElementTree.fromstring(block.text)
            case "slurm" | "sh":
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
            case "text":
                assert not re.search(r"^\$ ", block.text, re.MULTILINE), f"{place}: commands belong into console blocks"
            case _:
                raise AssertionError(f"{place}: nothing is done with blocks of {block.language!r}")

    def finish(self, place: str = "the end") -> None:
        """Raises where the last command failed and the page does not say so."""
        assert self.exit_code == 0, f"{self.page.relative_to(ROOT)}, {place}: exit code {self.exit_code}"

    def _console(self, block: Block, place: str) -> None:
        for command, expected in commands(block):
            if command == "echo $?":
                printed, self.exit_code = f"{self.exit_code}\n", 0
            else:
                self.finish(place)
                printed, self.exit_code = self._run(command)
            if expected.strip():
                same = doctest.OutputChecker().check_output(expected.rstrip() + "\n", printed, _LOOSE)
                assert same, f"{place}: {command}\nprints\n{printed}\ninstead of\n{expected}"
            elif self.exit_code:
                print(printed)  # pytest shows it where the page is wrong

    def _run(self, command: str) -> tuple[str, int]:
        """What a command prints and its exit code; the program itself is called in this process, to be quick."""
        if command.startswith("bioimage-inference ") and not _OF_A_SHELL.search(command):
            printed = io.StringIO()
            with redirect_stdout(printed), redirect_stderr(printed):
                try:
                    code = main(shlex.split(command)[1:])
                except SystemExit as end:  # --help and --version
                    code = int(end.code or 0)
            return printed.getvalue(), code
        path = f"{self.folder / '.bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout, done.returncode

    def _pycon(self, block: Block, place: str) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self.names, place, place, block.line)
        report: list[str] = []
        runner = doctest.DocTestRunner(optionflags=_LOOSE)
        runner.run(test, out=report.append, clear_globs=False)
        assert not runner.failures, "".join(report)
        self.names.update(test.globs)


def open_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader in ``folder``, which gets the test data and the program under its name."""
    for file in (ROOT / "test-data").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    for name, file in _EXAMPLES.items():
        shutil.copy(ROOT / "test-data" / file, folder / name)
    programs = folder / ".bin"
    programs.mkdir()
    for name, words in {"bioimage-inference": "-m bioimage_inference", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for variable in ("BIOIMAGE_INFERENCE_TRUST", "BIOIMAGE_INFERENCE_TRUSTED_HASHES", "GALAXY_MEMORY_MB"):
        monkeypatch.delenv(variable, raising=False)
    return Reader(page, folder)
