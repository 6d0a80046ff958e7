"""The page of formats says what is observed."""

import importlib.util

from tests.formats_page import PAGE, tables
from tests.machine import missing


def test_the_page_of_formats_is_what_files_of_every_format_show() -> None:
    for library in ("nd2", "liffile", "czifile"):
        if importlib.util.find_spec(library) is None:
            missing(library, "pip install -e '.[microscopes]'")
    text = PAGE.read_text(encoding="utf-8")
    for table in tables().values():
        assert table in text, "run python -m tests.formats_page"
