"""Installs Galaxy, planemo, playwright and the packages that the tools require, each into a virtual environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from .browser import install_browser
from .layout import CHECKOUT, HERE, Failure, Site, Tool, environment, read_tools, say

PIP = ["-m", "pip", "install", "--no-color", "--progress-bar", "off"]
SECONDS_PER_LINE = 5  # between two lines of progress
TORCH = [str(CHECKOUT / "scripts" / "install_torch.py"), "--version"]


def install(site: Site) -> None:
    """Install what is not installed yet; once this is done, nothing else is fetched."""
    site.state.mkdir(parents=True, exist_ok=True)
    (site.state / ".gitignore").write_text("*\n")
    for venv in (site.galaxy, site.planemo, site.browser):
        packages = HERE / f"{venv.name}.txt"
        make_venv(venv, [[*PIP, "--no-deps", "-r", str(packages)]], packages.read_text())
    install_browser()
    wanted = pip_requirements(read_tools(site, site.tools))
    torch = [[*TORCH, one.removeprefix("torch==")] for one in wanted if one.startswith("torch==")]
    make_venv(site.tools_env, [*torch, [*PIP, *wanted]], "\n".join(wanted))
    probe = [str(site.tools_env / "bin" / "python"), "-c", "import bioimage_inference"]
    found = subprocess.run(probe, cwd=site.state, env=environment(site.tools_env), capture_output=True)
    if found.returncode == 0:
        raise Failure("the tools' environment contains bioimage_inference, which that of a Galaxy server would not.")


def make_venv(venv: Path, commands: list[list[str]], contents: str) -> None:
    """Make a virtual environment and run `commands`, arguments of its Python; keep it until `contents` change."""
    stamp = venv / "contents.txt"
    wanted = f"python {sys.version}\n{contents}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    began = time.monotonic()
    say(f"installing {venv.name} …")
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    for command in commands:
        run_pip(venv, command)
    stamp.write_text(wanted)
    say(f"installed {venv.name} in {time.monotonic() - began:.0f} s")


def run_pip(venv: Path, command: list[str]) -> None:
    """Run a command of the environment's Python that ends in pip, and print its progress."""
    program = [str(venv / "bin" / "python"), *command]
    with subprocess.Popen(
        program, env=environment(venv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout is not None
        lines = list(told(venv.name, pip.stdout))
    if pip.returncode:
        raise Failure(f"pip could not install {venv.name}:\n" + "".join(lines[-40:]))


def told(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of pip, and print every few seconds how many packages it has found, or what it does."""
    packages, last = 0, time.monotonic()
    for line in lines:
        yield line
        if collected := re.match(r"Collecting ([\w.-]+)", line):
            packages += 1
            if time.monotonic() - last >= SECONDS_PER_LINE:
                last = time.monotonic()
                say(f"{name}: {packages} found, {collected[1]} …")
        elif installing := re.match(r"Installing collected packages: (.*)", line):
            say(f"{name}: unpacking {installing[1].count(',') + 1} packages …")
        elif re.match(r"Installing PyTorch|ERROR", line):
            say(f"{name}: {line.strip()}")


def pip_requirements(tools: list[Tool]) -> list[str]:
    """The tools' conda requirements in pip's words, as packages.toml translates them."""
    translations: dict[str, str] = tomllib.loads((HERE / "packages.toml").read_text())["pip"]
    versions: dict[str, str] = {}
    for tool in tools:
        for name, version in tool.requirements.items():
            if name not in translations:
                raise Failure(f"{tool.path} requires {name}, which packages.toml does not know: add it there.")
            if versions.setdefault(name, version) != version:
                raise Failure(f"{tool.path} requires {name} {version}, another tool {versions[name]}.")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if f"{versions.get('python', here)}.".startswith(f"{here}."):
        return [translations[name].format(version=versions[name]) for name in sorted(versions) if translations[name]]
    raise Failure(f"the tools require python {versions['python']}, but this is {here}: use that Python here too.")
