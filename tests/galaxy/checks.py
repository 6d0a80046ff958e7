"""What planemo says of our tools and workflows: lint, and the tests on a running Galaxy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from .layout import HERE, Site, environment, read_tools, read_workflows, root_tag, say
from .server import ADMIN_KEY, call

TEST_TIMEOUT = 600
# Galaxy's Pulsar runs two jobs at once, too; planemo needs some seconds for every start.
AT_ONCE, PART = 2, 8


@dataclass(frozen=True)
class Result:
    """The outcome of one test; `problem` is empty where it passed."""

    name: str
    problem: str


def planemo(
    site: Site, arguments: Sequence[str], log: TextIO | None = None, timeout: float | None = None, name: str = "test"
) -> int:
    """Run planemo in a workspace of that name; its files, and where a log is given its output, stay in the state."""
    site.results.mkdir(parents=True, exist_ok=True)
    workspace = site.state / "planemo-workspaces" / name
    workspace.mkdir(parents=True, exist_ok=True)
    command = [str(site.planemo / "bin" / "planemo"), "--directory", str(workspace), *arguments]
    env = environment(site.planemo)
    return subprocess.run(command, cwd=site.results, env=env, stdout=log, stderr=log, timeout=timeout).returncode


def lint(site: Site) -> int:
    """Let planemo judge the tools, as the Tool Shed would get them and with the newest profile, and the workflows."""
    # Two skipped checks look things up at bio.tools and at the Tool Shed, which takes the net. The third expects a
    # checkout whose folder is named as in the address of the repository.
    options = ["--fail_level", "warn", "--skip"]
    skipped = "BioToolsValid,version_bumped,shed_remote_repository_url"
    shed = ["shed_lint", "--tools", "--ensure_metadata", *options, skipped]
    workflows = ["workflow_lint", *options, "tool_ids"]
    commands = {
        "tools": [*shed, str(site.repository)],
        "newest profile": ["lint", *options, skipped, *map(str, with_newest_profile(site))],
        "workflows": [*workflows, str(site.workflows)],
        "registry": [*workflows, str(site.repository / ".dockstore.yml")],
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [one for one in pool.map(lambda name: linted(site, name, commands[name]), commands) if one]
    say("\n".join(found) if found else "lint found nothing")
    return int(bool(found))


def with_newest_profile(site: Site) -> list[Path]:
    """Copies of the tools with the profile of the Galaxy under test.

    The tools themselves have an older profile, because a Galaxy refuses tools with a profile newer than itself.
    """
    version = re.search(r"^galaxy-app==(\d+\.\d+)", (HERE / "galaxy.txt").read_text(), re.MULTILINE)
    assert version is not None
    folder = site.state / "newest-profile"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(site.tools, folder)
    for path in folder.rglob("*.xml"):
        text = re.sub(r'(<token name="@PROFILE@">|profile=")\d+\.\d+', rf"\g<1>{version[1]}", path.read_text())
        path.write_text(text)
    return [path for path in sorted(folder.rglob("*.xml")) if root_tag(path) == "tool"]


def linted(site: Site, name: str, command: Sequence[str]) -> str:
    """What one of planemo's linters has to say where it is not content, else nothing."""
    site.results.mkdir(parents=True, exist_ok=True)
    log = site.results / f"lint {name}.log"
    with log.open("w") as stream:
        content = planemo(site, command, stream, name=f"lint {name}") == 0
    return "" if content else log.read_text()


def test(site: Site, arguments: Sequence[str]) -> int:
    """planemo test on the running Galaxy, with planemo's own options and output."""
    return planemo(site, [*connection(site), *arguments])


def connection(site: Site) -> list[str]:
    galaxy = ["--engine", "external_galaxy", "--galaxy_url", site.url, "--no_shed_install"]
    keys = ["--galaxy_admin_key", ADMIN_KEY, "--galaxy_user_key", (site.server / "user.key").read_text()]
    return ["test", *galaxy, *keys, "--test_timeout", str(TEST_TIMEOUT)]


@dataclass(frozen=True)
class Part:
    """Some tests of one file, which planemo runs at a time; without a tool's id they are all those of a workflow."""

    path: Path
    tests: range
    tool_id: str

    @property
    def name(self) -> str:
        return f"{self.path.name}-{self.tests.start + 1}"


def test_all(site: Site) -> list[Result]:
    """Every test of every tool and workflow, told as its part ends."""
    site.results.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(test_part, site, part) for part in planned(site)]
        try:
            return [result for ended in as_completed(running) for result in tell(ended.result())]
        finally:
            pool.shutdown(cancel_futures=True)


def tell(results: list[Result]) -> list[Result]:
    for result in results:
        print(f"{'FAILED' if result.problem else 'ok'} {result.name}")
        print(textwrap.indent(result.problem, "    ") + "\n" * bool(result.problem), end="", flush=True)
    return results


def planned(site: Site) -> Iterator[Part]:
    """The tests of the tools and of those workflows that can run here."""
    for tool in read_tools(site, site.packages):
        for start in range(0, max(tool.tests, 1), PART):
            yield Part(tool.path, range(start, min(start + PART, tool.tests)), tool.id)
    for workflow in read_workflows(site):
        if workflow.foreign:
            say(f"{workflow.path.name} is not run, it needs tools of the Tool Shed: {', '.join(workflow.foreign)}")
        else:
            yield Part(workflow.path, range(workflow.tests), "")


def test_part(site: Site, part: Part) -> list[Result]:
    """Run some tests of a file; planemo passes over a test that Galaxy refuses, here it counts as failed."""
    if not part.tests:
        return [Result(part.path.name, "It has no test.")]
    report = site.results / f"{part.name}.json"
    report.unlink(missing_ok=True)  # where planemo breaks off, the last run's would be read
    log = report.with_suffix(".log")
    outputs = ["--test_output", str(report.with_suffix(".html")), "--test_output_json", str(report)]
    numbers = [word for n in part.tests if part.tool_id for word in ("--test_index", str(n + 1))]
    with log.open("w") as stream:
        try:
            arguments = [*connection(site), *numbers, *outputs, str(part.path)]
            planemo(site, arguments, stream, TEST_TIMEOUT * (len(part.tests) + 1), part.name)
        except subprocess.TimeoutExpired:
            say(f"planemo was ended, {part.name} took too long")
    tests = json.loads(report.read_text())["tests"] if report.exists() else []
    # `demo-0` and `demo.gxwf.yml_0` are the first tests of their files.
    found = {int(re.split("[-_]", test["id"])[-1]): problem(test["data"]) for test in tests}
    missing = {n: f"planemo did not run it, see {log}" for n in part.tests if n not in found}
    if missing and part.tool_id:
        missing |= {n: reason for n, reason in refusals(site, part.tool_id).items() if n in missing}
    return [Result(f"{part.path.name} #{n + 1}", text) for n, text in sorted((found | missing).items())]


def refusals(site: Site, tool_id: str) -> dict[int, str]:
    """The tests of a tool that Galaxy cannot read, and why."""
    tests = call(site, "GET", f"tools/{tool_id}/test_data")
    return {test["test_index"]: f"Galaxy refuses this test: {test['exception']}" for test in tests if test["error"]}


def problem(data: dict[str, Any]) -> str:
    """Empty for a test that passed; else all that planemo and the job have to say."""
    if data["status"] == "success":
        return ""
    job = data.get("job") or {}
    said = [data["status"], data.get("execution_problem"), *(data.get("output_problems") or [])]
    said += [f"{stream}: {job[stream].strip()}" for stream in ("stdout", "stderr") if job.get(stream)]
    return "\n".join(str(part) for part in said if part)
