"""`models --update` fetches the list of models from the zoo, here from a server that plays it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from bioimageio.spec import settings

from bioimage_inference.cli import main
from bioimage_inference.zoo.index import load_index, trust_policy, updated_list
from bioimage_inference.zoo.updating import today

from ..models import Blur, simple_tensors, write_model

ROOT = Path(__file__).parents[2]
Output = pytest.CaptureFixture[str]


class Zoo(ThreadingHTTPServer):
    """A server of ``answers``: status and content by path, or the folder of a model in ``models`` by id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}

    def publish(self, folder: Path, model: str, **identity: Any) -> None:
        """Add a model to the zoo and to its list."""
        rdf = write_model(folder / model, Blur((1, 1)), *simple_tensors(), id=model, **identity)
        self.answers[f"/{model}/rdf.yaml"] = 200, rdf.read_bytes()
        self.list(*(path.split("/")[1] for path in self.answers if path.endswith(".yaml")))

    def list(self, *models: str) -> None:
        listed = [{"id": f"bioimage-io/{model}", "type": "model"} for model in models]
        listed += [{"id": "bioimage-io/some-data", "type": "dataset"}, {"id": "bioimage-io/zenodo:12", "type": "model"}]
        self.answers["/bioimage.io/children?limit=10000"] = 200, json.dumps(listed).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Zoo

    def do_GET(self) -> None:
        status, content = self.server.answers.get(self.path, (404, b"not here"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    """A zoo with the model ``quiet-newt``, and an empty cache."""
    server = Zoo()
    server.publish(tmp_path, "quiet-newt", name="Newts", version="1.2")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(settings, "collection_http_pattern", address + "/{bioimageio_id}/rdf.yaml")
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_list_of_today_names_new_models_and_keeps_the_others(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    before = load_index().current().keys()
    assert main(["models", "newts", "--update", "--json"]) == 0
    told = capsys.readouterr()
    assert [model["id"] for model in json.loads(told.out)] == ["quiet-newt"]
    path = tmp_path / "cache" / "bioimage-inference" / "index.jsonl"
    assert told.err == f"The list of {today()} has 1 model: {path}\n"
    assert load_index().current().keys() == before | {"quiet-newt"}
    assert load_index().date == today()
    assert [one.name for one in path.parent.iterdir()] == [path.name]  # nothing unfinished is left

    zoo.publish(tmp_path, "calm-newt", version="2")
    assert main(["models", "--update", "calm-newt"]) == 0
    assert f"The list of models here was made on {today()}." in " ".join(capsys.readouterr().out.split())
    assert {"quiet-newt", "calm-newt"} <= load_index().current().keys()
    assert main(["inspect", "calm-newt", "--json", "--offline"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "2"


def test_a_newer_description_replaces_the_bundled_one_and_an_older_list_does_not(zoo: Zoo, tmp_path: Path) -> None:
    zoo.publish(tmp_path, "affable-shark", name="Sharks", version="9.9")
    assert main(["models", "--update", "sharks"]) == 0
    assert load_index().current()["affable-shark"].description["version"] == "9.9"
    header, *lines = updated_list().read_text().splitlines()
    assert json.loads(header) == {"date": today()}
    updated_list().write_text("\n".join(['{"date": "2020-01-01"}', *lines]))
    assert load_index().current()["affable-shark"].description["version"] != "9.9"
    assert {"quiet-newt", "affable-shark"} <= load_index().current().keys()


def test_nothing_is_trusted_because_the_zoo_lists_it(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trust_policy()
    assert main(["models", "--update", "newts"]) == 0
    (weights,) = load_index().current()["quiet-newt"].weights.values()
    assert not before.may_load_weights(weights["sha256"]).trusted
    assert trust_policy() == before
    monkeypatch.setenv("BIOIMAGE_INFERENCE_TRUST", "known")
    assert not trust_policy().may_load_weights(weights["sha256"]).allowed


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"/quiet-newt/rdf.yaml": (503, b"")}, "503"),
        ({"/bioimage.io/children?limit=10000": (500, b"")}, "cannot be fetched from http://127.0.0.1"),
        ({"/bioimage.io/children?limit=10000": (200, b"<html>")}, "is no list of models"),
        ({"/bioimage.io/children?limit=10000": (200, b"[]")}, "lists no model that PyTorch can run"),
    ],
)
def test_a_failed_update_keeps_the_earlier_list(
    zoo: Zoo, answers: dict[str, tuple[int, bytes]], words: str, capsys: Output
) -> None:
    assert main(["models", "--update", "newts"]) == 0
    earlier = updated_list().read_bytes()
    capsys.readouterr()
    zoo.answers |= answers
    assert main(["models", "--update"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "The earlier list stays." in told
    assert updated_list().read_bytes() == earlier


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(settings, "collection_http_pattern", "http://127.0.0.1:9/{bioimageio_id}/rdf.yaml")
    assert main(["models", "--update"]) == 2
    assert "Check the network, and run again. The earlier list stays." in capsys.readouterr().err
    assert not updated_list().exists()


def test_a_model_that_cannot_be_read_is_named_and_left_out(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    broken = yaml.safe_load(zoo.answers["/quiet-newt/rdf.yaml"][1]) | {"inputs": [{"id": "raw"}]}
    zoo.answers["/broken-newt/rdf.yaml"] = 200, yaml.safe_dump(broken).encode()
    zoo.answers["/odd-newt/rdf.yaml"] = 200, b"- a list\n"
    zoo.answers["/torn-newt/rdf.yaml"] = 200, b"{"
    zoo.list("quiet-newt", "broken-newt", "odd-newt", "torn-newt", "gone-newt")
    assert main(["models", "--update", "newts"]) == 0
    told = capsys.readouterr().err
    for model in ("broken-newt", "odd-newt", "torn-newt", "gone-newt"):
        assert f"{model}: left out" in told
    assert "gone-newt: left out, the server answered 404" in told
    assert told.splitlines()[-1].startswith(f"The list of {today()} has 1 model: ")


def test_offline_refuses(zoo: Zoo, capsys: Output) -> None:
    assert main(["models", "--update", "--offline"]) == 2
    assert "--offline forbids the internet" in capsys.readouterr().err
    assert not updated_list().exists()
    assert main(["models", "--offline", "affable-shark"]) == 0


def test_an_unknown_id_says_when_the_list_was_made(zoo: Zoo, capsys: Output) -> None:
    date = load_index().date
    for arguments in (["inspect", "unknown-newt"], ["predict", "unknown-newt", "a.tif", "--offline"], ["inspect", "x"]):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert f"The list of models here was made on {date}. `bioimage-inference models --update` fetches" in told


def test_a_damaged_list_says_how_to_renew_it(zoo: Zoo, capsys: Output) -> None:
    updated_list().parent.mkdir(parents=True)
    updated_list().write_text('{"date": "2026-13-01"}\n')
    assert main(["models"]) == 2
    assert "Fetch it anew with `bioimage-inference models --update`, or remove the file." in capsys.readouterr().err
    assert main(["models", "--update", "newts"]) == 0


def test_a_cache_that_cannot_be_written_is_named(zoo: Zoo, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "cache").write_text("no folder")
    assert main(["models", "--update"]) != 0
    assert f"The list of models {updated_list()} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("named", [None, "~/elsewhere", "relative"])
def test_the_list_is_where_bioimageio_keeps_its_files(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BIOIMAGEIO_CACHE_PATH")
    if named is not None:
        monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", named)
    program = "from bioimageio.spec import settings; print(settings.cache_path)"
    command = [sys.executable, "-c", program]
    cache = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert updated_list() == Path(cache, "bioimage-inference", "index.jsonl")
