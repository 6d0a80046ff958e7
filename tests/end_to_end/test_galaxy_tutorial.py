"""The tutorial for Galaxy: its pictures, its messages and its numbers are those of the program."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from bioimage_inference.cli import main

from ..pages import DOCS, ROOT

PAGE = DOCS / "tutorial" / "galaxy.md"
PICTURES = DOCS / "images" / "galaxy"
TOOLS = ROOT / "tools" / "bioimage_inference"
DATA, TOOL_DATA = ROOT / "test-data", TOOLS / "test-data"


@pytest.fixture(scope="module")
def form_messages() -> ModuleType:
    """The module that puts the titles of fields in place of options, as Galaxy shows messages."""
    spec = importlib.util.spec_from_file_location("form_messages", TOOLS / "form_messages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_shown_crisp_and_small() -> None:
    page = PAGE.read_text()
    visited = re.findall(r'\.(?:take|show|show_page|picture_\w+)\((?:\w+, )?"([\w-]+)"', _visit())
    files = sorted(PICTURES.iterdir())
    assert [file.name for file in files] == sorted(f"{name}.webp" for name in visited), (
        "run python -m tests.galaxy pictures"
    )
    for file in files:
        assert f"(../images/galaxy/{file.name})" in page
        assert file.stat().st_size < 200_000
        with Image.open(file) as picture:
            assert min(picture.size) > 500


def _visit() -> str:
    return (ROOT / "tests" / "galaxy" / "tutorial_visit.py").read_text()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([DATA / "demo-model-3d.zip", DATA / "nuclei_timeseries.tif"], 5),
        ([DATA / "demo-model.zip", DATA / "nuclei.tif", "--rescale"], 2),
        ([DATA / "demo-model.zip", TOOL_DATA / "colour.png"], 5),
        ([DATA / "demo-model" / "weights.pt", DATA / "nuclei.tif"], 2),
        ([DATA / "demo-model.zip", DATA / "nuclei.tif"], 6),
    ],
    ids=["axes", "pixel size", "channel", "weights", "memory"],
)
def test_a_message_of_the_page_is_what_galaxy_shows(
    options: list[object],
    code: int,
    form_messages: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if code == 6:
        monkeypatch.setenv("GALAXY_MEMORY_MB", "100")
    assert main(["predict", *map(str, options), "-o", str(tmp_path)]) == code
    titles = form_messages.fields(TOOLS / "bioimage_inference.xml")
    shown = " ".join(form_messages.in_words_of_the_form(capsys.readouterr().err, titles).split())
    quoted = [" ".join(text.split()) for text in re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    assert len(quoted) == 5
    assert any(message in shown for message in quoted), shown


@pytest.mark.parametrize(
    ("model", "output", "boundary"),
    [("demo-model.zip", "prediction", "1"), ("threshold-model.zip", "objects", "none")],
)
def test_both_models_find_as_many_nuclei_as_the_page_says(
    model: str, output: str, boundary: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(DATA / "nuclei.tif")
    assert main(["predict", str(DATA / model), image, "-o", str(tmp_path), "--tiff-layout", "pages"]) == 0
    predicted = str(tmp_path / f"nuclei_{output}.tif")
    options = ["--image", image, "-o", str(tmp_path), "--object-boundary", boundary]
    assert main(["segment", predicted, *options]) == 0
    found = re.search(r"objects (\d+), median area .*\((.+ µm²)\)", capsys.readouterr().out)
    assert found is not None
    assert f"{found[1]} objects, median {found[2]}" in PAGE.read_text()


def test_the_second_model_is_the_published_formula(tmp_path: Path) -> None:
    import numpy as np
    import tifffile
    from scipy import ndimage

    image = tifffile.imread(DATA / "nuclei.tif").astype(float)
    assert main(["predict", str(DATA / "threshold-model.zip"), str(DATA / "nuclei.tif"), "-o", str(tmp_path)]) == 0
    found = np.load(tmp_path / "nuclei_objects.npy")[0, 0]
    ones = np.ones_like(image)
    mean, value = (
        ndimage.uniform_filter(image, size, mode="constant") / ndimage.uniform_filter(ones, size, mode="constant")
        for size in (61, 3)
    )
    expected = 1 / (1 + np.exp(-(value / mean - 1.05) / 0.05))
    np.testing.assert_allclose(found, expected, atol=1e-4)
