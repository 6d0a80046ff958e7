"""Text from models, files and users is data: one function for each place where the program writes such text.

A control character can move a terminal's cursor, a bidirectional control can reverse the order of the letters, and
half a surrogate pair (Python's stand-in for a byte of a file name that is not UTF-8) cannot be written as UTF-8.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

# Spreadsheets take a cell that begins so for a formula (owasp.org, CSV Injection); the last four are full width.
_FORMULA = tuple("=+-@＝＋－＠")
_SURROGATE = re.compile("[\ud800-\udfff]")


def for_terminal(text: str) -> str:
    r"""Return the text as one line in which control characters are spelled out, for example ``\x1b`` and ``\n``."""
    if text.isprintable():
        return text
    return "".join(letter if _is_harmless(letter) else _spelled_out(letter) for letter in text)


def for_cell(text: str) -> str:
    """Return the text for a cell of a table: one line, and never a formula.

    A text that a spreadsheet would take for a formula begins with ``'``. Numbers stay as they are.
    """
    shown = for_terminal(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) and not _is_number(shown) else shown


def for_cells(row: Iterable[Any]) -> list[Any]:
    """Return a row of a table in which every text is one :func:`for_cell`; other values stay."""
    return [for_cell(value) if isinstance(value, str) else value for value in row]


def for_address(text: str) -> str:
    """Return a path, or another part of an address, for a link; bytes of a name that are not UTF-8 stay as they are."""
    return quote(os.fsencode(text))


def for_xml(text: str) -> str:
    """Return the text without the characters that XML may not contain; the library that writes XML escapes the rest."""
    return "".join(letter for letter in _replaced_surrogates(text) if letter.isprintable())


def for_json(value: Any, *, ascii_only: bool = False, allow_nan: bool = True) -> str:
    r"""Return the value as JSON; texts stay as they are, but control characters are written as ``\uXXXX``.

    Raises :class:`ValueError` for numbers that JSON does not know, unless ``allow_nan``.
    """
    written = json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=allow_nan)
    if written.replace("\n", "").isprintable():
        return written
    return "".join(one if one == "\n" or _is_harmless(one) else json.dumps(one)[1:-1] for one in written)


def is_utf8(text: str) -> bool:
    """Return whether the text, such as the name of a file, can be written as UTF-8."""
    return not _SURROGATE.search(text)


def for_file_name(text: str) -> str:
    """Return the text as a part of a file name: letters, digits, ``_``, ``-``, and ``.`` except at the beginning."""
    return re.sub(r"[^\w.-]|^\.", "_", text)


def one_line(text: Any) -> Any:
    """Return a text of several lines as one line without control characters; ``None`` stays."""
    return None if text is None else for_xml(" ".join(str(text).split()))


def capitalised(text: str) -> str:
    """Return the text with a capital as its first letter; unlike :meth:`str.capitalize`, the others stay."""
    return text[:1].upper() + text[1:]


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, e.g. ``1 tile`` and ``1,200 tiles``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def times(sizes: Iterable[object]) -> str:
    """Return sizes along several axes for a reader, e.g. ``3×512×512``."""
    return "×".join(map(str, sizes))


def byte_size(count: int) -> str:
    """Return a number of bytes for a reader, e.g. ``1.5 GiB``."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"  # spaces of other widths


def _spelled_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _replaced_surrogates(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
