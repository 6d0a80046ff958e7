"""What the code in a TorchScript file says; nothing of it is run."""

import re
from pathlib import Path

from .safe_zip import MIB, open_archive

_CODE = re.compile(r"[^/]+/code/.+\.py")
_CALL = re.compile(r"\btorch\.(\w+)\(")
_MOST_CODE = 16 * MIB


def called_operations(weights: Path) -> tuple[str, ...]:
    """The operations of torch that a network's code calls, in the order of their first call.

    Raises :class:`ModelError` for a file that is damaged, or whose code is longer than any network's.
    """
    found: dict[str, None] = {}
    with open_archive(weights) as archive:
        for name in filter(_CODE.fullmatch, archive.members):
            found |= dict.fromkeys(_CALL.findall(archive.read(name, _MOST_CODE).decode(errors="replace")))
    return tuple(found)
