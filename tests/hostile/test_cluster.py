"""Clusters: another user of the machine reaches no process of ``local:N``, and networks run behind walls everywhere."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
import zarr
from distributed import LocalCluster
from distributed.core import connect as open_connection
from distributed.core import rpc
from distributed.protocol.pickle import dumps
from distributed.security import Security

from bioimage_inference.api import Target, open_model, predict
from bioimage_inference.cluster.cluster_run import name_files
from bioimage_inference.cluster.connect import Cluster, connect
from bioimage_inference.cluster.messages import UnreadableAnswerError, read_answer
from bioimage_inference.cluster.work import ImageJob
from bioimage_inference.provenance.record import to_json
from tests import models
from tests.machine import HANG_SECONDS

REFUSED_SECONDS = 2
"""How long the other user waits for an answer. Refused connections end at once, so most tests take less."""

NET = """
import os
import socket
import struct
import subprocess
import sys

import torch

SECRET, OUTPUT = {secret!r}, {output!r}


def new_file(folder):
    with open(os.path.join(folder, "from_the_network"), "w"):
        pass


def keys_of_the_worker():
    with open(f"/proc/{{os.getppid()}}/mem", "rb"):
        pass


ATTEMPTS = [
    lambda: open(SECRET).close(),
    lambda: open(SECRET, "a").close(),
    lambda: new_file(os.path.dirname(SECRET)),
    lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    lambda: socket.socket(socket.AF_UNIX),
    keys_of_the_worker,
    lambda: new_file(OUTPUT),  # allowed
]


def refused(attempt):
    try:
        attempt()
    except PermissionError:
        return 1.0
    except OSError:
        return 0.0
    return 0.0


class Net(torch.nn.Module):
    def forward(self, x):
        {before}
        found = torch.tensor([refused(attempt) for attempt in ATTEMPTS])
        return torch.zeros_like(x)[:, :1] + found[None, :, None, None]
"""
ATTEMPTS = 9
ALL_BUT_THE_LAST = [1.0] * (ATTEMPTS - 1) + [0.0]

ANSWER = """
        class Mark:
            def __reduce__(self):
                return open, (os.path.join(OUTPUT, "unpickled"), "w")
        import pickle
        message = pickle.dumps(Mark())
        for descriptor in range(3, 64):
            try:
                if not os.path.samestat(os.fstat(descriptor), os.fstat(2)):
                    os.write(descriptor, struct.pack("<Q", len(message)) + message)
            except OSError:
                pass
"""


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The image's, the outputs', and others'."""
    made = {name: tmp_path / name for name in ("images", "out", "others")}
    for folder in made.values():
        folder.mkdir()
    (made["others"] / "secret").write_text("secret")
    np.save(made["images"] / "image.npy", np.zeros((20, 24), "uint8"))
    return made


def probing(folders: dict[str, Path], before: str = "pass") -> Path:
    """A model with Python code that tries what no network needs; its channels say what was refused."""
    inputs, outputs = models.simple_tensors(outputs=ATTEMPTS)
    description = models.write_model(folders["images"].parent / "model", models.Identity(), inputs, outputs)
    folder = description.parent
    (folder / "net.py").write_text(NET.format(secret=str(folders["others"] / "secret"), output=str(folders["out"]),
                                              before=before))  # fmt: skip
    torch.save({}, folder / "state.pt")
    architecture = {"source": "net.py", "sha256": models.sha256(folder / "net.py"), "callable": "Net"}
    state = {"source": "state.pt", "sha256": models.sha256(folder / "state.pt"), "pytorch_version": "2.6"}
    content = yaml.safe_load(description.read_text())
    content["weights"] = {"pytorch_state_dict": state | {"architecture": architecture}}
    description.write_text(yaml.safe_dump(content))
    return description


