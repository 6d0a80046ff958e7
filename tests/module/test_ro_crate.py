"""``--ro-crate`` writes a Process Run Crate that the community's own validator accepts."""

import errno
import hashlib
import json
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import requests_cache
import rocrate
from rocrate.rocrate import ROCrate
from rocrate_validator import services
from urllib3 import HTTPResponse

import bioimage_inference
from bioimage_inference import OutputError, UsageError
from bioimage_inference.cli import main
from bioimage_inference.provenance import ro_crate
from bioimage_inference.provenance.record import read_record
from bioimage_inference.provenance.ro_crate import PROFILE, write_crate
from tests.models import Blur, simple_tensors, write_model

Output = pytest.CaptureFixture[str]
# rdflib's own, by the validator's use of it
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:rdflib")


class ShippedContext(requests.adapters.HTTPAdapter):
    """Answers with the JSON-LD context that the library rocrate brings, in place of the network."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **words: Any) -> requests.Response:
        context = (Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld").read_bytes()
        kind = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(BytesIO(context), kind, 200, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validator's cache, filled, because it would fetch the context of RO-Crate 1.2."""
    path = tmp_path_factory.mktemp("cache") / "http"
    with requests_cache.CachedSession(path, expire_after=-1) as session:
        session.mount("https://w3id.org/ro/crate/", ShippedContext())
        assert session.get("https://w3id.org/ro/crate/1.2/context").ok
    return path


def issues(crate: Path, cache: Path, profile: str, **more: Any) -> list[str]:
    """The properties that the validator complains of."""
    result = services.validate(
        {"rocrate_uri": str(crate), "profile_identifier": profile, "offline": True, "cache_path": str(cache), **more}
    )
    return [issue.violatingProperty or issue.message for issue in result.get_issues()]


