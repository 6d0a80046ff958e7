"""Installs PyTorch into the Python that runs this script: the CPU build, or the build that ``--request`` names.

    python scripts/install_torch.py [--version 2.13.0] [--request "torch==2.14.1 --index-url URL"]

PyPI's wheels of PyTorch for Linux are CUDA builds, on x86-64 and on aarch64: gigabytes that a machine without an NVIDIA
GPU has no use for. The CPU builds for Linux have a version of their own (``2.13.0+cpu``), which PyPI does not accept;
PyTorch's own index of CPU wheels and some mirrors offer them. For macOS, PyPI's wheel is the CPU build.

Needs only the standard library and pip, because it runs in new virtual environments.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

VERSION = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# pip asks an index that does not answer once, for 5 seconds; its default is six times, for 15 seconds each.
ASK_ONCE = ("--retries", "0", "--timeout", "5")
# Seconds after which the index is given up. pip's own limit holds for each address of the index, one after another.
GIVE_UP_AFTER = 20.0
# Sizes of 2.13.0: the sum of the wheels that pip downloads for Python 3.11, PyTorch's dependencies included.
# They are 202 MB (x86-64) and 122 MB (macOS); the aarch64 wheel of 2.14.0 has 159 MB.
CPU_SIZE = "about 200 MB to download, less on Arm"
# 29 packages: 2.74 GB (x86-64) and 2.87 GB (aarch64) to download, 4.76 GB unpacked (x86-64).
CUDA_SIZE = "almost 3 GB to download, almost 5 GB on disk"

Offers = Callable[[str, str], bool]


class NoBuild(Exception):
    """No package index offers a build for this machine; the message is for the user."""


@dataclass(frozen=True)
class Choice:
    """The arguments of ``pip install``, and the notice that the user reads before the download starts."""

    arguments: tuple[str, ...]
    notice: str


def main() -> None:
    """Choose a build, announce it, and become the pip that installs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=VERSION, help="version of the CPU build (default: %(default)s)")
    parser.add_argument("--request", default="", help="arguments for pip that name another build (default: none)")
    parser.add_argument("--index", default=CPU_INDEX, help="index of CPU builds (default: %(default)s)")
    options = parser.parse_args()
    try:
        if options.request.strip():
            choice = Choice(tuple(shlex.split(options.request)), f"Installing PyTorch as requested: {options.request}")
        else:
            choice = choose_build(options.version, options.index, platform.system(), index_offers)
    except NoBuild as error:
        sys.exit(str(error))
    print(choice.notice, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "pip", "install", *choice.arguments])


def choose_build(version: str, index: str, system: str, offers: Offers) -> Choice:
    """Return the CPU build where an index offers it, else the build that the configured indexes have.

    The configured indexes come first, so that a mirror spares the question to PyTorch's index.

    Raises:
        NoBuild: no index offers this version for this machine.
    """
    python = f"Python {platform.python_version()} on {system} {platform.machine()}"
    name, build = f"PyTorch {version}", f"{version}+cpu"
    if system == "Linux":
        notice = f"Installing {name}, CPU build ({CPU_SIZE}), from"
        if offers(build, ""):
            return Choice((f"torch=={build}",), f"{notice} the package indexes of this machine")
        if offers(build, index):
            return Choice((f"torch=={build}", "--extra-index-url", index), f"{notice} {index}")
    if not offers(version, ""):
        raise NoBuild(
            f"No package index that answers offers {name} for {python}. Check the connection, or name a build "
            'that exists for this machine, for instance: make demo TORCH="torch>=2.10"'
        )
    if system == "Linux":
        notice = (
            f"The CPU build of {name} is not available: neither the package indexes of this machine nor {index} "
            f"offer it. Installing the build of the package indexes instead. On PyPI this is the CUDA build "
            f"({CUDA_SIZE}), which computes on the CPU too. To prevent that, press Ctrl-C and name another build: "
            'make demo TORCH="torch==VERSION --index-url URL"'
        )
    else:
        notice = f"Installing {name} for {system} ({CPU_SIZE}) from the package indexes of this machine"
    return Choice((f"torch=={version}",), notice)


def index_offers(version: str, index: str) -> bool:
    """Whether pip finds this version of PyTorch for this machine in ``index``; "" are the configured indexes."""
    command = [sys.executable, "-m", "pip", "index", "versions", "torch"]
    limit = None
    if index:
        command += ["--index-url", index, *ASK_ONCE]
        limit = GIVE_UP_AFTER
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return False
    return version in re.split(r"[\s,()]+", found.stdout)


if __name__ == "__main__":
    main()
