"""``inspect --html`` writes a complete page that loads nothing and escapes every text of a description."""

import json
import zlib
from html.parser import HTMLParser
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from bioimage_inference.cli import main
from bioimage_inference.report.rendering import environment

from ..end_to_end.test_inspect import change, facts, small_model

Output = pytest.CaptureFixture[str]


class Page(HTMLParser):
    """Elements of a page and its text; a tag that is closed in the wrong order fails."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes.get(name) for found, attributes in self.elements if found == tag]


def card(capsys: Output, model: Path, folder: Path) -> Page:
    facts(capsys, model, "--html", folder / "card.html")
    return Page((folder / "card.html").read_text(encoding="utf-8"))


def test_the_page_is_complete_and_loads_nothing(test_data: Path, tmp_path: Path, capsys: Output) -> None:
    page = card(capsys, test_data / "demo-model.zip", tmp_path)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert page.attributes("html", "lang") == ["en"]
    assert page.attributes("img", "alt") == ["Cover picture of Demo U-Net for nuclei"]
    (source,) = page.attributes("img", "src")
    assert source is not None
    assert source.startswith("data:image/png;base64,")
    style = (tmp_path / "card.html").read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    for text in ("Finds nuclei and their outlines", "any size of at least 64×64", "foreground, boundary", "MIT"):
        assert text in page.text


def test_a_hostile_description_is_only_text(tmp_path: Path, capsys: Output) -> None:
    attack = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>${content}$title"
    rdf = change(
        small_model(tmp_path),
        name=f"{attack}\x1b[31m\u202e",
        description=attack,
        license=attack,
        authors=[{"name": attack}],
        tags=[attack],
        cite=[
            {"text": attack, "url": "javascript:alert(1)"},
            {"text": "b", "doi": f"10.1234/{attack}"},
            {"text": "c", "url": f"https://example.org/{attack}"},
            {"text": "d", "url": "https://example.org/${content}?a=1&lt=2"},
        ],
        covers=["../../secret.png", attack],
        inputs__0__description=attack,
        inputs__0__axes__1__channel_names=["<b>bold"],
    )
    page = card(capsys, rdf, tmp_path)
    assert page.open == []
    assert not {"script", "img", "b"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.attributes("a", "href") == ["https://example.org/${content}?a=1&lt=2"]
    assert page.text.count("<script>alert(1)</script>") >= 6
    assert "\x1b" not in page.text + json.dumps(facts(capsys, rdf), ensure_ascii=False)
    assert "\u202e" not in page.text


def test_a_cover_is_embedded_only_if_it_is_a_picture(tmp_path: Path, capsys: Output) -> None:
    rdf = change(small_model(tmp_path), covers=["fake.png", "true.jpg"])
    (tmp_path / "fake.png").write_text("<svg onload='alert(1)'/>")
    assert page_pictures(card(capsys, rdf, tmp_path)) == 0
    (tmp_path / "card.html").unlink()
    imageio.imwrite(tmp_path / "true.jpg", np.zeros((1200, 1600, 3), np.uint8))
    assert page_pictures(card(capsys, rdf, tmp_path)) == 1
    assert (tmp_path / "card.html").stat().st_size < 100_000


def page_pictures(page: Page) -> int:
    return len(page.attributes("img", "src"))


def test_a_page_that_cannot_be_written(test_data: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["inspect", str(test_data / "demo-model.zip"), "--html", str(tmp_path / "no" / "card.html")]) == 2
    assert "card.html cannot be written" in capsys.readouterr().err


def test_a_huge_cover_is_left_out(tmp_path: Path, capsys: Output) -> None:
    rdf = change(small_model(tmp_path), covers=["huge.png"])
    size = (12_000).to_bytes(4, "big")
    header = b"IHDR" + size + size + bytes([1, 0, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    assert page_pictures(card(capsys, rdf, tmp_path)) == 0


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("<b> & \"'", "&lt;b&gt; &amp; &#34;&#39;"),
        ("a\n\x1bb\u202e", "a b"),
        (None, ""),
        (Markup("<b>"), "<b>"),
        (3, "3"),
    ],
)
def test_templates_escape_all_but_markup(value: object, written: str) -> None:
    assert environment().from_string("{{ value }}").render(value=value) == written


def test_a_template_that_misspells_a_name_fails() -> None:
    for template in ("{{ nmae }}", "{% if nmae %}{% endif %}", "{{ given.nmae }}"):
        with pytest.raises(UndefinedError):
            environment().from_string(template).render(name="", given={})
