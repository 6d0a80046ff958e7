"""Images at addresses: an OME-Zarr on a server or in object storage is read chunk by chunk, or refused."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import zarr

from bioimage_inference import UsageError, open_model, predict
from bioimage_inference.cli import main
from bioimage_inference.errors import BioimageInferenceError, ImageError
from bioimage_inference.files.typed_path import Address, image_path
from bioimage_inference.image.readers.reading import list_series, open_image
from bioimage_inference.image.series import Selection
from bioimage_inference.provenance import record_builder
from tests import models
from tests.image_server import ImageServer, serve
from tests.machine import missing
from tests.reading_data import pixels, whole
from tests.reading_plates import Array, write_group, write_image, write_plate

Output = pytest.CaptureFixture[str]
SCHEMA = Path(record_builder.__file__).with_name("provenance.schema.json")


@pytest.fixture(autouse=True)
def _libraries() -> None:
    for library in ("aiohttp", "s3fs"):
        if find_spec(library) is None:
            missing(library, "pip install 'bioimage_inference[remote]'")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    return str(models.write_model(folder, models.Identity(), *models.simple_tensors()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ImageServer]:
    (tmp_path / "www").mkdir()
    with serve(tmp_path / "www") as running:
        yield running


def opened(address: str, selection: Selection | None = None) -> Array:
    image = open_image(image_path(address), None, selection or Selection())
    try:
        return whole(image)
    finally:
        image.close()


def failure(address: str) -> str:
    with pytest.raises(BioimageInferenceError) as raised:
        opened(address)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_only_the_chunks_of_a_region_are_fetched_and_each_once(server: ImageServer, version: str) -> None:
    array = pixels(128, 160)
    write_image(server.folder / "a.ome.zarr", array, version)  # type: ignore[arg-type]
    image = open_image(Address(f"{server.address}/a.ome.zarr"))
    assert (image.axes, image.shape, image.pixel_size["x"].value) == ("yx", (128, 160), 0.5)
    server.asked.clear()
    for _ in range(3):
        np.testing.assert_array_equal(image.read((slice(40, 60), slice(70, 90))), array[40:60, 70:90])
    chunk = "0/c/1/2" if version == "0.5" else "0/1.2"
    assert server.counts == {f"a.ome.zarr/{chunk}": 1}
    np.testing.assert_array_equal(whole(image), array)
    assert max(server.counts.values()) == 1
    image.close()


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole"])
def test_a_chunk_in_a_shard_is_fetched_alone(server: ImageServer, ranges: bool) -> None:
    array = pixels(64, 64)
    path = server.folder / "a.zarr"
    stored = zarr.create_array(
        path / "0", shape=array.shape, shards=(64, 64), chunks=(16, 16), dtype="uint16", compressors=None
    )
    stored[...] = array
    write_group(path, {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]})
    server.ranges = ranges
    image = open_image(Address(f"{server.address}/a.zarr"))
    before = server.sent
    np.testing.assert_array_equal(image.read((slice(0, 16), slice(16, 32))), array[:16, 16:32])
    assert not ranges or server.sent - before < array.nbytes / 2
    np.testing.assert_array_equal(whole(image), array)
    image.close()


def test_a_plate_at_an_address_lists_its_fields(server: ImageServer) -> None:
    written = write_plate(server.folder / "plate.zarr", {"B/03": ["0", "1"], "C/04": ["0"]})
    address = f"{server.address}/plate.zarr"
    assert [(one.well, one.field) for one in list_series(Address(address))] == [
        ("B03", "0"), ("B03", "1"), ("C04", "0")
    ]  # fmt: skip
    np.testing.assert_array_equal(opened(address, Selection(well="B03", field=1)), written["B/03/1"])


def test_an_array_inside_an_image_has_the_axes_of_the_image(server: ImageServer) -> None:
    write_image(server.folder / "a.zarr", pixels(32, 40))
    image = open_image(Address(f"{server.address}/a.zarr/1"))
    image.close()
    assert (image.axes_source, image.pixel_size["x"].value) == ("file", 1.0)


def test_a_passing_error_of_the_server_is_tried_again(server: ImageServer) -> None:
    array = pixels(32, 40)
    write_image(server.folder / "a.zarr", array, chunk=64)
    server.failures = {"a.zarr/0/c/0/0": [503], "a.zarr/zarr.json": [500]}
    np.testing.assert_array_equal(opened(f"{server.address}/a.zarr"), array)


def test_a_lasting_error_of_a_chunk_is_an_error_and_never_a_fill_value(server: ImageServer) -> None:
    write_image(server.folder / "a.zarr", pixels(32, 40), chunk=64)
    for status, word in ((403, "refuses"), (418, "418")):
        server.failures = {"a.zarr/0/c/0/0": [status]}
        assert word in failure(f"{server.address}/a.zarr")


def test_object_storage_that_refuses_missing_files_is_read(server: ImageServer) -> None:
    array = pixels(32, 40)
    write_image(server.folder / "a.zarr", array, "0.4")
    server.missing = 403
    np.testing.assert_array_equal(opened(f"{server.address}/a.zarr"), array)
    assert "refuses it (403)" in failure(f"{server.address}/other.zarr")


@pytest.mark.parametrize(
    ("path", "content"),
    [("zarr.json", b"<html>Sign in</html>"), ("0/c/0/0", b"<html>Sign in</html>"), ("0/zarr.json", b"{}")],
)
def test_damaged_answers_are_named(server: ImageServer, path: str, content: bytes) -> None:
    write_image(server.folder / "a.zarr", pixels(32, 40), chunk=64)
    server.answers = {f"a.zarr/{path}": content}
    assert "a.zarr" in failure(f"{server.address}/a.zarr")


def test_an_answer_that_ends_early_is_an_error(server: ImageServer) -> None:
    write_image(server.folder / "a.zarr", pixels(32, 40), chunk=64)
    server.cut = {"a.zarr/0/c/0/0"}
    assert "3 attempts" in failure(f"{server.address}/a.zarr")


def test_what_is_no_zarr_is_named(server: ImageServer) -> None:
    (server.folder / "picture").write_bytes(b"II*\0")
    assert "Download an image of another format" in failure(f"{server.address}/picture")
    assert "no OME-Zarr at" in failure(f"{server.address}/missing.zarr")
    server.asked.clear()
    assert "Download it, and give the file" in failure(f"{server.address}/a.ome.tif")
    assert server.asked == []


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        address = f"{server.address}/a.zarr"
    assert "network connection" in failure(address)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/a.zarr",
        "https://",
        "https://user:secret@host/a.zarr",
        "https://host/a.zarr?token=secret",
        "http://[",
    ],
)
def test_addresses_that_are_not_read(address: str) -> None:
    with pytest.raises(UsageError) as raised:
        image_path(address)
    assert "secret" not in str(raised.value)


def test_predict_reads_an_address_and_the_record_says_so(
    model: str, server: ImageServer, tmp_path: Path, capsys: Output
) -> None:
    array = pixels(48, 64)
    write_image(server.folder / "cells.ome.zarr", array)
    address, out = f"{server.address}/cells.ome.zarr", tmp_path / "out"
    assert main(["predict", model, address, "-o", str(out), "--report"]) == 0
    np.testing.assert_array_equal(np.load(out / "cells_out.npy")[0, 0], array)
    record = json.loads((out / "cells_provenance.json").read_text())
    (image,) = record["inputs"]
    assert (image["file"], image["sha256"]) == (address, None)
    jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    assert (out / "cells_report").is_dir()
    again = ["rerun", str(out / "cells_provenance.json"), "-o", str(tmp_path / "again")]
    assert main(again) == 0
    assert main([*again, "--overwrite", "--offline"]) == 2
    capsys.readouterr()
    assert main(["predict", model, address, "-o", str(out), "--resume"]) == 0
    assert "is an address" in capsys.readouterr().out


def test_fields_of_a_plate_at_an_address_are_images_of_a_run(model: str, server: ImageServer, tmp_path: Path) -> None:
    written = write_plate(server.folder / "plate.zarr", {"B/03": ["0"], "C/04": ["0"]})
    out = tmp_path / "out"
    assert main(["predict", model, f"{server.address}/plate.zarr", "-o", str(out)]) == 0
    for path, array in written.items():
        np.testing.assert_array_equal(np.load(out / f"plate_{path[0]}{path[2:4]}_0_out.npy")[0, 0], array)


def test_offline_asks_no_server(model: str, server: ImageServer, tmp_path: Path, capsys: Output) -> None:
    write_image(server.folder / "a.zarr", pixels(32, 40))
    address = f"{server.address}/a.zarr"
    assert main(["predict", model, address, "-o", str(tmp_path / "out"), "--offline"]) == 2
    assert "--offline forbids the network" in capsys.readouterr().err
    with open_model(model, offline=True) as offline, pytest.raises(UsageError, match="--offline"):
        predict(offline, address)
    assert server.asked == []


def test_object_storage_is_read_with_its_own_protocol(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from bioimage_inference.image.readers.remote_files import filesystem

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    filesystem.cache_clear()
    array = pixels(64, 80)
    write_image(server.folder / "bucket" / "cells.ome.zarr", array)
    np.testing.assert_array_equal(opened("s3://bucket/cells.ome.zarr"), array)
    assert all(path.startswith("bucket/") for path in server.asked)
    with pytest.raises(ImageError, match=r"no OME-Zarr at s3://bucket/none\.zarr"):
        opened("s3://bucket/none.zarr")
    filesystem.cache_clear()
