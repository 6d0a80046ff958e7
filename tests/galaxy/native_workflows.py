"""Workflows in Galaxy's native format (`.ga`), made from the gxformat2 file (`.yml`) beside each.

People edit the `.yml`. Registries such as IWC and Dockstore, and the import of older Galaxy servers, take the `.ga`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from .layout import Failure, Site, environment, say

# gxwf-layout puts boxes 220 by 100 pixels apart, which is less than the size of a box with some inputs and outputs.
STRETCH = {"left": 1.3, "top": 2.2}


def write_native(site: Site) -> None:
    """Write the `.ga` of every workflow anew."""
    for source in sources(site):
        native(source).write_text(convert(site, source), encoding="utf-8")
        say(f"wrote {native(source).relative_to(site.repository)}")


def outdated(site: Site) -> list[str]:
    """Return a line for each `.ga` that differs from what its `.yml` becomes."""
    return [
        f"{native(source)} is not what {source.name} becomes: run python -m tests.galaxy workflows."
        for source in sources(site)
        if not native(source).exists() or native(source).read_text(encoding="utf-8") != convert(site, source)
    ]


def sources(site: Site) -> list[Path]:
    """Return the gxformat2 files: each has the name of its folder."""
    return sorted(path for path in site.workflows.glob("*/*.yml") if path.stem == path.parent.name)


def native(source: Path) -> Path:
    return source.with_suffix(".ga")


def convert(site: Site, source: Path) -> str:
    """Return the workflow in the native format; the same file gives the same text."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "workflow.ga"
        call(site, "gxwf-to-native", str(source), str(written))
        call(site, "gxwf-layout", "--overwrite", str(written))
        workflow: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    workflow["uuid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, source.stem))  # the converter takes a random one
    for step in workflow["steps"].values():
        step["position"] = {side: round(step["position"][side] * factor) for side, factor in STRETCH.items()}
    return json.dumps(workflow, indent=4, ensure_ascii=False) + "\n"


def call(site: Site, program: str, *arguments: str) -> None:
    """Run a program of gxformat2, which planemo's environment has."""
    command = [str(site.planemo / "bin" / program), *arguments]
    ended = subprocess.run(command, env=environment(site.planemo), capture_output=True, text=True)
    if ended.returncode:
        raise Failure(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")
