"""Where things lie: the tools and workflows under test, and the state folder that holds Galaxy and planemo."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]


class Failure(Exception):
    """What the developer is told, without a traceback."""


@dataclass(frozen=True)
class Site:
    """The folders of one Galaxy: the repository under test, and `state` for everything that this package makes."""

    repository: Path
    state: Path

    @property
    def tools(self) -> Path:
        """The tools' XML files, as they lie in the repository."""
        return self.repository / "tools"

    @property
    def workflows(self) -> Path:
        return self.repository / "workflows"

    @property
    def galaxy(self) -> Path:
        """Galaxy's virtual environment."""
        return self.state / "galaxy"

    @property
    def planemo(self) -> Path:
        """planemo's virtual environment."""
        return self.state / "planemo"

    @property
    def tools_env(self) -> Path:
        """The virtual environment in which our tools run: the stand-in for conda."""
        return self.state / "tools-env"

    @property
    def server(self) -> Path:
        """What one Galaxy needs and leaves: configuration, database, datasets, logs."""
        return self.state / "server"

    @property
    def config(self) -> Path:
        return self.server / "galaxy.yml"

    @property
    def packages(self) -> Path:
        """Our tools as the Tool Shed would hand them to a server."""
        return self.server / "packages"

    @property
    def offered(self) -> Path:
        """Where the data manager puts the models that it offers."""
        return self.server / "offered"

    @property
    def zoo(self) -> Path:
        """The models of the server that plays the zoo."""
        return self.server / "zoo"

    @property
    def zoo_url(self) -> str:
        return f"http://127.0.0.1:{(self.server / 'zoo.port').read_text()}"

    @property
    def results(self) -> Path:
        """planemo's reports and logs."""
        return self.state / "results"

    @property
    def browser(self) -> Path:
        """The virtual environment of what steers the browser."""
        return self.state / "browser"

    @property
    def pictures(self) -> Path:
        """What the browser saw."""
        return self.results / "browser"

    @property
    def tutorial(self) -> Path:
        """What the browser saw of the tutorial."""
        return self.results / "tutorial"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{(self.server / 'port').read_text()}"


@dataclass(frozen=True)
class Tool:
    """A tool XML with its macros expanded; requirements as conda name to version."""

    path: Path
    id: str
    tests: int
    requirements: dict[str, str]
    manages_data: bool


@dataclass(frozen=True)
class Workflow:
    """A workflow file; `foreign` are the tools of the Tool Shed that it needs, which a Galaxy here does not have."""

    path: Path
    tests: int
    foreign: tuple[str, ...]


def environment(venv: Path) -> dict[str, str]:
    """The caller's environment with the virtual environment `venv` first, and nothing of the caller's Python."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return kept | {
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "OMP_WAIT_POLICY": "passive",  # two jobs compute at once, and waiting in a loop takes processors
    }


def say(text: str) -> None:
    print(f"galaxy: {text}", flush=True)


@cache
def read_tools(site: Site, folder: Path) -> list[Tool]:
    """All tools below `folder`."""
    paths = [path for path in sorted(folder.rglob("*.xml")) if root_tag(path) == "tool"]
    if not paths:
        raise Failure(f"there is no tool XML below {folder}.")
    return [read_tool(site, path) for path in paths]


def root_tag(path: Path) -> str:
    try:
        return ET.parse(path).getroot().tag
    except ET.ParseError as error:
        raise Failure(f"{path} is not well-formed XML: {error}.") from error


def read_tool(site: Site, path: Path) -> Tool:
    program = site.planemo / "bin" / "planemo"
    if not program.exists():
        raise Failure("planemo is not installed yet: run install first.")
    command = [str(program), "normalize", "--expand_macros", str(path)]
    expanded = subprocess.run(command, env=environment(site.planemo), stdout=subprocess.PIPE)
    if expanded.returncode:
        raise Failure(f"planemo cannot expand the macros of {path}, see above.")
    tool = ET.fromstring(expanded.stdout)
    packages = [node for node in tool.iterfind("requirements/requirement") if node.get("type") == "package"]
    return Tool(
        path=path,
        id=tool.attrib["id"],
        tests=len(tool.findall("tests/test")),
        requirements={(node.text or "").strip(): node.attrib["version"] for node in packages},
        manages_data=tool.get("tool_type") == "manage_data",
    )


def read_workflows(site: Site) -> list[Workflow]:
    """All workflows below the workflows' folder."""
    paths = sorted([*site.workflows.rglob("*.gxwf.yml"), *site.workflows.rglob("*.ga")])
    return [read_workflow(path) for path in paths]


def read_workflow(path: Path) -> Workflow:
    foreign = re.findall(r"""\btool_id["']?\s*:\s*["']?(toolshed\.[^"'\s,]+)""", path.read_text())
    tests = path.with_name(path.name.removesuffix(".ga").removesuffix(".yml") + "-tests.yml")
    return Workflow(
        path=path,
        tests=len(re.findall(r"^- ", tests.read_text(), re.MULTILINE)) if tests.exists() else 0,
        foreign=tuple(sorted(set(foreign))),
    )
