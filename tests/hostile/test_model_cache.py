"""The cache of models: what was changed in it is not used, and nothing planted in it is written through."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bioimage_inference.cli import main
from bioimage_inference.zoo.index import updated_list
from bioimage_inference.zoo.model_files import write_model_checksums
from tests.models import edit_description
from tests.module.conftest import zoo as zoo  # a fixture
from tests.module.test_zoo_download import home, opened
from tests.zoo_server import Zoo

from .test_shared_places import STRANGER, Output, Plant, dangling, files, hard, mode, only_root, symbolic
from .test_shared_places import victim as victim  # a fixture


def change_weights(folder: Path) -> None:
    content = bytearray((folder / "weights.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.pt").write_bytes(content)


def change_weights_and_their_hash(folder: Path) -> None:
    change_weights(folder)
    (folder / ".sha256.json").unlink()


def change_the_description(folder: Path) -> None:
    """With its hash in the list, but not in the name of the folder."""
    (folder / "rdf.yaml").write_bytes((folder / "rdf.yaml").read_bytes().replace(b"name:", b"name: an evil"))
    write_model_checksums(folder)


def remove_a_file(folder: Path) -> None:
    (folder / "test0.npy").unlink()


def exchange_by_a_pipe(folder: Path) -> None:
    (folder / "weights.pt").unlink()
    os.mkfifo(folder / "weights.pt")


def break_the_list(folder: Path) -> None:
    (folder / ".sha256.json").write_text('{"rdf.yaml": 7}')


def write_no_list(folder: Path) -> None:
    (folder / ".sha256.json").write_bytes(b"\xff" * 100)


def write_a_deep_list(folder: Path) -> None:
    (folder / ".sha256.json").write_text("[" * 200_000)


DAMAGES = (
    *(change_weights, change_weights_and_their_hash, change_the_description, remove_a_file, exchange_by_a_pipe),
    *(break_the_list, write_no_list, write_a_deep_list),
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cached_model_is_compared_with_its_hashes_on_each_use(
    zoo: Zoo, damage: Callable[[Path], None], capsys: Output
) -> None:
    folder = opened()
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    damage(folder)
    capsys.readouterr()
    assert main(["inspect", "quiet-newt", "--offline"]) == 4
    told = capsys.readouterr().err
    assert "changed or damaged" in told
    assert "Run once without --offline" in told
    assert len(told.strip().splitlines()) == 1
    assert opened() == folder
    assert "downloading the model again" in capsys.readouterr().err
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert {path.name for path in home(zoo).iterdir()} == {folder.name, ".lock"}
    assert main(["inspect", "quiet-newt", "--offline"]) == 0


def test_a_damaged_model_stays_where_the_zoo_cannot_be_reached(zoo: Zoo, capsys: Output) -> None:
    folder = opened()
    change_weights(folder)
    shutil.rmtree(zoo.folder / "quiet-newt")
    assert main(["inspect", "quiet-newt"]) == 2
    assert "weights.pt in the cache was changed or damaged" in capsys.readouterr().err
    assert (folder / "weights.pt").exists()


@pytest.mark.parametrize("plant", [symbolic, hard, dangling])
def test_nothing_in_the_cache_is_written_through_links(zoo: Zoo, victim: Path, plant: Plant) -> None:
    zoo.cut["weights.pt"] = [1000] * 10
    with pytest.raises(Exception, match="what has arrived is kept"):
        opened()
    del zoo.cut["weights.pt"]
    (unfinished,) = home(zoo).glob("*.incomplete")
    for path in (*unfinished.iterdir(), unfinished / "rdf.yaml", unfinished / ".sha256.json"):
        path.unlink(missing_ok=True)
        plant(path, victim)
    for name in ("test0.npy.part", "test1.npy.part"):
        plant(unfinished / name, victim)
    folder = opened()
    assert (folder / "weights.pt").read_bytes() == (zoo.folder / "quiet-newt" / "weights.pt").read_bytes()
    for name in json.loads((folder / ".sha256.json").read_text()):
        assert not (folder / name).is_symlink()


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def link_of_a_stranger(path: Path, target: Path) -> None:
    only_root()
    path.symlink_to(target)
    os.lchown(path, STRANGER, -1)


def dangling_link(path: Path, target: Path) -> None:
    path.symlink_to(target / "not there")


def folder_of_a_stranger(path: Path, target: Path) -> None:
    only_root()
    path.mkdir(mode=0o777)
    os.chown(path, STRANGER, -1)


def file(path: Path, target: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("inside", [".", "texts"])
@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (link, "a link"),
        (link_of_a_stranger, "a link"),
        (dangling_link, "a link"),
        (folder_of_a_stranger, "a folder of another user"),
        (file, "no folder"),
    ],
)
def test_a_planted_folder_of_a_download_is_refused(
    zoo: Zoo, tmp_path: Path, plant: Plant, found: str, inside: str, capsys: Output
) -> None:
    (zoo.folder / "quiet-newt" / "texts").mkdir()
    (zoo.folder / "quiet-newt" / "texts" / "README.md").write_text("about")
    edit_description(zoo.folder / "quiet-newt" / "rdf.yaml", documentation="texts/README.md")
    unfinished = opened()
    unfinished = unfinished.rename(f"{unfinished}.incomplete")
    shutil.rmtree(unfinished / inside)
    target = tmp_path / "mine"
    target.mkdir()
    for name in ("weights.pt", "README.md", "README.md.part", "rdf.yaml"):
        (target / name).write_text("the work of a month")
    plant(unfinished / inside, target)
    assert main(["inspect", "quiet-newt"]) == 8
    told = capsys.readouterr().err
    assert f"this is {found}" in told
    assert "Remove it" in told
    assert files(target) == {"weights.pt", "README.md", "README.md.part", "rdf.yaml"}
    assert {path.read_text() for path in target.iterdir()} == {"the work of a month"}


def test_a_deep_list_of_models_is_damaged(zoo: Zoo, capsys: Output) -> None:
    home(zoo).parent.mkdir(parents=True)
    updated_list().write_text("[" * 200_000)
    assert main(["models"]) == 2
    assert "Line 1 of the index of models" in capsys.readouterr().err


def pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [symbolic, hard, dangling, pipe])
def test_a_lock_that_somebody_planted_is_refused(zoo: Zoo, victim: Path, plant: Plant, capsys: Output) -> None:
    home(zoo).mkdir(parents=True)
    plant(home(zoo) / ".lock", victim)
    assert main(["inspect", "quiet-newt"]) in (2, 8)
    assert "cannot be put into the cache" in capsys.readouterr().err


def test_the_cache_of_a_group_stays_open_to_the_group(zoo: Zoo) -> None:
    before = os.umask(0o002)
    try:
        folder = opened()
    finally:
        os.umask(before)
    for path in (home(zoo) / ".lock", folder / "weights.pt", folder / "rdf.yaml"):
        assert mode(path) == 0o664
    assert mode(folder) == 0o775
