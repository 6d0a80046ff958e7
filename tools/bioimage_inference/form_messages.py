"""Runs the program for a form of Galaxy. Its messages name fields of the form instead of options of the command line.

    python form_messages.py bioimage_inference.xml predict …

The titles of the fields come from the tool's XML file, where a ``<param>`` names its option as ``argument``.
"""

import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*(?![\w-])")
# Words for options that no field of the form sets.
WITHOUT_FIELD = {
    "--single": '"Image" (not "Images" under "Many images in a single job")',
    "--memory": "the memory of the job (set by the administrators of this server)",
    "--trust-model-code": "the option --trust-model-code, which only the administrators of this server can give,",
}


def fields(tool: Path) -> dict[str, str]:
    """Return the title of the field for each option of a tool's form, with the title of its section."""
    macros = {one.get("name"): one for one in ET.parse(tool.with_name("macros.xml")).getroot().iter("xml")}
    form = ET.parse(tool).getroot().find("inputs")
    assert form is not None
    return WITHOUT_FIELD | dict(_titles(form, macros, ""))


def _titles(parent: ET.Element, macros: Mapping[str | None, ET.Element], section: str) -> Iterator[tuple[str, str]]:
    for one in parent:
        if one.tag == "expand":
            yield from _titles(macros[one.get("macro")], macros, section)
        elif one.tag in ("section", "repeat"):
            yield from _titles(one, macros, f' (under "{one.get("title")}")')
        elif option := one.get("argument"):
            yield option, f'"{one.get("label")}"{section}'


def in_words_of_the_form(text: str, titles: Mapping[str, str]) -> str:
    """Return a message with titles of fields in place of the options that have a field."""
    return OPTION.sub(lambda found: titles.get(found[0], found[0]), text)


def run(arguments: list[str], titles: Mapping[str, str]) -> int:
    """Run the program with these arguments, and return its exit code.

    Galaxy shows the beginning of standard output and standard error with a failed dataset. Therefore, after a failure,
    the message comes first, and standard output follows it on standard error.
    """
    command = [sys.executable, "-m", "bioimage_inference", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="backslashreplace"
    ) as program:
        signal.signal(signal.SIGTERM, lambda *_: program.terminate())
        printed, messages = program.communicate()
    if "--json" not in arguments:  # JSON is for programs
        printed = in_words_of_the_form(printed, titles)
    print(in_words_of_the_form(messages, titles), end="", file=sys.stderr, flush=True)
    code = program.returncode
    print(printed, end="", file=sys.stderr if code else sys.stdout, flush=True)
    return code if code >= 0 else 128 - code  # ended by a signal, as a shell reports it


if __name__ == "__main__":
    tool, *rest = sys.argv[1:]
    sys.exit(run(rest, fields(HERE / tool)))