@pytest.fixture(scope="module")
def crate(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crate of two images, whose outputs are elsewhere."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "my cells ä.png").write_bytes((test_data / "nuclei.png").read_bytes())
    images = [str(test_data / "nuclei.tif"), str(folder / "my cells ä.png")]
    options = ["-o", str(folder / "out"), "--ro-crate", str(folder / "crate"), "--threads", "1"]
    assert main(["predict", str(test_data / "demo-model.zip"), *images, *options]) == 0
    return folder / "crate"


def test_the_crate_is_a_valid_ro_crate_1_2(crate: Path, cache: Path) -> None:
    assert issues(crate, cache, "ro-crate-1.2") == []


def test_the_crate_keeps_to_the_process_run_profile(crate: Path, cache: Path) -> None:
    """What the profile itself demands; it was written for RO-Crate 1.1, whose version ours is not."""
    own = {"disable_inherited_profiles_issue_reporting": True}
    assert issues(crate, cache, "process-run-crate-0.5", **own) == []
    recommended = issues(crate, cache, "process-run-crate-0.5", requirement_severity="RECOMMENDED", **own)
    assert set(recommended) <= {"http://schema.org/agent"}, "no record says who ran it"
    assert issues(crate, cache, "process-run-crate-0.5") == ["http://purl.org/dc/terms/conformsTo"]


def test_each_run_is_an_action_on_images_and_model(crate: Path, test_data: Path) -> None:
    read = ROCrate(crate)
    assert read.root_dataset["conformsTo"].id == PROFILE
    second, first = sorted(read.root_dataset["mentions"], key=lambda action: action["name"], reverse=True)
    assert first["name"].endswith("my cells ä.png")
    assert [entity["name"] for entity in second["object"]] == [
        "nuclei.tif",
        "Demo U-Net for nuclei",
        "threads",
        "tiff_layout",
    ]
    assert [entity["name"] for entity in second["result"]] == [
        "nuclei_prediction.tif",
        "nuclei_prediction.npy",
        "nuclei_provenance.json",
    ]
    assert second["object"][1] is first["object"][1]
    model = second["object"][1]
    assert model["license"].id == "https://spdx.org/licenses/MIT"
    assert model["citation"].id == "https://doi.org/10.1007/978-3-319-24574-4_28"
    program = second["instrument"]
    assert {"torch", "tifffile"} <= {needed["name"] for needed in program["softwareRequirements"]}
    assert second["startTime"] < second["endTime"]
    assert second.get("agent") is None


def test_every_file_is_there_with_its_hash_and_takes_no_room(crate: Path) -> None:
    read = ROCrate(crate)
    files = [entity for entity in read.data_entities if entity.type == "File"]
    assert len(files) == 9
    for entity in files:
        path = Path(entity.source)
        assert path.is_file()
        assert int(entity["contentSize"]) == path.stat().st_size
        assert path.stat().st_nlink > 1
        if entity.get("sha256"):
            assert entity["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_outputs_in_the_folder_of_the_crate_stay_where_they_are(test_data: Path, tmp_path: Path, cache: Path) -> None:
    arguments = [str(test_data / "demo-model"), str(test_data / "nuclei.tif"), "-o", str(tmp_path)]
    for _ in range(2):  # written again over itself, it stays the same
        assert main(["predict", *arguments, "--ro-crate", str(tmp_path)]) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "images",
            "model",
            "nuclei_prediction.npy",
            "nuclei_prediction.tif",
            "nuclei_provenance.json",
            "ro-crate-metadata.json",
        ]
        assert [path.name for path in (tmp_path / "model").iterdir()] == ["demo-model"]
    assert issues(tmp_path, cache, "ro-crate-1.2") == []


def test_images_of_one_name_are_kept_apart(test_data: Path, tmp_path: Path) -> None:
    for name, image in (("a", "nuclei.tif"), ("b", "nuclei.png")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cells").write_bytes((test_data / image).read_bytes())
        model = str(test_data / "demo-model.zip")
        assert main(["predict", model, str(tmp_path / name / "cells"), "-o", str(tmp_path / name)]) == 0
    records = [read_record(tmp_path / name / "cells_provenance.json") for name in "ab"]
    write_crate(records, tmp_path / "crate")
    assert {path.name for path in (tmp_path / "crate" / "images").iterdir()} == {"cells", "2_cells"}
    assert len(list((tmp_path / "crate" / "outputs").iterdir())) == 4


def test_a_model_without_licence_and_an_output_in_memory(tmp_path: Path, cache: Path) -> None:
    """Records of the Python interface name fewer files; the record itself is written into the crate."""
    model = write_model(tmp_path / "model", Blur((1, 1)), *simple_tensors())
    target = {"out": bioimage_inference.Target(npy=tmp_path / "o.npy")}
    image = np.zeros((32, 32), "uint8")
    prediction = bioimage_inference.predict(model, image, axes="yx", targets=target)
    write_crate([prediction.provenance], tmp_path / "crate")
    assert json.loads((tmp_path / "crate" / "records" / "1_provenance.json").read_text())["inputs"][0]["file"] is None
    assert {path.name for path in (tmp_path / "crate" / "model").iterdir()} == {"rdf.yaml", "weights.pt"}
    assert issues(tmp_path / "crate", cache, "ro-crate-1.2") == []


def test_a_file_that_is_gone_is_told(crate: Path, tmp_path: Path) -> None:
    record = read_record(crate / "records" / "nuclei_provenance.json")
    (image,) = record.inputs
    record = replace(record, inputs=(replace(image, file=str(tmp_path / "gone.tif")),))
    with pytest.raises(OutputError, match=rf"gone\.tif: {os.strerror(errno.ENOENT)}"):
        write_crate([record], tmp_path / "crate")


def test_without_the_library_it_is_told_before_anything_is_computed(
    test_data: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ro_crate, "find_spec", lambda name: None)
    arguments = [str(test_data / "demo-model.zip"), str(test_data / "nuclei.tif"), "-o", str(tmp_path / "out")]
    assert main(["predict", *arguments, "--ro-crate", str(tmp_path / "crate")]) == UsageError.exit_code
    assert 'pip install "bioimage_inference[crate]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
