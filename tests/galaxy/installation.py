"""Installs Galaxy, planemo, playwright and the packages that the tools require, each into a virtual environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from .browser import install_browser
from .layout import CHECKOUT, HERE, Failure, Site, Tool, environment, python, read_tools, say

UV = [sys.executable, "-m", "uv", "pip", "install", "--color", "never"]  # Galaxy in 40 s; pip takes minutes
TORCH = str(CHECKOUT / "scripts" / "install_torch.py")
# Lines of uv and of install_torch.py that say what is being done.
PROGRESS = re.compile(r"\s*(Resolved|Downloading|Building|Prepared|Installed|Installing PyTorch|ERROR)\b")


def install(site: Site) -> None:
    """Install what is not installed yet; once this is done, nothing else is fetched."""
    site.state.mkdir(parents=True, exist_ok=True)
    (site.state / ".gitignore").write_text("*\n")
    for venv in (site.galaxy, site.planemo, site.browser):
        packages = HERE / f"{venv.name}.txt"
        make_venv(venv, [[*UV, "--python", python(venv), "--no-deps", "-r", str(packages)]], packages.read_text())
    install_browser()
    wanted = pip_requirements(read_tools(site, site.tools))
    interpreter = python(site.tools_env)
    versions = [one.removeprefix("torch==") for one in wanted if one.startswith("torch==")]
    torch = [[interpreter, TORCH, "--version", version] for version in versions]
    make_venv(site.tools_env, [*torch, [*UV, "--python", interpreter, *wanted]], "\n".join(wanted))
    probe = [interpreter, "-c", "import bioimage_inference"]
    found = subprocess.run(probe, cwd=site.state, env=environment(site.tools_env), capture_output=True)
    if found.returncode == 0:
        raise Failure("the tools' environment contains bioimage_inference, which that of a Galaxy server would not.")


def make_venv(venv: Path, commands: list[list[str]], contents: str) -> None:
    """Make a virtual environment and run the commands that fill it; keep it until `contents` change."""
    stamp = venv / "contents.txt"
    wanted = f"python {sys.version}\n{contents}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    began = time.monotonic()
    say(f"installing {venv.name} …")
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    for command in commands:
        run_installer(venv, command)
    stamp.write_text(wanted)
    say(f"installed {venv.name} in {time.monotonic() - began:.0f} s")


def run_installer(venv: Path, command: list[str]) -> None:
    """Run a command that installs into the environment, and print its progress."""
    with subprocess.Popen(
        command, env=environment(venv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as installer:
        assert installer.stdout is not None
        lines = []
        for line in installer.stdout:
            lines.append(line)
            if PROGRESS.match(line):
                say(f"{venv.name}: {line.strip()}")
    if installer.returncode:
        raise Failure(f"{venv.name} could not be installed:\n" + "".join(lines[-40:]))


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
