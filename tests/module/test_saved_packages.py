"""Models of the zoo that are saved as packages: one zip for each version, the same everywhere, downloaded once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioimage_inference import open_model
from bioimage_inference.cli import main
from bioimage_inference.model.safe_zip import open_archive

from ..models import edit_description, sha256
from ..zoo_server import Zoo

Output = pytest.CaptureFixture[str]


def saved(capsys: Output, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `download` tells of the packages."""
    assert main(["download", *arguments, "-o", str(folder), "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_a_package_holds_the_files_of_the_model(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    (facts,) = saved(capsys, tmp_path / "models", "quiet-newt")
    path = tmp_path / "models" / "quiet-newt-1.2.zip"
    expected = {"id": "quiet-newt", "version": "1.2", "file": str(path), "sha256": sha256(path), "new": True}
    assert facts == expected
    with open_archive(path) as archive:
        assert set(archive.members) == {"rdf.yaml", "weights.pt", "test0.npy", "test1.npy", "README.md", "cover.png"}
        assert archive.read("weights.pt", 2**20) == (zoo.folder / "quiet-newt" / "weights.pt").read_bytes()
    with open_model(path) as model:
        assert (model.spec.id, model.spec.version) == ("quiet-newt", "1.2")


def test_a_package_that_is_there_is_not_downloaded_again(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    saved(capsys, tmp_path, "quiet-newt")
    shutil.rmtree(tmp_path / "cache")  # another machine, or the cache was tidied up
    zoo.asked.clear()
    assert main(["download", "quiet-newt", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"quiet-newt/1.2: {tmp_path / 'quiet-newt-1.2.zip'} is there already\n"
    assert zoo.asked == [("/quiet-newt/rdf.yaml", None)]


def test_a_new_version_comes_beside_the_old_one(
    zoo: Zoo, tmp_path: Path, forbidden: Callable[[], None], capsys: Output
) -> None:
    saved(capsys, tmp_path, "quiet-newt")
    edit_description(zoo.folder / "quiet-newt" / "rdf.yaml", version="1.3")
    (new,) = saved(capsys, tmp_path, "quiet-newt")
    (old,) = saved(capsys, tmp_path, "quiet-newt/1.2")
    assert (new["version"], new["new"], old["version"], old["new"]) == ("1.3", True, "1.2", False)
    assert {path.name for path in tmp_path.glob("*.zip")} == {"quiet-newt-1.2.zip", "quiet-newt-1.3.zip"}
    forbidden()
    (offline,) = saved(capsys, tmp_path / "other", "quiet-newt", "--offline")
    assert (offline["version"], offline["sha256"]) == ("1.3", new["sha256"])  # the same bytes everywhere


def test_a_dry_run_asks_for_the_version_alone(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    (facts,) = saved(capsys, tmp_path / "models", "quiet-newt", "--dry-run")
    assert facts == {
        **{"id": "quiet-newt", "version": "1.2", "file": str(tmp_path / "models" / "quiet-newt-1.2.zip")},
        **{"sha256": None, "new": True},
    }
    assert zoo.asked == [("/quiet-newt/rdf.yaml", None)]
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("damage", ["shorter", "changed", "other"])
def test_another_file_of_that_name_is_replaced_only_if_the_user_says_so(
    zoo: Zoo, tmp_path: Path, capsys: Output, damage: str
) -> None:
    (facts,) = saved(capsys, tmp_path, "quiet-newt")
    path, content = Path(facts["file"]), Path(facts["file"]).read_bytes()
    weights = content.index((zoo.folder / "quiet-newt" / "weights.pt").read_bytes()) + 100
    damages = {
        "shorter": content[:-10],
        "changed": content[:weights] + bytes([content[weights] ^ 1]) + content[weights + 1 :],
        "other": b"my notes",
    }
    path.write_bytes(damages[damage])
    assert main(["download", "quiet-newt", "-o", str(tmp_path)]) == 2
    assert f"{path} exists, and is damaged or is not the package of quiet-newt/1.2" in capsys.readouterr().err
    assert path.read_bytes() == damages[damage]
    (again,) = saved(capsys, tmp_path, "quiet-newt", "--overwrite")
    assert again == facts
    assert path.read_bytes() == content


def test_a_connection_that_breaks_is_continued_by_the_next_run(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    zoo.cut["weights.pt"] = [1000] * 4
    assert main(["download", "quiet-newt", "-o", str(tmp_path)]) == 2
    assert not list(tmp_path.glob("*.zip"))
    zoo.asked.clear()
    saved(capsys, tmp_path, "quiet-newt")
    assert ("/quiet-newt/weights.pt", "bytes=4000-") in zoo.asked


def test_weights_that_are_not_the_published_ones_make_no_package(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    (zoo.folder / "quiet-newt" / "weights.pt").write_bytes(b"something else")
    assert main(["download", "quiet-newt", "-o", str(tmp_path)]) == 4
    assert "weights.pt is not the file that the description means" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.zip"))


def test_offline_saves_only_what_is_in_the_cache(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    assert main(["download", "quiet-newt", "-o", str(tmp_path), "--offline"]) == 2
    assert "--offline forbids its download" in capsys.readouterr().err
    assert not zoo.asked


def test_a_model_without_a_version_is_saved_under_its_id(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    rdf = zoo.folder / "quiet-newt" / "rdf.yaml"
    rdf.write_text(
        yaml.safe_dump({key: value for key, value in yaml.safe_load(rdf.read_text()).items() if key != "version"})
    )
    (facts,) = saved(capsys, tmp_path, "quiet-newt")
    assert (facts["version"], Path(facts["file"]).name) == (None, "quiet-newt.zip")
    assert not saved(capsys, tmp_path, "quiet-newt")[0]["new"]


def test_several_models_are_saved_by_one_command(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    other = zoo.folder / "loud-newt"
    shutil.copytree(zoo.folder / "quiet-newt", other)
    edit_description(other / "rdf.yaml", id="loud-newt")
    assert [facts["id"] for facts in saved(capsys, tmp_path, "quiet-newt", "loud-newt")] == ["quiet-newt", "loud-newt"]


def test_a_name_that_is_none_is_refused_before_anything_is_saved(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "model.zip").write_bytes(b"")
    for name in ("nuclei", str(tmp_path / "model.zip")):
        assert main(["download", "quiet-newt", name, "-o", str(tmp_path)]) == 2
        assert f"{name!r} is not the name of a model of the zoo" in capsys.readouterr().err
    assert not zoo.asked
