"""Models of the zoo by id or DOI: downloaded once, continued after interruptions, compared with their hashes."""

import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from bioimageio.spec import settings

from bioimage_inference import open_model
from bioimage_inference.cli import main
from bioimage_inference.errors import ModelError, OutputError, UsageError
from bioimage_inference.zoo import file_download
from bioimage_inference.zoo.index import INDEX_VARIABLE

from ..machine import HANG_SECONDS, wait_until
from ..models import edit_description, sha256
from ..zoo_server import Zoo

ROOT = Path(__file__).parents[2]
Output = pytest.CaptureFixture[str]


def home(zoo: Zoo) -> Path:
    return zoo.folder.parent / "cache" / "bioimage-inference" / "quiet-newt"


def opened(model: str = "quiet-newt", **words: Any) -> Path:
    """The folder in which a model is, once it was opened."""
    with open_model(model, **words) as model_opened:
        return model_opened.spec.root


def test_a_model_is_named_by_its_id_and_downloaded_once(
    zoo: Zoo, tmp_path: Path, forbidden: Callable[[], None], capsys: Output
) -> None:
    image = tmp_path / "cells.tif"
    tifffile.imwrite(image, np.zeros((90, 101), "uint16"))
    arguments = ["predict", "quiet-newt", str(image), "-o", str(tmp_path / "out"), "--json"]
    assert main(arguments) == 0
    first = capsys.readouterr()
    assert re.search(r"\[quiet-newt\] downloading weights\.pt \(0\.0 MiB\) from 127\.0\.0\.1:", first.err)
    record = json.loads(first.out)
    assert (record["model"]["id"], record["model"]["version"]) == ("quiet-newt", "1.2")
    (folder,) = home(zoo).glob("*-*")
    assert folder.name.startswith("1.2-")
    assert {path.name for path in folder.iterdir()} == {
        *("rdf.yaml", "weights.pt", "test0.npy", "test1.npy", "README.md", "cover.png", ".sha256.json")
    }
    assert (folder / "rdf.yaml").read_bytes() == (zoo.folder / "quiet-newt" / "rdf.yaml").read_bytes()
    for name in ("weights.h5", "sample.tif", "attached.ijm"):  # of no use here
        assert zoo.times_asked(name) == 0

    forbidden()
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert (
        main(["validate", "quiet-newt", "--offline", "-o", str(tmp_path)]) == 7
    )  # its test tensors, all zero, are there
    assert main(["inspect", "quiet-newt", "--offline"]) == 0


def test_a_broken_connection_is_continued_where_it_broke(zoo: Zoo) -> None:
    zoo.cut["weights.pt"] = [1000, 500]
    opened()
    ranges = [asked for path, asked in zoo.asked if path.endswith("weights.pt")]
    assert ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_run_that_gave_up_is_continued_by_the_next(zoo: Zoo) -> None:
    zoo.cut["weights.pt"] = [100] * file_download.ATTEMPTS
    with pytest.raises(UsageError, match="run again: what has arrived is kept"):
        opened()
    assert [path.suffix for path in home(zoo).glob("*-*")] == [".incomplete"]
    zoo.asked.clear()
    opened()
    ranges = {path.rpartition("/")[2]: asked for path, asked in zoo.asked}
    assert ranges["weights.pt"] == f"bytes={100 * file_download.ATTEMPTS}-"
    assert zoo.times_asked("weights.pt") == 1
    assert [path.suffix for path in home(zoo).glob("*-*")] != [".incomplete"]


def test_files_that_an_earlier_run_brought_are_not_fetched_again(zoo: Zoo) -> None:
    missing = zoo.folder / "quiet-newt" / "state.pt"
    rdf = missing.with_name("rdf.yaml")
    weights = yaml.safe_load(rdf.read_text())["weights"]
    edit_description(
        rdf, weights=weights | {"pytorch_state_dict": {"source": "state.pt", "architecture": {"callable": "N"}}}
    )
    with pytest.raises(UsageError, match=r"state\.pt answered 404 Not Found\. Try again later"):
        opened()
    missing.write_bytes(b"\x80\x02}q\x00.")
    opened()
    assert zoo.times_asked("weights.pt") == 1


