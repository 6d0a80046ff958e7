"""``rerun`` repeats a recorded run, and says whether the outputs are the same, or what stands in the way."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import bioimage_inference
from bioimage_inference.cli import main
from bioimage_inference.reproduction.comparison import largest_difference

Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(test_data: Path, tmp_path: Path) -> Path:
    """The record of a run in a folder of its own, with its model and image."""
    shutil.copy(test_data / "demo-model.zip", tmp_path)
    shutil.copy(test_data / "nuclei.tif", tmp_path)
    options = ["--tile", "128x160", "--tiff-layout", "labelled", "--threads", "1"]
    arguments = [str(tmp_path / "demo-model.zip"), str(tmp_path / "nuclei.tif"), "-o", str(tmp_path / "out"), *options]
    assert main(["predict", *arguments]) == 0
    return tmp_path / "out" / "nuclei_provenance.json"


def changed(run: Path, **parts: dict[str, Any]) -> None:
    """Write other values into parts of a record."""
    record = json.loads(run.read_text())
    for part, values in parts.items():
        record[part] = {**record.get(part, {}), **values}
    run.write_text(json.dumps(record))


def test_a_repeated_run_is_identical(run: Path, capsys: Output) -> None:
    before = sorted(path.name for path in run.parent.iterdir())
    capsys.readouterr()
    assert main(["rerun", str(run)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "[nuclei_provenance.json] repeated: the predicted outputs are identical",
        "  output  nuclei_prediction.tif: identical",
        "  output  nuclei_prediction.npy: identical",
    ]
    assert sorted(path.name for path in run.parent.iterdir()) == before


@pytest.mark.parametrize("given", ["set.companion.ome", "z0.tif"])
def test_an_image_in_several_files_is_known_by_all_of_them(
    test_data: Path, tmp_path: Path, capsys: Output, given: str
) -> None:
    planes = tifffile.imread(test_data / "nuclei.tif")[:64, :64]
    head = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="z{z}.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(2)
    )
    (tmp_path / "set.companion.ome").write_text(
        f'{head}><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="64" SizeY="64" '
        f'SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0"/>{data}</Pixels></Image></OME>'
    )
    for z in range(2):
        binary = f'{head} UUID="urn:uuid:{z}"><BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:9"/></OME>'
        tifffile.imwrite(tmp_path / f"z{z}.tif", planes, description=binary, metadata=None)
    shutil.copy(test_data / "demo-model.zip", tmp_path)
    assert main(["predict", str(tmp_path / "demo-model.zip"), str(tmp_path / given), "-o", str(tmp_path / "out")]) == 0
    (record,) = (tmp_path / "out").glob("*_provenance.json")
    assert json.loads(record.read_text())["inputs"][0]["shape"] == [2, 64, 64]
    assert main(["rerun", str(record)]) == 0
    other = tmp_path / "z1.tif"
    other.write_bytes(other.read_bytes()[:-1] + b"\0")
    capsys.readouterr()
    assert main(["rerun", str(record)]) == 5
    assert "was changed" in capsys.readouterr().err


def test_outputs_are_kept_where_asked_with_a_record_of_their_own(run: Path, tmp_path: Path, capsys: Output) -> None:
    changed(run, sample={"condition": "drug"})
    capsys.readouterr()
    assert main(["rerun", str(run), "-o", str(tmp_path / "again"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["identical"]
    assert found["changes"] == []
    assert [one["path"] for one in found["outputs"]] == [
        str(tmp_path / "again" / name) for name in ("nuclei_prediction.tif", "nuclei_prediction.npy")
    ]
    old, new = (json.loads(path.read_text()) for path in (run, tmp_path / "again" / run.name))
    for key in ("model", "inputs", "plan", "processing", "weights", "versions", "sample"):
        assert new[key] == old[key], key


def test_tiles_are_the_recorded_ones_on_a_machine_with_other_memory(test_data: Path, tmp_path: Path) -> None:
    """The budget of memory chooses the tiles; it is recorded, so that another machine takes the same."""
    image = np.random.default_rng(0).integers(0, 999, (1400, 1300), dtype="uint16")
    tifffile.imwrite(tmp_path / "big.tif", image, metadata={"axes": "YX"})
    arguments = [str(test_data / "demo-model.zip"), str(tmp_path / "big.tif"), "-o", str(tmp_path)]
    assert main(["predict", *arguments, "--memory", "700MiB"]) == 0
    assert json.loads((tmp_path / "big_provenance.json").read_text())["plan"]["tiles"] > 1
    assert main(["rerun", str(tmp_path / "big_provenance.json")]) == 0


def test_tiles_that_were_made_smaller_on_the_way_are_taken_again(run: Path, capsys: Output) -> None:
    """After a tile did not fit, a run goes on with smaller ones; the record has both the options and what was used."""
    record = json.loads(run.read_text())
    del record["options"]["tile"]
    run.write_text(json.dumps(record))
    assert main(["rerun", str(run)]) == 0
    assert "identical" in capsys.readouterr().out


def test_a_moved_run_is_found_beside_its_record(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "demo-model.zip", tmp_path / "nuclei.tif"):
        path.rename(run.parent / path.name)
    run.parent.rename(tmp_path / "elsewhere")
    assert main(["rerun", str(tmp_path / "elsewhere" / run.name)]) == 0


def test_other_outputs_are_7_with_the_difference_and_what_changed(run: Path, capsys: Output) -> None:
    record = json.loads(run.read_text())
    npy = Path(record["outputs"][0]["npy"])
    array = np.load(npy)
    array[0, 1, 200, 300] += 0.25
    np.save(npy, array)
    record["outputs"][0]["sha256"]["npy"] = hashlib.sha256(npy.read_bytes()).hexdigest()
    run.write_text(json.dumps(record))
    changed(run, versions={"torch": "2.6.0"})
    assert main(["rerun", str(run)]) == 7
    told = capsys.readouterr()
    assert "nuclei_prediction.tif: identical" in told.out
    assert "nuclei_prediction.npy differs by up to 0.25" in told.err
    assert "versions.torch: 2.6.0 was recorded" in told.err


def test_a_difference_whose_file_is_gone_is_still_told(run: Path, capsys: Output) -> None:
    record = json.loads(run.read_text())
    record["outputs"][0]["sha256"]["npy"] = "0" * 64
    run.write_text(json.dumps(record))
    assert main(["rerun", str(run), "--json"]) == 7
    told = capsys.readouterr()
    assert json.loads(told.out[told.out.index("{\n") :])["outputs"][1]["largest"] is None
    assert "by how much is unknown" in told.err
    assert "the network gives different results for the same input" in told.err


def test_the_same_numbers_with_other_metadata_are_no_failure(run: Path, capsys: Output) -> None:
    """The TIFF names the program's version; with another version its bytes differ, and its numbers do not."""
    record = json.loads(run.read_text())
    tiff = Path(record["outputs"][0]["tiff"])
    tifffile.imwrite(tiff, tifffile.imread(tiff), imagej=True, metadata={"axes": "CYX"})
    record["outputs"][0]["sha256"]["tiff"] = hashlib.sha256(tiff.read_bytes()).hexdigest()
    run.write_text(json.dumps(record))
    assert main(["rerun", str(run)]) == 0
    told = capsys.readouterr().out
    assert "the predicted outputs are the same values" in told
    assert "nuclei_prediction.tif: the same values; its metadata differ" in told


