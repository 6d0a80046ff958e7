"""``--format``, ``--tiff-layout`` and ``--add-labels`` through the whole program: files, record, rerun, resume."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from jsonschema import Draft202012Validator
from numpy.typing import NDArray

import bioimage_inference
from bioimage_inference import Target
from bioimage_inference.cli import main
from bioimage_inference.image.image import PixelSize
from bioimage_inference.image.readers.reading import open_image
from bioimage_inference.image.writers.base import Layout, commit_all
from bioimage_inference.image.writers.ome_zarr_writer import OmeZarrWriter
from bioimage_inference.options import ZarrVersion
from bioimage_inference.provenance.hashing import path_hash

Array = NDArray[Any]
Output = pytest.CaptureFixture[str]
SCHEMA = json.loads((Path(bioimage_inference.__file__).parent / "provenance" / "provenance.schema.json").read_text())
TILE = ("--tile", "256x256", "--threads", "1")


@pytest.fixture
def demo(test_data: Path) -> tuple[str, str]:
    return str(test_data / "demo-model.zip"), str(test_data / "nuclei.tif")


def record_in(folder: Path, stem: str = "nuclei") -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / f"{stem}_provenance.json").read_text())
    Draft202012Validator(SCHEMA).validate(record)
    return record


def read(path: Path, axes: str | None = None) -> tuple[str, Array]:
    with closing(open_image(path, axes)) as image:
        return image.axes, image.read(tuple(slice(0, size) for size in image.shape))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_formats_hold_the_same_numbers_and_a_run_is_repeated_and_resumed(
    tmp_path: Path, demo: tuple[str, str], capsys: Output
) -> None:
    out = tmp_path / "out"
    command = ["predict", *demo, "-o", str(out), *TILE, "--format", "zarr,npy,tiff", "--report"]
    assert main(command) == 0
    (output,) = record_in(out)["outputs"]
    stem = str(out / "nuclei_prediction")
    assert {key: output[key] for key in ("tiff", "npy", "zarr")} == {
        "tiff": f"{stem}.tif",
        "npy": f"{stem}.npy",
        "zarr": f"{stem}.ome.zarr",
    }
    assert output["sha256"] == {key: path_hash(Path(output[key])).sha256 for key in output["sha256"]}
    yaozarrs.validate_zarr_store(output["zarr"])
    found = {key: read(Path(output[key]), "bcyx" if key == "npy" else None) for key in ("tiff", "npy", "zarr")}
    assert {key: axes for key, (axes, _) in found.items()} == {"tiff": "cyx", "npy": "bcyx", "zarr": "cyx"}
    for _, array in found.values():
        np.testing.assert_array_equal(array.reshape(2, 300, 380), found["npy"][1][0])
    capsys.readouterr()
    assert main(["rerun", f"{out / 'nuclei_provenance.json'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]
    assert main([*command, "--resume"]) == 0
    assert "is complete already" in capsys.readouterr().out
    assert main(["predict", *demo, "-o", str(out), *TILE, "--format", "tiff", "--resume"]) == 0
    assert "is complete already" in capsys.readouterr().out
    assert record_in(out)["outputs"] == [output]
    (Path(output["zarr"]) / "0" / "zarr.json").unlink()
    assert main([*command, "--resume"]) == 0
    assert "nuclei_prediction.ome.zarr has changed" in capsys.readouterr().out
    assert main(command) == 0  # replaces the earlier results, because the record names them
    assert path_hash(Path(output["zarr"])).sha256 == output["sha256"]["zarr"]


def test_an_ome_zarr_that_nobody_names_is_not_replaced(tmp_path: Path, demo: tuple[str, str], capsys: Output) -> None:
    store = tmp_path / "nuclei_prediction.ome.zarr"
    store.mkdir()
    (store / "zarr.json").write_text("{}")
    assert main(["predict", *demo, "-o", str(tmp_path), "--format", "zarr"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert contents(store) == {"zarr.json": b"{}"}


def test_python_writes_an_ome_zarr(tmp_path: Path, demo: tuple[str, str]) -> None:
    target = Target(zarr=tmp_path / "o.zarr")
    prediction = bioimage_inference.predict(*demo, targets={"prediction": target}, zarr_version="0.4")
    assert prediction.outputs["prediction"].zarr == target.zarr
    assert prediction.outputs["prediction"].array is None
    assert prediction.record["options"] == {"tiff_layout": "labelled", "zarr_version": "0.4"}
    yaozarrs.validate_zarr_store(tmp_path / "o.zarr")
    assert (tmp_path / "o.zarr" / ".zattrs").is_file()


def test_tiffs_are_labelled_and_records_of_earlier_versions_mean_pages(
    tmp_path: Path, demo: tuple[str, str], capsys: Output
) -> None:
    assert main(["predict", *demo, "-o", str(tmp_path / "labelled"), "--format", "tiff"]) == 0
    with tifffile.TiffFile(tmp_path / "labelled" / "nuclei_prediction.tif") as tiff:
        assert (tiff.series[0].axes, tiff.imagej_metadata["unit"]) == ("CYX", "um")
    assert record_in(tmp_path / "labelled")["options"] == {"tiff_layout": "labelled"}
    pages = tmp_path / "pages"
    assert main(["predict", *demo, "-o", str(pages), "--format", "tiff", "--tiff-layout", "pages"]) == 0
    with tifffile.TiffFile(pages / "nuclei_prediction.tif") as tiff:
        assert tiff.series[0].axes == "QYX"
        assert tiff.pages.first.resolution == pytest.approx((1e4 / 0.325, 1e4 / 0.325))
    assert record_in(pages)["options"] == {}
    capsys.readouterr()
    assert main(["rerun", str(pages / "nuclei_provenance.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]


def test_a_pyramid_on_request_is_repeated(tmp_path: Path, demo: tuple[str, str], capsys: Output) -> None:
    assert main(["predict", *demo, "-o", str(tmp_path), "--format", "tiff", "--tiff-layout", "pyramid"]) == 0
    with tifffile.TiffFile(tmp_path / "nuclei_prediction.tif") as tiff:
        assert (tiff.is_ome, tiff.pages.first.is_tiled) == (True, True)
        assert "Demo U-Net" in str(tiff.ome_metadata)
    capsys.readouterr()
    assert main(["rerun", str(tmp_path / "nuclei_provenance.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "out", "--format", "tiff,hdf5"), "no output format 'hdf5'. Give one or several of tiff, npy, zarr"),
        (("--tiff", "a.tif", "--format", "zarr"), "--format needs a folder"),
        (("-o", "out", "--zarr", "a.zarr"), "--zarr names a file"),
        (("-o", "out", "--add-labels", "nuclei"), "Add --segment to find objects"),
        (("-o", "out", "--segment", "--add-labels", "nuclei"), "not the folder of an OME-Zarr image"),
        (("-o", "out", "--dask", "local:1", "--format", "tiff"), "is written as OME-Zarr only"),
        (("-o", "out", "--add-prediction", "nuclei"), "not the folder of an OME-Zarr image"),
        (("-o", "out", "--add-prediction", "a", "--zarr-version", "0.4"), "has the version of its image"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, demo: tuple[str, str], options: tuple[str, ...], words: str, capsys: Output, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *demo, *options]) == 2
    assert words in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


# Label maps


def labels_of(store: Path) -> Iterator[str]:
    group = zarr.open_group(store / "labels", mode="r")
    attributes = dict(group.attrs)
    yield from attributes.get("ome", attributes)["labels"]  # type: ignore[union-attr, call-overload]


@pytest.fixture(params=["0.5", "0.4"])
def store(request: pytest.FixtureRequest, tmp_path: Path, test_data: Path) -> Path:
    """The image of nuclei as an OME-Zarr."""
    version: ZarrVersion = request.param
    pixels = tifffile.imread(test_data / "nuclei.tif")
    sizes = {letter: PixelSize(0.325, "µm") for letter in "yx"}
    writer = OmeZarrWriter(tmp_path / "nuclei.ome.zarr", Layout("yx", pixels.shape, pixels.dtype, sizes), version)
    writer.write((slice(0, 300), slice(0, 380)), pixels)
    commit_all([writer])
    return tmp_path / "nuclei.ome.zarr"


def test_objects_of_a_predicted_ome_zarr_are_in_it(tmp_path: Path, demo: tuple[str, str], capsys: Output) -> None:
    command = ["predict", *demo, "-o", str(tmp_path), "--format", "zarr", "--segment"]
    assert main(command) == 0
    record, store = record_in(tmp_path), tmp_path / "nuclei_prediction.ome.zarr"
    assert record["objects"]["zarr"] == str(store / "labels" / "objects")
    assert record["outputs"][0]["sha256"]["zarr"] == path_hash(store).sha256
    yaozarrs.validate_zarr_store(store)
    assert [*labels_of(store)] == ["objects"]
    np.testing.assert_array_equal(
        zarr.open_array(store / "labels" / "objects" / "0", mode="r")[:],
        tifffile.imread(tmp_path / "nuclei_labels.tif"),
    )
    attributes: Any = zarr.open_group(store / "labels" / "objects", mode="r").attrs["ome"]
    assert attributes["image-label"]["source"] == {"image": "../../"}
    assert attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.325, 0.325]
    capsys.readouterr()
    assert main([*command, "--resume"]) == 0
    assert "is complete already" in capsys.readouterr().out
    assert main(["rerun", str(tmp_path / "nuclei_provenance.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"]
    assert main([*command, "--resume", "--object-min-size", "600"]) == 0
    assert record_in(tmp_path)["objects"]["count"] < record["objects"]["count"]


def test_a_label_map_is_added_to_the_image_and_nothing_else_changes(
    tmp_path: Path, store: Path, demo: tuple[str, str], capsys: Output
) -> None:
    before, hashed = contents(store), path_hash(store).sha256
    command = ["predict", demo[0], str(store), "-o", str(tmp_path / "out"), "--segment", "--add-labels"]
    assert main([*command, "nuclei"]) == 0
    after = contents(store)
    assert {name: content for name, content in after.items() if not name.startswith("labels/")} == before
    assert path_hash(store).sha256 == hashed == record_in(tmp_path / "out")["inputs"][0]["sha256"]
    yaozarrs.validate_zarr_store(store)
    capsys.readouterr()
    assert main([*command, "nuclei", "--overwrite"]) == 2
    assert "has a label map nuclei already" in capsys.readouterr().err
    assert contents(store) == after
    assert main([*command, "nuclei", "--resume"]) == 0
    assert "is complete already" in capsys.readouterr().out
    segment = ["segment", str(tmp_path / "out" / "nuclei_prediction.tif"), "--image", str(store)]
    assert main([*segment, "-o", str(tmp_path / "again"), "--add-labels", "second"]) == 0
    assert [*labels_of(store)] == ["nuclei", "second"]
    yaozarrs.validate_zarr_store(store)
    first, second = (zarr.open_array(store / "labels" / name / "0", mode="r")[:] for name in ("nuclei", "second"))
    np.testing.assert_array_equal(first, second)


def test_without_an_image_the_label_map_goes_to_the_predicted_ome_zarr(
    tmp_path: Path, demo: tuple[str, str], capsys: Output
) -> None:
    assert main(["predict", *demo, "-o", str(tmp_path), "--format", "zarr"]) == 0
    store = tmp_path / "nuclei_prediction.ome.zarr"
    command = ["segment", str(store), "-o", str(tmp_path), "--add-labels", "nuclei"]
    assert main(command) == 0
    yaozarrs.validate_zarr_store(store)
    assert [*labels_of(store)] == ["nuclei"]
    assert main([*command[:-1], "nuclei"]) == 2  # also the table has no record that names it
    assert main([*command, "--overwrite"]) == 0
    assert [*labels_of(store)] == ["nuclei"]


@pytest.mark.parametrize("name", ["", "../elsewhere", "a/b", ".hidden", "zarr.json"])
def test_names_that_are_none_of_a_label_map(store: Path, demo: tuple[str, str], name: str, capsys: Output) -> None:
    before = contents(store)
    command = ["predict", demo[0], str(store), "-o", str(store.parent / "out"), "--segment", "--add-labels", name]
    assert main(command) == 2
    assert "cannot be the name of a label map" in capsys.readouterr().err
    assert contents(store) == before


@pytest.mark.parametrize("content", ["[]", "{", '{"attributes": []}', '{"attributes": {"ome": {}}}'])
def test_damaged_metadata_are_those_of_no_image(
    tmp_path: Path, demo: tuple[str, str], content: str, capsys: Output
) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(content)
    command = ["predict", demo[0], str(tmp_path / "a.zarr"), "-o", str(tmp_path / "out"), "--segment"]
    assert main([*command, "--add-labels", "nuclei"]) == 2
    assert "not the folder of an OME-Zarr image" in capsys.readouterr().err
    assert contents(tmp_path) == {"a.zarr/zarr.json": content.encode()}


def test_a_label_map_that_cannot_be_completed_leaves_the_image_as_it_was(
    tmp_path: Path, store: Path, demo: tuple[str, str], capsys: Output
) -> None:
    assert main(["predict", *demo, "-o", str(tmp_path / "out")]) == 0
    before = contents(store)
    prediction = str(tmp_path / "out" / "nuclei_prediction.tif")
    (tmp_path / "table.csv").mkdir()  # the table cannot be written there
    files = ["--labels", str(tmp_path / "l.tif"), "--table", str(tmp_path / "table.csv"), "--overwrite"]
    assert main(["segment", prediction, "--image", str(store), *files, "--add-labels", "nuclei"]) == 2
    assert contents(store) == before
    assert not (store / "labels").exists()
    assert "a folder has that name" in capsys.readouterr().err


def prediction_of(store: Path, name: str, level: str = "0") -> Any:
    return zarr.open_array(store / "predictions" / name / level, mode="r")[:]


@pytest.mark.parametrize("extra", [[], ["--dask", "local:1"], ["--format", "tiff"]])
def test_a_prediction_is_added_to_the_image_and_nothing_else_changes(
    tmp_path: Path, store: Path, demo: tuple[str, str], extra: list[str], capsys: Output
) -> None:
    before, hashed = contents(store), path_hash(store).sha256
    command = ["predict", demo[0], str(store), "-o", str(tmp_path / "out"), *extra, "--add-prediction", "nuclei"]
    assert main(command) == 0
    after = contents(store)
    assert {name: content for name, content in after.items() if not name.startswith("predictions/")} == before
    assert path_hash(store).sha256 == hashed == record_in(tmp_path / "out")["inputs"][0]["sha256"]
    yaozarrs.validate_zarr_store(store)
    yaozarrs.validate_zarr_store(store / "predictions" / "nuclei")
    assert main(["predict", *demo, "-o", str(tmp_path / "files"), "--format", "npy"]) == 0
    expected = np.load(tmp_path / "files" / "nuclei_prediction.npy")
    np.testing.assert_allclose(prediction_of(store, "nuclei"), expected[0], atol=1e-5)
    assert not list((tmp_path / "out").glob("*.zarr"))
    assert bool(list((tmp_path / "out").glob("*.tif"))) == ("--dask" not in extra)
    group = zarr.open_group(store, mode="r")
    assert {"predictions", "0"} <= {*group.keys()}
    capsys.readouterr()
    assert main([*command, "--resume"]) == 0
    assert "is complete already" in capsys.readouterr().out
    assert main(command) == 2
    assert "replace it with --overwrite" in capsys.readouterr().err
    assert contents(store) == after
    assert main([*command, "--overwrite"]) == 0
    assert contents(store) == after


def test_an_added_prediction_is_an_image_that_segment_reads(tmp_path: Path, store: Path, demo: tuple[str, str]) -> None:
    command = ["predict", demo[0], str(store), "-o", str(tmp_path / "out"), "--add-prediction", "nuclei", "--segment"]
    assert main([*command, "--add-labels", "nuclei"]) == 0
    assert [*labels_of(store)] == ["nuclei"]
    added = store / "predictions" / "nuclei"
    again = ["segment", str(added), "--image", str(store), "-o", str(tmp_path / "again"), "--add-labels", "again"]
    assert main(again) == 0
    first, second = (zarr.open_array(store / "labels" / name / "0", mode="r")[:] for name in ("nuclei", "again"))
    np.testing.assert_array_equal(first, second)
    assert main(["rerun", str(tmp_path / "out" / "nuclei_provenance.json")]) == 0


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_prediction_is_added_to_ome_zarr_images_only(
    tmp_path: Path, demo: tuple[str, str], place: str, capsys: Output
) -> None:
    (tmp_path / "a").mkdir()
    image = demo[1] if place == "file" else str(tmp_path / "a")
    if place == "folder":
        zarr.save_array(tmp_path / "a", np.zeros((64, 64), np.uint16))
    assert main(["predict", demo[0], image, "-o", str(tmp_path / "out"), "--add-prediction", "nuclei"]) == 2
    assert "not the folder of an OME-Zarr image" in capsys.readouterr().err


def test_a_prediction_that_fails_leaves_the_image_as_it_was(tmp_path: Path, store: Path, demo: tuple[str, str]) -> None:
    max((store / "0").rglob("0")).write_bytes(b"damaged")
    before = contents(store)
    assert main(["predict", demo[0], str(store), "-o", str(tmp_path / "out"), "--add-prediction", "nuclei"]) == 5
    assert contents(store) == before
    assert not (store / "predictions").exists()
