"""``doctor`` tells whether an installation works, and what repairs it."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from bioimage_inference import ModelError
from bioimage_inference.cli import main
from bioimage_inference.machine import installation
from bioimage_inference.network import device_check
from bioimage_inference.network.device import Device
from bioimage_inference.network.torch_network import TorchNetwork
from bioimage_inference.zoo.zoo_access import cache_folder

from .test_start import before_torch

ROOT = Path(__file__).parents[2]
CHANGES = """
import sys
from pathlib import Path
paths = [Path(sys.argv[1], f"{number}.json") for number in range(100)]
while True:
    for path in paths:
        path.write_bytes(b"12345")
    for path in paths:
        path.unlink()
    if sys.stdout:
        print("begun", flush=True)
        sys.stdout = None
"""
SUBJECTS = ("program", "python", "system", "libraries", "extras", "memory", "processors", "cache", "torch", "devices")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "cache"))


def facts(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", *options])
    return code, json.loads(capsys.readouterr().out)


# The text


def test_the_text_names_every_subject_in_lines_that_fit_the_terminal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bioimage_inference", "doctor", "--offline"],
        env=os.environ | {"COLUMNS": "80", "BIOIMAGEIO_CACHE_PATH": "cache"},  # a path is never broken
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    labels = [line[:13].strip() for line in lines]
    assert [label for label in labels if label] == [*SUBJECTS, "sandbox", "result"]
    assert all(len(line) <= 80 or " " not in line.strip() for line in lines)
    assert lines[-1] == "  result     Everything works."
    (sandbox,) = (line for line in lines if line.startswith("  sandbox"))
    assert "Landlock" in sandbox or "none" in sandbox
    assert "does not belong to the command line" not in sandbox


def test_the_first_lines_come_before_torch_is_imported(tmp_path: Path) -> None:
    early, done = before_torch(tmp_path, "doctor", "--offline")
    assert done.returncode == 0
    assert early is not None
    assert early.splitlines()[0].startswith("  program    bioimage-inference ")
    assert "  cache " in early


def test_json_has_the_same_facts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = tmp_path / "cache" / "bioimage-inference" / "affable-shark" / "1.0-abc"
    model.mkdir(parents=True)
    (model / "rdf.yaml").write_bytes(b"12345")
    code, found = facts(capsys, "--offline")
    assert (code, found["exit_code"], found["problems"]) == (0, 0, [])
    assert found["installation"]["program"]
    assert found["cache"] == {"folder": str(tmp_path / "cache"), "models": 1, "size": 5, "problem": ""}
    assert found["memory"]["budget"] == min(limit["left"] for limit in found["memory"]["limits"])
    assert found["processors"]["count"] == min(limit["count"] for limit in found["processors"]["limits"])
    assert found["devices"]["checked"][0]["name"] == "cpu"
    assert "zoo" not in found


def test_the_size_of_a_cache_that_other_runs_change(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "bioimage-inference" / "descriptions"
    folder.mkdir(parents=True)
    changing = subprocess.Popen([sys.executable, "-c", CHANGES, str(folder)], stdout=subprocess.PIPE)
    try:
        assert changing.stdout is not None
        assert changing.stdout.readline() == b"begun\n"
        assert all(cache_folder().size % 5 == 0 for _ in range(200))
        assert changing.poll() is None
    finally:
        changing.kill()
        changing.communicate()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_the_command_and_its_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "doctor" in script
    assert "offline" in script


# The connection


class Zoo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/affable-shark/rdf.yaml" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Zoo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_zoo_answers_or_the_next_step_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bioimageio.spec import settings

    with served() as address:
        monkeypatch.setattr(settings, "collection_http_pattern", address + "/{bioimageio_id}/rdf.yaml")
        code, found = facts(capsys)
        assert (code, found["zoo"]["problem"]) == (0, "")
        assert found["zoo"]["address"] == f"{address}/affable-shark/rdf.yaml"
        monkeypatch.setattr(settings, "collection_http_pattern", address + "/nothing/{bioimageio_id}")
        assert main(["doctor"]) == 2
        assert "it answered 404" in " ".join(capsys.readouterr().out.split())
    assert main(["doctor"]) == 2  # nobody listens there any more
    text = " ".join(capsys.readouterr().out.split())
    assert "there is no connection" in text
    assert text.endswith("(exit code 2) result 1 problem. The exit code is 2.")


def test_offline_opens_no_socket() -> None:
    program = """
import sys
from bioimage_inference.cli import main
used = []
sys.addaudithook(lambda event, _: used.append(event) if event.startswith("socket.") else None)
code = main(["doctor", "--offline"])
sys.exit(code or repr(used) if used else code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Installations that do not work


def test_a_cache_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    (tmp_path / "file").touch()
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "file" / "cache"))
    code, found = facts(capsys, "--offline")
    assert code == 8
    assert "BIOIMAGEIO_CACHE_PATH" in found["problems"][0]["text"]


def test_little_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAXY_MEMORY_MB", "200")
    code, found = facts(capsys, "--offline")
    assert code == 6
    assert "200.0 MiB of memory, limited by GALAXY_MEMORY_MB" in found["problems"][0]["text"]


@pytest.mark.parametrize("fault", ["wrong", "fails"])
def test_a_gpu_that_computes_wrong(
    fault: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU stands in for a GPU."""
    compute = TorchNetwork.__call__

    class GPU(TorchNetwork):
        def __init__(self, module: Any, device: Device, threads: int) -> None:
            self.pretended = device.name
            super().__init__(module, Device("cpu", "CPU"), threads=threads)

        def __call__(self, inputs: Any) -> Any:
            found = compute(self, inputs)
            if self.pretended == "cpu":
                return found
            if fault == "fails":
                raise ModelError("no kernel image is available for execution on the device")
            return [np.roll(array, 1) for array in found]

    monkeypatch.setattr(device_check, "TorchNetwork", GPU)
    monkeypatch.setattr(device_check, "devices", lambda: [Device("cpu", "CPU"), Device("cuda:0", "GPU Stand-in")])
    code, found = facts(capsys, "--offline")
    assert code == 4
    cpu, gpu = found["devices"]["checked"]
    assert (cpu["problem"], gpu["name"]) == ("", "cuda:0")
    assert ("wrong by" if fault == "wrong" else "no kernel image") in gpu["problem"]
    assert "cuda:0 cannot be used" in found["problems"][0]["text"]


# Extras


def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for_users = {name: tuple(Requirement(one).name for one in lines) for name, lines in declared.items()}
    for own in ("test", "bench", "docs"):
        del for_users[own]
    assert dict(installation.EXTRAS) == for_users


def test_a_missing_extra_has_the_line_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"dask": "2026.1", "openvino": "2026.4"}

    def version(name: str) -> str:
        if name in (*installation.LIBRARIES, *known):
            return known.get(name, "1.0")
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "version", version)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor", "--offline"]) == 0
    said = capsys.readouterr().out
    assert 'cluster: dask 2026.1; the rest: pip install "bioimage_inference[cluster]"\n' in said
    assert 'crate: not installed: pip install "bioimage_inference[crate]"\n' in said
    assert "openvino: openvino 2026.4\n" in said
