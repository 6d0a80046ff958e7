"""Escaping of text from models, files and users, with one function for each place where the program writes text.

A control character can move a terminal's cursor. A bidirectional control can reverse the order of letters. A lone
surrogate, which Python uses for a byte of a file name that is not UTF-8, cannot be written as UTF-8.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

# Spreadsheets read a cell with this beginning as a formula (owasp.org, CSV Injection). The last four are full width.
_FORMULA = tuple("=+-@＝＋－＠")
_PLURALS = {"axis": "axes", "entry": "entries"}
_SINGULAR = {"are": "is", "have": "has", "were": "was", "do": "does"}
# Windows takes these names as devices, whatever suffix follows (learn.microsoft.com, "Naming Files, Paths, and
# Namespaces"). It forbids the letters of the second pattern, and drops a dot or space at the end of a name.
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$')
_SURROGATE = re.compile("[\ud800-\udfff]")


def for_terminal(text: str) -> str:
    r"""Return the text as one line with control characters as escapes, for example ``\x1b`` and ``\n``."""
    if text.isprintable():
        return text
    return "".join(
        letter if _is_harmless(letter) else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def for_cell(text: str) -> str:
    """Return the text for a cell of a table: one line, and never a formula.

    ``'`` precedes a text that a spreadsheet would read as a formula. Numbers stay as they are.
    """
    shown = for_terminal(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not _is_number(shown) else shown


def for_cells(row: Iterable[Any]) -> list[Any]:
    """Return a row of a table with every text escaped by :func:`for_cell`."""
    return [for_cell(value) if isinstance(value, str) else value for value in row]


def for_address(text: str) -> str:
    """Return a path, or another part of an address, for a link. Bytes that are not UTF-8 stay as they are."""
    return quote(os.fsencode(text))


def for_xml(text: str) -> str:
    """Return the text without the characters that XML may not contain. The library that writes XML escapes the rest."""
    return "".join(letter for letter in _SURROGATE.sub("\ufffd", text) if letter.isprintable())


def for_json(value: Any, *, ascii_only: bool = False, allow_nan: bool = True) -> str:
    r"""Return the value as JSON, with control characters as ``\uXXXX``.

    Raises :class:`ValueError` for NaN and infinite numbers if ``allow_nan`` is false.
    """
    written = json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=allow_nan)
    if written.replace("\n", "").isprintable():
        return written
    return "".join(letter if letter == "\n" or _is_harmless(letter) else json.dumps(letter)[1:-1] for letter in written)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises :class:`ValueError` for any other text, and for values nested too deeply for Python.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its values lie too deep within each other") from error


def is_utf8(text: str) -> bool:
    """Return whether the text, for example a file name, can be written as UTF-8."""
    return not _SURROGATE.search(text)


def for_file_name(text: str) -> str:
    """Return the text as a file name, or as a part of one, that every system takes.

    It holds letters, digits, ``_``, ``-``, and ``.`` except at both ends. ``_`` precedes a device of Windows.
    """
    name = re.sub(r"[^\w.-]|^\.|\.$", "_", text)
    return f"_{name}" if _WINDOWS_DEVICE.fullmatch(name) else name


def is_windows_name(text: str) -> bool:
    """Return whether Windows takes the text as the name of a file."""
    return bool(text) and not _NOT_ON_WINDOWS.search(text) and not _WINDOWS_DEVICE.fullmatch(text)


def one_line(text: Any) -> Any:
    """Return a text of several lines as one line without control characters. Return ``None`` for ``None``."""
    return None if text is None else for_xml(" ".join(str(text).split()))


def reason_of(error: BaseException, last_line: bool = False) -> str:
    """Return an error of a library as a part of a sentence: in one line of at most 300 characters, without full stop.

    It is the type of an error without a message. Torch gives its own lines of code first, and the reason in the
    ``last_line``.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[-1] if last_line else " ".join(lines)
    return " ".join(text.split())[:300].rstrip(". ")


def capitalised(text: str) -> str:
    """Return the text with a capital as its first letter; unlike :meth:`str.capitalize`, the others stay."""
    return text[:1].upper() + text[1:]


def counted(count: int, noun: str, verb: str | None = None) -> str:
    """Return a number with its noun, e.g. ``1 tile`` and ``1,200 tiles``; a plural verb follows in its right form.

    With the verb ``have``, for example: ``1 tile has`` and ``2 tiles have``.
    """
    shown = f"{count:,} {noun if count == 1 else _PLURALS.get(noun, f'{noun}s')}"
    return shown if verb is None else f"{shown} {agreeing(count, verb)}"


def agreeing(count: int, verb: str) -> str:
    """Return a verb, given in the plural, as it follows a number of things: ``has`` for 1 and ``have`` for others."""
    return verb if count != 1 else _SINGULAR.get(verb, f"{verb}s")


def times(sizes: Iterable[object]) -> str:
    """Return sizes along several axes for a reader, e.g. ``3×512×512``."""
    return "×".join(map(str, sizes))


def byte_size(count: int) -> str:
    """Return a number of bytes in words, e.g. ``1.5 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of other widths


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
