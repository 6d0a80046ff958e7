"""Eight runs at once in one folder and one cache: each writes what it writes alone, also where all write one file."""

from pathlib import Path

from tests.module.conftest import zoo as zoo  # a fixture
from tests.zoo_server import Zoo

from .zygote import FINAL, experiment


def test_eight_at_once(tmp_path: Path) -> None:
    found = experiment("at_once", tmp_path, "8")
    assert found["codes"] == [0] * 16, found["log"]
    assert found["out"] == sorted(name.replace("image", f"image{n}") for n in range(8) for name in FINAL)
    assert found["same"] == sorted(FINAL)
    assert found["wrong"] == []
    assert found["scratch"] == []


def test_eight_at_once_share_one_download(zoo: Zoo, tmp_path: Path) -> None:
    found = experiment(
        "one_cache",
        tmp_path / "runs",
        "8",
        BIOIMAGEIO_CACHE_PATH=str(tmp_path / "cache"),
        BIOIMAGEIO_COLLECTION_HTTP_PATTERN=zoo.address + "/{bioimageio_id}/rdf.yaml",
    )
    assert found["codes"] == [0] * 8, found["log"]
    assert found["different"] == 1
    assert zoo.times_asked("weights.pt") == zoo.times_asked("rdf.yaml") == 1