def test_a_server_that_knows_no_ranges_sends_all_again(zoo: Zoo) -> None:
    zoo.ranges = False
    zoo.cut["weights.pt"] = [1000]
    opened()
    assert zoo.times_asked("weights.pt") == 2


def test_bytes_of_another_file_are_not_continued(zoo: Zoo) -> None:
    zoo.cut["weights.pt"] = [1000]
    weights = zoo.folder / "quiet-newt" / "weights.pt"
    right, wrong = weights.read_bytes(), bytes(weights.stat().st_size)
    weights.write_bytes(wrong)

    def exchange(path: str) -> None:
        if zoo.times_asked("weights.pt") == 2:
            weights.write_bytes(right)

    zoo.before = exchange
    assert (opened() / "weights.pt").read_bytes() == right
    assert zoo.times_asked("weights.pt") == 3


def test_all_bytes_were_there_but_for_the_name(zoo: Zoo) -> None:
    zoo.cut["weights.pt"] = [10] * file_download.ATTEMPTS
    with pytest.raises(UsageError):
        opened()
    (part,) = home(zoo).glob("*/weights.pt.part")
    shutil.copy(zoo.folder / "quiet-newt" / "weights.pt", part)
    opened()
    part_range = f"bytes={(zoo.folder / 'quiet-newt' / 'weights.pt').stat().st_size}-"
    assert zoo.asked.count(("/quiet-newt/weights.pt", part_range)) == 1


def test_weights_that_are_not_the_published_ones_are_refused(zoo: Zoo) -> None:
    (zoo.folder / "quiet-newt" / "weights.pt").write_bytes(b"something else")
    with pytest.raises(ModelError, match=r"weights\.pt is not the file that the description means"):
        opened()
    assert not list(home(zoo).rglob("weights.pt*"))


def test_what_running_does_not_need_may_be_missing_or_changed(zoo: Zoo, capsys: Output) -> None:
    (zoo.folder / "quiet-newt" / "cover.png").unlink()
    (zoo.folder / "quiet-newt" / "test0.npy").write_bytes(b"changed")
    folder = opened()
    assert not (folder / "cover.png").exists()
    assert not (folder / "test0.npy").exists()
    told = capsys.readouterr().err
    assert re.search(r"cover\.png is left out: \S+cover\.png answered 404", told)
    assert "test0.npy is left out: test0.npy is not the file that the description means" in told


def test_two_runs_at_once_share_one_download(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()  # capsys loses what a thread prints while it is read
    monkeypatch.setattr(sys, "stderr", told)
    second_waits = threading.Event()
    zoo.before = lambda path: None if path.endswith(".yaml") else second_waits.wait(HANG_SECONDS) and None
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(opened()), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: "another run is downloading it; waiting" in told.getvalue(), "the second run waits")
    second_waits.set()
    for thread in threads:
        thread.join()
    assert len(folders) == 2
    assert len(set(folders)) == 1
    assert zoo.times_asked("weights.pt") == zoo.times_asked("rdf.yaml") == 1


def test_offline_opens_no_socket_and_says_what_would_have_been_fetched(
    zoo: Zoo, forbidden: Callable[[], None], capsys: Output
) -> None:
    forbidden()
    for command in (["predict", "affable-shark", "a.tif"], ["validate", "affable-shark"]):
        assert main([*command, "--offline"]) == 2
        told = capsys.readouterr().err
        assert f"{zoo.address}/affable-shark/rdf.yaml" in told
        for words in ("is not in the cache", "weights-torchscript.pt, weights.pt, unet.py", "without --offline"):
            assert words in told
        assert len(told.strip().splitlines()) == 1
    assert main(["inspect", "unknown-newt", "--offline"]) == 2
    assert "unknown-newt/rdf.yaml, and with it the files that it names" in capsys.readouterr().err


def test_offline_needs_no_network_for_files(test_data: Path, tmp_path: Path, forbidden: Callable[[], None]) -> None:
    forbidden()
    model, image = test_data / "demo-model.zip", test_data / "nuclei.tif"
    assert main(["predict", str(model), str(image), "-o", str(tmp_path), "--offline"]) == 0


