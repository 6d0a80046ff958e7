"""The site leads to every page, fetches nothing from elsewhere, and answers the words that people look for."""

import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from ..machine import chromium, missing
from ..pages import DOCS, ROOT, blocks, commands

PAGES = sorted(DOCS.rglob("*.md"))
MENU: list[Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
SEARCHED = {
    "Windows": "install/",
    "macOS": "install/",
    "Cellpose": "coming-from/cellpose/",
    "StarDist": "coming-from/stardist/",
    "ilastik": "coming-from/ilastik/",
    "deepImageJ": "coming-from/deepimagej/",
    "BiaPy": "coming-from/biapy/",
    "2.4.1": "coming-from/galaxy-2.4.1/",
    "QuPath": "troubleshooting/",
    "CZI": "troubleshooting/",
    "overwrite": "troubleshooting/",
    "out of memory": "troubleshooting/",
    "empty prediction": "troubleshooting/",
    "pixel size": "troubleshooting/",
}
"""Words that people type into the search, and the page whose headline answers them."""


def entries(menu: list[Any]) -> list[tuple[str, str]]:
    """The headline and the file of every page in the menu."""
    pages = []
    for entry in menu:
        ((headline, below),) = entry.items()
        pages += entries(below) if isinstance(below, list) else [(headline, below)]
    return pages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: an unknown page, anchor or reference is an error."""
    if find_spec("zensical") is None:
        missing("Zensical", 'pip install "bioimage_inference[docs]"')
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "mkdocs.yml", project)
    shutil.copytree(DOCS, project / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "site"


class Page(HTMLParser):
    """What a page of the site fetches, what it links, and what its copy buttons copy."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.copied: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "srcset") and value:
                (self.linked if tag == "a" else self.fetched).append(value)
            elif name == "data-copy" and value:
                self.copied.append(value)


def test_the_site_has_every_page_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in PAGES:
        name = page.relative_to(DOCS).with_suffix("")
        assert (site / name / "index.html").exists() or (site / f"{name}.html").exists(), name
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]  # its links begin at the root
    assert len(pages) == len(PAGES)
    for page in pages:
        found = Page(page.read_text())
        for link in found.fetched + found.linked:
            parts = urlsplit(link)
            if parts.scheme == "data":  # a picture inside of the page
                continue
            if parts.scheme or parts.netloc:
                assert link in found.linked, f"{page} fetches {link}"
            elif parts.path:
                assert (page.parent / unquote(parts.path)).exists(), f"{page} leads to {link}"


def test_the_menu_leads_to_every_page_by_a_headline_of_its_own() -> None:
    menu = entries(MENU)
    assert sorted(file for _, file in menu) == [str(page.relative_to(DOCS)) for page in PAGES]
    headlines = [headline for headline, _ in menu]
    assert len(set(headlines)) == len(headlines)
    for headline in headlines:
        assert headline[0].isupper(), headline
        assert len(headline.split()) >= 3, f"{headline!r} is a fragment"


@pytest.mark.parametrize(("words", "answer"), SEARCHED.items(), ids=SEARCHED)
def test_the_search_finds_what_people_look_for(site: Path, words: str, answer: str) -> None:
    index = json.loads((site / "search.json").read_text())["items"]
    headlines = [item["location"] for item in index if words.lower() in item["title"].lower()]
    assert any(location.startswith(answer) for location in headlines), headlines


def test_the_copy_button_copies_what_the_reader_types(site: Path) -> None:
    typed = []
    for block in blocks((DOCS / "how-to" / "segment.md").read_text()):
        if block.language == "console":
            typed.append([" ".join(command.split()) for command, _ in commands(block)])
        elif block.language == "pycon":
            typed.append([line[4:] for line in block.text.splitlines() if line.startswith((">>> ", "... "))])
    page = Page(chromium("--dump-dom", (site / "how-to" / "segment" / "index.html").as_uri()))
    copied = [text.replace("\\\n", " ").splitlines() for text in page.copied]
    assert [[" ".join(line.split()) for line in lines] for lines in copied] == typed
    assert typed[0][0] == "bioimage-inference predict demo-model.zip nuclei.tif -o results"
    (theme,) = (site / "assets" / "javascripts").glob("bundle.*.js")
    assert "[data-copy]" in theme.read_text(), "the theme's copy button reads another attribute"
