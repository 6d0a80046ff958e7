"""`make demo` installs PyTorch's CPU build wherever an index offers it, and announces a CUDA build beforehand."""

import contextlib
import importlib
import os
import platform
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "install_torch.py"
CUDA = {"torch": "2.13.0", "nvidia_cudnn_cu13": "9.20.0"}  # as on PyPI
CPU = {"torch": "2.13.0+cpu"}  # as in PyTorch's own index


def write_index(folder: Path, packages: dict[str, str]) -> Path:
    """Write a package index (PEP 503) with tiny wheels; the CUDA build of torch requires an NVIDIA package."""
    for name, version in packages.items():
        project = folder / name.replace("_", "-")
        project.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        if packages is CUDA and name == "torch":
            metadata += "Requires-Dist: nvidia-cudnn-cu13\n"
        wheel, info = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
        with zipfile.ZipFile(project / wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        (project / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    return folder


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def cuda_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(write_index(tmp_path_factory.mktemp("cuda"), CUDA)) as url:
        yield url


@pytest.fixture(scope="module")
def cpu_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(write_index(tmp_path_factory.mktemp("cpu"), CPU)) as url:
        yield url


@pytest.fixture
def closed_index() -> str:
    """An index whose port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def hanging_index() -> Iterator[str]:
    """An index that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture(scope="module")
def new_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment as `make demo` makes it."""
    folder = tmp_path_factory.mktemp("new")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module(SCRIPT.stem)


def set_pip(index: str) -> dict[str, str]:
    """The environment of a machine whose pip knows one index."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "PIP_NO_CACHE_DIR": "1", "NO_PROXY": "*"}


def install(python: Path, target: Path, configured: str, *options: str) -> tuple[dict[str, str], str]:
    """Run the script on a machine with one index; returns the installed packages and what the user reads."""
    environment = set_pip(configured) | {"PIP_TARGET": str(target)}
    done = subprocess.run(
        [python, SCRIPT, *options], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {found.name: found.version for found in distributions(path=[str(target)])}, done.stdout


linux = pytest.mark.skipif(platform.system() != "Linux", reason="PyPI's wheels for other systems are CPU builds")


@linux
def test_with_pypi_alone_the_cpu_build_comes_from_pytorchs_index(
    new_python: Path, tmp_path: Path, cuda_index: str, cpu_index: str
) -> None:
    installed, read = install(new_python, tmp_path, cuda_index, "--index", cpu_index)
    assert installed == CPU
    assert cpu_index in read.splitlines()[0]


@linux
def test_a_mirror_with_the_cpu_build_is_enough(
    new_python: Path, tmp_path: Path, cpu_index: str, closed_index: str
) -> None:
    assert install(new_python, tmp_path, cpu_index, "--index", closed_index)[0] == CPU


@linux
@pytest.mark.parametrize("silent", ["closed_index", "hanging_index"])
def test_an_index_that_does_not_answer_is_given_up_and_the_cuda_build_announced(
    silent: str, new_python: Path, tmp_path: Path, cuda_index: str, request: pytest.FixtureRequest
) -> None:
    index = request.getfixturevalue(silent)
    installed, read = install(new_python, tmp_path, cuda_index, "--index", index)
    assert set(installed.values()) == set(CUDA.values())
    announced = read.splitlines()[0]
    for told in ("CUDA build", "GB", index, "TORCH="):
        assert told in announced


@linux
def test_who_names_a_build_gets_it_unasked(new_python: Path, tmp_path: Path, cuda_index: str, cpu_index: str) -> None:
    request = f"torch==2.13.0 --index-url {cuda_index}"
    installed, _ = install(new_python, tmp_path, cpu_index, "--index", cpu_index, "--request", request)
    assert installed["torch"] == "2.13.0"


def test_the_announcement_comes_before_the_download(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    printed_before_pip: list[str] = []
    monkeypatch.setattr(script, "index_offers", lambda version, index: version == "2.13.0")
    monkeypatch.setattr(script.platform, "system", lambda: "Linux")
    monkeypatch.setattr(script.sys, "argv", ["install_torch.py"])
    monkeypatch.setattr(script.os, "execv", lambda *_: printed_before_pip.append(capfd.readouterr().out))
    script.main()
    assert "CUDA" in printed_before_pip[0]


def test_macos_takes_pypis_build_without_asking_pytorchs_index(script: ModuleType) -> None:
    asked = []

    def offers(version: str, index: str) -> bool:
        asked.append(index)
        return True

    assert script.choose_build("2.13.0", "https://cpu.example", "Darwin", offers).arguments == ("torch==2.13.0",)
    assert asked == [""]  # the indexes that pip is set to


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_a_machine_without_any_build_gets_a_plain_error(
    system: str,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(script, "index_offers", lambda version, index: False)
    monkeypatch.setattr(script.platform, "system", lambda: system)
    monkeypatch.setattr(script.sys, "argv", ["install_torch.py", "--version", "9.9.9"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert "PyTorch 9.9.9" in str(ended.value.code)
    assert "TORCH=" in str(ended.value.code)


def test_an_index_with_many_silent_addresses_is_given_up_too(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, hanging_index: str
) -> None:
    """pip's own limit holds for each address of a name; here the limit for all of them ends before pip's."""
    monkeypatch.setattr(script, "GIVE_UP_AFTER", 0.01)
    assert not script.index_offers("2.13.0+cpu", hanging_index)


def test_a_build_is_not_taken_for_another_one(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, cpu_index: str
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in set_pip(cpu_index).items():
        monkeypatch.setenv(name, value)
    assert script.index_offers("2.13.0+cpu", "")
    for version in ("2.13.0", "2.13", "13.0+cpu", "2.13.0+cpu.cxx11"):
        assert not script.index_offers(version, "")
