"""What is handed out: wheel, source archive, conda recipe, and the versions that are known to work together."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bioimage_inference import __version__
from scripts import check_release

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def declared(*extras: str) -> Iterator[Requirement]:
    """The requirements of the project, and of some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra in extras:
        yield from map(Requirement, project["optional-dependencies"][extra])
    yield from map(Requirement, project["dependencies"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", folder, ROOT], check=True)
    return folder


def test_the_wheel_holds_the_package_and_what_the_demo_needs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "bioimage_inference").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= names
    assert "bioimage_inference/py.typed" in names
    assert {f"bioimage_inference/demo-data/{name}" for name in ("demo-model.zip", "nuclei.tif")} <= names
    assert wheel.name == f"bioimage_inference-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size <= check_release.LARGEST_WHEEL


def test_the_source_archive_is_whole(built: Path) -> None:
    with tarfile.open(built / f"bioimage_inference-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "tests/conftest.py", "test-data/nuclei.tif"):
        assert needed in names, needed


def test_the_installed_program_runs_away_from_its_sources(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    environment = tmp_path / "environment"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run(
        [*uv, "venv", "--quiet", "--python", sys.executable, "--system-site-packages", environment], check=True
    )
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--no-deps", "--python", environment / "bin/python", wheel], check=True
    )
    libraries = "\n".join(path for path in sys.path if path.endswith("site-packages"))  # those of this environment
    (site,) = environment.glob("lib/*/site-packages")
    (site / "libraries.pth").write_text(libraries + "\n")
    program = [environment / "bin/bioimage-inference", "demo", "-o", tmp_path / "out"]
    clean = {"PATH": str(environment / "bin"), "HOME": str(tmp_path)}
    done = subprocess.run(program, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif"))


def test_the_files_of_a_release_name_one_version() -> None:
    found = list(check_release.versions(ROOT))
    assert len(found) >= 2
    assert not [one.words for one in found if one.result == "FAILED"]


def test_pythons_that_are_promised_are_looked_up() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {found[1] for one in project["classifiers"] if (found := re.fullmatch(r".* :: (3\.\d+)", one))}
    assert promised == set(check_release.PYTHONS)


def recipe() -> dict[str, Any]:
    """The conda recipe, its few variables put in."""
    text = (ROOT / "recipe/meta.yaml").read_text()
    values = dict(re.findall(r'{% set (\w+) = "([^"]+)" %}', text))
    text = re.sub(r"{%.*?%}", "", text)
    text = re.sub(r"{{\s*(\w+).*?}}", lambda found: values.get(found[1], found[1]), text)
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_the_conda_recipe_asks_for_what_the_project_asks_for() -> None:
    found = recipe()
    assert found["package"] == {"name": "bioimage_inference", "version": __version__}
    asked = dict(line.partition(" ")[::2] for line in found["requirements"]["run"])
    del asked["python"]
    expected = {CONDA_NAMES.get(one.name.lower(), one.name.lower()): one.specifier for one in declared()}
    assert {name: Requirement(f"x{wanted}").specifier for name, wanted in asked.items()} == expected


def test_constraints_are_versions_that_the_project_takes() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines if "==" in line)
    }
    for one in declared("cluster", "crate", "onnx", "openvino"):
        if one.name != "torch":  # machines differ in it
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
