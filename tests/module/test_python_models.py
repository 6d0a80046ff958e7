"""Opened models in Python: opening and closing, many images, cancelling, objects, views in notebooks."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference import Model, Options, Output, Prediction, Target, UsageError, load_model
from bioimage_inference.array_types import Array
from bioimage_inference.cli import main
from bioimage_inference.files.scratch import folders_in_use
from bioimage_inference.image.image import PixelSize
from bioimage_inference.network.network import Engine, Inputs
from bioimage_inference.segmentation.found_objects import Segmentation

IMAGE = np.random.default_rng(0).random((80, 96)).astype("float32")


class Twice:
    """The image as both channels of the output. Counts the tiles."""

    engine = Engine("torch", "as asked")

    def __init__(self) -> None:
        self.tiles = 0

    def __call__(self, inputs: Inputs) -> list[Array]:
        (array,) = inputs
        assert array is not None
        self.tiles += len(array)
        return [np.concatenate([array, array], axis=1)]


@pytest.fixture
def model(test_data: Path) -> Iterator[Model]:
    with load_model(test_data / "demo-model.zip", network=Twice()) as opened:
        yield opened


def test_a_model_is_open_until_it_is_closed(test_data: Path) -> None:
    before = folders_in_use()
    model = load_model(test_data / "demo-model.zip", network=Twice())
    assert len(folders_in_use()) == len(before) + 1
    assert model.predict(IMAGE).outputs["prediction"].shape == (1, 2, 80, 96)
    assert repr(model) == "<Model 'Demo U-Net for nuclei': raw and prediction>"
    model.close()
    model.close()
    assert folders_in_use() == before
    assert repr(model).endswith("closed>")
    for use in (model.inspect, lambda: model.predict(IMAGE), model.__enter__):
        with pytest.raises(UsageError, match=r"is closed\. Open it again with load_model"):
            use()


def test_a_model_that_nobody_closes_leaves_nothing(test_data: Path) -> None:
    before = folders_in_use()
    model = load_model(test_data / "demo-model.zip")
    del model
    assert folders_in_use() == before


@pytest.mark.parametrize("given", [None, torch.nn.Identity(), 5])
def test_what_is_no_model_is_refused_in_words(given: Any) -> None:
    with pytest.raises(UsageError, match="is no model: give a package"):
        bioimage_inference.predict(given, IMAGE)


def test_a_network_without_an_engine_is_refused(test_data: Path) -> None:
    with pytest.raises(UsageError, match="is no Network"):
        load_model(test_data / "demo-model.zip", network=lambda arrays: arrays)  # type: ignore[arg-type]


def test_public_names_are_listed_and_have_an_example() -> None:
    assert set(bioimage_inference.__all__) <= set(dir(bioimage_inference))
    functions = ("inspect", "load_model", "predict", "predict_many", "segment", "validate")
    methods = [getattr(Model, name) for name in ("inspect", "predict", "predict_many", "segment", "validate")]
    for one in (*(getattr(bioimage_inference, name) for name in functions), *methods):
        assert ">>> " in one.__doc__, one


def test_the_package_is_imported_without_its_rooms() -> None:
    code = (
        "import sys, bioimage_inference as b; b.Options, b.UsageError, dir(b);"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'xarray', 'bioimage_inference.api')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_one_number_is_the_tile_along_every_axis(model: Model) -> None:
    record = model.predict(IMAGE, tile=64, axes="yx").record
    assert record["plan"]["tile"] == {"y": 64, "x": 64}
    assert record["options"]["tile"] == [64, 64]


def test_words_win_over_options(model: Model) -> None:
    options = Options(tile=(72, 72), border="mirror")
    record = model.predict(IMAGE, options=options, tile=(64, 64)).record
    assert record["options"] == {"tile": [64, 64], "border": "mirror", "tiff_layout": "labelled"}


@pytest.mark.parametrize("form", ["list", "zarr", "tensor", "float64"])
def test_every_form_of_an_image_gives_the_same(model: Model, form: str) -> None:
    expected = model.predict(IMAGE).outputs["prediction"].array
    forms = {
        "list": IMAGE.tolist(),
        "zarr": zarr.create_array(zarr.storage.MemoryStore(), data=IMAGE, chunks=(32, 32)),
        "tensor": torch.tensor(IMAGE),
        "float64": IMAGE.astype("float64"),
    }
    np.testing.assert_allclose(model.predict(forms[form]).outputs["prediction"].array, expected, atol=1e-6)


def test_an_output_is_an_image_for_the_next_model(model: Model, test_data: Path) -> None:
    output = model.predict(test_data / "nuclei_timeseries.tif").outputs["prediction"]
    again = model.predict(output, channels="boundary")
    entry = again.record["inputs"][0]
    assert (entry["axes"], entry["channels"], entry["pixel_size"]["x"]["value"]) == ("tcyx", [1], 0.325)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"targets": {"probability": Target()}}, "targets names 'probability', but the outputs of the model are pred"),
        ({"targets": {"prediction": "cells.tif"}}, "is not understood: give {output id: Target"),
        ({"inputs": [IMAGE]}, "give a dictionary of images by tensor ids"),
    ],
)
def test_further_arguments_are_checked(model: Model, words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model.predict(IMAGE, **words)


# Many images, progress and the end before the end


def test_many_images_are_predicted_when_they_are_asked_for(test_data: Path) -> None:
    network, taken = Twice(), []

    def images() -> Iterator[NDArray[np.float32]]:
        for number in range(3):
            taken.append(number)
            yield IMAGE + number

    with load_model(test_data / "demo-model.zip", network=network) as model:
        predictions = model.predict_many(images(), axes="yx", tile=(80, 96))
        assert (taken, network.tiles) == ([], 0)
        first = next(predictions)
        assert (taken, network.tiles, first.outputs["prediction"].shape) == ([0], 1, (1, 2, 80, 96))
        assert len([*predictions]) == 2
        assert network.tiles == 3


@pytest.mark.parametrize("images", ["cells.tif", IMAGE, Path("cells.tif"), 3])
def test_one_image_is_not_many(model: Model, images: Any) -> None:
    with pytest.raises(UsageError, match="predict_many takes several images"):
        model.predict_many(images)


@pytest.mark.parametrize("how", ["event", "exception"])
def test_a_cancelled_prediction_leaves_no_file(model: Model, tmp_path: Path, how: str) -> None:
    stop, seen = Event(), []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2 and how == "exception":
            raise KeyError("enough")
        if done == 2:
            stop.set()

    files = {"prediction": Target(tmp_path / "out.tif", tmp_path / "out.npy")}
    with pytest.raises(CancelledError if how == "event" else KeyError, match=r"2 of 6 tiles|enough"):
        model.predict(IMAGE, tile=64, targets=files, record=tmp_path / "out.json", progress=progress, cancel=stop)
    assert seen == [(0, 6), (1, 6), (2, 6)]
    assert [*tmp_path.iterdir()] == []
    assert model.predict(IMAGE, tile=64, targets=files).outputs["prediction"].tiff == tmp_path / "out.tif"


def test_an_earlier_result_survives_a_cancelled_prediction(model: Model, tmp_path: Path) -> None:
    files, stop = {"prediction": Target(npy=tmp_path / "out.npy")}, Event()
    model.predict(IMAGE, targets=files, record=tmp_path / "out.json")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stop.set()
    with pytest.raises(CancelledError):
        model.predict(IMAGE + 1, targets=files, record=tmp_path / "out.json", cancel=stop)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# Objects


def maps() -> NDArray[np.float32]:
    """Foreground and boundary of two squares."""
    found = np.zeros((2, 40, 50), np.float32)
    found[0, 5:15, 5:15] = found[0, 20:32, 30:45] = 1
    return found


def test_objects_of_an_array_are_labels_and_a_table() -> None:
    found = bioimage_inference.segment(maps(), axes="cyx")
    assert found.count == 2
    assert (found.axes, found.labels.shape, found.labels.dtype) == ("yx", (40, 50), np.uint16)
    np.testing.assert_array_equal(found.labels > 0, maps()[0] > 0)
    assert found.table["area_px"].tolist() == [100, 180]
    np.testing.assert_allclose(found.table["centroid_y_px"], [9.5, 25.5])
    assert repr(found) == "<Segmentation: 2 objects, labels yx 40×50 uint16>"
    ((layer, arguments, kind),) = found.to_layers()
    np.testing.assert_array_equal(layer, found.labels)
    assert (arguments["name"], kind) == ("objects", "labels")


def test_objects_in_memory_are_those_of_the_command_line(test_data: Path, tmp_path: Path) -> None:
    import csv

    import tifffile

    shutil.copy(test_data / "nuclei_timeseries.tif", tmp_path / "cells.tif")
    arguments = ["predict", str(test_data / "demo-model.zip"), str(tmp_path / "cells.tif"), "-o", str(tmp_path)]
    assert main([*arguments, "--segment", "--threads", "1"]) == 0
    with load_model(test_data / "demo-model.zip") as model:
        found = model.segment(tmp_path / "cells.tif", threads=1)
    (labels,) = tmp_path.glob("*labels.tif")
    np.testing.assert_array_equal(found.labels, tifffile.imread(labels))
    (table,) = tmp_path.glob("*objects.csv")
    with table.open() as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == [*found.table]
    for name, column in found.table.items():
        np.testing.assert_allclose(column, [float(row[name]) for row in rows])
    assert found.to_xarray().dims == ("t", "y", "x")
    assert float(found.to_xarray().x[1]) == pytest.approx(0.325)


def test_without_objects_the_table_is_empty() -> None:
    found = bioimage_inference.segment(np.zeros((2, 40, 50), np.float32), axes="cyx")
    assert (found.count, found.labels.max()) == (0, 0)
    assert "No object was found" in found.notes[-2]


def test_planes_of_a_stack_get_a_note(model: Model) -> None:
    prediction = model.predict(np.random.default_rng(0).random((2, 64, 64)), axes="zyx")
    assert "computed each plane" in bioimage_inference.segment(prediction).notes[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"foreground": "nuclei"}, "nuclei is no channel"),
        ({"foreground": 0.5}, "foreground=0.5 is not understood"),
        ({"foreground": None}, "foreground=None is not understood"),
        ({"boundary": 7}, "7 is no channel"),
        ({"threshold": "high"}, "threshold='high' is not understood: give a number"),
        ({"min_size": 0}, "min_size=0 is not understood"),
        ({"axes": "yx"}, "name 2 dimensions"),
    ],
)
def test_wrong_words_for_objects_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bioimage_inference.segment(maps(), **{"axes": "cyx", **words})


# In a notebook


class Page(HTMLParser):
    """The tags and the text of a piece of HTML; every tag has to be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_prediction_shows_facts_and_pictures(model: Model) -> None:
    prediction = model.predict(IMAGE)
    assert repr(prediction) == (
        "<Prediction of array with 'Demo U-Net for nuclei': prediction bcyx 1×2×80×96 float32, channels foreground, "
        "boundary>"
    )
    page = Page(prediction._repr_html_())
    for words in ("Demo U-Net for nuclei", "(80,96) float32", "bcyx 1×2×80×96", "foreground", "boundary", "CPU", " s"):
        assert words in page.text
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2
    assert all((one["src"] or "").startswith("data:image/png;base64,") and one["alt"] for one in pictures)


