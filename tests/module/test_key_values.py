"""``--key-values``: the record in short, in the layout that OMERO's import of key-value pairs reads."""

import csv
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from bioimage_inference.cli import main
from tests.machine import missing
from tests.models import Blur, simple_tensors, write_model

Output = pytest.CaptureFixture[str]


def imported(table: Path) -> dict[str, str]:
    """The pairs as "OMERO Metadata Import" takes them: names from the first line of a table, values from the second."""
    with table.open(encoding="utf-8", newline="") as file:
        names, values = csv.reader(file, delimiter="\t")
    assert len(set(names)) == len(names)
    return dict(zip(names, values, strict=True))


@pytest.fixture
def demo(test_data: Path) -> list[str]:
    return ["predict", str(test_data / "demo-model.zip"), str(test_data / "nuclei.tif")]


def predicted(tmp_path: Path, *arguments: str) -> tuple[dict[str, str], dict[str, Any]]:
    """The pairs and the record of a run."""
    table = tmp_path / "pairs.tsv"
    assert main([*arguments, "-o", str(tmp_path / "out"), "--key-values", str(table)]) == 0
    (record,) = (tmp_path / "out").glob("*_provenance.json")
    return imported(table), json.loads(record.read_text())


def test_the_pairs_are_facts_of_the_record(demo: list[str], tmp_path: Path) -> None:
    pairs, record = predicted(tmp_path, *demo, "--segment", "--tile", "256x256")
    assert not record["notes"]
    (image,), (output,) = record["inputs"], record["outputs"]
    steps = (f"{step['tensor']} {step['step']}" for step in record["processing"])
    assert pairs == {
        "model_name": "Demo U-Net for nuclei",
        "model_version": "version 1.0.0",
        "model_authors": "bioimage_inference developers",
        "model_licence": "MIT",
        "model_sha256": record["model"]["sha256"],
        "model_cite": "doi:10.1007/978-3-319-24574-4_28",
        "weights_format": "torchscript",
        "weights_sha256": record["weights"]["sha256"],
        "image_name": "nuclei.tif",
        "image_axes": "yx",
        "image_shape": "300x380",
        "image_dtype": "uint16",
        "image_pixel_size": "y 0.325 µm, x 0.325 µm",
        "image_sha256": image["sha256"],
        "outputs": output["id"],
        "output_channels": "foreground, boundary",
        "processing": ", ".join(steps),
        "tiles": f"{record['plan']['tiles']} of y 256, x 256",
        "halo": ", ".join(f"{axis} {size}" for axis, size in record["plan"]["halo"].items()),
        "border": "natural",
        "options": "tile [256, 256], tiff_layout labelled",
        "device": record["device"]["name"],
        "precision": "float32",
        "engine": "torch",
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "started": record["started"],
        "objects_count": str(record["objects"]["count"]),
        "objects_foreground": "0",
        "objects_boundary": "1",
        "objects_threshold": "0.6",
        "objects_min_size_px": "10",
    }


def test_pairs_of_objects_name_the_options_that_were_given(demo: list[str], tmp_path: Path) -> None:
    limits = ["--object-max-size", "4000", "--object-exclude-border", "--object-fill-holes"]
    pairs, _ = predicted(tmp_path, *demo, "--segment", *limits)
    found = {name: value for name, value in pairs.items() if name.startswith("objects_")}
    assert found["objects_max_size_px"] == "4000"
    assert found["objects_exclude_border"] == found["objects_fill_holes"] == "true"


def test_a_plane_of_a_file_with_several_images_is_named(test_data: Path, tmp_path: Path) -> None:
    nuclei = tifffile.imread(test_data / "nuclei.tif")[:64, :64]
    with tifffile.TiffWriter(tmp_path / "two.ome.tif") as file:
        for offset in (0, 5):
            file.write(nuclei + offset, metadata={"axes": "YX"})
    model = str(test_data / "demo-model.zip")
    pairs, _ = predicted(tmp_path, "predict", model, str(tmp_path / "two.ome.tif"), "--series", "1")
    assert (pairs["image_series"], pairs["image_level"]) == ("1", "0")


def test_table_readers_keep_every_value(tmp_path: Path) -> None:
    """OMERO's import reads the table with pandas, which takes 1.10 for a number and some words for nothing."""
    if find_spec("pandas") is None:
        missing("pandas", "pip install pandas")
    pandas = import_module("pandas")
    model = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors(), version="1.10", name="Blur 1.0")
    np.save(tmp_path / "007.npy", np.zeros((32, 32), np.float32))
    pairs, _ = predicted(tmp_path, "predict", str(model), str(tmp_path / "007.npy"))
    table = pandas.read_csv(tmp_path / "pairs.tsv", delimiter="\t")
    assert {name: str(table[name].iloc[0]) for name in table.columns} == pairs
    assert pairs["model_version"] == "version 1.10"


@pytest.mark.parametrize("name", ["two\nlines", "a\ttab", '=HYPERLINK("x")', 'a "quote"'])
def test_no_text_of_a_model_changes_the_table(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors(), authors=[{"name": name}])
    np.save(tmp_path / "a.npy", np.zeros((32, 32), np.float32))
    pairs, _ = predicted(tmp_path, "predict", str(model), str(tmp_path / "a.npy"))
    assert pairs["model_authors"].isprintable()
    assert not pairs["model_authors"].startswith("=")
    assert pairs["image_name"] == "a.npy"


def test_named_files_and_resumed_runs_have_pairs_too(demo: list[str], tmp_path: Path) -> None:
    assert main([*demo, "--npy", str(tmp_path / "p.npy"), "--key-values", str(tmp_path / "named.tsv")]) == 0
    assert imported(tmp_path / "named.tsv")["image_name"] == "nuclei.tif"
    first, _ = predicted(tmp_path, *demo)
    again, _ = predicted(tmp_path, *demo, "--resume")
    assert again == first  # with the time of the first run


def test_several_images_are_refused(demo: list[str], test_data: Path, tmp_path: Path, capsys: Output) -> None:
    more = [str(test_data / "tissue.png"), "-o", str(tmp_path / "out"), "--key-values", str(tmp_path / "pairs.tsv")]
    assert main([*demo, *more]) == 2
    assert "--key-values is for a single image, but 2 are given." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_name_of_another_output_is_refused(demo: list[str], tmp_path: Path, capsys: Output) -> None:
    record = str(tmp_path / "nuclei_provenance.json")
    assert main([*demo, "-o", str(tmp_path), "--key-values", record]) == 2
    assert "Two outputs of this run name the same file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_result_is_not_replaced(demo: list[str], tmp_path: Path, capsys: Output) -> None:
    notes = tmp_path / "notes.tsv"
    notes.write_text("mine\n")
    assert main([*demo, "-o", str(tmp_path / "out"), "--key-values", str(notes)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert notes.read_text() == "mine\n"
