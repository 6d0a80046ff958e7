"""The package as a house: import-linter holds which room may import which, this what a room may hold."""

from collections import Counter
from pathlib import Path

import bioimage_inference

MODULES = sorted(Path(bioimage_inference.__file__).parent.rglob("*.py"))


def test_no_two_modules_share_a_name() -> None:
    """A command's module is named after the command, and no other is."""
    names = Counter(path.name for path in MODULES if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 100


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}
