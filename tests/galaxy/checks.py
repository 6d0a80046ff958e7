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

from .layout import HERE, Site, environment, python, read_tools, read_workflow_tools, read_workflows, root_tag, say
from .native_workflows import outdated, sources
from .server import ADMIN_KEY, call

TEST_TIMEOUT = 600
# Parts that run at once: the tool with most tests in one, the other tools and the workflows one after the other.
AT_ONCE = 2


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
    """Let planemo judge the tools, as the Tool Shed gets them and with the newest profile, and the workflows."""
    # Two skipped checks look things up at bio.tools and at the Tool Shed, which takes the net. The third expects a
    # checkout whose folder is named as in the address of the repository.
    options = ["--fail_level", "warn", "--skip"]
    skipped = "BioToolsValid,version_bumped,shed_remote_repository_url"
    shed = ["shed_lint", "--tools", "--ensure_metadata", *options, skipped]
    workflows = ["workflow_lint", *options, "tool_ids"]
    commands = {
        "tools": [*shed, str(site.repository)],
        "newest profile": ["lint", *options, skipped, *map(str, with_newest_profile(site))],
        **{source.stem: [*workflows, "--iwc", str(source.parent)] for source in sources(site)},
        **{path.stem: [*workflows, str(path)] for path in site.workflows.glob("*.ga")},
    }
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [one for one in pool.map(lambda name: linted(site, name, commands[name]), commands) if one]
    found += outdated(site)
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
    """planemo test on the running Galaxy, with planemo's own options and output; files are named from this folder."""
    named = [str(Path(one).absolute()) if Path(one).exists() else one for one in arguments]
    return planemo(site, [*connection(site), *named])


def connection(site: Site) -> list[str]:
    galaxy = ["--engine", "external_galaxy", "--galaxy_url", site.url, "--no_shed_install"]
    keys = ["--galaxy_admin_key", ADMIN_KEY, "--galaxy_user_key", (site.server / "user.key").read_text()]
    return ["test", *galaxy, *keys, "--test_timeout", str(TEST_TIMEOUT)]


@dataclass(frozen=True)
class Part:
    """All tests of a tool or of a workflow; without a tool's id they are those of a workflow."""

    path: Path
    tests: int
    tool_id: str


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
    """The tests of the tools, the longest first, and of those workflows that can run here."""
    for tool in sorted(read_tools(site, site.packages), key=lambda tool: -tool.tests):
        yield Part(tool.path, tool.tests, tool.id)
    served = {tool.shed_id for tool in read_workflow_tools(site)}
    for workflow in read_workflows(site):
        if foreign := [one for one in workflow.tools if one not in served]:
            say(f"{workflow.path.name} is not run, it needs tools of the Tool Shed: {', '.join(foreign)}")
        else:
            yield Part(workflow.path, workflow.tests, "")


def test_part(site: Site, part: Part) -> list[Result]:
    """Run the tests of a file. A test that Galaxy refuses counts as failed."""
    name = part.path.name
    if not part.tests:
        return [Result(name, "It has no test.")]
    say(f"testing {name} ({part.tests}) …")
    report = site.results / f"{name}.json"
    report.unlink(missing_ok=True)  # if the run breaks off, the report of the last run would be read
    log = report.with_suffix(".log")
    with log.open("w") as stream:
        try:
            if part.tool_id:
                test_tool(site, part, report, stream)
            else:
                outputs = ["--test_output", str(report.with_suffix(".html")), "--test_output_json", str(report)]
                arguments = [*connection(site), *outputs, str(part.path)]
                planemo(site, arguments, stream, TEST_TIMEOUT * (part.tests + 1), name)
        except subprocess.TimeoutExpired:
            say(f"the tests were ended, {name} took too long")
    tests = json.loads(report.read_text())["tests"] if report.exists() else []
    # `demo/1.0-0` and `demo.ga_0` are the first tests of their files.
    found = {int(re.split("[-_]", test["id"])[-1]): problem(test["data"]) for test in tests}
    missing = {n: f"It did not run, see {log}" for n in range(part.tests) if n not in found}
    if missing and part.tool_id:
        missing |= {n: reason for n, reason in refusals(site, part.tool_id).items() if n in missing}
    return [Result(f"{name} #{n + 1}", text) for n, text in sorted((found | missing).items())]


def test_tool(site: Site, part: Part, report: Path, log: TextIO) -> None:
    """Run the tests of a tool, several at once; planemo would run one at a time, and upload each file for each test."""
    key = (site.server / "user.key").read_text()
    command = [python(site.planemo), str(HERE / "tool_tests.py"), site.url, key, part.tool_id]
    env = environment(site.planemo) | {"GALAXY_TEST_DEFAULT_WAIT": str(TEST_TIMEOUT), "GALAXY_ADMIN_KEY": ADMIN_KEY}
    timeout = TEST_TIMEOUT * (part.tests + 1)
    files = str(part.path.parent / "test-data")
    subprocess.run([*command, files, str(report)], cwd=site.results, env=env, stdout=log, stderr=log, timeout=timeout)


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