def test_no_network_is_one_paragraph_that_says_what_to_do(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/{{bioimageio_id}}/rdf.yaml"
        monkeypatch.setattr(settings, "collection_http_pattern", nobody)
        assert main(["predict", "quiet-newt", "cells.tif"]) == 2
    told = capsys.readouterr().err
    assert "there is no connection to http://127.0.0.1:" in told
    assert "download the model's package at bioimage.io" in told
    assert len(told.strip().splitlines()) == 1


def test_a_mistyped_id_is_told_from_a_model(zoo: Zoo, capsys: Output) -> None:
    assert main(["inspect", "afable-shark"]) == 2
    told = capsys.readouterr().err
    assert "There is no file or folder afable-shark" in told
    assert "Did you mean affable-shark" in told
    assert "The BioImage.IO zoo has no model afable-shark" in told


def test_a_version_that_is_asked_for_is_the_one_that_comes(zoo: Zoo, forbidden: Callable[[], None]) -> None:
    old = opened("quiet-newt/1.2")
    edit_description(zoo.folder / "quiet-newt" / "rdf.yaml", version="1.3")
    assert opened() == old  # a model that is there stays the same
    new = opened("quiet-newt/1.3")
    assert new != old
    with pytest.raises(UsageError, match=r"offers version 1\.3 of quiet-newt, not 1\.1\. Give quiet-newt/1\.3"):
        opened("quiet-newt/1.1")
    forbidden()
    assert opened() == new
    assert opened("quiet-newt/1.2") == old


def test_a_doi_finds_the_model_that_the_index_has_for_it(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load((zoo.folder / "quiet-newt" / "rdf.yaml").read_text())
    axes = {"inputs": ["bcyx"], "outputs": ["bcyx"]}
    line = {"id": "quiet-newt", "dois": ["10.5281/zenodo.7", "10.5281/zenodo.8"], "axes": axes, "description": content}
    (tmp_path / "index.jsonl").write_text(json.dumps(line) + "\n")
    monkeypatch.setenv(INDEX_VARIABLE, str(tmp_path / "index.jsonl"))
    for doi in ("10.5281/zenodo.7", "https://doi.org/10.5281/zenodo.8", "doi:10.5281/Zenodo.7", "10.5281/zenodo.7/8"):
        with open_model(doi) as model:
            assert model.spec.id == "quiet-newt"
            assert model.spec.notes[0].endswith("is the model quiet-newt of the BioImage.IO zoo.")
    assert zoo.times_asked("weights.pt") == 1
    with pytest.raises(UsageError, match=r"No model with the DOI 10\.5281/zenodo\.9 is known"):
        opened("10.5281/zenodo.9")


def test_a_file_or_folder_of_that_name_comes_first(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(zoo.folder / "quiet-newt", tmp_path / "here" / "quiet-newt")
    monkeypatch.chdir(tmp_path / "here")
    assert opened() == tmp_path / "here" / "quiet-newt"
    assert not zoo.asked


def test_files_with_addresses_of_their_own_get_names_in_the_folder(zoo: Zoo) -> None:
    rdf = zoo.folder / "quiet-newt" / "rdf.yaml"
    record = zoo.folder / "api" / "records" / "7" / "files" / "weights file.pt" / "content"
    record.parent.mkdir(parents=True)
    shutil.copy(rdf.with_name("weights.pt"), record)
    content = yaml.safe_load(rdf.read_text())
    content["weights"]["torchscript"]["source"] = f"{zoo.address}/api/records/7/files/weights%20file.pt/content"
    for number, tensor in enumerate((*content["inputs"], *content["outputs"])):  # two addresses, one name
        tensor["test_tensor"]["source"] = f"{zoo.address}/{number}/test.npy"
        (zoo.folder / str(number)).mkdir()
        shutil.copy(rdf.with_name(f"test{number}.npy"), zoo.folder / str(number) / "test.npy")
    edit_description(rdf, **content)
    folder = opened()
    assert {"weights file.pt", "test.npy", "other_test.npy"} <= {path.name for path in folder.iterdir()}
    with open_model(folder) as model:
        assert model.spec.weights[0].source == "weights file.pt"
        assert model.spec.outputs[0].test_tensor == "other_test.npy"


@pytest.mark.parametrize("source", ["../evil.pt", "/tmp/evil.pt", "a/../../evil.pt", "C:\\evil.pt", "..\\evil.pt"])
def test_no_file_leaves_the_cache(zoo: Zoo, source: str) -> None:
    rdf = zoo.folder / "quiet-newt" / "rdf.yaml"
    edit_description(rdf, weights={"torchscript": {"source": source}})
    with pytest.raises(ModelError, match="no file name inside of the model's package"):
        opened()
    assert not list(home(zoo).glob("*-*"))


def test_a_description_that_cannot_be_used_is_refused_before_its_weights_come(zoo: Zoo) -> None:
    edit_description(zoo.folder / "quiet-newt" / "rdf.yaml", inputs=[{"id": "raw"}])
    with pytest.raises(ModelError):
        opened()
    (zoo.folder / "quiet-newt" / "rdf.yaml").write_text("- a list\n")
    with pytest.raises(ModelError, match="no description of a model"):
        opened()
    (zoo.folder / "quiet-newt" / "rdf.yaml").write_bytes(b" " * (11 * 2**20))
    with pytest.raises(ModelError, match="larger than any description"):
        opened()
    assert zoo.times_asked("weights.pt") == 0


def test_what_bioimageio_downloaded_before_is_taken_from_its_cache(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    address = f"{zoo.address}/quiet-newt/weights.pt"
    program = f"from bioimageio.spec.utils import download; download({address!r}, progressbar=False)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert zoo.times_asked("weights.pt") == 1
    assert (opened() / "weights.pt").read_bytes() == (zoo.folder / "quiet-newt" / "weights.pt").read_bytes()
    assert zoo.times_asked("weights.pt") == 1


def test_a_damaged_file_in_that_cache_is_left_there(zoo: Zoo, tmp_path: Path) -> None:
    expected = sha256(zoo.folder / "quiet-newt" / "weights.pt")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f"entry__url_{hashlib.sha256(b'').hexdigest()}_contents_{expected}").write_bytes(b"broken")
    assert sha256(opened() / "weights.pt") == expected


def test_a_cache_that_cannot_be_written_is_named(zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot be put into the cache .*BIOIMAGEIO_CACHE_PATH"):
        opened()


def test_a_terminal_shows_bars_instead_of_lines(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    opened()
    told = capsys.readouterr().err
    assert "downloading" not in told
    assert "quiet-newt: weights.pt" in told


def test_the_environment_of_bioimageio_counts(zoo: Zoo, tmp_path: Path) -> None:
    environment = os.environ | {
        "BIOIMAGEIO_CACHE_PATH": str(tmp_path / "elsewhere"),
        "BIOIMAGEIO_COLLECTION_HTTP_PATTERN": zoo.address + "/{bioimageio_id}/rdf.yaml",
    }
    command = [sys.executable, "-m", "bioimage_inference", "inspect", "quiet-newt", "--json"]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)["id"] == "quiet-newt"
    assert len(list((tmp_path / "elsewhere" / "bioimage-inference" / "quiet-newt").glob("1.2-*"))) == 1


@pytest.mark.parametrize("only", [False, True])
def test_a_changed_onnx_file_spoils_a_model_without_other_weights_only(zoo: Zoo, only: bool) -> None:
    rdf = zoo.folder / "quiet-newt" / "rdf.yaml"
    (rdf.parent / "weights.onnx").write_bytes(b"changed")
    weights = {} if only else yaml.safe_load(rdf.read_text())["weights"]
    edit_description(rdf, weights={**weights, "onnx": {"source": "weights.onnx", "sha256": "0" * 64}})
    if only:
        with pytest.raises(ModelError, match=r"weights\.onnx"):
            opened()
    else:
        assert (opened() / "weights.pt").is_file()
