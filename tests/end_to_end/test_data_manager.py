"""The script of Galaxy's data manager with the program, without a Galaxy; `python -m tests.galaxy run` has both."""

import importlib.util
import json
import shutil
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from bioimage_inference.cli import main
from tests.models import edit_description, sha256
from tests.module.conftest import zoo as zoo  # a fixture
from tests.zoo_server import Zoo

ROOT = Path(__file__).parents[2]
DATA_MANAGER = ROOT / "tools" / "data_manager_bioimageio_models"
TOOL = ROOT / "tools" / "bioimage_inference"

_spec = importlib.util.spec_from_file_location("offer_model", DATA_MANAGER / "data_manager" / "offer_model.py")
assert _spec is not None
assert _spec.loader is not None
offer_model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(offer_model)

Row = dict[str, str]


class Server:
    """A stand-in for Galaxy around the script. It keeps the table, and moves the packages to their place."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        self.table: list[Row] = []
        self.jobs = 0
        monkeypatch.setattr(offer_model, "program", self.program)

    def program(self, *arguments: str) -> Any:
        """Run the program in this process, as the script does in another."""
        self.capsys.readouterr()
        if code := main([*arguments, "--json"]):
            sys.exit(code)
        return json.loads(self.capsys.readouterr().out)

    def offer(self, *arguments: str) -> list[Row]:
        """Run the data manager and return the new rows."""
        self.jobs += 1
        listed, output, extra = (self.folder / f"{name}{self.jobs}" for name in ("listed", "output", "files"))
        listed.write_text(json.dumps(self.table))
        options = ["--listed", str(listed), "--folder", str(extra), "--output", str(output)]
        self.monkeypatch.setattr(sys, "argv", ["offer_model.py", *arguments, *options])
        offer_model.main()
        rows: list[Row] = json.loads(output.read_text())["data_tables"].get("bioimageio_models", [])
        for row in rows:
            place = shutil.move(extra / row["path"], self.folder / row["path"])
            self.table.append(row | {"path": str(place)})
        return rows

    def refusal(self, *arguments: str) -> str:
        """The message of a failed job."""
        with pytest.raises(SystemExit) as ended:
            self.offer(*arguments)
        assert ended.value.code
        return self.capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Server:
    folder = tmp_path / "server"
    folder.mkdir()
    return Server(folder, capsys, monkeypatch)


def test_a_model_of_the_zoo_is_offered_in_words(zoo: Zoo, server: Server) -> None:
    rdf = zoo.folder / "quiet-newt" / "rdf.yaml"
    edit_description(rdf, tags=["UNet", "2d", "pytorch", "nuclei", "mouse", "dapi", "confocal"])
    (row,) = server.offer("--zoo", "quiet-newt")
    assert row == {
        "value": "quiet-newt-1.2",
        "name": "Small test model (quiet-newt 1.2): 2-D, one channel, nuclei, mouse, dapi",
        "version": "1.2",
        "tags": "2-D, one channel, nuclei, mouse, dapi, confocal",
        "path": "quiet-newt-1.2.zip",
        "sha256": sha256(server.folder / "quiet-newt-1.2.zip"),
    }


def test_a_listed_version_is_not_downloaded_and_an_update_is_added(zoo: Zoo, server: Server) -> None:
    server.offer("--zoo", "quiet-newt", "--name", "Newts")
    assert server.table[0]["name"] == "Newts"
    zoo.asked.clear()
    assert server.offer("--zoo", "quiet-newt") == []
    assert zoo.times_asked("weights.pt") == 0
    edit_description(zoo.folder / "quiet-newt" / "rdf.yaml", version="1.3")
    server.offer("--zoo", "quiet-newt")
    assert [row["value"] for row in server.table] == ["quiet-newt-1.2", "quiet-newt-1.3"]


def test_offline_offers_what_is_in_the_cache(zoo: Zoo, server: Server) -> None:
    assert "--offline forbids its download" in server.refusal("--zoo", "quiet-newt", "--offline")
    assert main(["download", "quiet-newt", "-o", str(server.folder / "elsewhere")]) == 0
    zoo.asked.clear()
    (row,) = server.offer("--zoo", "quiet-newt", "--offline")
    assert row["value"] == "quiet-newt-1.2"
    assert not zoo.asked


def test_words_find_one_model_or_are_refused_with_a_list(server: Server) -> None:
    unknown = "boundary unicorns of a zoo"
    assert offer_model.found_in_zoo(unknown) == unknown
    assert offer_model.found_in_zoo("affable-shark") == "affable-shark"
    assert offer_model.found_in_zoo("affable-shark/1.2") == "affable-shark/1.2"
    title = "NucleiSegmentationBoundaryModel"  # other titles have this word too
    assert offer_model.found_in_zoo(title) == title
    told = server.refusal("--zoo", "nuclei 3d")
    assert "models of the zoo have all the words 'nuclei 3d'. Give the id of one of them:" in told
    assert len(told.splitlines()) > 2


def test_a_package_is_offered_once_for_each_version(server: Server) -> None:
    package = ROOT / "test-data" / "demo-model.zip"
    (row,) = server.offer("--package", str(package))
    assert row["value"] == "demo-u-net-for-nuclei-1.0.0"
    assert row["sha256"] == sha256(package) == sha256(Path(server.table[0]["path"]))
    assert server.offer("--package", str(package)) == []
    server.table[0]["sha256"] = "0" * 64
    assert "Give this one another version" in server.refusal("--package", str(package))
    Path(server.table[0]["path"]).unlink()
    assert "is listed, but there is no" in server.refusal("--package", str(package))


def test_a_model_that_would_not_run_is_refused(server: Server) -> None:
    told = server.refusal("--package", str(TOOL / "test-data" / "tensorflow.zip"))
    assert "is not offered, because it would not run: It has only tensorflow_saved_model_bundle weights" in told
    assert server.refusal("--package", str(ROOT / "test-data" / "nuclei.tif"))


def test_the_data_manager_fills_every_column_of_the_table() -> None:
    (table,) = ET.parse(TOOL / "tool_data_table_conf.xml.sample").getroot()
    columns = (table.findtext("columns") or "").split(", ")
    outputs = ET.parse(DATA_MANAGER / "data_manager_conf.xml").getroot().iter("column")
    assert columns == [column.attrib["name"] for column in outputs]
    assert columns == ["value", "name", "version", "tags", "path", "sha256"]


def test_it_requires_what_downloads_need() -> None:
    """The tools' jobs download nothing, and do not require these packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    tool = ET.parse(DATA_MANAGER / "data_manager" / "bioimageio_models.xml").getroot()
    required = {str(one.text): one.attrib["version"] for one in tool.iter("requirement")}
    assert required.keys() == {"httpx", "filelock"}
    assert all(needed[name].contains(version) for name, version in required.items())


def test_forms_need_only_the_columns_of_old_lists() -> None:
    """A table that declares four columns keeps working."""
    needed = {
        one.attrib["column"]
        for file in TOOL.glob("*.xml")
        for options in ET.parse(file).getroot().iter("options")
        if options.get("from_data_table")
        for one in options.iter("filter")
    }
    assert needed <= {"value", "name", "path", "sha256"}
