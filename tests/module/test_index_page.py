"""The index page of many images has pictures with the right contrast, escaped texts, and links to the files."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
from PIL import Image

from bioimage_inference.batch import all_images, index_page
from bioimage_inference.batch.index_page import write_index
from bioimage_inference.batch.output_files import ImageFiles, name_files
from bioimage_inference.batch.sample_sheet import Sample
from bioimage_inference.batch.tables import Facts, Outcome
from bioimage_inference.batch.thumbnails import SIDE, Thumbnail, thumbnails
from bioimage_inference.cli import main
from tests.records import input_record, output_record, run_record


class Page(HTMLParser):
    """Links and pictures of a page, and the tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[Image.Image] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "a":
            self.links.append(found["href"] or "")
        if tag == "img":
            data = (found["src"] or "").removeprefix("data:image/webp;base64,")
            self.pictures.append(Image.open(io.BytesIO(base64.b64decode(data))))
            assert (found["width"], found["height"]) == tuple(map(str, self.pictures[-1].size))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> Path:
    """The outputs of an image with an odd name, of a stack, and of a file that is no image."""
    tmp_path = tmp_path_factory.mktemp("run")
    nuclei = tifffile.imread(test_data / "nuclei.tif")
    tifffile.imwrite(tmp_path / "50% <b> #1 ü.tif", nuclei[:, :200])
    (tmp_path / "bad.tif").write_text("no image\n")
    (tmp_path / "plate.csv").write_text("image,drug\n50% <b> #1 ü.tif,<i>x</i>\nbad.tif,none\n", encoding="utf-8")
    model = str(test_data / "demo-model.zip")
    stack = str(tmp_path / "stack.tif")
    volume = tifffile.imread(test_data / "nuclei_3d.tif")[8:11]
    tifffile.imwrite(stack, volume, imagej=True, metadata={"axes": "ZYX"})
    assert main(["predict", model, str(tmp_path / "plate.csv"), stack, "-o", str(tmp_path / "out"), "--segment"]) == 5
    return tmp_path / "out"


def test_a_page_of_a_run(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "2 done, 1 failed" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "bad.tif is a text file" in text
    files = [link for link in page.links if not link.startswith("#")]
    assert all((folder / unquote(link)).is_file() for link in files)
    assert len(files) == 2 + 2 * 6  # two tables; and two outputs, three files of objects and the record, of two images
    assert [link for link in page.links if link.startswith("#")] == ["#image-2"]
    assert 'id="image-2" class="failed"' in text
    shown = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert [re.sub(r"\d+", "N", title) for title in shown] == ["image", "foreground", "boundary", "N objects"] * 2
    assert [picture.size for picture in page.pictures] == [(107, SIDE)] * 4 + [(96, 96)] * 4


def test_nothing_is_loaded_from_elsewhere(folder: Path) -> None:
    text = (folder / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)[a-z]+:', text)
    assert "default-src 'none'" in text


def test_the_contrast_follows_the_values_of_any_type(tmp_path: Path) -> None:
    """A ramp is dark on its left and bright on its right: of any type, with negative numbers, with NaN."""
    ramp = np.tile(np.linspace(0, 1, 400), (300, 1))
    holes = ramp.astype("float32")
    holes[0, 0], holes[0, 1] = np.nan, np.inf
    images = {"u8": (ramp * 255).astype("uint8"), "u16": (ramp * 300 + 1000).astype("uint16"),
              "f32": (ramp - 5).astype("float32"), "holes": holes}  # fmt: skip
    for name, array in images.items():
        np.save(tmp_path / f"{name}.npy", array)
        (picture,) = first_picture(tmp_path / f"{name}.npy")
        shown = np.asarray(Image.open(io.BytesIO(picture.webp or b"")).convert("L")).astype(int)
        assert shown.shape == (120, 160)
        columns = shown[5:].mean(axis=0)
        assert columns[0] < 15, name
        assert columns[-1] > 240, name
        assert abs(columns[80] - 127) < 8, name


def first_picture(path: Path) -> tuple[Thumbnail, ...]:
    shape = np.load(path, mmap_mode="r").shape
    output = output_record("bcyx", (1, 1, *shape), npy=str(path))
    return thumbnails(run_record(input_record("yx", shape), output), path)[:1]


def test_a_large_image_is_not_loaded(tmp_path: Path) -> None:
    """A few rows are read of 800 MB, which are sparse on the disk."""
    import tracemalloc

    path = tmp_path / "large.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<u2", "fortran_order": False, "shape": (20_000, 20_000)}
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(header.getvalue())
        file.truncate(len(header.getvalue()) + 2 * 20_000**2)
    tracemalloc.start()
    (picture,) = first_picture(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert picture.size == (SIDE, SIDE)
    assert peak < path.stat().st_size / 8


def test_an_image_that_cannot_be_read_has_a_title_with_the_reason(tmp_path: Path) -> None:
    run = run_record(input_record("yx", (4, 4)), output_record("bcyx", (1, 1, 4, 4)))
    (picture,) = thumbnails(run, tmp_path / "gone.tif")
    assert picture.webp is None
    assert picture.title.startswith("No picture: There is no file")


def test_a_thousand_images(tmp_path: Path) -> None:
    """A card takes about 1 kB beside its pictures."""
    samples = [Sample(tmp_path / f"{number}.tif", f"{number}.tif", {"well": "A1"}) for number in range(1000)]
    named = name_files(samples, tmp_path, ["prediction"])
    picture = Thumbnail("image", bytes(3000), (SIDE, SIDE))
    outcomes = [outcome(sample, files, picture) for sample, files in zip(samples, named, strict=True)]
    write_index(outcomes, "A model", 1000, tmp_path / "index.html")
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text.count("<article") == 1000
    assert len(text) < 1000 * (4000 + 1000)


def test_more_than_a_thousand_images_are_listed_but_the_others_have_no_picture(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of a hundred thousand images would fill the memory, and no browser would open the page."""
    monkeypatch.setattr(all_images, "MOST_PICTURED", 2)
    monkeypatch.setattr(index_page, "MOST_PICTURED", 2)
    images = [str(tmp_path / f"{number}.npy") for number in range(4)]
    for image in images:
        np.save(image, tifffile.imread(test_data / "nuclei.tif")[:128, :128])
    assert main(["predict", str(test_data / "demo-model.zip"), *images, "-o", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert text.count("<article") == 4
    assert [part.count("<img") for part in text.split("<article")[1:]] == [3, 3, 0, 0]
    assert "Pictures are of the first 2 images only." in text


def outcome(sample: Sample, files: ImageFiles, picture: Thumbnail) -> Outcome:
    return Outcome(sample, files, "done", facts=Facts("yx", (9, 9), "uint8", 1, 0.1), pictures=(picture,))