def test_changed_files_are_told_before_anything_is_computed(
    run: Path, test_data: Path, tmp_path: Path, capsys: Output
) -> None:
    tifffile.imwrite(tmp_path / "nuclei.tif", np.zeros((300, 380), "uint16"))
    assert main(["rerun", str(run)]) == 5
    assert f"the image {tmp_path / 'nuclei.tif'} was changed" in capsys.readouterr().err
    shutil.copy(test_data / "demo-model-3d.zip", tmp_path / "demo-model.zip")
    assert main(["rerun", str(run)]) == 4
    told = capsys.readouterr().err
    assert f"the model {tmp_path / 'demo-model.zip'} was changed" in told
    assert "the image" in told


def test_missing_files_are_5_and_4(run: Path, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "nuclei.tif").unlink()
    assert main(["rerun", str(run)]) == 5
    assert "nuclei.tif is not there any more, nor beside the record" in capsys.readouterr().err
    (tmp_path / "demo-model.zip").unlink()
    assert main(["rerun", str(run)]) == 4
    assert "demo-model.zip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no JSON", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[1, 2]", "it names no schema"),
        ('{"schema": "urn:bioimage_inference:provenance:99"}', "provenance:99"),
        ('{"schema": "urn:bioimage_inference:provenance:1"}', "incomplete or damaged"),
    ],
)
def test_what_is_no_record_is_2(content: str, words: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "record.json").write_text(content)
    assert main(["rerun", str(tmp_path / "record.json")]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("inputs", [], "it names no image"),
        ("plan", {}, "plan.tiles is missing"),
        ("plan.tile", {"y": "many"}, "plan.tile.y is wrong"),
        ("plan.tile", {"y\n\x1b[31m": "many"}, r"plan.tile.y\n\x1b[31m is wrong"),
        ("plan.tile", None, "plan.tile is wrong"),
        ("inputs.0", "nuclei.tif", "inputs.0 is wrong"),
        ("options", {"tiles": 3}, "there is no option tiles"),
        ("options", {"tile": "wide"}, "tile is wrong"),
        ("device.threads", 0, "0 threads cannot compute"),
        ("device.precision", "int8", "precision is wrong"),
        ("outputs.0.id", "mask", "it names mask, which is neither"),
        ("notes", [[]], "notes.0 is wrong"),
        ("objects", {"labels": None}, "objects.table is missing"),
    ],
)
def test_a_damaged_record_is_2(place: str, value: Any, words: str, run: Path, capsys: Output) -> None:
    record = json.loads(run.read_text())
    *parts, last = (int(key) if key.isdecimal() else key for key in place.split("."))
    inner = record
    for key in parts:
        inner = inner[key]
    inner[last] = value
    run.write_text(json.dumps(record))
    assert main(["rerun", str(run)]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.strip().count("\n") == 0


@pytest.mark.parametrize("beside", [True, False], ids=["crate of the outputs", "crate elsewhere"])
def test_a_crate_is_repeated_wherever_it_is(beside: bool, test_data: Path, tmp_path: Path) -> None:
    """Also where two of its images have the same name."""
    here = tmp_path / "here"
    crate = here / ("out" if beside else "crate")
    for folder, step in (("a", 1), ("b", -1)):
        (here / folder).mkdir(parents=True)
        tifffile.imwrite(here / folder / "cells.tif", tifffile.imread(test_data / "nuclei.tif")[:64:step, :64])
    shutil.copy(test_data / "demo-model.zip", here)
    images = [str(here / folder / "cells.tif") for folder in "ab"]
    options = ["-o", str(here / "out"), "--ro-crate", str(crate)]
    assert main(["predict", str(here / "demo-model.zip"), *images, *options]) == 0
    crate.rename(tmp_path / "crate")
    shutil.rmtree(here)
    records = sorted((tmp_path / "crate").rglob("*_provenance.json"))
    assert [path.name[0] for path in records] == ["a", "b"]
    assert [main(["rerun", str(path)]) for path in records] == [0, 0]


def test_a_missing_record_is_2(tmp_path: Path, capsys: Output) -> None:
    assert main(["rerun", str(tmp_path / "record.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_recorded_outputs_are_never_replaced(run: Path, capsys: Output) -> None:
    assert main(["rerun", str(run), "-o", str(run.parent)]) == 2
    assert "is the recorded output itself" in capsys.readouterr().err


def test_arrays_in_memory_cannot_be_repeated(test_data: Path, tmp_path: Path, capsys: Output) -> None:
    image, record = np.zeros((64, 64), "uint8"), tmp_path / "record.json"
    target = {"prediction": bioimage_inference.Target(npy=tmp_path / "o.npy")}
    bioimage_inference.predict(test_data / "demo-model.zip", image, axes="yx", targets=target, record=record)
    assert main(["rerun", str(record)]) == 5
    assert "was an array in memory" in capsys.readouterr().err
    bioimage_inference.predict(test_data / "demo-model.zip", image, axes="yx", record=record)
    assert main(["rerun", str(record)]) == 2
    assert "names no files of outputs" in capsys.readouterr().err


def test_trust_is_not_taken_from_a_record(test_data: Path, tmp_path: Path, capsys: Output) -> None:
    model = tmp_path / "model"
    shutil.copytree(test_data / "demo-model", model, ignore=shutil.ignore_patterns("weights.pt"))
    arguments = [str(model), str(test_data / "nuclei.tif"), "-o", str(tmp_path / "out"), "--trust-model-code"]
    assert main(["predict", *arguments]) == 0
    record = tmp_path / "out" / "nuclei_provenance.json"
    assert json.loads(record.read_text())["options"] == {"tiff_layout": "labelled", "trust_model_code": True}
    assert main(["rerun", str(record)]) == 3
    assert "--trust-model-code" in capsys.readouterr().err
    assert main(["rerun", str(record), "--trust-model-code"]) == 0


def test_bare_weights_and_further_axes_are_repeated(test_data: Path, tmp_path: Path) -> None:
    arguments = [str(test_data / "demo-model" / "weights.pt"), str(test_data / "nuclei_timeseries.tif")]
    bare = ["--model-axes", "bcyx", "--model-size", "128,96,1,1"]
    assert main(["predict", *arguments, *bare, "-o", str(tmp_path)]) == 0
    assert main(["rerun", str(tmp_path / "nuclei_timeseries_provenance.json")]) == 0


@pytest.mark.parametrize("shape", [(3, 40, 50), (2, 3), (7,)])
def test_the_largest_difference_is_that_of_all_numbers(shape: tuple[int, ...], tmp_path: Path) -> None:
    one = np.random.default_rng(0).random(shape)
    other = one.copy()
    other[-1] += 0.5
    other.flat[0] -= 0.75
    np.save(tmp_path / "1.npy", one)
    np.save(tmp_path / "2.npy", other)
    assert largest_difference(tmp_path / "1.npy", tmp_path / "2.npy") == pytest.approx(0.75)
    other.flat[0] = np.nan
    np.save(tmp_path / "2.npy", other)
    assert largest_difference(tmp_path / "1.npy", tmp_path / "2.npy") == np.inf
    np.save(tmp_path / "2.npy", other.astype("float32"))
    assert largest_difference(tmp_path / "1.npy", tmp_path / "2.npy") is None