def test_an_output_is_its_array(model: Model) -> None:
    output = model.predict(IMAGE).outputs["prediction"]
    assert np.asarray(output) is output.array
    assert np.array(output) is not output.array
    assert np.asarray(output, "float64").dtype == np.float64
    assert repr(output) == "<Output 'prediction': bcyx 1×2×80×96 float32, channels foreground, boundary>"
    assert len([tag for tag, _ in Page(output._repr_html_()).tags if tag == "img"]) == 2


def test_an_output_in_a_file_has_no_pictures_and_no_array(model: Model, tmp_path: Path) -> None:
    prediction = model.predict(IMAGE, targets={"prediction": Target(tiff=tmp_path / "cells.tif")})
    page = Page(prediction._repr_html_())
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert str(tmp_path / "cells.tif") in page.text
    with pytest.raises(UsageError, match="was written without"):
        np.asarray(prediction.outputs["prediction"])
    assert bioimage_inference.segment(prediction).labels.shape == (80, 96)


def test_names_in_a_notebook_are_escaped(model: Model) -> None:
    bad = "<script>alert(1)</script>\x1b[31m"
    prediction = model.predict(IMAGE)
    output = replace(prediction.outputs["prediction"], id=bad, channel_names=(bad, bad))
    record = prediction.provenance
    named = replace(record, model=replace(record.model, name=bad), notes=(bad,))
    for html in (Prediction({bad: output}, named)._repr_html_(), output._repr_html_()):
        assert not [tag for tag, _ in Page(html).tags if tag == "script"]
        assert "\x1b" not in html
        assert "<script>" in Page(html).text


def test_a_notebook_stays_small() -> None:
    array = np.random.default_rng(0).random((1, 9, 1200, 1200)).astype("float32")
    output = Output("maps", "bcyx", array.dtype, array.shape, array, (), "cyx", array.shape[1:], {})
    html = output._repr_html_()
    assert len(html) < 1 << 20
    assert "The first 6 of 9 pictures." in html


def test_objects_in_a_notebook() -> None:
    size = {"x": PixelSize(0.5, "µm"), "y": PixelSize(0.5, "µm")}
    found = bioimage_inference.segment(maps(), axes="cyx")
    page = Page(Segmentation(found.labels, "yx", found.table, size, ("A note.",))._repr_html_())
    assert "2 objects" in page.text
    assert "A note." in page.text
    assert [tag for tag, _ in page.tags].count("img") == 1
