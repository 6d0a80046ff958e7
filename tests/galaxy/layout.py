"""Where things lie: the tools and workflows under test, and the state folder that holds Galaxy and planemo."""

from __future__ import annotations

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
STAND_INS = HERE / "stand_ins"
SHED = "toolshed.g2.bx.psu.edu/repos"


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
    """A tool XML with its macros expanded; requirements as conda name to version.

    `shed_id` is its id in the Tool Shed, by which workflows name it.
    """

    path: Path
    id: str
    shed_id: str
    tests: int
    requirements: dict[str, str]
    manages_data: bool


@dataclass(frozen=True)
class Workflow:
    """A workflow in the native format; `tools` are the tools of the Tool Shed that it needs."""

    path: Path
    tests: int
    tools: tuple[str, ...]


def environment(venv: Path) -> dict[str, str]:
    """The caller's environment with the virtual environment `venv` first, and nothing of the caller's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {
        "VIRTUAL_ENV": str(venv),
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "OMP_WAIT_POLICY": "passive",  # two jobs compute at once, and waiting in a loop takes processors
    }


def python(venv: Path) -> str:
    return str(venv / "bin" / "python")


def say(text: str) -> None:
    print(f"galaxy: {text}", flush=True)


@cache
def read_tools(site: Site, folder: Path) -> list[Tool]:
    """All tools below `folder`, which has a folder for each of our repositories of the Tool Shed."""
    paths = [path for path in sorted(folder.rglob("*.xml")) if root_tag(path) == "tool"]
    if not paths:
        raise Failure(f"there is no tool XML below {folder}.")
    owner = yaml.safe_load((site.repository / ".shed.yml").read_text())["owner"]
    return [read_tool(site, path, f"{owner}/{path.relative_to(folder).parts[0]}") for path in paths]


@cache
def read_stand_ins() -> list[Tool]:
    """The stand-ins for tools of others, each in OWNER/REPOSITORY/. They have no tests and need no packages."""
    roots = {path: ET.parse(path).getroot() for path in sorted(STAND_INS.glob("*/*/*.xml"))}
    return [
        Tool(path, root.attrib["id"], shed_id(f"{path.parts[-3]}/{path.parts[-2]}", root), 0, {}, False)
        for path, root in roots.items()
    ]


def read_workflow_tools(site: Site) -> list[Tool]:
    """The tools that workflows can use under their ids of the Tool Shed: ours as a server gets them, and stand-ins."""
    return [*(tool for tool in read_tools(site, site.packages) if not tool.manages_data), *read_stand_ins()]


def shed_id(repository: str, tool: ET.Element) -> str:
    """The id of a tool in a repository of the Tool Shed."""
    return f"{SHED}/{repository}/{tool.attrib['id']}/{tool.attrib['version']}"


def root_tag(path: Path) -> str:
    try:
        return ET.parse(path).getroot().tag
    except ET.ParseError as error:
        raise Failure(f"{path} is not well-formed XML: {error}.") from error


def read_tool(site: Site, path: Path, repository: str) -> Tool:
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
        shed_id=shed_id(repository, tool),
        tests=len(tool.findall("tests/test")),
        requirements={(node.text or "").strip(): node.attrib["version"] for node in packages},
        manages_data=tool.get("tool_type") == "manage_data",
    )


def read_workflows(site: Site) -> list[Workflow]:
    """All workflows below the workflows' folder."""
    return [read_workflow(path) for path in sorted(site.workflows.rglob("*.ga"))]


def read_workflow(path: Path) -> Workflow:
    tools = {step.get("tool_id") or "" for step in json.loads(path.read_text(encoding="utf-8"))["steps"].values()}
    tests = path.with_name(f"{path.stem}-tests.yml")
    return Workflow(
        path=path,
        tests=len(re.findall(r"^- ", tests.read_text(), re.MULTILINE)) if tests.exists() else 0,
        tools=tuple(sorted(one for one in tools if one.startswith(SHED))),
    )