def command_line(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bioimage_inference", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)


def predicted(folders: dict[str, Path], model: Path, address: str, *options: str) -> Any:
    """What the command line did."""
    return command_line("predict", model, folders["images"] / "image.npy", "--axes", "yx", "-o", folders["out"],
                        "--dask", address, "--trust-model-code", *options)  # fmt: skip


def refusals(folders: dict[str, Path]) -> list[float]:
    """The first pixel of each channel."""
    array = np.asarray(zarr.open_array(folders["out"] / "image_out.ome.zarr" / "0", mode="r"))
    return [float(value) for value in array.reshape(-1, *array.shape[-2:])[:, 0, 0]]


@pytest.fixture(scope="module")
def of_others() -> Iterator[str]:
    """A cluster that somebody else has started."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize("whose", ["local:1", "of others"])
def test_a_network_in_a_worker_keeps_what_the_job_needs(
    folders: dict[str, Path], of_others: str, whose: str, needs_walls: None
) -> None:
    address = whose if whose == "local:1" else of_others
    found = predicted(folders, probing(folders, 'os.write(1, b"printed by the network")'), address)
    assert found.returncode == 0, found.stderr
    assert refusals(folders) == ALL_BUT_THE_LAST
    record = json.loads((folders["out"] / "image_provenance.json").read_text())
    assert record["sandbox"]["landlock"] >= 1
    assert record["sandbox"]["seccomp"] is True
    assert "printed by the network" not in found.stdout


def test_without_the_sandbox_the_same_network_is_refused_nothing(folders: dict[str, Path]) -> None:
    """Else the test above would prove nothing; the record says so."""
    found = predicted(folders, probing(folders), "local:1", "--no-sandbox")
    assert found.returncode == 0, found.stderr
    assert refusals(folders) == [0.0] * ATTEMPTS
    record = json.loads((folders["out"] / "image_provenance.json").read_text())
    assert record["sandbox"] == {"landlock": 0, "seccomp": False}


def test_an_answer_of_the_network_is_not_unpickled(folders: dict[str, Path]) -> None:
    found = predicted(folders, probing(folders, ANSWER.strip()), "local:1")
    assert found.returncode == 4, found.stderr
    assert "an answer that cannot be read" in found.stderr
    assert not (folders["out"] / "unpickled").exists()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", '{"record": 3}', '{"measured": {}}', '{"computed": []}', '{"error": ["exec", "", ""]}'),
        '{"error": ["SystemExit", "", ""]}',
        '{"measured": {"statistics": [["Moments", {}, "yx", []]], "notes": [], "seconds": {}, "cpu": 0}}',
        '{"measured": {"statistics": [["Moments", {"tensor": "a", "axes": null}, "y", [["|O", [1], "AAAAAAAAAAA="]]]],'
        ' "notes": [], "seconds": {}, "cpu": 0}}',
        "[" * 100_000,
    ],
)
def test_answers_that_this_program_does_not_write(content: str, tmp_path: Path) -> None:
    message = content.encode()
    (tmp_path / "answer").write_bytes(len(message).to_bytes(8, "little") + message)
    with (tmp_path / "answer").open("rb") as stream, pytest.raises(UnreadableAnswerError):
        read_answer(stream)


def test_an_answer_that_claims_a_terabyte(tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes((1 << 40).to_bytes(8, "little"))
    with (tmp_path / "answer").open("rb") as stream, pytest.raises(UnreadableAnswerError):
        read_answer(stream)


def test_the_client_reads_no_file_that_a_record_names(folders: dict[str, Path]) -> None:
    secret, image = str(folders["others"] / "secret"), folders["images"] / "image.npy"
    target = Target(folders["out"] / "a.tif", None)
    job = ImageJob(image, {}, {"out": target})
    with open_model(models.write_model(folders["images"], models.Identity(), *models.simple_tensors())) as model:
        honest = predict(model, np.zeros((16, 16), np.float32), axes="yx").record
        (given,), (made,) = honest["inputs"], honest["outputs"]
        record: dict[str, Any] = {
            **honest,
            "model": {**honest["model"], "source": secret, "description_file": secret},
            "inputs": [{**given, "file": secret}],
            "outputs": [{**made, "tiff": secret, "npy": secret, "zarr": secret}],
            "objects": {
                **{"labels": secret, "table": secret, "overlay": secret, "count": 1},
                **{"foreground": "0", "boundary": "1", "threshold": 0.6, "min_size": 10},
            },
        }
        named = to_json(name_files(record, model, job))
        for damaged in ({}, honest | {"outputs": [made | {"id": "other"}]}, honest | {"inputs": secret}):
            with pytest.raises(UnreadableAnswerError):
                name_files(damaged, model, job)
    assert secret not in json.dumps(named)
    assert named["outputs"] == [{**made, "tiff": str(target.tiff), "npy": None}]
    assert named["inputs"] == [{**given, "file": str(image)}]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all processes of the local cluster make temporary files."""
    folder, before = tmp_path_factory.mktemp("scratch"), tempfile.tempdir
    tempfile.tempdir = str(folder)
    os.environ["TMPDIR"] = str(folder)
    yield folder
    del os.environ["TMPDIR"]
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def ports_before() -> set[tuple[str, int]]:
    """What the test process listens to besides."""
    return ports()


@pytest.fixture(scope="module")
def running(scratch: Path, ports_before: set[tuple[str, int]]) -> Iterator[Cluster]:
    with connect("local:1", None, None, lambda line: None) as cluster:
        yield cluster


def processes() -> list[psutil.Process]:
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def ports() -> set[tuple[str, int]]:
    """Addresses and ports to which this process and its children listen."""
    found = [one for process in processes() for one in process.net_connections() if one.status == "LISTEN"]
    return {(one.laddr.ip, one.laddr.port) for one in found}


@pytest.fixture(scope="module")
def listening(running: Cluster, ports_before: set[tuple[str, int]]) -> list[int]:
    """Ports of all processes of the cluster: scheduler, nanny and worker."""
    places = sorted(ports() - ports_before)
    assert {address for address, _ in places} == {"127.0.0.1"}
    assert len(places) == 3
    return [port for _, port in places]


def accepting_anyone(own: Security | None) -> ssl.SSLContext:
    """TLS that does not ask who the other side is, with a certificate of one's own or none."""
    context: ssl.SSLContext = ssl.create_default_context()
    if own is not None:
        context = own.get_connection_args("client")["ssl_context"]
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def call(address: str, arguments: dict[str, Any], marker: Path, patience: int = REFUSED_SECONDS) -> Any:
    """Ask a process who it is, then to run code, as Dask's client asks a worker."""

    async def ask() -> Any:
        comm = await open_connection(address, timeout=patience, **arguments)
        await comm.close()
        async with rpc(address, connection_args=arguments, timeout=patience) as other:
            answer = await asyncio.wait_for(other.identity(), patience)
            await asyncio.wait_for(other.run(function=dumps(marker.touch), wait=True), patience)
            return answer

    return asyncio.run(ask())


@pytest.mark.parametrize("how", ["plain", "own certificates", "any certificate", "no certificate"])
def test_another_user_reaches_no_process(listening: list[int], how: str, tmp_path: Path) -> None:
    own = Security.temporary()
    arguments: dict[str, Any] = {"require_encryption": how != "plain"}
    match how:
        case "own certificates":
            arguments = own.get_connection_args("client")
        case "any certificate":
            arguments["ssl_context"] = accepting_anyone(own)
        case "no certificate":
            arguments["ssl_context"] = accepting_anyone(None)
    for port in listening:
        scheme = "tcp" if how == "plain" else "tls"
        with pytest.raises((OSError, TimeoutError)):
            call(f"{scheme}://127.0.0.1:{port}", arguments, tmp_path / "marker")
    assert not (tmp_path / "marker").exists()


def test_with_the_certificate_of_the_run_the_same_calls_run_code(running: Cluster, tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    (worker,) = running.client.scheduler_info(n_workers=-1)["workers"]
    arguments = running.client.security.get_connection_args("client")
    assert call(worker, arguments, tmp_path / "marker", HANG_SECONDS)["type"] == "Worker"
    assert (tmp_path / "marker").exists()


def test_no_port_answers_a_browser(listening: list[int]) -> None:
    for port in listening:
        with socket.create_connection(("127.0.0.1", port), timeout=REFUSED_SECONDS) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                answer = client.recv(100)
            except (ConnectionError, TimeoutError):
                continue
        assert b"HTTP" not in answer


def test_nobody_reads_the_key(running: Cluster, scratch: Path) -> None:
    key = running.client.security.tls_client_key
    assert "PRIVATE KEY" in key
    lines = [line.encode() for line in key.splitlines()[1:-1]]
    assert len(lines) > 10
    for process in processes():
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert not [line for line in lines if line in content]
    assert list(scratch.iterdir())
    for path in scratch.rglob("*"):
        assert not path.is_file() or lines[0] not in path.read_bytes()
    assert {oct(path.stat().st_mode & 0o077) for path in scratch.iterdir()} == {"0o0"}
